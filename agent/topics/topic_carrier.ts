/**
 * The streams of one topic: opens them with the nodes that take part, hands what comes to the topic's
 * core and sends what it says. Nothing is decided here.
 *
 * Whoever wants a link opens its stream: a newcomer, of whom the other does not know, at once, and of
 * two that want it the one whose key is the lesser text at once and the other a moment later. Where
 * both did, the stream of the lesser is the link. One that broke, or was refused, is opened again after
 * a while, which grows.
 *
 * @module
 */
import { before } from "../artifact/time_limit.ts";
import { TopicCore, type TopicCoreInit, type TopicPorts } from "../apps/peering/topic_core.ts";
import { TOPIC_HELLO_BYTES_MAX } from "../apps/peering/topic_frame.ts";
import type { Clock, Network, PeerStream } from "../kernel/ports.ts";
import { RareNotice } from "../kernel/rare_notice.ts";
import { LinkStream } from "../net/link_stream.ts";
import { FrameQueue } from "./frame_queue.ts";
import type { LooksAhead } from "./signatures_ahead.ts";

/** The protocol of links about topics. */
export const TOPIC_PROTOCOL = "/realm/topic/1.0.0";

/** What of a network topics use. */
export type TopicNetwork = Pick<Network, "connections" | "handle" | "open" | "watch">;

/** What a {@link TopicCarrier} is made of. */
export interface TopicCarrierInit extends Omit<TopicCoreInit, "ports"> {
  readonly clock: Clock;
  readonly network: TopicNetwork;
  /** Verifies what comes before it is taken; the log has to verify by the same. */
  readonly ahead?: LooksAhead | undefined;
  readonly ports: Pick<
    TopicPorts,
    "changed" | "joined" | "learnt" | "addressesOf" | "verify" | "notice" | "states"
  >;
}

/** A link is tried again after so long, twice as long each time, unless it was open meanwhile. */
const REOPEN_MIN_MS = 250;
const REOPEN_MAX_MS = 30_000;
/** So many in a row are no chance. */
const REFUSALS = 3;
/** Who has the greater key leaves the other so much time, unless that does not know of it. */
const COURTESY_MS = 1_000;
/** A peer that does not answer within this time is asked again. */
const OPEN_MS = 10_000;
/** After the disk failed it is tried again after so long. */
const FAILED_PAUSE_MS = 1_000;
/** Who is cut off waits so long for its end, so that it learns nothing from when that comes. */
const REFUSED_MIN_MS = 20;
const REFUSED_MAX_MS = 120;

/** How long to wait before a stream is ended: any time between two. */
export function refusalMs(): number {
  return REFUSED_MIN_MS + Math.random() * (REFUSED_MAX_MS - REFUSED_MIN_MS);
}

interface Opening {
  readonly abort: AbortController;
}

/** See the module. */
export class TopicCarrier {
  readonly core: TopicCore;
  readonly #init: TopicCarrierInit;
  readonly #failed: RareNotice;
  readonly #links = new Map<string, LinkStream>();
  /** Frames that came and were not taken yet. */
  readonly #queues = new WeakMap<LinkStream, FrameQueue>();
  /** Links that end in a moment, by the timer that ends them. */
  readonly #cutting = new Map<ReturnType<typeof setTimeout>, LinkStream | undefined>();
  readonly #opening = new Map<string, Opening>();
  /** Times in a row that a link with a peer did not come to be open. */
  readonly #failures = new Map<string, number>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #dueMs = Infinity;
  #isClosed = false;
  /** Looks who has been told, while {@link told} waits. */
  #toldLook: (() => void) | undefined;

