/**
 * What the control API tells of the contents of one topic.
 *
 * @module
 */
import { type AppTopic, verdictOf } from "./app_topic.ts";
import type { AppAnswer, AppParams } from "../control/apps_api.ts";
import { formatPublicKey } from "../kernel/key.ts";

/** What is asked about a topic that was found. */
type Ask<C extends "state" | "log" | "digest" | "verify"> = Omit<AppParams<C>, "topic">;

/** Entries of the state. */
export async function readState(
  topic: AppTopic,
  { prefix, after, at, limit }: Ask<"state">,
): Promise<AppAnswer<"state">> {
  const { entries, more, digest } = await (await topic.running()).entries({
    prefix: Uint8Array.fromBase64(prefix),
    after: after === undefined ? undefined : Uint8Array.fromBase64(after),
    at,
    limit,
  });
  return {
    entries: entries.map(({ key, value }) => ({ key: key.toBase64(), value: value.toBase64() })),
    more,
    digest: digest.toHex(),
  };
}

/** Events in the order in which they are applied. */
export async function readLog(
  topic: AppTopic,
  { from, limit }: Ask<"log">,
): Promise<AppAnswer<"log">> {
  const { events, total } = await (await topic.running()).ordered(from, limit);
  return {
    events: events.map((event) => ({
      ...verdictOf(event, event.type),
      author: formatPublicKey(event.author),
      seq: event.seq,
      lamport: event.lamport,
      parents: event.parents,
      payload: event.payload?.toBase64() ?? null,
    })),
    total,
  };
}

/** The digest of the state. */
export async function readDigest(
  topic: AppTopic,
  { at }: Ask<"digest">,
): Promise<AppAnswer<"digest">> {
  const { digest, abi, settled } = await (await topic.running()).digest(at);
  return { digest: digest.toHex(), abi, settled, events: topic.log.topic!.size };
}

/** Whether everything comes to the same when it is applied anew. */
export async function verifyTopic(
  topic: AppTopic,
  { at }: Ask<"verify">,
): Promise<AppAnswer<"verify">> {
  const { digest, again, events, fuel } = await (await topic.running()).verify(at);
  const [was, is] = [digest.toHex(), again.toHex()];
  return { equal: was === is, digest: was, again: is, events, fuel };
}
