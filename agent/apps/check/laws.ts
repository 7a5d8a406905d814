/**
 * What holds for every history of every app, whatever it does: the laws by which peers agree.
 *
 * Each is tried on the real thing, a {@link Replay} of a topic with the guest. Chance comes from a
 * seed, so a law that is broken once is broken again.
 *
 * @module
 */
import { bytesToHex as toHex } from "@noble/hashes/utils.js";
import { bytesOf, textOf } from "../../kernel/byte_string.ts";
import { Topic, type TopicEvent } from "../../kernel/topic.ts";
import type { SeededRandom } from "../../kernel/seeded_random.ts";
import { ABI } from "../guest/prices.ts";
import type { AppliedEvent } from "../guest/host_imports.ts";
import type { Outcome } from "../guest/state_apply.ts";
import { type Guest, Replay } from "../replay.ts";
import type { State } from "../state.ts";
import { GENESIS, type ScriptEvent } from "./script.ts";

/** The laws, as people read them. */
export const LAWS = {
  host: "the host runs every event",
  twice: "the same log gives the same state, verdicts and fuel",
  delivery: "the order in which events arrive makes no difference",
  late: "events that arrive late make no difference",
  dry: "a dry run tells what becomes of an event",
  proposed: "no event of state-propose traps or uses up its fuel",
} as const;

/** One of {@link LAWS}. */
export type Law = keyof typeof LAWS;

/** How a law was broken. */
export interface Breach {
  readonly law: Law;
  /** What was found, and what was wanted. */
  readonly why: string;
  /** The order of delivery that showed it, as places in the script; undefined for theirs. */
  readonly delivery?: readonly number[];
}

/** Orders of delivery that are tried. */
const DELIVERIES = 4;
/** Nobody waits here for having come late. */
const UNLIMITED = {
  authorEventsMax: 1e9,
  authorEventsPerSecond: 1e9,
  eventsMax: 1e9,
  eventsPerSecond: 1e9,
};

/** A topic with what was applied of it. */
export class Run {
  readonly topic = new Topic(GENESIS.id, GENESIS.event);
  readonly replay: Replay;
  readonly #payloads = new Map<string, Uint8Array>();

  constructor(guest: Guest) {
    const read = (event: TopicEvent) => event === this.topic.genesis ? undefined : this.read(event);
    this.replay = new Replay({ topic: this.topic, guest, read, rewindLimits: UNLIMITED });
    this.replay.update(0);
  }

