/**
 * A state as bytes: an index and chunks, each of which is verified by itself against the digest of the
 * state, from wherever it comes.
 *
 * The Merkle tree of the state (`state_digest.ts`) is cut: what is below a fork and has at most
 * {@link CHUNK_BYTES} is one chunk, named by its digest in the tree; what is above the cut is the index.
 * So one state has one form, two states that share most of their entries share most chunks, and
 * whoever has the digest needs to trust nobody.
 *
 *     index = the dag-cbor map {v: 1, abi, tree}, with the tree in preorder:
 *             0x01 and the number of the bit for a fork, 0x00 and the 32 bytes of its digest for a chunk
 *     chunk = the dag-cbor array of key, value, key, value …, in the order of the sha256 of the keys
 *
 * @module
 */
import { bytesOf, textOf } from "../kernel/byte_string.ts";
import { type CborValue, decodeCanonical, encodeCanonical } from "../kernel/canonical.ts";
import { RealmError } from "../kernel/error.ts";
import { bytesEqual } from "../kernel/key.ts";
import { State, STATE_BYTES_MAX, STATE_ENTRY_BYTES, STATE_KEY_BYTES_MAX } from "./state.ts";
import {
  digestOf,
  type Fork,
  fork,
  forkDigest,
  isLeaf,
  type Leaf,
  leafOf,
  leavesOf,
  pathOf,
  stateDigest,
  treeOf,
} from "./state_digest.ts";

/** What the entries of a chunk have at most, counted as the state counts; one entry may have more. */
export const CHUNK_BYTES = 64 * 1024;
/** Encoded: one value of the greatest size, or many small ones with their heads. */
export const CHUNK_ENCODED_BYTES_MAX = CHUNK_BYTES + 2 * STATE_KEY_BYTES_MAX + 1024;
/** Two that are neighbours have more than {@link CHUNK_BYTES} together, and sha256 keeps a tree flat. */
const CHUNKS_MAX = 4 * (STATE_BYTES_MAX / CHUNK_BYTES);
/** Bytes of an index. */
export const INDEX_BYTES_MAX = CHUNKS_MAX * (33 + 2) + 64;

/** The name of a chunk: its digest in the tree, in hex. */
export type ChunkName = string;

/** A state as bytes. */
export interface SnapshotForm {
  readonly index: Uint8Array;
  /** In the order of the index, none twice; each is encoded when it is asked for. */
  readonly chunks: ReadonlyMap<ChunkName, () => Uint8Array>;
}

/** The form of a state. */
export function snapshotForm(state: State, abi: number): SnapshotForm {
  const tree: number[] = [];
  const chunks = new Map<ChunkName, () => Uint8Array>();
  const cut = (node: Leaf | Fork) => {
    if (!isLeaf(node) && isLarge(node)) {
      tree.push(1, node.bit);
      cut(node.zero);
      cut(node.one);
      return;
    }
    const digest = bytesOf(digestOf(node));
    tree.push(0, ...digest);
    chunks.set(digest.toHex(), () => encodeChunk(node));
  };
  if (state.tree !== undefined) cut(state.tree);
  return { index: encodeCanonical({ v: 1, abi, tree: Uint8Array.from(tree) }), chunks };
}

function isLarge(node: Fork): boolean {
  let bytes = 0;
  for (const { key, value } of leavesOf(node)) {
    bytes += STATE_ENTRY_BYTES + key.length + value.length;
    if (bytes > CHUNK_BYTES) return true;
  }
  return false;
}

function encodeChunk(node: Leaf | Fork): Uint8Array {
  const list: CborValue[] = [];
  for (const { key, value } of leavesOf(node)) list.push(bytesOf(key), value);
  return encodeCanonical(list);
}

/** A part of an index: a fork, or a chunk by its name. */
type Part = ChunkName | { readonly bit: number; readonly zero: Part; readonly one: Part };

/** Puts a state together from its form. Throws RealmError `corrupt` for what is not of it. */
export class SnapshotReader {
  readonly #root: Part | undefined;
  readonly #index: Uint8Array;
  readonly #abi: number;
  readonly #wanted = new Set<ChunkName>();
  readonly #there = new Map<ChunkName, Leaf | Fork>();

