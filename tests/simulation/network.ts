/**
 * A network in virtual time. A link is a stream in each direction, ordered and reliable while it
 * lasts; between links nothing is ordered. Streams are slow, stall and break: what was under way
 * is then lost, and the two ends learn of it at different times. Partitions stop what is under way
 * in one direction or both; what outlasts the patience of TCP is a broken link.
 *
 * Keys are proven, as the real network proves them: nobody can be another's.
 *
 * @module
 */
import type { SeededRandom } from "../../agent/kernel/seeded_random.ts";
import type { Timeline } from "./timeline.ts";

/** What joins the network: one run of one node. */
export interface Endpoint {
  readonly key: string;
  /** Whether this side wants to be linked with the key. */
  mayConnect(peer: string): boolean;
  /** `isDialler`: whether this side asked for the link. */
  connected(peer: string, isDialler: boolean): void;
  disconnected(peer: string): void;
  received(peer: string, frame: Uint8Array): void;
  /** There is room to send again. */
  sent(peer: string): void;
}

/** Bytes under way to one peer before the sender is told to wait. */
const ROOM_BYTES = 256 * 1024;
/** How long a stream that makes no progress lives. */
const PATIENCE_MS = 20_000;

interface Direction {
  readonly to: Endpoint;
  /** Frames under way, oldest first, with the time at which each arrives. */
  queue: { readonly frame: Uint8Array; readonly atMs: number }[];
  bytes: number;
  full: boolean;
  /** When the last frame arrives: nothing overtakes. */
  lastMs: number;
  /** The delivery that is planned; 0 when there is none. */
  armed: number;
}

interface Link {
  readonly ends: readonly [Endpoint, Endpoint];
  readonly directions: readonly [Direction, Direction];
  /** Which ends still believe in it. */
  readonly open: [boolean, boolean];
  broken: boolean;
}

/** See the module. */
export class SimulatedNetwork {
  readonly #endpoints = new Map<string, Endpoint>();
  /** By both keys, in order. */
  readonly #links = new Map<string, Link>();
  /** `from to`: nothing gets through until that time. */
  readonly #stalls = new Map<string, number>();
  #tokens = 0;
  #group: (key: string) => number = () => 0;
  /** Of a direction, in milliseconds: the least and the most that a frame takes. */
  delayMs: readonly [number, number] = [1, 20];
  /** That a frame is held up ten times longer. */
  slowness = 0;
  /** Sees every frame before it is handed to a node. */
  onDelivery: (from: string, to: string, frame: Uint8Array) => void = () => {};

  constructor(readonly timeline: Timeline, readonly random: SeededRandom) {}

  /** A node is up. */
  attach(endpoint: Endpoint): void {
    this.#endpoints.set(endpoint.key, endpoint);
  }

