/**
 * The topics of apps of this node, among its peers.
 *
 * One stream of {@link TOPIC_PROTOCOL} for each topic and pair of peers. A stream that a peer opens
 * says in its first frame which topic it is about; one that is about none of those here is left as one
 * to which the topic's core has nothing to say: without an answer.
 *
 * @module
 */
import type { CID } from "../kernel/canonical.ts";
import { RealmError } from "../kernel/error.ts";
import { Standing } from "../kernel/peering/standing.ts";
import type { Clock, PeerStream, Store } from "../kernel/ports.ts";
import type { SyncSigner, VerifySync } from "../kernel/verify.ts";
import type { TopicStates } from "../apps/peering/topic_states.ts";
import type { AppLog } from "../apps/topic/app_log.ts";
import { BUNDLE_PROTOCOL } from "../artifact/peer_bundles.ts";
import { SNAPSHOT_PROTOCOL } from "../artifact/peer_snapshots.ts";
import { decodeTopicFrame, TOPIC_HELLO_BYTES_MAX } from "../apps/peering/topic_frame.ts";
import { LinkStream } from "../net/link_stream.ts";
import { nodesOf } from "./left_topics.ts";
import type { LooksAhead } from "./signatures_ahead.ts";
import { refusalMs, TOPIC_PROTOCOL, TopicCarrier, type TopicNetwork } from "./topic_carrier.ts";

/** What an {@link AppPeer} is made of. */
export interface AppPeerInit {
  /** The node's key in text form. */
  readonly self: string;
  /** For whom it speaks. */
  readonly person: SyncSigner;
  readonly verify: VerifySync;
  readonly clock: Clock;
  /** The network, which may be joined later (`late_network.ts`). */
  readonly network: TopicNetwork;
  /** Verifies what comes before it is taken; logs have to verify by the same. */
  readonly ahead?: LooksAhead | undefined;
  /** Remembers which nodes take part in which topic. */
  readonly store: Store;
  /** Where a node may be reached, as a peer says: for the book of addresses. */
  readonly learnt: (node: string, addresses: readonly string[]) => void;
  /** Where this node, or another, may be reached, as far as is known. */
  readonly addressesOf: (node: string) => readonly string[];
  /** A line for the log of the agent. */
  readonly notice: (text: string) => void;
}

/** A topic that is shared. */
export interface SharedTopic {
  readonly topic: CID;
  readonly log: AppLog;
  /** The key that the person was invited with, until it has joined. */
  readonly invite?: SyncSigner | undefined;
  /** It was asked to join and has not yet. */
  readonly isNew?: boolean;
  /** Text forms of the keys of the nodes that a ticket names. */
  readonly nodes?: readonly string[];
  /** The states of the app; `NO_STATES` for a keeper. */
  readonly states: TopicStates;
  /** There are new events, all durable, or what {@link TopicCarrier.core} tells of is another. */
  readonly changed: () => void;
  /** The person takes part, durably. */
  readonly joined?: () => void;
}

/**
 * Streams that have not said their topic yet: of one peer, and of all. Keys cost nothing, so where there
 * is no room the one that a stranger has opened longest ago makes some.
 */
const WAITING_PER_PEER_MAX = 16;
const WAITING_MAX = 256;
/** How long a stream may take to say it. */
const HELLO_MS = 10_000;
/** Streams that a peer may open at once, and then in each second. */
const STREAMS_BURST = 512;
const STREAMS_PER_SEC = 8;
/** Peers whose streams are counted. */
const COUNTED_PEERS_MAX = 1024;

/** A stream that has not said its topic yet. */
interface Waiting {
  readonly peer: string;
  /** Ends it. */
  readonly timer: ReturnType<typeof setTimeout>;
}

/** See the module. */
export class AppPeer {
  readonly #init: AppPeerInit;
  readonly #topics = new Map<string, TopicCarrier>();
  readonly #standing = new Standing();
  /** Streams that have not said their topic yet, by their peers. */
  readonly #waiting = new Map<LinkStream, Waiting>();
  readonly #timers = new Set<ReturnType<typeof setTimeout>>();
  /** What is left to each peer of {@link STREAMS_BURST}. */
  readonly #streams = new Map<string, { left: number; atMs: number }>();
  readonly #undo: (() => void)[];
  #isClosed = false;

