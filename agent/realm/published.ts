/**
 * The log of what was published: every digest that a manifest of the realm ever named is a leaf of
 * one append-only tree (`tree.ts`), in the order in which they were named.
 *
 * Only manifest events append leaves. The tree of one has first the digests of all the manifests in
 * its past, in the order of the control log, whatever became of these, then its own that are not
 * there yet, in the order of their text; a leaf is the 32 bytes of a sha256. So it follows from the
 * event alone, and whoever has the event can compute it. The event says size and root, signed by
 * the owner: it is refused where that is not so ({@link treeProblem}). Hence of two trees that an
 * owner signs one begins with the other, unless two manifests do not know of each other; these two
 * events are the proof then that the key was used twice for one place.
 *
 * @module
 */
import { bytesEqual } from "../kernel/key.ts";
import type { Topic, TopicEvent } from "../kernel/topic.ts";
import { MerkleTree, verifyInclusion } from "./tree.ts";

/** What an owner signs of the tree. */
export interface TreeHead {
  /** Leaves. */
  readonly size: number;
  /** sha256, 32 bytes. */
  readonly root: Uint8Array;
}

/** Digests in the order in which they were published, in hex, and the tree over them. */
export class PublishedDigests {
  readonly tree = new MerkleTree();
  readonly #places = new Map<string, number>();

  /** Of digests in their order. */
  constructor(digests: Iterable<string> = []) {
    for (const digest of digests) this.#append(digest);
  }

  /** In order. */
  get digests(): string[] {
    return [...this.#places.keys()];
  }

  /** Appends those of a manifest that are not there yet. */
  add(digests: Iterable<string>): this {
    for (const digest of [...digests].sort()) this.#append(digest);
    return this;
  }

  #append(digest: string): void {
    if (this.#places.has(digest)) return;
    this.#places.set(digest, this.tree.size);
    this.tree.append(Uint8Array.fromHex(digest));
  }

  /** Where a digest is; `undefined` where it was not published. */
  placeOf(digest: string): number | undefined {
    return this.#places.get(digest);
  }

  get head(): TreeHead {
    return { size: this.tree.size, root: this.tree.root() };
  }
}

/** What a manifest event published, with all before it. */
export interface PublishedAt {
  readonly event: TopicEvent;
  /** Its own. */
  readonly named: readonly string[];
  /** May have grown since: what counts are its first `size` digests. */
  readonly all: PublishedDigests;
  readonly size: number;
  /** Manifest events in its past, and itself. */
  readonly count: number;
}

/** The manifest events of a topic, and what was published at each. */
export class Published {
  readonly #at = new Map<TopicEvent, PublishedAt>();
  /** The one that came last. */
  #last: PublishedAt | undefined;

  constructor(readonly topic: Topic) {}

  at(event: TopicEvent): PublishedAt | undefined {
    return this.#at.get(event);
  }

  /** Takes a manifest event that names these digests; those of its past are there. */
  take(event: TopicEvent, named: Iterable<string>): PublishedAt {
    const before = this.#of((other) => this.topic.isAncestor(other, event));
    const own = [...named];
    const news = own.filter((digest) => !isIn(before, digest));
    const all = before.size === before.all.tree.size || news.length === 0
      ? before.all
      : copyOf(before);
    const size = before.size + new Set(news).size;
    this.#last = {
      event,
      named: own,
      all: news.length === 0 ? all : all.add(news),
      size,
      count: before.count + 1,
    };
    this.#at.set(event, this.#last);
    return this.#last;
  }

  /** What the next manifest follows: all that is kept. */
  now(): PublishedDigests {
    return copyOf(this.#of((event) => this.topic.isKept(event)));
  }

  /** What the manifest events published that `isOf` holds for, which holds for their past too. */
  #of(isOf: (event: TopicEvent) => boolean): Omit<PublishedAt, "event" | "named"> {
    const last = this.#last;
    if (last === undefined) return { all: new PublishedDigests(), size: 0, count: 0 };
    // Nearly always each manifest knows of all before it.
    if (last.count === this.#at.size && isOf(last.event)) return last;
    const past = [...this.#at.values()].filter(({ event }) => isOf(event))
      .sort((a, b) => byOrder(a.event, b.event));
    const newest = past.at(-1);
    if (newest?.count === past.length) return newest;
    const all = new PublishedDigests();
    for (const { named } of past) all.add(named);
    return { all, size: all.tree.size, count: past.length };
  }
}

/** What an event of these has to say. */
export function headAt({ all, size }: Pick<PublishedAt, "all" | "size">): TreeHead {
  return { size, root: all.tree.root(size) };
}

/** What is wrong with what an event says of its tree; `undefined` if nothing is. */
export function treeProblem(said: TreeHead, { size, root }: TreeHead): string | undefined {
  if (said.size === size && bytesEqual(said.root, root)) return undefined;
  return `its log of digests has ${said.size} with the root ${said.root.toHex()}, ` +
    `wanted ${size} with ${root.toHex()}`;
}

/** Where a digest is in the tree of an event, and the hashes beside its way to the root. */
export interface Inclusion {
  readonly index: number;
  readonly path: readonly Uint8Array[];
}

/** That a digest was published; `undefined` where it was not by then. */
export function inclusionOf(digest: string, { all, size }: PublishedAt): Inclusion | undefined {
  const index = all.placeOf(digest);
  if (index === undefined || index >= size) return undefined;
  return { index, path: all.tree.inclusionProof(index, size) };
}

/** Whether an inclusion is one in the tree that an owner signed. */
export function isPublished(digest: string, { index, path }: Inclusion, signed: TreeHead): boolean {
  return verifyInclusion({ leaf: Uint8Array.fromHex(digest), index, proof: path, ...signed });
}

function isIn({ all, size }: Pick<PublishedAt, "all" | "size">, digest: string): boolean {
  return (all.placeOf(digest) ?? size) < size;
}

function copyOf({ all, size }: Pick<PublishedAt, "all" | "size">): PublishedDigests {
  return new PublishedDigests(all.digests.slice(0, size));
}

/** As in `kernel/topic.ts`. */
function byOrder(a: TopicEvent, b: TopicEvent): number {
  return a.lamport - b.lamport || (a.key < b.key ? -1 : 1);
}
