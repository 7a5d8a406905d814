/**
 * One machine of a simulation: its disk, its clock, its power switch, and the agent's core on it.
 * Log, peer core, placement and the plan of replicas are the real ones; the replicas are names that
 * take a while to start.
 *
 * @module
 */
import type { SignedEvent } from "../../agent/kernel/event.ts";
import type { AppliedManifest } from "../../agent/realm/applied_manifest.ts";
import type { ControlEvent } from "../../agent/realm/control_event.ts";
import { type DesiredReplica, desiredReplicas } from "../../agent/realm/desired.ts";
import type { Manifest } from "../../agent/realm/manifest.ts";
import type { OwnHealth } from "../../agent/realm/peering/health_record.ts";
import { stepsOfMinority } from "../../agent/realm/peering/majority.ts";
import type { PeerCore, PeerCoreInit } from "../../agent/realm/peering/peer_core.ts";
import type { Offered, RealmLog } from "../../agent/realm/realm_log.ts";
import {
  dueAt,
  keyOf,
  type ObservedReplica,
  reconcile,
  type Step,
} from "../../agent/realm/reconcile.ts";
import { type Player, verify } from "./cast.ts";
import { CrashingDisk, PowerCut } from "./crashing_store.ts";
import type { Endpoint } from "./network.ts";
import type { SeededRandom } from "../../agent/kernel/seeded_random.ts";
import type { World } from "./world.ts";

const EPOCH = "peer/epoch";
/** True wall time at the start. */
const START_OF_TIME_MS = 1_800_000_000_000;
const APPLIED = "realm/applied";
const text = new TextEncoder();

/** One start of a node, until it stops or the power goes. */
export interface Run {
  readonly log: RealmLog;
  readonly core: PeerCore;
  readonly endpoint: Endpoint;
  readonly observed: Map<string, ObservedReplica>;
  applied: AppliedManifest | undefined;
  off(): void;
}

/** See the module. */
export class SimulatedNode {
  readonly disk = new CrashingDisk();
  readonly random: SeededRandom;
  run: Run | undefined;
  /** Peers that its ticket names. */
  readonly named = new Set<string>();
  /** Of its wall clock against true time; it may jump. */
  wallOffsetMs: number;
  /** Of its monotonic clock, which runs a little fast or slow. */
  readonly #clockRate: number;
  readonly #clockOffsetMs: number;
  #starts = 0;
  #armedAtMs = Infinity;
  #armed = 0;

  constructor(
    readonly world: World,
    readonly player: Player,
    /** What it calls itself. */
    readonly name: string,
    /** Whether the judge holds it to the rules. */
    readonly isHonest = true,
  ) {
    this.random = world.random.fork(`node ${player.name}`);
    this.wallOffsetMs = this.random.between(-60_000, 60_000);
    this.#clockRate = 1 + (this.random.fraction() - 0.5) / 500;
    this.#clockOffsetMs = this.random.between(0, 1_000_000);
  }

  get key(): string {
    return this.player.key;
  }

  monotonicMs(): number {
    return this.world.timeline.nowMs * this.#clockRate + this.#clockOffsetMs;
  }

  wallMs(): number {
    return START_OF_TIME_MS + this.world.timeline.nowMs + this.wallOffsetMs;
  }

  /** The power comes back. What was written is there, and nothing else. */
  start(): void {
    if (this.run !== undefined) return;
    this.world.note(this.name, "start");
    try {
      this.#start();
    } catch (error) {
      this.#caught(error);
    }
  }

