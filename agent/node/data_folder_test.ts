import assert from "node:assert/strict";
import { RealmError } from "../kernel/error.ts";
import { openDataFolder } from "./data_folder.ts";

const isFailed = (message: RegExp) => (error: unknown) =>
  error instanceof RealmError && error.code === "failed" && message.test(error.message) &&
  error.hint !== undefined;

async function inFolder(run: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await run(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("openDataFolder() makes a folder for its user alone, and takes it again", () =>
  inFolder(async (folder) => {
    const data = `${folder}/ü/data`;
    for (const _ of [1, 2]) await openDataFolder(data);
    assert.equal((await Deno.stat(data)).mode! & 0o777, 0o700);
    await Deno.symlink(data, `${folder}/link`);
    await openDataFolder(`${folder}/link`);
  }));

Deno.test("openDataFolder() says of what is no folder that it is none", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/file`, "");
    await Deno.symlink(`${folder}/nowhere`, `${folder}/link`);
    for (const name of ["file", "file/below", "link"]) {
      const message = new RegExp(`^Cannot use data folder ".*/${name}": `);
      await assert.rejects(openDataFolder(`${folder}/${name}`), isFailed(message), name);
    }
  }));

Deno.test({
  name: "openDataFolder() refuses a folder of another user",
  // Only root can make one.
  ignore: Deno.uid() !== 0,
  fn: () =>
    inFolder(async (folder) => {
      await Deno.chown(folder, 65534, 65534);
      await assert.rejects(openDataFolder(folder), isFailed(/another user \(65534\), this is 0$/));
    }),
});
