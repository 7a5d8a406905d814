import assert from "node:assert/strict";
import { setImmediate } from "node:timers";
import fc from "fast-check";
import { FrameParser, type LinkEvents, LinkStream } from "./link_stream.ts";
import type { PeerStream } from "../kernel/ports.ts";
import { FRAME_BYTES_MAX, HELLO_BYTES_MAX } from "../kernel/peering/fields.ts";

/** A stream whose writes wait until they are let through. */
class FakeStream implements PeerStream {
  readonly peer = "ed25519:peer";
  readonly protocol = "/realm/link/1.0.0";
  readonly written: Uint8Array[] = [];
  aborted = false;
  ended = false;
  gate: Promise<void> = Promise.resolve();
  #chunks: (Uint8Array | null)[] = [];
  #wake = Promise.withResolvers<void>();

  give(chunk: Uint8Array | null): void {
    this.#chunks.push(chunk);
    this.#wake.resolve();
  }
  async read(): Promise<Uint8Array | null> {
    while (this.#chunks.length === 0) {
      this.#wake = Promise.withResolvers();
      await this.#wake.promise;
      if (this.aborted) throw new Error("aborted");
    }
    return this.#chunks.shift()!;
  }
  async write(bytes: Uint8Array): Promise<void> {
    await this.gate;
    if (this.aborted) throw new Error("aborted");
    this.written.push(bytes.slice());
  }
  end(): Promise<void> {
    this.ended = true;
    return Promise.resolve();
  }
  abort(): void {
    this.aborted = true;
    this.#wake.resolve();
  }
}

function events() {
  const seen: string[] = [];
  const on: LinkEvents = {
    frame: (bytes) => void seen.push(`frame ${bytes.length}`),
    room: () => seen.push("room"),
    closed: (reason) => seen.push(`closed: ${reason}`),
  };
  return { seen, on };
}

const settled = () => new Promise((resolve) => setTimeout(resolve, 1));
const framed = (...lengths: number[]) =>
  Uint8Array.from(lengths.flatMap((length) => {
    const head = new Uint8Array(4);
    new DataView(head.buffer).setUint32(0, length);
    return [...head, ...new Uint8Array(length).fill(length & 0xff)];
  }));

Deno.test("FrameParser finds the same frames wherever chunks end", () => {
  const property = fc.property(
    fc.array(fc.integer({ min: 1, max: 300 }), { maxLength: 8 }),
    fc.array(fc.integer({ min: 1, max: 90 }), { minLength: 1 }),
    (lengths, cuts) => {
      const bytes = framed(...lengths);
      const parser = new FrameParser();
      const found: Uint8Array[] = [];
      for (let at = 0, i = 0; at < bytes.length; i++) {
        const end = at + cuts[i % cuts.length]!;
        found.push(...parser.take(bytes.subarray(at, end)));
        at = end;
      }
      assert.deepEqual(
        found,
        lengths.map((length) => new Uint8Array(length).fill(length & 0xff)),
      );
    },
  );
  fc.assert(property, { numRuns: 200 });
});

Deno.test("FrameParser refuses lengths out of bounds before it keeps anything", () => {
  for (const length of [0, HELLO_BYTES_MAX + 1, 2 ** 32 - 1]) {
    assert.throws(() => [...new FrameParser().take(lengthOf(length))], RangeError);
  }
  const parser = new FrameParser();
  assert.equal([...parser.take(framed(HELLO_BYTES_MAX))].length, 1);
  assert.equal([...parser.take(framed(HELLO_BYTES_MAX + 1))].length, 1, "only the first is short");
  assert.throws(() => [...parser.take(lengthOf(FRAME_BYTES_MAX + 1))], RangeError);
});

function lengthOf(length: number): Uint8Array {
  const head = new Uint8Array(4);
  new DataView(head.buffer).setUint32(0, length);
  return head;
}

Deno.test("LinkStream says when there is no room, and when there is again", async () => {
  const stream = new FakeStream();
  const { promise, resolve } = Promise.withResolvers<void>();
  stream.gate = promise;
  const { seen, on } = events();
  const link = new LinkStream(stream, on);
  assert.equal(link.send(new Uint8Array(600 * 1024)), true);
  assert.equal(link.send(new Uint8Array(600 * 1024)), false);
  await settled();
  assert.deepEqual(seen, []);
  resolve();
  await settled();
  assert.deepEqual(seen, ["room"]);
  assert.equal(stream.written.reduce((sum, { length }) => sum + length, 0), 2 * (600 * 1024 + 4));
  link.close();
});

