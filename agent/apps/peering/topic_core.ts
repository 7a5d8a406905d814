/**
 * One topic of an app among peers: whom it is shared with, how its events spread, and whether all
 * come to the same state.
 *
 * It is synchronous and deterministic: bytes and times come in by its methods, bytes go out by its
 * ports, so the simulation runs the very same code (`tests/simulation/apps/`).
 *
 * *Links.* One stream for each topic and pair of peers, opened by who wants it; `app_peer.ts` makes
 * them. The opener says `hello` (`topic_hello.ts`), and the other side answers with its own only when
 * that is a member, a keeper, somebody with an invite that is good, or somebody who shows how it was
 * admitted meanwhile. To everybody else it says nothing: not even that the topic is here. Once both
 * said `ready`, events flow as in a realm (`kernel/peering/log_exchange.ts`).
 *
 * *Trust.* Full for who may take part; nodes that a ticket names are read from, as everything they
 * send is signed, so that a newcomer can learn who takes part.
 *
 * *Finish line.* After each session, and once a second at most when it is another, both say how many
 * events they have, with which heads and which state. Equal heads with unequal states is drift: it is
 * told, and the first key that differs is looked for with questions whose answers cannot lie.
 *
 * Every time is in milliseconds of one monotonic clock.
 *
 * @module
 */
import type { CID } from "../../kernel/canonical.ts";
import { encodeSigned, type SignedEvent } from "../../kernel/event.ts";
import { formatPublicKey, parsePublicKey } from "../../kernel/key.ts";
import type { Offered } from "../../kernel/offer.ts";
import { ADDRESSES_MAX, messageOf } from "../../kernel/peering/fields.ts";
import type { Trust } from "../../kernel/peering/link.ts";
import { type LinkPorts, LinkSet } from "../../kernel/peering/link_set.ts";
import { LogExchange } from "../../kernel/peering/log_exchange.ts";
import type { Standing } from "../../kernel/peering/standing.ts";
import type { SyncSigner, VerifySync } from "../../kernel/verify.ts";
import type { AppLog } from "../topic/app_log.ts";
import { joinBy } from "../topic/authoring.ts";
import { DriftWatch, type StateDrift } from "./drift_watch.ts";
import { admissionOf, isOpenInvite, roleOf } from "./topic_access.ts";
import {
  type Complete,
  decodeTopicFrame,
  type NodeHint,
  NODES_MAX,
  NONCE_BYTES,
  TOPIC_HELLO_BYTES_MAX,
  type TopicFrame,
  type TopicHello,
  VOUCH_EVENTS_MAX,
} from "./topic_frame.ts";
import { helloAt, isAbout, isInvited, isSaidBy, isVouchGood, vouchedBy } from "./topic_hello.ts";
import { TopicLink } from "./topic_link.ts";
import { TopicNodes } from "./topic_nodes.ts";
import type { TopicStates } from "./topic_states.ts";

/** What the core is given to act with. None of them may call the core back before they return. */
export interface TopicPorts extends LinkPorts {
  /**
   * There are new events, all durable, or something that {@link TopicCore} tells of is another.
   * Called from {@link TopicCore.tick} alone.
   */
  changed(): void;
  /** The person takes part, durably: what {@link TopicCoreInit.isNew} says is so no more. */
  joined(): void;
  /** Where a node may be reached, as another says that takes part. */
  learnt(node: string, addresses: readonly string[]): void;
  /** Where this node, or another, may be reached. */
  addressesOf(node: string): readonly string[];
  /** 16 bytes that nobody can guess. */
  secret(): Uint8Array;
  readonly verify: VerifySync;
  /** Milliseconds since 1970: when events are stored, for people. */
  wallMs(): number;
  /** From 0, below 1; to spread things in time. */
  random(): number;
  readonly states: TopicStates;
}

