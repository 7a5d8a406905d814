/**
 * What a topic of an app costs: to write to it, to read it again, to take what comes late, to find out
 * where two peers differ, to get it from another peer. Beside it what Autobase and Canvas gossiplog take
 * for what of that they do.
 *
 * Events have 200 bytes of payload; the app keeps each under one of a thousand keys. The peers are run by
 * Node, from `bench/peers`, where their packages are installed and nothing of realm is.
 *
 * @module
 */
import * as path from "node:path";
import * as process from "node:process";
import { StateApply } from "../agent/apps/guest/state_apply.ts";
import { componentOf, moduleText } from "../agent/apps/guest/component_fake.ts";
import { ABI } from "../agent/apps/guest/prices.ts";
import { Replay } from "../agent/apps/replay.ts";
import { State } from "../agent/apps/state.ts";
import { answerDrift, DriftSearch } from "../agent/apps/state_digest.ts";
import { snapshotForm, SnapshotReader } from "../agent/apps/state_snapshot.ts";
import { inviteTo, joinBy } from "../agent/apps/topic/authoring.ts";
import { AppLog } from "../agent/apps/topic/app_log.ts";
import { replayParts } from "../agent/apps/topic/app_replay.ts";
import { nodeBackend } from "../agent/node/crypto_node.ts";
import { cidOf } from "../agent/kernel/canonical.ts";
import { decodeSigned, encodeSigned, eventAt, signEventSync } from "../agent/kernel/event.ts";
import { keyPairOf, signerOf, type SyncSigner, verifierOf } from "../agent/kernel/verify.ts";
import { MemoryStore } from "../agent/store/memory_store.ts";
import { SqliteStore } from "../agent/store/sqlite_store.ts";
import { hostileLate } from "./app_hostile.ts";
import { fiveWriters, startGiver } from "./app_network.ts";
import { startTopic } from "./app_start.ts";
import { runPeers, type Sample } from "./app_peers.ts";
import type { BenchContext, Benchmark } from "./bench.ts";
import { withFolder } from "./programs.ts";
import { figure, goal, type Table } from "./report.ts";

const PAYLOAD_BYTES = 200;
const KEYS = 1000;
const KIND = "note";

const backend = nodeBackend();
/** As any peer has it. */
export const verify = verifierOf(backend);
/** What the topics begin with. */
export const bundle = cidOf(Uint8Array.of(1));

/** Somebody with a key, the same each time. */
export async function signerFrom(byte: number): Promise<SyncSigner> {
  return signerOf(await keyPairOf(new Uint8Array(32).fill(byte), backend), backend);
}

/** A payload of the app's: its key, and bytes that are not all the same. */
export function payloadOf(i: number): Uint8Array {
  const payload = new Uint8Array(PAYLOAD_BYTES).fill(i);
  new DataView(payload.buffer).setUint32(0, i % KEYS);
  return payload;
}

/** A new topic. */
export function createLog(store: SqliteStore | MemoryStore, signer: SyncSigner): AppLog {
  const content = { app: bundle, bundle, params: new Map(), isEncrypted: false, fork: undefined };
  const random = { bytes: (n: number) => crypto.getRandomValues(new Uint8Array(n)) };
  return AppLog.create({ store, verify }, content, { signer, random });
}

/** The next event of somebody. */
export function write(log: AppLog, i: number, signer: SyncSigner) {
  return log.append({ type: KIND, payload: payloadOf(i) }, signer);
}

let component: Promise<Uint8Array> | undefined;

/** What applies their events: each sets a key to its payload. */
export function componentOfApp(): Promise<Uint8Array> {
  return component ??= componentOf(moduleText(
    "(call $state-write.put (local.get $p) (i32.const 4) (local.get $p) (local.get $n))",
  ));
}

/** What applies the events of a log, which has its genesis. */
export async function replayOf(log: AppLog): Promise<Replay> {
  const setting = { creator: log.topic!.genesis.author, params: new Map() };
  const guest = await StateApply.load(await componentOfApp(), setting, verify);
  const replay = new Replay(replayParts(log, { guestOf: () => guest })!);
  for (const event of log.topic!.order()) {
    if (event !== log.topic!.genesis) replay.added(event);
  }
  log.follow(replay);
  return replay;
}

