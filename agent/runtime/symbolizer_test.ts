import assert from "node:assert/strict";
import type { GuestWorker } from "./spawn.ts";
import { type GuestSource, Symbolizer } from "./symbolizer.ts";
import type { SymbolsRequest } from "./symbols_worker.ts";

const guest = (digest: string): GuestSource => ({
  digest,
  source: () => Promise.resolve(new Uint8Array()),
  origins: {},
});
const at = (offset: number) => [{ module: "m", offset }];

Deno.test("a component whose backtraces take too long occupies two Workers, and no third", async () => {
  let workers = 0;
  const symbolizer = new Symbolizer({
    answerMs: 20,
    spawn: () => {
      workers++;
      const worker: GuestWorker = {
        onmessage: null,
        onerror: null,
        onmessageerror: null,
        postMessage(message) {
          const { id, frames } = message as SymbolsRequest;
          worker.onmessage?.(new MessageEvent("message", { data: { id, begun: true } }));
          // Component `a` never answers.
          if (frames[0]!.offset >= 100) {
            worker.onmessage?.(new MessageEvent("message", { data: { id, frames: [] } }));
          }
        },
        terminate() {},
      };
      return worker;
    },
  });
  for (let i = 0; i < 5; i++) {
    assert.equal((await symbolizer.name(guest("a"), at(i)))[0]!.function, "?");
  }
  assert.equal(workers, 2);
  assert.deepEqual(await symbolizer.name(guest("b"), at(100)), []);
  assert.equal(workers, 3);
  symbolizer.close();
});

Deno.test("a Worker that takes long to start is waited for, and no component is blamed", async () => {
  const symbolizer = new Symbolizer({
    answerMs: 20,
    spawn: () => {
      const worker: GuestWorker = {
        onmessage: null,
        onerror: null,
        onmessageerror: null,
        postMessage(message) {
          const { id } = message as SymbolsRequest;
          const say = (data: unknown) => worker.onmessage?.(new MessageEvent("message", { data }));
          setTimeout(() => {
            say({ id, begun: true });
            say({ id, frames: [] });
          }, 60);
        },
        terminate() {},
      };
      return worker;
    },
  });
  for (let i = 0; i < 3; i++) assert.deepEqual(await symbolizer.name(guest("a"), at(i)), []);
  symbolizer.close();
});
