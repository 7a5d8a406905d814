/**
 * Name lookup by the system, so that `/etc/hosts` and the machine's own way of asking hold.
 *
 * @module
 */
import { lookup } from "node:dns";
import { type IpAddress, parseIp } from "../kernel/ip_address.ts";
import { isLoopbackName } from "./address_policy.ts";
import { NetworkError } from "./network_error.ts";

/**
 * The addresses of a name, in the order in which they should be tried; never none.
 *
 * Throws {@link NetworkError} `name-unresolvable`, `temporary-resolver-failure`,
 * `permanent-resolver-failure`, `timeout`, or `aborted` when the signal is.
 */
export type Resolver = (name: string, signal?: AbortSignal) => Promise<IpAddress[]>;

/** Lookups of the whole program that the system works on at once; more wait in turn. */
const LOOKUPS_MAX = 16;
/** Lookups that wait; more fail at once. */
const WAITING_MAX = 256;
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

/** A resolver that asks the system, so many times at once at most. */
export function createResolver(
  { ask = askSystem, lookupsMax = LOOKUPS_MAX, timeoutMs = TIMEOUT_MS }: {
    readonly ask?: Ask;
    readonly lookupsMax?: number;
    readonly timeoutMs?: number;
  } = {},
): Resolver {
  let running = 0;
  const waiting = new Set<() => void>();

  const run = async (name: string): Promise<readonly string[]> => {
    try {
      return await ask(name);
    } finally {
      // The system cannot be told to stop: a lookup nobody waits for still counts until it ends.
      const [next] = waiting;
      if (next) waiting.delete(next), next();
      else running--;
    }
  };

  return async (name, signal) => {
    // RFC 6761: the machine itself, whatever anyone's DNS says.
    if (isLoopbackName(name)) return [parseIp("127.0.0.1")!, parseIp("::1")!];
    if (waiting.size >= WAITING_MAX) throw new NetworkError("temporary-resolver-failure");
    const over = Promise.withResolvers<never>();
    over.promise.catch(() => {});
    const abort = () => over.reject(new NetworkError("aborted"));
    const timer = setTimeout(() => over.reject(new NetworkError("timeout")), timeoutMs);
    if (signal?.aborted) abort();
    signal?.addEventListener("abort", abort, { once: true });
    let turn: (() => void) | undefined;
    try {
      if (running < lookupsMax) running++;
      else {
        const given = Promise.withResolvers<void>();
        waiting.add(turn = given.resolve);
        await Promise.race([given.promise, over.promise]);
      }
      const found = await Promise.race([run(name), over.promise]);
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
      if (turn) waiting.delete(turn);
    }
  };
}
