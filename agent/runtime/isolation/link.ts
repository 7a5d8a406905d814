/**
 * What an agent and the process of a replica say to each other: packets over a stream of bytes.
 *
 * A packet is a message as JSON with bytes beside it: `length of message (u32, little-endian)`,
 * `length of bytes (u32)`, message, bytes. JSON and not V8's own form, because what comes from a
 * process that a guest may have taken over is read here, and JSON makes nothing but plain data.
 *
 * @module
 */

/** A message with the bytes that belong to it. */
export interface Packet {
  readonly message: unknown;
  /** As it came. */
  readonly messageBytes: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** The other side sent what no packet is, or what it may not send. */
export class ProtocolError extends Error {
  override readonly name = "ProtocolError";
}

/**
 * Bytes of one packet from a process at most; who sends more splits it. The largest that is not
 * split sets as many keys as a store takes at once, 4 MiB, the keys as JSON.
 */
export const PACKET_BYTES_MAX = 12 * 1024 * 1024;
/** Bytes of one packet from the agent: arguments and environment are one message. */
export const AGENT_PACKET_BYTES_MAX = 64 * 1024 * 1024;
/** Bytes that are split off at a time: see {@link pieces}. */
export const PIECE_BYTES = 256 * 1024;

const PREFIX_BYTES = 8;
const READ_BYTES = 64 * 1024;
const NONE = new Uint8Array(0);
const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

/** Packet of a message that {@link PacketReader} reads. */
export function encodePacket(message: unknown, bytes: Uint8Array = NONE): Uint8Array<ArrayBuffer> {
  const head = encoder.encode(JSON.stringify(message));
  const packet = new Uint8Array(PREFIX_BYTES + head.length + bytes.length);
  const view = new DataView(packet.buffer);
  view.setUint32(0, head.length, true);
  view.setUint32(4, bytes.length, true);
  packet.set(head, PREFIX_BYTES);
  packet.set(bytes, PREFIX_BYTES + head.length);
  return packet;
}

/** Cuts bytes so that each piece fits a packet; none for none. */
export function* pieces(bytes: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
    yield bytes.subarray(at, at + PIECE_BYTES);
  }
}

/**
 * Puts packets together again from however the bytes come. Holds one packet at most, and what came
 * with its last bytes.
 */
export class PacketReader {
  /** What came and was not read yet are the first {@link #length} bytes of it. */
  #pending: Uint8Array<ArrayBuffer> = NONE;
  #length = 0;

  constructor(readonly packetBytesMax: number) {}

  /** The packets that are complete with `chunk`. Throws {@link ProtocolError}. */
  *read(chunk: Uint8Array): Generator<Packet> {
    this.#append(chunk);
    const data = this.#pending.subarray(0, this.#length);
    const view = new DataView(data.buffer);
    let at = 0;
    while (data.length - at >= PREFIX_BYTES) {
      const headLength = view.getUint32(at, true);
      const bytesLength = view.getUint32(at + 4, true);
      if (headLength + bytesLength > this.packetBytesMax) {
        throw new ProtocolError(`a packet of ${headLength + bytesLength} bytes`);
      }
      const head = at + PREFIX_BYTES;
      const end = head + headLength + bytesLength;
      if (end > data.length) break;
      yield {
        messageBytes: headLength,
        message: parse(data.subarray(head, head + headLength)),
        bytes: data.slice(head + headLength, end),
      };
      at = end;
    }
    if (at === 0) return;
    this.#pending = data.slice(at);
    this.#length = data.length - at;
  }

  /** Grows to twice the size: a packet that comes byte by byte is not copied for each. */
  #append(chunk: Uint8Array): void {
    const length = this.#length + chunk.length;
    if (length > this.#pending.length) {
      const room = new Uint8Array(Math.max(length, 2 * this.#length));
      room.set(this.#pending.subarray(0, this.#length));
      this.#pending = room;
    }
    this.#pending.set(chunk, this.#length);
    this.#length = length;
  }
}

function parse(head: Uint8Array): unknown {
  try {
    return JSON.parse(decoder.decode(head));
  } catch {
    throw new ProtocolError("a message that is not JSON");
  }
}

/** One side of a connection. All that is sent in a turn is written together. */
export class Link {
  #outbox: Uint8Array[] = [];
  #writing: Promise<void> | undefined;
  #queuedBytes = 0;

  /** What it receives may have `receivedBytesMax` in one packet. */
  constructor(readonly connection: Deno.Conn, readonly receivedBytesMax: number) {}

  /** Bytes that wait to be written. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  send(message: unknown, bytes?: Uint8Array): void {
    this.sendPacket(encodePacket(message, bytes));
  }

  sendPacket(packet: Uint8Array): void {
    this.#outbox.push(packet);
    this.#queuedBytes += packet.length;
    this.#writing ??= Promise.resolve().then(() => this.#write());
  }

  /** Resolves when all that was sent is written, or cannot be. */
  async flushed(): Promise<void> {
    await this.#writing;
  }

  async #write(): Promise<void> {
    try {
      while (this.#outbox.length > 0) {
        let data = joined(this.#outbox);
        this.#outbox = [];
        while (data.length > 0) {
          const written = await this.connection.write(data);
          this.#queuedBytes -= written;
          data = data.subarray(written);
        }
      }
    } catch {
      // The other side is gone: reading tells.
      this.#outbox = [];
    } finally {
      this.#writing = undefined;
    }
  }

  /**
   * Gives every packet to `take` until the other side is gone; while `take` waits nothing is read.
   * Throws {@link ProtocolError}, and what `take` throws.
   */
  async receive(take: (packet: Packet) => Promise<void> | void): Promise<void> {
    const reader = new PacketReader(this.receivedBytesMax);
    const buffer = new Uint8Array(READ_BYTES);
    for (;;) {
      let length: number | null;
      try {
        length = await this.connection.read(buffer);
      } catch {
        return; // Reset or closed: gone as well.
      }
      if (length === null) return;
      for (const packet of reader.read(buffer.subarray(0, length))) {
        const waiting = take(packet);
        if (waiting) await waiting;
      }
    }
  }

  close(): void {
    try {
      this.connection.close();
    } catch {
      // It was closed before.
    }
  }
}

/** All parts in one. */
export function joined(parts: readonly Uint8Array[]): Uint8Array {
  if (parts.length === 1) return parts[0]!;
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
