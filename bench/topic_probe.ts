/**
 * One node with a topic of an app, as an agent has it: the events in a file that is synced, the app in
 * its Worker, peers over TCP.
 *
 *     topic_probe.ts give FOLDER COUNT     makes a topic of so many events
 *     topic_probe.ts take FOLDER GIVEN     comes with nothing, gets them, and applies them
 *     topic_probe.ts show FOLDER GIVEN     comes by a ticket, until it shows the state that this names
 *
 * `give` writes a line of JSON when it can be asked ({@link Given}), and stays until its input ends; the
 * others write one at their end ({@link Taken}).
 *
 * @module
 */
import * as path from "node:path";
import * as process from "node:process";
import { AppLog } from "../agent/apps/topic/app_log.ts";
import { inviteTo, joinBy } from "../agent/apps/topic/authoring.ts";
import { CID } from "../agent/kernel/canonical.ts";
import { formatPublicKey } from "../agent/kernel/key.ts";
import { keyPairOf, signerOf } from "../agent/kernel/verify.ts";
import { startLibp2p } from "../agent/net/libp2p_network.ts";
import { nodeBackend } from "../agent/node/crypto_node.ts";
import { systemClock } from "../agent/node/system_clock.ts";
import { MemoryStore } from "../agent/store/memory_store.ts";
import { SqliteStore } from "../agent/store/sqlite_store.ts";
import { AppSharing } from "../agent/topics/app_sharing.ts";
import { AppTopic, type TopicRecord } from "../agent/topics/app_topic.ts";
import { SignaturesAhead } from "../agent/topics/signatures_ahead.ts";
import { bundle, componentOfApp, createLog, signerFrom, verify, write } from "./apps.ts";

/** What `give` tells. */
export interface Given {
  readonly topic: string;
  /** The node's key in text form, and where it is. */
  readonly node: string;
  readonly address: string;
  /** How many events it has: a checkpoint may be among them, too. */
  readonly count: number;
  readonly digest: string;
  /** What a ticket says of its state, where it has enough events for that. */
  readonly state?: NonNullable<TopicRecord["state"]>;
}

/** What `take` and `show` tell; times from the dial on. */
export interface Taken {
  /** Until all events are here and applied, or until the state is shown. */
  readonly ms: number;
  /** Until the events are here. */
  readonly eventsMs?: number;
  /** Processor time of all threads meanwhile. */
  readonly cpuMs: number;
  readonly digest: string;
}

const backend = nodeBackend();
/** As an agent has it: signatures of what peers send are verified ahead. */
const ahead = new SignaturesAhead(verify);
const random = { bytes: (n: number) => crypto.getRandomValues(new Uint8Array(n)) };

/** Who gives, and who takes. */
const GIVER = 1, TAKER = 2;
/** Events that are made durable together when the topic is made. */
const BATCH_EVENTS = 1000;

/** A node with one topic, which it may have by a ticket. */
async function open(who: number, log: AppLog, ticket: Partial<TopicRecord> = {}) {
  const person = await keyPairOf(new Uint8Array(32).fill(who), backend);
  const key = await keyPairOf(new Uint8Array(32).fill(100 + who), backend);
  const self = formatPublicKey(key.publicKey);
  const notice = (text: string) => console.error(text);
  const sharing = new AppSharing({
    self,
    store: new MemoryStore(),
    verify: ahead.verify,
    ahead,
    clock: systemClock,
    member: () => ({
      addresses: [],
      addressesOf: () => [],
      learn() {},
      start: () => Promise.reject(new Error("it is joined below")),
    }),
    bundle: () => Promise.reject(new Error("bundles are here")),
    notice,
  });
  const component = await componentOfApp();
  const app = bundle.toString();
  const topic = new AppTopic({
    record: { name: "probe", isKept: false, nodes: [], ...ticket },
    log,
    person,
    behavior: await keyPairOf(new Uint8Array(32).fill(200 + who), backend),
    clock: systemClock,
    bundle: () =>
      Promise.resolve({
        app,
        name: "probe",
        version: "1.0.0",
        code: { id: app, abi: 1, components: { "state-apply": component } },
        applies: [],
      }),
    grants: () => [],
    baseOf: () => Promise.resolve(undefined),
    stateOf: (id, digest) => sharing.fetchState(id, digest),
    request: () => Promise.reject(new Error("there is no behavior")),
    changedRecord() {},
    notice,
  });
  const network = await startLibp2p({
    secretKey: key.secretKey,
    listen: ["/ip4/127.0.0.1/tcp/0"],
    gate: {
      mayConnect: () => true,
      mayOpen: (peer, protocol) => sharing.mayOpen(peer, protocol),
    },
  });
  sharing.opened(topic, person);
  sharing.join(network);
  void topic.review();
  return { self, topic, network };
}

