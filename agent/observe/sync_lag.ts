/**
 * For how long the control logs of other nodes differ from this one's, each time that they do: what
 * an event takes from one node to another, by way of their health records.
 *
 * @module
 */

/** See the module. Times are in milliseconds of the monotonic clock. */
export class SyncLag {
  /** Since when a node's log is another. */
  readonly #since = new Map<string, number>();

  /** Is told of each time that came to an end. */
  constructor(readonly ended: (ms: number) => void) {}

  /** Nodes that have another log. */
  get behind(): number {
    return this.#since.size;
  }

  /** The digests of the heads: of this node, and of every other that lives, by its key. */
  look(own: string | undefined, others: ReadonlyMap<string, string>, nowMs: number): void {
    for (const node of this.#since.keys()) if (!others.has(node)) this.#since.delete(node);
    for (const [node, heads] of others) {
      const sinceMs = this.#since.get(node);
      if (heads !== own) {
        if (sinceMs === undefined) this.#since.set(node, nowMs);
      } else if (sinceMs !== undefined) {
        this.#since.delete(node);
        this.ended(nowMs - sinceMs);
      }
    }
  }
}
