/**
 * Which releases failed, as one node knows it: what nodes tell of verdicts, and of what is complete
 * now, put together for `decide()`. Pure.
 *
 * @module
 */
import { replicaOf } from "./desired.ts";
import type { Failure, VerdictOn } from "./effective_release.ts";
import type { NodeQuestion } from "./node_rollout.ts";
import { possibleNodes } from "./placement.ts";
import { decide, type Decision, Tellings, tellVerdicts } from "./verdicts.ts";

const NOBODY: ReadonlySet<string> = new Set();

/** What is asked for, and what was decided. */
export interface Judgement {
  readonly verdictOn: VerdictOn;
  /** Of what was asked for so far, where anything was to decide; by component and version. */
  readonly decisions: ReadonlyMap<string, Decision>;
  /** Verdicts by which releases failed, of those. */
  readonly counted: ReadonlySet<Failure>;
}

/** See the module. */
export function judge(
  { node, inForce, overrides, approved, failures, isNew, complete, wasComplete, reported }: Pick<
    NodeQuestion,
    | "node"
    | "inForce"
    | "overrides"
    | "approved"
    | "failures"
    | "isNew"
    | "complete"
    | "wasComplete"
    | "reported"
  >,
): Judgement {
  const names = [...approved.keys()].filter((name) => inForce.manifest.nodes.has(name));
  const reports = new Map(names.map((name) => [name, name === node ? null : reported(name)]));
  const tellings = new Tellings([
    [node, tellVerdicts(node, failures, wasComplete)],
    ...[...reports].map(([name, said]) => [name, said?.verdicts ?? []] as const),
  ]);
  const decisions = new Map<string, Decision>();
  const counted = new Set<Failure>();
  const verdictOn: VerdictOn = (component, release, of) => {
    const about = { component, version: of.version, release };
    const isInForce = of.version === inForce.version;
    if (isInForce && !tellings.has(about)) return undefined; // it is on trial, or all is well
    const possible = new Set(possibleNodes(component, of.manifest));
    const isScaled = (name: string) =>
      overrides.scales.some((scale) => scale.component === component && scale.node === name);
    const told = tellings.of(
      about,
      (name) => reports.has(name) && (possible.has(name) || isScaled(name)),
    );
    const saw = new Set(told?.saw);
    if (wasComplete(component, release, of.version)) saw.add(node);
    if (isInForce && complete.get(component) === release) saw.add(node);
    const isAlike = overrides.restarts.every((restart) => restart.component !== component);
    const components = new Map([[component, of.manifest.components.get(component)!]]);
    // What a component goes back to is run by the manifest in force, which has its routes.
    const there = { manifest: { ...inForce.manifest, components }, digests: of.digests, overrides };
    const revisionOn = (name: string) => replicaOf(component, { ...there, node: name })!.revision;
    const alike = isAlike ? revisionOn(node) : undefined;
    for (const [name, said] of reports) {
      const slots = said?.slots.get(component);
      if (slots === undefined || !slots.isComplete || saw.has(name)) continue;
      const isCurrent = said!.version === inForce.version ||
        slots.isHeld && said!.refuses === inForce.version;
      if (isCurrent && slots.revision === (alike ?? revisionOn(name))) saw.add(name);
    }
    const able = [...possible].filter((name) => reports.has(name));
    // Who came later saw nothing of it: a machine that is approved takes no release back.
    const early = able.filter((name) => approved.get(name)! < of.version);
    const members = early.length > 0 ? early : able;
    const { gave, heard } = told ?? { gave: NOBODY, heard: NOBODY };
    const decision = decide({ gave, heard, saw }, members, isInForce);
    decisions.set(`${component} ${of.version}`, decision);
    if (decision !== "failed" || saw.has(node) && isNew(about)) return undefined;
    const failure =
      failures.find((known) =>
        known.component === component && known.version === of.version && known.release === release
      ) ?? { ...about, node: told!.givers[0]!, evidence: "" };
    counted.add(failure);
    return failure;
  };
  return { decisions, counted, verdictOn };
}
