/**
 * By what others come to take part in the topic of an app, void or not: how much of it there may be, and
 * for whom keys act.
 *
 * @module
 */
import { textOf } from "../../kernel/byte_string.ts";
import { parsePublicKey } from "../../kernel/key.ts";
import type { TopicEvent } from "../../kernel/topic.ts";
import type { AppSaid } from "./app_event.ts";

/** A key in the form of `textOf()`: a character for each byte. */
export type KeyText = string;

/** From a key in text form. */
export function keyText(key: string): KeyText {
  return textOf(parsePublicKey(key));
}

/** An event with what it says. */
export interface Fact<Kind extends AppSaid["kind"] = AppSaid["kind"]> {
  readonly event: TopicEvent;
  readonly said: Extract<AppSaid, { readonly kind: Kind }>;
}

/** A join, with the invite by which it is. */
export type Join = Fact<"join"> & { readonly invite: Fact<"invite"> };

/** What makes a key the behavior of a person. */
export type Acting = Fact<"behavior"> & { readonly person: KeyText };

/** By what others come to take part. */
export type Grant = Fact<"invite"> | Join | Acting;

/** Joins of one key after one another: whether it takes part is asked with each of its events. */
export const JOINS_MAX = 64;

/** Keys that act for one person after one another, those too that do no more. */
export const BEHAVIORS_MAX = 16;

/** See the module. */
export class Joined {
  readonly #by = new Map<KeyText, (Join | Acting)[]>();
  /** What makes keys behaviors, by person and author. */
  readonly #actors = new Map<KeyText, Map<KeyText, TopicEvent[]>>();

  /** Takes account of an event that is in the topic now. */
  learn(fact: Join | Acting): void {
    const author = textOf(fact.event.author);
    append(this.#by, author, fact);
    if (!isActing(fact)) return;
    let actors = this.#actors.get(fact.person);
    if (actors === undefined) this.#actors.set(fact.person, actors = new Map());
    append(actors, author, fact.event);
  }

  /** How a key has joined, as a behavior too. */
  by(author: KeyText): readonly (Join | Acting)[] {
    return this.#by.get(author) ?? [];
  }

  /** The person for whom a key acts; `undefined` where it acts for nobody. */
  personOf(author: KeyText): KeyText | undefined {
    return this.by(author).find(isActing)?.person;
  }

  /** Why a key may not join once more, or begin to act for a person, by what `counts` of what there is. */
  problemOf(
    author: KeyText,
    person: KeyText | undefined,
    counts: (event: TopicEvent) => boolean = () => true,
  ): string | undefined {
    const joins = this.by(author).filter(({ event }) => counts(event));
    if (joins.length >= JOINS_MAX) return "its author joined too often";
    const actors = person === undefined ? undefined : this.#actors.get(person);
    const others = [...actors ?? []].filter(([key, events]) =>
      key !== author && events.some(counts)
    );
    return others.length >= BEHAVIORS_MAX ? "its person has too many behaviors" : undefined;
  }
}

/** The {@link Acting} that an event is. */
export function actingOf(event: TopicEvent, said: Fact<"behavior">["said"]): Acting {
  return { event, said, person: keyText(said.person) };
}

export function isInvite(fact: Grant): fact is Fact<"invite"> {
  return fact.said.kind === "invite";
}

export function isJoin(fact: Grant): fact is Join {
  return fact.said.kind === "join";
}

export function isActing(fact: Grant): fact is Acting {
  return fact.said.kind === "behavior";
}

/** Whether somebody joined as admin by it. */
export function isAdminJoin(fact: Grant): boolean {
  return isJoin(fact) && fact.invite.said.role === "admin";
}

/** Puts a value at the end of the list that a key has. */
export function append<Value>(lists: Map<string, Value[]>, key: string, value: Value): void {
  const list = lists.get(key);
  if (list === undefined) lists.set(key, [value]);
  else list.push(value);
}
