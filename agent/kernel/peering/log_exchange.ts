/**
 * How a log spreads over links: new events are made durable together and handed on, and
 * sessions of `kernel/sync/` make logs equal.
 *
 * On each link the side whose key is the lesser text begins the sessions; the other asks it to. A
 * session is owed when a link opens, when something was left out or is missing, and when a peer says
 * for a while that its log is another one though nothing is under way.
 *
 * @module
 */
import { RealmError } from "../error.ts";
import { decodeSigned, encodeSigned, type SignedEvent } from "../event.ts";
import { headsDigest, SyncSession } from "../sync/session.ts";
import { type EventKey, keyOf } from "../topic.ts";
import type { Offered } from "../offer.ts";
import type { EventLog } from "./event_log.ts";
import type { ExchangeFrame } from "./exchange_frame.ts";
import { messageOf } from "./fields.ts";
import type { Link } from "./link.ts";
import { batches, type LinkSet } from "./link_set.ts";
import { isDishonest, isUnauthorised, LogSource } from "./log_source.ts";

/** What a {@link LogExchange} is made with. */
export interface LogExchangeInit {
  /** The own key in text form. */
  readonly self: string;
  readonly log: EventLog;
  readonly links: LinkSet;
  readonly nowMs: () => number;
  readonly wallMs: () => number;
  /** 16 bytes that nobody can guess. */
  readonly secret: () => Uint8Array;
  /** There are new events, which may not be durable yet. */
  readonly changed: () => void;
  /** A session on a link has ended well. */
  readonly ended?: (link: Link) => void;
}

/** Events wait this long for others to be written with them. */
const GATHER_MS = 5;
/** The same in a session that goes on: as long as more comes, a part of its window is written at once. */
const SESSION_GATHER_MS = 100;
/** Sessions on one link: the least pause, and the most when they bring nothing. */
const PAUSE_MIN_MS = 1_000;
const PAUSE_MAX_MS = 60_000;
/** Heads that differ from a linked peer's for so long want a session. */
const DIFFERENT_MS = 4_000;
/** The same where new events come all the time, so that they always differ. */
const DIFFERENT_MS_MAX = 30_000;
/** Events of a session whose authors have no say, for one fault; so many are remembered in all. */
const STRANGE_EACH = 16;
const STRANGE_MAX = 1_024;

/** See the module. */
export class LogExchange {
  readonly #init: LogExchangeInit;
  /** Which peer each event came from that is not durable yet. */
  #from = new Map<EventKey, string>();
  #flushAtMs = Infinity;
  #changedAtMs = 0;
  /** Whether the last {@link flush} failed, and there is something that memory alone has. */
  #isStuck = false;

  constructor(init: LogExchangeInit) {
    this.#init = init;
  }

  /** When {@link flush} is due. */
  get flushAtMs(): number {
    return this.#flushAtMs;
  }

  /** When a session is due on some link, or one goes on. */
  get sessionAtMs(): number {
    const links = this.#init.links.all();
    if (links.some(({ isPumpOwed }) => isPumpOwed)) return -Infinity;
    return Math.min(Infinity, ...links.filter(mayStart).map(({ syncAtMs }) => syncAtMs));
  }

