import assert from "node:assert/strict";
import { PeerHub } from "../../tests/peer_network.ts";
import { State } from "../apps/state.ts";
import { snapshotForm } from "../apps/state_snapshot.ts";
import { encodeRecord, SnapshotStore, type TopicSnapshot } from "../apps/topic/topic_snapshot.ts";
import { cidOf } from "../kernel/canonical.ts";
import { RealmError } from "../kernel/error.ts";
import type { PeerStream } from "../kernel/ports.ts";
import { StreamReader } from "../kernel/stream_reader.ts";
import { MemoryStore } from "../store/memory_store.ts";
import { systemClock } from "../node/system_clock.ts";
import { PeerSnapshots, SNAPSHOT_PROTOCOL } from "./peer_snapshots.ts";

const ABI = 1;
const TOPIC = cidOf(Uint8Array.of(1));

function stateOf(seed: number): State {
  const journal = State.EMPTY.journal();
  for (let i = 0; i < 1000; i++) {
    journal.put(new TextEncoder().encode(`key ${i}`), new Uint8Array(200).fill(i + seed));
  }
  return journal.commit();
}

function snapshotOf(state: State): TopicSnapshot {
  const { index, chunks } = snapshotForm(state, ABI);
  const record = {
    abi: ABI,
    bundle: "bundle",
    length: 7,
    order: new Uint8Array(32),
    heads: new Uint8Array(32),
    count: 8,
    digest: state.digest(ABI),
    index,
  };
  return { record, chunks: new Map([...chunks].map(([name, chunk]) => [name, chunk()])) };
}

const state = stateOf(0);
const snapshot = snapshotOf(state);
const { digest } = snapshot.record;

const hasCode = (code: string, message: RegExp) => (error: unknown) =>
  error instanceof RealmError && error.code === code && message.test(error.message) ||
  assert.fail(`${error}, wanted ${code} ${message}`);

class Net {
  readonly hub = new PeerHub("memory");
  readonly asked: string[] = [];

  async peer(name: string, mayHave: (peer: string) => boolean = () => false) {
    const store = new SnapshotStore(new MemoryStore());
    const network = await this.hub.join(name);
    const snapshots = new PeerSnapshots({
      network,
      clock: systemClock,
      snapshots: (peer, topic) => {
        this.asked.push(name);
        return mayHave(peer) && topic === TOPIC.toString() ? store : undefined;
      },
    });
    return { snapshots, store };
  }

  /** A node that answers as it likes. */
  async liar(name: string, answer: (stream: PeerStream) => Promise<void>): Promise<void> {
    (await this.hub.join(name)).handle(SNAPSHOT_PROTOCOL, (stream) => {
      this.asked.push(name);
      void new StreamReader(stream).read(68).then(() => answer(stream)).catch(() => {});
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.hub.close();
  }
}

const framed = (bytes: Uint8Array) => {
  const all = new Uint8Array(4 + bytes.length);
  new DataView(all.buffer).setUint32(0, bytes.length);
  all.set(bytes, 4);
  return all;
};

Deno.test("PeerSnapshots fetches a state from the first peer that has it, and may give it", async () => {
  await using net = new Net();
  const { snapshots: asker } = await net.peer("asker");
  await net.peer("empty", () => true);
  const { store: closed } = await net.peer("closed");
  const { store: giver } = await net.peer("giver", (peer) => peer === "asker");
  closed.save(snapshot, "pinned", 0);
  giver.save(snapshot, "pinned", 0);
  const peers = ["empty", "closed", "giver"];
  const fetched = await asker.fetch(TOPIC, digest, ABI, peers);
  assert.deepEqual(fetched.state.digest(ABI), digest);
  assert.deepEqual(fetched.snapshot.record, snapshot.record);
  assert.deepEqual([...fetched.snapshot.chunks.keys()].sort(), [...snapshot.chunks.keys()].sort());
  assert.deepEqual(net.asked, ["empty", "closed", "giver"]);
  const other = cidOf(Uint8Array.of(2));
  await assert.rejects(
    asker.fetch(other, digest, ABI, peers),
    hasCode("not-found", /3 peers do not have it/),
  );
  await assert.rejects(asker.fetch(TOPIC, digest, ABI, []), hasCode("not-found", /no peer of it/));
});

Deno.test("PeerSnapshots takes nothing of another state, and asks liars no more", async () => {
  const other = snapshotOf(stateOf(1));
  const answers: Record<string, [Uint8Array[], RegExp]> = {
    another: [[encodeRecord(other.record)], /it is another/],
    abi: [
      [encodeRecord({ ...snapshot.record, abi: ABI + 1 }), ...snapshot.chunks.values()],
      /it is another/,
    ],
    index: [[encodeRecord({ ...snapshot.record, index: other.record.index })], /another digest/],
    chunk: [[encodeRecord(snapshot.record), [...other.chunks.values()][0]!], /not of this state/],
    twice: [
      [encodeRecord(snapshot.record), ...Array(20).fill([...snapshot.chunks.values()][0]!)],
      /came twice/,
    ],
    noise: [[new Uint8Array(40).fill(7)], /dag-cbor|record/],
  };
  for (const [name, [parts, wanted]] of Object.entries(answers)) {
    await using net = new Net();
    const { snapshots: asker } = await net.peer("asker");
    await net.liar(name, async (stream) => {
      for (const part of parts) await stream.write(framed(part));
      await stream.end();
    });
    const peers = [name];
    await assert.rejects(asker.fetch(TOPIC, digest, ABI, peers), hasCode("not-found", wanted));
    await assert.rejects(asker.fetch(TOPIC, digest, ABI, peers), hasCode("not-found", /not asked/));
    assert.deepEqual(net.asked, [name]);
  }
});

Deno.test("PeerSnapshots asks a peer again that ended early or broke the stream", async () => {
  const answers: Record<string, (stream: PeerStream) => Promise<void>> = {
    "ends in a record": async (stream) => {
      await stream.write(framed(encodeRecord(snapshot.record)).subarray(0, 30));
      await stream.end();
    },
    "ends after it": async (stream) => {
      await stream.write(framed(encodeRecord(snapshot.record)));
      await stream.end();
    },
    "breaks it": async (stream) => {
      await stream.write(framed(encodeRecord(snapshot.record)).subarray(0, 30));
      stream.abort();
    },
  };
  for (const [name, answer] of Object.entries(answers)) {
    await using net = new Net();
    const { snapshots: asker } = await net.peer("asker");
    await net.liar(name, answer);
    for (let i = 0; i < 2; i++) {
      await assert.rejects(asker.fetch(TOPIC, digest, ABI, [name]), hasCode("not-found", /Cannot/));
    }
    assert.deepEqual(net.asked, [name, name]);
  }
});
