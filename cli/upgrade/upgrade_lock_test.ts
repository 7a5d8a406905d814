import assert from "node:assert/strict";
import { RealmError } from "../../agent/kernel/error.ts";
import { withUpgradeLock } from "./upgrade_lock.ts";

/** Gives the test a folder with an executable, which is gone afterwards. */
async function withExecutable(test: (executable: string, folder: string) => Promise<void>) {
  const folder = await Deno.makeTempDir({ prefix: "realm-upgrade-lock-" });
  try {
    await Deno.writeTextFile(`${folder}/realm`, "");
    await test(`${folder}/realm`, folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const isRefused = (error: unknown) => error instanceof RealmError && error.code === "refused";

Deno.test("withUpgradeLock() refuses a second upgrade until the first is over", async () => {
  await withExecutable(async (executable, folder) => {
    await withUpgradeLock(executable, async () => {
      const second = withUpgradeLock(executable, () => Promise.reject(new Error("ran")));
      await assert.rejects(second, isRefused);
      const other = withUpgradeLock(`${folder}/other`, () => Promise.resolve("another executable"));
      assert.equal(await other, "another executable");
    });
    assert.equal(await withUpgradeLock(executable, () => Promise.resolve("after")), "after");
    const failing = withUpgradeLock(executable, () => Promise.reject(new Error("broken")));
    await assert.rejects(failing, /broken/);
    assert.equal(await withUpgradeLock(executable, () => Promise.resolve("again")), "again");
    assert.deepEqual([...Deno.readDirSync(folder)].map(({ name }) => name), ["realm"]);
  });
});

Deno.test("withUpgradeLock() is not kept out by the file of one that was killed", async () => {
  await withExecutable(async (executable) => {
    await Deno.writeTextFile(`${executable}.lock`, "");
    assert.equal(await withUpgradeLock(executable, () => Promise.resolve("done")), "done");
  });
});

Deno.test("withUpgradeLock() never lets two in, however they come and go", async () => {
  await withExecutable(async (executable) => {
    let inside = 0;
    let times = 0;
    const one = async () => {
      for (let i = 0; i < 50; i++) {
        await withUpgradeLock(executable, async () => {
          assert.equal(++inside, 1);
          await Deno.stat(executable);
          times++;
          inside--;
        }).catch((error) => assert.ok(isRefused(error), String(error)));
      }
    };
    await Promise.all([one(), one(), one()]);
    assert.ok(times > 0);
  });
});
