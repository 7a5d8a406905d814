import assert from "node:assert/strict";
import { eventually, type NetworkKind, PeerHub } from "../../tests/peer_network.ts";
import { DiskBlobs } from "../store/disk_blobs.ts";
import { MemoryBlobs } from "../store/memory_blobs.ts";
import { RealmError } from "../kernel/error.ts";
import type { BlobPieces, Blobs, PeerStream } from "../kernel/ports.ts";
import { ChainBuilder, CHUNK_BYTES, chunkCount } from "../kernel/sha256_chain.ts";
import { StreamReader } from "../kernel/stream_reader.ts";
import { systemClock } from "../node/system_clock.ts";
import type { BlobProgress } from "./blob_download.ts";
import { BlobServer, type BlobServerInit } from "./blob_server.ts";
import {
  ABSENT,
  BLOBS_PROTOCOL,
  BUSY,
  CHUNK_HEAD_BYTES,
  encodeAnswer,
  PRESENT,
} from "./blob_wire.ts";
import { PeerBlobs, type PeerBlobsInit } from "./peer_blobs.ts";

const SIZE = 6 * CHUNK_BYTES + 1234;

function blobOf(size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  for (let i = 0, x = size; i < size; i++) {
    bytes[i] = (x = Math.imul(x, 1664525) + 1013904223) >>> 24;
  }
  return bytes;
}

const BLOB = blobOf(SIZE);
const hasCode = (code: string, message = /./) => (error: unknown) =>
  error instanceof RealmError && error.code === code && message.test(error.message);

/** A peer that does as it is told. */
type Answer = (stream: PeerStream, reader: StreamReader) => Promise<void>;

class Realm {
  readonly hub: PeerHub;
  readonly faults: string[] = [];
  readonly progress: BlobProgress[] = [];
  readonly #close: (() => void)[] = [];

  constructor(kind: NetworkKind) {
    this.hub = new PeerHub(kind);
  }

  /** A node that gives what it has. */
  async giver(name: string, blob?: Uint8Array, options: Partial<BlobServerInit> = {}) {
    const blobs = new MemoryBlobs();
    if (blob) await blobs.put(blob);
    const init = { network: await this.hub.join(name), blobs, clock: systemClock, ...options };
    const server = new BlobServer(init);
    this.#close.push(() => server.close());
    return { blobs, server };
  }

  /** A node that answers as it likes. */
  async liar(name: string, answer: Answer): Promise<void> {
    (await this.hub.join(name)).handle(BLOBS_PROTOCOL, (stream) => {
      answer(stream, new StreamReader(stream)).catch(() => {});
    });
  }

  async taker(
    blobs: Blobs & BlobPieces,
    options: Partial<PeerBlobsInit> = {},
  ): Promise<PeerBlobs> {
    const peers = new PeerBlobs({
      network: await this.hub.join("taker"),
      blobs,
      clock: systemClock,
      mayAsk: () => true,
      fault: (peer, fault, reason) => this.faults.push(`${peer} ${fault}: ${reason}`),
      progress: (progress) => this.progress.push(progress),
      ...options,
    });
    this.#close.push(() => peers.close());
    return peers;
  }