/** Everything is applied: the digest. */
export function settle(replay: Replay): string {
  replay.update(0);
  if (!replay.isSettled) {
    throw new Error("an event was not applied", { cause: replay.illness?.cause });
  }
  return replay.state.digest(ABI).toHex();
}

/** Takes what so many events take. */
async function timed(count: number, act: () => void | Promise<void>): Promise<Sample> {
  const [from, before] = [performance.now(), process.cpuUsage()];
  await act();
  const { user, system } = process.cpuUsage(before);
  const ms = performance.now() - from;
  return { rate: count / ms * 1000, cpu: (user + system) / count, ms };
}

/** Appends, each awaited: `group` of them at once, which one sync of the disk makes durable. */
async function appends(count: number, group: number, folder: string): Promise<Sample> {
  const store = new SqliteStore(path.join(folder, `append-${group}.db`));
  const signer = await signerFrom(1);
  const log = createLog(store, signer);
  log.flush(0);
  const sample = await timed(count, async () => {
    for (let i = 0; i < count; i += group) {
      for (let n = 0; n < group; n++) write(log, i + n, signer);
      await log.flush(0);
    }
  });
  store.close();
  return sample;
}

/** Topics in a folder: how fast what is stored is applied again, and what another peer sends. */
async function replays(
  count: number,
  folder: string,
): Promise<Record<"started" | "stored" | "signed", () => Promise<Sample>>> {
  const file = path.join(folder, "replay.db");
  const store = new SqliteStore(file);
  const signers = await Promise.all([1, 2, 3, 4, 5].map(signerFrom));
  const made = createLog(store, signers[0]!);
  const encoded: Uint8Array[] = [];
  for (let i = 1; i < count; i++) {
    write(made, i, signers[0]!);
    if (i % 1000 === 0 || i === count - 1) encoded.push(...made.flush(0).map(encodeSigned));
  }
  const wanted = settle(await replayOf(made));
  store.close();
  const check = (digest: string) => {
    if (digest !== wanted) throw new Error("another digest than before");
  };
  return {
    started: () => timed(count, async () => check(await startTopic(file, made.topicId))),
    stored: () =>
      timed(count, async () => {
        const opened = new SqliteStore(file);
        const init = { store: opened, verify, topic: made.topicId };
        check(settle(await replayOf(AppLog.open(init))));
        opened.close();
      }),
    signed: () =>
      timed(count, async () => {
        const log = AppLog.open({ store: new MemoryStore(), verify, topic: made.topicId });
        for (let i = 0; i < encoded.length; i += 500) {
          log.offer(encoded.slice(i, i + 500).map(decodeSigned));
          log.flush(0);
        }
        check(settle(await replayOf(log)));
      }),
  };
}

/** What it takes to take an event that comes `back` events late, the digest included. */
async function late(count: number, back: number): Promise<Sample> {
  const [ann, ben] = await Promise.all([signerFrom(1), signerFrom(2)]);
  const store = new MemoryStore();
  const log = createLog(store, ann);
  const random = { bytes: (n: number) => crypto.getRandomValues(new Uint8Array(n)) };
  const { said, seed } = inviteTo(log, "member", random);
  log.write(said, ann);
  const invite = signerOf(await keyPairOf(seed, backend), backend);
  log.write(joinBy(log, invite, ben.publicKey), ben);
  for (let i = 0; i < count - back; i++) write(log, i, ann);
  const place = log.placeFor(ben.publicKey);
  const event = signEventSync(
    eventAt(ben.publicKey, place, { type: KIND, payload: payloadOf(7) }),
    ben,
  );
  for (let i = count - back; i < count; i++) write(log, i, ann);
  log.flush(0);
  const replay = await replayOf(log);
  settle(replay);
  return await timed(1, () => {
    log.offer([event]);
    settle(replay);
  });
}

/** Questions until the one key is known that two states of so many keys have otherwise. */
function drift(keys: number): number {
  const journal = State.EMPTY.journal();
  const key = new Uint8Array(4);
  for (let i = 0; i < keys; i++) {
    new DataView(key.buffer).setUint32(0, i);
    journal.put(key, key.slice());
  }
  const ours = journal.commit();
  const other = ours.journal();
  new DataView(key.buffer).setUint32(0, keys >> 1);
  other.put(key, Uint8Array.of(1));
  const theirs = other.commit();
  const search = new DriftSearch(ours.tree, ABI, theirs.digest(ABI));
  let questions = 0;
  for (let asked = search.question; asked !== undefined; asked = search.question) {
    search.answer(answerDrift(theirs.tree, asked));
    questions++;
  }
  if (search.found?.key.join() !== key.join()) throw new Error("another key was found");
  return questions;
}

