/**
 * A small world for rollouts: the planner is the real one; replicas, links and the clock are made up. Its
 * {@link World.step} judges each moment by the rules that a rollout has to keep.
 *
 * @module
 */
import assert from "node:assert/strict";
import { formatPublicKey } from "../kernel/key.ts";
import { type DesiredReplica, NO_OVERRIDES, type Overrides } from "./desired.ts";
import { type Manifest, parseManifest } from "./manifest.ts";
import { GivenSlots } from "./given_slots.ts";
import { type ActedOn, runsTheSame } from "./peering/health_gossip.ts";
import {
  givenBy,
  goalsOf,
  isOnTrial,
  type NodeAnswer,
  type NodeReport,
  nothingBefore,
  planNode,
  type RunningSlot,
} from "./node_rollout.ts";
import type { Failure, VersionedRelease } from "./effective_release.ts";
import { SlotTries } from "./slot_tries.ts";
import { NewVerdicts, tellVerdicts } from "./verdicts.ts";

const OWNER = formatPublicKey(new Uint8Array(32).fill(9));
const STEP_MS = 100;
/** A node that is not heard for so long does not count. */
export const SILENT_MS = 5_000;
const TOLD_MS = 1_500;
const STARTS_IN_VAIN = 3;
const LATE_MS = 3_000;
/** What is refused is looked at anew so often. */
const LOOK_MS = 10_000;

/** xorshift32: enough to shuffle a small world. */
class Random {
  #state: number;
  constructor(seed: number) {
    this.#state = (seed * 2_654_435_761 + 1) >>> 0 || 1;
  }
  below(limit: number): number {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    return (this.#state >>> 0) % limit;
  }
  between = (least: number, most: number) => least + this.below(most - least + 1);
  is = (perMille: number) => this.below(1_000) < perMille;
  pick = <T>(values: readonly T[]): T => values[this.below(values.length)]!;
}

interface Instance {
  readonly replica: DesiredReplica;
  state: "starting" | "ready" | "broken" | "leaving";
  /** When it gets to the next state. */
  dueMs: number;
  failedStarts: number;
  readonly startedMs: number;
  /** Whether it waits for its bytes for long. */
  isLate?: boolean;
}

interface Slot {
  newest: Instance;
  /** What serves until the newest does, and what finishes its requests. */
  before: Instance[];
}

/** The part of a health record that others act on. */
interface Record extends NodeReport {
  readonly failures: readonly Failure[];
}

/** What happens in a world. */
export interface Options {
  readonly seed: number;
  readonly faults: boolean;
  readonly surge: number;
  readonly unavailable: number;
  /** Whether nodes refuse versions, some of them for a while. */
  readonly refusals?: boolean;
  /** Whether there are nodes that cannot have the bytes of versions, some of them for a while. */
  readonly late?: boolean;
  /** Whether nodes decide anew only when something changed that the product would call them for. */
  readonly events?: boolean;
  /** A node that runs nothing, says that it runs more than anybody, and changes its mind all the time. */
  readonly liar?: string;
  /** From when on it says so; before that it says what it has. */
  readonly liesFromMs?: number;
  /** Breaks the planner on purpose. */
  readonly broken?: (answer: NodeAnswer, node: ModelNode) => NodeAnswer;
}

/** A node: what it knows, what it runs, what it says of itself. */
export class ModelNode {
  isUp = true;
  /** The newest that its log has, and what it goes by. */
  known = 0;
  version = 0;
  /** Until when it refuses a version. */
  refuses = new Map<number, number>();
  /** Of the version that it goes by. */
  overrides: Overrides = NO_OVERRIDES;
  /** What was there when it decided last; `undefined` when it has to decide again. */
  decidedOn: string | undefined;
  /** The version that it found to refuse. */
  refusing: number | undefined;
  /** How often that changed. */
  turns = 0;
  lookAtMs = 0;
  failures: Failure[] = [];
  complete = new Map<string, string>();
  everComplete = new Set<string>();
  slots = new Map<number, Slot>();
  heard = new Map<string, { record: Record | undefined; atMs: number }>();
  tellAtMs = 0;
  answer: NodeAnswer | undefined;
  said = "";
  sinceMs = -Infinity;
  given = new GivenSlots();
  tries = new SlotTries();
  newVerdicts = new NewVerdicts();

