/**
 * The Merkle tree over a state: one digest for the whole, and the way to the first key that two
 * states do not have alike.
 *
 * Entries are leaves of a binary tree by the bits of the sha256 of their keys, which keeps it flat
 * whatever keys an app or an attacker takes. Forks are only where keys differ, so the tree depends on
 * the entries alone, never on how they came there:
 *
 *     path  = sha256(key)
 *     leaf  = sha256(0x00, path, sha256(value))
 *     fork  = sha256(0x01, number of the first bit that differs, digest of the 0 side, of the 1 side)
 *     state = sha256("realm/state/1", 0x00, abi as 4 bytes big-endian, digest of the tree or 32 zeros)
 *
 * Trees never change: another one shares all but a path with the first. Digests are made when they
 * are asked for, once for each node.
 *
 * @module
 */
import { bytesOf, textOf } from "../kernel/byte_string.ts";
import { RealmError } from "../kernel/error.ts";
import { bytesEqual } from "../kernel/key.ts";
import { sha256, sha256Text } from "../kernel/sha256_sync.ts";

/** Bits of a path. */
const PATH_BITS = 256;
const DIGEST_BYTES = 32;
/** Bits that one answer of a search goes down: of 2^8 slots, a kind and a digest each. */
const SLOT_BITS = 8;
const SLOTS = 1 << SLOT_BITS;
const SLOT_BYTES = 1 + DIGEST_BYTES;
/** Bytes of an answer about slots. */
export const SLOTS_BYTES = SLOTS * SLOT_BYTES;

const EMPTY = "\0".repeat(DIGEST_BYTES);
const KIND = { EMPTY: 0, LEAF: 1, FORK: 2 } as const;

/** A tree; `undefined` is the empty one. Digests and paths are byte strings. */
export type Tree = Leaf | Fork | undefined;

/** An entry of the state. */
export interface Leaf {
  readonly path: string;
  readonly key: string;
  readonly value: Uint8Array;
  digest: string | undefined;
}

/** Where paths part: at the bit of this number. */
export interface Fork {
  readonly bit: number;
  readonly zero: Leaf | Fork;
  readonly one: Leaf | Fork;
  digest: string | undefined;
}

/** The place of a key: its sha256 as a byte string. */
export function pathOf(key: string): string {
  return sha256Text(bytesOf(key));
}

/** A leaf. `path` is that of the key. */
export function leafOf(path: string, key: string, value: Uint8Array): Leaf {
  return { path, key, value, digest: undefined };
}

/** Whether a tree is one entry. */
export function isLeaf(tree: Leaf | Fork): tree is Leaf {
  return "path" in tree;
}

function bitOf(path: string, bit: number): number {
  return path.charCodeAt(bit >> 3) >> (7 - (bit & 7)) & 1;
}

/** The leaf at which the bits of a path arrive. */
function nearest(tree: Leaf | Fork, path: string): Leaf {
  while (!isLeaf(tree)) tree = bitOf(path, tree.bit) === 0 ? tree.zero : tree.one;
  return tree;
}

/** Number of the first bit in which two paths differ; 256 when they are equal. */
function firstDifference(a: string, b: string): number {
  if (a === b) return PATH_BITS;
  for (let i = 0; i < DIGEST_BYTES; i++) {
    const difference = a.charCodeAt(i) ^ b.charCodeAt(i);
    if (difference !== 0) return 8 * i + Math.clz32(difference) - 24;
  }
  return PATH_BITS;
}

/** The tree of two whose paths first differ at `bit`. */
export function fork(bit: number, zero: Leaf | Fork, one: Leaf | Fork): Fork {
  return { bit, zero, one, digest: undefined };
}

/** The tree of entries whose paths ascend. Throws RealmError `corrupt` when they do not. */
export function treeOf(leaves: readonly Leaf[]): Tree {
  if (leaves.some(({ path }, i) => i > 0 && leaves[i - 1]!.path >= path)) {
    throw new RealmError("corrupt", "Cannot read state: its entries are not in order");
  }
  return leaves.length === 0 ? undefined : treeOfRange(leaves, 0, leaves.length);
}

