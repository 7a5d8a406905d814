/**
 * The way of events from elsewhere into a topic: in any order, any number of times, from anybody.
 *
 * At the door an event is refused that is badly signed or of another topic, and set aside
 * (`aside.ts`) when an ancestor of it is not here or its author has no say. What was set aside is
 * taken once its ancestors came, when an event that may enter needs it, or when its author gets a say.
 * What kinds of events there are, and who has a say, is told by {@link IntakeRules}.
 *
 * @module
 */
import { Aside } from "./aside.ts";
import type { CID } from "./canonical.ts";
import { type SignedEvent, topicOf, verifyEventSync } from "./event.ts";
import { formatPublicKey } from "./key.ts";
import type { Offer } from "./offer.ts";
import { type EventKey, keyOf, type Topic, type TopicEvent } from "./topic.ts";
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
}

/** What an event needs that is not in the topic yet. */
interface Needs {
  readonly missing: readonly CID[];
  /** Those aside, in order. */
  readonly ancestors: readonly SignedEvent[];
  readonly after: readonly TopicEvent[];
}

/** See the module. */
export class EventIntake {
  readonly #aside = new Aside();

  constructor(readonly verify: VerifySync) {}

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
      else if (topic !== undefined && !topicOf(signed).equals(topic.id)) {
        offer.refuse(signed, "corrupt", `event ${signed.id} is of another topic`);
      } else if (this.#aside.has(key)) fresh.set(key, signed); // verified before
      else if (!fresh.has(key) && this.#isSigned(signed, offer)) fresh.set(key, signed);
    }
    return fresh;
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
    for (const [key, signed] of fresh) this.#aside.put(key, signed);
    const lamportOf = (key: EventKey) => this.#aside.get(key)?.event.lamport ?? 0;
    let arrived = [...fresh.keys()];
    let next = arrived;
    while (next.length > 0) {
      const from = offer.accepted.length;
      next.sort((a, b) => lamportOf(a) - lamportOf(b));
      for (const key of next) this.#take(key, rules);
      const entered = offer.accepted.slice(from);
      const isNewSay = entered.some(({ event }) => rules.givesSay(event.type));
      arrived = [...arrived, ...entered.map(({ id }) => keyOf(id))];
      next = isNewSay
        ? [...this.#aside.keys()]
        : [...new Set(arrived.flatMap((key) => [...this.#aside.waitingFor(key)]))];
      arrived = [];
    }
    for (const [key, signed] of fresh) {
      if (!this.#aside.has(key)) continue;
      const { missing } = this.#needs(signed, rules.topic);
      offer.miss(missing);
      if (missing.length > 0) continue;
      const { author, type } = signed.event;
      const code = rules.hadSay(signed) ? "void" : "refused";
      offer.refuse(signed, code, `${formatPublicKey(author)} has no say in ${type}`);
    }
    this.#aside.trim();
  }

  /** Takes one event and its ancestors from aside, unless it has to wait. */
  #take(key: EventKey, rules: IntakeRules): void {
    const signed = this.#aside.get(key);
    if (signed === undefined) return;
    const { missing, ancestors, after } = this.#needs(signed, rules.topic);
    this.#aside.waitFor(key, missing[0]);
    if (missing.length > 0 || !rules.mayEnter(signed, after)) return;
    for (const next of [...ancestors, signed]) {
      this.#aside.drop(keyOf(next.id));
      if (!rules.enter(next)) return; // what needs it will never fit
    }
  }

  /**
   * Of what is nowhere here it is enough to know one: to walk through all that is aside for each
   * event that is would take the time that a peer likes.
   */
  #needs(signed: SignedEvent, topic: Topic): Needs {
    const missing = new Map<EventKey, CID>();
    const found = new Map<EventKey, SignedEvent>();
    const after = new Set<TopicEvent>();
    const queue = [signed];
    for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
      const known = this.#aside.missingOf(keyOf(next.id));
      if (known !== undefined && this.#isNowhere(keyOf(known), topic)) {
        return { missing: [known], ancestors: [], after: [] };
      }
      const { parents, prev } = next.event;
      for (const id of prev === null ? parents : [...parents, prev]) {
        const key = keyOf(id);
        const there = topic.at(key);
        if (there !== undefined) after.add(there);
        if (there !== undefined || found.has(key)) continue;
        const aside = this.#aside.get(key);
        if (aside === undefined) missing.set(key, id);
        else {
          found.set(key, aside);
          queue.push(aside);
        }
      }
    }
    const ancestors = [...found.values()].sort((a, b) => a.event.lamport - b.event.lamport);
    return { missing: [...missing.values()], ancestors, after: [...after] };
  }

  #isNowhere(key: EventKey, topic: Topic): boolean {
    return topic.at(key) === undefined && !this.#aside.has(key);
  }
}