  constructor(readonly name: string) {}

  instances(): Instance[] {
    return [...this.slots.values()].flatMap(({ newest, before }) => [newest, ...before])
      .filter(({ state }) => state !== "broken");
  }

  get ready(): number {
    return [...this.slots.values()].filter(isServed).length;
  }
}

const lie = (revision: string) => {
  const slots = 1_000_000;
  return {
    revision,
    slots,
    ready: slots,
    settled: slots,
    doubled: slots,
    isComplete: true,
    isHeld: false,
    tries: 0,
  };
};

const isRefusing = ({ refusing }: ModelNode) => refusing !== undefined;

function actedOn(record: Record | undefined): ActedOn | undefined {
  if (record === undefined) return undefined;
  const { version, basis, refuses, turns, slots, failures, verdicts } = record;
  const replicas = [...slots].map(([component, { ready, ...said }]) => ({
    ...said,
    component,
    digest: "",
    wanted: 0,
    running: ready,
  }));
  const refusal = refuses === undefined ? null : { version: refuses, why: "" };
  return { version, basis, replicas, failures, verdicts, refusal, turns };
}

/** What the product says of the slots of a node. */
const ownSlots = ({ slots }: ModelNode): RunningSlot[] =>
  [...slots.values()].map(({ newest, before }) => ({
    replica: newest.replica,
    served: newest.state === "ready"
      ? newest.replica
      : before.find(({ state }) => state === "ready")?.replica,
    isReady: newest.state === "ready",
    isServed: isServed({ newest, before }),
    isAlone: before.length === 0,
    isBroken: newest.state === "broken" || newest.isLate === true,
    isInVain: newest.isLate === true ||
      newest.state === "broken" && newest.failedStarts >= STARTS_IN_VAIN,
    isLate: newest.isLate === true,
  }));

const isServed = ({ newest, before }: Slot) =>
  [newest, ...before].some(({ state }) => state === "ready");

/** Nodes, the links between them, and a clock that goes by steps. */
export class World {
  nowMs = 0;
  readonly random: Random;
  readonly nodes: ModelNode[];
  readonly releases: VersionedRelease[] = [];
  readonly replicas: number;
  drained: string[] = [];
  /** How often that changed. */
  drains = 0;
  /** Pairs that do not hear one another. */
  readonly cut = new Set<string>();
  /** Digests that never get ready, everywhere or on one node. */
  readonly bad = new Map<string, string | undefined>();
  /** Digests that cannot be had, on some node or everywhere, until some time. */
  readonly late = new Map<
    string,
    { readonly node: string | undefined; readonly untilMs: number }
  >();
  #mail: { atMs: number; to: ModelNode; from: string; record: Record }[] = [];
  /** The greatest number that was seen beyond what is wanted. */
  surged = 0;

  constructor(readonly options: Options) {
    this.random = new Random(options.seed);
    const count = this.random.between(1, 5);
    this.nodes = Array.from({ length: count }, (_, i) => new ModelNode(`n${i}`));
    this.replicas = this.random.between(1, 6);
    this.apply(undefined);
  }

  apply(isBad: "everywhere" | string | undefined): void {
    const version = this.releases.length + 1;
    const digest = `${version}`.padStart(64, "0");
    if (isBad !== undefined) this.bad.set(digest, isBad === "everywhere" ? undefined : isBad);
    this.releases.push({
      version,
      manifest: this.#manifest(),
      digests: new Map([["web", digest]]),
    });
    const first = this.random.pick(this.nodes.filter(({ isUp }) => isUp));
    first.known = version;
    first.tellAtMs = 0;
    if (this.options.late && version > 1 && this.random.is(400)) {
      const node = this.random.is(500) ? undefined : this.random.pick(this.nodes).name;
      const forMs = this.random.is(500) ? Infinity : this.random.between(500, 60_000);
      this.late.set(digest, { node, untilMs: this.nowMs + forMs });
    }
    if (!this.options.refusals) return;
    for (const node of this.nodes) {
      if (!this.random.is(250)) continue;
      const forMs = this.random.is(500) ? Infinity : this.random.between(500, 30_000);
      node.refuses.set(version, this.nowMs + forMs);
    }
  }

