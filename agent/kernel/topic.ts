/**
 * The graph of one topic's events, in memory: what is there, what follows what, in which order,
 * and which of it counts.
 *
 * Only heads of events are kept (some hundred bytes each), payloads are the caller's. The caller
 * verifies signatures; what concerns several events is checked here: the parents are there,
 * `lamport` is one more than the greatest of theirs, and `prev` is an event of the same author,
 * one `seq` below and in the event's past.
 *
 * *Void* is what a revocation takes away; the caller says which events are ({@link Topic.judge}).
 * *Kept* is what is not void, and the ancestors of it: what peers send one another. It is a
 * function of the events that are not void, so two peers come to the same heads although one of
 * them learnt of a revocation first and never took what it made void. `size`, `heads` and
 * `order()` are of kept events, `has()` and `get()` of all.
 *
 * *Counts*: an author that wrote on two branches at once has two newest events (tips), and of its
 * events only those count that are in the past of both, or are one. Its next event that has both
 * in its past makes all of them count again.
 *
 * The order is parents first, then `lamport`, then id; the greater `lamport` of a child makes that
 * the order of (lamport, id).
 *
 * Ancestors are found by version vectors: the events of an author are chains, one more for each
 * branch, and an event's vector says how far along each chain its past goes. So a question costs
 * the logarithm of the number of chains, whatever the shape of the graph.
 *
 * @module
 */
import { bytesOf, textOf } from "./byte_string.ts";
import { type CID, cidOfDigest } from "./canonical.ts";
import { bytesEqual } from "./key.ts";
import { type EventPlace, PARENTS_MAX, type SignedEvent } from "./event.ts";
import {
  changedChains,
  EMPTY_VECTOR,
  join,
  meet,
  positionIn,
  type VersionVector,
  withPosition,
} from "./version_vector.ts";

/** The sha256 in an event's id, a character for each byte: equal and ordered as ids are. */
export type EventKey = string;

/** Keys that were made lately with the ids they are of, at a place that depends on two bytes of those. */
const KNOWN_KEYS = 1024;
const knownIds: (CID | undefined)[] = Array.from({ length: KNOWN_KEYS });
const knownKeys: EventKey[] = Array.from({ length: KNOWN_KEYS }, () => "");

/** The key of an id. */
export function keyOf(id: CID): EventKey {
  const { digest } = id.multihash;
  const place = (digest[0]! << 8 | digest[1]!) % KNOWN_KEYS;
  // Ids that are met again soon are the same object (`cbor.ts`).
  if (knownIds[place] === id) return knownKeys[place]!;
  knownIds[place] = id;
  return knownKeys[place] = textOf(digest);
}

/** What has to be in a topic before an event: its parents, and its author's before. */
export function needsOf({ parents, prev }: SignedEvent["event"]): EventKey[] {
  const isParent = prev === null || parents.some((parent) => parent.equals(prev));
  return (isParent ? parents : [...parents, prev]).map(keyOf);
}

/** Inverse of {@link keyOf}. */
export function idOf(key: EventKey): CID {
  return cidOfDigest(bytesOf(key));
}

/** An event in its topic, without its payload. One object for each event: compare with `===`. */
export interface TopicEvent {
  readonly key: EventKey;
  /** Made anew each time. */
  readonly id: CID;
  /** The author's 32-byte public key; one object for all events of an author. */
  readonly author: Uint8Array;
  readonly seq: number;
  readonly lamport: number;
  readonly type: string;
  /** Empty for the genesis. */
  readonly parents: readonly TopicEvent[];
  readonly prev: TopicEvent | undefined;
}

/** What became of an event that was handed in. */
export type Added =
  | { readonly kind: "added"; readonly event: TopicEvent }
  | { readonly kind: "known"; readonly event: TopicEvent }
  /** Nothing was changed; it can come again after these. */
  | { readonly kind: "missing"; readonly ids: readonly CID[] }
  /** It will never fit. */
  | { readonly kind: "invalid"; readonly problem: string };

/** Tips that are looked at one by one. */
const FEW = 32;

/** An author in a topic. */
interface Author {
  readonly publicKey: Uint8Array;
  /** Numbers of its chains. */
  readonly chains: number[];
  /** By their chains: events, not void, that are in the past of no other such event of it. */
  readonly tips: Map<number, Node>;
  /** How far every tip goes along each chain; made when it is asked for. */
  floor: VersionVector | undefined;
}