  async close(): Promise<void> {
    for (const close of this.#close) close();
    await this.hub.close();
  }
}

async function withRealm(
  use: (realm: Realm) => Promise<void>,
  kind: NetworkKind = "memory",
): Promise<void> {
  const realm = new Realm(kind);
  try {
    await use(realm);
    await eventually(() => realm.hub.open.size === 0, "no stream is left open");
  } finally {
    await realm.close();
  }
}

/** The states before the chunks of {@link BLOB}. */
const STATES = (() => {
  const builder = new ChainBuilder();
  for (let i = 0; i < chunkCount(SIZE); i++) {
    builder.add(BLOB.subarray(i * CHUNK_BYTES, (i + 1) * CHUNK_BYTES));
  }
  return builder.finish().states;
})();

/** The honest beginning of an answer; then `each` chunk that is asked for. */
function claiming(
  size: number,
  each: (stream: PeerStream, reply: Uint8Array, index: number) => Promise<void> | void,
): Answer {
  return async (stream, reader) => {
    await reader.read(32);
    await stream.write(encodeAnswer(PRESENT, size));
    for (let ask; (ask = await reader.read(4));) {
      const index = new DataView(ask.buffer, ask.byteOffset).getUint32(0);
      const bytes = BLOB.subarray(index * CHUNK_BYTES, (index + 1) * CHUNK_BYTES);
      const reply = new Uint8Array(33 + bytes.length);
      reply[0] = PRESENT;
      reply.set(STATES[index] ?? new Uint8Array(32), 1);
      reply.set(bytes, 33);
      await each(stream, reply, index);
    }
  };
}

const flip = (bytes: Uint8Array, at: number) => void (bytes[at]! ^= 1);

Deno.test("fetch() gets a blob from one peer, from several, of every size", async () => {
  for (const size of [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, SIZE]) {
    for (const peers of [1, 3]) {
      await withRealm(async (realm) => {
        const blob = blobOf(size);
        for (let i = 0; i < peers; i++) await realm.giver(`giver ${i}`, blob);
        await realm.giver("empty");
        const blobs = new MemoryBlobs();
        const digest = await new MemoryBlobs().put(blob);
        await (await realm.taker(blobs)).fetch(digest);
        assert.deepEqual(await blobs.get(digest), blob);
        assert.deepEqual(realm.faults, []);
        const last = realm.progress.at(-1)!;
        assert.deepEqual([last.digest, last.size, last.received], [digest, size, size]);
        assert.equal(realm.progress.length, chunkCount(size), "each chunk is written once");
      });
    }
  }
});

Deno.test("fetch() fetches once what is asked for twice, nothing that is here, nothing of strangers", () =>
  withRealm(async (realm) => {
    const digest = await (await realm.giver("a", BLOB)).blobs.put(BLOB);
    await realm.giver("stranger", BLOB);
    const asked: string[] = [];
    const blobs = new MemoryBlobs();
    const peers = await realm.taker(blobs, { mayAsk: (peer) => (asked.push(peer), peer === "a") });
    await Promise.all([peers.fetch(digest), peers.fetch(digest), peers.fetch(digest)]);
    await peers.fetch(digest);
    assert.equal(realm.hub.opened, 1);
    assert.ok(asked.includes("stranger"));
  }));

Deno.test("fetch() says that nobody has it, and who was asked", () =>
  withRealm(async (realm) => {
    const digest = await new MemoryBlobs().put(BLOB);
    const peers = await realm.taker(new MemoryBlobs());
    await assert.rejects(peers.fetch(digest), hasCode("not-found", /none is connected/));
    await realm.giver("a");
    await realm.giver("b");
    await assert.rejects(peers.fetch(digest), hasCode("not-found", /a has not got it|b has not/));
  }));

Deno.test("fetch() takes the blob from the honest one of three", async () => {
  const lies: Record<string, (realm: Realm) => Answer> = {
    "wrong last byte": () =>
      claiming(SIZE, (stream, reply) => (flip(reply, reply.length - 1), stream.write(reply))),
    "wrong state": () => claiming(SIZE, (stream, reply) => (flip(reply, 5), stream.write(reply))),
    "one wrong chunk": () =>
      claiming(SIZE, (stream, reply, index) => {
        if (index === 3) flip(reply, 1000);
        return stream.write(reply);
      }),
    "wrong first chunk": () =>
      claiming(SIZE, (stream, reply, index) => {
        if (index === 0) flip(reply, 1000);
        return stream.write(reply);
      }),
    "another size": () => claiming(SIZE - 1, (stream, reply) => stream.write(reply)),
    "far too large": () => claiming(2 ** 52, (stream, reply) => stream.write(reply)),
    "no answer of ours": () => async (stream) => await stream.write(new Uint8Array(9).fill(0xff)),
    "endless": () => async (stream) => {
      await stream.write(encodeAnswer(PRESENT, SIZE));
      for (;;) await stream.write(new Uint8Array(65536).fill(7));
    },
  };
  for (const [name, lie] of Object.entries(lies)) {
    await withRealm(async (realm) => {
      const digest = await (await realm.giver("honest", BLOB)).blobs.put(BLOB);
      await realm.liar("liar 1", lie(realm));
      await realm.liar("liar 2", lie(realm));
      const blobs = new MemoryBlobs();
      // The honest one is slow, so that the liars are asked.
      const peers = await realm.taker(blobs);
      await peers.fetch(digest);
      assert.deepEqual(await blobs.get(digest), BLOB, name);
      for (const fault of realm.faults) assert.match(fault, /^liar \d lied: /, name);
      assert.ok(!realm.faults.some((fault) => fault.startsWith("honest")), name);
    });
  }
});

Deno.test("fetch() finds out every liar when nobody is honest, and avoids them then", () =>
  withRealm(async (realm) => {
    const digest = await new MemoryBlobs().put(BLOB);
    await realm.liar(
      "a",
      claiming(SIZE, (stream, reply) => (flip(reply, 40), stream.write(reply))),
    );
    await realm.liar("b", claiming(SIZE - 1, (stream, reply) => stream.write(reply)));
    const blobs = new MemoryBlobs();
    const peers = await realm.taker(blobs);
    await assert.rejects(peers.fetch(digest), hasCode("not-found", /sent wrong bytes/));
    assert.deepEqual(realm.faults.map((fault) => fault.slice(0, 6)).toSorted(), [
      "a lied",
      "b lied",
    ]);
    assert.equal(await blobs.begun(digest), undefined, "nothing was written");
    const { opened } = realm.hub;
    await assert.rejects(peers.fetch(digest), hasCode("not-found", /none is connected/));
    assert.equal(realm.hub.opened, opened);
  }));

Deno.test("fetch() goes on without peers that stall, trickle, end or break off", async () => {
  const ways: Record<string, Answer> = {
    "never answers": async (_, reader) => void await reader.read(32),
    "answers and sends nothing": claiming(SIZE, () => {}),
    "trickles": claiming(SIZE, async (stream, reply) => {
      for (let i = 0; i < reply.length; i++) {
        await stream.write(reply.subarray(i, i + 1));
        await systemClock.sleep(20);
      }
    }),
    "ends in a chunk": claiming(SIZE, async (stream, reply) => {
      await stream.write(reply.subarray(0, 100));
      await stream.end();
    }),
    "breaks off": claiming(SIZE, (stream) => stream.abort()),
    "has it no more": claiming(SIZE, async (stream) => {
      await stream.write(new Uint8Array([ABSENT]));
      await stream.end();
    }),
  };
  for (const [name, way] of Object.entries(ways)) {
    await withRealm(async (realm) => {
      await realm.liar("bad", way);
      const blobs = new MemoryBlobs();
      const peers = await realm.taker(blobs, { stallMs: 750, hedgeMs: 20 });
      const digest = await new MemoryBlobs().put(BLOB);
      const fetched = peers.fetchWhenever(digest); // the bad one is asked first
      await eventually(() => realm.hub.opened > 0, "asked");
      await realm.giver("good", BLOB);
      await fetched;
      assert.deepEqual(await blobs.get(digest), BLOB, name);
      assert.ok(!realm.faults.some((fault) => fault.startsWith("good")), name);
    });
  }
});

Deno.test("fetch() reports a peer that stalls as the only one", () =>
  withRealm(async (realm) => {
    await realm.liar("slow", claiming(SIZE, () => {}));
    const digest = await new MemoryBlobs().put(BLOB);
    const peers = await realm.taker(new MemoryBlobs(), { stallMs: 50 });
    await assert.rejects(peers.fetch(digest), hasCode("not-found", /sent nothing for 50 ms/));
    assert.deepEqual(realm.faults, ["slow stalled: sent nothing for 50 ms"]);
  }));

Deno.test("fetch() asks busy peers again, not for ever", () =>
  withRealm(async (realm) => {
    let asked = 0;
    await realm.liar("busy", async (stream, reader) => {
      await reader.read(32);
      if (++asked <= 2) {
        await stream.write(encodeAnswer(BUSY, 0));
        return await stream.end();
      }
      await stream.write(encodeAnswer(ABSENT, 0));
      await stream.end();
    });
    const digest = await new MemoryBlobs().put(BLOB);
    const clock = {
      ...systemClock,
      sleep: (ms: number, signal?: AbortSignal) => systemClock.sleep(ms === 500 ? 1 : ms, signal),
    };
    const peers = await realm.taker(new MemoryBlobs(), { clock });
    await assert.rejects(peers.fetch(digest), hasCode("not-found", /busy has not got it/));
    assert.equal(asked, 3);
    asked = -1e9;
    await assert.rejects(peers.fetch(digest), hasCode("not-found", /busy is busy/));
  }));

Deno.test("fetch() goes on where it was after a restart, however the file was left", async () => {
  const folder = await Deno.makeTempDir({ prefix: "realm-peer-blobs-" });
  try {
    const digest = await new MemoryBlobs().put(BLOB);
    const path = `${folder}/partial/${digest}-${SIZE}`;
    const kept = 5;
    const damages: Record<string, [number, (file: Uint8Array) => Uint8Array]> = {
      "as it was": [kept, (file) => file],
      "the newest chunk was not on the disk": [kept - 1, (file) => {
        const at = (chunkCount(SIZE) - kept) * CHUNK_BYTES;
        return (file.fill(0, at, at + 4096), file);
      }],
      "the newest state was not on the disk": [kept - 1, (file) => file.subarray(0, -32)],
      "a bit was flipped in the third": [2, (file) => {
        flip(file, (chunkCount(SIZE) - 3) * CHUNK_BYTES + 5);
        return file;
      }],
      "nothing of it was": [0, (file) => file.fill(0)],
    };
    for (const [name, [resumed, damage]] of Object.entries(damages)) {
      await withRealm(async (realm) => {
        let given = 0;
        await realm.liar(
          "a",
          claiming(SIZE, async (stream, reply) => {
            if (++given <= kept) await stream.write(reply);
          }),
        );
        const stop = new AbortController();
        const before = await realm.taker(await DiskBlobs.open(folder), {
          progress: ({ received }) => {
            if (received > (kept - 1) * CHUNK_BYTES) stop.abort(new Error("killed"));
          },
        });
        await assert.rejects(before.fetch(digest, { signal: stop.signal }), /killed/);
        before.close();
        await eventually(() => realm.hub.open.size === 0, "streams are closed");
        await Deno.writeFile(path, damage(await Deno.readFile(path)));
        await realm.hub.leave("a");
        const { server } = await realm.giver("b", BLOB);
        const blobs = await DiskBlobs.open(folder);
        await (await realm.taker(blobs)).fetch(digest);
        assert.equal(realm.progress.length, chunkCount(SIZE) - resumed, name);
        assert.deepEqual(await blobs.get(digest), BLOB);
        assert.deepEqual(realm.faults, []);
        await blobs.delete(digest);
        await eventually(() => server.streams === 0, "the server is done");
      });
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("fetch() refuses what is larger than it may be", () =>
  withRealm(async (realm) => {
    const digest = await (await realm.giver("a", BLOB)).blobs.put(BLOB);
    const peers = await realm.taker(new MemoryBlobs(), { bytesMax: SIZE - 1 });
    await assert.rejects(peers.fetch(digest), hasCode("not-found", /wanted at most/));
    assert.deepEqual(realm.faults, []);
  }));

Deno.test("fetch() that is cancelled by all who want it lets go of everything", () =>
  withRealm(async (realm) => {
    await realm.liar("slow", claiming(SIZE, () => {}));
    const digest = await new MemoryBlobs().put(BLOB);
    const peers = await realm.taker(new MemoryBlobs());
    const [one, two] = [new AbortController(), new AbortController()];
    const fetched = [one, two].map(({ signal }) => peers.fetch(digest, { signal }));
    const ends = fetched.map((fetch, i) => assert.rejects(fetch, new RegExp(`enough ${i}`)));
    await eventually(() => realm.hub.open.size === 1, "asked");
    one.abort(new Error("enough 0"));
    await ends[0];
    assert.equal(realm.hub.open.size, 1, "the other one still wants it");
    two.abort(new Error("enough 1"));
    await ends[1];
    assert.deepEqual(realm.faults, []);
  }));

Deno.test("fetch() fails with what the disk says", () =>
  withRealm(async (realm) => {
    const digest = await (await realm.giver("a", BLOB)).blobs.put(BLOB);
    const blobs = new MemoryBlobs();
    blobs.begin = () => Promise.reject(new RealmError("failed", "Cannot begin blob: disk is full"));
    await assert.rejects(
      (await realm.taker(blobs)).fetch(digest),
      hasCode("failed", /disk is full/),
    );
  }));

Deno.test("fetchWhenever() tries again when a peer comes, and after a while", () =>
  withRealm(async (realm) => {
    const digest = await new MemoryBlobs().put(BLOB);
    const blobs = new MemoryBlobs();
    const sleeps: number[] = [];
    const clock = {
      ...systemClock,
      sleep: (ms: number, signal?: AbortSignal) => {
        if (ms >= 1000 && ms !== 2000 + 1) sleeps.push(ms);
        return systemClock.sleep(sleeps.length < 4 ? 1 : ms, signal);
      },
    };
    const peers = await realm.taker(blobs, { clock, stallMs: 999, hedgeMs: 20 });
    const reasons: string[] = [];
    const fetched = peers.fetchWhenever(digest, {
      waiting: ({ message }) => reasons.push(message),
    });
    await eventually(() => sleeps.length === 4, "it waits");
    assert.deepEqual(sleeps, [1000, 2000, 4000, 8000]);
    assert.match(reasons[3]!, /none is connected/);
    await realm.giver("a", BLOB);
    await fetched;
    assert.deepEqual(await blobs.get(digest), BLOB);
    const never = peers.fetchWhenever("0".repeat(64));
    peers.close();
    await assert.rejects(never, /The node closes/);
  }));

Deno.test("BlobServer gives no more streams than it may, and ends those that idle", () =>
  withRealm(async (realm) => {
    const { server } = await realm.giver("a", BLOB, { peerStreamsMax: 2, idleMs: 300 });
    const digest = await new MemoryBlobs().put(BLOB);
    const taker = await realm.hub.join("taker");
    const ask = async () => {
      const stream = await taker.open("a", BLOBS_PROTOCOL);
      await stream.write(Uint8Array.fromHex(digest)).catch(() => {});
      return {
        stream,
        status: await new StreamReader(stream).read(9).then((b) => b?.[0], () => "cut"),
      };
    };
    const asked = await Promise.all([ask(), ask(), ask(), ask(), ask(), ask()]);
    assert.deepEqual(asked.map(({ status }) => status), [
      PRESENT,
      PRESENT,
      BUSY,
      BUSY,
      "cut",
      "cut",
    ]);
    await eventually(() => server.streams === 0, "idle streams end");
    assert.equal((await ask()).status, PRESENT);
    await eventually(() => server.streams === 0, "idle streams end");
    for (const stream of realm.hub.open) stream.abort();
  }));

Deno.test("BlobServer ends who asks for chunks that are not, or does not take what it asked for", () =>
  withRealm(async (realm) => {
    const { server } = await realm.giver("a", BLOB, { idleMs: 200 });
    const digest = await new MemoryBlobs().put(BLOB);
    const taker = await realm.hub.join("taker");
    const wrong = await taker.open("a", BLOBS_PROTOCOL);
    await wrong.write(Uint8Array.fromHex(digest));
    await wrong.read();
    await wrong.write(new Uint8Array([0, 0, 0, chunkCount(SIZE)]));
    await assert.rejects(wrong.read());
    const deaf = await taker.open("a", BLOBS_PROTOCOL);
    await deaf.write(Uint8Array.fromHex(digest));
    for (let i = 0; i < 50; i++) await deaf.write(new Uint8Array([0, 0, 0, 1])).catch(() => {});
    await eventually(() => server.streams === 0, "the deaf one is cut");
    for (const stream of realm.hub.open) stream.abort();
  }));

Deno.test("BlobServer goes through a blob once, however many others are asked for", () =>
  withRealm(async (realm) => {
    const { blobs } = await realm.giver("a");
    let reads = 0;
    const read = blobs.read.bind(blobs);
    blobs.read = (...range) => (reads++, read(...range));
    const digests: string[] = [];
    for (let i = 0; i < 40; i++) digests.push(await blobs.put(blobOf(i + 1)));
    const taker = await realm.hub.join("taker");
    const take = async (digest: string, size: number) => {
      const stream = await taker.open("a", BLOBS_PROTOCOL);
      const reader = new StreamReader(stream);
      await stream.write(Uint8Array.fromHex(digest));
      await reader.read(encodeAnswer(PRESENT, size).length);
      await stream.write(new Uint8Array(4));
      assert.equal((await reader.read(CHUNK_HEAD_BYTES + size))?.[0], PRESENT);
      stream.abort();
    };
    for (const [i, digest] of digests.entries()) await take(digest, i + 1);
    assert.equal(reads, 80, "once to hash it, once to give it");
    for (const [i, digest] of digests.entries()) await take(digest, i + 1);
    assert.equal(reads, 120);
  }));

Deno.test("BlobServer keeps to the rate of a peer", () =>
  withRealm(async (realm) => {
    const slept: number[] = [];
    const clock = {
      ...systemClock,
      monotonicMs: () => 0,
      sleep: (ms: number, signal?: AbortSignal) => {
        if (signal) return systemClock.sleep(ms, signal);
        slept.push(ms);
        return Promise.resolve();
      },
    };
    const digest = await (await realm.giver("a", BLOB, { clock, bytesPerSecond: SIZE / 4 }))
      .blobs.put(BLOB);
    await (await realm.taker(new MemoryBlobs())).fetch(digest);
    assert.ok(slept.length > 4 && Math.abs(slept.at(-1)! - 3000) < 10, `${slept}`);
  }));

Deno.test("BlobServer does not give bytes that its disk has changed", () =>
  withRealm(async (realm) => {
    const { blobs } = await realm.giver("a");
    const digest = await blobs.put(BLOB);
    const damaged = BLOB.slice();
    flip(damaged, 17);
    blobs.damage(digest, damaged);
    const peers = await realm.taker(new MemoryBlobs());
    await assert.rejects(peers.fetch(digest), hasCode("not-found", /has it no more/));
    assert.deepEqual(realm.faults, []);
  }));

Deno.test(
  "fetch() over libp2p: two honest ones, two liars, one that stalls",
  // libp2p has timers of its own that end by themselves.
  { sanitizeOps: false, sanitizeResources: false },
  () =>
    withRealm(async (realm) => {
      const lie = claiming(SIZE, (stream, reply, index) => {
        if (index < 5) flip(reply, 77);
        return stream.write(reply);
      });
      await realm.liar("liar 1", lie);
      await realm.liar("liar 2", claiming(SIZE + 1, (stream, reply) => stream.write(reply)));
      await realm.liar("stalls", claiming(SIZE, () => {}));
      const servers = [await realm.giver("a", BLOB), await realm.giver("b", BLOB)];
      const digest = await servers[0]!.blobs.put(BLOB);
      const blobs = new MemoryBlobs();
      await (await realm.taker(blobs, { hedgeMs: 50, stallMs: 5_000 })).fetch(digest);
      assert.deepEqual(await blobs.get(digest), BLOB);
      assert.ok(realm.faults.every((fault) => /^(liar \d lied|stalls stalled)/.test(fault)));
      await eventually(() => servers.every(({ server }) => server.streams === 0), "all is over");
    }, "libp2p"),
);