  #text: Manifest | undefined;
  #manifest(): Manifest {
    const { surge, unavailable } = this.options;
    return this.#text ??= parseManifest(
      `[owner]\npubkey = "${OWNER}"\n` +
        this.nodes.map(({ name }) => `[nodes.${name}]\ntags = ["t"]\n`).join("") +
        `[components.web]\nsource = "file:x.wasm"\nworld = "wasi:http/proxy"\n[routing]\n` +
        `"tag:t" = [{ path = "/", component = "web", replicas = ${this.replicas}, ` +
        `max_surge = ${surge}, max_unavailable = ${unavailable} }]`,
    );
  }

  drain(nodes: string[]): void {
    this.drained = nodes;
    this.drains++;
  }

  run(ms: number): void {
    for (const end = this.nowMs + ms; this.nowMs < end;) this.step();
  }

  isCut = (a: string, b: string) => this.cut.size > 0 && this.cut.has([a, b].sort().join());

  live(node: ModelNode): string[] {
    if (this.nowMs - Math.max(0, node.sinceMs) < SILENT_MS) {
      return this.nodes.map(({ name }) => name);
    }
    return this.nodes.map(({ name }) => name).filter((name) =>
      name === node.name || this.nowMs - (node.heard.get(name)?.atMs ?? -Infinity) < SILENT_MS
    );
  }

  mayStart = (node: ModelNode) => this.live(node).length * 2 > this.nodes.length;

  step(): void {
    this.nowMs += STEP_MS;
    const { random, nodes } = this;
    for (const node of nodes) if (node.isUp) this.#run(node);
    const due = this.#mail.filter(({ atMs }) => atMs <= this.nowMs);
    this.#mail = this.#mail.filter(({ atMs }) => atMs > this.nowMs);
    for (const { to, from, record } of due) {
      if (!to.isUp || this.isCut(to.name, from)) continue;
      if (!runsTheSame(actedOn(to.heard.get(from)?.record), actedOn(record)!)) {
        to.decidedOn = undefined;
      }
      to.heard.set(from, { record, atMs: this.nowMs });
      for (const failure of record.failures) this.#learn(to, failure);
    }
    for (const node of nodes) {
      if (!node.isUp) continue;
      // The control log goes from peer to peer.
      const other = random.pick(nodes);
      if (other.isUp && !this.isCut(node.name, other.name) && random.is(200)) {
        if (other.known > node.known) node.tellAtMs = Math.min(node.tellAtMs, this.nowMs + 200);
        node.known = Math.max(node.known, other.known);
      }
      if (random.is(700) && this.#isDue(node)) this.#plan(node);
      this.#tell(node);
    }
    if (Deno.env.get("TRACE") !== undefined) {
      console.log(`${this.nowMs} drained ${this.drained}\n${this.show()}`);
    }
    this.#judge();
  }

  #learn(node: ModelNode, failure: Failure): void {
    const { version, release } = failure;
    if (version > node.known) return; // heard again
    const isSame = (f: Failure) => f.version === version && f.release === release;
    const isOwn = failure.node === node.name;
    if (node.failures.some((f) => isSame(f) && (f.node === node.name) === isOwn)) return;
    node.failures.push(failure);
    node.tellAtMs = 0;
    node.decidedOn = undefined;
  }

  #run(node: ModelNode): void {
    for (const [index, slot] of [...node.slots]) {
      slot.before = slot.before.filter(({ state, dueMs }) =>
        state !== "leaving" || dueMs > this.nowMs
      );
      const { newest } = slot;
      if (newest.dueMs > this.nowMs) continue;
      newest.isLate = newest.state === "starting" && !this.#has(node, newest.replica.digest) &&
        this.nowMs - newest.startedMs >= LATE_MS;
      if (newest.state === "starting" && !this.#has(node, newest.replica.digest)) continue;
      if (newest.state === "leaving") {
        const back = slot.before.find(({ state }) => state === "ready");
        slot.before = slot.before.filter((old) => old !== back);
        if (back === undefined) node.slots.delete(index);
        else slot.newest = back;
      }
      if (newest.state === "broken") {
        newest.state = "starting";
        newest.dueMs = this.nowMs + this.random.between(50, 300);
      } else if (newest.state === "starting") this.#ended(node, slot);
    }
  }

  /** Whether a node can have the bytes. */
  #has({ name }: ModelNode, digest: string): boolean {
    const late = this.late.get(digest);
    return late === undefined || (late.node ?? name) !== name || this.nowMs >= late.untilMs;
  }

  #isBadOn({ name }: ModelNode, digest: string): boolean {
    return this.bad.has(digest) && (this.bad.get(digest) ?? name) === name;
  }

  /** Whether a release runs on a node, if it is given time. */
  canRun = (node: ModelNode, digest: string) =>
    this.#has(node, digest) && !this.#isBadOn(node, digest);

  #ended(node: ModelNode, slot: Slot): void {
    const { newest } = slot;
    const { digest } = newest.replica;
    if (!this.#isBadOn(node, digest)) {
      newest.state = "ready";
      for (const old of slot.before) this.#leave(old);
      return;
    }
    newest.state = "broken";
    newest.failedStarts++;
    newest.dueMs = this.nowMs + 1_000;
    if (
      newest.failedStarts < STARTS_IN_VAIN || !node.answer ||
      !isOnTrial(newest.replica, node.answer)
    ) return;
    const { version, release } = node.answer.rollouts.get("web")!;
    this.#learn(node, { component: "web", version, release, node: node.name, evidence: "" });
  }

  /** Ends it; of one that waits for its next start or its bytes there is nothing to end. */
  #leave(instance: Instance): void {
    if (instance.state === "leaving") return;
    const isNothing = instance.state === "broken" || instance.isLate === true;
    const forMs = this.random.between(0, 400);
    instance.state = "leaving";
    instance.dueMs = this.nowMs + (isNothing ? 0 : forMs);
  }

  /** Whether anything changed that the product decides anew for. */
  #isDue(node: ModelNode): boolean {
    const now = this.#decidesOn(node);
    const isLook = isRefusing(node) && this.nowMs >= node.lookAtMs;
    if (this.options.events && !isLook && node.decidedOn === now) return false;
    node.decidedOn = now;
    if (isLook) node.lookAtMs = this.nowMs + LOOK_MS;
    return true;
  }

  #decidesOn(node: ModelNode): string {
    const slots = [...node.slots].map(([index, { newest, before }]) =>
      [newest, ...before].map(({ replica, state, isLate }) => [
        index,
        replica.revision,
        state,
        isLate,
      ])
    );
    const due = [node.tries, node.given, node.newVerdicts].map((each) => each.dueAt(this.nowMs));
    const mayStart = this.mayStart(node);
    return JSON.stringify([slots, this.live(node), node.known, this.drains, mayStart, due]);
  }

  #plan(node: ModelNode): void {
    const wanted: Overrides = { ...NO_OVERRIDES, drained: this.drained, basis: `${this.drains}` };
    if (this.nowMs >= (node.refuses.get(node.known) ?? 0)) node.version = node.known;
    const refusing = node.known === node.version ? undefined : node.known;
    if (refusing !== node.refusing) node.turns++;
    node.refusing = refusing;
    if (!isRefusing(node)) node.overrides = wanted;
    const refused = isRefusing(node) ? this.releases[node.refusing! - 1]! : undefined;
    const inForce = this.releases[node.version - 1] ?? (refused && nothingBefore(refused));
    if (inForce === undefined) return;
    const own = ownSlots(node);
    const reported = (name: string) => node.heard.get(name)?.record;
    node.given.hear(this.live(node));
    const ask = () =>
      planNode({
        node: node.name,
        inForce,
        refusal: refused && { release: refused, overrides: wanted },
        turns: node.turns,
        before: (version) => this.releases.slice(0, version - 1).reverse(),
        failures: node.failures,
        isNew: (release) => node.newVerdicts.isNew(release, this.nowMs),
        approved: new Map(this.nodes.map(({ name }) => [name, 0])),
        complete: node.complete,
        wasComplete: (_, release) => node.everComplete.has(release),
        overrides: node.overrides,
        live: this.live(node),
        reported,
        givenLately: (component, name) => node.given.most(component, name, this.nowMs),
        isBelieved: (component, name) => node.given.isBelieved(component, name, this.nowMs),
        own,
        tries: node.tries,
        nowMs: this.nowMs,
      });
    let answer = ask();
    if (node.tries.note(goalsOf(answer), own, this.nowMs)) answer = ask();
    answer = this.options.broken?.(answer, node) ?? answer;
    node.answer = answer;
    node.given.note(givenBy(answer), reported, this.nowMs);
    for (const { component, isComplete, release } of answer.rollouts.values()) {
      if (!isComplete) continue;
      node.complete.set(component, release);
      node.everComplete.add(release);
    }
    this.#carryOut(node, answer.desired);
    const said = JSON.stringify([answer.basis, isRefusing(node), ...answer.report]);
    if (said !== node.said) node.tellAtMs = Math.min(node.tellAtMs, this.nowMs + 200);
    node.said = said;
  }

  #carryOut(node: ModelNode, desired: readonly DesiredReplica[]): void {
    if (node.name === this.options.liar) return;
    const wanted = new Map(desired.map((replica) => [replica.index, replica]));
    for (const [index, slot] of node.slots) {
      const replica = wanted.get(index);
      if (replica === undefined) {
        const all = [slot.newest, ...slot.before];
        for (const instance of all) this.#leave(instance);
        const [newest, ...before] = all.filter(({ dueMs }) => dueMs > this.nowMs);
        if (newest === undefined) node.slots.delete(index);
        else Object.assign(slot, { newest, before });
        continue;
      }
      if (slot.newest.replica.revision !== replica.revision) this.#replace(node, slot, replica);
    }
    for (const [index, replica] of wanted) {
      if (!node.slots.has(index) && this.mayStart(node)) {
        node.slots.set(index, { newest: this.#start(replica), before: [] });
      }
    }
  }

  #replace(node: ModelNode, slot: Slot, replica: DesiredReplica): void {
    const { newest } = slot;
    const back = slot.before.find((old) =>
      old.state === "ready" && old.replica.revision === replica.revision
    );
    if (back !== undefined) {
      slot.before = slot.before.filter((old) => old !== back);
      if (newest.state !== "broken") {
        this.#leave(newest);
        slot.before.push(newest);
      }
      slot.newest = back;
      return;
    }
    if (!this.mayStart(node)) return;
    if (newest.state === "ready" && !replica.stopsFirst) slot.before.push(newest);
    else if (newest.state === "ready" || newest.state === "starting" && !newest.isLate) {
      this.#leave(newest);
    }
    if (newest.state === "leaving" && newest.dueMs > this.nowMs) return; // asked again
    slot.newest = this.#start(replica);
  }

  #start(replica: DesiredReplica): Instance {
    const dueMs = this.nowMs + this.random.between(50, 1_000);
    return { replica, state: "starting", dueMs, failedStarts: 0, startedMs: this.nowMs };
  }

  #tell(node: ModelNode): void {
    const refuses = node.refusing;
    if (this.nowMs < node.tellAtMs || node.answer === undefined && refuses === undefined) return;
    node.tellAtMs = this.nowMs + TOLD_MS;
    const { liar, liesFromMs = 0 } = this.options;
    const isLiar = node.name === liar && this.nowMs > liesFromMs;
    const report = isLiar
      ? new Map([["web", lie(node.answer!.rollouts.get("web")!.revision)]])
      : node.answer?.report ?? new Map();
    const { version } = node;
    const turns = isLiar ? Math.floor(this.nowMs / STEP_MS) : node.turns;
    const basis = node.answer?.basis ?? `${this.drains}`;
    const failures = node.failures.filter((failure) => failure.node === node.name);
    const verdicts = tellVerdicts(node.name, node.failures, (_, is) => node.everComplete.has(is));
    const record = { version, basis, refuses, turns, slots: report, failures, verdicts };
    for (const to of this.nodes) {
      if (to === node || this.isCut(to.name, node.name)) continue;
      if (this.options.faults && this.random.is(100)) continue;
      const last = this.#mail.filter((m) => m.to === to && m.from === node.name)
        .reduce((latest, { atMs }) => Math.max(latest, atMs), 0);
      const atMs = Math.max(last, this.nowMs + this.random.between(10, 400));
      this.#mail.push({ atMs, to, from: node.name, record });
    }
  }

  /** When who hears whom last changed; and whether what that left behind is gone. */
  shakenAtMs = 0;
  #views = "";
  isCalm = false;

  /** What has to hold at every moment. */
  #judge(): void {
    const { surge, unavailable, faults, seed } = this.options;
    const views = this.nodes.map((node) => this.live(node).join()).join(";");
    if (views !== this.#views) this.#shake();
    this.#views = views;
    for (const node of this.nodes) {
      // A node that comes back, or that was cut off, has what others took over meanwhile.
      const isShaken = this.nowMs - this.shakenAtMs < 2 * SILENT_MS;
      if (!node.isUp || isShaken || !this.mayStart(node)) continue;
      const live = this.live(node);
      const group = this.nodes.filter(({ name }) => live.includes(name));
      const agree = group.every((other) =>
        other.isUp && this.live(other).join() === live.join() &&
        group.every(({ name }) => !this.isCut(other.name, name))
      );
      if (!agree) continue;
      const total = group.reduce((sum, each) => sum + each.instances().length, 0);
      this.surged = Math.max(this.surged, total - this.replicas);
      if (!this.isCalm) {
        // What is broken comes back.
        const slots = group.reduce((sum, each) => sum + each.slots.size, 0);
        this.isCalm = Math.max(total, slots) <= this.replicas + surge;
        continue;
      }
      if (total > this.replicas + surge) {
        assert.fail(`SEED=${seed} at ${this.nowMs}: ${total} of ${this.replicas}\n${this.show()}`);
      }
    }
    if (faults) return;
    const ready = this.nodes.reduce((sum, each) => sum + each.ready, 0);
    if (this.wasReady && ready < this.replicas - unavailable) {
      assert.fail(`SEED=${seed} at ${this.nowMs}: only ${ready} of ${this.replicas} are ready`);
    }
    this.wasReady ||= ready >= this.replicas;
  }
  wasReady = false;

  show(): string {
    return this.nodes.map((node) =>
      `${node.name} ${
        node.isUp ? "" : "down "
      }v${node.version}/${node.known} ${node.answer?.basis} ` +
      [...node.slots].map(([index, { newest, before }]) =>
        `#${index}=${
          [newest, ...before].map(({ replica, state }) => `${+replica.digest}:${state}`).join("+")
        }`
      ).join(" ") + ` live ${this.live(node)} heard ` +
      [...node.heard].map(([name, { record }]) =>
        `${name}:v${record?.version}/${record?.refuses} ${record?.basis} ${
          JSON.stringify([...record?.slots.values() ?? []])
        }`
      ).join(" ")
    ).join("\n");
  }

  crash(node: ModelNode): void {
    node.isUp = false;
    node.slots.clear();
    node.heard.clear();
    node.answer = undefined;
  }

  restart(node: ModelNode): void {
    node.isUp = true;
    node.sinceMs = this.nowMs;
    node.given = new GivenSlots();
    node.tries = new SlotTries();
    node.newVerdicts = new NewVerdicts();
    node.tellAtMs = 0;
    node.decidedOn = undefined;
  }

  trouble(): void {
    const { random, nodes } = this;
    const node = random.pick(nodes);
    const other = random.pick(nodes);
    const pair = [node.name, other.name].sort().join();
    const kind = random.below(6);
    if (kind !== 4) this.#shake();
    switch (kind) {
      case 0:
        if (node.isUp && nodes.filter(({ isUp }) => isUp).length > 1) this.crash(node);
        break;
      case 1:
        if (!node.isUp) this.restart(node);
        break;
      case 2:
        if (node !== other) this.cut.add(pair);
        break;
      case 3:
        this.cut.delete(pair);
        break;
      case 4: {
        const slots = [...node.slots.values()].filter(({ newest }) => newest.state === "ready");
        if (slots.length === 0) break;
        const { newest } = random.pick(slots);
        newest.state = "broken";
        newest.dueMs = this.nowMs + 1_000;
        break;
      }
      case 5:
        for (const each of nodes) this.cut.delete([node.name, each.name].sort().join());
    }
  }

  #shake(): void {
    this.shakenAtMs = this.nowMs;
    this.isCalm = false;
  }

  heal(): void {
    this.#shake();
    this.cut.clear();
    this.drain([]);
    for (const node of this.nodes) if (!node.isUp) this.restart(node);
  }

  /** Nodes that go by the newest manifest. */
  takers = () => this.nodes.filter((node) => !isRefusing(node));

  /** Slots that a node is to have; others it keeps until those that are missing elsewhere serve. */
  wantedOn = ({ name, answer }: ModelNode) => answer?.placement.replicas.get("web")?.get(name) ?? 0;

  /** What a node is to run in the end. */
  goalOf = ({ answer }: ModelNode) => answer?.release.digests.get("web");

  isSettled(): boolean {
    if (this.nodes.some(({ known }) => known !== this.releases.length)) return false;
    if (this.takers().some(({ answer }) => answer === undefined)) return false;
    const takers = this.takers();
    // One waits for what others say of a verdict.
    if (takers.some(({ newVerdicts }) => newVerdicts.dueAt(this.nowMs) !== undefined)) return false;
    const slots = this.nodes.flatMap(({ slots }) => [...slots.values()]);
    const missing = slots.filter((slot) => !isServed(slot)).length;
    const isEach = this.nodes.every((node) =>
      [...node.slots].every(([index, slot]) =>
        this.wantedOn(node) > index ? this.#isAtRest(node, slot) : isServed(slot)
      )
    );
    // What another node is to give away it keeps as long as that does not serve elsewhere.
    const isAlike = new Set(this.nodes.map(({ version }) => version)).size === 1;
    const isWhole = takers.length === 0 && !(isAlike && this.nodes[0]!.version > 0) ||
      slots.length >= this.replicas && slots.length <= this.replicas + missing;
    return isEach && isWhole && (this.isPaused || takers.every((node) => this.#isOver(node)));
  }

  /** The rollout is over, but for what some node cannot run. */
  #isOver({ answer }: ModelNode): boolean {
    const digest = answer!.release.digests.get("web")!;
    const { isComplete, base } = answer!.rollouts.get("web")!;
    return isComplete ||
      this.nodes.some((node) => !this.#has(node, digest)) && !this.#isVerdictToCome(digest) ||
      // Else a verdict is still to come.
      base === undefined && this.nodes.some((node) => !this.canRun(node, digest)) ||
      this.takers().every(({ slots }) => slots.size === 0);
  }

  /** Whether a node has the bytes, and will find on its trial that it cannot run them. */
  #isVerdictToCome(digest: string): boolean {
    return this.takers().some((node) =>
      this.#has(node, digest) && this.#isBadOn(node, digest) && this.wantedOn(node) > 0 &&
      this.goalOf(node) === digest && goalsOf(node.answer!).get("web")!.isOnTrial
    );
  }

  /** Nothing is on its way in a slot, but a release for which the node can do nothing. */
  #isAtRest(node: ModelNode, slot: Slot): boolean {
    const { newest, before } = slot;
    const isReady = newest.state === "ready" && before.length === 0;
    const goal = this.goalOf(node)!;
    // Where it is not wanted by all, what serves stays.
    if (isRefusing(node) && this.takers().length > 0) return isServed(slot);
    if (isRefusing(node)) return isReady || !this.canRun(node, goal);
    if (newest.replica.digest === goal && isReady) return true;
    if (this.canRun(node, goal)) return this.isPaused && isServed(slot);
    // Nothing ran in it that could come back.
    const other = node.tries.of(newest.replica, newest.replica.revision, this.nowMs).before;
    return isServed(slot) || newest.replica.digest === goal && other === undefined ||
      this.isPaused || newest.replica.digest !== goal;
  }

  /**
   * Where the old one stops first, replicas that cannot start are as many as may be missing: nobody
   * stops another.
   */
  get isPaused(): boolean {
    const { surge, unavailable } = this.options;
    const broken = this.takers().flatMap((node) =>
      [...node.slots.values()].filter((slot) =>
        !isServed(slot) && !this.canRun(node, slot.newest.replica.digest)
      )
    );
    return surge === 0 && broken.length >= unavailable;
  }
}
