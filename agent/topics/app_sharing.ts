/**
 * How the topics of this machine are shared: joins what the arbiter has (`apps_host.ts`) with peers
 * (`app_peer.ts`) and their bundles (`artifact/peer_bundles.ts`), on the network of the node.
 *
 * The node joins a network for topics too, where others are known to have them, with or without a
 * realm.
 *
 * @module
 */
import { AppPeer } from "./app_peer.ts";
import type { AppTopic, TopicRecord } from "./app_topic.ts";
import { NO_STATES, type TopicStates } from "../apps/peering/topic_states.ts";
import { ABI } from "../apps/guest/prices.ts";
import { waitsFor } from "../apps/topic/app_log.ts";
import type { TopicSnapshot } from "../apps/topic/topic_snapshot.ts";
import { inviteSigner } from "./behavior_author.ts";
import { BUNDLE_PROTOCOL, PeerBundles } from "../artifact/peer_bundles.ts";
import { PeerSnapshots, SNAPSHOT_PROTOCOL } from "../artifact/peer_snapshots.ts";
import { nodeBackend } from "../node/crypto_node.ts";
import type { CID } from "../kernel/canonical.ts";
import { RealmError } from "../kernel/error.ts";
import type { KeyPair } from "../kernel/key.ts";
import type { Clock, Network, Store } from "../kernel/ports.ts";
import { signerOf, type VerifySync } from "../kernel/verify.ts";
import { LateNetwork } from "../net/late_network.ts";
import type { AppNeeds, RealmMember } from "../member/realm_member.ts";
import type { LooksAhead } from "./signatures_ahead.ts";
import { TOPIC_PROTOCOL, type TopicCarrier } from "./topic_carrier.ts";

/** What an {@link AppSharing} is made of. */
export interface AppSharingInit {
  /** The node's key in text form. */
  readonly self: string;
  readonly store: Store;
  readonly verify: VerifySync;
  /** Verifies what peers send before it is taken; {@link verify} and that of the logs are by it. */
  readonly ahead?: LooksAhead;
  readonly clock: Clock;
  readonly member: () => Pick<RealmMember, "addresses" | "addressesOf" | "learn" | "start">;
  /** The packed bytes of a bundle that is here. Throws RealmError `not-found`. */
  readonly bundle: (id: string) => Promise<Uint8Array>;
  readonly notice: (text: string) => void;
}

const OUTSIDE = "you take no part: your ticket does not let you in. " +
  "Leave, and join by another ticket";

/** See the module. */
export class AppSharing implements AppNeeds {
  /** Who is told of something that is to be known before a topic ends here has so long to take it. */
  toldMs = 5_000;
  readonly protocols = [TOPIC_PROTOCOL, BUNDLE_PROTOCOL, SNAPSHOT_PROTOCOL];
  readonly #init: AppSharingInit;
  readonly #network = new LateNetwork();
  readonly #bundles: PeerBundles;
  readonly #snapshots: PeerSnapshots;
  readonly #topics = new Map<string, AppTopic>();
  /** Made with the first topic: it speaks for the person. */
  #peer: AppPeer | undefined;
  #hasStarted = false;
  #hasJoined = false;

