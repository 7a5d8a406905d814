/**
 * The nodes that take part in a topic, as far as is known: those that a ticket names, those that were
 * met, and those of which others say so. The last are hints, and forgotten when nobody repeats them.
 *
 * Not everybody is linked with everybody: each node wants some, chosen by a hash, so that who has whom
 * is spread evenly and the whole hangs together.
 *
 * @module
 */
import { sha256 } from "@noble/hashes/sha2.js";
import { bytesOf, textOf } from "../../kernel/byte_string.ts";

/** Nodes that are wanted at once, those that a ticket names not counted. */
export const WANTED_MAX = 12;
/** Nodes that are remembered, of each kind. */
export const NODES_KEPT_MAX = 64;
/** A hint is good for so long. */
const HINT_MS = 600_000;

/** See the module. Nodes are the text forms of their keys; times are of the monotonic clock. */
export class TopicNodes {
  readonly #named: ReadonlySet<string>;
  /** Least recently met, or told of, first; with the time. */
  readonly #met = new Map<string, number>();
  readonly #hinted = new Map<string, number>();
  /** Those that a ticket names, of people who take part no more. */
  readonly #gone = new Set<string>();
  readonly #ranks = new Map<string, string>();

  constructor(readonly self: string, named: readonly string[], met: readonly string[]) {
    this.#named = new Set(named.filter((node) => node !== self));
    for (const node of met) this.met(node, 0);
  }

  /** Whether a ticket names the node. */
  isNamed(node: string): boolean {
    return this.#named.has(node);
  }

  has(node: string): boolean {
    return this.#named.has(node) && !this.#gone.has(node) || this.#met.has(node) ||
      this.#hinted.has(node);
  }

  /** A node showed that it takes part. */
  met(node: string, nowMs: number): void {
    if (node === this.self) return;
    this.#hinted.delete(node);
    this.#gone.delete(node);
    put(this.#met, node, nowMs);
  }

  /**
   * Whoever speaks by a node takes part no more, and shall not learn from a hello that the topic is still
   * here: the node is left to come by itself.
   */
  left(node: string): void {
    this.#met.delete(node);
    this.#hinted.delete(node);
    if (this.#named.has(node)) this.#gone.add(node);
  }

  /** Whether the node has shown that it takes part, here or in an earlier run. */
  hasMet(node: string): boolean {
    return this.#met.has(node);
  }

  /** Nodes that were met, the last one last. */
  allMet(): readonly string[] {
    return [...this.#met.keys()];
  }

  /** Another says that a node takes part. */
  hinted(node: string, nowMs: number): void {
    if (node !== this.self && !this.#met.has(node)) put(this.#hinted, node, nowMs);
  }

  /** Those that should be linked with. */
  wanted(nowMs: number): readonly string[] {
    for (const [node, atMs] of this.#hinted) {
      if (nowMs - atMs > HINT_MS) this.#hinted.delete(node);
    }
    const others = [...new Set([...this.#met.keys(), ...this.#hinted.keys()])]
      .filter((node) => !this.#named.has(node))
      .map((node) => ({ node, rank: this.#rankOf(node) }))
      .sort((a, b) => a.rank < b.rank ? -1 : 1)
      .slice(0, WANTED_MAX);
    const named = [...this.#named].filter((node) => !this.#gone.has(node));
    return [...named, ...others.map(({ node }) => node)];
  }

  #rankOf(node: string): string {
    let rank = this.#ranks.get(node);
    if (rank === undefined) {
      if (this.#ranks.size > 4 * NODES_KEPT_MAX) this.#ranks.clear();
      this.#ranks.set(node, rank = textOf(sha256(bytesOf(`${this.self} ${node}`))));
    }
    return rank;
  }
}

function put(nodes: Map<string, number>, node: string, atMs: number): void {
  nodes.delete(node);
  nodes.set(node, atMs);
  if (nodes.size > NODES_KEPT_MAX) nodes.delete(nodes.keys().next().value!);
}