function treeOfRange(leaves: readonly Leaf[], from: number, to: number): Leaf | Fork {
  if (to - from === 1) return leaves[from]!;
  const bit = firstDifference(leaves[from]!.path, leaves[to - 1]!.path);
  let middle = from + 1;
  let end = to - 1;
  while (middle < end) {
    const at = (middle + end) >> 1;
    if (bitOf(leaves[at]!.path, bit) === 0) middle = at + 1;
    else end = at;
  }
  return fork(bit, treeOfRange(leaves, from, middle), treeOfRange(leaves, middle, to));
}

/** The entries of a tree, in the order of their paths. */
export function* leavesOf(tree: Tree): Generator<Leaf, void> {
  const open = tree === undefined ? [] : [tree];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    if (isLeaf(next)) yield next;
    else open.push(next.one, next.zero);
  }
}

/** The tree with an entry set. */
export function withLeaf(tree: Tree, leaf: Leaf): Leaf | Fork {
  if (tree === undefined) return leaf;
  return placed(tree, leaf, firstDifference(nearest(tree, leaf.path).path, leaf.path));
}

function placed(tree: Leaf | Fork, leaf: Leaf, difference: number): Leaf | Fork {
  if (isLeaf(tree) || tree.bit > difference) {
    if (difference === PATH_BITS) return leaf;
    return bitOf(leaf.path, difference) === 0
      ? fork(difference, leaf, tree)
      : fork(difference, tree, leaf);
  }
  return bitOf(leaf.path, tree.bit) === 0
    ? fork(tree.bit, placed(tree.zero, leaf, difference), tree.one)
    : fork(tree.bit, tree.zero, placed(tree.one, leaf, difference));
}

/** The tree without the entry of a path; the same one where it is not there. */
export function withoutLeaf(tree: Tree, path: string): Tree {
  if (tree === undefined) return undefined;
  if (isLeaf(tree)) return tree.path === path ? undefined : tree;
  const { bit, zero, one } = tree;
  if (bitOf(path, bit) === 0) {
    const rest = withoutLeaf(zero, path);
    return rest === zero ? tree : rest === undefined ? one : fork(bit, rest, one);
  }
  const rest = withoutLeaf(one, path);
  return rest === one ? tree : rest === undefined ? zero : fork(bit, zero, rest);
}

/** What is hashed for a leaf and for a fork; each is written before it is read. */
const LEAF_INPUT = new Uint8Array(1 + 2 * DIGEST_BYTES);
const FORK_INPUT = new Uint8Array(2 + 2 * DIGEST_BYTES);
FORK_INPUT[0] = 1;

function write(to: Uint8Array, at: number, text: string): void {
  for (let i = 0; i < DIGEST_BYTES; i++) to[at + i] = text.charCodeAt(i);
}

function leafDigest(path: string, valueDigest: Uint8Array): string {
  write(LEAF_INPUT, 1, path);
  LEAF_INPUT.set(valueDigest, 1 + DIGEST_BYTES);
  return sha256Text(LEAF_INPUT);
}

/** The digest of a fork, from those of its sides. */
export function forkDigest(bit: number, zero: string, one: string): string {
  FORK_INPUT[1] = bit;
  write(FORK_INPUT, 2, zero);
  write(FORK_INPUT, 2 + DIGEST_BYTES, one);
  return sha256Text(FORK_INPUT);
}

/** The digest of a tree, or of a part of one, as a byte string. */
export function digestOf(tree: Tree): string {
  if (tree === undefined) return EMPTY;
  return tree.digest ??= isLeaf(tree)
    ? leafDigest(tree.path, sha256(tree.value))
    : forkDigest(tree.bit, digestOf(tree.zero), digestOf(tree.one));
}

const DOMAIN = new TextEncoder().encode("realm/state/1\0");

/** The digest of a state, from that of its whole tree. */
export function stateDigest(abi: number, tree: string): Uint8Array {
  const input = new Uint8Array(DOMAIN.length + 4 + DIGEST_BYTES);
  input.set(DOMAIN);
  new DataView(input.buffer).setUint32(DOMAIN.length, abi);
  write(input, DOMAIN.length + 4, tree);
  return sha256(input);
}