  #start(): void {
    const { world, player, random } = this;
    const store = world.openStore(this.disk);
    const observed = new Map<string, ObservedReplica>();
    const log = world.openLog({ store, verify, trust: world.trust });
    const epoch = Number(new TextDecoder().decode(store.get(EPOCH) ?? text.encode("0"))) + 1;
    store.write([{ put: EPOCH, value: text.encode(`${epoch}`) }]);
    const storedApplied = store.get(APPLIED);
    let isChanged = true;
    const init: PeerCoreInit = {
      signer: player,
      self: player.key,
      name: this.name,
      program: "simulation",
      log,
      epoch,
      isNamed: (peer) => this.named.has(peer),
      ports: {
        send: (peer, frame) => {
          world.judge.sent(this, peer, frame);
          return this.transmit(endpoint, peer, frame);
        },
        cut: (peer, reason) => {
          world.note(this.name, `cuts ${world.nameOf(peer)}: ${reason}`);
          world.judge.cut(this, peer, reason);
          world.network.hangUp(endpoint, peer);
        },
        changed: () => isChanged = true,
        secret: () => random.bytes(16),
        verify,
        nowMs: () => this.monotonicMs(),
        wallMs: () => this.wallMs(),
        random: () => random.fraction(),
        notice: (line) => world.note(this.name, line),
        health: (): OwnHealth => ({
          version: run.applied?.version ?? 0,
          basis: "",
          refusal: null,
          turns: 0,
          givenUp: [],
          verdicts: [],
          cpuPermille: 0,
          memoryBytes: 0,
          addresses: [`/memory/${this.name}`],
          replicas: [],
          failures: [],
          alarms: [],
          latencyMs: () => undefined,
        }),
      },
    };
    const core = world.makeCore(init);
    /** Every way into the core: afterwards what changed is acted on and judged. */
    const enter = (act: () => void) => {
      if (this.run !== run) return;
      try {
        act();
        if (isChanged) {
          isChanged = false;
          this.#follow(run, store);
          this.#reconcile(run);
        }
        this.#arm(run, enter);
      } catch (error) {
        return this.#caught(error);
      }
      world.judge.look(this, run);
    };
    const endpoint: Endpoint = {
      key: player.key,
      mayConnect: (peer) => core.mayConnect(peer),
      connected: (peer) => enter(() => core.connected(peer)),
      disconnected: (peer) => enter(() => core.disconnected(peer)),
      received: (peer, frame) => enter(() => core.received(peer, frame)),
      sent: (peer) => enter(() => core.sent(peer)),
    };
    const run: Run & { enter: typeof enter } = {
      log,
      core,
      endpoint,
      observed,
      applied: storedApplied && JSON.parse(new TextDecoder().decode(storedApplied)),
      off: () => store.off(),
      enter,
    };
    this.run = run;
    this.#enter = enter;
    this.#starts += 1;
    this.#armedAtMs = Infinity;
    world.judge.started(this, run);
    world.network.attach(endpoint);
    enter(() => core.tick());
  }

  #enter: (act: () => void) => void = () => {};

  /** Puts a frame on the network. */
  transmit(endpoint: Endpoint, peer: string, frame: Uint8Array): boolean {
    return this.world.network.send(endpoint, peer, frame);
  }

  /** The power goes: what was not written is lost. */
  crash(why = "power cut"): void {
    const { run } = this;
    if (run === undefined) return;
    this.world.note(this.name, why);
    this.run = undefined;
    run.off();
    this.world.network.detach(run.endpoint);
    this.world.judge.stopped(this);
  }

  /** Hands events to the node as the command line does; undefined when it died over it. */
  post(events: readonly SignedEvent[]): Offered | undefined {
    const { run } = this;
    let offered: Offered | undefined;
    this.#enter(() => {
      offered = run?.core.append(events);
      if (offered !== undefined) this.world.judge.acknowledged(this, offered.accepted);
    });
    return this.run === run ? offered : undefined;
  }

  /** A replica ends by itself. */
  endReplica(): void {
    const { run } = this;
    const running = [...run?.observed.values() ?? []].filter((r) => r.state.kind === "running");
    if (run === undefined || running.length === 0) return;
    const replica = this.random.pick(running);
    const state = {
      kind: "exited",
      success: false,
      atMs: this.monotonicMs(),
      ranMs: 5_000,
    } as const;
    run.observed.set(keyOf(replica), { ...replica, state });
    this.#enter(() => this.#reconcile(run));
  }

  /** The replicas that should run here. */
  desired(run: Run): DesiredReplica[] {
    const name = run.log.view?.nodes.get(this.key)?.name;
    const manifest = run.applied && this.world.contentsOf(run.log, run.applied.event);
    if (name === undefined || manifest === undefined) return [];
    const { overrides } = run.log.view!;
    const live = run.core.liveNames();
    return this.world.memo(
      overrides,
      `${run.applied!.event} ${name} ${live}`,
      () => desiredReplicas({ ...manifest, node: name, live, overrides }),
    );
  }

  /** What is left to do. */
  steps(run: Run): Step[] {
    const steps = reconcile(this.desired(run), [...run.observed.values()], this.monotonicMs());
    const manifest = run.applied && this.world.contentsOf(run.log, run.applied.event);
    return this.mayStart(run, manifest?.manifest) ? steps : stepsOfMinority(steps);
  }

  /** The majority rule. */
  mayStart(run: Run, manifest: Manifest | undefined): boolean {
    return run.core.hasMajority() || manifest?.realm.partition === "continue";
  }

  #follow(run: Run, store: { write: CrashingDisk["onWrite"] }): void {
    const { view } = run.log;
    if (view === undefined) return;
    const applied = this.world.follow(run.applied, view);
    if (applied !== run.applied) {
      run.applied = applied;
      const value = text.encode(JSON.stringify(applied ?? null));
      store.write([applied ? { put: APPLIED, value } : { delete: APPLIED }]);
      this.world.note(this.name, `applies version ${applied?.version ?? 0}`);
    }
    if (!view.nodes.has(this.key)) return; // it has no say any more
    for (const exec of view.execs) {
      if (exec.key !== this.key || exec.status !== undefined) continue;
      const said: ControlEvent = {
        kind: "executed",
        exec: this.world.idOf(exec.event),
        status: this.random.between(0, 2),
      };
      const signed = run.core.write(said);
      this.world.judge.acknowledged(this, [signed]);
      return this.#follow(run, store); // the view is another one
    }
  }

  #reconcile(run: Run): void {
    for (const step of this.steps(run)) this.#carryOut(run, step);
  }

  #carryOut(run: Run, step: Step): void {
    if (step.kind === "stop") {
      run.observed.delete(keyOf(step));
      return;
    }
    const { component, index, digest, revision } = step.replica;
    const attempt = step.kind === "restart" ? step.attempt : 0;
    if (step.kind !== "restart") this.world.judge.starts(this, run, step.replica);
    const replica: ObservedReplica = {
      component,
      index,
      digest,
      revision,
      attempt,
      state: { kind: "starting" },
    };
    run.observed.set(keyOf(replica), replica);
    this.world.timeline.after(this.random.between(10, 300), () => {
      if (this.run !== run || run.observed.get(keyOf(replica)) !== replica) return;
      run.observed.set(keyOf(replica), { ...replica, state: { kind: "running" } });
    });
  }

  /** Plans the next tick: when the core or a back-off wants it. */
  #arm(run: Run, enter: (act: () => void) => void): void {
    const nowMs = this.monotonicMs();
    const observed = [...run.observed.values()];
    const exited = observed.some(({ state }) => state.kind === "exited");
    const due = Math.min(
      run.core.dueMs(),
      (exited ? dueAt(this.desired(run), observed) : undefined) ?? Infinity,
    );
    const atMs = this.world.timeline.nowMs + Math.max(1, due - nowMs);
    if (atMs >= this.#armedAtMs) return;
    this.#armedAtMs = atMs;
    const token = ++this.#armed;
    this.world.timeline.at(atMs, () => {
      if (token !== this.#armed || this.run !== run) return;
      this.#armedAtMs = Infinity;
      enter(() => {
        run.core.tick();
        this.#reconcile(run);
      });
    });
  }

  #caught(error: unknown): void {
    if (!(error instanceof PowerCut)) throw error;
    const { run } = this;
    if (run === undefined) this.world.note(this.name, error.message);
    else this.crash(error.message);
    this.world.timeline.after(this.random.between(100, 5_000), () => this.start());
  }
}
