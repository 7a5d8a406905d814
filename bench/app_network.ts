/**
 * Topics of an app among nodes over TCP on loopback: processes of their own where one gets a topic from
 * another (`topic_probe.ts`), and nodes of this process where several write.
 *
 * @module
 */
import * as path from "node:path";
import { AppPeer } from "../agent/topics/app_peer.ts";
import { StateShelf } from "../agent/apps/peering/topic_states.ts";
import { ABI } from "../agent/apps/guest/prices.ts";
import type { Replay } from "../agent/apps/replay.ts";
import { AppLog } from "../agent/apps/topic/app_log.ts";
import { inviteTo, joinBy } from "../agent/apps/topic/authoring.ts";
import { nodeBackend } from "../agent/node/crypto_node.ts";
import { formatPublicKey } from "../agent/kernel/key.ts";
import type { Network } from "../agent/kernel/ports.ts";
import { keyPairOf, signerOf, type SyncSigner } from "../agent/kernel/verify.ts";
import { startLibp2p } from "../agent/net/libp2p_network.ts";
import { MemoryStore } from "../agent/store/memory_store.ts";
import { systemClock } from "../agent/node/system_clock.ts";
import type { TopicCarrier } from "../agent/topics/topic_carrier.ts";
import { V8_FLAGS_ARGUMENT } from "../scripts/v8_flags.ts";
import { createLog, replayOf, signerFrom, verify, write } from "./apps.ts";
import { ROOT } from "./programs.ts";
import type { Given, Taken } from "./topic_probe.ts";

const backend = nodeBackend();
const random = { bytes: (n: number) => crypto.getRandomValues(new Uint8Array(n)) };

/** A node with one topic. */
interface Node {
  readonly key: string;
  readonly network: Network;
  readonly carrier: TopicCarrier;
  readonly log: AppLog;
  /** The digest of all that is there, once it is applied. */
  digest(): Promise<string>;
  close(): Promise<void>;
}

async function start(
  person: SyncSigner,
  log: AppLog,
  { invite, nodes = [] }: { invite?: SyncSigner; nodes?: readonly string[] } = {},
): Promise<Node> {
  const { publicKey, secretKey } = await keyPairOf(random.bytes(32), backend);
  const key = formatPublicKey(publicKey);
  const network = await startLibp2p({
    secretKey,
    listen: ["/ip4/127.0.0.1/tcp/0"],
    gate: { mayConnect: () => true, mayOpen: () => true },
  });
  let replay: Replay | undefined;
  const applied = () => {
    replay?.update(systemClock.monotonicMs());
    return replay?.isSettled ? { tree: replay.state.tree, abi: ABI } : undefined;
  };
  const peer = new AppPeer({
    self: key,
    person,
    verify,
    clock: systemClock,
    network,
    store: new MemoryStore(),
    learnt: () => {},
    addressesOf: (node) => node === key ? network.addresses() : [],
    notice: (text) => console.error(`bench: ${text}`),
  });
  const carrier = peer.add({
    topic: log.topicId,
    log,
    invite,
    nodes,
    states: StateShelf.of(applied),
    changed: () => {},
  });
  return {
    key,
    network,
    carrier,
    log,
    digest: async () => {
      replay ??= await replayOf(log);
      applied();
      return replay.state.digest(ABI).toHex();
    },
    close: async () => {
      peer.close();
      await network.close();
    },
  };
}

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const from = performance.now(); !await holds();) {
    if (performance.now() - from > 120_000) throw new Error("nodes did not become equal");
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** An invite for members: who has it can join. */
async function invited(log: AppLog, by: SyncSigner): Promise<SyncSigner> {
  const { said, seed } = inviteTo(log, "member", random);
  log.write(said, by);
  return signerOf(await keyPairOf(seed, backend), backend);
}

const empty = (log: AppLog) =>
  AppLog.open({ store: new MemoryStore(), verify, topic: log.topicId });

/** A process of `topic_probe.ts`. */
function startProbe(...args: readonly string[]): Deno.ChildProcess {
  const probe = [`--config=${ROOT}/deno.json`, `${ROOT}/bench/topic_probe.ts`];
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", V8_FLAGS_ARGUMENT, ...probe, ...args],
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
  }).spawn();
}

/** A node that has a topic of so many events, for newcomers, each a process, too. */
export async function startGiver(folder: string, count: number) {
  const giver = startProbe("give", folder, String(count));
  const lines = giver.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const { value } = await lines.read();
  if (value === undefined) throw new Error("the node that gives ended");
  const given = JSON.parse(value) as Given;
  let newcomers = 0;
  const newcomer = async (what: "take" | "show"): Promise<Taken> => {
    const own = path.join(folder, `${newcomers++}`);
    await Deno.mkdir(own);
    const { success, stdout } = await startProbe(what, own, JSON.stringify(given)).output();
    if (!success) throw new Error("the newcomer failed");
    const taken = JSON.parse(new TextDecoder().decode(stdout)) as Taken;
    const wanted = what === "take" ? given.digest : given.state!.digest;
    if (taken.digest !== wanted) throw new Error("another digest");
    return taken;
  };
  return {
    /** It comes with nothing, and has applied all. */
    take: () => newcomer("take"),
    /** It comes by a ticket, and shows the state that this names. */
    show: () => newcomer("show"),
    close: async () => {
      await giver.stdin.close();
      await lines.cancel();
      await giver.status;
    },
  };
}

/** Milliseconds from the last of 100 events of five writers until all of them have one digest. */
export async function fiveWriters(): Promise<number> {
  const people = await Promise.all([1, 2, 3, 4, 5].map(signerFrom));
  const log = createLog(new MemoryStore(), people[0]!);
  const invite = await invited(log, people[0]!);
  for (const person of people.slice(1)) log.write(joinBy(log, invite, person.publicKey), person);
  log.flush(0);
  const nodes: Node[] = [];
  try {
    for (const person of people) {
      nodes.push(
        await start(person, nodes.length === 0 ? log : empty(log), {
          nodes: nodes.map(({ key }) => key),
        }),
      );
    }
    for (const [i, node] of nodes.entries()) {
      for (const other of nodes.slice(0, i)) await node.network.dial(other.network.addresses()[0]!);
    }
    const sizes = (size: number) => nodes.every(({ log: { topic } }) => topic?.size === size);
    await until(() =>
      sizes(log.topic!.size) &&
      nodes.every(({ carrier }) => carrier.core.peers().filter((p) => p.inSync).length === 4)
    );
    for (const node of nodes) await node.digest();
    const size = log.topic!.size;
    for (let round = 0; round < 20; round++) {
      for (const [i, { carrier }] of nodes.entries()) {
        carrier.core.writing((to) => write(to, 5 * round + i, people[i]!));
        carrier.touched();
      }
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    const from = performance.now();
    await until(async () => {
      if (!sizes(size + 100)) return false;
      const digests = await Promise.all(nodes.map((node) => node.digest()));
      return new Set(digests).size === 1;
    });
    return performance.now() - from;
  } finally {
    for (const node of nodes) await node.close();
  }
}
