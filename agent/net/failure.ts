/**
 * What goes wrong between peers, in words: the same for every network.
 *
 * @module
 */
import { RealmError } from "../kernel/error.ts";

/** The gate of this node does not allow a connection. */
export function deniedDial(address: string, key: string): RealmError {
  return new RealmError(
    "refused",
    `Cannot connect to ${address}: this node does not connect to ${key}`,
  );
}

/** There is no connection to open a stream on. */
export function notConnected(peer: string): RealmError {
  return new RealmError("unreachable", `Cannot reach ${peer}: it is not connected`);
}

/** The other end does not answer a protocol, or not to this key. */
export function refusedStream(peer: string, protocol: string, cause?: unknown): RealmError {
  return new RealmError("refused", `Cannot open ${protocol} to ${peer}: it does not answer that`, {
    cause,
  });
}

/** A stream, or the connection it was on, broke. */
export function brokenStream(cause?: unknown): RealmError {
  return new RealmError("unreachable", "Cannot go on with the stream: it was broken", { cause });
}

/** The network was closed. */
export function closedNetwork(): RealmError {
  return new RealmError("unreachable", "Cannot connect: the network of this node is closed");
}
