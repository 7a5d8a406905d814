/**
 * The rollouts of one node, with what they need to remember: which releases failed, by whose
 * verdict, and which were complete. What is decided is in `realm/rollout.ts`; this keeps it over a
 * restart, hears what other nodes say, and gives this node's own verdicts.
 *
 * A verdict sends a release back on all nodes, so little is believed: of each node its own verdicts
 * only, on components that can come to it, while it is approved; and none on what enough of the nodes
 * saw complete (`realm/verdicts.ts`). So a node that lies sends a component back to the last healthy
 * release, and not from there to the next and the next.
 *
 * What cannot be written, because the disk is full, holds all the same: it is told of once, and
 * written with one of the next calls.
 *
 * @module
 */
import { type CborValue, CID, decodeCanonical, encodeCanonical } from "../kernel/canonical.ts";
import type { Clock, Store } from "../kernel/ports.ts";
import { readControlEvent } from "../realm/control_event.ts";
import type { DesiredReplica, Overrides } from "../realm/desired.ts";
import { GivenSlots } from "../realm/given_slots.ts";
import { decodeManifest, parseManifest } from "../realm/manifest.ts";
import {
  givenBy,
  goalsOf,
  isOnTrial,
  type NodeAnswer,
  type NodeReport,
  type OwnRefusal,
  planNode,
  type RolloutStatus,
  type RunningSlot,
} from "../realm/node_rollout.ts";
import {
  EVIDENCE_LENGTH_MAX,
  type Failure,
  releaseOf as nameOf,
  type VersionedRelease,
} from "../realm/effective_release.ts";
import { byVersion, keepVerdicts, nameOfVerdict } from "../realm/kept_verdicts.ts";
import { SlotTries } from "../realm/slot_tries.ts";
import {
  FAILURES_MAX,
  GIVEN_UP_LENGTH_MAX,
  GIVEN_UP_MAX,
  type GivenUp,
  type HealthRecord,
} from "../realm/peering/health_record.ts";
import { possibleNodes } from "../realm/placement.ts";
import type { RealmView } from "../realm/realm_view.ts";
import { keyOf } from "../realm/reconcile.ts";
import {
  type HeardVerdict,
  type JudgedRelease,
  NewVerdicts,
  tellVerdicts,
  VERDICTS_OWN_MAX,
} from "../realm/verdicts.ts";
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
  /** What is remembered cannot be written; told once until it can. */
  readonly unwritten: (error: Error) => void;
}

const FAILURES = "realm/rollout-failures";
const COMPLETE = "realm/rollout-complete";
const TURNS = "realm/refusal-turns";
/** Manifests of before that are held, and on whose releases others are believed: the newest. */
const RELEASES_MAX = 256;
/** Complete releases that are remembered of a component. */
const COMPLETE_MAX = 16;

/** With the key of the node by whose word alone it was seen, which had all slots; else empty. */
type Complete = readonly [component: string, release: string, version: number, by: string];

/** A verdict with the key of the node that gave it, which may lose its name to another; of its own none. */
type Kept = Failure & { readonly key?: string };

/** See the module. */
export class Rollouts {
  readonly #store: Store;
  /** What is remembered, sorted by version. */
  #failures: readonly Kept[];
  /** Those of others that who gave them tells of now, of each release one; also where there is no room to remember it. */
  #toldNow: readonly Kept[] = [];
  /** Component, release and the last version in which it was complete, of each component the newest last. */
  #complete: readonly Complete[];
  /** The version that this node refuses, 0 for none, and how often that changed. */
  #refused: readonly [version: number, turns: number];
  /** What is not written yet, by its key. */
  readonly #unwritten = new Map<string, CborValue>();
  #isToldOf = false;
  /** Verdicts that count, of which it was told. */
  readonly #announced: Set<string>;
  readonly #given = new GivenSlots();
  readonly #tries = new SlotTries();
  readonly #newVerdicts = new NewVerdicts();
  #self: string | undefined;
  #givenUp: readonly GivenUp[] = [];
  /** When {@link plan} decided last. */
  #plannedMs = -Infinity;
  /** Manifests of before, by their events. */
  readonly #releases = new Map<string, VersionedRelease>();