  constructor(init: TopicCarrierInit) {
    const { clock, ports } = init;
    this.#init = init;
    this.#failed = new RareNotice(ports.notice, () => clock.monotonicMs());
    this.core = new TopicCore({
      ...init,
      ports: {
        ...ports,
        states: {
          current: () => ports.states.current(),
          answer: (digest, question, done) =>
            ports.states.answer(digest, question, this.#returning(done)),
          step: (search, done) => ports.states.step(search, this.#returning(done)),
        },
        changed: () => {
          ports.changed();
          this.#openWanted();
          this.#toldLook?.();
        },
        learnt: (node, addresses) => {
          ports.learnt(node, addresses);
          this.#open(node);
        },
        send: (peer, frame) => this.#links.get(peer)?.send(frame) ?? true,
        cut: (peer) => this.#cut(peer),
        nowMs: () => clock.monotonicMs(),
        wallMs: () => clock.wallMs(),
        random: Math.random,
        secret: () => crypto.getRandomValues(new Uint8Array(16)),
      },
    });
    this.#openWanted();
    this.#tick();
  }

  /**
   * How many nodes that take part, as far as is known, are connected (or of those only that a ticket
   * names), and how many of these have ended each of several links without a word, as they do with who is
   * not let in.
   */
  refusals(isOfTicket: boolean): { readonly connected: number; readonly refusing: number } {
    const { named, network } = this.#init;
    const connected = network.connections()
      .filter(({ peer }) => isOfTicket ? named.includes(peer) : this.core.knows(peer));
    const refusing = connected.filter(({ peer }) =>
      !this.core.isOpen(peer) && (this.#failures.get(peer) ?? 0) >= REFUSALS
    );
    return { connected: connected.length, refusing: refusing.length };
  }

  /** To be called after anything that is done with the core from outside. */
  touched(): void {
    this.#wake(0);
  }

  /** A peer came: a link with it is opened, if it is known to take part. */
  connected(peer: string): void {
    this.#failures.delete(peer);
    this.#open(peer);
  }

  disconnected(peer: string): void {
    this.#opening.get(peer)?.abort.abort();
    this.#unlinked(peer, this.#links.get(peer));
  }

  /**
   * Takes a stream that a peer opened, when its hello was found to be about this topic; what it tells
   * comes by {@link frame}, {@link room} and {@link closed}.
   */
  accept(peer: string, link: LinkStream): void {
    const before = this.#links.get(peer);
    // Both opened one.
    if (before !== undefined && this.#init.self < peer && !this.core.isOpen(peer)) {
      return link.close();
    }
    this.#opening.get(peer)?.abort.abort();
    this.#linked(peer, link, false);
  }

  /** What a link that was accepted tells. */
  frame(peer: string, link: LinkStream, bytes: Uint8Array): Promise<void> | void {
    if (this.#links.get(peer) !== link) return;
    const { ahead } = this.#init;
    // Nobody has work done here by who is not trusted.
    const found = this.core.isOpen(peer) ? ahead?.look(bytes) : undefined;
    let queue = this.#queues.get(link);
    if (found === undefined && queue?.isEmpty !== false) {
      return this.#run(() => this.core.received(peer, bytes));
    }
    if (queue === undefined) this.#queues.set(link, queue = new FrameQueue());
    return queue.push(bytes.length, found ?? Promise.resolve([]), (verified) => {
      if (this.#links.get(peer) !== link) return;
      this.#run(() => ahead!.during(verified, () => this.core.received(peer, bytes)));
    });
  }

  room(peer: string, link: LinkStream): void {
    if (this.#links.get(peer) === link) this.#run(() => this.core.sent(peer));
  }

  closed(peer: string, link: LinkStream): void {
    const ended = () => {
      this.#unlinked(peer, link);
      this.#open(peer);
    };
    const queue = this.#queues.get(link);
    // What it sent before its end is taken.
    if (queue?.isEmpty === false) void queue.emptied().then(ended);
    else ended();
  }

  /**
   * Waits so long at most for peers that are linked to take what was written just before, which says
   * that the person takes part no more; text forms of the keys of people who did. A peer ends the link
   * by that, or, where an invite still lets the person in, says that it has the same events.
   */
  async told(waitMs: number): Promise<ReadonlySet<string>> {
    const { clock, network } = this.#init;
    const done = Promise.withResolvers<void>();
    const asked = this.core.peers().filter(({ isOpen, trust }) => isOpen && trust === "full");
    const same = new Set<string>();
    const ended = new Set<string>();
    this.#toldLook = () => {
      const links = new Map(this.core.peers().map((link) => [link.peer, link]));
      for (const { peer } of asked) {
        const link = links.get(peer);
        if (link?.isOpen !== true) ended.add(peer);
        else if (link.inSync) same.add(peer);
      }
      if (this.#isClosed || same.union(ended).size === asked.length) done.resolve();
    };
    this.#toldLook();
    await before(clock, waitMs, done.resolve, done.promise);
    this.#toldLook = undefined;
    // Where the connection ended, too, nobody knows what came of it.
    const connected = new Set(network.connections().map(({ peer }) => peer));
    const took = same.union(ended.intersection(connected));
    return new Set(
      asked.flatMap(({ peer, person }) => took.has(peer) ? [person ?? peer] : []),
    );
  }

  /** Ends every link, when what was sent is gone. */
  finish(): void {
    for (const link of this.#links.values()) link?.finish();
    this.#links.clear();
    this.close();
  }

  /** Ends every link. */
  close(): void {
    this.#isClosed = true;
    this.#toldLook?.();
    clearTimeout(this.#timer);
    for (const { abort } of this.#opening.values()) abort.abort();
    for (const link of [...this.#links.values(), ...this.#cutting.values()]) link?.close();
    for (const timer of this.#cutting.keys()) clearTimeout(timer);
    this.#links.clear();
    this.#cutting.clear();
  }

  #wake(pauseMs: number): void {
    const { clock } = this.#init;
    const dueMs = Math.max(this.core.dueMs(), clock.monotonicMs() + pauseMs);
    if (this.#isClosed || dueMs >= this.#dueMs) return;
    this.#dueMs = dueMs;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#tick(), Math.max(0, dueMs - clock.monotonicMs()));
  }

  #tick(): void {
    if (this.#isClosed) return;
    this.#dueMs = Infinity;
    this.#run(() => this.core.tick());
  }

  /** Nothing that a peer sends throws, but the disk may: that is told, and tried again later. */
  #run(act: () => void): void {
    if (this.#isClosed) return;
    let pauseMs = 0;
    try {
      act();
    } catch (error) {
      pauseMs = FAILED_PAUSE_MS;
      const why = error instanceof Error ? error.message : String(error);
      this.#failed.tell(`Cannot go on with topic ${this.core.topic}: ${why}`);
    }
    this.#wake(pauseMs);
  }

  /** Lets the core go on with what comes later, and then looks what is due. */
  #returning<T>(done: (value: T) => void): (value: T) => void {
    return (value) => this.#run(() => done(value));
  }

  #linked(peer: string, link: LinkStream, isOpener: boolean): void {
    const before = this.#links.get(peer);
    if (before !== undefined) {
      before.close();
      this.#unlinked(peer, before);
    }
    this.#links.set(peer, link);
    this.#run(() => this.core.connected(peer, isOpener));
  }

  #unlinked(peer: string, link: LinkStream | undefined): void {
    if (link === undefined || this.#links.get(peer) !== link) return;
    const wasOpen = this.core.isOpen(peer);
    this.#links.delete(peer);
    link.close();
    this.#noteEnd(peer, wasOpen);
    this.#run(() => this.core.disconnected(peer));
  }

  #noteEnd(peer: string, wasOpen: boolean): void {
    this.#failures.set(peer, wasOpen ? 0 : (this.#failures.get(peer) ?? 0) + 1);
  }

  /** What the core asks for, which has forgotten the link already. */
  #cut(peer: string): void {
    const link = this.#links.get(peer);
    this.#links.delete(peer);
    this.#noteEnd(peer, false);
    const timer = setTimeout(() => {
      this.#cutting.delete(timer);
      link?.close();
      this.#open(peer);
    }, refusalMs());
    this.#cutting.set(timer, link);
  }

  #openWanted(): void {
    const wanted = new Set(this.core.wanted());
    for (const { peer } of this.#init.network.connections()) {
      if (wanted.has(peer)) void this.#open(peer);
    }
  }

  /** Opens the link with a peer for as long as it is connected, takes part, and there is none. */
  async #open(peer: string): Promise<void> {
    const { clock, network, self } = this.#init;
    if (this.#isClosed || this.#opening.has(peer) || this.#links.has(peer)) return;
    const isConnected = () => network.connections().some((each) => each.peer === peer);
    if (!this.core.knows(peer) || !isConnected()) return;
    const opening = { abort: new AbortController() };
    const { signal } = opening.abort;
    this.#opening.set(peer, opening);
    try {
      while (!signal.aborted) {
        const failures = this.#failures.get(peer) ?? 0;
        const pauseMs = failures === 0
          ? 0
          : Math.min(REOPEN_MAX_MS, REOPEN_MIN_MS * 2 ** Math.min(failures - 1, 20));
        const courtesyMs = self < peer || this.core.isNewTo(peer) ? 0 : COURTESY_MS;
        const waitMs = pauseMs + courtesyMs;
        if (waitMs > 0) await clock.sleep(waitMs, signal);
        if (this.#links.has(peer) || !this.core.knows(peer) || !isConnected()) return;
        try {
          const late = AbortSignal.any([signal, AbortSignal.timeout(OPEN_MS)]);
          const stream = await network.open(peer, TOPIC_PROTOCOL, late);
          if (signal.aborted || this.#isClosed) return stream.abort();
          this.#opening.delete(peer);
          return this.#linked(peer, this.#listen(stream), true);
        } catch {
          this.#noteEnd(peer, false);
        }
      }
    } catch {
      // The peer is gone, or this topic is.
    } finally {
      if (this.#opening.get(peer) === opening) this.#opening.delete(peer);
    }
  }

  #listen(stream: PeerStream): LinkStream {
    const { peer } = stream;
    const link: LinkStream = new LinkStream(stream, {
      frame: (bytes) => this.frame(peer, link, bytes),
      room: () => this.room(peer, link),
      closed: () => this.closed(peer, link),
    }, TOPIC_HELLO_BYTES_MAX);
    return link;
  }
}