  /** sha256 over the heads of the log, in hex. */
  headsDigest(): string {
    return headsDigest(this.#init.log.topic?.heads.map(({ key }) => key) ?? []).toHex();
  }

  /** Takes events into the log; they are durable after the next {@link flush}. */
  absorb(
    events: readonly SignedEvent[],
    from: string | undefined,
    gatherMs = GATHER_MS,
  ): Offered {
    const offered = this.changing(() => this.#init.log.offer(events), gatherMs);
    if (from !== undefined) {
      for (const { id } of offered.accepted) this.#from.set(keyOf(id), from);
    }
    return offered;
  }

  /** Does what may add to the log, also where it fails half way. */
  changing<T>(act: () => T, gatherMs = GATHER_MS): T {
    const { log, nowMs, changed } = this.#init;
    const before = log.revision;
    try {
      return act();
    } finally {
      if (log.revision !== before) {
        this.#changedAtMs = nowMs();
        this.#flushAtMs = Math.min(this.#flushAtMs, this.#changedAtMs + gatherMs);
        changed();
      }
    }
  }

  /**
   * Does what adds to the log in the name of this machine: durable when it returns, and handed on.
   *
   * Throws what the store throws. What was added is stored later then, when that works again, and
   * until then nothing more is added: who is told of an error will do it again.
   */
  writing<T>(act: () => T): T {
    if (this.#isStuck) this.flush();
    const result = act();
    try {
      this.flush();
    } catch (cause) {
      throw new RealmError("failed", `Cannot keep what was written yet: ${messageOf(cause)}`, {
        hint:
          "Do not write it again: it is kept, and told to others, as soon as that can be done, " +
          "unless the agent ends before. Run realm doctor",
        cause,
      });
    }
    return result;
  }

  /** Makes durable what came, then hands it on. */
  flush(): void {
    const { log, links, wallMs } = this.#init;
    this.#flushAtMs = Infinity;
    this.#isStuck = true;
    const events = log.flush(wallMs());
    this.#isStuck = false;
    if (events.length > 0) {
      const from = this.#from;
      this.#from = new Map();
      for (const link of links.trusted()) {
        this.#hand(link, events.filter(({ id }) => from.get(keyOf(id)) !== link.peer));
      }
    }
    // What goes wrong with one of them is not to fail who writes something here: they go on in tick().
    for (const link of links.all()) {
      link.isPumpOwed ||= link.isGathering;
      link.isGathering = false;
    }
  }

  #hand(link: Link, events: readonly SignedEvent[]): void {
    for (const batch of batches(events.map(encodeSigned))) {
      if (link.hasRoom) this.#init.links.send(link, { frame: "events", events: batch });
      else link.syncOwed = true; // a session brings what there is no room for
    }
  }

  /** A peer sent a frame about the log on an open link. */
  received(link: Link, frame: ExchangeFrame): void {
    switch (frame.frame) {
      case "events":
        return this.#events(link, frame.events);
      case "again":
        return this.#wanted(link);
      case "sync":
        return this.#message(link, frame.message);
    }
  }

  /** A peer handed on events. */
  #events(link: Link, encoded: readonly Uint8Array[]): void {
    const { links } = this.#init;
    let signed: SignedEvent[];
    try {
      signed = encoded.map(decodeSigned);
    } catch (error) {
      return links.fault(link, "garbage", messageOf(error));
    }
    const { missing, refused, isAgain } = this.absorb(signed, link.peer);
    if (missing.length > 0) link.syncOwed = true;
    if (isAgain) this.#again(link);
    const dishonest = refused.find(isDishonest);
    if (dishonest !== undefined) links.fault(link, "forged", dishonest.problem);
    else if (refused.some(isUnauthorised)) links.fault(link, "unauthorised", refused[0]!.problem);
  }

  /** The next session is soon, however little the last one has brought. */
  #again(link: Link): void {
    link.syncOwed = true;
    link.syncPauseMs = PAUSE_MIN_MS;
    link.syncAtMs = Math.min(link.syncAtMs, this.#init.nowMs() + PAUSE_MIN_MS);
  }

  /** A link opened. */
  opened(link: Link): void {
    link.syncOwed = this.#begins(link);
  }

  /** The other side wants a session, and may not have it more often than this one would. */
  #wanted(link: Link): void {
    if (this.#begins(link)) link.syncOwed = true;
    else this.#init.links.fault(link, "garbage", "again out of place");
  }

  /** A message of a session came. */
  #message(link: Link, message: Uint8Array): void {
    const { links, nowMs } = this.#init;
    // A session speaks of what is durable as it opens. Later it takes what comes, on each of many links
    // at once: to write that for every message would be a write for each.
    if (link.session?.isOpening ?? true) this.flush();
    if (!links.has(link)) return;
    if (link.session === undefined) {
      if (this.#begins(link)) {
        return links.fault(link, "dishonest sync", "no session is under way");
      }
      if (!link.takeSession(nowMs())) return links.fault(link, "flood", "sessions too often");
      link.session = this.#session(link, "responder");
    }
    try {
      link.session.receive(message);
    } catch (error) {
      return links.fault(link, "dishonest sync", messageOf(error));
    }
    if (!links.has(link)) return;
    if (link.session?.isGathering) {
      link.isGathering = true;
      this.#flushAtMs = Math.min(this.#flushAtMs, nowMs() + SESSION_GATHER_MS);
      return;
    }
    link.isGathering = false;
    this.flush();
    if (links.has(link)) this.#pump(link);
  }

