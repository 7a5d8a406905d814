/**
 * Servers that outlive their listener.
 *
 * Where the system has no descriptor left for the next connection (`accept(2)`: EMFILE, ENFILE), a
 * listener of Deno's ends for good, although what is connected goes on. Nobody else could reach the
 * program then until it is started again. Another listener takes its place as soon as one can be had.
 *
 * Deno tells of the end only once the last connection has ended, and one client may keep one for
 * ever. So every five seconds it is tried to listen again in the same place, which fails while the
 * listener is well. For a port that is a bind only: it makes no connection for the server to take.
 *
 * @module
 */

/**
 * Between two tries to listen in a place where something listens, as far as is known. An idle agent
 * hardly wakes up otherwise: each second would be felt.
 */
const LOOK_AGAIN_MS = 5_000;
/** Between two tries where nothing does: connections are refused meanwhile. */
const LISTEN_AGAIN_MS = 100;

/** As much of a server as this looks at. */
export interface Listening {
  /** Over when it has no connections and takes none; rejects where nobody wanted that. */
  readonly finished: Promise<void>;
  /** Takes no more connections, and waits for the requests that are under way. */
  shutdown(): Promise<void>;
}

/** What {@link SteadyServer} is made of. */
export interface SteadyServerInit {
  readonly first: Listening;
  /** Listens again, in the very same place; throws where that cannot be done, as while one does. */
  readonly again: () => Listening | Promise<Listening>;
  /** Over after `ms`, or when it is aborted: whether it rejects then is all the same. */
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
  /** Hears why a listener ended. */
  readonly failed?: (reason: unknown) => void;
}

/** See the module. */
export class SteadyServer {
  readonly #init: SteadyServerInit;
  readonly #kept: Promise<void>;
  /** The one that listens, and those of before that still have connections. */
  readonly #servers = new Set<Listening>();
  #last: Listening;
  /** Nothing listens, and that was told. */
  #isLost = false;
  #isClosed = false;
  #awake = new AbortController();

  constructor(init: SteadyServerInit) {
    this.#init = init;
    this.#last = init.first;
    this.#take(init.first);
    this.#kept = this.#keep();
  }

  /** Listens no more, and waits for the requests that are under way. */
  async shutdown(): Promise<void> {
    this.#isClosed = true;
    this.#awake.abort();
    await Promise.all([...this.#servers].map((server) => server.shutdown()));
    await this.#kept;
  }

  #take(server: Listening): void {
    this.#servers.add(server);
    this.#last = server;
    this.#isLost = false;
    server.finished.catch((reason) => {
      if (this.#isClosed || this.#last !== server) return; // its place was taken, which was told
      this.#isLost = true;
      this.#init.failed?.(reason);
      this.#awake.abort();
    }).finally(() => this.#servers.delete(server));
  }

  async #keep(): Promise<void> {
    const { again, sleep, failed } = this.#init;
    while (!this.#isClosed) {
      this.#awake = new AbortController();
      const { signal } = this.#awake;
      await sleep(this.#isLost ? LISTEN_AGAIN_MS : LOOK_AGAIN_MS, signal).catch(() => {});
      if (signal.aborted) continue;
      let next: Listening;
      try {
        next = await again();
      } catch {
        continue; // something listens, or there is still nothing to be had
      }
      if (this.#isClosed) return await next.shutdown();
      if (!this.#isLost) failed?.("its listener had ended");
      this.#take(next);
    }
  }
}
