/**
 * What can go wrong with the network, in one word each.
 *
 * @module
 */

/** The words; those with a counterpart in `wasi:sockets` are its `error-code`. */
export type NetworkErrorCode =
  /** No grant names it, or it leads where none may. */
  | "access-denied"
  /** A granted name led to prohibited addresses only. */
  | "address-prohibited"
  | "invalid-argument"
  | "name-unresolvable"
  | "temporary-resolver-failure"
  | "permanent-resolver-failure"
  | "timeout"
  | "connection-refused"
  | "connection-reset"
  | "connection-aborted"
  | "remote-unreachable"
  | "address-in-use"
  | "address-not-bindable"
  | "new-socket-limit"
  | "datagram-too-large"
  | "tls-certificate"
  | "tls-protocol"
  | "aborted"
  | "unknown";

/** A failure of the network. `reason` is what the guest's host learns, see `Service`. */
export class NetworkError extends Error {
  override readonly name = "NetworkError";

  constructor(
    readonly reason: NetworkErrorCode,
    message: string = reason,
    options: { cause?: unknown } = {},
  ) {
    super(message, options);
  }

  /** What an error of Deno or of the system means. */
  static from(error: unknown): NetworkError {
    if (error instanceof NetworkError) return error;
    const { name = "", code = "", message = String(error) } = error as Partial<
      Error & { code: string }
    >;
    const reason = CODES[code] ?? NAMES[name] ?? "unknown";
    return new NetworkError(reason, message, { cause: error });
  }
}

/** By `code`, the name of the system's error number. */
const CODES: Readonly<Record<string, NetworkErrorCode>> = {
  EACCES: "access-denied",
  EPERM: "access-denied",
  ECONNREFUSED: "connection-refused",
  ECONNRESET: "connection-reset",
  EPIPE: "connection-reset",
  ECONNABORTED: "connection-aborted",
  EHOSTUNREACH: "remote-unreachable",
  EHOSTDOWN: "remote-unreachable",
  ENETUNREACH: "remote-unreachable",
  ENETDOWN: "remote-unreachable",
  ENONET: "remote-unreachable",
  ETIMEDOUT: "timeout",
  EADDRINUSE: "address-in-use",
  EADDRNOTAVAIL: "address-not-bindable",
  EMFILE: "new-socket-limit",
  ENFILE: "new-socket-limit",
  ENOBUFS: "new-socket-limit",
  EMSGSIZE: "datagram-too-large",
  EINVAL: "invalid-argument",
};

/** By the name of Deno's error class. */
const NAMES: Readonly<Record<string, NetworkErrorCode>> = {
  ConnectionRefused: "connection-refused",
  ConnectionReset: "connection-reset",
  BrokenPipe: "connection-reset",
  ConnectionAborted: "connection-aborted",
  TimedOut: "timeout",
  TimeoutError: "timeout",
  AbortError: "aborted",
  AddrInUse: "address-in-use",
  AddrNotAvailable: "address-not-bindable",
  NetworkUnreachable: "remote-unreachable",
  PermissionDenied: "access-denied",
  NotCapable: "access-denied",
};