async function until(holds: () => boolean): Promise<void> {
  for (const from = performance.now(); !holds();) {
    if (performance.now() - from > 300_000) throw new Error("it does not come to an end");
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** Waits until at least so many events are applied; the digest. */
async function settled(topic: AppTopic, count: number): Promise<string> {
  await until(() => (topic.log.topic?.size ?? 0) >= count && topic.settledDigest !== undefined);
  return topic.settledDigest!.digest.toHex();
}

async function give(folder: string, count: number): Promise<void> {
  const [ann, ben] = await Promise.all([GIVER, TAKER].map(signerFrom));
  const log = createLog(new SqliteStore(path.join(folder, "giver.db")), ann!);
  const { said, seed } = inviteTo(log, "member", random);
  log.write(said, ann!);
  const invite = signerOf(await keyPairOf(seed, backend), backend);
  log.write(joinBy(log, invite, ben!.publicKey), ben!);
  while (log.topic!.size < count) {
    write(log, log.topic!.size, ann!);
    if (log.topic!.size % BATCH_EVENTS === 0) log.flush(0);
  }
  log.flush(0);
  const { self, topic, network } = await open(GIVER, log);
  const digest = await settled(topic, count);
  const state = await topic.ticketState();
  const given: Given = {
    topic: log.topicId.toString(),
    node: self,
    address: network.addresses()[0]!,
    count: log.topic!.size,
    digest,
    ...(state === undefined ? {} : {
      state: {
        heads: state.heads.toHex(),
        count: state.count,
        digest: state.digest.toHex(),
      },
    }),
  };
  console.log(JSON.stringify(given));
  for await (const _ of Deno.stdin.readable);
}

async function take(folder: string, given: Given, isShown: boolean): Promise<void> {
  const store = new SqliteStore(path.join(folder, "taker.db"));
  const log = AppLog.open({ store, verify: ahead.verify, topic: CID.parse(given.topic) });
  const { topic, network } = await open(TAKER, log, {
    nodes: [{ key: given.node, addresses: [] }],
    ...(isShown ? { state: given.state! } : {}),
  });
  const from = performance.now(), before = process.cpuUsage();
  await network.dial(given.address);
  let eventsMs: number | undefined;
  if (isShown) await until(() => topic.status().digest === given.state!.digest);
  else {
    await until(() => (log.topic?.size ?? 0) >= given.count);
    eventsMs = performance.now() - from;
    await settled(topic, given.count);
  }
  const ms = performance.now() - from;
  const { user, system } = process.cpuUsage(before);
  const taken: Taken = {
    ms,
    ...(eventsMs === undefined ? {} : { eventsMs }),
    cpuMs: (user + system) / 1000,
    digest: topic.status().digest!,
  };
  console.log(JSON.stringify(taken));
}

if (import.meta.main) {
  const [what, folder, last] = Deno.args;
  if (what === "give") await give(folder!, Number(last));
  else await take(folder!, JSON.parse(last!) as Given, what === "show");
  Deno.exit(0); // the network and the Worker would keep it
}