  /** Goes on with the sessions that waited for {@link flush}, and begins those that are due. */
  tick(nowMs: number): void {
    const { links } = this.#init;
    for (const link of links.all()) if (link.isPumpOwed && links.has(link)) this.#pump(link);
    for (const link of links.all()) {
      if (!mayStart(link) || nowMs < link.syncAtMs || !links.has(link)) continue;
      link.syncOwed = false;
      link.syncAtMs = nowMs + Math.max(PAUSE_MIN_MS, link.syncPauseMs);
      if (this.#begins(link)) {
        this.flush();
        link.session = this.#session(link, "initiator");
        this.#pump(link);
      } else {
        links.send(link, { frame: "again" });
      }
    }
  }

  /** Peers say what heads they have: a session is owed where they differ for no good reason. */
  compare(headsOf: (peer: string) => string | undefined, nowMs: number): void {
    const isQuiet = nowMs - this.#changedAtMs >= DIFFERENT_MS;
    const own = this.headsDigest();
    for (const link of this.#init.links.all()) {
      const lastMs = Math.max(link.sinceMs, link.sessionAtMs);
      if (!isQuiet && nowMs - lastMs < DIFFERENT_MS_MAX) continue;
      const theirs = headsOf(link.peer);
      if (theirs === undefined || theirs === own || !this.#begins(link)) continue;
      if (link.isOpen && link.session === undefined) link.syncOwed = true;
    }
  }

  /** There is room to send to a peer again. */
  sent(peer: string): void {
    const link = this.#init.links.get(peer);
    if (link === undefined) return;
    link.drain();
    this.#pump(link);
  }

  /** Sends what a session has to say, as far as there is room. */
  #pump(link: Link): void {
    const { links, nowMs } = this.#init;
    const { session } = link;
    link.isPumpOwed = false;
    if (session === undefined || link.isGathering) return;
    link.sessionAtMs = nowMs();
    while (link.hasRoom) {
      const message = session.send();
      if (message === undefined) break;
      links.send(link, { frame: "sync", message });
    }
    const { outcome } = session;
    if (outcome === undefined) return;
    link.session = undefined;
    // One that brings nothing is not soon tried again: a peer may say what it likes of its heads.
    const isIdle = outcome.received === outcome.refused && outcome.sent === 0;
    link.syncPauseMs = isIdle
      ? Math.min(PAUSE_MAX_MS, Math.max(PAUSE_MIN_MS, link.syncPauseMs * 2))
      : PAUSE_MIN_MS;
    link.syncAtMs = Math.max(link.syncAtMs, nowMs() + link.syncPauseMs);
    if (link.isAgainOwed) this.#again(link);
    if (outcome.withheld > 0) links.fault(link, "withheld", `${outcome.withheld} events`);
    this.#blame(link);
    this.#init.ended?.(link);
  }

  /** A session is over: what had no say before may have got one by what came later. */
  #blame(link: Link): void {
    const { log, links } = this.#init;
    const strange = link.strange.splice(0).filter((id) => log.topic?.has(id) !== true).length;
    for (let faults = Math.ceil(strange / STRANGE_EACH); faults > 0 && links.has(link); faults--) {
      links.fault(link, "unauthorised", `${strange} events of authors without a say`);
    }
  }

  #begins(link: Link): boolean {
    return this.#init.self < link.peer;
  }

  #session(link: Link, role: "initiator" | "responder"): SyncSession {
    link.strange = [];
    link.isAgainOwed = false;
    link.isGathering = false;
    this.#init.log.sessionBegins?.();
    const source = new LogSource({
      log: this.#init.log,
      isGiven: link.trust === "full",
      accept: (events) => {
        const offered = this.absorb(events, link.peer, SESSION_GATHER_MS);
        for (const refusal of offered.refused) {
          if (isUnauthorised(refusal) && link.strange.length < STRANGE_MAX) {
            link.strange.push(refusal.id);
          }
        }
        link.isAgainOwed ||= offered.isAgain;
        return offered;
      },
    });
    return new SyncSession({ role, source, secret: this.#init.secret() });
  }
}

function mayStart(link: Link): boolean {
  return link.isOpen && link.syncOwed && link.session === undefined && link.hasRoom;
}
