/**
 * How a datagram travels between a guest's Worker and the agent: one chunk of a pipe, which is the
 * port of the other side (two bytes), the length of its address (one), the address, the payload.
 *
 * @module
 */
import type { IpAddress } from "./ip_address.ts";

/** A datagram and where it comes from, or goes to. */
export interface Datagram {
  readonly address: IpAddress;
  readonly port: number;
  readonly payload: Uint8Array;
}

/** The most bytes of a payload over IPv4, and over IPv6 (RFC 768, RFC 8200). */
export const PAYLOAD_BYTES_MAX = { 4: 65_507, 16: 65_487 } as const;

/** The chunk of a datagram. */
export function packDatagram({ address, port, payload }: Datagram): Uint8Array {
  const chunk = new Uint8Array(3 + address.length + payload.length);
  chunk[0] = port >> 8;
  chunk[1] = port & 0xff;
  chunk[2] = address.length;
  chunk.set(address, 3);
  chunk.set(payload, 3 + address.length);
  return chunk;
}

/** Inverse of {@link packDatagram}; `undefined` when it is none. */
export function unpackDatagram(chunk: Uint8Array): Datagram | undefined {
  const length = chunk[2];
  if ((length !== 4 && length !== 16) || chunk.length < 3 + length) return undefined;
  return {
    port: chunk[0]! << 8 | chunk[1]!,
    address: chunk.slice(3, 3 + length),
    payload: chunk.subarray(3 + length),
  };
}
