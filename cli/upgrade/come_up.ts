/**
 * Whether the agent came up after it was started again, asked over its control socket.
 *
 * @module
 */
import type { Clock } from "../../agent/kernel/ports.ts";

/** What tells one run of the agent from another. */
export interface RunningAgent {
  readonly program: string;
  readonly startedAtMs: number;
  readonly pid: number | undefined;
}

/** How often it is asked. */
const ASK_EVERY_MS = 200;
/** It has come up when it is still the same after this: it did not end and start once more. */
const STAYS_MS = 5_000;

/**
 * Starts the agent again; gives why that failed, if it did. After `timeoutMs` it is given up, and
 * the signal that `start` has is aborted.
 */
export async function startWithin(
  timeoutMs: number,
  start: (signal: AbortSignal) => Promise<void>,
  clock: Pick<Clock, "sleep">,
): Promise<string | undefined> {
  const ended = new AbortController();
  const late = new AbortController();
  try {
    return await Promise.race([
      start(late.signal).then(() => undefined),
      clock.sleep(timeoutMs, ended.signal).then(() => {
        late.abort();
        return `it was not started within ${Math.round(timeoutMs / 1000)} s`;
      }),
    ]);
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  } finally {
    ended.abort();
  }
}

/**
 * Waits until the agent of `version` answers, another run of it than `before`, and stays.
 *
 * `ask` gives `undefined` while nobody answers, and throws of an agent that is in trouble, which may
 * pass. Gives why it did not come up, after `timeoutMs` or when `signal` is aborted; nothing when
 * it did.
 */
export async function comesUp(
  version: string,
  before: RunningAgent,
  options: {
    readonly ask: () => Promise<RunningAgent | undefined>;
    readonly clock: Pick<Clock, "monotonicMs" | "sleep">;
    readonly timeoutMs: number;
    readonly signal: AbortSignal;
  },
): Promise<string | undefined> {
  const { ask, clock, timeoutMs, signal } = options;
  const untilMs = clock.monotonicMs() + timeoutMs;
  let seen: { agent: RunningAgent; atMs: number } | undefined;
  while (true) {
    let trouble: unknown;
    const agent = await ask().catch((error) => void (trouble = error));
    const isNew = agent !== undefined && !isSame(agent, before) && agent.program === version;
    const nowMs = clock.monotonicMs();
    if (!isNew) seen = undefined;
    else if (seen === undefined || !isSame(agent, seen.agent)) seen = { agent, atMs: nowMs };
    if (seen !== undefined && nowMs - seen.atMs >= STAYS_MS) return undefined;
    if (signal.aborted) return "this was interrupted";
    if (nowMs >= untilMs + (seen === undefined ? 0 : STAYS_MS)) return why(agent, trouble);
    await clock.sleep(ASK_EVERY_MS);
  }

  function why(agent: RunningAgent | undefined, trouble: unknown): string {
    const within = `within ${Math.round(timeoutMs / 1000)} s`;
    if (trouble !== undefined) {
      const reason = trouble instanceof Error ? trouble.message : String(trouble);
      return `the agent did not answer ${within}: ${reason}`;
    }
    if (agent === undefined) return `the agent did not answer ${within}`;
    if (isSame(agent, before)) return `the agent was not started again ${within}`;
    if (agent.program !== version) return `the agent that answers is of version ${agent.program}`;
    return "the agent ends again and again";
  }
}

function isSame(a: RunningAgent, b: RunningAgent): boolean {
  return a.startedAtMs === b.startedAtMs && a.pid === b.pid;
}
