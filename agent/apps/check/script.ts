/**
 * A history of a topic as a short list of steps, from which its events are made: what is left out of it
 * leaves a history, too, so that one that breaks a law can be made small.
 *
 * @module
 */
import { bytesOf, textOf } from "../../kernel/byte_string.ts";
import { cidOf } from "../../kernel/canonical.ts";
import { encodeEvent, type Event, genesisEvent, nextEvent } from "../../kernel/event.ts";
import type { SignedEvent } from "../../kernel/event.ts";

/** Part of a payload: bytes, or the id of the event of another step. */
export type Part = Uint8Array | { readonly of: number };

/** One event. */
export interface Step {
  /** Its name among the steps. */
  readonly id: number;
  /** Which of {@link AUTHORS} wrote it. */
  readonly author: number;
  /** How many of the last events of others it was written without. */
  readonly unseen: number;
  /** Whether it stands beside the last event of its author, as nobody may do. */
  readonly forks: boolean;
  readonly kind: string;
  readonly payload: readonly Part[];
  /** Whether state-propose made it. */
  readonly isProposed: boolean;
}

/** Names of those who write, for people; the first made the topic. */
export const AUTHORS = ["ann", "ben", "cat", "dan"] as const;
/** Their keys, which nobody has the secrets of: nothing here is signed. */
export const KEYS: readonly Uint8Array[] = AUTHORS.map((_, i) => new Uint8Array(32).fill(i + 1));

/** The event that a topic begins with. */
export const GENESIS: SignedEvent = made(
  genesisEvent(KEYS[0]!, { type: "realm/app", payload: null }),
);

/** An event with the step that it was made of. */
export interface ScriptEvent {
  readonly step: Step;
  readonly signed: SignedEvent;
}

/** A topic asks for no signature. */
function made(event: Event): SignedEvent {
  const bytes = encodeEvent(event);
  return { id: cidOf(bytes), event, bytes, signature: new Uint8Array(64) };
}

/** The bytes that an app knows an event by. */
export function idOf({ id }: SignedEvent): Uint8Array {
  return id.multihash.digest;
}

/** Makes events of a script, step by step. */
export class ScriptBuilder {
  readonly events: ScriptEvent[] = [];
  readonly #byStep = new Map<number, SignedEvent>();
  /** Places of the events that each has in its past, its own too. */
  readonly #pasts: ReadonlySet<number>[] = [];

  /** Appends the event of a step; undefined where the very same event is there: one beside it. */
  add(step: Step): ScriptEvent | undefined {
    const { events } = this;
    const key = KEYS[step.author]!;
    const mine = events.flatMap(({ step: { author } }, i) => author === step.author ? [i] : []);
    const last = step.forks ? mine.at(-2) : mine.at(-1);
    const own = step.forks ? mine.at(-1) : undefined;
    const others = events.flatMap((_, i) => mine.includes(i) ? [] : [i]);
    const seen = others.slice(0, others.length - step.unseen);
    const visible = [...seen, ...(last === undefined ? [] : [last])]
      // Who writes beside an event has not seen it, nor what came of it.
      .filter((i) => own === undefined || !this.#pasts[i]!.has(own));
    const heads = visible.filter((i) =>
      !visible.some((other) => other !== i && this.#pasts[other]!.has(i))
    );
    const previous = last === undefined
      ? step.author === 0 ? GENESIS : undefined
      : events[last]!.signed;
    const signed = made(nextEvent(
      key,
      heads.length === 0 ? [GENESIS] : heads.map((i) => events[i]!.signed),
      previous,
      { type: step.kind, payload: this.payloadOf(step) },
    ));
    if (events.some((event) => event.signed.id.equals(signed.id))) return undefined;
    const past = new Set([events.length]);
    for (const head of heads) for (const each of this.#pasts[head]!) past.add(each);
    this.#pasts.push(past);
    this.#byStep.set(step.id, signed);
    const event = { step, signed };
    events.push(event);
    return event;
  }

  /** A payload with the ids of events in their places; zeros for one that is not there. */
  payloadOf({ payload }: Step): Uint8Array {
    const parts = payload.map((part) => {
      if (part instanceof Uint8Array) return part;
      const event = this.#byStep.get(part.of);
      return event === undefined ? new Uint8Array(32) : idOf(event);
    });
    return Uint8Array.from(parts.flatMap((part) => [...part]));
  }

  /** Finds the ids of events in bytes. */
  partsOf(bytes: Uint8Array): Part[] {
    const text = textOf(bytes);
    const found = this.events.flatMap(({ step, signed }) => {
      const at = text.indexOf(textOf(idOf(signed)));
      return at < 0 ? [] : [{ at, of: step.id }];
    }).sort((a, b) => a.at - b.at);
    const parts: Part[] = [];
    let end = 0;
    for (const { at, of } of found) {
      if (at > end) parts.push(bytesOf(text.slice(end, at)));
      parts.push({ of });
      end = at + 32;
    }
    if (end < text.length) parts.push(bytesOf(text.slice(end)));
    return parts;
  }
}

/** The events of a script. */
export function eventsOf(script: readonly Step[]): readonly ScriptEvent[] {
  const builder = new ScriptBuilder();
  for (const step of script) builder.add(step);
  return builder.events;
}
