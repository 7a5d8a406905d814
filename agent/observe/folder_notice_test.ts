import assert from "node:assert/strict";
import { statfs } from "node:fs/promises";
import { FolderNotice } from "./folder_notice.ts";

Deno.test("FolderNotice tells gone from unreadable, each once, and when it is over", async () => {
  const told: string[] = [];
  const folder = new FolderNotice((text) => void told.push(text));
  folder.seen();
  const gone = await statfs("/nowhere/at/all").catch((error) => error);
  const failed = Object.assign(new Error("EIO: i/o error, statfs"), { code: "EIO" });
  for (const error of [gone, gone, failed, failed]) folder.failed(error);
  folder.seen();
  folder.seen();
  folder.failed(gone);
  folder.seen();
  const isGone = /^The data folder is gone, and what is in it with it: .*no such file/i;
  const wanted = [
    isGone,
    /^The data folder cannot be read: EIO: i\/o error, statfs$/,
    /^The data folder can be read again$/,
    isGone,
    /^There is a data folder again$/,
  ];
  assert.equal(told.length, wanted.length, told.join("\n"));
  for (const [i, text] of wanted.entries()) assert.match(told[i]!, text);
});
