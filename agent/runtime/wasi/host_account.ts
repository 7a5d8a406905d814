/**
 * What an instance makes the host hold: handles, buffers, fields, entries of directories, in bytes.
 *
 * So much of it is free for every instance; what is beyond counts as memory of the guest, under the
 * same limit. Sizes are estimates of what JavaScript needs, meant to be too high rather than too
 * low. A guest for which there is no room is ended with `memory-limit`.
 *
 * @module
 */
import { HANDLE_BYTES, HOST_BYTES_FREE } from "./bounds.ts";

/** What is counted beside bytes, for all instances of a replica together. */
export type Counted = "openFiles" | "sockets";

/** Where an instance's account is kept: `usage` and the limits of its replica. */
export interface HostAccount {
  /** Adds to what `usage` tells. */
  add(what: "handles" | "hostBytes" | Counted, amount: number): void;
  /** Whether the replica may have one more. */
  hasRoom(what: Counted): boolean;
  /** Takes memory from the limit, or gives it back; false where there is not so much left. */
  charge(bytes: number): boolean;
}

/** The account of one instance. */
export class HostMemory {
  #bytes = 0;
  #charged = 0;
  #handles = 0;
  readonly #counted: Record<Counted, number> = { openFiles: 0, sockets: 0 };
  #closed = false;

  /** `full` ends the guest; it does not throw. Without an account nothing is refused. */
  constructor(
    readonly account: HostAccount | undefined,
    readonly full: (message: string) => void,
  ) {}

  /** More bytes are held, or fewer. */
  hold(bytes: number): void {
    if (this.account === undefined || this.#closed || bytes === 0) return;
    this.#bytes += bytes;
    this.account.add("hostBytes", bytes);
    const delta = Math.max(0, this.#bytes - HOST_BYTES_FREE) - this.#charged;
    if (delta === 0) return;
    if (this.account.charge(delta)) this.#charged += delta;
    else {
      this.full(
        `the host holds ${this.#bytes} bytes for it (handles, buffers, fields), more than its memory leaves`,
      );
    }
  }

  /** One handle more. */
  take(): void {
    this.#countHandles(1);
    this.hold(HANDLE_BYTES);
  }

  /** One handle less. */
  give(): void {
    this.#countHandles(-1);
    this.hold(-HANDLE_BYTES);
  }

  #countHandles(amount: number): void {
    if (this.#closed) return;
    this.#handles += amount;
    this.account?.add("handles", amount);
  }

  /** Whether one more of a kind would be counted. */
  hasRoom(what: Counted): boolean {
    return this.account?.hasRoom(what) ?? true;
  }

  /** Counts one more of a kind, unless the replica has as many as it may. */
  open(what: Counted): boolean {
    if (this.account === undefined || this.#closed) return true;
    if (!this.account.hasRoom(what)) return false;
    this.count(what, 1);
    return true;
  }

  /** So many of a kind more, or fewer. */
  count(what: Counted, amount: number): void {
    if (this.account === undefined || this.#closed) return;
    this.#counted[what] += amount;
    this.account.add(what, amount);
  }

  /** Nothing is held any more; what is let go of later does not count again. */
  close(): void {
    if (this.#closed || this.account === undefined) return;
    this.account.charge(-this.#charged);
    this.account.add("hostBytes", -this.#bytes);
    this.account.add("handles", -this.#handles);
    for (const what of ["openFiles", "sockets"] as const) {
      this.account.add(what, -this.#counted[what]);
    }
    this.#closed = true;
  }
}
