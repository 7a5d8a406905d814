/**
 * Makes histories of an app up, as its people could have written them, and as nobody should: events
 * that state-propose makes of intents, intents that its buttons and fields mean, changed payloads and
 * bytes at random, by several authors who have not seen everything, or who fork.
 *
 * What the app wants is not known beforehand. Names of intents are found among its words and in the
 * reasons that it gives; what was once taken is tried again with changes.
 *
 * @module
 */
import { bytesToHex as toHex } from "@noble/hashes/utils.js";
import type { SeededRandom } from "../../kernel/seeded_random.ts";
import { Run } from "./laws.ts";
import { AUTHORS, idOf, KEYS, ScriptBuilder, type Step } from "./script.ts";
import { type Person, type Subject, wordsIn } from "./subject.ts";

/** What is made up for one step. */
interface Idea {
  readonly kind: string;
  readonly payload: Uint8Array;
  readonly isProposed: boolean;
}

const WORDS_MAX = 500;
/** Inputs that were taken, and payloads, to be changed. */
const KEPT_MAX = 200;
/** Calls of the app for one step, until something comes of one. */
const TRIES = 6;
const SEPARATORS = [" ", "\n", "; ", ",", ""];

const utf8 = new TextEncoder();
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

/** See the module; learns about the app from each history. */
export class Explorer {
  readonly #words = new Set<string>();
  /** Of those, the ones in why state-propose did nothing: it may name what it would do. */
  readonly #hints = new Set<string>();
  /** Intents of which events came, with inputs that did it. */
  readonly #taken = new Map<string, string[]>();
  readonly #payloads: Idea[] = [];

  constructor(readonly subject: Subject, readonly random: SeededRandom) {
    this.#learn(subject.words);
  }

