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
import { RealmError } from "../../kernel/error.ts";
import { decodeSigned, encodeSigned, type SignedEvent } from "../../kernel/event.ts";
import { fingerprint, parsePublicKey } from "../../kernel/key.ts";
import { headsDigest, SyncSession } from "../../kernel/sync/session.ts";
import type { SyncSigner, VerifySync } from "../../kernel/verify.ts";
import type { ControlEvent } from "../control_event.ts";
import type { Offered, RealmLog, Refusal } from "../realm_log.ts";
import { type RealmView, viewDigest } from "../realm_view.ts";
import {
  ADDRESSES_MAX,
  decodeFrame,
  type Frame,
  FRAME_ITEMS_MAX,
  type Hello,
  HELLO_BYTES_MAX,
} from "./frame.ts";
import { HealthBoard, type NodeHealth } from "./health_board.ts";
import {
  type HealthRecord,
  type OwnHealth,
  PENDING_MAX,
  type PendingPeer,
  readHealth,
  type SignedHealth,
  signHealth,
} from "./health_record.ts";
import { Introductions } from "./introductions.ts";
import { Link, type Trust } from "./link.ts";
import { isDishonest, LogSource } from "./log_source.ts";
import { isMajority } from "./majority.ts";
import { type Fault, Standing } from "./standing.ts";
import { isVouched, vouchFor } from "./vouch.ts";

/** What the core is given to act with. None of them may call the core back before they return. */
export interface PeerPorts {
  /** Sends a frame to a linked peer; false when the next one has to wait for {@link PeerCore.sent}. */
  send(peer: string, frame: Uint8Array): boolean;
  /** Ends the link, and for a banned or revoked peer every connection. */
  cut(peer: string, reason: string): void;
  /**
   * The view, the live nodes or the introductions changed. Called from {@link PeerCore.tick} alone,
   * when everything in the view is durable: what is acted on must not be gone after a power cut.
   */
  changed(): void;
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

/** How long a peer may take for its hello, and be silent on an open link. */
const HELLO_MS = 10_000;
const SILENT_LINK_MS = 15_000;
const SESSION_STUCK_MS = 30_000;
/** A peer that waits for approval may try again after so long. */
const PENDING_LINK_MS = 300_000;
/** Events wait this long for others to be written with them. */
const GATHER_MS = 5;
/** Own health is told after at least so long, and up to a third more. */
const HEALTH_MS = 1_500;
/** And so soon after the log changed. */
const SOON_MS = 200;
/** A peer that said something so recently is one that is heard. */
const HEARD_MS = 3_000;
/** Sessions on one link: the least pause, and the most when they bring nothing. */
const SYNC_PAUSE_MIN_MS = 1_000;
const SYNC_PAUSE_MAX_MS = 60_000;
/** Heads that differ from a linked peer's for so long, though nothing is under way, want a session. */
const DIFFERENT_MS = 4_000;
/** Bytes of events or records in one frame, where there are several. */
const BATCH_BYTES = 256 * 1024;

/** See the module. */
export class PeerCore {
  readonly #init: PeerCoreInit;
  readonly #ports: PeerPorts;
  readonly #log: RealmLog;
  readonly #links = new Map<string, Link>();
  readonly #standing = new Standing();
  readonly #introductions = new Introductions();
  readonly #board: HealthBoard;
  /** Which peer each event came from that is not durable yet, by the text of its id. */
  #from = new Map<string, string>();
  #flushAtMs: number | undefined;
  /** Records of others to hand on. */
  #news: { readonly key: string; readonly bytes: Uint8Array; readonly from: string }[] = [];
  #isChangeOwed = false;
  /** When the log last changed. */
  #changedAtMs = 0;
  #epoch: number;
  #counter = 0;
  #healthAtMs = 0;
  #live = "";

  constructor(init: PeerCoreInit) {
    this.#init = init;
    this.#ports = init.ports;
    this.#log = init.log;
    this.#epoch = init.epoch;
    this.#board = new HealthBoard(init.self);
  }

  // What the carrier says.

