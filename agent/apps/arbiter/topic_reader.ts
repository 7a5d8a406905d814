/**
 * What can be asked about a topic whose events are applied: the state at any of them, and what became of
 * each. Answers are bounded: who wants more asks for what comes after.
 *
 * @module
 */
import { CID } from "../../kernel/canonical.ts";
import { RealmError } from "../../kernel/error.ts";
import type { TopicEvent } from "../../kernel/topic.ts";
import type { AppliedEvent } from "../guest/host_imports.ts";
import type { Outcome } from "../guest/state_apply.ts";
import { Replay, type ReplayParts } from "../replay.ts";
import type { Entry, State } from "../state.ts";
import { isKernelType } from "../topic/app_event.ts";
import type { AppLog } from "../topic/app_log.ts";
import { appliedEvent } from "../topic/app_replay.ts";
import type { EventOutcome, OrderedEvent } from "./topic_app_port.ts";

/** Bytes of keys, values and payloads in one answer; one entry or event is always given. */
export const ANSWER_BYTES_MAX = 1024 * 1024;

/** What a {@link TopicReader} is made of. */
export interface TopicReaderInit {
  readonly log: AppLog;
  readonly abi: number;
  /** What applies the events. Throws RealmError `not-found` while nothing does. */
  readonly replay: () => Replay;
  /** The state that there is, which may be that of a ticket. Throws as {@link replay} does. */
  readonly state: () => State;
}

/** Which entries of which state are wanted. */
export interface EntriesAsked {
  /** Those whose keys begin so, and come after this one. */
  readonly prefix: Uint8Array;
  readonly after: Uint8Array | undefined;
  /** The event after which the state is meant; without it all. */
  readonly at: string | undefined;
  readonly limit: number;
}

/** See the module. */
export class TopicReader {
  constructor(readonly init: TopicReaderInit) {}

  /** An event by its CID. Throws RealmError `not-found`. */
  event(id: string): TopicEvent {
    let event: TopicEvent | undefined;
    try {
      event = this.init.log.topic?.get(CID.parse(id));
    } catch {
      // No CID at all.
    }
    if (event !== undefined) return event;
    throw new RealmError("not-found", `Cannot find event ${JSON.stringify(id)} in the topic`, {
      hint: "Run realm app log",
    });
  }

  /** An event as the app sees it; undefined for one that is not for it, or cannot be read here. */
  read(event: TopicEvent): AppliedEvent | undefined {
    const read = isKernelType(event.type) ? undefined : appliedEvent(this.init.log, event);
    return read === undefined || "needed" in read ? undefined : read;
  }

  /** The state after an event, or after all. */
  stateAt(at: string | undefined): State {
    if (at === undefined) return this.init.state();
    const replay = this.init.replay();
    const event = this.event(at);
    if (event === this.init.log.topic!.genesis) return replay.stateAfter(0);
    const state = replay.stateAt(event);
    if (state !== undefined) return state;
    throw new RealmError("not-found", `Cannot read the state at ${at}: it was not applied`, {
      hint: "Run realm app log",
    });
  }

  /** Entries of a state in byte order, as many as fit; `more` says that these are not all. */
  entries(
    { prefix, after, at, limit }: EntriesAsked,
  ): { entries: Entry[]; more: boolean; digest: Uint8Array } {
    const state = this.stateAt(at);
    const end = endOf(prefix);
    const entries: Entry[] = [];
    let start = after === undefined ? prefix : Uint8Array.of(...after, 0);
    let bytes = 0;
    let more = true;
    while (more && entries.length < limit && bytes < ANSWER_BYTES_MAX) {
      const found = state.scan(start, end, limit - entries.length);
      more = found.length > 0;
      entries.push(...found);
      for (const { key, value } of found) bytes += key.length + value.length;
      if (more) start = Uint8Array.of(...found.at(-1)!.key, 0);
    }
    more &&= state.scan(start, end, 1).length > 0;
    return { entries, more, digest: state.digest(this.init.abi) };
  }

  digest(at: string | undefined): { digest: Uint8Array; abi: number } {
    const { abi } = this.init;
    return { digest: this.stateAt(at).digest(abi), abi };
  }

  /** Events in the order in which they are applied, from a place on, as many as fit. */
  ordered(from: number, limit: number): { events: OrderedEvent[]; total: number } {
    const replay = this.init.replay();
    const { log, finalLength } = replay;
    const events: OrderedEvent[] = [];
    let bytes = 0;
    for (let at = from; at < Math.min(log.length, from + limit); at++) {
      const event = log[at]!;
      const payload = this.read(event)?.payload;
      bytes += payload?.length ?? 0;
      if (events.length > 0 && bytes > ANSWER_BYTES_MAX) break;
      const id = event.id.toString();
      const pending = this.isSkipped(event);
      events.push({
        ...outcomeOf(id, replay.outcomeOf(event), at < finalLength, pending),
        type: event.type,
        author: event.author,
        seq: event.seq,
        lamport: event.lamport,
        parents: event.parents.map((parent) => parent.id.toString()),
        payload: payload?.slice(), // what it is a part of would be cloned whole
      });
    }
    return { events, total: log.length };
  }

  /** What became of an event. */
  outcome(id: string): EventOutcome {
    const replay = this.init.replay();
    const event = this.event(id);
    const pending = this.isSkipped(event) ||
      (this.read(event) !== undefined && !replay.log.includes(event));
    return outcomeOf(id, replay.outcomeOf(event), replay.isFinal(event), pending);
  }

  /** Whether the outcome of an event is not known yet, since a snapshot stands for it. */
  isSkipped({ type }: TopicEvent): boolean {
    return this.init.replay().skipped > 0 && !isKernelType(type);
  }

  /** Applies everything anew from the beginning. */
  verify(parts: ReplayParts, at: string | undefined, nowMs: number): {
    digest: Uint8Array;
    again: Uint8Array;
    events: number;
    fuel: number;
  } {
    const { abi } = this.init;
    this.init.replay();
    const state = this.stateAt(at);
    const replay = new Replay(parts);
    replay.update(nowMs);
    if (replay.illness !== undefined) throw replay.illness.cause;
    const event = at === undefined ? undefined : this.event(at);
    const length = event === undefined ? replay.log.length : replay.log.indexOf(event) + 1;
    const fuel = replay.log.slice(0, length)
      .reduce((sum, each) => sum + (replay.outcomeOf(each)?.fuel ?? 0), 0);
    return {
      digest: state.digest(abi),
      again: replay.stateAfter(length).digest(abi),
      events: length,
      fuel,
    };
  }
}

const utf8 = new TextDecoder();

/** An outcome as it is told. */
export function outcomeOf(
  event: string,
  outcome: Outcome | undefined,
  isFinal: boolean,
  isPending = false,
): EventOutcome {
  const verdict = outcome?.verdict;
  return {
    event,
    verdict: verdict?.kind ?? (isPending ? "pending" : "none"),
    reason: verdict?.kind === "rejected"
      ? utf8.decode(verdict.reason)
      : verdict?.kind === "trapped"
      ? verdict.why
      : undefined,
    fuel: outcome?.fuel,
    isFinal,
  };
}

/** The first key behind all that begin with a prefix; empty where there is none. */
function endOf(prefix: Uint8Array): Uint8Array {
  const last = prefix.findLastIndex((byte) => byte < 0xff);
  const end = prefix.slice(0, last + 1);
  if (last >= 0) end[last]!++;
  return end;
}