/** A topic's state as a newcomer gets it: milliseconds to make it, check it and put it together; kB. */
async function snapshot(count: number): Promise<{ ms: number; kB: number }> {
  const signer = await signerFrom(1);
  const log = createLog(new MemoryStore(), signer);
  for (let i = 1; i < count; i++) write(log, i, signer);
  log.flush(0);
  const replay = await replayOf(log);
  const wanted = settle(replay);
  const from = performance.now();
  const { index, chunks } = snapshotForm(replay.state, ABI);
  const reader = new SnapshotReader(index, ABI, replay.state.digest(ABI));
  let bytes = index.length;
  for (const chunk of [...chunks.values()].map((encode) => encode())) {
    bytes += chunk.length;
    reader.take(chunk);
  }
  const state = reader.state();
  const ms = performance.now() - from;
  if (state.digest(ABI).toHex() !== wanted) throw new Error("another state");
  return { ms, kB: bytes / 1000 };
}

/** See the module. */
export const apps: Benchmark = async ({ quick, note }: BenchContext): Promise<Table[]> => {
  const size = quick ? 10_000 : 100_000, runs = quick ? 3 : 5;
  const number = (n: number) => n.toLocaleString("en-US");
  const sample = async <T>(name: string, count: number, take: () => T | Promise<T>) => {
    note(name);
    const samples: T[] = [];
    for (let i = 0; i < count; i++) samples.push(await take());
    return samples;
  };
  const rate = (samples: readonly Sample[]) => figure(samples.map(({ rate }) => rate), "/s");
  const cpu = (samples: readonly Sample[]) => figure(samples.map(({ cpu }) => cpu), "µs");
  const ms = (samples: readonly Sample[]) => figure(samples.map(({ ms }) => ms!), "ms");
  const peers = await runPeers({ quick, note });
  return await withFolder(async (folder) => {
    let run = 0;
    const fresh = () => {
      const made = path.join(folder, `${run++}`);
      Deno.mkdirSync(made);
      return made;
    };
    const rates = await replays(size, fresh());
    const grouped = await sample("append", runs, () => appends(5000, 100, fresh()));
    const alone = await sample("append alone", runs, () => appends(500, 1, fresh()));
    const started = await sample("start", runs, rates.started);
    const stored = await sample("replay", runs, rates.stored);
    const signed = await sample("replay signed", quick ? 1 : 3, rates.signed);
    const near = await sample("late by 100", runs, () => late(10_000, 100));
    const far = await sample("late by 5,000", runs, () => late(10_000, 5000));
    const keys = quick ? 100_000 : 1_000_000;
    const asked = figure(await sample("drift", 1, () => drift(keys)), "");
    const failures: string[] = [];
    /** What needs a network may fail on a machine that others use up. */
    const networked = async <T>(name: string, take: () => Promise<T>) => {
      try {
        return await sample(name, quick ? 1 : 3, take);
      } catch (error) {
        failures.push(`${name} is left out: ${(error as Error).message}`);
        return undefined;
      }
    };
    /** What newcomers take to whom a node gives a topic of so many events; of no event their time. */
    const given = async (name: string, events: number, what: "take" | "show") => {
      note(`a topic of ${number(events)} to be given`);
      let giver: Awaited<ReturnType<typeof startGiver>> | undefined;
      try {
        const samples = await networked(name, async () => {
          giver ??= await startGiver(fresh(), events);
          return await giver[what]();
        });
        return samples && {
          ms: figure(samples.map(({ ms }) => ms), "ms"),
          cpu: figure(samples.map(({ cpuMs }) => 1000 * cpuMs / events), "µs"),
        };
      } finally {
        await giver?.close();
      }
    };
    const cold = await given("cold sync", 10_000, "take");
    const shown = await given("ticket", size, "show");
    const equal = await networked("five writers", fiveWriters);
    const writers = equal && figure(equal, "ms");
    const hostile = await sample("hostile", quick ? 1 : 3, () => hostileLate(10_000));
    note("snapshot");
    const taken = await snapshot(size);
    const made = figure([taken.ms], "ms"), bytes = figure([taken.kB], "kB");
    const { autobase, gossiplog } = peers;
    /** A rate, and the processor time of one event. */
    const pair = (samples: readonly Sample[]) => [rate(samples), cpu(samples)];
    const rows: Table["rows"][number][] = [
      [
        "append, 100 at once",
        ...pair(grouped),
        ...pair(autobase.batched),
        ...pair(gossiplog.batched),
        goal(rate(grouped), "at least", 5000),
      ],
      [
        "append, one by one",
        ...pair(alone),
        ...pair(autobase.alone),
        ...pair(gossiplog.alone),
        undefined,
      ],
      [
        `replay of ${number(size)} stored`,
        ...pair(started),
        undefined,
        undefined,
        undefined,
        undefined,
        goal(rate(started), "at least", 30_000),
      ],
      [
        "in one thread, each read twice",
        ...pair(stored),
        undefined,
        undefined,
        undefined,
        undefined,
        undefined,
      ],
      [
        "as another peer sends them",
        ...pair(signed),
        ...pair(autobase.replay),
        ...pair(gossiplog.replay),
        goal(rate(signed), "at least", 10_000),
      ],
      [
        "one that comes 100 late",
        ms(near),
        cpu(near),
        undefined,
        undefined,
        undefined,
        undefined,
        goal(ms(near), "at most", 50),
      ],
      [
        "one that comes 5,000 late",
        ms(far),
        cpu(far),
        undefined,
        undefined,
        undefined,
        undefined,
        goal(ms(far), "at most", 50),
      ],
      [
        "cold sync of 10,000",
        cold?.ms,
        cold?.cpu,
        ms(autobase.sync),
        undefined,
        ms(gossiplog.sync),
        undefined,
        goal(cold?.ms, "at most", 3000),
      ],
      [
        "five writers: equal after the last",
        writers,
        undefined,
        undefined,
        undefined,
        undefined,
        undefined,
        goal(writers, "at most", 100),
      ],
      [
        "1,000 late ones of who means harm",
        ms(hostile),
        cpu(hostile),
        undefined,
        undefined,
        undefined,
        undefined,
        goal(ms(hostile), "at most", 2000),
      ],
      [
        `a newcomer to ${number(size)}: its ticket's state`,
        shown?.ms,
        undefined,
        undefined,
        undefined,
        undefined,
        undefined,
        goal(shown?.ms, "at most", 1000),
      ],
      [
        "snapshot for a newcomer: time",
        made,
        undefined,
        undefined,
        undefined,
        undefined,
        undefined,
        goal(made, "at most", 1000),
      ],
      [
        "snapshot: size, 1,000 entries",
        bytes,
        undefined,
        undefined,
        undefined,
        undefined,
        undefined,
        goal(bytes, "at most", 300),
      ],
      [
        `questions to find a key of ${number(keys)}`,
        asked,
        undefined,
        undefined,
        undefined,
        undefined,
        undefined,
        goal(asked, "at most", 20),
      ],
    ];
    return [{
      title: "A topic of an app, payloads of 200 bytes",
      columns: ["", "realm", "CPU", "Autobase", "CPU", "gossiplog", "CPU", "wanted"],
      rows,
      notes: [
        "CPU: processor time of one event, which stands when others use the machine too",
        "appends: signed, and awaited until they are durable. realm: synced to the disk (SQLite, synchronous = FULL); at once: one sync for all of them",
        "replay: from the file to the digest, names and order of events checked; as the agent starts, which hands each event to the Worker of its app; in one thread: without Worker, each event read again to be applied",
        "as another peer sends them: in one thread, signatures verified too",
        "late: 10,000 events are there; verified, placed, everything after it applied again, with the digest",
        "cold sync and newcomer: two processes from source, as an agent has a topic (a file that is synced, the app in its Worker), over TCP on loopback; from the dial until all is applied, or until the state is shown; CPU: of the process that comes",
        "five writers: nodes of one process over TCP on loopback, applied on all; equal: the digests are",
        "late ones of who means harm: 10,000 events are there, and each late one comes by itself and is before them all; the app looks at the state each time, so what it came to before is of no use; time and processor time of all that they cost, until all are applied",
        ...failures,
        ...peers.notes,
      ],
    }];
  });
};