/** What the core is made with. */
export interface TopicCoreInit {
  readonly topic: CID;
  /** The node's key in text form. */
  readonly self: string;
  /** For whom it speaks. */
  readonly person: SyncSigner;
  readonly log: AppLog;
  /** The key that the person was invited with, until it has joined. */
  readonly invite?: SyncSigner | undefined;
  /** It was asked to join and has not yet: whoever is may have left the topic once. */
  readonly isNew?: boolean;
  /** Nodes that a ticket names, or that were met before. */
  readonly named: readonly string[];
  readonly met?: readonly string[];
  /** What peers did wrong, in all topics. */
  readonly standing: Standing;
  readonly ports: TopicPorts;
}

/** A link as {@link TopicCore.peers} tells of it. */
export interface TopicPeer {
  /** Text form of the node's key, and of its person's once that is known. */
  readonly peer: string;
  readonly person: string | undefined;
  readonly trust: Trust;
  readonly isOpen: boolean;
  readonly isSyncing: boolean;
  /** How far it said that it is. */
  readonly complete: Complete | undefined;
  /** Whether it has the events that are here, and no others. */
  readonly inSync: boolean;
}

/** How long a peer may take for its hello, and for the rest until the link is open. */
const HELLO_MS = 10_000;
const SILENT_LINK_MS = 50_000;
const SESSION_STUCK_MS = 30_000;
/** Between two times that a peer is told how far this side is: when that changed, when it did not. */
const TELL_MIN_MS = 1_000;
const TELL_MAX_MS = 15_000;
/** Between two looks whether logs that differ come together by themselves. */
const COMPARE_MS = 4_500;
/** Between two times that peers are told of other nodes. */
const NODES_PAUSE_MS = 5_000;
/** Bytes of the events in a hello. */
const VOUCH_BYTES_MAX = 12 * 1024;

const FORM = { helloBytesMax: TOPIC_HELLO_BYTES_MAX, decode: decodeTopicFrame };

/** See the module. */
export class TopicCore {
  readonly topic: CID;
  readonly #init: TopicCoreInit;
  readonly #ports: TopicPorts;
  readonly #log: AppLog;
  readonly #links: LinkSet<TopicLink, TopicFrame>;
  readonly #exchange: LogExchange;
  readonly #nodes: TopicNodes;
  readonly #drift: DriftWatch;
  #isChangeOwed = false;
  #isSynced = false;
  #isNew: boolean;
  #toldAtMs = -Infinity;
  #tellAtMs = 0;
  #nodesAtMs = 0;
  /** When it is due to see whether logs that differ are only a moment apart. */
  #compareAtMs = Infinity;