  constructor(readonly init: RolloutsInit) {
    this.#store = init.state.store;
    this.#failures = (read(this.#store, FAILURES) ?? []) as unknown as Kept[];
    const complete = (read(this.#store, COMPLETE) ?? []) as unknown as Partial<Complete>[];
    // A program of before stored no versions: what was complete then stays so.
    const newest = this.#history().findLast(({ outcome }) => outcome === "applied")?.version ?? 0;
    this.#complete = complete.map(([component = "", release = "", version = newest, by = ""]) =>
      [component, release, version, by] as const
    );
    this.#refused = (read(this.#store, TURNS) ?? [0, 0]) as unknown as [number, number];
    this.#announced = new Set(this.#failures.map(nameOfVerdict));
  }

  /** How often this node came to refuse a manifest, or ceased to. */
  get turns(): number {
    return this.#refused[1];
  }

  /** This node's own, for its record; the newest last. */
  get failures(): readonly Failure[] {
    return this.#failures.filter(({ node }) => node === this.#self).slice(-FAILURES_MAX);
  }

  /** What this node tells of verdicts, its own and others', for its record. */
  get verdicts(): readonly HeardVerdict[] {
    return tellVerdicts(this.#self ?? "", this.#known(), (...of) => this.#wasComplete(...of));
  }

  /** What this node gave up and is to run all the same, for its record; by component. */
  get givenUp(): readonly GivenUp[] {
    return this.#givenUp;
  }

  /**
   * When something else follows though nothing changed: a slot that was given up is to be tried again,
   * a node is not believed any more that it has more than it was given, or a verdict was heard for a
   * moment. It may have passed: what the last plan took for resting is due, however late it is by now.
   */
  dueAt(): number | undefined {
    const due = [this.#tries, this.#given, this.#newVerdicts]
      .flatMap((each) => each.dueAt(this.#plannedMs) ?? []);
    return due.length === 0 ? undefined : Math.min(...due);
  }

  /** Takes note of the version that this node refuses, 0 for none. */
  noteRefused(version: number): void {
    const [last, turns] = this.#refused;
    if (version === last) return this.#write();
    this.#refused = [version, turns + 1];
    this.#write(TURNS, [...this.#refused]);
  }

  /** What this node is to run now, by what it goes by: see `nothingBefore` in `node_rollout.ts`. */
  plan(
    inForce: VersionedRelease,
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
    const approved = new Map([
      [node, 0],
      ...[...state.view?.nodes.values() ?? []].map(({ name, since }) => [name, since] as const),
    ]);
    const keys = new Map([...state.view?.nodes ?? []].map(([key, { name }]) => [name, key]));
    if (!isAlone) this.#dropOf(approved, keys);
    this.noteRefused(refusal?.release.version ?? 0);
    const newest = refusal?.release ?? inForce;
    this.#learn(
      [...records].flatMap(([name, record]) => failuresIn(name, record, keys.get(name))),
      newest,
      overrides,
    );
    const reports = new Map([...records].map(([name, record]) => [name, reportOf(name, record)]));
    const reported = (name: string) => isAlone ? null : reports.get(name);
    this.#given.hear(live);
    const ask = () =>
      planNode({
        node,
        inForce,
        refusal,
        turns: this.turns,
        before: (version) => this.#before(version),
        failures: this.#known(),
        isNew: (release) => this.#newVerdicts.isNew(release, nowMs),
        approved,
        complete: new Map(
          this.#complete.filter((each) => this.#isBelieved(each))
            .map(([component, release]) => [component, release]),
        ),
        wasComplete: (...of) => this.#wasComplete(...of),
        overrides,
        live,
        reported,
        own,
        tries: this.#tries,
        nowMs,
        givenLately: (component, name) => this.#given.most(component, name, nowMs),
        isBelieved: (component, name) => this.#given.isBelieved(component, name, nowMs),
      });
    let answer = ask();
    if (this.#judge(answer, node, troubles)) answer = ask();
    const whyOf = (replica: DesiredReplica) =>
      troubles.find((each) => keyOf(each.replica) === keyOf(replica))?.what ?? "it does not start";
    if (this.#tries.note(goalsOf(answer), own, nowMs, whyOf)) answer = ask();
    this.#givenUp = givenUpOf(this.#tries, answer.placement, node);
    this.#noteComplete(answer);
    this.#announce(answer);
    this.#given.note(givenBy(answer), reported, nowMs);
    return answer;
  }

  /** Gives this node's verdict on what cannot be made ready. */
  #judge(answer: NodeAnswer, node: string, troubles: readonly Trouble[]): boolean {
    const known = new Set(this.#failures.map(nameOfVerdict));
    const given = new Map<string, Failure>();
    for (const { replica, what } of troubles) {
      if (!isOnTrial(replica, answer)) continue;
      const { component } = replica;
      const { version, release } = answer.rollouts.get(component)!;
      const verdict = { component, version, release, node };
      const name = nameOfVerdict(verdict);
      if (known.has(name) || given.has(name)) continue;
      const lines = this.init.lastLines(replica).map((line) => `  ${line}`);
      // What a guest wrote may be cut within a character, which nothing could be encoded with.
      const evidence = [what, ...lines].join("\n").slice(0, EVIDENCE_LENGTH_MAX).toWellFormed();
      given.set(name, { ...verdict, evidence });
    }
    if (given.size === 0) return false;
    this.#keep([...this.#failures, ...given.values()]);
    return true;
  }

  /** Forgets verdicts of nodes that are not approved any more, though another may have the name. */
  #dropOf(approved: ReadonlyMap<string, number>, keys: ReadonlyMap<string, string>): void {
    this.#keep(
      this.#failures.filter(({ node, key }) =>
        approved.has(node) && (key === undefined || key === keys.get(node))
      ),
    );
  }

  /** Takes over what other nodes tell now of their verdicts, where there was such a release. */
  #learn(told: readonly Kept[], newest: VersionedRelease, { scales }: Overrides): void {
    const isOthers = ({ node }: Failure) => node !== this.#self;
    // One of another node is enough.
    const known = new Map(
      this.#failures.filter(isOthers).map((failure) => [nameOfRelease(failure), failure]),
    );
    const given = new Map<string, Kept>();
    let before: ReadonlyMap<number, string> | undefined;
    for (const failure of told) {
      const { component, version, release, node } = failure;
      const name = nameOfRelease(failure);
      const there = known.get(name);
      if (there !== undefined) given.set(name, there);
      // Of what is not in force here yet it is heard again.
      if (given.has(name) || version > newest.version) continue;
      const event = version < newest.version && (before ??= this.#eventsOf()).get(version);
      const of = event ? this.#release(event, version) : newest;
      if (of?.version !== version || nameOf(component, of) !== release) continue;
      const isPossible = possibleNodes(component, of.manifest).includes(node) ||
        scales.some((scale) => scale.component === component && scale.node === node);
      if (isPossible) given.set(name, failure);
    }
    this.#toldNow = [...given.values()].sort(byVersion);
    this.#keep([
      ...this.#failures,
      ...this.#toldNow.filter((failure) => !known.has(nameOfRelease(failure))),
    ]);
  }

  /** All verdicts that this node gave or heard, those that others tell of now and its own last. */
  #known(): readonly Failure[] {
    const given = new Set(this.#toldNow.map(nameOfRelease));
    const isOwn = ({ node }: Failure) => node === this.#self;
    const others = this.#failures.filter((each) => !isOwn(each) && !given.has(nameOfRelease(each)));
    return [...others, ...this.#toldNow, ...this.#failures.filter(isOwn)];
  }

  #wasComplete(component: string, release: string, version: number): boolean {
    return this.#complete.some((each) =>
      each[0] === component && each[1] === release && each[2] >= version && this.#isBelieved(each)
    );
  }