Deno.test("LinkStream ends with the stream, once, and breaks one that breaks the rules", async () => {
  for (const [chunk, reason] of [[null, /it ended/], [lengthOf(0), /a frame of 0/]] as const) {
    const stream = new FakeStream();
    const { seen, on } = events();
    const link = new LinkStream(stream, on);
    stream.give(framed(5));
    stream.give(chunk);
    await settled();
    assert.equal(seen[0], "frame 5");
    assert.match(seen[1]!, reason);
    assert.equal(seen.length, 2);
    assert.ok(stream.aborted);
    link.close();
    link.send(new Uint8Array(1));
    await settled();
    assert.deepEqual([seen.length, stream.written.length], [2, 0]);
  }
});

Deno.test("LinkStream tells nothing once it is closed from here", async () => {
  const stream = new FakeStream();
  const { seen, on } = events();
  const link = new LinkStream(stream, on);
  link.close();
  stream.give(framed(5));
  await settled();
  assert.deepEqual(seen, []);
});

Deno.test("LinkStream that is finished sends what waits, tells nothing, and ends with the other side", async () => {
  const stream = new FakeStream();
  const { promise, resolve } = Promise.withResolvers<void>();
  stream.gate = promise;
  const { seen, on } = events();
  const link = new LinkStream(stream, on);
  for (const length of [3, 4]) link.send(new Uint8Array(length));
  link.finish();
  link.send(new Uint8Array(9));
  stream.give(framed(5));
  await settled();
  assert.deepEqual([stream.ended, stream.aborted], [false, false]);
  resolve();
  await settled();
  const written = stream.written.reduce((sum, { length }) => sum + length, 0);
  assert.deepEqual([written, stream.ended, stream.aborted], [2 * 4 + 3 + 4, true, false]);
  stream.give(null);
  await settled();
  assert.deepEqual([seen, stream.aborted], [[], true]);
});

/** A link each of whose frames takes so long, and how many were told. */
function slowLink(stream: PeerStream, frameMs: number) {
  let told = 0;
  const ended = Promise.withResolvers<void>();
  const link = new LinkStream(stream, {
    frame: () => {
      told++;
      for (const from = performance.now(); performance.now() - from < frameMs;);
    },
    room: () => {},
    closed: () => ended.resolve(),
  });
  return { link, told: () => told, ended: ended.promise };
}

Deno.test("LinkStream gives everything else its turn, however much there is to tell at once", async () => {
  const stream = new FakeStream();
  const { link, told, ended } = slowLink(stream, 1);
  let toldBefore = Infinity;
  stream.give(framed(...new Array(300).fill(1)));
  for (let i = 0; i < 300; i++) stream.give(framed(1));
  stream.give(null);
  setTimeout(() => toldBefore = told(), 0);
  await ended;
  assert.equal(told(), 600);
  assert.ok(toldBefore < 300, "the timer came after all frames of a chunk");
  link.close();
});

Deno.test("LinkStream lets what takes many turns of the event loop come to its end", async () => {
  const stream = new FakeStream();
  const { link, told, ended } = slowLink(stream, 10);
  let isOver = false;
  for (let i = 0; i < 30; i++) stream.give(framed(1));
  stream.give(null);
  const turns = (async () => {
    for (let turn = 0; turn < 24 && !isOver; turn++) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    return told();
  })();
  await ended;
  isOver = true;
  assert.equal(told(), 30);
  assert.ok(await turns < 10, "each turn of the other came after a slice of frames");
  link.close();
});

Deno.test("LinkStream tells the next frame when there is room for it", async () => {
  const stream = new FakeStream();
  const { seen, on } = events();
  const room = Promise.withResolvers<void>();
  new LinkStream(stream, {
    ...on,
    frame: (bytes) => {
      on.frame(bytes);
      if (bytes.length === 2) return room.promise;
    },
  });
  stream.give(framed(1, 2, 3));
  stream.give(null);
  await settled();
  assert.deepEqual(seen, ["frame 1", "frame 2"]);
  room.resolve();
  await settled();
  assert.deepEqual(seen, ["frame 1", "frame 2", "frame 3", "closed: it ended"]);
});
