/**
 * The order in which the events of a topic are applied: those that count, parents first, then by
 * lamport, then by id; and what is not in the past of a checkpoint comes after it.
 *
 * A checkpoint takes effect when the one before it that does is in its past. So what it has in its past
 * has found its place for good, as long as those who may write checkpoints write them one after
 * another. One who does not, on two branches, changes the order for all alike.
 *
 * @module
 */
import { sha256 } from "../kernel/sha256_sync.ts";
import type { Topic, TopicEvent } from "../kernel/topic.ts";

/** The events to be applied. */
export interface ReplayOrder {
  readonly events: TopicEvent[];
  /** How many of them are in the past of the last checkpoint, with it: their places are final. */
  readonly final: number;
}

/** The order of a topic; the genesis is no part of it. `isCheckpoint` is asked of what counts. */
export function replayOrder(
  topic: Topic,
  isCheckpoint: (event: TopicEvent) => boolean,
): ReplayOrder {
  const counting = topic.order().filter((event) => event !== topic.genesis && topic.counts(event));
  const checkpoints: TopicEvent[] = [];
  for (const event of counting) {
    if (!isCheckpoint(event)) continue;
    const last = checkpoints.at(-1);
    if (last === undefined || topic.isAncestor(last, event)) checkpoints.push(event);
  }
  if (checkpoints.length === 0) return { events: counting, final: 0 };
  const parts: TopicEvent[][] = Array.from({ length: checkpoints.length + 1 }, () => []);
  for (const event of counting) {
    // What is in the past of one checkpoint is in that of all later ones.
    let low = 0;
    let high = checkpoints.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const checkpoint = checkpoints[middle]!;
      if (event === checkpoint || topic.isAncestor(event, checkpoint)) high = middle;
      else low = middle + 1;
    }
    parts[low]!.push(event);
  }
  const events = parts.flat();
  return { events, final: events.length - parts.at(-1)!.length };
}

/** A digest of events in this order: 32 bytes. */
export function orderDigest(events: readonly TopicEvent[]): Uint8Array {
  const keys = new Uint8Array(32 * events.length);
  for (const [i, { key }] of events.entries()) {
    for (let at = 0; at < 32; at++) keys[32 * i + at] = key.charCodeAt(at);
  }
  return sha256(keys);
}

/** Which of two events, neither in the past of a checkpoint, is applied first: below zero for `a`. */
export function compareEvents(a: TopicEvent, b: TopicEvent): number {
  return a.lamport - b.lamport || (a.key < b.key ? -1 : a.key > b.key ? 1 : 0);
}
