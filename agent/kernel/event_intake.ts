/**
 * The way of events from elsewhere into a topic: in any order, any number of times, from anybody.
 *
 * At the door an event is refused that is badly signed or of another topic, and set aside
 * (`aside.ts`) when an ancestor of it is not here or its author has no say. What was set aside is
 * taken once its ancestors came, when an event that may enter needs it, or when its author gets a say.
 * What is too much to be set aside, or was refused for want of room, is remembered (`passed_over.ts`).
 * What kinds of events there are, and who has a say, is told by {@link IntakeRules}.
 *
 * @module
 */
import { Aside } from "./aside.ts";
import type { CID } from "./canonical.ts";
import { type SignedEvent, topicOf, verifyEventSync } from "./event.ts";
import { formatPublicKey } from "./key.ts";
import type { Offer } from "./offer.ts";
import { PassedOver } from "./passed_over.ts";
import { type EventKey, idOf, keyOf, needsOf, type Topic, type TopicEvent } from "./topic.ts";
import type { VerifySync } from "./verify.ts";

/** What a log makes of events. */
export interface IntakeRules {
  readonly topic: Topic;
  /**
   * Whether an event may enter by itself, and not only because others need it. `after`: all that is
   * in its past and in the topic is one of these, or in the past of one.
   */
  mayEnter(signed: SignedEvent, after: readonly TopicEvent[]): boolean;
  /** Whether an event may not enter since its author has its say no more: `void` in `offer.ts`. */
  hadSay(signed: SignedEvent): boolean;
  /** Puts an event, whose parents are there, into the topic; false when it can never be there. */
  enter(signed: SignedEvent): boolean;
  /** Whether events that are set aside may enter once this one has. */
  givesSay(type: string): boolean;
  /** How much may come for an event that rests on what was passed over; without it nothing may. */
  roomFor?(signed: SignedEvent): { readonly events: number; readonly bytes: number };
}

/** What an event needs that is not in the topic yet. */
interface Needs {
  readonly missing: readonly EventKey[];
  /** Those aside, in order. */
  readonly ancestors: readonly SignedEvent[];
  readonly after: readonly TopicEvent[];
}

/** See the module. */
export class EventIntake {
  readonly #aside = new Aside();
  readonly #passed = new PassedOver();

  constructor(readonly verify: VerifySync) {}

  /**
   * Remembers an event for which there is no room: it may be needed. False where it is refused, since
   * it is badly signed or of another topic.
   */
  pass(signed: SignedEvent, topic: Topic | undefined, offer: Offer): boolean {
    const key = keyOf(signed.id);
    // It was looked at before; what is taken in the end is looked at again.
    const isGood = this.#passed.has(key) ||
      this.#isOf(topic, signed, offer) && this.#isSigned(signed, offer);
    if (isGood) this.#passed.put(key, signed);
    return isGood;
  }

  /** Events that did not come in many sessions are wanted no more: who told of them may keep them back. */
  sessionBegins(): void {
    this.#passed.sessionBegins();
  }

  /** Whether an event is needed by one that may enter, and so is taken. */
  isWanted(id: CID): boolean {
    return this.#passed.isWanted(keyOf(id));
  }

