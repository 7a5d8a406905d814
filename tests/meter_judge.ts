/**
 * Judges what the metering rewriter makes of one module: that it is valid, proven to be metered,
 * and does and costs what the module as it was does and costs, wherever slices end, in a guest that
 * is suspended at their ends or is not, and however many loops are copied.
 *
 * @module
 */
import assert from "node:assert/strict";
import { RealmError } from "../agent/kernel/error.ts";
import { meter } from "../agent/wasm/meter/meter.ts";
import { withCounter } from "./fuel_oracle.ts";
import { prove } from "./meter_proof.ts";
import { observeModule, type Observing, type Seen } from "./module_observer.ts";
import { readWasm } from "./wasm_reader.ts";

/** Bounds that no module reaches. */
const OPTIONS = { memoryPagesMax: 65_536, tableElementsMax: 10_000_000 };
/** Units after which a module is no longer followed: as it was, it might never end. */
const UNITS_MAX = 3_000_000;
/** The most that is paid at one go: a memory that grows by all it can. */
const DEBT_MAX = 65_536 * 64 + 100_000;
const RUNS: readonly (Observing & { readonly copiesLess?: true })[] = [
  { slice: 1 },
  { slice: 37, room: 3000 },
  { slice: 1, room: 0 },
  { slice: 500, suspend: true },
  { slice: 37, copiesLess: true },
];

/** How far a module could be compared. */
export interface Verdict {
  /**
   * `refused` by the rewriter, `unlike` when its imports cannot be made, `endless` when it used more
   * than can be waited for, `deep` when the engine's own stack did not suffice.
   */
  readonly kind: "compared" | "refused" | "unlike" | "endless" | "deep";
  readonly calls: number;
  /** Calls of which the price was compared. */
  readonly priced: number;
  readonly cycles: number;
}

const ended = (seen: readonly Seen[], how: string) => seen.some(({ outcome }) => outcome === how);
const visible = (seen: readonly Seen[]) =>
  seen.map(({ name, outcome, state }) => ({ name, outcome, state }));

/** Judges a module that the engine takes. Throws when something is wrong. */
export async function judge(bytes: Uint8Array<ArrayBuffer>): Promise<Verdict> {
  const verdict = { calls: 0, priced: 0, cycles: 0 };
  let metered;
  try {
    metered = meter(bytes, OPTIONS).bytes;
  } catch (error) {
    if (error instanceof RealmError) return { ...verdict, kind: "refused" };
    throw error;
  }
  assert.ok(WebAssembly.validate(metered), "the rewritten module is not valid");
  verdict.cycles = prove(metered).cycles;
  const wasm = readWasm(bytes);
  // What never ends is seen where slices do; it is left out.
  const follow = (skipped: ReadonlySet<string>) =>
    observeModule(metered, wasm, { unitsMax: UNITS_MAX, slice: 1_000_000 }, skipped);
  const first = await follow(new Set());
  if (!first) return { ...verdict, kind: "unlike" };
  const skipped = new Set(
    first.seen.filter(({ outcome }) => outcome === "stopped").map(({ name }) => name),
  );
  const whole = skipped.size > 0 ? (await follow(skipped))! : first;
  if (ended(whole.seen, "stopped")) return { ...verdict, kind: "endless" };
  const plain = await observeModule(bytes, wasm, {}, skipped);
  if (ended(whole.seen, "overflow") || ended(plain!.seen, "overflow")) {
    return { ...verdict, kind: "deep" };
  }
  assert.deepEqual(visible(whole.seen), visible(plain!.seen));
  const counted = await observeModule(withCounter(bytes), wasm, {}, skipped);
  if (!ended(counted!.seen, "overflow")) {
    assert.deepEqual(whole.seen, counted!.seen, "it costs other than counted");
  }
  const copyingBytesMax = metered.length >> 1;
  const less = meter(bytes, { ...OPTIONS, copyingBytesMax }).bytes;
  prove(less);
  for (const { copiesLess, ...run } of RUNS) {
    const written = copiesLess ? less : metered;
    const other = await observeModule(written, wasm, { ...run, unitsMax: 2 * UNITS_MAX }, skipped);
    assert.ok(other!.debtMax <= DEBT_MAX, `${other!.debtMax} units without a check`);
    if (ended(other!.seen, "overflow")) continue;
    assert.deepEqual(other!.seen, whole.seen, JSON.stringify(run));
  }
  verdict.calls = whole.seen.length;
  verdict.priced = whole.seen.filter(({ units }) => units !== undefined).length;
  return { ...verdict, kind: "compared" };
}
