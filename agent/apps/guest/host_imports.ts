/**
 * What a state-apply component may import: the functions of `wit/realm-app-0.1.0`, lifted and lowered
 * by hand. Each is paid for before it does anything (`prices.ts`).
 *
 * @module
 */
import { isCanonical } from "../../kernel/canonical.ts";
import { sha256 } from "../../kernel/sha256_sync.ts";
import type { VerifySync } from "../../kernel/verify.ts";
import { textOf } from "../../kernel/byte_string.ts";
import { BeyondBounds, type Entry } from "../state.ts";
import { trap } from "./fault.ts";
import type { GuestMemory } from "./guest_memory.ts";
import { BYTE_PRICE, ENTRY_PRICE, HASHED_BYTE_PRICE, PRICES } from "./prices.ts";

/** The event that is applied. */
export interface AppliedEvent {
  /** The sha256 in its name: 32 bytes. */
  readonly id: Uint8Array;
  /** 32 bytes. */
  readonly author: Uint8Array;
  readonly seq: number;
  readonly lamport: number;
  /** Its type as the app named it. */
  readonly kind: Uint8Array;
  readonly payload: Uint8Array;
}

/** What does not change while a topic lives. */
export interface AppSetting {
  /** The key that made the topic: 32 bytes. */
  readonly creator: Uint8Array;
  /** Parameters by name, a byte string. */
  readonly params: ReadonlyMap<string, Uint8Array>;
}

/** What an event reads and writes; `Journal` is one. `put` throws {@link BeyondBounds}. */
export interface Writes {
  get(key: Uint8Array): Uint8Array | undefined;
  put(key: Uint8Array, value: Uint8Array): void;
  delete(key: Uint8Array): void;
  scan(start: Uint8Array, end: Uint8Array, limit: number): Entry[];
}

/** What the functions are about while one event is applied. */
export interface Call {
  readonly memory: GuestMemory;
  readonly event: AppliedEvent;
  readonly writes: Writes;
  /** Takes fuel; throws when there is not as much. */
  pay(units: number): void;
}

/** A function as the core module imports it. */
export type CoreFunction = (...args: number[]) => number | bigint | void;

/** The functions by interface and name; `call` is asked when one is called. */
export function hostFunctions(
  call: () => Call,
  { creator, params }: AppSetting,
  verify: VerifySync,
): { readonly [interfaceName: string]: { readonly [name: string]: CoreFunction } } {
  /**
   * Takes a list, as pointer and length, after its price, and calls. The list is where the guest has it:
   * what is kept has to be copied.
   */
  const taking = (
    price: number,
    bytePrice: number,
    act: (call: Call, list: Uint8Array, rest: number) => number | void,
  ): CoreFunction =>
  (at, length, rest) => {
    const now = call();
    now.pay(price + bytePrice * (length! >>> 0));
    return act(now, now.memory.view(at!, length!), rest!);
  };
  /** {@link taking} of two lists. */
  const takingTwo = (
    price: number,
    bytePrice: number,
    act: (call: Call, a: Uint8Array, b: Uint8Array, c: number, d: number) => void,
  ): CoreFunction =>
  (atA, lengthA, atB, lengthB, c, d) => {
    const now = call();
    now.pay(price + bytePrice * (lengthA! >>> 0) + bytePrice * (lengthB! >>> 0));
    const a = now.memory.view(atA!, lengthA!);
    act(now, a, now.memory.view(atB!, lengthB!), c!, d!);
  };
  const giving =
    (price: number, bytes: (event: AppliedEvent) => Uint8Array): CoreFunction => (to) => {
      const now = call();
      now.pay(price);
      now.memory.writeList(to!, bytes(now.event));
    };
  const number = (price: number, value: (event: AppliedEvent) => number): CoreFunction => () => {
    const now = call();
    now.pay(price);
    return BigInt(value(now.event));
  };
  const giveOption = ({ memory, pay }: Call, to: number, bytes: Uint8Array | undefined) => {
    pay(BYTE_PRICE * (bytes?.length ?? 0));
    memory.writeOption(to, bytes);
  };
  return {
    "state-read": {
      get: taking(PRICES["state-read"].get, BYTE_PRICE, (now, key, to) => {
        giveOption(now, to, now.writes.get(key));
      }),
      scan: takingTwo(PRICES["state-read"].scan, BYTE_PRICE, (now, start, end, limit, to) => {
        giveEntries(now, to, now.writes.scan(start, end, limit >>> 0));
      }),
    },
    "state-write": {
      put: takingTwo(PRICES["state-write"].put, BYTE_PRICE, ({ writes }, key, value) => {
        try {
          writes.put(key, value.slice());
        } catch (error) {
          throw error instanceof BeyondBounds ? trap(`beyond a bound: ${error.message}`) : error;
        }
      }),
      delete: taking(PRICES["state-write"].delete, BYTE_PRICE, ({ writes }, key) => {
        writes.delete(key);
      }),
    },
    params: {
      get: taking(PRICES.params.get, BYTE_PRICE, (now, name, to) => {
        giveOption(now, to, params.get(textOf(name)));
      }),
      creator: giving(PRICES.params.creator, () => creator),
    },
    event: {
      id: giving(PRICES.event.id, ({ id }) => id),
      author: giving(PRICES.event.author, ({ author }) => author),
      seq: number(PRICES.event.seq, ({ seq }) => seq),
      lamport: number(PRICES.event.lamport, ({ lamport }) => lamport),
      kind: giving(PRICES.event.kind, ({ kind }) => kind),
    },
    crypto: {
      sha256: taking(PRICES.crypto.sha256, HASHED_BYTE_PRICE, ({ memory }, data, to) => {
        memory.writeList(to, sha256(data));
      }),
      verify: (...args) => {
        const now = call();
        const [key, signature, message] = [0, 2, 4].map((i) => [args[i]!, args[i + 1]!] as const);
        const bytes = (key![1] >>> 0) + (signature![1] >>> 0) + (message![1] >>> 0);
        now.pay(PRICES.crypto.verify + HASHED_BYTE_PRICE * bytes);
        const view = ([at, length]: readonly [number, number]) => now.memory.view(at, length);
        // In this order they are looked at: the first that is out of bounds is what the guest traps for.
        const [k, s, m] = [view(key!), view(signature!), view(message!)];
        return verify(k, m, s) ? 0 : 1;
      },
      "check-canonical": taking(
        PRICES.crypto["check-canonical"],
        HASHED_BYTE_PRICE,
        (_, data) => isCanonical(data) ? 0 : 1,
      ),
    },
    log: {
      // The level comes first.
      write: (_level, _pointer, length) => {
        const now = call();
        now.pay(PRICES.log.write + BYTE_PRICE * (length! >>> 0));
        now.memory.view(_pointer!, length!);
      },
    },
  };
}

/** Hands a `list<entry>` to the guest: entries of four words, each list in a place of its own. */
function giveEntries({ memory, pay }: Call, to: number, entries: readonly Entry[]): void {
  const bytes = entries.reduce((sum, { key, value }) => sum + key.length + value.length, 0);
  pay(ENTRY_PRICE * entries.length + BYTE_PRICE * bytes);
  const list = memory.allocate(16 * entries.length, 4);
  for (const [i, { key, value }] of entries.entries()) {
    memory.writeList(list + 16 * i, key);
    memory.writeList(list + 16 * i + 8, value);
  }
  memory.setU32(to, list);
  memory.setU32(to + 4, entries.length);
}