  constructor(init: AppPeerInit) {
    const { network } = init;
    this.#init = init;
    this.#undo = [
      network.handle(TOPIC_PROTOCOL, (stream) => this.#answer(stream)),
      network.watch({
        connected: ({ peer }) => {
          for (const topic of this.#topics.values()) topic.connected(peer);
        },
        disconnected: (peer) => {
          for (const topic of this.#topics.values()) topic.disconnected(peer);
        },
      }),
    ];
  }

  /** Shares a topic. Throws RealmError `usage` for one that is shared already. */
  add(shared: SharedTopic): TopicCarrier {
    const { topic, nodes = [], states, changed, joined = () => {}, ...rest } = shared;
    const { self, person, clock, network, store, verify, learnt, addressesOf, notice, ahead } =
      this.#init;
    const id = topic.toString();
    if (this.#topics.has(id)) {
      throw new RealmError("usage", `Cannot share topic ${id}: it is shared already`);
    }
    const prefix = nodesOf(id);
    const met = new Set([...store.keys(prefix)].map((key) => key.slice(prefix.length)));
    const carrier: TopicCarrier = new TopicCarrier({
      ...rest,
      topic,
      self,
      person,
      clock,
      network,
      ahead,
      named: nodes,
      met: [...met],
      standing: this.#standing,
      ports: {
        verify,
        learnt,
        addressesOf,
        notice,
        states,
        joined,
        changed: () => {
          this.#remember(prefix, met, carrier);
          changed();
        },
      },
    });
    this.#topics.set(id, carrier);
    return carrier;
  }

  /** Shares a topic no more, and forgets who took part. */
  remove(topic: CID): void {
    const id = topic.toString();
    const carrier = this.#topics.get(id);
    if (carrier === undefined) return;
    this.#topics.delete(id);
    carrier.finish();
    const { store } = this.#init;
    const keys = [...store.keys(nodesOf(id))];
    if (keys.length > 0) store.write(keys.map((key) => ({ delete: key })));
  }

  /** A topic that is shared. */
  get(topic: CID): TopicCarrier | undefined {
    return this.#topics.get(topic.toString());
  }

  /** Nodes that should be connected: those that take part in a topic of this node. */
  wanted(): readonly string[] {
    return [...new Set([...this.#topics.values()].flatMap(({ core }) => core.wanted()))];
  }

  /** Protocols that {@link mayOpen} is to be asked about, for the network's gate. */
  readonly protocols: readonly string[] = [TOPIC_PROTOCOL, BUNDLE_PROTOCOL, SNAPSHOT_PROTOCOL];

  /**
   * Whether a key may open streams of one of {@link protocols}: of topics whoever has done no wrong
   * lately, of bundles and states who takes part in one.
   */
  mayOpen(peer: string, protocol: string): boolean {
    if (protocol === BUNDLE_PROTOCOL || protocol === SNAPSHOT_PROTOCOL) {
      return this.sharedWith(peer).length > 0;
    }
    return this.#topics.size > 0 &&
      !this.#standing.isBanned(peer, this.#init.clock.monotonicMs());
  }

  /** Topics that a peer has shown to take part in. */
  sharedWith(peer: string): readonly CID[] {
    return [...this.#topics.values()].filter(({ core }) => core.isTrusted(peer))
      .map(({ core }) => core.topic);
  }

  /** Peers that have shown to take part in a topic. */
  peersOf(topic: CID): readonly string[] {
    const core = this.get(topic)?.core;
    return core?.peers().map(({ peer }) => peer).filter((peer) => core.isTrusted(peer)) ?? [];
  }

  /** Peers with whom a link about a topic is open: a newcomer does not know yet who takes part. */
  linkedOf(topic: CID): readonly string[] {
    return this.get(topic)?.core.peers().filter(({ isOpen }) => isOpen).map(({ peer }) => peer) ??
      [];
  }

  /** Peers that take part in a topic that starts with a bundle, or goes on so: nobody else is asked. */
  peersFor(bundle: string): readonly string[] {
    const using = [...this.#topics.values()].filter(({ core }) => core.bundles().includes(bundle));
    return [...new Set(using.flatMap(({ core }) => this.peersOf(core.topic)))];
  }

  /** Whether a peer may have a bundle: it is one of {@link peersFor}. */
  mayHave(peer: string, bundle: string): boolean {
    return this.peersFor(bundle).includes(peer);
  }

  /** Whether a peer may have states of a topic. */
  mayRead(peer: string, topic: string): boolean {
    return this.#topics.get(topic)?.core.mayRead(peer) ?? false;
  }

  /** Leaves the network, which stays open. */
  close(): void {
    this.#isClosed = true;
    for (const undo of this.#undo) undo();
    for (const timer of this.#timers) clearTimeout(timer);
    for (const link of this.#waiting.keys()) link.close();
    for (const topic of this.#topics.values()) topic.close();
    this.#waiting.clear();
    this.#topics.clear();
  }

  #remember(prefix: string, met: Set<string>, { core }: TopicCarrier): void {
    const now = new Set(core.met());
    const ops = [
      ...[...now].filter((node) => !met.has(node))
        .map((node) => ({ put: prefix + node, value: new Uint8Array() })),
      ...[...met].filter((node) => !now.has(node)).map((node) => ({ delete: prefix + node })),
    ];
    if (ops.length === 0) return;
    this.#init.store.write(ops);
    met.clear();
    for (const node of now) met.add(node);
  }

  /** A peer opened a stream: its first frame says which topic it is about. */
  #answer(stream: PeerStream): void {
    const { peer } = stream;
    const ofPeer = [...this.#waiting.values()].filter((each) => each.peer === peer).length;
    if (
      this.#isClosed || !this.mayOpen(peer, TOPIC_PROTOCOL) || ofPeer >= WAITING_PER_PEER_MAX ||
      !this.#takeStream(peer) || !this.#hasRoom()
    ) return stream.abort();
    let topic: TopicCarrier | undefined;
    const link: LinkStream = new LinkStream(stream, {
      frame: (bytes) => {
        if (topic !== undefined) return topic.frame(peer, link, bytes);
        if (!this.#settled(link)) return; // it has had its say
        topic = this.#topicOf(peer, bytes);
        if (topic === undefined) return void this.#later(refusalMs(), () => link.close());
        topic.accept(peer, link);
        return topic.frame(peer, link, bytes);
      },
      room: () => topic?.room(peer, link),
      closed: () => {
        this.#settled(link);
        topic?.closed(peer, link);
      },
    }, TOPIC_HELLO_BYTES_MAX);
    const timer = this.#later(HELLO_MS, () => {
      if (this.#settled(link)) link.close();
    });
    this.#waiting.set(link, { peer, timer });
  }

  /** Whether one more stream may wait; ends a stranger's for it. */
  #hasRoom(): boolean {
    if (this.#waiting.size < WAITING_MAX) return true;
    const takesPart = (peer: string) => this.#topics.values().some(({ core }) => core.knows(peer));
    for (const [link, { peer }] of this.#waiting) {
      if (takesPart(peer)) continue;
      this.#settled(link);
      link.close();
      return true;
    }
    return false;
  }

  /** A stream waits no more; whether it did. */
  #settled(link: LinkStream): boolean {
    const waiting = this.#waiting.get(link);
    if (waiting === undefined) return false;
    this.#waiting.delete(link);
    clearTimeout(waiting.timer);
    this.#timers.delete(waiting.timer);
    return true;
  }

  /** Counts a stream that a peer opens, whatever it is about; false when there were too many. */
  #takeStream(peer: string): boolean {
    const nowMs = this.#init.clock.monotonicMs();
    const count = this.#streams.get(peer) ?? { left: STREAMS_BURST, atMs: nowMs };
    const refilled = (nowMs - count.atMs) / 1000 * STREAMS_PER_SEC;
    const left = Math.min(STREAMS_BURST, count.left + refilled) - 1;
    this.#streams.delete(peer);
    this.#streams.set(peer, { left: Math.max(0, left), atMs: nowMs });
    if (this.#streams.size > COUNTED_PEERS_MAX) {
      this.#streams.delete(this.#streams.keys().next().value!);
    }
    return left >= 0;
  }

  #topicOf(peer: string, bytes: Uint8Array): TopicCarrier | undefined {
    try {
      const frame = decodeTopicFrame(bytes);
      if (frame?.frame !== "hello") return undefined;
      return [...this.#topics.values()].find(({ core }) => core.isAbout(frame, peer));
    } catch (error) {
      if (error instanceof RealmError) return undefined;
      throw error;
    }
  }

  #later(ms: number, act: () => void): ReturnType<typeof setTimeout> {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      act();
    }, ms);
    this.#timers.add(timer);
    return timer;
  }
}
