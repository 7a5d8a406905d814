import assert from "node:assert/strict";
import type { Run } from "../upgrade/service.ts";
import { disk, lookAtClock, lookAtDisk, lookAtOpenFiles } from "./machine.ts";

const nothing: Run = () => Promise.resolve(undefined);
const NOW = Date.UTC(2027, 0, 1);

Deno.test("the doctor warns before a disk is full", async () => {
  assert.equal(disk("/x", 5e9).level, "ok");
  assert.equal(disk("/x", 5e8).level, "warning");
  assert.equal(disk("/x", 5e7).level, "problem");
  const folder = await Deno.makeTempDir();
  try {
    assert.match((await lookAtDisk(`${folder}/not/there/yet`)).message, /GB are free for/);
  } finally {
    await Deno.remove(folder);
  }
});

Deno.test("the doctor looks at the clock", async () => {
  assert.equal((await lookAtClock(NOW, nothing)).level, "ok");
  assert.equal((await lookAtClock(Date.UTC(1970, 0, 1), nothing)).level, "problem");
  const says = (output: string): Run => () => Promise.resolve({ status: 0, output });
  assert.equal((await lookAtClock(NOW, says("no\n"))).level, "warning");
  assert.equal((await lookAtClock(NOW, says("yes\n"))).level, "ok");
});

Deno.test("the doctor wants room for open files", async () => {
  const levels = async (run: Run) => (await lookAtOpenFiles(run)).map(({ level }) => level);
  const says = (output: string): Run => () => Promise.resolve({ status: 0, output });
  assert.deepEqual(await levels(says("1024\n")), ["warning"]);
  assert.deepEqual(await levels(says("65536\n")), ["ok"]);
  assert.deepEqual(await levels(says("unlimited\n")), ["ok"]);
  assert.deepEqual(await levels(says("sh: ulimit: not found\n")), []);
  assert.deepEqual(await levels(nothing), []);
});
