import assert from "node:assert/strict";
import { type Listening, SteadyServer } from "./steady_server.ts";

/** A server whose listener ends when it is told to. */
function serverOf() {
  const { promise: finished, resolve, reject } = Promise.withResolvers<void>();
  let isShut = false;
  const shutdown = () => {
    isShut = true;
    resolve();
    return Promise.resolve();
  };
  return { finished, shutdown, fail: reject, isShut: () => isShut };
}

Deno.test("SteadyServer listens again, however often it takes, until it is shut down", async () => {
  const servers = [serverOf(), serverOf(), serverOf()];
  const said: unknown[] = [];
  let [next, tries] = [1, 0];
  const again = Promise.withResolvers<void>();
  const steady = new SteadyServer({
    first: servers[0]!,
    again: () => {
      if (++tries % 3 !== 0) throw new Error("still none");
      const server = servers[next++]!;
      if (next === 3) again.resolve();
      return server;
    },
    pause: () => Promise.resolve(),
    failed: (reason) => said.push(reason),
  });
  servers[0]!.fail("first");
  servers[1]!.fail("second");
  await again.promise;
  assert.deepEqual([said, tries], [["first", "second"], 6]);
  await steady.shutdown();
  assert.equal(servers[2]!.isShut(), true);
  assert.equal(tries, 6);
});

Deno.test("SteadyServer leaves no listener behind that was made while it was shut down", async () => {
  const [first, late] = [serverOf(), serverOf()];
  const { promise: made, resolve: make } = Promise.withResolvers<Listening>();
  const asked = Promise.withResolvers<void>();
  const steady = new SteadyServer({
    first,
    again: () => {
      asked.resolve();
      return made;
    },
    pause: () => Promise.resolve(),
  });
  first.fail("out of descriptors");
  await asked.promise;
  const over = steady.shutdown();
  make(late);
  await over;
  assert.equal(late.isShut(), true);
});
