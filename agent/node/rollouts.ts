/**
 * The rollouts of one node, with what they need to remember: which releases failed, by whose
 * verdict, and which were complete. What is decided is in `realm/rollout.ts`; this keeps it over a
 * restart, hears what other nodes say, and gives this node's own verdicts.
 *
 * A verdict sends a release back on all nodes, so little is believed:
 *
 * - of each node its own verdicts only, on components that can come to it, while it is approved;
 * - on releases before the one in force only where they never were complete, as far as this node
 *   knows or at least half of the nodes say. So a node that lies sends a component back to the last
 *   healthy release, and not from there to the next and the next.
 *
 * @module
 */
import { CID, decodeCanonical, encodeCanonical } from "../kernel/canonical.ts";
import type { Clock, Store } from "../kernel/ports.ts";
import { readControlEvent } from "../realm/control_event.ts";
import type { DesiredReplica, Overrides } from "../realm/desired.ts";
import { GivenSlots } from "../realm/given_slots.ts";
import { decodeManifest, parseManifest } from "../realm/manifest.ts";
import {
  goalsOf,
  isOnTrial,
  type NodeAnswer,
  type NodeReport,
  type OwnRefusal,
  planNode,
  type RunningSlot,
} from "../realm/node_rollout.ts";
import {
  EVIDENCE_LENGTH_MAX,
  type Failure,
  releaseOf as nameOf,
  type VersionedRelease,
} from "../realm/effective_release.ts";
import { SlotTries } from "../realm/slot_tries.ts";
import {
  FAILURES_MAX,
  GIVEN_UP_LENGTH_MAX,
  GIVEN_UP_MAX,
  type GivenUp,
  type HealthRecord,
} from "../realm/peering/health_record.ts";
import { possibleNodes } from "../realm/placement.ts";
import { keyOf } from "../realm/reconcile.ts";
import type { InForce, RealmState } from "./realm_state.ts";
import type { Trouble } from "../supervisor/supervisor.ts";

/** What {@link Rollouts} are made with. */
export interface RolloutsInit {
  readonly state: Pick<RealmState, "store" | "log" | "view">;
  readonly clock: Pick<Clock, "monotonicMs">;
  /** The newest records of other approved nodes, by the name that the realm gives them. */
  readonly records: () => ReadonlyMap<string, HealthRecord>;
  /** The last lines of a replica's log. */
  readonly lastLines: (replica: DesiredReplica) => readonly string[];
  /** A release failed. */
  readonly failed: (failure: Failure) => void;
}

const FAILURES = "realm/rollout-failures";
const COMPLETE = "realm/rollout-complete";
const TURNS = "realm/refusal-turns";
/** Failures that are remembered: of the last versions, which are those that matter. */
const KEPT_MAX = 256;
/** Complete releases that are remembered of a component. */
const COMPLETE_MAX = 16;

/** See the module. */
export class Rollouts {
  readonly #store: Store;
  #failures: readonly Failure[];
  /** Component and release, of each component the newest last. */
  #complete: readonly (readonly [component: string, release: string])[];
  /** The version that this node refuses, 0 for none, and how often that changed. */
  #refused: readonly [version: number, turns: number];
  #isRefusedStored = true;
  readonly #given = new GivenSlots();
  readonly #tries = new SlotTries();
  #self: string | undefined;
  #givenUp: readonly GivenUp[] = [];
  /** When {@link plan} decided last. */
  #plannedMs = -Infinity;
  /** Manifests of before, by their events. */
  readonly #releases = new Map<string, VersionedRelease>();

  constructor(readonly init: RolloutsInit) {
    this.#store = init.state.store;
    this.#failures = (read(this.#store, FAILURES) ?? []) as unknown as Failure[];
    this.#complete = (read(this.#store, COMPLETE) ?? []) as unknown as [string, string][];
    this.#refused = (read(this.#store, TURNS) ?? [0, 0]) as unknown as [number, number];
  }

  /** How often this node came to refuse a manifest, or ceased to. */
  get turns(): number {
    return this.#refused[1];
  }

  /** This node's own, for its record; the newest last. */
  get failures(): readonly Failure[] {
    return this.#failures.filter(({ node }) => node === this.#self).slice(-FAILURES_MAX);
  }

  /** What this node gave up and is to run all the same, for its record; by component. */
  get givenUp(): readonly GivenUp[] {
    return this.#givenUp;
  }

