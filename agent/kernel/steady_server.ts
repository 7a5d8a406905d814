/**
 * Servers that outlive their listener.
 *
 * Where the system has no descriptor left for the next connection (`accept(2)`: EMFILE, ENFILE), a
 * listener of Deno's ends for good, and with it the server, although what is connected goes on.
 * Nobody could reach the program then until it is started again. Another listener takes its place as
 * soon as one can be had.
 *
 * @module
 */

/** As much of a server as this looks at. */
export interface Listening {
  /** Over when it listens no more; rejects where nobody wanted that. */
  readonly finished: Promise<void>;
  /** Takes no more connections, and waits for the requests that are under way. */
  shutdown(): Promise<void>;
}

/** What {@link SteadyServer} is made of. */
export interface SteadyServerInit {
  readonly first: Listening;
  /** Listens again, in the very same place; may throw for as long as that cannot be done. */
  readonly again: () => Listening | Promise<Listening>;
  /** A moment, before it is tried again. */
  readonly pause: () => Promise<void>;
  /** Hears why a listener ended. */
  readonly failed?: (reason: unknown) => void;
}

/** See the module. */
export class SteadyServer {
  readonly #init: SteadyServerInit;
  readonly #kept: Promise<void>;
  #server: Listening;
  #isClosed = false;

  constructor(init: SteadyServerInit) {
    this.#init = init;
    this.#server = init.first;
    this.#kept = this.#keep();
  }

  /** Listens no more, and waits for the requests that are under way. */
  async shutdown(): Promise<void> {
    this.#isClosed = true;
    await this.#server.shutdown();
    await this.#kept;
  }

  async #keep(): Promise<void> {
    while (!this.#isClosed) {
      try {
        return await this.#server.finished;
      } catch (reason) {
        this.#init.failed?.(reason);
      }
      await this.#listen();
    }
  }

  /** Listens again, unless it is closed meanwhile. */
  async #listen(): Promise<void> {
    while (true) {
      await this.#init.pause();
      if (this.#isClosed) return;
      try {
        this.#server = await this.#init.again();
      } catch {
        continue; // there is still nothing to be had
      }
      if (this.#isClosed) await this.#server.shutdown();
      return;
    }
  }
}
