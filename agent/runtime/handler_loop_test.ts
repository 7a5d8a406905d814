import assert from "node:assert/strict";
import { HandlerLoop } from "./handler_loop.ts";

// (func (export "f") (param i32 i32) (call $host (i32.add (local.get 0) (local.get 1))))
// deno-fmt-ignore
const GUEST = new WebAssembly.Module(new Uint8Array([
  0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00,
  0x01, 0x0a, 0x02, 0x60, 0x01, 0x7f, 0x00, 0x60, 0x02, 0x7f, 0x7f, 0x00,
  0x02, 0x07, 0x01, 0x01, 0x68, 0x01, 0x66, 0x00, 0x00,
  0x03, 0x02, 0x01, 0x01,
  0x07, 0x05, 0x01, 0x01, 0x66, 0x00, 0x01,
  0x0a, 0x0b, 0x01, 0x09, 0x00, 0x20, 0x00, 0x20, 0x01, 0x6a, 0x10, 0x00, 0x0b,
]));

function loop(host: (sum: number) => void) {
  const { exports } = new WebAssembly.Instance(GUEST, { h: { f: host } });
  const calls: string[] = [];
  return {
    calls,
    loop: new HandlerLoop(exports.f, () => calls.push("enter"), () => calls.push("leave")),
  };
}

Deno.test("HandlerLoop calls the guest once a request, and tells when it runs", async () => {
  const sums: number[] = [];
  const { loop: l, calls } = loop((sum) => sums.push(sum));
  await l.call(1, 2);
  await l.call(10, 20);
  assert.deepEqual(sums, [3, 30]);
  assert.deepEqual(calls, ["enter", "leave", "enter", "leave"]);
});

Deno.test("HandlerLoop ends with what the guest threw", async () => {
  const { loop: l, calls } = loop((sum) => {
    if (sum === 2) throw new Error("two");
  });
  await l.call(0, 1);
  await assert.rejects(l.call(1, 1), /two/);
  await assert.rejects(l.call(0, 1), /two/);
  assert.equal(calls.at(-1), "leave");
});

Deno.test("HandlerLoop closes those that wait for longest, where there are many", async () => {
  const sums: number[] = [];
  const all = Array.from({ length: 100 }, () => loop((sum) => sums.push(sum)).loop);
  await Promise.all(all.map((each, i) => each.call(i, 0)));
  assert.equal(sums.length, 100);
  const open = all.filter(({ isOpen }) => isOpen);
  assert.deepEqual(open, all.slice(36));
  await Promise.all(open.map((each) => each.call(0, 0)));
  assert.equal(sums.length, 164);
  assert.deepEqual(all.filter(({ isOpen }) => isOpen), open);
  for (const each of open) each.close();
});

Deno.test("HandlerLoop closes between two calls: its stack ends, and there are no more", async () => {
  const { loop: l, calls } = loop(() => {});
  await l.call(1, 2);
  l.close();
  await new Promise((resolve) => setTimeout(resolve, 0));
  assert.deepEqual(calls, ["enter", "leave"]);
  await assert.rejects(l.call(1, 2), /the instance is closed/);
});