  constructor(init: TopicCoreInit) {
    const { log, ports, self, named, met = [] } = init;
    this.topic = init.topic;
    this.#init = init;
    this.#ports = ports;
    this.#log = log;
    this.#isNew = init.isNew ?? false;
    this.#nodes = new TopicNodes(self, named, met);
    this.#links = new LinkSet<TopicLink, TopicFrame>(ports, TopicLink, init.standing);
    this.#exchange = new LogExchange({
      self,
      log,
      links: this.#links,
      nowMs: () => ports.nowMs(),
      wallMs: () => ports.wallMs(),
      secret: () => ports.secret(),
      changed: () => this.#changed(),
      ended: (link) => this.#ended(link as TopicLink),
    });
    this.#drift = new DriftWatch({
      links: this.#links,
      states: ports.states,
      changed: () => this.#isChangeOwed = true,
    });
  }

  // What the carrier says.

  /** There is a link with a peer, which one of the two opened. */
  connected(peer: string, isOpener: boolean): void {
    if (peer === this.#init.self || this.#links.isBanned(peer)) {
      return this.#ports.cut(peer, "not welcome");
    }
    const link = this.#links.add(peer, (key) => this.#links.get(key)?.trust === "none");
    link.isOpener = isOpener;
    if (isOpener) this.#sayHello(link);
  }

  /** The link with a peer is gone. */
  disconnected(peer: string): void {
    if (this.#links.get(peer)?.isOpen) this.#isChangeOwed = true;
    this.#links.remove(peer);
  }

  /** There is room to send to a peer again. */
  sent(peer: string): void {
    this.#exchange.sent(peer);
  }

  /** Whether a hello of a peer is about this topic. */
  isAbout(hello: TopicHello, peer: string): boolean {
    return isAbout(hello, { topic: this.topic, node: peer, other: this.#init.self });
  }

  /** A peer sent a frame, without its length. */
  received(peer: string, bytes: Uint8Array): void {
    const link = this.#links.get(peer);
    if (link === undefined) return; // cut, and the carrier had more
    const frame = this.#links.received(link, bytes, FORM);
    if (frame === undefined) return;
    if (frame.frame === "hello") return this.#hello(link, frame);
    if (frame.frame === "ready") {
      if (link.heardReady) return;
      link.heardReady = true;
      if (link.isOpen) this.#opened(link);
      return;
    }
    if (!link.isOpen) return this.#links.fault(link, "garbage", `${frame.frame} before ready`);
    switch (frame.frame) {
      case "complete":
        return this.#heard(link, frame);
      case "nodes":
        return this.#heardNodes(frame.nodes, this.#ports.nowMs());
      case "ask":
        if (link.trust === "full") this.#drift.asked(link, frame, this.#ports.nowMs());
        return;
      case "answer":
        return this.#drift.answered(link, frame.answer);
      default:
        return this.#exchange.received(link, frame);
    }
  }

  /** Does what is due; to be called at {@link dueMs}, and may be called at any time. */
  tick(): void {
    const nowMs = this.#ports.nowMs();
    if (nowMs >= this.#exchange.flushAtMs) this.#exchange.flush();
    this.#join();
    if (nowMs >= this.#tellAtMs) this.#tell(nowMs);
    if (nowMs >= this.#nodesAtMs) this.#tellNodes(nowMs);
    if (nowMs >= this.#compareAtMs) this.#compare(nowMs);
    for (const link of this.#links.all()) this.#look(link, nowMs);
    this.#exchange.tick(nowMs);
    if (!this.#isChangeOwed || this.#exchange.flushAtMs < Infinity) return;
    // What is acted on must not be gone after a power cut. A disk that fails is tried again.
    this.#exchange.flush();
    this.#isChangeOwed = false;
    this.#ports.changed();
  }

  /** When {@link tick} has something to do, if nothing comes before. */
  dueMs(): number {
    const nowMs = this.#ports.nowMs();
    const { flushAtMs, sessionAtMs } = this.#exchange;
    if (this.#isChangeOwed && flushAtMs === Infinity) return nowMs;
    const told = Math.min(this.#tellAtMs, this.#nodesAtMs, this.#compareAtMs);
    return Math.max(nowMs, Math.min(told, flushAtMs, sessionAtMs));
  }

  // What this machine does.

  /** Takes events of this machine, durably, and hands them on. Answers what `offer` does. */
  offer(events: readonly SignedEvent[]): Offered {
    return this.#exchange.writing(() => this.#exchange.absorb(events, undefined));
  }

  /** Writes to the log, durably, and hands on what was written. */
  writing<T>(act: (log: AppLog) => T): T {
    return this.#exchange.writing(() => this.#exchange.changing(() => act(this.#log)));
  }

  /** The state is another one, or is one now. */
  stateChanged(): void {
    this.#tellSoon();
  }

  // What others ask.

  /** Nodes that take part, as far as is known, and should be linked with. */
  wanted(): readonly string[] {
    return this.#nodes.wanted(this.#ports.nowMs());
  }

  /** Whether a node takes part, or may, as far as is known: whether to open a link with it. */
  knows(node: string): boolean {
    return this.#nodes.has(node);
  }

  /** Whether a node that a ticket names cannot know of this one: they have not met. */
  isNewTo(node: string): boolean {
    return this.#nodes.isNamed(node) && !this.#nodes.hasMet(node);
  }

  /** Nodes that have shown that they take part. */
  met(): readonly string[] {
    return this.#nodes.allMet();
  }

  /** Whether a link with the peer is open. */
  isOpen(peer: string): boolean {
    return this.#links.get(peer)?.isOpen ?? false;
  }

  /** Whether the peer has shown that it may have what is here. */
  isTrusted(peer: string): boolean {
    const link = this.#links.get(peer);
    return link?.isOpen === true && link.trust === "full";
  }

  /** Every link. */
  peers(): readonly TopicPeer[] {
    const own = this.#exchange.headsDigest();
    return this.#links.all().map((link) => ({
      peer: link.peer,
      person: link.person,
      trust: link.trust,
      isOpen: link.isOpen,
      isSyncing: link.session !== undefined || link.syncOwed,
      complete: link.heard,
      inSync: link.heard?.heads.toHex() === own,
    }));
  }

  /** Whether a peer may have states: it takes part, or is invited, as more than a keeper. */
  mayRead(peer: string): boolean {
    const link = this.#links.get(peer);
    if (link === undefined || !this.isTrusted(peer) || link.hello === undefined) return false;
    const { person, invite } = link.hello;
    const key = link.isInvited && invite !== null ? formatPublicKey(invite.key) : undefined;
    const role = roleOf(this.#log, person) ??
      this.#log.membership?.invites().find(({ said }) => said.key === key)?.said.role;
    return role !== undefined && role !== "keeper";
  }

  /** CIDs of the bundles that the topic starts with and goes on with. */
  bundles(): readonly string[] {
    const { view } = this.#log;
    return view === undefined ? [] : [view.bundle, ...view.upgrades.map(({ bundle }) => bundle)];
  }

  /**
   * Whether the person holds an invite and takes no part, though everything that a peer has is here: so
   * it waits for what does not come by itself.
   */
  get isOutside(): boolean {
    const { invite, person } = this.#init;
    return invite !== undefined && roleOf(this.#log, person.publicKey) === undefined &&
      this.#log.awaited === undefined && this.#hasAll();
  }

  /** The event that has to come back before anything is written, which a peer has not that has no more. */
  get lacked(): CID | undefined {
    return this.#hasAll() ? this.#log.awaited : undefined;
  }

  /** Whether everything that a peer has is here. */
  #hasAll(): boolean {
    return this.peers().some(({ isOpen, isSyncing, inSync }) => isOpen && !isSyncing && inSync);
  }

  /** Peers that have the same events and come to another state. */
  drifts(): readonly StateDrift[] {
    return this.#drift.all();
  }

  // Trust.

  #sayHello(link: TopicLink): void {
    link.saidHello = true;
    const { person, invite } = this.#init;
    const isMember = roleOf(this.#log, this.#init.person.publicKey) !== undefined;
    const meeting = { topic: this.topic, node: this.#init.self, other: link.peer };
    const hello = helloAt(meeting, {
      nonce: this.#ports.secret().slice(0, NONCE_BYTES),
      person,
      invite: isMember ? undefined : invite,
      vouch: isMember ? this.#vouch() : [],
    });
    this.#links.send(link, hello);
  }

  /** How the person was admitted; nothing when that is too much, or not durable yet. */
  #vouch(): readonly Uint8Array[] {
    const events = admissionOf(this.#log, this.#init.person.publicKey)
      .map((id) => this.#log.load(id))
      .flatMap((signed) => signed === undefined ? [] : [encodeSigned(signed)]);
    const bytes = events.reduce((sum, { length }) => sum + length, 0);
    return events.length <= VOUCH_EVENTS_MAX && bytes <= VOUCH_BYTES_MAX ? events : [];
  }

  #hello(link: TopicLink, hello: TopicHello): void {
    const { verify } = this.#ports;
    const { topic } = this.#log;
    const meeting = { topic: this.topic, node: link.peer, other: this.#init.self };
    if (!isAbout(hello, meeting)) return this.#links.cut(link, "it is about another topic");
    // No fault of a peer may depend on whether there is such a topic.
    if (!isSaidBy(hello, meeting, verify)) {
      return this.#links.cut(link, "its person did not say hello");
    }
    link.hello = hello;
    try {
      link.isInvited = isInvited(hello, this.topic, this.#log, verify);
      link.vouch = topic && roleOf(this.#log, hello.person) === undefined && !link.isInvited
        ? vouchedBy(hello, topic, this.#log, verify)
        : undefined;
    } catch (error) {
      return this.#links.cut(link, messageOf(error));
    }
    this.#judge(link);
  }

  #trustOf(link: TopicLink): Trust {
    const { topic } = this.#log;
    const { hello } = link;
    if (hello === undefined) return "none";
    const isNamed = this.#nodes.isNamed(link.peer);
    if (topic === undefined) return isNamed ? "read" : "none";
    if (roleOf(this.#log, hello.person) !== undefined) return "full";
    if (link.isInvited && isOpenInvite(this.#log, hello.invite!.key)) return "full";
    if (link.vouch !== undefined && isVouchGood(link.vouch, topic, this.#log)) return "full";
    // Who wrote something and is nobody now was removed.
    return isNamed && !topic.knows(hello.person) ? "read" : "none";
  }

  /** Says where a peer stands now, and cuts who may not take part. */
  #judge(link: TopicLink): void {
    if (link.hello === undefined || !this.#links.has(link)) return;
    const before = link.trust;
    link.trust = this.#trustOf(link);
    if (link.trust === "none" || (before === "full" && link.trust !== "full")) {
      if (this.#log.topic !== undefined) this.#nodes.left(link.peer);
      return this.#links.cut(link, "it takes no part");
    }
    if (before === "read" && link.trust === "full" && link.isOpen) {
      link.syncOwed = true; // now in both directions
      this.#welcome(link);
    }
    if (link.saidReady) return;
    link.saidReady = true;
    if (!link.saidHello) this.#sayHello(link);
    this.#links.send(link, { frame: "ready" });
    if (link.isOpen) this.#opened(link);
  }

  #opened(link: TopicLink): void {
    this.#isChangeOwed = true;
    this.#exchange.opened(link);
    if (link.trust === "full") this.#welcome(link);
  }

  #welcome(link: TopicLink): void {
    this.#nodes.met(link.peer, this.#ports.nowMs());
    link.said = undefined;
    this.#tellSoon();
    this.#nodesAtMs = Math.min(this.#nodesAtMs, this.#ports.nowMs());
  }

  /** There are new events: so may be who takes part. */
  #changed(): void {
    for (const link of this.#links.all()) this.#judge(link);
    this.#isChangeOwed = true;
    this.#tellSoon();
  }

  /** Joins by the invite, once it is here, who has not written anything yet, or left and comes anew. */
  #join(): void {
    const { invite, person } = this.#init;
    const { topic, membership } = this.#log;
    if (invite === undefined || !this.#isSynced || topic === undefined) return;
    if (this.#log.awaited !== undefined) return;
    // By another machine of the person's, or before the record of it was written.
    if (roleOf(this.#log, person.publicKey) !== undefined) return this.#joined();
    const isBack = this.#isNew && membership?.isRevoked(person.publicKey, false) === false;
    if (!isBack && topic.knows(person.publicKey)) return;
    if (!isOpenInvite(this.#log, invite.publicKey)) return;
    this.writing((log) => log.write(joinBy(log, invite, person.publicKey), person));
    this.#joined();
    this.#ports.notice(`Joined topic ${this.topic}`);
  }

  #joined(): void {
    if (!this.#isNew) return;
    this.#isNew = false;
    this.#ports.joined();
  }

  // How far everybody is.

  #complete(): Complete {
    const { topic } = this.#log;
    const state = this.#ports.states.current();
    return {
      frame: "complete",
      count: topic?.size ?? 0,
      heads: Uint8Array.fromHex(this.#exchange.headsDigest()),
      digest: state?.digest ?? null,
      abi: state?.abi ?? 0,
    };
  }

  /** A session ended. */
  #ended(link: TopicLink): void {
    this.#isSynced = true;
    this.#isChangeOwed = true;
    if (this.#links.has(link) && link.trust === "full") this.#tellTo(link, this.#complete());
  }

  #tellSoon(): void {
    const soonMs = Math.max(this.#ports.nowMs(), this.#toldAtMs + TELL_MIN_MS);
    this.#tellAtMs = Math.min(this.#tellAtMs, soonMs);
  }

  #tell(nowMs: number): void {
    this.#toldAtMs = nowMs;
    this.#tellAtMs = nowMs + TELL_MAX_MS * (1 + this.#ports.random() / 3);
    this.#exchange.flush(); // what is told of is durable
    const complete = this.#complete();
    for (const link of this.#links.trusted()) {
      this.#tellTo(link, complete);
      this.#drift.compare(link, complete);
    }
  }

  #tellTo(link: TopicLink, complete: Complete): void {
    link.said = complete;
    if (link.hasRoom) this.#links.send(link, complete);
  }

  #heard(link: TopicLink, complete: Complete): void {
    link.heard = complete;
    this.#isChangeOwed = true;
    if (link.trust === "full") this.#drift.compare(link, this.#complete());
    this.#compareAtMs = Math.min(this.#compareAtMs, this.#ports.nowMs() + COMPARE_MS);
  }

  /** Logs that stay different although nothing is under way want a session. */
  #compare(nowMs: number): void {
    const own = this.#exchange.headsDigest();
    const isDifferent = this.#links.all().some(({ heard }) =>
      heard !== undefined && heard.heads.toHex() !== own
    );
    this.#compareAtMs = isDifferent ? nowMs + COMPARE_MS : Infinity;
    this.#exchange.compare((peer) => this.#links.get(peer)?.heard?.heads.toHex(), nowMs);
  }

  // Who else there is.

  #tellNodes(nowMs: number): void {
    this.#nodesAtMs = nowMs + NODES_PAUSE_MS;
    const trusted = this.#links.trusted();
    const hint = (node: string) => ({
      key: parsePublicKey(node),
      addresses: this.#ports.addressesOf(node).slice(0, ADDRESSES_MAX),
    });
    for (const link of trusted) {
      const others = trusted.filter(({ peer }) => peer !== link.peer).map(({ peer }) => peer);
      const nodes = [this.#init.self, ...others].slice(0, NODES_MAX).map(hint);
      const said = JSON.stringify(nodes.map(({ key, addresses }) => [key.toHex(), addresses]));
      if (said === link.saidNodes || !link.hasRoom) continue;
      link.saidNodes = said;
      this.#links.send(link, { frame: "nodes", nodes });
    }
  }

  /** Also of a node that is only read from: a newcomer is told before it can tell who is who. */
  #heardNodes(nodes: readonly NodeHint[], nowMs: number): void {
    for (const { key, addresses } of nodes) {
      const node = formatPublicKey(key);
      if (node === this.#init.self) continue;
      this.#nodes.hinted(node, nowMs);
      this.#ports.learnt(node, addresses);
    }
  }

  /** What time does to a link. */
  #look(link: TopicLink, nowMs: number): void {
    if (!link.isOpen) {
      if (nowMs - link.sinceMs > HELLO_MS) this.#links.cut(link, "it does not say who it is");
      return;
    }
    const isStuck = link.session !== undefined && nowMs - link.sessionAtMs > SESSION_STUCK_MS;
    if (nowMs - link.heardAtMs > SILENT_LINK_MS) this.#links.cut(link, "it is silent");
    else if (isStuck) this.#links.cut(link, "its session does not go on");
  }
}
