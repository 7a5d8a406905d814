/**
 * Tries an app out: makes up histories, holds each against the laws, and makes one that breaks a law as
 * small as it gets.
 *
 * @module
 */
import { textOf } from "../../kernel/byte_string.ts";
import { SeededRandom } from "../../kernel/seeded_random.ts";
import { FUEL_MAX } from "../guest/prices.ts";
import type { Verdict } from "../guest/state_apply.ts";
import { Explorer } from "./history.ts";
import { type Breach, breachOf, Run } from "./laws.ts";
import { eventsOf, idOf, type Step } from "./script.ts";
import type { Subject } from "./subject.ts";

/** How much is tried. */
export interface CheckOptions {
  /** The same seed makes the same histories. */
  readonly seed: string;
  readonly histories: number;
  /** Events of each. */
  readonly events: number;
}

/** The most fuel that an event of a kind took. */
export interface FuelUse {
  readonly kind: string;
  readonly fuel: number;
}

/** A law that is broken, with a history that shows it. */
export interface BrokenLaw extends Breach {
  readonly script: readonly Step[];
  /** Steps of the history in which it was found. */
  readonly found: number;
}

/** What came of a check. */
export interface CheckReport {
  readonly seed: string;
  readonly histories: number;
  readonly events: number;
  readonly verdicts: Readonly<Record<Verdict["kind"], number>>;
  /** By kind, the most first; of the kinds that were accepted. */
  readonly fuel: readonly FuelUse[];
  /** What an event may take. */
  readonly fuelMax: number;
  /** Intents that were found and taken. */
  readonly intents: readonly string[];
  /** What other components than state-apply trapped at: no law, and nothing to be shown to people. */
  readonly faults: readonly string[];
  readonly broken?: BrokenLaw;
}

/** Tries to make a history smaller so often. */
const SHRINKS_MAX = 400;

/** Checks an app; ends with the first law that is broken. */
export function checkApp(subject: Subject, options: CheckOptions): CheckReport {
  const { seed, histories, events } = options;
  const random = new SeededRandom(seed);
  const explorer = new Explorer(subject, random.fork("histories"));
  const verdicts = { accepted: 0, rejected: 0, trapped: 0, "out-of-fuel": 0 };
  const fuel = new Map<string, number>();
  let broken: BrokenLaw | undefined;
  let made = 0;
  for (; made < histories && broken === undefined; made++) {
    const script = explorer.history(events);
    const law = (script: readonly Step[]) =>
      breachOf(eventsOf(script), () => subject.guest(), random.fork(`laws ${made}`));
    const breach = law(script);
    if (breach !== undefined) broken = shrunk(script, breach, law);
    else count(subject, script, verdicts, fuel);
  }
  return {
    seed,
    histories: made,
    events: made * events,
    verdicts,
    fuel: [...fuel].map(([kind, fuel]) => ({ kind, fuel })).sort((a, b) => b.fuel - a.fuel),
    fuelMax: FUEL_MAX,
    intents: explorer.intents,
    faults: [...subject.faults.values()],
    ...broken && { broken },
  };
}

function count(
  subject: Subject,
  script: readonly Step[],
  verdicts: Record<Verdict["kind"], number>,
  most: Map<string, number>,
): void {
  const run = new Run(subject.guest());
  const events = eventsOf(script);
  run.apply(...events.map((event) => run.add(event)!));
  const outcomes = new Map(run.result().log);
  for (const { step: { kind }, signed } of events) {
    const outcome = outcomes.get(textOf(idOf(signed)));
    if (outcome === undefined) continue;
    verdicts[outcome.verdict.kind]++;
    if (outcome.verdict.kind === "rejected" && !most.has(kind)) continue;
    most.set(kind, Math.max(most.get(kind) ?? 0, outcome.fuel));
  }
}

/** Leaves out and simplifies what is not needed to break the same law. */
function shrunk(
  script: readonly Step[],
  breach: Breach,
  law: (script: readonly Step[]) => Breach | undefined,
): BrokenLaw {
  let best = { script, breach };
  let left = SHRINKS_MAX;
  // What comes late comes in another order, too: chance says which of the two shows it.
  const kindOf = ({ law }: Breach) => law === "late" ? "delivery" : law;
  const take = (script: readonly Step[]): boolean => {
    if (left-- <= 0) return false;
    const found = law(script);
    if (found === undefined || kindOf(found) !== kindOf(breach)) return false;
    best = { script, breach: found };
    return true;
  };
  for (let size = Math.ceil(script.length / 2); size >= 1; size = size === 1 ? 0 : size >> 1) {
    for (let at = best.script.length - size; at > -size; at -= size) {
      const from = Math.max(0, at);
      take(best.script.filter((_, i) => i < from || i >= at + size));
    }
  }
  const simpler: ((step: Step) => Step)[] = [
    (step) => ({ ...step, forks: false }),
    (step) => ({ ...step, unseen: 0 }),
    (step) => ({ ...step, payload: [] }),
    (step) => ({ ...step, author: 0 }),
  ];
  for (const change of simpler) {
    for (const [i, step] of best.script.entries()) {
      const next = change(step);
      if (JSON.stringify(next) !== JSON.stringify(step)) take(best.script.with(i, next));
    }
  }
  return { ...best.breach, script: best.script, found: script.length };
}