/** The digest of the state that a tree is of: 32 bytes. */
export function treeDigest(tree: Tree, abi: number): Uint8Array {
  return stateDigest(abi, digestOf(tree));
}

/** What a peer that searches for a difference asks another, about the paths that begin alike. */
export interface DriftQuestion {
  /** `slots`: the digests eight bits further down. `entry`: the only entry there is. */
  readonly kind: "slots" | "entry";
  /** 32 bytes, of which the first `bits` bits matter. */
  readonly prefix: Uint8Array;
  readonly bits: number;
}

/** All entries whose paths begin with the first `bits` bits of `prefix`. */
function below(tree: Tree, prefix: string, bits: number): Tree {
  while (tree !== undefined && !isLeaf(tree) && tree.bit < bits) {
    tree = bitOf(prefix, tree.bit) === 0 ? tree.zero : tree.one;
  }
  if (tree === undefined) return undefined;
  return firstDifference(nearest(tree, prefix).path, prefix) >= bits ? tree : undefined;
}

/** A prefix with the eight bits from `bits` on, a multiple of eight, set to `slot`. */
function slotPrefix(prefix: string, bits: number, slot: number): string {
  return prefix.slice(0, bits >> 3) + String.fromCharCode(slot) + prefix.slice((bits >> 3) + 1);
}

function kindOf(tree: Tree): number {
  return tree === undefined ? KIND.EMPTY : isLeaf(tree) ? KIND.LEAF : KIND.FORK;
}

/**
 * The answer to a question: {@link SLOTS_BYTES} of slots, or for an entry the sha256 of its value and
 * its key. Throws RealmError `corrupt` for a question that nobody asks who goes by the digests.
 */
export function answerDrift(tree: Tree, { kind, prefix, bits }: DriftQuestion): Uint8Array {
  const isPlace = prefix.length === DIGEST_BYTES && Number.isInteger(bits) && bits >= 0 &&
    bits <= (kind === "slots" ? PATH_BITS - SLOT_BITS : PATH_BITS) && bits % SLOT_BITS === 0;
  if (!isPlace) throw dishonest("the question is about no place in a tree");
  const text = textOf(prefix);
  const found = below(tree, text, bits);
  if (kind === "entry") {
    if (found === undefined || !isLeaf(found)) throw dishonest("it asks for one entry of several");
    const answer = new Uint8Array(DIGEST_BYTES + found.key.length);
    answer.set(sha256(found.value));
    answer.set(bytesOf(found.key), DIGEST_BYTES);
    return answer;
  }
  const answer = new Uint8Array(SLOTS_BYTES);
  for (let slot = 0; slot < SLOTS; slot++) {
    const inside = below(found, slotPrefix(text, bits, slot), bits + SLOT_BITS);
    answer[slot * SLOT_BYTES] = kindOf(inside);
    write(answer, slot * SLOT_BYTES + 1, digestOf(inside));
  }
  return answer;
}

/** The digest of what is in the slots `[from, from + count)`, which differ from the bit `bit` on. */
function folded(slots: readonly string[], bit: number, from = 0, count = SLOTS): string {
  if (count === 1) return slots[from]!;
  const half = count / 2;
  const zero = folded(slots, bit + 1, from, half);
  const one = folded(slots, bit + 1, from + half, half);
  return zero === EMPTY ? one : one === EMPTY ? zero : forkDigest(bit, zero, one);
}

/** A key that two states do not have alike. */
export interface Drift {
  readonly key: Uint8Array;
  /** The sha256 of its value in each state; undefined where it is absent. */
  readonly ours: Uint8Array | undefined;
  readonly theirs: Uint8Array | undefined;
}

/** Where a search is. */
interface Place {
  readonly prefix: string;
  readonly bits: number;
  /** What the other side has there, and its digest. */
  readonly kind: number;
  readonly digest: string;
}

/**
 * The search for the first key, in the order of paths, that another peer has not as we have it.
 * Every answer is checked against the digest that the one before promised, up to the digest of the
 * state: who answers can refuse, not mislead.
 *
 * One question goes down eight bits: three or four are enough for a million entries, and 20 unless
 * somebody finds keys whose sha256 agree in 152 bits.
 */
