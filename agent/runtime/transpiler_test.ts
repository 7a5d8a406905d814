import assert from "node:assert/strict";
import { RealmError } from "../kernel/error.ts";
import type { GuestWorker } from "./spawn.ts";
import { COMPONENT_BYTES_MAX, Transpiler } from "./transpiler.ts";

interface FakeWorker extends GuestWorker {
  readonly jobs: Uint8Array[];
  ended: boolean;
}

function fakes() {
  const workers: FakeWorker[] = [];
  const spawn = () => {
    const worker: FakeWorker = {
      jobs: [],
      ended: false,
      onmessage: null,
      onerror: null,
      onmessageerror: null,
      postMessage: (message) => worker.jobs.push((message as { bytes: Uint8Array }).bytes),
      terminate: () => worker.ended = true,
    };
    workers.push(worker);
    return worker;
  };
  const answer = (worker: FakeWorker, data: unknown) =>
    worker.onmessage!(new MessageEvent("message", { data }));
  return { workers, spawn, answer };
}

const bytes = (n: number) => new Uint8Array([n]);
const hasCode = (code: string) => (error: unknown) =>
  error instanceof RealmError && error.code === code;

Deno.test("Transpiler has two Workers at work, and uses them again", async () => {
  const { workers, spawn, answer } = fakes();
  const transpiler = new Transpiler({ spawn });
  const results = [1, 2, 3].map((n) => transpiler.transpile(`digest ${n}`, bytes(n)));
  assert.equal(workers.length, 2);
  answer(workers[1]!, { artifact: bytes(20) });
  assert.deepEqual(workers[1]!.jobs, [bytes(2), bytes(3)]);
  answer(workers[1]!, { error: new RealmError("unsupported", "Cannot").toJSON() });
  answer(workers[0]!, { artifact: bytes(10) });
  assert.deepEqual(await results[0], bytes(10));
  assert.deepEqual(await results[1], bytes(20));
  await assert.rejects(results[2]!, hasCode("unsupported"));
  assert.equal(workers.length, 2);
  transpiler.close();
  assert(workers.every((worker) => worker.ended));
});

Deno.test("Transpiler gives up what takes too long, does not try it again, and goes on", async () => {
  const { workers, spawn, answer } = fakes();
  const transpiler = new Transpiler({ spawn, timeMs: (length) => length === 2 ? 1 : 60_000 });
  const endless = transpiler.transpile("endless", new Uint8Array(2));
  const neighbour = transpiler.transpile("neighbour", bytes(1));
  await assert.rejects(endless, hasCode("invalid-module"));
  assert.equal(workers[0]!.ended, true);
  await assert.rejects(
    transpiler.transpile("endless", new Uint8Array(2)),
    hasCode("invalid-module"),
  );
  const next = transpiler.transpile("next", bytes(3));
  assert.deepEqual(workers[2]!.jobs, [bytes(3)]);
  answer(workers[1]!, { artifact: bytes(10) });
  answer(workers[2]!, { artifact: bytes(30) });
  assert.deepEqual([await neighbour, await next], [bytes(10), bytes(30)]);
  transpiler.close();
});

Deno.test("Transpiler replaces a Worker that failed, and refuses what is too large", async () => {
  const { workers, spawn, answer } = fakes();
  const transpiler = new Transpiler({ spawn });
  const lost = transpiler.transpile("lost", bytes(1));
  workers[0]!.onerror!(new ErrorEvent("error", { message: "out of luck" }));
  await assert.rejects(lost, /out of luck/);
  const large = new Uint8Array(COMPONENT_BYTES_MAX + 1);
  await assert.rejects(transpiler.transpile("large", large), hasCode("invalid-module"));
  const next = transpiler.transpile("next", bytes(2));
  answer(workers[1]!, { artifact: bytes(3) });
  assert.deepEqual(await next, bytes(3));
  const open = transpiler.transpile("open", bytes(4));
  transpiler.close();
  await assert.rejects(open, hasCode("failed"));
});
