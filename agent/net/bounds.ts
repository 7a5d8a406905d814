/**
 * What others may take of this node by way of its network. All of it holds before a key is trusted.
 *
 * @module
 */

/** Bounds of one node; sizes in bytes, times in milliseconds. */
export interface NetworkBounds {
  /** Connections together; more are turned away. */
  readonly connectionsMax: number;
  /** Sockets that came in from one address. */
  readonly connectionsPerAddressMax: number;
  /** Connections in their handshake that others opened. */
  readonly pendingMax: number;
  /** Of them, of one address, so that it cannot keep others out. */
  readonly pendingPerAddressMax: number;
  /** New sockets from one address in a second: many nodes may start together behind one. */
  readonly newPerSecondMax: number;
  /** Connections of keys that may not open the protocols of members, which others opened. */
  readonly strangersMax: number;
  /** Of them, of one address. */
  readonly strangersPerAddressMax: number;
  /** For the handshake of a connection, and for a new stream to say its protocol. */
  readonly handshakeMs: number;
  /** For a dial, all of it. */
  readonly dialMs: number;
  /** Time between two questions whether a peer is there; silence breaks the connection. */
  readonly pingMs: number;
  /** Streams that the other end of one connection may have open. */
  readonly streamsMax: number;
  /** Of them, of one protocol. */
  readonly streamsPerProtocolMax: number;
  /** Bytes of one stream that the other end may send ahead of a reader. */
  readonly windowBytesMax: number;
  /** Bytes of all streams that were sent and that nobody has read, with what it costs to keep them. */
  readonly unreadBytesMax: number;
  /** Bytes of one connection that wait to be sent; past them it breaks. */
  readonly unsentBytesMax: number;
  /** Frames of less than 1 KiB that one connection may send in a second. */
  readonly smallFramesPerSecondMax: number;
}

/** What holds where nothing else is said. */
export const NETWORK_BOUNDS: NetworkBounds = Object.freeze({
  connectionsMax: 256,
  connectionsPerAddressMax: 64,
  pendingMax: 64,
  pendingPerAddressMax: 32,
  newPerSecondMax: 100,
  strangersMax: 64,
  strangersPerAddressMax: 16,
  handshakeMs: 10_000,
  dialMs: 15_000,
  pingMs: 5_000,
  streamsMax: 512,
  streamsPerProtocolMax: 256,
  windowBytesMax: 1024 * 1024,
  unreadBytesMax: 128 * 1024 * 1024,
  unsentBytesMax: 32 * 1024 * 1024,
  smallFramesPerSecondMax: 40_000,
});