class Node implements TopicEvent {
  isVoid = false;
  isKept = false;
  /** Whether an event after this one on the same chain is there. */
  isContinued = false;

  constructor(
    readonly key: EventKey,
    readonly by: Author,
    readonly seq: number,
    readonly lamport: number,
    readonly type: string,
    readonly parents: readonly Node[],
    readonly prev: Node | undefined,
    /** Number of the chain that it is on, and its place there, from 1. */
    readonly chain: number,
    readonly position: number,
    /** How far its past and itself go along each chain. */
    readonly past: VersionVector,
  ) {}

  get id(): CID {
    return idOf(this.key);
  }

  get author(): Uint8Array {
    return this.by.publicKey;
  }
}

/** See the module. */
export class Topic {
  readonly genesis: TopicEvent;
  readonly #nodes = new Map<EventKey, Node>();
  readonly #authors = new Map<string, Author>();
  /** Who was asked for last. */
  #lastAuthor: Author | undefined;
  /** Every event, parents before children. */
  readonly #all: Node[] = [];
  /** Kept events; in order unless `#isSorted` is false. */
  readonly #kept: Node[] = [];
  #isSorted = true;
  readonly #heads = new Set<Node>();
  #chains = 0;
  #judge: (event: TopicEvent) => boolean = () => false;

  /** A topic with nothing but its genesis, which the caller has verified. */
  constructor(readonly id: CID, genesis: SignedEvent["event"]) {
    const node = this.#nodeOf(keyOf(id), genesis, [], undefined, EMPTY_VECTOR);
    this.#insert(node);
    this.genesis = node;
  }

  /** Number of kept events, the genesis too. */
  get size(): number {
    return this.#kept.length;
  }

  /** Kept events that are nobody's parent, in order. */
  get heads(): readonly TopicEvent[] {
    return [...this.#heads].sort(byOrder);
  }

  has(id: CID): boolean {
    return this.#nodes.has(keyOf(id));
  }

  get(id: CID): TopicEvent | undefined {
    return this.#nodes.get(keyOf(id));
  }

  /** {@link get} by key. */
  at(key: EventKey): TopicEvent | undefined {
    return this.#nodes.get(key);
  }

  /**
   * Takes an event whose signature the caller has verified. `refuse` is asked last, with the event
   * in its place and its past there: what it returns makes the event `invalid`.
   */
  add(
    { id, event }: Pick<SignedEvent, "id" | "event">,
    refuse: (event: TopicEvent) => string | undefined = () => undefined,
  ): Added {
    const key = keyOf(id);
    const known = this.#nodes.get(key);
    if (known !== undefined) return { kind: "known", event: known };
    if (event.topic === null || !event.topic.equals(this.id)) {
      return { kind: "invalid", problem: "it is of another topic" };
    }
    const missing: CID[] = [];
    const find = (wanted: CID) => {
      const found = this.#nodes.get(keyOf(wanted));
      if (found === undefined && !missing.some((m) => m.equals(wanted))) missing.push(wanted);
      return found;
    };
    const parents = event.parents.map(find);
    const { prev: before } = event;
    const among = before === null ? -1 : event.parents.findIndex((parent) => parent.equals(before));
    const prev = before === null ? undefined : among < 0 ? find(before) : parents[among];
    if (missing.length > 0) return { kind: "missing", ids: missing };
    const place = this.#placeOf(event, parents as Node[], prev);
    if (typeof place === "string") return { kind: "invalid", problem: place };
    const node = this.#nodeOf(key, event, parents as Node[], prev, place);
    const problem = refuse(node);
    if (problem !== undefined) return { kind: "invalid", problem };
    this.#insert(node);
    return { kind: "added", event: node };
  }

  /** What is in the past of an event, or what keeps it from having this place. */
  #placeOf(
    { author, seq, lamport }: SignedEvent["event"],
    parents: readonly Node[],
    prev: Node | undefined,
  ): VersionVector | string {
    const wanted = 1 + Math.max(...parents.map((parent) => parent.lamport));
    if (lamport !== wanted) return `its lamport is ${lamport}, wanted ${wanted} after its parents`;
    const past = parents.map((parent) => parent.past).reduce(join);
    if (prev === undefined) return past;
    if (!bytesEqual(prev.author, author)) return "prev is of another author";
    if (seq !== prev.seq + 1) return `its seq is ${seq}, wanted ${prev.seq + 1} after prev`;
    if (positionIn(past, prev.chain) < prev.position) return "prev is not in its past";
    return past;
  }