  /** Names of the intents that state-propose took, sorted. */
  get intents(): string[] {
    return [...this.#taken.keys()].sort();
  }

  /** A history of so many steps. */
  history(length: number): readonly Step[] {
    const builder = new ScriptBuilder();
    const run = new Run(this.subject.guest());
    const { random } = this;
    while (builder.events.length < length) {
      const author = random.between(0, AUTHORS.length - 1);
      const person = { key: KEYS[author]!, state: run.replay.state };
      const ids = builder.events.map(({ signed }) => idOf(signed));
      for (const idea of this.#ideas(person, ids)) {
        const step = {
          id: builder.events.length,
          author,
          unseen: random.chance(0.4) ? random.between(1, random.pick([1, 4, 12])) : 0,
          forks: random.chance(0.03),
          kind: idea.kind,
          payload: builder.partsOf(idea.payload),
          isProposed: idea.isProposed,
        };
        const made = builder.add(step);
        if (made === undefined) continue;
        const event = run.add(made)!;
        run.apply(event);
        if (run.replay.illness !== undefined) return builder.events.map(({ step }) => step);
        const verdict = run.replay.outcomeOf(event)?.verdict;
        if (verdict?.kind === "rejected") this.#learn(wordsIn(text(verdict.reason)));
      }
    }
    return builder.events.map(({ step }) => step);
  }

  #learn(words: readonly string[]): void {
    for (const word of words) if (this.#words.size < WORDS_MAX) this.#words.add(word);
  }

  /** One step, or several that one intent means. */
  #ideas(person: Person, ids: readonly Uint8Array[]): readonly Idea[] {
    const { random } = this;
    for (let i = 0; i < TRIES; i++) {
      const chance = random.fraction();
      const ideas = chance < 0.35
        ? this.#byView(person, ids)
        : chance < 0.8
        ? this.#byIntent(person, ids)
        : [this.#changed(ids)];
      if (ideas.length > 0) return ideas;
    }
    return [this.#changed(ids)];
  }

  /** Does something that is on the screen. */
  #byView(person: Person, ids: readonly Uint8Array[]): Idea[] {
    const { random, subject } = this;
    const stops = subject.nodes(person).filter(({ kind, id }) =>
      id !== "" && (kind === "button" || kind === "field")
    );
    if (stops.length === 0) return [];
    const { kind, id } = random.pick(stops);
    const input = kind === "button"
      ? { tag: "press", val: id } as const
      : { tag: "submit", val: [id, this.#input(ids)] } as const;
    return subject.intents(person, input).flatMap(({ name, input }) =>
      this.#proposed(person, text(name), text(input))
    );
  }

  #byIntent(person: Person, ids: readonly Uint8Array[]): Idea[] {
    const { random } = this;
    const known = this.intents;
    const hints = [...this.#hints].filter((word) => !this.#taken.has(word));
    const words = hints.length > 0 && random.chance(0.7) ? hints : [...this.#words];
    if (known.length > 0 && random.chance(0.6)) {
      const intent = random.pick(known);
      const input = random.chance(0.6)
        ? this.#mixed(random.pick(this.#taken.get(intent)!), ids)
        : this.#input(ids);
      return this.#proposed(person, intent, input);
    }
    const intent = words.length === 0 ? "x" : random.pick(words);
    return this.#proposed(person, intent, this.#input(ids));
  }

  #proposed(person: Person, intent: string, input: string): Idea[] {
    const answer = this.subject.propose(person, utf8.encode(intent), utf8.encode(input));
    if (answer === undefined) return [];
    if (answer instanceof Uint8Array) {
      const words = wordsIn(text(answer));
      this.#learn(words);
      for (const word of words) if (this.#words.has(word)) this.#hints.add(word);
      return [];
    }
    const inputs = this.#taken.get(intent) ?? [];
    if (inputs.length < KEPT_MAX) inputs.push(input);
    this.#taken.set(intent, inputs);
    const ideas = answer.map(({ kind, payload }) => ({
      kind: text(kind),
      payload,
      isProposed: true,
    })).filter(({ kind }) => isAppKind(kind));
    if (this.#payloads.length < KEPT_MAX) this.#payloads.push(...ideas);
    return ideas;
  }

  /** A payload that nobody proposed. */
  #changed(ids: readonly Uint8Array[]): Idea {
    const { random } = this;
    const words = [...this.#words].filter(isAppKind);
    const isProposed = false;
    if (this.#payloads.length === 0 || random.chance(0.2)) {
      const kind = words.length === 0 ? "x" : random.pick(words);
      return { kind, payload: random.bytes(random.between(0, 64)), isProposed };
    }
    const { kind, payload } = random.pick(this.#payloads);
    const bytes = [...payload];
    const at = random.between(0, bytes.length);
    const change = random.between(0, 4);
    if (change === 0) bytes[at] = random.between(0, 255);
    else if (change === 1) bytes.length = at;
    else if (change === 2) bytes.splice(at, 0, ...random.bytes(random.between(1, 16)));
    else if (change === 3) bytes.splice(at, 32, ...random.pick([...ids, ...KEYS]));
    const other = words.length > 0 && random.chance(0.1) ? random.pick(words) : kind;
    return { kind: other, payload: Uint8Array.from(bytes), isProposed };
  }

  /** What a person could fill in. */
  #input(ids: readonly Uint8Array[]): string {
    const { random } = this;
    const separator = random.pick(SEPARATORS);
    const length = random.chance(0.4) ? 1 : random.between(2, 5);
    const parts = Array.from({ length }, () => this.#atom(ids));
    return parts.join(separator);
  }

  #atom(ids: readonly Uint8Array[]): string {
    const { random } = this;
    const words = [...this.#words];
    switch (random.between(0, 6)) {
      case 0:
        return `${random.between(0, 20)}`;
      case 1:
        return `${random.pick([0, 1, 255, 256, 65_536, 1e6, 1e6 + 1, 2 ** 32, 2 ** 53])}`;
      case 2:
        return ids.length === 0 ? "0" : toHex(random.pick(ids));
      case 3:
        return toHex(random.pick(KEYS));
      case 4:
        return words.length === 0 ? "word" : random.pick(words);
      case 5:
        return "";
      default:
        return String.fromCharCode(
          ...Array.from({ length: random.between(1, 12) }, () => random.between(32, 126)),
        );
    }
  }

  /** An input that was taken, with other events, keys and numbers in it. */
  #mixed(input: string, ids: readonly Uint8Array[]): string {
    const { random } = this;
    return input.replace(/[0-9a-f]{64}|\d+/g, (found) => {
      if (random.chance(0.3)) return found;
      if (found.length !== 64) return `${random.between(0, 2 * Number(found) + 2)}`;
      const isKey = KEYS.some((key) => toHex(key) === found);
      return toHex(random.pick(isKey || ids.length === 0 ? KEYS : ids));
    });
  }
}

/** Types that begin so are not the app's. */
function isAppKind(kind: string): boolean {
  return kind !== "" && !kind.startsWith("realm/");
}
