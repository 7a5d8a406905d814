/**
 * The state of an event and its past alone: a function of the events that are there, which anybody who
 * has them can check, whatever came beside them or was revoked later.
 *
 * It is what a fork begins with, and what a ticket's heads and digest are of.
 *
 * @module
 */
import type { CID } from "../../kernel/canonical.ts";
import { RealmError } from "../../kernel/error.ts";
import type { TopicEvent } from "../../kernel/topic.ts";
import { Replay } from "../replay.ts";
import type { State } from "../state.ts";
import type { AppGenesis, ForkOrigin } from "./app_event.ts";
import type { AppLog } from "./app_log.ts";
import { type AppReplayInit, replayParts } from "./app_replay.ts";

/** A state, and the bundle that applies the event after it. */
export interface PastState {
  readonly state: State;
  readonly bundle: string;
}

/**
 * The state of these events of a log and all in their past. Throws RealmError `not-found` where a bundle
 * or a key for one of them is not here; what the host throws when it fails.
 */
export function pastState(
  log: AppLog,
  ends: readonly TopicEvent[],
  init: AppReplayInit,
): PastState {
  const alone = log.past(ends);
  const parts = replayParts(alone, init);
  if (parts === undefined) throw missing(`bundle ${alone.view!.bundle}`);
  const replay = new Replay(parts);
  replay.update(0);
  if (replay.illness !== undefined) throw replay.illness.cause;
  if (replay.needs !== undefined) throw missing(`${replay.needs.kind} ${replay.needs.name}`);
  const { state, bundle } = replay;
  return { state, bundle };
}

/** What the genesis of a fork of a topic at an event says, and the state that it begins with. */
export function forkAt(
  log: AppLog,
  event: TopicEvent,
  abi: number,
  init: AppReplayInit,
): { readonly genesis: Omit<AppGenesis, "kind" | "nonce">; readonly past: PastState } {
  const { app, params, isEncrypted, bundle: first } = log.membership!.genesis;
  const past = pastState(log, [event], init);
  const fork: ForkOrigin = { topic: log.topicId, event: event.id, digest: past.state.digest(abi) };
  const bundle = past.bundle === first.toString() ? first : bundleOf(log, past.bundle);
  return { genesis: { app, bundle, params, isEncrypted, fork }, past };
}

function bundleOf(log: AppLog, bundle: string): CID {
  const said = log.membership!.marks().map((mark) => mark.said)
    .find((said) => said.kind === "upgrade" && said.bundle.toString() === bundle);
  return (said as { bundle: CID }).bundle;
}

function missing(what: string): RealmError {
  return new RealmError("not-found", `Cannot tell the state: ${what} is not here`, {
    hint: "Wait until a peer that has it is connected",
  });
}