  #nodeOf(
    key: EventKey,
    { author, seq, lamport, type }: SignedEvent["event"],
    parents: readonly Node[],
    prev: Node | undefined,
    before: VersionVector,
  ): Node {
    const continues = prev !== undefined && !prev.isContinued;
    const chain = continues ? prev.chain : this.#chains;
    const position = continues ? prev.position + 1 : 1;
    const past = withPosition(before, chain, position);
    const by = prev?.by ?? this.#authorOf(author) ?? newAuthor(author);
    return new Node(key, by, seq, lamport, type, parents, prev, chain, position, past);
  }

  #insert(node: Node): void {
    const { by, prev, chain } = node;
    if (prev === undefined) this.#authors.set(textOf(by.publicKey), by);
    if (chain === this.#chains) by.chains.push(this.#chains++);
    else prev!.isContinued = true;
    this.#nodes.set(node.key, node);
    this.#all.push(node);
    node.isVoid = node.parents.length > 0 && this.#judge(node);
    if (node.isVoid) return;
    this.#keep(node);
    addTip(by, node);
  }

  /** Marks an event and its ancestors as kept. */
  #keep(node: Node): void {
    const open = [node];
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      if (next.isKept) continue;
      next.isKept = true;
      const last = this.#kept.at(-1);
      this.#isSorted &&= last === undefined || byOrder(last, next) < 0;
      this.#kept.push(next);
      for (const parent of next.parents) {
        this.#heads.delete(parent);
        open.push(parent);
      }
    }
    this.#heads.add(node);
  }

  /** Whether `a` is in the past of `b`; an event is not in its own. */
  isAncestor(a: TopicEvent, b: TopicEvent): boolean {
    return a !== b && isWithin(a as Node, b as Node);
  }

  /** How many events of an author are in the past of an event, void or not. */
  countIn(event: TopicEvent, author: Uint8Array): number {
    const { chain, past } = event as Node;
    const by = this.#authorOf(author);
    return countOf(by, past) - (by?.chains.includes(chain) ? 1 : 0);
  }

  /**
   * How many events of an author count for its branches, those too that would be void; `undefined`
   * where it has no branches. As long as it is the same, the same events count of those it has.
   */
  countingOf(author: Uint8Array): number | undefined {
    const by = this.#authorOf(author);
    return by === undefined || by.tips.size < 2 ? undefined : countOf(by, floorOf(by));
  }

  /** Kept events in order, the genesis first. Not a copy: valid until the next change. */
  order(): readonly TopicEvent[] {
    if (!this.#isSorted) this.#kept.sort(byOrder);
    this.#isSorted = true;
    return this.#kept;
  }

  /** Whether `event` comes after all others in the order. */
  isLast(event: TopicEvent): boolean {
    return this.order().at(-1) === event;
  }

  /** An author that has an event here: mostly it is the one of before. */
  #authorOf(publicKey: Uint8Array): Author | undefined {
    const last = this.#lastAuthor;
    if (last !== undefined && bytesEqual(last.publicKey, publicKey)) return last;
    const found = this.#authors.get(textOf(publicKey));
    this.#lastAuthor = found ?? last;
    return found;
  }

  /** Whether there is an event of an author, void or not. */
  knows(author: Uint8Array): boolean {
    return this.#authorOf(author) !== undefined;
  }

  /** Newest events of an author that are not void, in order; several when it wrote on branches. */
  tipsOf(author: Uint8Array): readonly TopicEvent[] {
    return [...this.#authorOf(author)?.tips.values() ?? []].sort(byOrder);
  }

  /** Whether an author has several tips. */
  isForked(author: Uint8Array): boolean {
    return (this.#authorOf(author)?.tips.size ?? 0) > 1;
  }

  /** The tip of an author with the greatest `seq`, and of those the last: its next event's `prev`. */
  newestOf(author: Uint8Array): TopicEvent | undefined {
    return this.tipsOf(author).reduce<TopicEvent | undefined>(
      (best, tip) => best === undefined || tip.seq >= best.seq ? tip : best,
      undefined,
    );
  }

  /** Authors with several tips, in byte order of their keys. */
  forked(): readonly Uint8Array[] {
    return [...this.#authors].filter(([, { tips }]) => tips.size > 1)
      .sort(([a], [b]) => a < b ? -1 : 1).map(([, { publicKey }]) => publicKey);
  }

  /** Whether an event counts: it is not void, and in the past of every tip of its author or one. */
  counts(event: TopicEvent): boolean {
    const { by, chain, position, isVoid } = event as Node;
    if (isVoid) return false;
    if (by.tips.size < 2) return true;
    return position <= positionIn(floorOf(by), chain);
  }

  isVoid(event: TopicEvent): boolean {
    return (event as Node).isVoid;
  }

  isKept(event: TopicEvent): boolean {
    return (event as Node).isKept;
  }

  /**
   * Says which events are void, of those that are there and of those that come: asked once for
   * each, never for the genesis. Returns whether that changed anything. Call it again when the
   * answers would be other ones.
   */
  judge(isVoid: (event: TopicEvent) => boolean): boolean {
    this.#judge = isVoid;
    let isChanged = false;
    for (const node of this.#all) {
      const before = node.isVoid;
      node.isVoid = node.parents.length > 0 && isVoid(node);
      isChanged ||= before !== node.isVoid;
    }
    if (!isChanged) return false;
    for (const author of this.#authors.values()) {
      author.tips.clear();
      author.floor = undefined;
    }
    for (const node of this.#all) node.isKept = false;
    this.#kept.length = 0;
    this.#isSorted = true;
    this.#heads.clear();
    for (const node of this.#all) {
      if (node.isVoid) continue;
      this.#keep(node);
      addTip(node.by, node);
    }
    return true;
  }

  /**
   * Where the next event of an author goes: after the heads. Where there are more than an event
   * can have parents, after some of them: first that with the author's newest event, then those
   * with its other tips, then the last in the order.
   */
  placeFor(author: Uint8Array): EventPlace {
    const newest = this.newestOf(author);
    const tips = this.tipsOf(author) as readonly Node[];
    const rank = (head: Node) =>
      newest !== undefined && isWithin(newest as Node, head)
        ? 0
        : tips.some((tip) => isWithin(tip, head))
        ? 1
        : 2;
    const heads = [...this.#heads].map((head) => ({ head, rank: rank(head) }))
      .sort((a, b) => a.rank - b.rank || byOrder(b.head, a.head))
      .slice(0, PARENTS_MAX)
      .map(({ head }) => ({ id: head.id, lamport: head.lamport }));
    return { topic: this.id, heads, previous: newest && { id: newest.id, seq: newest.seq } };
  }
}

/** Whether `a` is `b` or in its past. */
function isWithin(a: Node, b: Node): boolean {
  return positionIn(b.past, a.chain) >= a.position;
}

/** How far every tip of an author that has tips goes along each chain. */
function floorOf(by: Author): VersionVector {
  return by.floor ??= [...by.tips.values()].map((tip) => tip.past).reduce(meet);
}

function countOf(by: Author | undefined, past: VersionVector): number {
  return (by?.chains ?? []).reduce((sum, chain) => sum + positionIn(past, chain), 0);
}

function newAuthor(publicKey: Uint8Array): Author {
  return { publicKey: publicKey.slice(), chains: [], tips: new Map(), floor: undefined };
}

/** Makes an event a tip in place of those in its past; what comes after it is no tip yet. */
function addTip({ tips }: Author, node: Node): void {
  node.by.floor = undefined;
  const replace = (chain: number) => {
    const tip = tips.get(chain);
    if (tip !== undefined && isWithin(tip, node)) tips.delete(chain);
  };
  if (tips.size < FEW || node.prev?.isVoid !== false) {
    for (const chain of tips.keys()) replace(chain);
  } else {
    // No tip is in the past of `prev`, but it may be one.
    replace(node.prev.chain);
    changedChains(node.prev.past, node.past, replace);
  }
  tips.set(node.chain, node);
}

function byOrder(a: TopicEvent, b: TopicEvent): number {
  return a.lamport - b.lamport || (a.key < b.key ? -1 : a.key > b.key ? 1 : 0);
}
