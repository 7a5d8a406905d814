/**
 * Connections on behalf of a guest: look up, check every address, and dial one of those very
 * addresses. Nobody looks the name up again, so what was checked is what is reached; TLS is given
 * the name.
 *
 * @module
 */
import { formatIp, type IpAddress, parseIp } from "../kernel/ip_address.ts";
import { NetworkError } from "./network_error.ts";
import type { NetworkPolicy, Refusal, Target } from "./network_policy.ts";
import type { Resolver } from "./resolve.ts";

/** A connection takes this long at most, lookup included, unless the caller says otherwise. */
export const CONNECT_TIMEOUT_MS = 30_000;
/** The next address is tried after so long without an answer (RFC 8305, section 5). */
const ATTEMPT_DELAY_MS = 250;

/** Makes a connection to an address; rejects with what `NetworkError.from` understands. */
export type Connect<C> = (address: string, port: number, signal: AbortSignal) => Promise<C>;

/** Dials an address. */
export const connectTcp: Connect<Deno.TcpConn> = (hostname, port, signal) =>
  Deno.connect({ hostname, port, signal });

/** How to dial. */
export interface DialOptions {
  readonly signal?: AbortSignal;
  /** For all of it: lookup, every attempt, TLS. */
  readonly timeoutMs?: number;
}

/** What a {@link Dialer} is made of. */
export interface DialerInit {
  readonly policy: NetworkPolicy;
  readonly resolver: Resolver;
  /** Told of each refusal. */
  readonly refused?: (refusal: Refusal) => void;
  /** Certificates of authorities, in PEM, beside those of the system. */
  readonly caCerts?: readonly string[];
}

/** Dials within the grants of one replica. Everything throws {@link NetworkError}. */
export class Dialer {
  constructor(readonly init: DialerInit) {}

  /**
   * The addresses at which a target may be dialled, checked, in the order to try them.
   *
   * Throws `access-denied` when no grant names it, `address-prohibited` when it leads nowhere that
   * is allowed, and what the resolver throws.
   */
  async addresses(target: Target, signal?: AbortSignal): Promise<IpAddress[]> {
    const { policy, resolver, refused } = this.init;
    const refusal = policy.refusalOfHost(target);
    if (refusal) {
      refused?.(refusal);
      throw new NetworkError("access-denied", refusal.message);
    }
    const literal = parseIp(target.host);
    const found = literal ? [literal] : await resolver(target.host, signal);
    const prohibited: Refusal[] = [];
    const allowed = found.filter((ip) => {
      const refusal = policy.refusalOfAddress(ip, target);
      if (refusal) prohibited.push(refusal);
      return !refusal;
    });
    if (allowed.length > 0) return interleave(allowed);
    const [first] = prohibited;
    refused?.(first!);
    throw new NetworkError("address-prohibited", first!.message);
  }

  /** A TCP connection to a target, or whatever `connect` makes of one of its addresses. */
  dial(target: Target, options?: DialOptions): Promise<Deno.TcpConn>;
  dial<C extends { close(): void }>(
    target: Target,
    options: DialOptions,
    connect: Connect<C>,
  ): Promise<C>;
  async dial(
    target: Target,
    options: DialOptions = {},
    connect: Connect<{ close(): void }> = connectTcp,
  ): Promise<{ close(): void }> {
    return await within(options, async (signal) => {
      const addresses = await this.addresses(target, signal);
      return await race(addresses, target.port, connect, signal);
    });
  }

