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

/** Sleep that is over when it is aborted, or when the test says so. */
function sleeper() {
  let slept: { readonly ms: number; readonly wake: () => void } | undefined;
  let asked = Promise.withResolvers<void>();
  const sleep = (ms: number, signal: AbortSignal) =>
    new Promise<void>((wake) => {
      slept = { ms, wake };
      asked.resolve();
      signal.addEventListener("abort", () => {
        slept = undefined;
        wake();
      });
    });
  /** Waits until somebody sleeps: for how long it is to be. */
  const asleep = async () => {
    while (!slept) {
      asked = Promise.withResolvers();
      await asked.promise;
    }
    return slept.ms;
  };
  /** Ends a sleep; returns when somebody sleeps again, and for how long. */
  const next = async () => {
    await asleep();
    const { wake } = slept!;
    slept = undefined;
    wake();
    return await asleep();
  };
  return { sleep, asleep, next };
}

Deno.test("SteadyServer listens again, however often it takes, until it is shut down", async () => {
  const servers = [serverOf(), serverOf(), serverOf()];
  const said: unknown[] = [];
  const { sleep, asleep, next } = sleeper();
  let [made, tries] = [1, 0];
  const steady = new SteadyServer({
    first: servers[0]!,
    again: () => {
      if (++tries % 3 !== 0) throw new Error("still none");
      return servers[made++]!;
    },
    sleep,
    failed: (reason) => said.push(reason),
  });
  for (const [index, reason] of ["first", "second"].entries()) {
    assert.equal(await asleep(), 5_000);
    servers[index]!.fail(reason);
    await servers[index]!.finished.catch(() => {});
    assert.deepEqual([await next(), await next(), await next()], [100, 100, 5_000]);
  }
  await steady.shutdown();
  assert.deepEqual([said, tries], [["first", "second"], 6]);
  assert.deepEqual(servers.map((server) => server.isShut()), [false, false, true]);
});

/** One whose tries to listen again give these, where there is one: else something listens. */
function steadyOf(first: Listening, answers: (Listening | undefined)[]) {
  const said: unknown[] = [];
  const { sleep, next } = sleeper();
  const steady = new SteadyServer({
    first,
    again: () => {
      const server = answers.shift();
      if (!server) throw new Error("in use");
      return server;
    },
    sleep,
    failed: (reason) => said.push(reason),
  });
  return { steady, said, next, answers };
}

Deno.test("SteadyServer finds out by itself that nothing listens while a connection is kept", async () => {
  const [first, second] = [serverOf(), serverOf()];
  const { steady, said, next, answers } = steadyOf(first, [undefined, undefined, second]);
  while (answers.length > 0) assert.equal(await next(), 5_000);
  assert.deepEqual(said, ["its listener had ended"]);
  await steady.shutdown();
  assert.deepEqual([first.isShut(), second.isShut()], [true, true]);
});

Deno.test("SteadyServer says nothing of a listener whose place was taken when its last connection ends", async () => {
  const [first, second] = [serverOf(), serverOf()];
  const { steady, said, next } = steadyOf(first, [second]);
  await next();
  first.fail("long ago");
  assert.equal(await next(), 5_000);
  await steady.shutdown();
  assert.deepEqual(said, ["its listener had ended"]);
  assert.deepEqual([first.isShut(), second.isShut()], [false, true]);
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
    sleep: () => Promise.resolve(),
  });
  first.fail("out of descriptors");
  await asked.promise;
  const over = steady.shutdown();
  make(late);
  await over;
  assert.equal(late.isShut(), true);
});