  /**
   * When a slot that was given up is to be tried again: what it runs is another then. It may have
   * passed: what the last plan took for resting is due, however late it is by now.
   */
  dueAt(): number | undefined {
    return this.#tries.dueAt(this.#plannedMs);
  }

  /**
   * Takes note of the version that this node refuses, 0 for none. Where there is no room for that on
   * the disk it holds all the same, and is written with one of the next calls.
   */
  noteRefused(version: number): void {
    const [last, turns] = this.#refused;
    if (version !== last) {
      this.#refused = [version, turns + 1];
      this.#isRefusedStored = false;
    }
    if (this.#isRefusedStored) return;
    try {
      this.#store.write([{ put: TURNS, value: encodeCanonical([...this.#refused]) }]);
      this.#isRefusedStored = true;
    } catch {
      // What cannot be stored is often the manifest too, which the node tells of.
    }
  }

  /** What this node is to run now. */
  plan(
    inForce: InForce,
    { node, live, overrides, own, troubles, refusal }: {
      readonly node: string;
      readonly live: readonly string[];
      readonly overrides: Overrides;
      /** What this node refuses. */
      readonly refusal?: OwnRefusal | undefined;
      readonly own: readonly RunningSlot[];
      readonly troubles: readonly Trouble[];
    },
  ): NodeAnswer {
    const { state } = this.init;
    const records = this.init.records();
    const isAlone = state.view === undefined || state.view.nodes.size === 0;
    const nowMs = this.#plannedMs = this.init.clock.monotonicMs();
    this.#self = node;
    if (!isAlone) {
      this.#dropOf(new Set([node, ...[...state.view.nodes.values()].map((n) => n.name)]));
    }
    this.noteRefused(refusal?.release.version ?? 0);
    const newest = refusal?.release ?? releaseOf(inForce);
    for (const [name, record] of records) {
      for (const failure of record.failures) {
        if (failure.node === name) this.#learn(failure, newest, overrides);
      }
    }
    const ask = () =>
      planNode({
        node,
        inForce: releaseOf(inForce),
        refusal,
        turns: this.turns,
        before: (version) => this.#before(version),
        failures: this.#failures,
        complete: new Map(this.#complete),
        wasComplete: (component, release) => this.#wasComplete(component, release),
        overrides,
        live,
        reported: (name) => isAlone ? null : reportOf(records.get(name)),
        own,
        tries: this.#tries,
        nowMs,
        givenLately: (component, name) => this.#given.most(component, name, nowMs),
      });
    let answer = ask();
    if (this.#judge(answer, node, troubles)) answer = ask();
    const whyOf = (replica: DesiredReplica) =>
      troubles.find((each) => keyOf(each.replica) === keyOf(replica))?.what ?? "it does not start";
    if (this.#tries.note(goalsOf(answer), own, nowMs, whyOf)) answer = ask();
    this.#givenUp = givenUpOf(this.#tries, answer.placement, node);
    this.#noteComplete(answer);
    const { refuted } = answer;
    if (refuted.length > 0) this.#keep(this.#failures.filter((each) => !refuted.includes(each)));
    this.#given.note(answer.placement, live, nowMs);
    return answer;
  }

  /** Gives this node's verdict on what cannot be made ready. */
  #judge(answer: NodeAnswer, node: string, troubles: readonly Trouble[]): boolean {
    const before = this.#failures;
    for (const { replica, what } of troubles) {
      if (!isOnTrial(replica, answer)) continue;
      const { component } = replica;
      const { version, release } = answer.rollouts.get(component)!;
      const lines = this.init.lastLines(replica).map((line) => `  ${line}`);
      // What a guest wrote may be cut within a character, which nothing could be encoded with.
      const evidence = [what, ...lines].join("\n").slice(0, EVIDENCE_LENGTH_MAX).toWellFormed();
      this.#add({ component, version, release, node, evidence });
    }
    return this.#failures !== before;
  }

  /** Forgets verdicts of nodes that are not approved any more. */
  #dropOf(approved: ReadonlySet<string>): void {
    const kept = this.#failures.filter(({ node }) => approved.has(node));
    if (kept.length < this.#failures.length) this.#keep(kept);
  }

  /** Takes over a verdict of another node, of a release that there was. */
  #learn(failure: Failure, newest: VersionedRelease, { scales }: Overrides): void {
    const { component, version, release, node } = failure;
    // Of what is not in force here yet it is heard again.
    if (this.#isKnown(failure) || version > newest.version) return;
    if (version < newest.version && this.#wasComplete(component, release)) return;
    for (const of of [newest, ...this.#before(newest.version)]) {
      if (of.version > version) continue;
      const isThere = of.version === version && nameOf(component, of) === release;
      if (!isThere) return;
      const isPossible = possibleNodes(component, of.manifest).includes(node) ||
        scales.some((scale) => scale.component === component && scale.node === node);
      if (isPossible) this.#add(failure);
      return;
    }
  }

  #wasComplete(component: string, release: string): boolean {
    return this.#complete.some(([name, there]) => name === component && there === release);
  }

  #isKnown({ component, version, release }: Failure): boolean {
    return this.#failures.some((known) =>
      known.component === component && known.version === version && known.release === release
    );
  }

  #add(failure: Failure): void {
    if (this.#isKnown(failure)) return;
    const all = [...this.#failures, failure].sort((a, b) => a.version - b.version);
    this.#keep(all.slice(-KEPT_MAX));
    this.init.failed(failure);
  }

  #keep(failures: readonly Failure[]): void {
    this.#failures = failures;
    const value = encodeCanonical(failures.map((each) => ({ ...each })));
    this.#store.write([{ put: FAILURES, value }]);
  }

  #noteComplete({ rollouts }: NodeAnswer): void {
    const last = new Map(this.#complete);
    let complete = this.#complete.filter(([component]) => rollouts.has(component));
    for (const { component, release, isComplete } of rollouts.values()) {
      if (!isComplete || last.get(component) === release) continue;
      const isOf = ([name]: readonly [string, string]) => name === component;
      const before = complete.filter((each) => isOf(each) && each[1] !== release);
      complete = [
        ...complete.filter((each) => !isOf(each)),
        ...before.slice(1 - COMPLETE_MAX),
        [component, release],
      ];
      last.set(component, release);
    }
    const isSame = complete.length === this.#complete.length &&
      complete.every((each, i) => each === this.#complete[i]);
    if (isSame) return;
    this.#complete = complete;
    const value = encodeCanonical(complete.map((each) => [...each]));
    this.#store.write([{ put: COMPLETE, value }]);
  }

  /** The manifests that were in force before a version, newest first. */
  *#before(newest: number): Generator<VersionedRelease> {
    const { log, view } = this.init.state;
    const history = view?.history ?? [];
    for (const { event, version, outcome } of history.toReversed()) {
      if (outcome !== "applied" || version >= newest) continue;
      let release = this.#releases.get(event);
      if (release === undefined) {
        const signed = log.load(CID.parse(event));
        const said = signed && readControlEvent(signed.event);
        if (said?.kind !== "manifest") continue; // checked when it was taken
        const manifest = parseManifest(decodeManifest(said.manifestBytes));
        release = { version, manifest, digests: said.signature.digests };
        this.#releases.set(event, release);
      }
      yield release;
    }
  }
}

/** What a manifest that came into force wants. */
export function releaseOf(
  { manifest, signature: { version, digests } }: Pick<InForce, "manifest" | "signature">,
): VersionedRelease {
  return { manifest, version, digests };
}

/** What was given up of what a node is to run. */
function givenUpOf(
  tries: SlotTries,
  { replicas }: NodeAnswer["placement"],
  node: string,
): GivenUp[] {
  const wanted = tries.givenUp().filter(({ component, index }) =>
    index < (replicas.get(component)?.get(node) ?? 0)
  );
  return [...Map.groupBy(wanted, ({ component }) => component)].map(([component, slots]) => {
    const why = slots[0]!.why.slice(0, GIVEN_UP_LENGTH_MAX).toWellFormed();
    return { component, replicas: slots.length, why };
  }).sort((a, b) => a.component < b.component ? -1 : 1).slice(0, GIVEN_UP_MAX);
}

function reportOf(record: HealthRecord | undefined): NodeReport | undefined {
  if (record === undefined) return undefined;
  const slots = record.replicas.map(({ component, running, ...said }) =>
    [component, { ...said, ready: running }] as const
  );
  const { version, basis, refusal, turns } = record;
  return { version, basis, refuses: refusal?.version, turns, slots: new Map(slots) };
}

function read(store: Store, key: string): unknown[] | undefined {
  const value = store.get(key);
  return value && decodeCanonical(value) as unknown[];
}
