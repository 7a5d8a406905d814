/**
 * A small steady load: requests one after the other, each answer checked, none forgotten.
 *
 * @module
 */

/** Requests of one kind. */
export interface Lane {
  readonly name: string;
  readonly url: string;
  /** What is sent when it is not a GET. */
  readonly request?: { readonly method: string; readonly body: string };
  /** What is wrong with the body of an answer; `undefined` when nothing is. */
  readonly check: (body: string) => string | undefined;
}

/** How a lane fares. */
export interface LaneCount {
  readonly name: string;
  readonly answered: number;
  readonly lost: readonly string[];
}

/** From one request of a lane to its next, in milliseconds. */
const PAUSE_MS = 20;
/** A machine that does much else is slow; a request that takes longer is lost. */
const REQUEST_MS_MAX = 60_000;
/** So many losses are described; more only count. */
const LOST_KEPT = 1_000;

/** Sends requests on every lane until it is stopped. */
export class Load {
  readonly #stop = new AbortController();
  #forgive = false;
  readonly #counts: { name: string; answered: number; lost: string[] }[];
  readonly #done: Promise<unknown>;

  constructor(lanes: readonly Lane[]) {
    this.#counts = lanes.map(({ name }) => ({ name, answered: 0, lost: [] }));
    this.#done = Promise.all(lanes.map((lane, i) => this.#drive(lane, this.#counts[i]!)));
  }

  /** Every lane so far. */
  get counts(): readonly LaneCount[] {
    return this.#counts;
  }

  get answered(): number {
    return this.#counts.reduce((sum, { answered }) => sum + answered, 0);
  }

  /** What became of requests that were not answered well. */
  get lost(): string[] {
    return this.#counts.flatMap(({ name, lost }) => lost.map((why) => `${name}: ${why}`));
  }

  /**
   * Sends no more, and waits for the answers to what was sent. With `forgive` those do not count
   * when they are bad: whoever interrupts the demo may have interrupted its agent, too.
   */
  async stop({ forgive = false } = {}): Promise<void> {
    this.#forgive ||= forgive;
    this.#stop.abort();
    await this.#done;
  }

  async #drive(lane: Lane, count: { answered: number; lost: string[] }): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      const wrong = await ask(lane);
      if (wrong === undefined) count.answered++;
      else if (!this.#forgive && count.lost.length < LOST_KEPT) count.lost.push(wrong);
      await pause(PAUSE_MS, signal);
    }
  }
}

/** Sends one request; what was wrong with its answer. */
async function ask({ url, request, check }: Lane): Promise<string | undefined> {
  try {
    const response = await fetch(url, { ...request, signal: AbortSignal.timeout(REQUEST_MS_MAX) });
    const body = await response.text();
    return response.status === 200 ? check(body) : `status ${response.status}, ${body.trim()}`;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** Waits, or less when the signal is aborted. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    if (signal.aborted) done();
    else signal.addEventListener("abort", done);
  });
}