  read({ key, author, seq, lamport, type }: TopicEvent): AppliedEvent {
    const kind = new TextEncoder().encode(type);
    return { id: bytesOf(key), author, seq, lamport, kind, payload: this.#payloads.get(key)! };
  }

  /** Adds an event, which {@link apply} applies; undefined when a parent of it is missing. */
  add({ signed }: ScriptEvent): TopicEvent | undefined {
    this.#payloads.set(textOf(signed.id.multihash.digest), signed.event.payload as Uint8Array);
    const added = this.topic.add(signed);
    if (added.kind === "invalid") throw new Error(`a made up event is invalid: ${added.problem}`);
    return added.kind === "added" ? added.event : undefined;
  }

  /** Applies what was added. */
  apply(...events: readonly TopicEvent[]): void {
    for (const event of events) this.replay.added(event);
    this.replay.update(0);
  }

  /** Everything that peers have to agree on, by words. */
  result(): Result {
    const { illness, log, state } = this.replay;
    if (illness !== undefined) throw new HostFailure(illness.cause);
    return {
      state,
      digest: toHex(state.digest(ABI)),
      log: log.map((event) => [event.key, this.replay.outcomeOf(event)]),
    };
  }
}

interface Result {
  readonly state: State;
  readonly digest: string;
  readonly log: readonly (readonly [key: string, outcome: Outcome | undefined])[];
}

class HostFailure extends Error {
  constructor(cause: unknown) {
    super(cause instanceof Error ? `${cause.name}: ${cause.message}` : String(cause), { cause });
  }
}

/** The first law that a history breaks. `guest` gives one that has applied nothing of it. */
export function breachOf(
  events: readonly ScriptEvent[],
  guest: () => Guest,
  random: SeededRandom,
): Breach | undefined {
  if (events.length === 0) return undefined;
  try {
    const wanted = inOrder(events, guest());
    return proposedLaw(events, wanted) ?? twiceLaw(events, wanted, guest()) ??
      dryLaw(events, guest()) ?? deliveryLaws(events, wanted, guest, random);
  } catch (error) {
    if (error instanceof HostFailure) return { law: "host", why: error.message };
    throw error;
  }
}

function inOrder(events: readonly ScriptEvent[], guest: Guest): Result {
  const run = new Run(guest);
  run.apply(...events.map((event) => run.add(event)!));
  return run.result();
}

function twiceLaw(
  events: readonly ScriptEvent[],
  wanted: Result,
  guest: Guest,
): Breach | undefined {
  const why = difference(inOrder(events, guest), wanted, events);
  return why === undefined ? undefined : { law: "twice", why };
}

function proposedLaw(events: readonly ScriptEvent[], { log }: Result): Breach | undefined {
  const outcomes = new Map(log);
  for (const [i, { step, signed }] of events.entries()) {
    const verdict = outcomes.get(textOf(signed.id.multihash.digest))?.verdict;
    if (!step.isProposed || (verdict?.kind !== "trapped" && verdict?.kind !== "out-of-fuel")) {
      continue;
    }
    const why = `event ${i + 1} ${said(verdict)}`;
    return { law: "proposed", why };
  }
  return undefined;
}

function dryLaw(events: readonly ScriptEvent[], guest: Guest): Breach | undefined {
  const run = new Run(guest);
  for (const [i, each] of events.entries()) {
    const event = run.add(each)!;
    const before = [...run.replay.log];
    const dry = run.topic.counts(event) ? run.replay.dryRun(run.read(event)) : undefined;
    run.apply(event);
    const outcome = run.replay.outcomeOf(event);
    if (run.replay.illness !== undefined) run.result();
    // Of an event that comes in between, or brings others back, a dry run tells nothing.
    const { log } = run.replay;
    const isNext = log.length === before.length + 1 && before.every((each, i) => log[i] === each);
    if (dry === undefined || outcome === undefined || !isNext) continue;
    if (textOfOutcome(dry) === textOfOutcome(outcome)) continue;
    const why = `event ${i + 1} ${textOfOutcome(outcome)}, its dry run ${textOfOutcome(dry)}`;
    return { law: "dry", why };
  }
  return undefined;
}

function deliveryLaws(
  events: readonly ScriptEvent[],
  wanted: Result,
  guest: () => Guest,
  random: SeededRandom,
): Breach | undefined {
  const places = events.map((_, i) => i);
  for (let i = 0; i < DELIVERIES; i++) {
    // Where one is late, all that come after it are: they wait for their parents.
    const late = random.between(0, events.length - 1);
    const orders: [Law, number[]][] = [
      ["delivery", random.shuffled(places)],
      ["late", [...places.filter((place) => place !== late), late]],
    ];
    for (const [law, order] of orders) {
      // Every other time each event is applied at once.
      const often = i % 2 === 0 ? 1 : 0.3;
      const { delivered, result } = deliver(events, order, guest(), random, often);
      const why = difference(result, wanted, events);
      if (why !== undefined) return { law, why, delivery: delivered };
    }
  }
  return undefined;
}

/**
 * Delivers in an order; what lacks a parent is delivered once that is there. `often` is the probability
 * that what was delivered is applied before more comes.
 */
function deliver(
  events: readonly ScriptEvent[],
  order: readonly number[],
  guest: Guest,
  random: SeededRandom,
  often: number,
): { delivered: number[]; result: Result } {
  const run = new Run(guest);
  const delivered: number[] = [];
  let waiting = [...order];
  while (waiting.length > 0) {
    const lacking: number[] = [];
    for (const place of waiting) {
      const event = run.add(events[place]!);
      if (event === undefined) lacking.push(place);
      else {
        delivered.push(place);
        run.replay.added(event);
        if (random.chance(often)) run.replay.update(0);
      }
    }
    waiting = lacking;
  }
  run.replay.update(0);
  return { delivered, result: run.result() };
}

function said(verdict: Outcome["verdict"]): string {
  switch (verdict.kind) {
    case "accepted":
      return "is accepted";
    case "rejected":
      return `is rejected (${new TextDecoder().decode(verdict.reason)})`;
    case "trapped":
      return `traps (${verdict.why})`;
    case "out-of-fuel":
      return "uses up its fuel";
  }
}

/** What peers have to agree on of an outcome: of a trap, not why. */
function textOfOutcome({ verdict, fuel }: Outcome): string {
  const what = verdict.kind === "trapped" ? "traps" : said(verdict);
  return `${what} for ${fuel} units of fuel`;
}

/** What is not the same in two results; undefined when nothing is. */
function difference(
  found: Result,
  wanted: Result,
  events: readonly ScriptEvent[],
): string | undefined {
  const places = new Map(
    events.map(({ signed }, i) => [textOf(signed.id.multihash.digest), i + 1]),
  );
  for (const [i, [key, outcome]] of wanted.log.entries()) {
    const [foundKey, foundOutcome] = found.log[i] ?? [];
    if (foundKey !== key) return `event ${places.get(key)} is not at its place`;
    const [a, b] = [foundOutcome, outcome].map((each) => each && textOfOutcome(each));
    if (a !== b) return `event ${places.get(key)} ${a}, wanted: ${b}`;
  }
  if (found.digest === wanted.digest) return undefined;
  const key = firstDifference(found.state, wanted.state);
  const at = (state: State) => {
    const value = state.get(key);
    return value === undefined ? "is not there" : `is ${toHex(value)}`;
  };
  return `key ${shownKey(key)} ${at(found.state)}, wanted: ${at(wanted.state)}`;
}

function firstDifference(a: State, b: State): Uint8Array {
  const entries = (state: State) => state.scan(new Uint8Array(), new Uint8Array(), 1_000_000);
  const keys = [...entries(a), ...entries(b)].map(({ key }) => key);
  const text = (value: Uint8Array | undefined) => value && textOf(value);
  return keys.find((key) => text(a.get(key)) !== text(b.get(key))) ?? new Uint8Array();
}

function shownKey(key: Uint8Array): string {
  return textOf(key).replace(/[^ -~]/g, (c) => `\\${toHex(bytesOf(c))}`);
}
