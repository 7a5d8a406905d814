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
import { CID } from "../kernel/canonical.ts";
import { RealmError } from "../kernel/error.ts";
import type { Store, StoreOp } from "../kernel/ports.ts";
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

const placeOf = (topic: string) => `app-topic/${topic}/`;

/** Where a topic's record is stored while it is not left. */
export function recordKey(topic: string): string {
  return `${placeOf(topic)}record`;
}

/** Behind it stand the nodes that took part in a topic, until it is left. */
export function nodesOf(topic: string): string {
  return `app-node/${topic}/`;
}

/**
 * Leaves a topic of which this is remembered: where that has no name, its events are deleted. In one
 * write, since nobody finds events again that have no record and are not remembered.
 */
export function leaveTopic(store: Store, topic: string, left: LeftTopic): void {
  const gone = left.name === undefined ? store.keys(placeOf(topic)) : [recordKey(topic)];
  const keys = [...gone, ...store.keys(nodesOf(topic))];
  store.write([...keys.map((key) => ({ delete: key })), leftOp(topic, left)]);
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

/**
 * A topic that was left and whose events are here still, by its CID, or a name that only this one had.
 * Throws RealmError `not-found` where several had that.
 */
export function findLeft(store: Store, text: string): string | undefined {
  if (isCid(text)) {
    // Also where a version of before ended while it deleted them.
    const hasEvents = store.keys(placeOf(text))[Symbol.iterator]().next().done === false;
    return hasEvents && store.get(recordKey(text)) === undefined ? text : undefined;
  }
  const named = [...store.keys(LEFT)].map((key) => key.slice(LEFT.length))
    .filter((topic) => leftTopic(store, topic)?.name === text);
  if (named.length <= 1) return named[0];
  throw new RealmError(
    "not-found",
    `Cannot find topic ${JSON.stringify(text)}: ${named.length} that were left have that name`,
    { hint: `Name it by its CID: ${named.join(" or ")}` },
  );
}

function isCid(text: string): boolean {
  try {
    return CID.parse(text).toString() === text;
  } catch {
    return false;
  }
}
