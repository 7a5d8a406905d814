/**
 * The peer core: everything that a node decides about other nodes. Whom it trusts, what it sends
 * them, how the control log and the health of the nodes spread, who is live, who is cut.
 *
 * It is synchronous and deterministic: bytes and times come in by its methods, bytes go out by its
 * ports. So the code that runs on machines is the code that runs in the simulation
 * (`tests/simulation/`), where networks and disks fail as often as a seed wants.
 *
 * *Links.* The carrier makes one stream for each pair of connected peers, in both directions, opened
 * by the one whose key is the lesser text; a new one takes the place of one that is there. It says
 * {@link PeerCore.connected}, hands over every frame that comes, and says
 * {@link PeerCore.disconnected} when the stream or its connection broke, after which both sides
 * begin anew. Both say `hello` at once. A side that trusts the other says `ready`, one that does not
 * says `pending`; what else there is flows once both said `ready`.
 *
 * *Trust* comes from the view of the control log: nodes that are approved in it. Peers that the
 * node's ticket or its operator named are trusted for reading: what they send is signed by those
 * who may, so a node that has no log yet can learn it, but they are told nothing. So are those who
 * show an approval that this node has missed (`vouch.ts`).
 *
 * *Events* are durable before they are handed on: what came since the last flush is written
 * at once for all, then sent to every link that it did not come from. A session of `kernel/sync/`
 * on every link, and again whenever something is missing, is what makes logs equal; handing on is
 * for speed.
 *
 * Every time is in milliseconds of one monotonic clock.
 *
 * @module
 */
import type { SignedEvent } from "../../kernel/event.ts";
import { fingerprint, parsePublicKey } from "../../kernel/key.ts";
import { ADDRESSES_MAX, HELLO_BYTES_MAX, messageOf } from "../../kernel/peering/fields.ts";
import type { Trust } from "../../kernel/peering/link.ts";
import { LinkSet } from "../../kernel/peering/link_set.ts";
import { LogExchange } from "../../kernel/peering/log_exchange.ts";
import type { SyncSigner, VerifySync } from "../../kernel/verify.ts";
import type { ControlEvent } from "../control_event.ts";
import type { Offered, RealmLog } from "../realm_log.ts";
import { viewDigest } from "../realm_view.ts";
import { decodeFrame, type Frame, type Hello } from "./frame.ts";
import type { NodeHealth } from "./health_board.ts";
import { HealthGossip, type OwnRecord } from "./health_gossip.ts";
import { type OwnHealth, PENDING_MAX, type PendingPeer } from "./health_record.ts";
import { Introductions } from "./introductions.ts";
import { NodeLink } from "./node_link.ts";
import { isMajority } from "./majority.ts";
import { isVouched, vouchFor } from "./vouch.ts";

/** What the core is given to act with. None of them may call the core back before they return. */
export interface PeerPorts {
  /** Sends a frame to a linked peer; false when the next one has to wait for {@link PeerCore.sent}. */
  send(peer: string, frame: Uint8Array): boolean;
  /** Ends the link, and for a banned or revoked peer every connection. */
  cut(peer: string, reason: string): void;
  /**
   * The view, the live nodes, what they run, or the introductions changed. Called from {@link PeerCore.tick} alone,
   * when everything in the view is durable: what is acted on must not be gone after a power cut.
   */
  changed(): void;
  /** Other nodes said something of themselves. */
  heard?(): void;
  /** 16 bytes that nobody can guess. */
  secret(): Uint8Array;
  readonly verify: VerifySync;
  nowMs(): number;
  /** Milliseconds since 1970: when events are stored, for people. */
  wallMs(): number;
  /** From 0, below 1; to spread things in time. */
  random(): number;
  /** A line for the log of the agent. */
  notice(text: string): void;
  /** What this node says of itself. */
  health(): OwnHealth;
}

