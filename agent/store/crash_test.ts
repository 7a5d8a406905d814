import assert from "node:assert/strict";
import { blobOf, contentOf, KEPT } from "./crash_writer.ts";
import { DiskBlobs } from "./disk_blobs.ts";
import { SqliteStore } from "./sqlite_store.ts";

const ROUNDS = Deno.env.get("SLOW") ? 100 : 8;

/**
 * Runs the writer, kills it `afterMs` after it said `linesMin` lines, and returns its complete lines.
 */
async function runAndKill(folder: string, afterMs: number, linesMin: number): Promise<string[]> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", new URL("./crash_writer.ts", import.meta.url).pathname, folder],
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  let output = "";
  let timer: number | undefined;
  for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
    output += text;
    if (output.split("\n").length <= linesMin) continue;
    timer ??= setTimeout(() => child.kill("SIGKILL"), afterMs);
  }
  clearTimeout(timer);
  const status = await child.status;
  assert.equal(status.signal, "SIGKILL", "the writer ended by itself");
  return output.split("\n").slice(0, -1);
}

Deno.test("what was acknowledged survives SIGKILL at any moment, whole", async () => {
  const folder = await Deno.makeTempDir({ prefix: "realm-crash-" });
  let acknowledged = 0;
  try {
    for (let round = 0; round < ROUNDS; round++) {
      // Some die while they open, the last one when there is much to lose, on a slow machine too.
      const linesMin = round === ROUNDS - 1 ? 2 * ROUNDS : 1;
      const lines = await runAndKill(folder, Math.random() * 60, linesMin);
      for (const line of lines) {
        const [word, step] = line.split(" ");
        if (word === "open") {
          const opened = Number(step);
          assert.ok(
            opened === acknowledged || opened === acknowledged + 1,
            `reopened at ${opened} after ${acknowledged} was acknowledged`,
          );
        }
        if (step !== undefined) acknowledged = Number(step);
      }
      await checkFolder(folder, acknowledged);
    }
    assert.ok(acknowledged > ROUNDS, `only ${acknowledged} writes in ${ROUNDS} rounds`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

async function checkFolder(
  folder: string,
  acknowledged: number,
): Promise<void> {
  const store = new SqliteStore(`${folder}/state.db`);
  const blobs = await DiskBlobs.open(`${folder}/blobs`);
  try {
    const lastBytes = store.get("last");
    if (lastBytes === undefined) return assert.equal(acknowledged, 0);
    const last = Number(new TextDecoder().decode(lastBytes));
    // The kill may fall between the write and the line about it; one step, never more.
    assert.ok(last === acknowledged || last === acknowledged + 1, `${last}, ${acknowledged}`);
    const wanted = Array.from({ length: Math.min(last, KEPT) }, (_, n) => last - n);
    assert.deepEqual(
      [...store.scan("pair/")].map(([key]) => key),
      wanted.flatMap((i) => [`pair/${i}/a`, `pair/${i}/b`]).sort(),
    );
    for (const i of wanted) {
      assert.deepEqual(store.get(`pair/${i}/a`), contentOf(i));
      assert.deepEqual(store.get(`pair/${i}/b`), contentOf(i));
    }
    for (const i of wanted.filter((i) => i % 4 === 0)) {
      const digest = new TextDecoder().decode(store.get(`blob/${i}`));
      assert.deepEqual(await blobs.get(digest), blobOf(i));
    }
    // A blob that was never acknowledged may be there, but not in part: get() would throw.
    for await (const name of blobs.list()) await blobs.get(name);
  } finally {
    store.close();
  }
}
