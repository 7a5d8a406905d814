import assert from "node:assert/strict";
import {
  besides,
  createBeside,
  isBefore,
  linkOrCopy,
  oldPath,
  putBack,
  putInPlace,
  versionOf,
} from "./executable.ts";

async function inFolder(use: (executable: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/realm`, "one", { mode: 0o755 });
    await use(`${folder}/realm`);
    const left = [...Deno.readDirSync(folder)].filter(({ name }) => name.endsWith(".new"));
    assert.deepEqual(left, [], "no temporary file is left");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("an executable is replaced, and put back with its mode", async () => {
  await inFolder(async (executable) => {
    const replace = (text: string) =>
      besides(executable, async (temporary) => {
        using file = await createBeside(temporary);
        await file.write(new TextEncoder().encode(text));
        await putInPlace(executable, temporary);
      });
    await replace("two");
    assert.equal(await Deno.readTextFile(executable), "two");
    assert.equal(await Deno.readTextFile(oldPath(executable)), "one");
    assert.equal((await Deno.stat(executable)).mode! & 0o777, 0o755);
    await replace("three");
    assert.equal(await Deno.readTextFile(oldPath(executable)), "two");
    await putBack(executable);
    assert.equal(await Deno.readTextFile(executable), "two");
    await assert.rejects(Deno.stat(oldPath(executable)), Deno.errors.NotFound);
  });
});

Deno.test("the executable and the one before change places", async () => {
  await inFolder(async (executable) => {
    await Deno.writeTextFile(oldPath(executable), "zero");
    await besides(executable, async (temporary) => {
      await linkOrCopy(oldPath(executable), temporary);
      await putInPlace(executable, temporary);
    });
    assert.equal(await Deno.readTextFile(executable), "zero");
    assert.equal(await Deno.readTextFile(oldPath(executable)), "one");
  });
});

Deno.test("isBefore() compares versions", () => {
  const ordered = [
    "0.1.0-rc.1",
    "0.1.0",
    "0.1.1",
    "0.2.0-1",
    "0.2.0-a",
    "0.2.0-a.1",
    "0.2.0-b",
    "0.2.0-rc.9",
    "0.2.0-rc.10",
    "0.2.0-rc.10.1",
    "0.2.0",
    "0.10.0",
    "1.0.0",
  ];
  for (const [i, a] of ordered.entries()) {
    for (const [j, b] of ordered.entries()) assert.equal(isBefore(a, b), i < j, `${a} ${b}`);
  }
});

Deno.test("versionOf() takes only what says that it is realm", async () => {
  await inFolder(async (executable) => {
    const saying = async (script: string) => {
      await Deno.writeTextFile(executable, `#!/bin/sh\n${script}\n`);
      return await versionOf(executable);
    };
    assert.equal(await saying('[ "$1" = --version ] && echo realm 1.2.3-rc.1'), "1.2.3-rc.1");
    for (const script of ["echo 1.2.3", "echo realm 1.2.3; exit 1", "echo realm 1.2; true"]) {
      await assert.rejects(saying(script), /does not run on this machine/);
    }
    await Deno.writeTextFile(executable, "no program");
    await assert.rejects(versionOf(executable), /does not run on this machine/);
  });
});
