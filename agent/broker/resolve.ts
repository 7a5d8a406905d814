/**
 * Name lookup by the system, so that `/etc/hosts` and the machine's own way of asking hold.
 *
 * @module
 */
import { lookup } from "node:dns";
import { type IpAddress, parseIp } from "../kernel/ip_address.ts";
import { isLoopbackName } from "../kernel/address_policy.ts";
import { NetworkError } from "./network_error.ts";

/**
 * The addresses of a name, in the order in which they should be tried; never none. Who looks up is
 * the owner: one whose names take long to look up keeps nobody else waiting.
 *
 * Throws {@link NetworkError} `name-unresolvable`, `temporary-resolver-failure`,
 * `permanent-resolver-failure`, `timeout`, or `aborted` when the signal is.
 */
export type Resolver = (
  name: string,
  signal?: AbortSignal,
  owner?: object,
) => Promise<IpAddress[]>;

/** Lookups of the whole program that the system works on at once; more wait in turn. */
const LOOKUPS_MAX = 64;
/** Lookups of one owner that the system works on at once. */
const LOOKUPS_EACH_MAX = 4;
/** Lookups of one owner that wait; more fail at once. */
const WAITING_EACH_MAX = 64;
/** A lookup takes this long at most, its wait included. */
const TIMEOUT_MS = 10_000;
/** Addresses of one name that are used. */
const ADDRESSES_MAX = 32;

/** What asks the system; rejects with an error that has a `code` of getaddrinfo. */
export type Ask = (name: string) => Promise<readonly string[]>;

const askSystem: Ask = (name) =>
  new Promise((resolve, reject) =>
    lookup(name, { all: true, order: "verbatim" }, (error, found) => {
      if (error) reject(error);
      else resolve(found.map(({ address }) => address));
    })
  );

const CODES: Readonly<Record<string, NetworkError["reason"]>> = {
  ENOTFOUND: "name-unresolvable",
  ENODATA: "name-unresolvable",
  EAI_NONAME: "name-unresolvable",
  EAI_NODATA: "name-unresolvable",
  EAI_AGAIN: "temporary-resolver-failure",
  ETIMEOUT: "temporary-resolver-failure",
  EAI_FAIL: "permanent-resolver-failure",
};

/** What one owner has under way, and in line. */
interface Share {
  running: number;
  readonly waiting: Set<() => void>;
}

/** A place in line. */
interface Place {
  /** Resolves when it is one's turn; left out where it is at once. */
  readonly turn?: Promise<void>;
  /** Gives the turn, or the place, to the next; may be said again. */
  leave(): void;
}

/** Who is next, among owners who take turns. */
class Line {
  #running = 0;
  /** Whoever has something under way or in line; who was served last stands last. */
  readonly #shares = new Map<object, Share>();

  constructor(readonly max: number, readonly eachMax: number) {}

  /** `undefined` when too many of the same owner wait. */
  enter(owner: object): Place | undefined {
    const share = this.#shares.get(owner) ?? { running: 0, waiting: new Set() };
    this.#shares.set(owner, share);
    let hasTurn = this.#running < this.max && share.running < this.eachMax;
    let turn: Promise<void> | undefined;
    let start: (() => void) | undefined;
    if (hasTurn) this.#count(share, 1);
    else {
      if (share.waiting.size >= WAITING_EACH_MAX) return undefined;
      const given = Promise.withResolvers<void>();
      turn = given.promise;
      start = () => {
        hasTurn = true;
        given.resolve();
      };
      share.waiting.add(start);
    }
    let isOver = false;
    const leave = () => {
      if (isOver) return;
      isOver = true;
      if (start) share.waiting.delete(start);
      if (hasTurn) this.#count(share, -1);
      if (share.running === 0 && share.waiting.size === 0) this.#shares.delete(owner);
      this.#next();
    };
    return { leave, ...(turn ? { turn } : {}) };
  }

  #count(share: Share, by: 1 | -1): void {
    this.#running += by;
    share.running += by;
  }

  #next(): void {
    for (const [owner, share] of this.#shares) {
      if (this.#running >= this.max) return;
      const [start] = share.waiting;
      if (!start || share.running >= this.eachMax) continue;
      share.waiting.delete(start);
      this.#count(share, 1);
      this.#shares.delete(owner); // to the end
      this.#shares.set(owner, share);
      start();
      return;
    }
  }
}

/** Those who do not say who they are. */
const NOBODY = {};

/** A resolver that asks the system, so many times at once at most. */
export function createResolver(
  {
    ask = askSystem,
    lookupsMax = LOOKUPS_MAX,
    lookupsEachMax = LOOKUPS_EACH_MAX,
    timeoutMs = TIMEOUT_MS,
  }: {
    readonly ask?: Ask;
    readonly lookupsMax?: number;
    readonly lookupsEachMax?: number;
    readonly timeoutMs?: number;
  } = {},
): Resolver {
  const line = new Line(lookupsMax, lookupsEachMax);

  const run = async (name: string, { leave }: Place): Promise<readonly string[]> => {
    try {
      return await ask(name);
    } finally {
      // The system cannot be told to stop: a lookup nobody waits for still counts until it ends.
      leave();
    }
  };

  return async (name, signal, owner = NOBODY) => {
    // RFC 6761: the machine itself, whatever anyone's DNS says.
    if (isLoopbackName(name)) return [parseIp("127.0.0.1")!, parseIp("::1")!];
    const place = line.enter(owner);
    if (!place) throw new NetworkError("temporary-resolver-failure");
    const over = Promise.withResolvers<never>();
    over.promise.catch(() => {});
    const abort = () => over.reject(new NetworkError("aborted"));
    const timer = setTimeout(() => over.reject(new NetworkError("timeout")), timeoutMs);
    if (signal?.aborted) abort();
    signal?.addEventListener("abort", abort, { once: true });
    let asked: Promise<readonly string[]> | undefined;
    try {
      if (place.turn) await Promise.race([place.turn, over.promise]);
      asked = run(name, place);
      const found = await Promise.race([asked, over.promise]);
      const addresses = found.flatMap((text) => parseIp(text) ?? []).slice(0, ADDRESSES_MAX);
      if (addresses.length === 0) throw new NetworkError("name-unresolvable");
      return addresses;
    } catch (error) {
      if (error instanceof NetworkError) throw error;
      const { code = "", message } = error as Error & { code?: string };
      throw new NetworkError(CODES[code] ?? "temporary-resolver-failure", message, {
        cause: error,
      });
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
      if (!asked) place.leave();
    }
  };
}