  constructor(init: AppSharingInit) {
    this.#init = init;
    this.#bundles = new PeerBundles({
      network: this.#network,
      clock: init.clock,
      backend: nodeBackend(),
      bytes: init.bundle,
      mayHave: (peer, id) => this.#peer?.mayHave(peer, id) ?? false,
    });
    this.#snapshots = new PeerSnapshots({
      network: this.#network,
      clock: init.clock,
      snapshots: (peer, topic) =>
        this.#peer?.mayRead(peer, topic) ? this.#topics.get(topic)?.snapshots.store : undefined,
    });
  }

  /** The node has joined a network. */
  join(network: Network): void {
    this.#network.join(network);
    this.#hasJoined = true;
    for (const topic of this.#topics.values()) this.#learn(topic);
  }

  /** The node is there: from now on it joins a network when a topic wants it. */
  started(): void {
    this.#hasStarted = true;
  }

  mayOpen(peer: string, protocol: string): boolean {
    return this.#peer?.mayOpen(peer, protocol) ?? false;
  }

  wanted(): readonly string[] {
    return this.#peer?.wanted() ?? [];
  }

  /** A topic is here now. */
  opened(topic: AppTopic, person: KeyPair): void {
    const { self, verify, ahead, clock, store, member, notice } = this.#init;
    const peer = this.#peer ??= new AppPeer({
      self,
      person: signerOf(person, nodeBackend()),
      verify,
      ahead,
      clock,
      network: this.#network,
      store,
      learnt: (node, addresses) => member().learn(node, addresses, "peer"),
      addressesOf: (node) => member().addressesOf(node),
      notice,
    });
    this.#topics.set(topic.id, topic);
    const { invite, isNew = false, nodes, isKept } = topic.record;
    const carrier = peer.add({
      topic: topic.log.topicId,
      log: topic.log,
      ...(invite === undefined ? {} : { invite: inviteSigner(Uint8Array.fromBase64(invite)) }),
      isNew,
      nodes: nodes.map(({ key }) => key),
      states: isKept ? NO_STATES : statesOf(topic),
      changed: () => topic.linked(),
      joined: () => topic.joined(),
    });
    topic.share({
      writing(act) {
        try {
          return carrier.core.writing(act);
        } finally {
          carrier.touched();
        }
      },
      stateChanged() {
        carrier.core.stateChanged();
        carrier.touched();
      },
      isLinked: () => carrier.core.peers().some(({ isOpen }) => isOpen),
      whyNothing: () => {
        const { connected } = carrier.refusals(true);
        if (connected === 0) return "No machine that its ticket names is connected";
        return turnedAway(carrier);
      },
      people: () =>
        carrier.core.peers().filter(({ isOpen, trust }) => isOpen && trust === "full")
          .map(({ peer, person }) => person ?? peer),
      told: async () => (await carrier.told(this.toldMs)).size,
      alarms: () => [
        ...carrier.core.drifts().map(({ person, first }) =>
          `drift: ${person} has the same events and another state` +
          (first === undefined ? "" : `, from key ${first.key.toHex()} on`)
        ),
        ...standingOf(topic, carrier),
      ],
    });
    this.#learn(topic);
  }

  removed(topic: AppTopic): void {
    this.#topics.delete(topic.id);
    this.#peer?.remove(topic.log.topicId);
  }

  /** This node and others that have a topic, for a ticket. */
  ticketPeers(topic: AppTopic): TopicRecord["nodes"] {
    const { self, member } = this.#init;
    const others = this.#peer?.peersOf(topic.log.topicId) ?? [];
    return [self, ...others].map((key) => ({ key, addresses: member().addressesOf(key) }))
      .filter(({ addresses }) => addresses.length > 0);
  }

  /** A bundle that a peer has. Throws RealmError `not-found`, which says why none gives it. */
  async fetch(id: string): Promise<Uint8Array> {
    return (await this.#bundles.fetch(id, this.#peer?.peersFor(id) ?? [])).bytes;
  }

  /** A state of a topic that a peer has, by its digest; undefined where none has it. */
  async fetchState(topic: CID, digest: Uint8Array): Promise<TopicSnapshot | undefined> {
    const peers = this.#peer?.linkedOf(topic) ?? [];
    try {
      return (await this.#snapshots.fetch(topic, digest, ABI, peers)).snapshot;
    } catch (error) {
      if (error instanceof RealmError && error.code === "not-found") return undefined;
      throw error;
    }
  }

  close(): void {
    this.#bundles.close();
    this.#snapshots.close();
    this.#peer?.close();
  }

  /** Takes note of where a ticket says that its nodes are, and joins a network for them. */
  #learn({ record: { nodes } }: AppTopic): void {
    const { self, member, notice } = this.#init;
    const others = nodes.filter(({ key }) => key !== self);
    if (!this.#hasJoined) {
      if (this.#hasStarted && others.length > 0) {
        member().start([]).catch((error) => notice(`Cannot join a network: ${error}`));
      }
      return;
    }
    for (const { key, addresses } of others) member().learn(key, addresses, "operator");
  }
}

/** What can be known of a ticket that lets nobody in: to who takes no part nobody says a word. */
function turnedAway(carrier: TopicCarrier): string | undefined {
  const { connected, refusing } = carrier.refusals(true);
  if (connected === 0 || refusing < connected) return undefined;
  const who = connected === 1
    ? "The machine that its ticket names is connected and does not let you in"
    : `${connected} machines that its ticket names are connected, and none lets you in`;
  return `${who}: the invite is closed, or the topic is there no more. Leave it, and join by another ` +
    "ticket";
}

/** To who was taken out nobody says so, either: what it writes would be lost without a word. */
function cutOff(carrier: TopicCarrier): string | undefined {
  const { connected, refusing } = carrier.refusals(false);
  if (connected === 0 || refusing < connected) return undefined;
  return `lets you in no more: of ${connected} connected that took part, as far as is known here, none. ` +
    "Your key was taken out, or they left: what you write may reach nobody";
}

/** Why the person may not write in a topic of which events are here, where that does not end by itself. */
function standingOf({ log, person, isTakenOut }: AppTopic, carrier: TopicCarrier): string[] {
  if (log.membership === undefined || isTakenOut) return [];
  const { lacked, isOutside } = carrier.core;
  if (lacked !== undefined) {
    return [
      `writes nothing: ${waitsFor(lacked)}. A peer that has it has to come; where nobody has it, ` +
      "realm app leave --forget, and join again",
    ];
  }
  if (isOutside) return [OUTSIDE];
  // It left, came back, and has its events of before.
  const role = log.membership.roleOf(person.publicKey);
  if (role === "creator") return []; // nobody can take that key out
  const why = role === undefined ? turnedAway(carrier) : cutOff(carrier);
  return why === undefined ? [] : [why];
}

/** The states of an app in its Worker. */
function statesOf(topic: AppTopic): TopicStates {
  const gone = { kind: "gone" } as const;
  return {
    current: () => topic.settledDigest,
    answer: (digest, question, done) => {
      if (!topic.isRunning) return done(gone);
      topic.app.answerDrift(digest, question).then(done, () => done(gone));
    },
    step: (search, done) => {
      if (!topic.isRunning) return done(gone);
      topic.app.stepDrift(search).then(done, () => done(gone));
    },
  };
}