  /** The index of the state with this digest. */
  constructor(index: Uint8Array, abi: number, digest: Uint8Array) {
    this.#index = index;
    this.#abi = abi;
    if (index.length > INDEX_BYTES_MAX) throw corrupt(`its index has ${index.length} bytes`);
    const value = decodeCanonical(index) as { v?: unknown; abi?: unknown; tree?: unknown } | null;
    const { v, abi: of, tree, ...rest } = value ?? {};
    if (v !== 1 || !(tree instanceof Uint8Array) || Object.keys(rest).length > 0) {
      throw corrupt("its index has another form");
    }
    if (of !== abi) throw corrupt(`its abi is ${of}, wanted ${abi}`);
    this.#root = tree.length === 0 ? undefined : this.#parse(tree);
    if (!bytesEqual(stateDigest(abi, partDigest(this.#root)), digest)) {
      throw corrupt("it is of another digest");
    }
  }

  /** The chunks that are not here yet. */
  get missing(): readonly ChunkName[] {
    return [...this.#wanted].filter((name) => !this.#there.has(name));
  }

  #parse(tree: Uint8Array): Part {
    let at = 0;
    const part = (bitMin: number): Part => {
      const kind = tree[at++];
      if (kind === 0) {
        const digest = tree.slice(at, at += 32);
        if (digest.length < 32) throw corrupt("its index ends early");
        const name = digest.toHex();
        this.#wanted.add(name);
        return name;
      }
      const bit = tree[at++];
      // Bits ascend downwards, which bounds the depth.
      if (kind !== 1 || bit === undefined || bit < bitMin) throw corrupt("its index is no tree");
      return { bit, zero: part(bit + 1), one: part(bit + 1) };
    };
    const root = part(0);
    if (at !== tree.length) throw corrupt("its index goes on behind the tree");
    return root;
  }

  /** Takes a chunk, and says which it was. */
  take(chunk: Uint8Array): ChunkName {
    if (chunk.length > CHUNK_ENCODED_BYTES_MAX) throw corrupt(`a chunk has ${chunk.length} bytes`);
    const list = decodeCanonical(chunk);
    if (!Array.isArray(list) || list.length === 0 || list.length % 2 > 0) {
      throw corrupt("a chunk is no list of keys and values");
    }
    const leaves: Leaf[] = [];
    for (let i = 0; i < list.length; i += 2) {
      const [key, value] = [list[i], list[i + 1]];
      if (!(key instanceof Uint8Array && value instanceof Uint8Array)) {
        throw corrupt("a chunk has what is no bytes");
      }
      const text = textOf(key);
      leaves.push(leafOf(pathOf(text), text, value));
    }
    const tree = treeOf(leaves)!;
    const name = bytesOf(digestOf(tree)).toHex();
    if (!this.#wanted.has(name)) throw corrupt("a chunk is not of this state");
    this.#there.set(name, tree);
    return name;
  }

  /** The state, once nothing is missing. */
  state(): State {
    const build = (part: Part): Leaf | Fork => {
      if (typeof part !== "string") return fork(part.bit, build(part.zero), build(part.one));
      const tree = this.#there.get(part);
      if (tree === undefined) throw new Error(`Chunk ${part} is missing`);
      return tree;
    };
    const state = State.ofTree(this.#root === undefined ? undefined : build(this.#root));
    const { index } = snapshotForm(state, this.#abi);
    if (!bytesEqual(index, this.#index)) throw corrupt("it is cut in another way");
    return state;
  }
}

function partDigest(part: Part | undefined): string {
  if (part === undefined) return digestOf(undefined);
  return typeof part === "string"
    ? textOf(Uint8Array.fromHex(part))
    : forkDigest(part.bit, partDigest(part.zero), partDigest(part.one));
}

function corrupt(problem: string): RealmError {
  return new RealmError("corrupt", `Cannot read snapshot: ${problem}`);
}
