import assert from "node:assert/strict";
import { systemClock } from "../../agent/node/system_clock.ts";
import { comesUp, type RunningAgent, startWithin } from "./come_up.ts";

const OLD: RunningAgent = { program: "1.0.0", startedAtMs: 1, pid: 10 };
const NEW: RunningAgent = { program: "2.0.0", startedAtMs: 5, pid: 11 };

/** Asks at virtual times what `at` says of them. */
function watch(
  at: (ms: number) => RunningAgent | undefined,
  signal = new AbortController().signal,
) {
  let nowMs = 0;
  return comesUp("2.0.0", OLD, {
    ask: () => Promise.try(at, nowMs),
    clock: {
      monotonicMs: () => nowMs,
      sleep: (ms) => {
        nowMs += ms;
        return Promise.resolve();
      },
    },
    timeoutMs: 20_000,
    signal,
  });
}

Deno.test("comesUp() waits for the new agent, which has to stay", async () => {
  assert.equal(await watch((ms) => ms < 1_000 ? OLD : ms < 3_000 ? undefined : NEW), undefined);
  assert.equal(
    await watch((ms) => ms < 6_000 ? { ...NEW, pid: 1 + Math.floor(ms / 1_000) } : NEW),
    undefined,
    "the second one stays",
  );
  assert.equal(await watch((ms) => ms < 19_900 ? undefined : NEW), undefined, "late, and in time");
});

Deno.test("comesUp() goes on asking an agent that is in trouble, and says which", async () => {
  const trouble = (): never => {
    throw new Error("no answer within 10000 ms");
  };
  assert.equal(await watch((ms) => ms < 3_000 ? trouble() : NEW), undefined);
  assert.match((await watch(trouble))!, /did not answer within 20 s: no answer within 10000 ms/);
});

Deno.test("comesUp() says why the agent did not come up", async () => {
  assert.match((await watch(() => undefined))!, /did not answer within 20 s/);
  assert.match((await watch(() => OLD))!, /was not started again/);
  assert.match((await watch(() => ({ ...OLD, startedAtMs: 9 })))!, /of version 1\.0\.0/);
  assert.match(
    (await watch((ms) => ms % 2_000 < 1_000 ? NEW : undefined))!,
    /did not answer|again/,
  );
  assert.match(
    (await watch((ms) => ({ ...NEW, startedAtMs: Math.floor(ms / 1_000) + 5 })))!,
    /ends again and again/,
  );
  assert.match((await watch(() => OLD, AbortSignal.abort()))!, /interrupted/);
});

Deno.test("startWithin() says why the agent was not started, whatever went wrong", async () => {
  const long = 600_000;
  assert.equal(await startWithin(long, () => Promise.resolve(), systemClock), undefined);
  for (const error of [new TypeError("no such thing"), new Deno.errors.PermissionDenied("none")]) {
    assert.equal(await startWithin(long, () => Promise.reject(error), systemClock), error.message);
  }
});

Deno.test("startWithin() gives up a start that does not end", async () => {
  let given: AbortSignal | undefined;
  const never = (signal: AbortSignal) => {
    given = signal;
    return new Promise<void>(() => {});
  };
  const clock = { sleep: () => Promise.resolve() };
  assert.match((await startWithin(60_000, never, clock))!, /not started within 60 s/);
  assert.equal(given!.aborted, true);
});
