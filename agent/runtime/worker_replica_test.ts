import assert from "node:assert/strict";
import { NO_NETWORK } from "../kernel/ports.ts";
import { readRequests, type Rings } from "./exchange.ts";
import type { ToWorker } from "./protocol.ts";
import { RingReader } from "./shared_ring.ts";
import type { GuestWorker } from "./spawn.ts";
import { WorkerReplica } from "./worker_replica.ts";

/** A replica whose Worker is the test, and one request under way in it, with the number 0. */
function fake() {
  const one: { rings?: Rings | undefined } = {};
  const worker: GuestWorker & { ended: boolean } = {
    ended: false,
    onmessage: null,
    onerror: null,
    onmessageerror: null,
    postMessage: (messages) => {
      for (const message of messages as ToWorker[]) {
        if (message.type === "start") one.rings = message.rings;
      }
    },
    terminate: () => worker.ended = true,
  };
  const replica = new WorkerReplica(
    worker,
    {
      world: "wasi:http/proxy",
      grants: {
        args: [],
        env: [],
        mounts: [],
        clock: false,
        random: false,
        stdio: false,
        network: NO_NETWORK,
        config: [],
        keyvalue: false,
      },
      limits: { memoryBytesMax: 65536 },
      stdio: {
        terminal: { stdin: false, stdout: false, stderr: false },
        read: () => Promise.resolve(null),
        write: (_stream, bytes) => void bytes.length,
      },
      notice: (text) => void text.length,
    },
    { locks: [], glue: "", modules: {} },
    (frames) => Promise.resolve(frames.map((f) => ({ ...f, name: undefined }) as never)),
    () => assert.fail("a Worker that failed is used again"),
  );
  const ask = () =>
    replica.handle({
      method: "GET",
      url: "http://realm.test/",
      headers: [],
      body: null,
      signal: new AbortController().signal,
    });
  const request = ask();
  const says = (data: unknown) => worker.onmessage!(new MessageEvent("message", { data }));
  return { worker, replica, request, ask, says, one };
}

/** It ended in one line that says why, and whoever waited for it knows. */
async function failed({ worker, replica, request }: ReturnType<typeof fake>, why: RegExp) {
  await assert.rejects(request, { code: "failed", message: why });
  const exit = await replica.exited;
  assert.ok(exit.kind === "trap" && exit.code === "failed");
  assert.match(exit.message, why);
  assert.doesNotMatch(exit.message, /\n/);
  assert.ok(worker.ended, "the Worker is ended");
  await replica.started;
  await assert.rejects(replica.handle({} as never), { code: "failed" });
}

Deno.test("WorkerReplica ends when its Worker fails", async () => {
  const one = fake();
  one.worker.onerror!(new ErrorEvent("error", { message: "out of luck", cancelable: true }));
  one.worker.onerror!(new ErrorEvent("error", { message: "again", cancelable: true }));
  await failed(one, /^its Worker failed: out of luck$/);
});

Deno.test("WorkerReplica ends when its Worker sends what cannot be read", async () => {
  const one = fake();
  one.worker.onmessageerror!(new MessageEvent("messageerror"));
  await failed(one, /^its Worker failed: it sent what cannot be read$/);
});

Deno.test("WorkerReplica hands some requests over while it still takes others", async () => {
  const { ask, one, replica, request, says } = fake();
  await null; // What the start and the first request are sent in.
  const ring = new RingReader(one.rings!.requests);
  const arrived: number[] = [];
  const take = () => readRequests(ring, (id) => arrived.push(id));
  take();
  assert.equal(arrived.length, 1);
  const asked = Array.from({ length: 9 }, ask);
  take();
  assert.equal(arrived.length, 9, "eight of nine, before this turn is over");
  await null;
  take();
  assert.equal(arrived.length, 10);
  assert.equal(new Set(arrived).size, 10);
  says(null); // Ends it.
  await Promise.allSettled([request, ...asked, replica.exited]);
});

const NONSENSE: readonly unknown[] = [
  null,
  undefined,
  7,
  {},
  [null],
  ["started"],
  [{}],
  [{ type: "nonsense" }],
  [{ type: "constructor" }],
  [{ type: "exit" }],
  [{ type: "exit", exit: { kind: "trap", code: "trap", message: "" } }],
  [{ type: "exit", exit: { kind: "trap", code: "trap", message: "", backtrace: 7 } }],
  [{ type: "trapped" }],
  [{ type: "trapped", exit: { kind: "trap" } }],
  [{ type: "output", stream: "stdout" }],
  [{ type: "notice" }],
  [{ type: "response", id: 0, status: 200, body: null, end: true }],
  [{ type: "response", id: 0, status: 200, headers: null, body: null, end: false }],
];
for (const [i, data] of NONSENSE.entries()) {
  Deno.test(`WorkerReplica ends when its Worker talks nonsense (${i})`, async () => {
    const one = fake();
    one.says(data);
    one.says([{ type: "started" }]); // What comes after is not heard.
    await failed(one, /^its Worker failed: /);
  });
}
