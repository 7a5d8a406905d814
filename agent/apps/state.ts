/**
 * The state of an app in a topic: a map from keys to values, both bytes, with bounds.
 *
 * A state never changes: an event writes into a {@link Journal}, from which comes the next state, or
 * which is forgotten. States share what they have in common, so an old one that is kept, to go back
 * to, costs what was changed since.
 *
 * The bounds decide verdicts: they never change within an ABI.
 *
 * @module
 */
import { bytesOf, textOf } from "../kernel/byte_string.ts";
import { RealmError } from "../kernel/error.ts";
import { bytesEqual } from "../kernel/key.ts";
import {
  entriesFrom,
  mapOf,
  type OrderedMap,
  valueOf,
  withEntry,
  withoutEntry,
} from "./ordered_map.ts";
import {
  type Leaf,
  leafOf,
  leavesOf,
  pathOf,
  type Tree,
  treeDigest,
  withLeaf,
  withoutLeaf,
} from "./state_digest.ts";

/** Bytes of one key. */
export const STATE_KEY_BYTES_MAX = 256;
/** Bytes of one value. */
export const STATE_VALUE_BYTES_MAX = 64 * 1024;
/** Bytes of all keys and values, and {@link STATE_ENTRY_BYTES} for each entry. */
export const STATE_BYTES_MAX = 128 * 1024 * 1024;
/** What an entry counts beside its key and value. */
export const STATE_ENTRY_BYTES = 64;
/** As {@link STATE_BYTES_MAX}, for the answer to one scan; at least one entry is always given. */
export const SCAN_BYTES_MAX = 256 * 1024;

/** A key with its value. */
export interface Entry {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

/** A write beyond a bound: what the guest did makes its event rejected. */
export class BeyondBounds extends Error {
  override readonly name = "BeyondBounds";
}

/** See the module. */
export class State {
  /** The state of a topic in which nothing has happened. */
  static readonly EMPTY: State = new State(undefined, undefined, 0, 0);

  private constructor(
    readonly entries: OrderedMap<Leaf>,
    /** The same entries, for the digest. */
    readonly tree: Tree,
    readonly size: number,
    /** As {@link STATE_BYTES_MAX} counts. */
    readonly bytes: number,
  ) {}

  /** The state of a tree. Throws RealmError `corrupt` when that is beyond a bound. */
  static ofTree(tree: Tree): State {
    const entries: [string, Leaf][] = [];
    let bytes = 0;
    for (const leaf of leavesOf(tree)) {
      const { key, value } = leaf;
      if (key.length > STATE_KEY_BYTES_MAX || value.length > STATE_VALUE_BYTES_MAX) {
        throw beyond("an entry");
      }
      bytes += STATE_ENTRY_BYTES + key.length + value.length;
      entries.push([key, leaf]);
    }
    if (bytes > STATE_BYTES_MAX) throw beyond("a state");
    entries.sort(([a], [b]) => a < b ? -1 : 1);
    return new State(mapOf(entries), tree, entries.length, bytes);
  }

  /** The 32 bytes that states have in common exactly when their entries are the same. */
  digest(abi: number): Uint8Array {
    return treeDigest(this.tree, abi);
  }

  get(key: Uint8Array): Uint8Array | undefined {
    return valueOf(this.entries, textOf(key))?.value;
  }

  /** See {@link Journal.scan}. */
  scan(start: Uint8Array, end: Uint8Array, limit: number): Entry[] {
    return scan(this.entries, start, end, limit);
  }

  /** Begins to write. */
  journal(): Journal {
    const { entries, tree, size, bytes } = this;
    return new Journal(
      entries,
      size,
      bytes,
      (next, changed, nextSize, nextBytes) => {
        if (changed.size === 0) return this;
        let nextTree = tree;
        for (const { path, leaf } of changed.values()) {
          nextTree = leaf === undefined ? withoutLeaf(nextTree, path) : withLeaf(nextTree, leaf);
        }
        return new State(next, nextTree, nextSize, nextBytes);
      },
    );
  }
}

function beyond(what: string): RealmError {
  return new RealmError("corrupt", `Cannot read state: ${what} is larger than any can be`);
}

/**
 * What an event read and wrote. On a state where it would read the same it would write the same, since a
 * guest knows nothing else: it need not be applied again.
 */
export interface Trace {
  /** What there was under keys before the event wrote there. */
  readonly reads: readonly (readonly [key: string, value: Uint8Array | undefined])[];
  /** In the end, and the paths of keys; without a leaf it was removed. */
  readonly writes: readonly (readonly [key: string, path: string, leaf: Leaf | undefined])[];
  /** Bytes that a state grows by at most while it writes, as {@link STATE_BYTES_MAX} counts. */
  readonly growth: number;
}

/** Reads and writes of an event that are traced. */
const TRACED_MAX = 64;

/** What was written under a key; without a leaf it was removed. */
interface Change {
  readonly path: string;
  readonly leaf: Leaf | undefined;
}

type Commit = (
  entries: OrderedMap<Leaf>,
  changed: ReadonlyMap<string, Change>,
  size: number,
  bytes: number,
) => State;

/** What one event reads and writes; its reads see its writes. */
export class Journal {
  /** By the keys that were written. */
  readonly #changed = new Map<string, Change>();
  #entries: OrderedMap<Leaf>;
  #size: number;
  #bytes: number;
  readonly #commit: Commit;
  readonly #reads: [string, Uint8Array | undefined][] = [];
  #growth = 0;
  #hasScanned = false;