  /** Those of the events that are new, with their signatures verified. */
  sift(
    events: readonly SignedEvent[],
    topic: Topic | undefined,
    offer: Offer,
  ): Map<EventKey, SignedEvent> {
    const fresh = new Map<EventKey, SignedEvent>();
    for (const signed of events) {
      const key = keyOf(signed.id);
      if (topic?.at(key) !== undefined) offer.known++;
      else if (!this.#isOf(topic, signed, offer)) continue;
      else if (this.#aside.has(key)) fresh.set(key, signed); // verified before
      else if (!fresh.has(key) && this.#isSigned(signed, offer)) fresh.set(key, signed);
    }
    return fresh;
  }

  #isOf(topic: Topic | undefined, signed: SignedEvent, offer: Offer): boolean {
    if (topic === undefined || topicOf(signed).equals(topic.id)) return true;
    offer.refuse(signed, "corrupt", `event ${signed.id} is of another topic`);
    return false;
  }

  #isSigned(signed: SignedEvent, offer: Offer): boolean {
    try {
      verifyEventSync(signed, this.verify);
      return true;
    } catch (error) {
      offer.fail(signed, error);
      return false;
    }
  }

  /** Takes what fits of what came, and of what is aside, until nothing more does. */
  take(fresh: ReadonlyMap<EventKey, SignedEvent>, rules: IntakeRules, offer: Offer): void {
    const lamportOf = (key: EventKey) =>
      (fresh.get(key) ?? this.#aside.get(key))?.event.lamport ?? 0;
    const refusedBefore = offer.refused.length;
    const offered = [...fresh.keys()];
    let arrived: readonly EventKey[] = offered;
    let next = offered;
    while (next.length > 0) {
      const from = offer.accepted.length;
      next.sort((a, b) => lamportOf(a) - lamportOf(b));
      for (const key of next) {
        const signed = next === offered ? fresh.get(key) : undefined;
        if (signed === undefined || !this.#takeAtOnce(key, signed, rules)) this.#take(key, rules);
      }
      const entered = offer.accepted.slice(from);
      const isNewSay = entered.some(({ event }) => rules.givesSay(event.type));
      arrived = [...arrived, ...entered.map(({ id }) => keyOf(id))];
      next = isNewSay
        ? [...this.#aside.keys()]
        : this.#aside.size === 0
        ? []
        : [...new Set(arrived.flatMap((key) => [...this.#aside.waitingFor(key)]))];
      arrived = [];
    }
    // What was aside somebody else may have sent, who knew what it would wait for.
    offer.blameOnly((id) => fresh.has(keyOf(id)), refusedBefore);
    // These are sorted now: what makes somebody take part comes before what rests on it.
    for (const key of offered) {
      const signed = fresh.get(key)!;
      if (!this.#aside.has(key)) continue;
      const { missing } = this.#needs(key, rules.topic);
      offer.miss(missing.map(idOf));
      if (missing.length > 0) {
        if (this.#want(signed, rules)) offer.isAgain = true;
        continue;
      }
      const { author, type } = signed.event;
      const code = rules.hadSay(signed) ? "void" : "refused";
      offer.refuse(signed, code, `${formatPublicKey(author)} has no say in ${type}`);
    }
    if (rules.roomFor === undefined) this.#aside.trim();
    else for (const signed of this.#aside.trim()) this.#passed.put(keyOf(signed.id), signed);
  }

  /** Wants what an event rests on of what was passed over, where that lets it enter. */
  #want(signed: SignedEvent, rules: IntakeRules): boolean {
    const { topic } = rules;
    // A look at who wrote it is for nothing, the walk through its past is not.
    if (rules.roomFor === undefined || !rules.mayEnter(signed, topic.heads)) return false;
    const aside = (key: EventKey) => this.#aside.get(key);
    const isThere = (key: EventKey) => topic.at(key) !== undefined;
    const needed = this.#passed.needed(signed, isThere, aside, rules.roomFor(signed));
    if (needed === undefined) return false;
    if (!rules.mayEnter(signed, [...needed.after].map((key) => topic.at(key)!))) return false;
    this.#passed.want(needed, aside);
    return true;
  }

  /** Takes an event of which nothing lacks; false, and it is aside, where it may have to wait. */
  #takeAtOnce(key: EventKey, signed: SignedEvent, rules: IntakeRules): boolean {
    if (this.#aside.has(key)) return false;
    const after: TopicEvent[] = [];
    for (const need of needsOf(signed.event)) {
      const there = rules.topic.at(need);
      if (there === undefined) return this.#aside.put(key, signed), false;
      after.push(there);
    }
    if (!this.#passed.isWanted(key) && !rules.mayEnter(signed, after)) {
      return this.#aside.put(key, signed), false;
    }
    this.#passed.taken(key);
    rules.enter(signed);
    return true;
  }

  /** Takes one event and its ancestors from aside, unless it has to wait. */
  #take(key: EventKey, rules: IntakeRules): void {
    const signed = this.#aside.get(key);
    if (signed === undefined) return;
    const { missing, ancestors, after } = this.#needs(key, rules.topic);
    this.#aside.waitFor(key, missing[0]);
    if (missing.length > 0) return;
    if (!this.#passed.isWanted(key) && !rules.mayEnter(signed, after)) return;
    for (const next of [...ancestors, signed]) {
      const at = keyOf(next.id);
      this.#aside.drop(at);
      this.#passed.taken(at);
      if (!rules.enter(next)) return; // what needs it will never fit
    }
  }

  /**
   * What an event that is aside needs. Of what is nowhere here it is enough to know one: to walk through
   * all that is aside for each event that is would take the time that a peer likes.
   */
  #needs(key: EventKey, topic: Topic): Needs {
    const missing: EventKey[] = [];
    const ancestors: SignedEvent[] = [];
    const after: TopicEvent[] = [];
    const seen = new Set<EventKey>();
    const queue = [key];
    for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
      const known = this.#aside.missingOf(next);
      if (known !== undefined && this.#isNowhere(known, topic)) {
        return { missing: [known], ancestors: [], after: [] };
      }
      for (const need of this.#aside.needsOf(next)) {
        if (seen.has(need)) continue;
        seen.add(need);
        const there = topic.at(need);
        const aside = this.#aside.get(need);
        if (there !== undefined) after.push(there);
        else if (aside === undefined) missing.push(need);
        else {
          ancestors.push(aside);
          queue.push(need);
        }
      }
    }
    ancestors.sort((a, b) => a.event.lamport - b.event.lamport);
    return { missing, ancestors, after };
  }

  #isNowhere(key: EventKey, topic: Topic): boolean {
    return topic.at(key) === undefined && !this.#aside.has(key);
  }
}
