/**
 * What the nodes of a realm say of themselves, and which of them are live.
 *
 * The newest record of each approved node is kept, so memory is bounded by their number. A node is
 * live as long as its last news came less than {@link SILENT_MS} ago, by the observer's monotonic
 * clock; this node always is.
 *
 * @module
 */
import { textOf } from "../../kernel/byte_string.ts";
import { bytesEqual } from "../../kernel/key.ts";
import type { HealthRecord, SignedHealth } from "./health_record.ts";

/** A node of which nothing was heard for so long is not live. */
export const SILENT_MS = 5_000;

/** What is known of one node. */
export interface NodeHealth {
  readonly record: HealthRecord;
  /** When it was last known to be live, in milliseconds of the monotonic clock. */
  readonly heardAtMs: number;
}

/** See the module. Keys are in text form. */
export class HealthBoard {
  readonly #newest = new Map<string, SignedHealth & { heardAtMs: number }>();

  readonly #byTail = new Map<string, Uint8Array>();

  constructor(readonly self: string) {}

  /** Whether a record is newer than the one that is there. */
  isNews({ key, epoch, counter }: Pick<HealthRecord, "key" | "epoch" | "counter">): boolean {
    const last = this.#newest.get(key)?.record;
    if (last === undefined) return true;
    return epoch > last.epoch || (epoch === last.epoch && counter > last.counter);
  }

  /**
   * Takes a record that is news. The first one of a node that comes by way of another may be as old
   * as it likes: it does not show that the node is live, the next one does.
   */
  put(signed: SignedHealth, nowMs: number, isFirstHand = false): void {
    const isFresh = isFirstHand || this.#newest.has(signed.record.key);
    const heardAtMs = isFresh ? nowMs : nowMs - SILENT_MS;
    this.#forget(signed.record.key);
    this.#newest.set(signed.record.key, { ...signed, heardAtMs });
    this.#byTail.set(tailOf(signed.bytes), signed.bytes);
  }

  /** Whether these very bytes are the newest record of a node: most records come several times. */
  has(bytes: Uint8Array): boolean {
    const there = this.#byTail.get(tailOf(bytes));
    return there !== undefined && bytesEqual(there, bytes);
  }

  get(key: string): NodeHealth | undefined {
    return this.#newest.get(key);
  }

  /** Every record that is there, to hand on. */
  all(): readonly SignedHealth[] {
    return [...this.#newest.values()];
  }

  /** Forgets whoever is not approved any more. */
  retain(approved: (key: string) => boolean): void {
    for (const key of this.#newest.keys()) if (!approved(key)) this.#forget(key);
  }

  #forget(key: string): void {
    const there = this.#newest.get(key);
    if (there === undefined) return;
    this.#newest.delete(key);
    this.#byTail.delete(tailOf(there.bytes));
  }

  isLive(key: string, nowMs: number): boolean {
    if (key === this.self) return true;
    const newest = this.#newest.get(key);
    return newest !== undefined && nowMs - newest.heardAtMs < SILENT_MS;
  }

  /** When the next node falls silent, if none is heard of until then. */
  nextSilenceMs(nowMs: number): number | undefined {
    let next: number | undefined;
    for (const [key, { heardAtMs }] of this.#newest) {
      const at = heardAtMs + SILENT_MS;
      if (key !== this.self && at > nowMs && (next === undefined || at < next)) next = at;
    }
    return next;
  }
}

/** The end of a record is that of its signature. */
function tailOf(bytes: Uint8Array): string {
  return textOf(bytes.subarray(-16));
}