  /** A node is down: it learns nothing more, the others learn of it by and by. */
  detach(endpoint: Endpoint): void {
    if (this.#endpoints.get(endpoint.key) === endpoint) this.#endpoints.delete(endpoint.key);
    for (const link of [...this.#links.values()]) {
      const side = link.ends.indexOf(endpoint);
      if (side < 0) continue;
      link.open[side] = false;
      this.#break(link);
      this.#forget(link);
    }
  }

  isUp(key: string): boolean {
    return this.#endpoints.has(key);
  }

  /** Divides the nodes: only those of one group reach one another. */
  partition(group: (key: string) => number): void {
    this.#group = group;
    this.#wake();
  }

  groupOf(key: string): number {
    return this.#group(key);
  }

  /** Nothing gets from one to the other for a while; the other way it does. */
  stall(from: string, to: string, ms: number): void {
    this.#stalls.set(`${from} ${to}`, this.timeline.nowMs + ms);
    this.timeline.after(ms, () => this.#wake());
  }

  /** Ends every stall and partition. */
  heal(): void {
    this.#group = () => 0;
    this.#stalls.clear();
    this.#wake();
  }

  /** Breaks the link between two, if there is one. */
  breakLink(a: string, b: string): void {
    const link = this.#links.get(pairOf(a, b));
    if (link !== undefined) this.#break(link);
  }

  isLinked(a: string, b: string): boolean {
    return this.#links.has(pairOf(a, b));
  }

  /** Tries to link two nodes; it takes a round trip, and both have to want it. */
  dial(from: string, to: string): void {
    if (from === to || !this.#passes(from, to) || !this.#passes(to, from)) return;
    this.timeline.after(this.#delay() * 2, () => {
      const a = this.#endpoints.get(from);
      const b = this.#endpoints.get(to);
      if (a === undefined || b === undefined) return;
      if (!this.#passes(from, to) || !this.#passes(to, from)) return;
      if (!a.mayConnect(to) || !b.mayConnect(from)) return;
      const pair = pairOf(from, to);
      const old = this.#links.get(pair);
      // A connection that one end holds to be alive is replaced once the other end knows better.
      if (old !== undefined) {
        if (old.open[0] && old.open[1]) return;
        this.#drop(old);
      }
      const link: Link = {
        ends: [a, b],
        directions: [direction(b), direction(a)],
        open: [true, true],
        broken: false,
      };
      this.#links.set(pair, link);
      a.connected(to, true);
      if (link.open[1]) b.connected(from, false);
    });
  }

  /** Sends a frame; false when the sender is to wait for `sent`. */
  send(from: Endpoint, to: string, frame: Uint8Array): boolean {
    const link = this.#links.get(pairOf(from.key, to));
    const side = link?.ends.indexOf(from) ?? -1;
    if (link === undefined || side < 0 || !link.open[side]) return true; // it will hear of it
    const way = link.directions[side]!;
    if (link.broken) return true;
    const atMs = Math.max(way.lastMs, this.timeline.nowMs + this.#delay());
    way.lastMs = atMs;
    way.queue.push({ frame: frame.slice(), atMs });
    way.bytes += frame.length;
    this.#arm(link, side as 0 | 1);
    if (way.bytes < ROOM_BYTES) return true;
    way.full = true;
    return false;
  }

  /** One end gives the link up and hears no more of it; the other learns, by and by. */
  hangUp(from: Endpoint, to: string): void {
    const link = this.#links.get(pairOf(from.key, to));
    const side = link?.ends.indexOf(from) ?? -1;
    if (link === undefined || side < 0 || !link.open[side]) return;
    link.open[side] = false;
    this.#break(link);
    this.#forget(link);
  }

  #delay(): number {
    const [low, high] = this.delayMs;
    const ms = this.random.between(low, high);
    return this.slowness > 0 && this.random.chance(this.slowness) ? ms * 10 : ms;
  }

  #passes(from: string, to: string): boolean {
    if (this.#group(from) !== this.#group(to)) return false;
    return (this.#stalls.get(`${from} ${to}`) ?? 0) <= this.timeline.nowMs;
  }

  #arm(link: Link, side: 0 | 1): void {
    const way = link.directions[side];
    if (way.armed !== 0 || link.broken || way.queue.length === 0) return;
    const token = way.armed = ++this.#tokens;
    const disarm = () => {
      if (way.armed !== token || link.broken) return false;
      way.armed = 0;
      return true;
    };
    const from = link.ends[side].key;
    if (this.#passes(from, way.to.key)) {
      this.timeline.at(way.queue[0]!.atMs, () => disarm() && this.#deliver(link, side));
      return;
    }
    // It goes on when the way is free again, or TCP gives up.
    this.timeline.after(PATIENCE_MS, () => {
      if (!disarm()) return;
      if (this.#passes(from, way.to.key)) this.#arm(link, side);
      else this.#break(link);
    });
  }

  #deliver(link: Link, side: 0 | 1): void {
    const way = link.directions[side];
    const { nowMs } = this.timeline;
    const other = (1 - side) as 0 | 1;
    const from = link.ends[side].key;
    while (way.queue.length > 0 && way.queue[0]!.atMs <= nowMs) {
      if (link.broken || !link.open[other]) return;
      if (!this.#passes(from, way.to.key)) break;
      const { frame } = way.queue.shift()!;
      way.bytes -= frame.length;
      this.onDelivery(from, way.to.key, frame);
      way.to.received(from, frame);
    }
    if (way.full && way.bytes < ROOM_BYTES / 2) {
      way.full = false;
      if (link.open[side]) link.ends[side].sent(way.to.key);
    }
    this.#arm(link, side);
  }

  /** What was stopped goes on where it may. */
  #wake(): void {
    for (const link of this.#links.values()) {
      for (const side of [0, 1] as const) {
        const way = link.directions[side];
        if (link.broken || way.queue.length === 0) continue;
        if (!this.#passes(link.ends[side].key, way.to.key)) continue;
        way.armed = 0;
        this.#arm(link, side);
      }
    }
  }

  #break(link: Link): void {
    if (link.broken) return;
    link.broken = true;
    for (const way of link.directions) {
      way.queue = [];
      way.bytes = 0;
    }
    for (const side of [0, 1] as const) {
      if (!link.open[side]) continue;
      this.timeline.after(this.random.between(1, 400), () => {
        if (!link.open[side]) return;
        link.open[side] = false;
        this.#forget(link);
        link.ends[side].disconnected(link.ends[1 - side]!.key);
      });
    }
    this.#forget(link);
  }

  /** Ends what is left of a link at once, for another in its place. */
  #drop(link: Link): void {
    link.broken = true;
    for (const side of [0, 1] as const) {
      if (!link.open[side]) continue;
      link.open[side] = false;
      link.ends[side].disconnected(link.ends[1 - side]!.key);
    }
    this.#forget(link);
  }

  #forget(link: Link): void {
    const pair = pairOf(link.ends[0].key, link.ends[1].key);
    if (!link.open[0] && !link.open[1] && this.#links.get(pair) === link) this.#links.delete(pair);
  }
}

function direction(to: Endpoint): Direction {
  return { to, queue: [], bytes: 0, full: false, lastMs: 0, armed: 0 };
}

function pairOf(a: string, b: string): string {
  return a < b ? `${a} ${b}` : `${b} ${a}`;
}