  /** What was seen by the word of one node only is forgotten once that is revoked. */
  #isBelieved([, , , by]: Complete): boolean {
    return by === "" || this.init.state.view?.nodes.has(by) === true;
  }

  /** By whose word alone a release is complete that may be known to be; empty for more than one. */
  #soleWitness(known: Complete | undefined, { settledOn }: RolloutStatus): string {
    if (known?.[3] === "") return "";
    // What others say does not bring back what is not believed any more: they may not know yet.
    if (settledOn === undefined) return known?.[3] ?? "";
    const [name, ...more] = settledOn;
    if (more.length > 0 || name === this.#self) return "";
    const nodes = [...this.init.state.view?.nodes ?? []];
    const by = nodes.find(([, node]) => node.name === name)?.[0] ?? "";
    return known !== undefined && known[3] !== by && this.#isBelieved(known) ? "" : by;
  }

  /** Remembers verdicts, as far as there is room. */
  #keep(failures: readonly Kept[]): void {
    const kept = keepVerdicts(this.#self ?? "", failures);
    const isSame = kept.length === this.#failures.length &&
      kept.every((each, i) => each === this.#failures[i]);
    if (isSame) return;
    this.#failures = kept;
    this.#write(FAILURES, kept.map((each) => ({ ...each })));
  }

  /** Tells of verdicts that count, each once. */
  #announce({ failures }: NodeAnswer): void {
    for (const failure of failures) {
      const name = nameOfVerdict(failure);
      if (this.#announced.has(name)) continue;
      this.#announced.add(name);
      this.init.failed(failure);
    }
  }

  #noteComplete({ rollouts }: NodeAnswer): void {
    const last = new Map(this.#complete.map((each) => [each[0], each]));
    let complete = this.#complete.filter(([component]) => rollouts.has(component));
    for (const rollout of rollouts.values()) {
      const { component, release, version, isComplete } = rollout;
      if (!isComplete) continue;
      const there = last.get(component);
      const isOf = ([name]: Complete) => name === component;
      const same = complete.find((each) => isOf(each) && each[1] === release);
      const by = this.#soleWitness(same, rollout);
      if (there?.[1] === release && there[2] >= version && there[3] === by) continue;
      const before = complete.filter((each) => isOf(each) && each !== same);
      complete = [
        ...complete.filter((each) => !isOf(each)),
        ...before.slice(1 - COMPLETE_MAX),
        [component, release, Math.max(version, same?.[2] ?? 0), by],
      ];
    }
    const isSame = complete.length === this.#complete.length &&
      complete.every((each, i) => each === this.#complete[i]);
    if (isSame) return;
    this.#complete = complete;
    this.#write(COMPLETE, complete.map((each) => [...each]));
  }

  /** Writes this, and what could not be written before. */
  #write(key?: string, value?: CborValue): void {
    if (key !== undefined && value !== undefined) this.#unwritten.set(key, value);
    if (this.#unwritten.size === 0) return;
    try {
      this.#store.write(
        [...this.#unwritten].map(([put, value]) => ({ put, value: encodeCanonical(value) })),
      );
      this.#unwritten.clear();
      this.#isToldOf = false;
    } catch (error) {
      if (!this.#isToldOf) this.init.unwritten(error as Error);
      this.#isToldOf = true;
    }
  }

  /** The manifests that were in force before a version, newest first. */
  *#before(newest: number): Generator<VersionedRelease> {
    for (const { event, version, outcome } of this.#history().toReversed()) {
      if (outcome !== "applied" || version >= newest) continue;
      const release = this.#release(event, version);
      if (release !== undefined) yield release;
    }
  }

  /** Of manifests that were in force by their versions, as far as they may be held. */
  #eventsOf(): ReadonlyMap<number, string> {
    const applied = this.#history().filter(({ outcome }) => outcome === "applied");
    return new Map(applied.slice(-RELEASES_MAX).map(({ version, event }) => [version, event]));
  }

  #history(): RealmView["history"] {
    return this.init.state.view?.history ?? [];
  }

  #release(event: string, version: number): VersionedRelease | undefined {
    const there = this.#releases.get(event);
    if (there !== undefined) return there;
    const signed = this.init.state.log.load(CID.parse(event));
    const said = signed && readControlEvent(signed.event);
    if (said?.kind !== "manifest") return undefined; // checked when it was taken
    const manifest = parseManifest(decodeManifest(said.manifestBytes));
    const release = { version, manifest, digests: said.signature.digests };
    this.#releases.set(event, release);
    if (this.#releases.size > RELEASES_MAX) {
      const [oldest] = [...this.#releases].reduce((a, b) => b[1].version < a[1].version ? b : a);
      this.#releases.delete(oldest);
    }
    return release;
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

function reportOf(name: string, record: HealthRecord): NodeReport {
  const slots = record.replicas.map(({ component, running, ...said }) =>
    [component, { ...said, ready: running }] as const
  );
  const { version, basis, refusal, turns, verdicts } = record;
  // A program of before tells of its own only.
  const own = failuresIn(name, record).map((each) => ({ ...each, wasComplete: false }));
  const all = [
    ...own.filter((each) => !verdicts.some((other) => isSame(each, other))),
    ...verdicts,
  ];
  return { version, basis, refuses: refusal?.version, turns, slots: new Map(slots), verdicts: all };
}

/** A node's own verdicts in its record that count, those of which it has no room for the evidence too. */
function failuresIn(name: string, { failures, verdicts }: HealthRecord, key?: string): Kept[] {
  const found = new Map(failures.map((failure) => [nameOfVerdict(failure), failure]));
  const told = verdicts.map(({ wasComplete: _, ...verdict }) => {
    const there = found.get(nameOfVerdict(verdict));
    found.delete(nameOfVerdict(verdict));
    return there ?? { ...verdict, evidence: "" };
  });
  return [...found.values(), ...told].filter(({ node }) => node === name).slice(-VERDICTS_OWN_MAX)
    .map((failure) => key === undefined ? failure : { ...failure, key });
}

/** Names what a verdict is on. */
const nameOfRelease = ({ component, version, release }: JudgedRelease) =>
  [component, version, release].join(" ");

const isSame = (a: Omit<Failure, "evidence">, b: Omit<Failure, "evidence">) =>
  nameOfVerdict(a) === nameOfVerdict(b);

function read(store: Store, key: string): unknown[] | undefined {
  const value = store.get(key);
  return value && decodeCanonical(value) as unknown[];
}
