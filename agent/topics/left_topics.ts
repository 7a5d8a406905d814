/**
 * What stays of topics that the person left, so that it does not contradict itself when it joins again:
 * somebody may have events of it that whoever it joins by has not. Who wrote others in their place would
 * have written on two branches, and count no more.
 *
 * So the events stay, and it goes on from them. Where it deleted those, the names of its last ones are
 * remembered: it writes nothing before they have come back from peers (`AppLogInit.wrote`).
 *
 * In the store: `app-left/TOPIC`, until the topic is joined again.
 *
 * @module
 */
import type { Store, StoreOp } from "../kernel/ports.ts";
import { clear, namespaced } from "../apps/arbiter/namespace.ts";
import type { AppLog } from "../apps/topic/app_log.ts";

/** See the module. */
export interface LeftTopic {
  /** What it was called; only while its events are here. */
  readonly name?: string;
  /** CIDs of the last events by keys of the person, where that wrote any. */
  readonly wrote: readonly string[];
}

const LEFT = "app-left/";

/** CIDs of the last events in a log by each of these keys, but for the genesis, which is always there. */
export function lastOf({ topic, topicId }: AppLog, keys: readonly Uint8Array[]): string[] {
  return keys.map((key) => topic?.newestOf(key)?.id)
    .filter((id) => id !== undefined && !id.equals(topicId))
    .map(String);
}

/** Where a topic's record is stored while it is not left. */
export function recordKey(topic: string): string {
  return `app-topic/${topic}/record`;
}

/** Leaves a topic of which this is remembered: where that has no name, its events are deleted. */
export function leaveTopic(store: Store, topic: string, left: LeftTopic): void {
  store.write([{ delete: recordKey(topic) }, leftOp(topic, left)]);
  if (left.name === undefined) clear(namespaced(store, ["app-topic", topic]));
}

/** What is remembered of a topic that was left. */
export function leftTopic(store: Store, topic: string): LeftTopic | undefined {
  const value = store.get(LEFT + topic);
  return value && JSON.parse(new TextDecoder().decode(value));
}

/** Remembers this of a topic; with nothing to remember, nothing. */
export function leftOp(topic: string, { wrote, ...rest }: LeftTopic): StoreOp {
  const key = LEFT + topic;
  if (wrote.length === 0) return { delete: key };
  return { put: key, value: new TextEncoder().encode(JSON.stringify({ ...rest, wrote })) };
}

/** A topic whose events are here still, by its CID, or a name that only this one had. */
export function findLeft(store: Store, text: string): string | undefined {
  const kept = [...store.keys(LEFT)].map((key) => key.slice(LEFT.length))
    .map((topic) => ({ topic, name: leftTopic(store, topic)?.name }))
    .filter(({ name }) => name !== undefined);
  const named = kept.filter(({ topic, name }) => topic === text || name === text);
  return named.length === 1 ? named[0]!.topic : undefined;
}