export class DriftSearch {
  #place: Place | undefined;
  #found: Drift | undefined;

  /** `theirs` is the digest of the other state, which must be another one than that of `tree`. */
  constructor(readonly tree: Tree, readonly abi: number, readonly theirs: Uint8Array) {}

  /** What to ask next; undefined when the key is {@link found}. */
  get question(): DriftQuestion | undefined {
    if (this.#found !== undefined) return undefined;
    const { prefix, bits, kind } = this.#place ?? { prefix: EMPTY, bits: 0, kind: KIND.FORK };
    return { kind: kind === KIND.LEAF ? "entry" : "slots", prefix: bytesOf(prefix), bits };
  }

  /** The key that differs, once there is no more question. */
  get found(): Drift | undefined {
    return this.#found;
  }

  /** Takes the answer to {@link question}. Throws RealmError `corrupt` when it is not true. */
  answer(bytes: Uint8Array): void {
    const place = this.#place;
    if (place?.kind === KIND.LEAF) this.#takeEntry(place, bytes);
    else this.#takeSlots(place, bytes);
  }

  #takeSlots(place: Place | undefined, bytes: Uint8Array): void {
    const { prefix, bits } = place ?? { prefix: EMPTY, bits: 0 };
    if (bytes.length !== SLOTS_BYTES || bits + SLOT_BITS > PATH_BITS) {
      throw dishonest("the answer has the wrong length");
    }
    const slots: string[] = [];
    for (let at = 1; at < SLOTS_BYTES; at += SLOT_BYTES) {
      slots.push(textOf(bytes.subarray(at, at + DIGEST_BYTES)));
    }
    const whole = folded(slots, bits);
    const isPromised = place === undefined
      ? bytesEqual(stateDigest(this.abi, whole), this.theirs)
      : whole === place.digest;
    if (!isPromised) throw dishonest("the answer does not have the digest that was promised");
    for (let slot = 0; slot < SLOTS; slot++) {
      const inside = slotPrefix(prefix, bits, slot);
      const ours = below(this.tree, inside, bits + SLOT_BITS);
      const digest = slots[slot]!;
      if (digestOf(ours) === digest) continue;
      const kind = bytes[slot * SLOT_BYTES]!;
      if (digest === EMPTY) this.#found = missing(nearest(ours!, inside));
      else if (kind !== KIND.LEAF && kind !== KIND.FORK) throw dishonest("there is no such kind");
      else this.#place = { prefix: inside, bits: bits + SLOT_BITS, kind, digest };
      return;
    }
    throw dishonest("both states are equal");
  }

  #takeEntry({ prefix, bits, digest }: Place, bytes: Uint8Array): void {
    const theirs = bytes.slice(0, DIGEST_BYTES);
    const key = bytes.slice(DIGEST_BYTES);
    const path = sha256Text(key);
    if (
      theirs.length < DIGEST_BYTES || firstDifference(path, prefix) < bits ||
      leafDigest(path, theirs) !== digest
    ) throw dishonest("the entry does not have the digest that was promised");
    // Of ours there, the first may come before theirs.
    const first = firstOf(below(this.tree, prefix, bits));
    if (first !== undefined && first.path < path) this.#found = missing(first);
    else {
      const ours = first?.path === path ? sha256(first.value) : undefined;
      if (ours !== undefined && bytesEqual(ours, theirs)) {
        // They have this one alone, and we more.
        this.#found = missing(secondOf(below(this.tree, prefix, bits))!);
      } else this.#found = { key, ours, theirs };
    }
  }
}

function missing({ key, value }: Leaf): Drift {
  return { key: bytesOf(key), ours: sha256(value), theirs: undefined };
}

function firstOf(tree: Tree): Leaf | undefined {
  return tree && nearest(tree, EMPTY);
}

function secondOf(tree: Tree): Leaf | undefined {
  const first = firstOf(tree);
  return first && firstOf(withoutLeaf(tree, first.path));
}

function dishonest(problem: string): RealmError {
  return new RealmError("corrupt", `Cannot compare states: ${problem}`);
}