/** What the core is made with. */
export interface PeerCoreInit {
  /** The node's key, and that in text form. */
  readonly signer: SyncSigner;
  readonly self: string;
  readonly name: string;
  /** `realm 0.5.0` */
  readonly program: string;
  readonly log: RealmLog;
  /** Greater than at every earlier start: see {@link HealthRecord}. */
  readonly epoch: number;
  /** Whether the ticket or the operator named the key: see the module. */
  readonly isNamed: (peer: string) => boolean;
  readonly ports: PeerPorts;
}

/** A link as {@link PeerCore.links} tells of it. */
export interface LinkStatus {
  readonly peer: string;
  readonly trust: Trust;
  readonly isOpen: boolean;
  /** The other side waits for its owner to approve this node. */
  readonly isPending: boolean;
  readonly isSyncing: boolean;
  readonly wantsSync: boolean;
}

/** What nodes say of their replicas is acted on together. */
const REPORTS_MS = 100;
/** How long a peer may take for its hello, and be silent on an open link. */
const HELLO_MS = 10_000;
const SILENT_LINK_MS = 15_000;
const SESSION_STUCK_MS = 30_000;
/** A peer that waits for approval may try again after so long. */
const PENDING_LINK_MS = 300_000;
const FORM = { helloBytesMax: HELLO_BYTES_MAX, decode: decodeFrame };

/** See the module. */
export class PeerCore {
  readonly #init: PeerCoreInit;
  readonly #ports: PeerPorts;
  readonly #log: RealmLog;
  readonly #links: LinkSet<NodeLink, Frame>;
  readonly #exchange: LogExchange;
  readonly #health: HealthGossip;
  readonly #introductions = new Introductions();
  /** When it is time to say that something changed. */
  #changeAtMs = Infinity;
  /** As the shell said with the last record. */
  #latencyMs: OwnHealth["latencyMs"] = () => undefined;
  /** Keys of those that were live when it was last looked at. */
  #live = "";