  /** There is a link with a peer. */
  connected(peer: string): void {
    if (peer === this.#init.self || !this.mayConnect(peer)) {
      this.#ports.cut(peer, "not welcome");
      return;
    }
    const link = new Link(peer, this.#ports.nowMs(), (frame) => this.#ports.send(peer, frame));
    this.#links.set(peer, link);
    this.#send(link, {
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
    this.#links.delete(peer);
  }

  /** There is room to send to a peer again. */
  sent(peer: string): void {
    const link = this.#links.get(peer);
    if (link === undefined) return;
    link.drain();
    this.#pump(link);
  }

  /** A peer sent a frame, without its length. */
  received(peer: string, bytes: Uint8Array): void {
    const link = this.#links.get(peer);
    if (link === undefined) return; // cut, and the carrier had more
    const nowMs = this.#ports.nowMs();
    link.heardAtMs = nowMs;
    if (link.hello === undefined && bytes.length > HELLO_BYTES_MAX) {
      return this.#fault(link, "garbage", `a first frame of ${bytes.length} bytes`);
    }
    let frame: Frame | undefined;
    try {
      frame = decodeFrame(bytes);
    } catch (error) {
      return this.#fault(link, "garbage", messageOf(error));
    }
    // Sessions have credit; everything else comes as fast as the peer likes.
    if (frame?.frame !== "sync" && !link.take(bytes.length, nowMs)) {
      return this.#fault(link, "flood", "frames too fast");
    }
    if (frame === undefined) return; // of a newer program
    if ((link.hello === undefined) !== (frame.frame === "hello")) {
      return this.#fault(link, "garbage", `a ${frame.frame} out of place`);
    }
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
    if (!link.isOpen) return this.#fault(link, "garbage", `${frame.frame} before ready`);
    if (frame.frame === "events") this.#events(link, frame.events);
    else if (frame.frame === "health") this.#health(link, frame.records);
    else if (frame.frame === "again") this.#again(link);
    else this.#sync(link, frame.message);
  }

  /** Does what is due; to be called at {@link dueMs}, and may be called at any time. */
  tick(): void {
    const nowMs = this.#ports.nowMs();
    if (this.#flushAtMs !== undefined) this.#flush();
    if (nowMs >= this.#healthAtMs) this.#tellHealth(nowMs);
    this.#handOnNews();
    for (const link of [...this.#links.values()]) this.#look(link, nowMs);
    this.#noteLive(nowMs);
    if (!this.#isChangeOwed) return;
    this.#isChangeOwed = false;
    this.#flush(); // what is acted on must not be gone after a power cut
    this.#ports.changed();
  }

  /** When {@link tick} has something to do, if nothing comes before. */
  dueMs(): number {
    const nowMs = this.#ports.nowMs();
    if (this.#isChangeOwed) return nowMs;
    const due = [this.#healthAtMs];
    if (this.#flushAtMs !== undefined) due.push(this.#flushAtMs);
    if (this.#news.length > 0) due.push(nowMs + GATHER_MS);
    const silence = this.#board.nextSilenceMs(nowMs);
    if (silence !== undefined) due.push(silence);
    for (const link of this.#links.values()) {
      if (this.#mayStartSync(link)) due.push(link.syncAtMs);
    }
    return Math.max(nowMs, Math.min(...due));
  }

  /**
   * Takes events of this machine: of the command line, or of the node itself. They are durable when
   * it returns, and handed on. Answers what {@link RealmLog.offer} does.
   */
  append(events: readonly SignedEvent[]): Offered {
    const offered = this.#absorb(events, undefined);
    this.#flush();
    return offered;
  }

  /** Writes an event of the node itself, durable when it returns; see {@link RealmLog.append}. */
  write(said: ControlEvent): SignedEvent {
    const before = this.#log.view;
    const signed = this.#log.append(said, this.#init.signer);
    if (this.#log.view !== before) this.#viewChanged();
    this.#flush();
    return signed;
  }

  // What others ask.

  /** Whether a key may be connected with at all. */
  mayConnect(peer: string): boolean {
    return !this.#standing.isBanned(peer, this.#ports.nowMs()) && !this.#isRevoked(peer);
  }

  /** Whether a key is an approved node: what every other protocol asks. */
  isApproved(peer: string): boolean {
    return this.#log.view?.nodes.has(peer) ?? false;
  }

  /** Whether an approved node was heard of a short while ago; this node always was. */
  isLive(peer: string): boolean {
    return this.#board.isLive(peer, this.#ports.nowMs());
  }

  /** Names of the approved nodes that are live, and this one's if it is approved; sorted. */
  liveNames(): string[] {
    const nowMs = this.#ports.nowMs();
    return [...this.#log.view?.nodes ?? []]
      .filter(([key]) => this.#board.isLive(key, nowMs))
      .map(([, { name }]) => name).sort();
  }

  /** Whether this node sees a majority of the approved ones, itself included. */
  hasMajority(): boolean {
    return isMajority(this.liveNames().length, this.#log.view?.nodes.size ?? 0);
  }

  /** The newest that an approved node said of itself. */
  healthOf(peer: string): NodeHealth | undefined {
    return this.#board.get(peer);
  }

  /** Whether a link with the peer is open. */
  isLinked(peer: string): boolean {
    return this.#links.get(peer)?.isOpen ?? false;
  }

  /** Peers whose link is open. */
  linkedPeers(): string[] {
    return [...this.#links.values()].filter(({ isOpen }) => isOpen).map(({ peer }) => peer);
  }

  /** Every link, for people. */
  links(): LinkStatus[] {
    return [...this.#links.values()].map((link) => ({
      peer: link.peer,
      trust: link.trust,
      isOpen: link.isOpen,
      isPending: link.heardPending,
      isSyncing: link.session !== undefined,
      wantsSync: link.syncOwed,
    }));
  }

  /** Keys that wait for approval, here or elsewhere; those that asked here last are last. */
  introductions(): PendingPeer[] {
    const waiting = new Map<string, PendingPeer>();
    const add = ({ key, name }: PendingPeer) => {
      if (this.#waits(key)) waiting.set(key, { key, name });
    };
    for (const { record } of this.#board.all()) record.pending.forEach(add);
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
  #vouch(link: Link): void {
    if (!link.heardPending || link.saidVouch || link.trust !== "full") return;
    const events = vouchFor(this.#init.self, this.#log);
    if (events === undefined) return;
    link.saidVouch = true;
    this.#send(link, { frame: "vouch", events });
  }

  #vouched(link: Link, events: readonly Uint8Array[]): void {
    if (link.heardVouch) return this.#fault(link, "garbage", "a second vouch");
    link.heardVouch = true;
    if (!link.saidPending) return;
    try {
      link.isVouched = isVouched(link.peer, events, this.#log, this.#ports.verify);
    } catch (error) {
      return this.#fault(link, "forged", messageOf(error));
    }
    this.#judge(link); // it may be by an owner of whom nothing is known here
  }

  #hello(link: Link, hello: Hello): void {
    const topicId = this.#log.topic?.id;
    if (hello.topic !== null && topicId !== undefined && !hello.topic.equals(topicId)) {
      return this.#cut(link, "it follows another realm");
    }
    link.hello = hello;
    this.#judge(link);
  }

  /** Says where a peer stands now, and cuts who lost the trust it had. */
  #judge(link: Link): void {
    const { peer, hello } = link;
    if (this.#isRevoked(peer)) return this.#cut(link, "its key is revoked");
    if (hello === undefined) return;
    const before = link.trust;
    link.trust = this.#trustOf(peer);
    if (before === "full" && link.trust !== "full") return this.#cut(link, "it is not approved");
    if (link.trust === "none") {
      if (link.saidPending) return;
      link.saidPending = true;
      this.#send(link, { frame: "pending", fingerprint: fingerprint(parsePublicKey(peer)) });
      this.#introduce(peer, hello.name);
      return;
    }
    if (before === "read" && link.trust === "full") link.syncOwed = true; // now in both directions
    this.#vouch(link);
    if (link.saidReady) return;
    link.saidReady = true;
    this.#send(link, { frame: "ready" });
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
    this.#isChangeOwed = true;
  }

  #ownOwner(): Uint8Array | null {
    const owner = this.#log.view?.owner ?? this.#log.trust.owner;
    return owner === undefined ? null : parsePublicKey(owner);
  }

  /** The view is another one: so may be whom it trusts. */
  #viewChanged(): void {
    this.#changedAtMs = this.#ports.nowMs();
    for (const link of [...this.#links.values()]) this.#judge(link);
    this.#board.retain((key) => this.isApproved(key));
    this.#introductions.retain((key) => this.#waits(key));
    this.#isChangeOwed = true;
  }

  #opened(link: Link): void {
    link.syncOwed = true;
    if (link.trust === "full") this.#sendRecords(link, this.#board.all().map(({ bytes }) => bytes));
  }

  // Events.

  #events(link: Link, encoded: readonly Uint8Array[]): void {
    let signed: SignedEvent[];
    try {
      signed = encoded.map(decodeSigned);
    } catch (error) {
      return this.#fault(link, "garbage", messageOf(error));
    }
    const { missing, refused } = this.#absorb(signed, link.peer);
    if (missing.length > 0) this.#oweSync(link);
    this.#judgeRefused(link, refused);
  }

  /** What a peer sent that was not taken. */
  #judgeRefused(link: Link, refused: readonly Refusal[]): void {
    const dishonest = refused.find(isDishonest);
    if (dishonest !== undefined) this.#fault(link, "forged", dishonest.problem);
    else if (refused.length > 0) this.#fault(link, "unauthorised", refused[0]!.problem);
  }

  /** Takes events into the log; they are durable after the next flush. */
  #absorb(events: readonly SignedEvent[], from: string | undefined): Offered {
    const before = this.#log.view;
    const offered = this.#log.offer(events);
    this.#took(offered.accepted, from);
    if (this.#log.view !== before) this.#viewChanged();
    return offered;
  }

  #took(accepted: readonly SignedEvent[], from: string | undefined): void {
    if (accepted.length === 0) return;
    if (from !== undefined) { for (const { id } of accepted) this.#from.set(id.toString(), from); }
    this.#flushAtMs ??= this.#ports.nowMs() + GATHER_MS;
  }

  /** Makes durable what came, then hands it on. */
  #flush(): void {
    this.#flushAtMs = undefined;
    const events = this.#log.flush(this.#ports.wallMs());
    if (events.length === 0) return;
    const from = this.#from;
    this.#from = new Map();
    this.#healthAtMs = Math.min(this.#healthAtMs, this.#ports.nowMs() + SOON_MS);
    for (const link of [...this.#links.values()]) {
      if (!link.isOpen || link.trust !== "full") continue;
      this.#sendEvents(link, events.filter(({ id }) => from.get(id.toString()) !== link.peer));
    }
  }

  #sendEvents(link: Link, events: readonly SignedEvent[]): void {
    for (const batch of batches(events.map(encodeSigned))) {
      // A session brings what there is no room for.
      if (!link.hasRoom) return this.#oweSync(link);
      this.#send(link, { frame: "events", events: batch });
    }
  }

  // Health.

  #tellHealth(nowMs: number): void {
    const pause = HEALTH_MS * (1 + this.#ports.random() / 3);
    this.#healthAtMs = nowMs + pause;
    this.#wantEqualHeads(nowMs);
    const { view } = this.#log;
    if (view === undefined) return;
    const signed = signHealth(
      this.#ownRecord(view, nowMs),
      (message) => this.#init.signer.sign(message),
    );
    this.#board.put(signed, nowMs);
    for (const link of this.#links.values()) {
      if (link.isOpen && link.trust === "full") this.#sendRecords(link, [signed.bytes]);
    }
  }

  #ownRecord(view: RealmView, nowMs: number): HealthRecord {
    const { latencyMs, ...own } = this.#ports.health();
    const heard = [...this.#links.values()]
      .filter((link) => link.isOpen && nowMs - link.heardAtMs < HEARD_MS)
      .map(({ peer }) => [peer, latencyMs(peer) ?? -1] as const);
    return {
      ...own,
      key: this.#init.self,
      epoch: this.#epoch,
      counter: this.#counter++,
      name: this.#init.name,
      program: this.#init.program,
      heads: this.#headsDigest(),
      viewDigest: viewDigest(view),
      count: this.#log.topic!.size,
      heard,
      pending: this.#introductions.all().slice(-PENDING_MAX),
    };
  }

  /** Health that there is no room for is left out: the next is better. */
  #sendRecords(link: Link, records: readonly Uint8Array[]): void {
    for (const batch of batches(records)) {
      if (link.hasRoom) this.#send(link, { frame: "health", records: batch });
    }
  }

  #health(link: Link, encoded: readonly Uint8Array[]): void {
    const nowMs = this.#ports.nowMs();
    for (const bytes of encoded) {
      if (this.#board.has(bytes)) continue;
      let signed: SignedHealth | undefined;
      try {
        signed = readHealth(bytes, (record) => this.#isNews(record), this.#ports.verify);
      } catch (error) {
        const fault = (error as RealmError).code === "bad-signature" ? "forged" : "garbage";
        return this.#fault(link, fault, messageOf(error));
      }
      if (signed === undefined) continue;
      this.#board.put(signed, nowMs);
      this.#news.push({ key: signed.record.key, bytes, from: link.peer });
    }
    this.#noteLive(nowMs);
  }

  #isNews(record: HealthRecord): boolean {
    if (record.key === this.#init.self) {
      // Said at an earlier start, of which this node lost count.
      if (record.epoch > this.#epoch) this.#epoch = record.epoch + 1;
      return false;
    }
    return this.isApproved(record.key) && this.#board.isNews(record);
  }

  #handOnNews(): void {
    if (this.#news.length === 0) return;
    const news = this.#news;
    this.#news = [];
    for (const link of this.#links.values()) {
      if (!link.isOpen || link.trust !== "full") continue;
      // It says itself whom it hears; what is old of that is a second or two old.
      const hears = new Map(this.#board.get(link.peer)?.record.heard);
      const others = news.filter(({ key, from }) =>
        from !== link.peer && key !== link.peer && !hears.has(key)
      );
      this.#sendRecords(link, others.map(({ bytes }) => bytes));
    }
  }

  #noteLive(nowMs: number): void {
    const live = [...this.#log.view?.nodes.keys() ?? []]
      .filter((key) => this.#board.isLive(key, nowMs)).join();
    if (live === this.#live) return;
    this.#live = live;
    this.#isChangeOwed = true;
  }

  // Sessions.

  /** Whether this side begins the sessions on a link. */
  #begins(link: Link): boolean {
    return this.#init.self < link.peer;
  }

  /** Notes that a session is wanted. */
  #oweSync(link: Link): void {
    link.syncOwed = true;
  }

  #mayStartSync(link: Link): boolean {
    return link.isOpen && link.syncOwed && link.session === undefined && link.hasRoom;
  }

  #startSync(link: Link, nowMs: number): void {
    link.syncOwed = false;
    link.syncAtMs = nowMs + Math.max(SYNC_PAUSE_MIN_MS, link.syncPauseMs);
    if (!this.#begins(link)) return this.#send(link, { frame: "again" });
    this.#flush();
    link.session = this.#session(link, "initiator");
    this.#pump(link);
  }

  #session(link: Link, role: "initiator" | "responder"): SyncSession {
    const source = new LogSource({
      log: this.#log,
      isGiven: link.trust === "full",
      accept: (events) => this.#absorb(events, link.peer),
    });
    return new SyncSession({ role, source, secret: this.#ports.secret() });
  }

  /** The other side wants a session, and may not have it more often than this one would. */
  #again(link: Link): void {
    if (!this.#begins(link)) return this.#fault(link, "garbage", "again out of place");
    link.syncOwed = true;
  }

  #sync(link: Link, message: Uint8Array): void {
    this.#flush(); // a session speaks of what is durable
    if (this.#links.get(link.peer) !== link) return;
    if (link.session === undefined) {
      if (this.#begins(link)) return this.#fault(link, "dishonest sync", "no session is under way");
      if (!link.takeSession(this.#ports.nowMs())) {
        return this.#fault(link, "flood", "sessions too often");
      }
      link.session = this.#session(link, "responder");
    }
    try {
      link.session.receive(message);
    } catch (error) {
      link.session = undefined;
      return this.#fault(link, "dishonest sync", messageOf(error));
    }
    this.#flush();
    if (this.#links.get(link.peer) === link) this.#pump(link);
  }

  /** Sends what a session has to say, as far as there is room. */
  #pump(link: Link): void {
    const { session } = link;
    if (session === undefined) return;
    link.sessionAtMs = this.#ports.nowMs();
    while (link.hasRoom) {
      const message = session.send();
      if (message === undefined) break;
      this.#send(link, { frame: "sync", message });
    }
    const { outcome } = session;
    if (outcome === undefined) return;
    link.session = undefined;
    // One that brings nothing is not soon tried again: a peer may say what it likes of its heads.
    const isIdle = outcome.received === outcome.refused && outcome.sent === 0;
    link.syncPauseMs = isIdle
      ? Math.min(SYNC_PAUSE_MAX_MS, Math.max(SYNC_PAUSE_MIN_MS, link.syncPauseMs * 2))
      : SYNC_PAUSE_MIN_MS;
    link.syncAtMs = Math.max(link.syncAtMs, this.#ports.nowMs() + link.syncPauseMs);
    if (outcome.withheld > 0) this.#fault(link, "orphans", `${outcome.withheld} events withheld`);
  }

  /** A linked peer says for a while that its log is another one, and nothing is under way. */
  #wantEqualHeads(nowMs: number): void {
    if (nowMs - this.#changedAtMs < DIFFERENT_MS) return;
    const heads = this.#headsDigest();
    for (const link of this.#links.values()) {
      const said = this.#board.get(link.peer);
      if (said === undefined || said.record.heads === heads) continue;
      if (this.#begins(link) && link.isOpen && link.session === undefined) link.syncOwed = true;
    }
  }

  #headsDigest(): string {
    return headsDigest(this.#log.topic?.heads.map(({ key }) => key) ?? []).toHex();
  }

  // Links.

  /** What time does to a link. */
  #look(link: Link, nowMs: number): void {
    const silentMs = nowMs - link.heardAtMs;
    if (link.hello === undefined) {
      if (nowMs - link.sinceMs > HELLO_MS) this.#cut(link, "it said nothing");
    } else if (link.isOpen) {
      const isStuck = link.session !== undefined && nowMs - link.sessionAtMs > SESSION_STUCK_MS;
      if (silentMs > SILENT_LINK_MS) this.#cut(link, "it is silent");
      else if (isStuck) this.#cut(link, "its session does not go on");
      else if (nowMs >= link.syncAtMs && this.#mayStartSync(link)) this.#startSync(link, nowMs);
    } else if (nowMs - link.sinceMs > PENDING_LINK_MS) {
      this.#cut(link, "it waits for approval");
    }
  }

  #send(link: Link, frame: Frame): void {
    if (!link.send(frame)) this.#cut(link, "it does not read");
  }

  #cut(link: Link, reason: string): void {
    if (this.#links.get(link.peer) !== link) return;
    this.#links.delete(link.peer);
    this.#ports.cut(link.peer, reason);
  }

  #fault(link: Link, fault: Fault, what: string): void {
    const bannedMs = this.#standing.fault(link.peer, fault, this.#ports.nowMs());
    if (bannedMs === undefined) return;
    this.#ports.notice(
      `Peer ${link.peer} is cut off for ${Math.round(bannedMs / 1000)} s: ${fault}, ${what}`,
    );
    this.#cut(link, fault);
  }
}

function messageOf(error: unknown): string {
  if (error instanceof RealmError) return error.message;
  throw error; // a bug of ours, or the machine
}

/** Encoded things in frames of no more than {@link BATCH_BYTES} where there are several. */
function* batches(encoded: readonly Uint8Array[]): Iterable<Uint8Array[]> {
  let batch: Uint8Array[] = [];
  let size = 0;
  for (const bytes of encoded) {
    if (
      batch.length === FRAME_ITEMS_MAX || (batch.length > 0 && size + bytes.length > BATCH_BYTES)
    ) {
      yield batch;
      batch = [];
      size = 0;
    }
    batch.push(bytes);
    size += bytes.length;
  }
  if (batch.length > 0) yield batch;
}