  /** A TLS connection; the certificate has to be for the name (or address) of the target. */
  async dialTls(
    target: Target,
    { alpnProtocols, ...options }: DialOptions & { readonly alpnProtocols?: string[] } = {},
  ): Promise<Deno.TlsConn> {
    const { caCerts } = this.init;
    return await within(options, async (signal) => {
      const addresses = await this.addresses(target, signal);
      const tcp = await race(addresses, target.port, connectTcp, signal);
      let tls: Deno.TlsConn | undefined;
      const abort = () => (tls ?? tcp).close();
      signal.addEventListener("abort", abort, { once: true });
      try {
        tls = await Deno.startTls(tcp, {
          hostname: target.host,
          ...(caCerts ? { caCerts: [...caCerts] } : {}),
          ...(alpnProtocols ? { alpnProtocols } : {}),
        });
        await tls.handshake();
        return tls;
      } catch (error) {
        try {
          (tls ?? tcp).close();
        } catch { /* it was closed by the signal, or by its failure */ }
        throw signal.aborted ? signal.reason : tlsError(error);
      } finally {
        signal.removeEventListener("abort", abort);
      }
    });
  }
}

function tlsError(error: unknown): NetworkError {
  const known = NetworkError.from(error);
  if (known.reason !== "unknown") return known;
  const isCertificate = /certificate|UnknownIssuer|NotValidForName/i.test(known.message);
  return new NetworkError(isCertificate ? "tls-certificate" : "tls-protocol", known.message, {
    cause: error,
  });
}

/** Runs `act` with a signal that is aborted with the caller's, or when the time is over. */
async function within<T>(
  { signal: outer, timeoutMs = CONNECT_TIMEOUT_MS }: DialOptions,
  act: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const own = new AbortController();
  const abort = () => own.abort(new NetworkError("aborted"));
  const timer = setTimeout(() => own.abort(new NetworkError("timeout")), timeoutMs);
  outer?.addEventListener("abort", abort, { once: true });
  if (outer?.aborted) abort();
  try {
    own.signal.throwIfAborted();
    return await act(own.signal);
  } catch (error) {
    throw own.signal.aborted ? own.signal.reason : NetworkError.from(error);
  } finally {
    clearTimeout(timer);
    outer?.removeEventListener("abort", abort);
  }
}

/** Alternates the families, the first one's first (RFC 8305, section 4). */
export function interleave(addresses: readonly IpAddress[]): IpAddress[] {
  const first = addresses.filter((ip) => ip.length === addresses[0]!.length);
  const second = addresses.filter((ip) => ip.length !== addresses[0]!.length);
  return first.flatMap((ip, i) => second[i] ? [ip, second[i]] : [ip])
    .concat(second.slice(first.length));
}

/** The first connection that comes about; the others are given up. Throws the first failure. */
async function race<C extends { close(): void }>(
  addresses: readonly IpAddress[],
  port: number,
  connect: Connect<C>,
  signal: AbortSignal,
): Promise<C> {
  const won = Promise.withResolvers<C>();
  won.promise.catch(() => {});
  const abort = () => won.reject(signal.reason);
  signal.addEventListener("abort", abort, { once: true });
  /** Those still under way: to abort the winner's would close its connection. */
  const underWay = new Set<AbortController>();
  const failures: unknown[] = [];
  let isOver = false;
  const attempt = async (ip: IpAddress): Promise<void> => {
    const own = new AbortController();
    underWay.add(own);
    try {
      const connection = await connect(formatIp(ip), port, own.signal);
      if (isOver) return connection.close();
      isOver = true;
      won.resolve(connection);
    } catch (error) {
      failures.push(error);
      if (failures.length === addresses.length) won.reject(failures[0]);
    } finally {
      underWay.delete(own);
    }
  };
  try {
    signal.throwIfAborted();
    for (const [i, ip] of addresses.entries()) {
      const tried = attempt(ip);
      if (i === addresses.length - 1) break;
      const pause = Promise.withResolvers<void>();
      const timer = setTimeout(pause.resolve, ATTEMPT_DELAY_MS);
      // The next one at once when this one failed.
      await Promise.race([tried, pause.promise, won.promise.catch(() => {})]);
      clearTimeout(timer);
      if (isOver || signal.aborted) break;
    }
    return await won.promise;
  } finally {
    isOver = true;
    signal.removeEventListener("abort", abort);
    for (const own of underWay) own.abort();
  }
}