  constructor(init: PeerCoreInit) {
    const { log, ports, self } = init;
    const { verify } = ports;
    const nowMs = () => ports.nowMs();
    this.#init = init;
    this.#ports = ports;
    this.#log = log;
    this.#links = new LinkSet(ports, NodeLink);
    this.#exchange = new LogExchange({
      self,
      log,
      links: this.#links,
      nowMs,
      wallMs: () => ports.wallMs(),
      secret: () => ports.secret(),
      changed: () => this.#viewChanged(),
    });
    this.#health = new HealthGossip({
      ...init,
      links: this.#links,
      verify,
      nowMs,
      random: () => ports.random(),
      isApproved: (peer) => this.isApproved(peer),
      own: () => this.#ownRecord(),
      latencyMs: (peer) => this.#latencyMs(peer),
      changed: () => this.#oweChange(REPORTS_MS),
    });
  }

  // What the carrier says.

  /** There is a link with a peer. */
  connected(peer: string): void {
    if (peer === this.#init.self || !this.mayConnect(peer)) {
      this.#ports.cut(peer, "not welcome");
      return;
    }
    const link = this.#links.add(peer, (key) => !this.isApproved(key));
    this.#links.send(link, {
      frame: "hello",
      v: 1,
      name: this.#init.name,
      topic: this.#log.topic?.id ?? null,
      owner: this.#ownOwner(),
      program: this.#init.program,
      addresses: this.#ports.health().addresses.slice(0, ADDRESSES_MAX),
    });
  }

  /** The link with a peer is gone. */
  disconnected(peer: string): void {
    this.#links.remove(peer);
  }

  /** There is room to send to a peer again. */
  sent(peer: string): void {
    this.#exchange.sent(peer);
  }

  /** A peer sent a frame, without its length. */
  received(peer: string, bytes: Uint8Array): void {
    const link = this.#links.get(peer);
    if (link === undefined) return; // cut, and the carrier had more
    const frame = this.#links.received(link, bytes, FORM);
    if (frame === undefined) return;
    switch (frame.frame) {
      case "hello":
        return this.#hello(link, frame);
      case "pending":
        if (!link.heardPending) {
          link.heardPending = true;
          this.#ports.notice(
            `Waiting for approval by ${link.hello!.name || peer}: fingerprint ` +
              fingerprint(parsePublicKey(this.#init.self)),
          );
        }
        return this.#vouch(link);
      case "vouch":
        return this.#vouched(link, frame.events);
      case "ready":
        if (link.heardReady) return;
        link.heardReady = true;
        if (link.isOpen) this.#opened(link);
        return;
    }
    if (!link.isOpen) return this.#links.fault(link, "garbage", `${frame.frame} before ready`);
    if (frame.frame !== "health") return this.#exchange.received(link, frame);
    this.#health.received(link, frame.records);
    this.#ports.heard?.();
    this.#noteLive(this.#ports.nowMs());
  }

  /** Does what is due; to be called at {@link dueMs}, and may be called at any time. */
  tick(): void {
    const nowMs = this.#ports.nowMs();
    if (nowMs >= this.#exchange.flushAtMs) this.#exchange.flush();
    if (this.#health.tick(nowMs)) {
      this.#exchange.compare((peer) => this.#health.board.get(peer)?.record.heads, nowMs);
    }
    for (const link of this.#links.all()) this.#look(link, nowMs);
    this.#exchange.tick(nowMs);
    this.#noteLive(nowMs);
    if (nowMs < this.#changeAtMs || this.#exchange.flushAtMs < Infinity) return;
    // What is acted on must not be gone after a power cut. A disk that fails is tried again.
    this.#exchange.flush();
    this.#changeAtMs = Infinity;
    this.#ports.changed();
  }

  /** When {@link tick} has something to do, if nothing comes before. */
  dueMs(): number {
    const nowMs = this.#ports.nowMs();
    const { flushAtMs, sessionAtMs } = this.#exchange;
    const silenceMs = this.#health.board.nextSilenceMs(nowMs) ?? Infinity;
    const changeAtMs = flushAtMs < Infinity ? flushAtMs : this.#changeAtMs;
    return Math.max(
      nowMs,
      Math.min(this.#health.dueMs, flushAtMs, sessionAtMs, silenceMs, changeAtMs),
    );
  }

  /**
   * Takes events of this machine, from the command line. They are durable when it returns, and
   * handed on. Answers what {@link RealmLog.offer} does.
   */
  append(events: readonly SignedEvent[]): Offered {
    return this.#exchange.writing(() => this.#exchange.absorb(events, undefined));
  }

  /** Writes an event of the node itself, durable when it returns; see {@link RealmLog.append}. */
  write(said: ControlEvent): SignedEvent {
    const { signer } = this.#init;
    const append = () => this.#log.append(said, signer);
    return this.#exchange.writing(() => this.#exchange.changing(append));
  }

  /** What this node says of itself is not true any more: it is told soon, not at its time. */
  tellSoon(): void {
    this.#health.tellSoon();
  }

  // What others ask.

  /** Whether a key may be connected with at all. */
  mayConnect(peer: string): boolean {
    return !this.#links.isBanned(peer) && !this.#isRevoked(peer);
  }

  /** Whether a key is an approved node: what every other protocol asks. */
  isApproved(peer: string): boolean {
    return this.#log.view?.nodes.has(peer) ?? false;
  }

  /** Whether an approved node was heard of a short while ago; this node always was. */
  isLive(peer: string): boolean {
    return this.#health.board.isLive(peer, this.#ports.nowMs());
  }

  /** Names of the approved nodes that are live, and this one's if it is approved; sorted. */
  liveNames(): string[] {
    const nowMs = this.#ports.nowMs();
    return [...this.#log.view?.nodes ?? []]
      .filter(([key]) => this.#health.board.isLive(key, nowMs))
      .map(([, { name }]) => name).sort();
  }

  /** Whether this node sees a majority of the approved ones, itself included. */
  hasMajority(): boolean {
    return isMajority(this.liveNames().length, this.#log.view?.nodes.size ?? 0);
  }

  /** The newest that an approved node said of itself. */
  healthOf(peer: string): NodeHealth | undefined {
    return this.#health.board.get(peer);
  }

  /** Whether a link with the peer is open. */
  isLinked(peer: string): boolean {
    return this.#links.get(peer)?.isOpen ?? false;
  }

  /** Peers whose link is open. */
  linkedPeers(): string[] {
    return this.#links.all().filter(({ isOpen }) => isOpen).map(({ peer }) => peer);
  }

  /** Every link, for people. */
  links(): LinkStatus[] {
    return this.#links.all().map((link) => ({
      peer: link.peer,
      trust: link.trust,
      isOpen: link.isOpen,
      isPending: link.heardPending,
      isSyncing: link.session !== undefined,
      wantsSync: link.syncOwed,
    }));
  }

  /** Approved nodes that have the same heads as this one and another view: never, but for a bug. */
  drifting(): string[] {
    const { view } = this.#log;
    if (view === undefined) return [];
    const [heads, digest] = [this.#exchange.headsDigest(), viewDigest(view)];
    return this.#health.board.all().map(({ record }) => record)
      .filter((record) => record.heads === heads && record.viewDigest !== digest)
      .map(({ key }) => key);
  }

  /** Keys that wait for approval, here or elsewhere; those that asked here last are last. */
  introductions(): PendingPeer[] {
    const waiting = new Map<string, PendingPeer>();
    const add = ({ key, name }: PendingPeer) => {
      if (this.#waits(key)) waiting.set(key, { key, name });
    };
    for (const { record } of this.#health.board.all()) record.pending.forEach(add);
    this.#introductions.all().forEach(add);
    return [...waiting.values()];
  }

  // Trust.

  #isRevoked(peer: string): boolean {
    return this.#log.view?.revoked.includes(peer) ?? false;
  }

  #waits(peer: string): boolean {
    return peer !== this.#init.self && !this.isApproved(peer) && !this.#isRevoked(peer);
  }

  #trustOf(peer: string): Trust {
    if (this.#isRevoked(peer)) return "none";
    if (this.isApproved(peer)) return "full";
    return this.#init.isNamed(peer) || this.#links.get(peer)?.isVouched ? "read" : "none";
  }

  /** Shows the owner's approval to a peer that does not know of it. */
  #vouch(link: NodeLink): void {
    if (!link.heardPending || link.saidVouch || link.trust !== "full") return;
    const events = vouchFor(this.#init.self, this.#log);
    if (events === undefined) return;
    link.saidVouch = true;
    this.#links.send(link, { frame: "vouch", events });
  }

  #vouched(link: NodeLink, events: readonly Uint8Array[]): void {
    if (link.heardVouch) return this.#links.fault(link, "garbage", "a second vouch");
    link.heardVouch = true;
    if (!link.saidPending) return;
    try {
      link.isVouched = isVouched(link.peer, events, this.#log, this.#ports.verify);
    } catch (error) {
      return this.#links.fault(link, "forged", messageOf(error));
    }
    this.#judge(link); // it may be by an owner of whom nothing is known here
  }

  #hello(link: NodeLink, hello: Hello): void {
    const topicId = this.#log.topic?.id;
    if (hello.topic !== null && topicId !== undefined && !hello.topic.equals(topicId)) {
      return this.#links.cut(link, "it follows another realm");
    }
    link.hello = hello;
    this.#judge(link);
  }

  /** Says where a peer stands now, and cuts who lost the trust it had. */
  #judge(link: NodeLink): void {
    const { peer, hello } = link;
    if (this.#isRevoked(peer)) return this.#links.cut(link, "its key is revoked");
    if (hello === undefined) return;
    const before = link.trust;
    link.trust = this.#trustOf(peer);
    if (before === "full" && link.trust !== "full") {
      return this.#links.cut(link, "it is not approved");
    }
    if (link.trust === "none") {
      if (link.saidPending) return;
      link.saidPending = true;
      this.#links.send(link, { frame: "pending", fingerprint: fingerprint(parsePublicKey(peer)) });
      this.#introduce(peer, hello.name);
      return;
    }
    if (before === "read" && link.trust === "full" && link.isOpen) {
      link.syncOwed = true; // now in both directions
      this.#health.opened(link);
    }
    this.#vouch(link);
    if (link.saidReady) return;
    link.saidReady = true;
    this.#links.send(link, { frame: "ready" });
    if (link.isOpen) this.#opened(link);
  }

  #introduce(key: string, name: string): void {
    if (!this.#introductions.saw({ key, name, seenAtMs: this.#ports.nowMs() })) return;
    const taken = [...this.#log.view?.nodes.values() ?? []].some((node) => node.name === name);
    this.#ports.notice(
      taken
        ? `Another key calls itself ${name}, which is an approved node: ${key}`
        : `${name || "A node"} asks to join: ${key}`,
    );
    this.#oweChange();
  }

  #ownOwner(): Uint8Array | null {
    const owner = this.#log.view?.owner ?? this.#log.trust.owner;
    return owner === undefined ? null : parsePublicKey(owner);
  }

  /** The view is another one: so may be whom it trusts. */
  #viewChanged(): void {
    for (const link of this.#links.all()) this.#judge(link);
    this.#health.tellSoon();
    this.#health.board.retain((key) => this.isApproved(key));
    this.#introductions.retain((key) => this.#waits(key));
    this.#oweChange();
  }

  #opened(link: NodeLink): void {
    this.#exchange.opened(link);
    if (link.trust === "full") this.#health.opened(link);
  }

  #ownRecord(): OwnRecord | undefined {
    const { view, topic } = this.#log;
    if (view === undefined) return undefined;
    // Asked once for each record and not for each peer: it tells of all that runs.
    const { latencyMs, ...own } = this.#ports.health();
    this.#latencyMs = latencyMs;
    return {
      ...own,
      name: this.#init.name,
      program: this.#init.program,
      saidAtMs: this.#ports.wallMs(),
      heads: this.#exchange.headsDigest(),
      viewDigest: viewDigest(view),
      count: topic!.size,
      pending: this.#introductions.all().slice(-PENDING_MAX),
    };
  }

  /** Something changed, which is told with what changes in the next `withinMs`. */
  #oweChange(withinMs = 0): void {
    this.#changeAtMs = Math.min(this.#changeAtMs, this.#ports.nowMs() + withinMs);
  }

  #noteLive(nowMs: number): void {
    const live = [...this.#log.view?.nodes.keys() ?? []]
      .filter((key) => this.#health.board.isLive(key, nowMs)).join();
    if (live === this.#live) return;
    this.#live = live;
    this.#oweChange();
  }

  /** What time does to a link. */
  #look(link: NodeLink, nowMs: number): void {
    const silentMs = nowMs - link.heardAtMs;
    if (link.hello === undefined) {
      if (nowMs - link.sinceMs > HELLO_MS) this.#links.cut(link, "it said nothing");
    } else if (link.isOpen) {
      const isStuck = link.session !== undefined && nowMs - link.sessionAtMs > SESSION_STUCK_MS;
      if (silentMs > SILENT_LINK_MS) this.#links.cut(link, "it is silent");
      else if (isStuck) this.#links.cut(link, "its session does not go on");
    } else if (nowMs - link.sinceMs > PENDING_LINK_MS) {
      this.#links.cut(link, "it waits for approval");
    }
  }
}