  constructor(entries: OrderedMap<Leaf>, size: number, bytes: number, commit: Commit) {
    this.#entries = entries;
    this.#size = size;
    this.#bytes = bytes;
    this.#commit = commit;
  }

  /** The value of a key, which the caller must not change. */
  get(key: Uint8Array): Uint8Array | undefined {
    const text = textOf(key);
    const value = valueOf(this.#entries, text)?.value;
    this.#read(text, value);
    return value;
  }

  #read(key: string, value: Uint8Array | undefined): void {
    if (this.#reads.length <= TRACED_MAX && !this.#changed.has(key)) this.#reads.push([key, value]);
  }

  /** Sets a key; keeps `value` itself. Throws {@link BeyondBounds}, and nothing is changed. */
  put(key: Uint8Array, value: Uint8Array): void {
    if (key.length > STATE_KEY_BYTES_MAX) throw new BeyondBounds(`a key of ${key.length} bytes`);
    if (value.length > STATE_VALUE_BYTES_MAX) {
      throw new BeyondBounds(`a value of ${value.length} bytes`);
    }
    const text = textOf(key);
    this.#growth += STATE_ENTRY_BYTES + key.length + value.length;
    const before = valueOf(this.#entries, text);
    const bytes = this.#bytes + value.length -
      (before === undefined ? -(STATE_ENTRY_BYTES + key.length) : before.value.length);
    if (bytes > STATE_BYTES_MAX) throw new BeyondBounds(`a state of ${bytes} bytes`);
    const path = before?.path ?? this.#changed.get(text)?.path ?? pathOf(text);
    // One string for a key, however often it is written.
    const leaf = leafOf(path, before?.key ?? text, value);
    this.#entries = withEntry(this.#entries, leaf.key, leaf);
    this.#changed.set(text, { path, leaf });
    if (before === undefined) this.#size++;
    this.#bytes = bytes;
  }

  /** Removes a key, if it is there. */
  delete(key: Uint8Array): void {
    const text = textOf(key);
    const before = valueOf(this.#entries, text);
    // Where it is there, it would be removed: that is as good as a read.
    if (before === undefined) return this.#read(text, undefined);
    this.#entries = withoutEntry(this.#entries, text);
    this.#changed.set(text, { path: before.path, leaf: undefined });
    this.#size--;
    this.#bytes -= STATE_ENTRY_BYTES + key.length + before.value.length;
  }

  /**
   * Entries with keys from `start` to before `end`, in byte order; an empty `end` is no bound. At
   * most `limit`, and not more than fit {@link SCAN_BYTES_MAX} unless it is one.
   */
  scan(start: Uint8Array, end: Uint8Array, limit: number): Entry[] {
    this.#hasScanned = true;
    return scan(this.#entries, start, end, limit);
  }

  /** What was read and written so far; undefined where that is much, or a scan. */
  trace(): Trace | undefined {
    if (this.#hasScanned || this.#reads.length + this.#changed.size > TRACED_MAX) return undefined;
    const writes: [string, string, Leaf | undefined][] = [];
    for (const [key, { path, leaf }] of this.#changed) writes.push([key, path, leaf]);
    return { reads: this.#reads, writes, growth: this.#growth };
  }

  /**
   * Writes what an event wrote before, to begin with; returns false, and does nothing, where the event
   * would read something else here, or could come to a bound.
   */
  repeat({ reads, writes, growth }: Trace): boolean {
    if (this.#bytes + growth > STATE_BYTES_MAX) return false;
    for (const [key, value] of reads) {
      if (!isSame(valueOf(this.#entries, key)?.value, value)) return false;
    }
    for (const [key, path, leaf] of writes) {
      const before = valueOf(this.#entries, key);
      if (leaf !== undefined) this.#entries = withEntry(this.#entries, leaf.key, leaf);
      else if (before !== undefined) this.#entries = withoutEntry(this.#entries, key);
      this.#changed.set(key, { path, leaf });
      this.#size += (leaf === undefined ? 0 : 1) - (before === undefined ? 0 : 1);
      this.#bytes += bytesOfEntry(leaf) - bytesOfEntry(before);
    }
    return true;
  }

  /** The state with everything that was written so far. */
  commit(): State {
    return this.#commit(this.#entries, this.#changed, this.#size, this.#bytes);
  }
}

function isSame(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  return a === b || a !== undefined && b !== undefined && bytesEqual(a, b);
}

/** What an entry counts of {@link STATE_BYTES_MAX}. */
function bytesOfEntry(leaf: Leaf | undefined): number {
  return leaf === undefined ? 0 : STATE_ENTRY_BYTES + leaf.key.length + leaf.value.length;
}

function scan(
  entries: OrderedMap<Leaf>,
  start: Uint8Array,
  end: Uint8Array,
  limit: number,
): Entry[] {
  const found: Entry[] = [];
  if (limit === 0) return found;
  const before = textOf(end);
  let bytes = 0;
  for (const { key, value: { value } } of entriesFrom(entries, textOf(start))) {
    if (before !== "" && key >= before) break;
    bytes += STATE_ENTRY_BYTES + key.length + value.length;
    if (found.length > 0 && bytes > SCAN_BYTES_MAX) break;
    found.push({ key: bytesOf(key), value });
    if (found.length === limit) break;
  }
  return found;
}
