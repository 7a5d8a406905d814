import assert from "node:assert/strict";
import fc from "fast-check";
import { encodePacket, joined, type Packet, PacketReader, pieces, ProtocolError } from "./link.ts";

function readAll(reader: PacketReader, chunks: Iterable<Uint8Array>): Packet[] {
  return [...chunks].flatMap((chunk) => [...reader.read(chunk)]);
}

Deno.test("PacketReader gives what was encoded, however the bytes come", () => {
  const packet = fc.record({ message: fc.jsonValue(), bytes: fc.uint8Array({ maxLength: 300 }) });
  fc.assert(fc.property(
    fc.array(packet, { maxLength: 5 }),
    fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }),
    (packets, lengths) => {
      const stream = joined(packets.map(({ message, bytes }) => encodePacket(message, bytes)));
      const chunks: Uint8Array[] = [];
      for (let at = 0, i = 0; at < stream.length; i++) {
        chunks.push(stream.subarray(at, at += lengths[i % lengths.length]!));
      }
      const plain = (list: readonly { message: unknown; bytes: Uint8Array }[]) =>
        list.map(({ message, bytes }) => [JSON.stringify(message), [...bytes]]);
      assert.deepEqual(plain(readAll(new PacketReader(10_000), chunks)), plain(packets));
    },
  ));
});

Deno.test("PacketReader refuses a packet that is too large before it came, and what is not JSON", () => {
  const reader = () => new PacketReader(1000);
  const head = (message: number, bytes: number) =>
    new Uint8Array(Uint32Array.of(message, bytes).buffer);
  assert.throws(() => readAll(reader(), [head(1001, 0)]), ProtocolError);
  assert.throws(() => readAll(reader(), [head(2, 0xffff_ffff)]), ProtocolError);
  assert.deepEqual(readAll(reader(), [head(500, 500)]), []);
  for (const text of ["{", "\xff", ""]) {
    const bytes = Uint8Array.from(text, (c) => c.charCodeAt(0));
    assert.throws(() => readAll(reader(), [head(bytes.length, 0), bytes]), ProtocolError);
  }
});

Deno.test("PacketReader copies a packet that comes byte by byte a few times, not for each byte", () => {
  const packet = encodePacket({ a: 1 }, new Uint8Array(400_000));
  const reader = new PacketReader(1_000_000);
  const from = performance.now();
  let packets = 0;
  for (let at = 0; at < packet.length; at++) {
    packets += [...reader.read(packet.subarray(at, at + 1))].length;
  }
  assert.equal(packets, 1);
  const ms = performance.now() - from;
  assert.ok(ms < 10_000, `${ms} ms`); // 80 GB of copies take longer
});

Deno.test("pieces() cuts bytes into what fits a packet, in order", () => {
  const bytes = new Uint8Array(600_000).map((_, i) => i % 251);
  const cut = [...pieces(bytes)];
  assert.ok(cut.length > 1 && cut.every((piece) => piece.length <= 256 * 1024));
  assert.deepEqual(joined(cut), bytes);
  assert.deepEqual([...pieces(new Uint8Array(0))], []);
});
