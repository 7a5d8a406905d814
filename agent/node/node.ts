/**
 * What one machine runs: it takes over what is in force in the realm's state, starts replicas with
 * their grants, keeps their logs, and knows who answers which request.
 *
 * @module
 */
import { join } from "node:path";
import { ComponentBytes } from "./component_bytes.ts";
import { RealmError } from "../kernel/error.ts";
import {
  type Blobs,
  type Clock,
  type Engines,
  type Grants,
  type Limits,
  type Mount,
  type Replica,
  type Service,
  type Tracer,
} from "../kernel/ports.ts";
import { ProxiedListener } from "../broker/proxied_listener.ts";
import { parseListen, parseOutbound } from "../kernel/network_grant.ts";
import { KeyValues } from "./key_values.ts";
import { secretsService } from "../kernel/secret_bucket.ts";
import { LogRing } from "../observe/log_ring.ts";
import type { RouteDecision } from "../proxy/proxy.ts";
import { Upstream } from "../proxy/upstream.ts";
import { policyPath, readPolicy } from "./policy_file.ts";
import type { NodePeers } from "./peer_services.ts";
import type { RealmState } from "./realm_state.ts";
import type { Given } from "./reported_replicas.ts";
import { releaseOf, Rollouts } from "./rollouts.ts";
import { secretReader } from "./secret_reader.ts";
import { createServices } from "./services.ts";
import { type DesiredReplica, proxiedPortOf } from "../realm/desired.ts";
import type { Manifest } from "../realm/manifest.ts";
import { type NodeAnswer, nothingBefore, type OwnRefusal } from "../realm/node_rollout.ts";
import {
  type HealthRecord,
  type OwnHealth,
  type Refusal,
  REFUSAL_LENGTH_MAX,
} from "../realm/peering/health_record.ts";
import { NONE_HELD, place, type Placement } from "../realm/placement.ts";
import { allowsMount, checkPolicy, type Policy, portViolations } from "../realm/policy.ts";
import { compileRoutes, matchRoute, type RouteTable } from "../realm/routing.ts";
import { type ReplicaLog, Supervisor, type SupervisorInit } from "../supervisor/supervisor.ts";

/** What a {@link Node} is made of. */
export interface NodeInit {
  /** What this machine calls itself; the realm may have approved it under another name. */
  readonly name: string;
  /** Text form of its public key. */
  readonly key: string;
  readonly dataFolder: string;
  /** Opens the value of a secret that was sealed to this node's key. Throws RealmError `refused`. */
  readonly openSecret: (name: string, sealed: Uint8Array) => Promise<Uint8Array>;
  readonly state: RealmState;
  /** The other nodes, as long as this one is in a realm. */
  readonly others: () => Others;
  readonly engines: Engines;
  readonly blobs: Blobs;
  readonly clock: Clock;
  /** The other nodes; without them nobody is asked for anything. */
  readonly peers?: NodePeers;
  /** The newest records of other approved nodes, by the name that the realm gives them. */
  readonly records?: () => ReadonlyMap<string, HealthRecord>;
  /** What {@link Node.health} says is another. */
  readonly changed?: () => void;
  /** It looked how far {@link Node.rollouts} are. */
  readonly followed?: () => void;
  /** A secret was opened for a replica of a component, or could not be. */
  readonly revealed?: (component: string, isOpened: boolean) => void;
  /** Records requests of components to others. */
  readonly tracer?: Tracer | undefined;
  /** A line for who watches the agent. */
  readonly notice?: (text: string) => void;
  readonly ended: SupervisorInit["ended"];
}

/** What is known of the other nodes. */
export interface Others {
  /** Names of the approved nodes that live, this one's too if it is approved. */
  readonly live: readonly string[];
  /** Whether these are most of the approved ones. */
  readonly isMajority: boolean;
}

/** A manifest that the node did not take. */
export interface Refused {
  readonly atMs: number;
  /** `null` when it cannot be read from what came. */
  readonly version: number | null;
  readonly error: RealmError;
}

const MIB = 1024 * 1024;
const REFUSED_KEPT = 20;
/** What is refused is looked at anew so often: the policy of the machine may be another. */
const REFUSED_LOOK_MS = 10_000;
/** Lines of its log that a failed rollout shows. */
const LINES_SHOWN = 10;

/** See the module. */
export class Node {
  readonly supervisor: Supervisor;
  readonly bytes: ComponentBytes;
  readonly #keyValues: KeyValues;
  readonly #logs = new Map<string, LogRing>();
  readonly #upstreams = new Map<string, Upstream>();
  /** Those that others took the place of, while they have requests in flight. */
  readonly #former = new Map<string, readonly Upstream[]>();
  readonly #rollouts: Rollouts;
  #answer: NodeAnswer | undefined;
  #isFollowing = false;
  #isClosed = false;
  #routes: RouteTable = compileRoutes({ routes: [] });
  #refused: readonly Refused[] = [];
  /** What is in force in the realm and not here. */
  #refusal: (Omit<OwnRefusal, "overrides"> & Refusal) | undefined;
  #lookAgain = new AbortController();
  /** Ends the wait for a slot to be tried again. */
  #rested = new AbortController();
  #takingOver: Promise<void> = Promise.resolve();
  /** The last placement, and what it was made of. */
  #placed: Pick<Placement, "replicas"> & { readonly of: readonly unknown[] } = {
    of: [],
    replicas: new Map(),
  };

  constructor(readonly init: NodeInit) {
    this.#keyValues = new KeyValues(join(init.dataFolder, "keyvalue"));
    this.bytes = new ComponentBytes(init.blobs, init.peers);
    this.supervisor = new Supervisor({
      clock: init.clock,
      start: (replica, io, signal) => this.#start(replica, io, signal),
      openLog: (replica) => this.#openLog(replica),
      serve: (component, replicas, awaited) => this.#serve(component, replicas, awaited),
      ended: init.ended,
      changed: () => this.#followSoon(),
    });
    this.#rollouts = new Rollouts({
      state: init.state,
      clock: init.clock,
      records: () => init.records?.() ?? new Map(),
      lastLines: (replica) => this.#lastLines(replica),
      failed: ({ component, version, node, evidence }) =>
        init.notice?.(
          `Rollout of ${component} in version ${version} failed on ${node}: ${evidence}`,
        ),
      unwritten: ({ message }) =>
        init.notice?.(
          `Cannot write how far rollouts are, which is tried again: ${message}`,
        ),
    });
  }

  /** The policy of this machine; read anew each time, so that a change needs no restart. */
  policy(): Promise<Policy> {
    return readPolicy(this.init.dataFolder);
  }

  get policyPath(): string {
    return policyPath(this.init.dataFolder);
  }

  /** What the realm calls this machine. */
  get name(): string {
    return this.init.state.view?.nodes.get(this.init.key)?.name ?? this.init.name;
  }

  /** Manifests that were not taken, newest first. */
  get refused(): readonly Refused[] {
    return this.#refused;
  }

  /** Whether it may start what it does not run yet. */
  get mayStart(): boolean {
    const { state, others } = this.init;
    const isAlone = state.view === undefined || state.view.nodes.size === 0;
    return isAlone || state.inForce?.manifest.realm.partition === "continue" ||
      others().isMajority;
  }

  /** How many replicas of a component are wanted here. */
  wanted(component: string): number {
    return this.#answer?.placement.replicas.get(component)?.get(this.name) ?? 0;
  }

  /** How many replicas of each component are wanted on each node that lives. */
  placed(): Placement["replicas"] {
    const { inForce, overrides } = this.init.state;
    if (inForce === undefined) return new Map();
    const { manifest } = inForce;
    const live = [...this.#live(manifest)];
    const held = this.#answer?.held ?? NONE_HELD;
    const of = [manifest, overrides, live.join(), held];
    if (!of.every((value, i) => value === this.#placed.of[i])) {
      this.#placed = { of, ...place({ manifest, live, overrides, held }) };
    }
    return this.#placed.replicas;
  }

  /**
   * What another node, by the text of its key, is to run of a component: the most by what this node
   * goes by, and by what the realm does where this node refuses that.
   */
  given(component: string, peer: string): Given | undefined {
    const digests = this.#answer?.rollouts.get(component)?.digests;
    const name = this.init.state.view?.nodes.get(peer)?.name;
    if (digests === undefined || name === undefined) return undefined;
    const replicas = [this.placed(), this.#answer?.elsewhere]
      .reduce((most, placed) => Math.max(most, placed?.get(component)?.get(name) ?? 0), 0);
    return replicas === 0 ? undefined : { replicas, digests };
  }

  /** The manifest that the realm goes by: that in force, but for components that went back. */
  get release(): NodeAnswer["release"] | undefined {
    return this.init.state.inForce && this.#answer?.release;
  }

  /** How far each component is, as this node knows it. */
  get rollouts(): NodeAnswer["rollouts"] {
    return this.#answer?.rollouts ?? new Map();
  }

  /** Replicas that have no place, and why. */
  get unplaced(): Placement["unplaced"] {
    return this.#answer?.placement.unplaced ?? [];
  }

  /** What this node says of what it runs. */
  health(): Pick<
    OwnHealth,
    "replicas" | "failures" | "basis" | "refusal" | "turns" | "givenUp" | "verdicts"
  > {
    const slots = Map.groupBy(this.supervisor.slots(), ({ replica }) => replica.component);
    const replicas = [...this.#answer?.report ?? []].map(([component, report]) => {
      const { ready, ...said } = report;
      const wanted = this.wanted(component);
      const digest = this.#answer!.release.digests.get(component)!;
      const there = slots.get(component)?.[0];
      const running = there?.served?.digest ?? there?.replica.digest ?? digest;
      return { component, digest: running, wanted, running: ready, ...said };
    });
    const basis = this.#answer?.basis ?? this.init.state.overrides.basis ?? "";
    const { version, why } = this.#refusal ?? {};
    const refusal = version === undefined ? null : { version, why: why! };
    const { failures, verdicts, turns, givenUp } = this.#rollouts;
    return { replicas, failures, verdicts, basis, refusal, turns, givenUp };
  }

  /** The log of a component, begun when first asked for. */
  log(component: string): LogRing {
    let ring = this.#logs.get(component);
    if (!ring) this.#logs.set(component, ring = new LogRing(this.init.clock));
    return ring;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#lookAgain.abort();
    this.#rested.abort();
    await this.supervisor.close();
    this.#keyValues.close();
    for (const ring of this.#logs.values()) ring.close();
  }

  /** Who takes the requests of other nodes to a component; `undefined` where no route leads to it. */
  upstream(component: string): Upstream | undefined {
    const { inForce } = this.init.state;
    const isRouted = inForce?.manifest.routes.some((route) => route.component === component);
    return isRouted ? this.#upstreams.get(component) : undefined;
  }

  /**
   * Takes over what the control log says now, unless this machine's policy does not allow the
   * manifest: then it goes on with the one that it has, and tells of it.
   */
  takeOver(): Promise<void> {
    const done = this.#takingOver.then(async () => {
      const { state } = this.init;
      const { candidate } = state;
      this.#lookAgain.abort();
      const problem = candidate ? await this.problemOf(candidate.manifest) : undefined;
      // The log may have gone on meanwhile; then there is another call of this.
      if (!this.#isClosed && state.candidate === candidate) {
        const refused = problem ?? this.#take(candidate);
        if (candidate && refused !== undefined) this.#hold(candidate, refused);
        else this.#refusal = undefined;
        // Also where nothing is in force yet, and so nothing is planned.
        this.#rollouts.noteRefused(this.#refusal?.version ?? 0);
      }
      try {
        state.takeOverrides();
      } finally {
        this.follow();
      }
    });
    this.#takingOver = done.catch(() => {}); // whoever asked is told
    return done;
  }

  /** Goes by what the log says; what keeps it from that is no reason to end. */
  #take(candidate: RealmState["candidate"]): RealmError | undefined {
    const { state, clock } = this.init;
    if (candidate === undefined) return undefined;
    if (candidate === null) return void state.drop();
    try {
      state.takeOver(candidate, clock.wallMs());
    } catch (cause) {
      const { message } = cause as Error;
      return new RealmError("failed", `Cannot store the manifest: ${message}`, {
        hint: "Look for room on the disk of the data folder",
        cause,
      });
    }
  }

  /** Keeps what it has while the realm goes by another manifest, and looks again after a while. */
  #hold(candidate: NonNullable<RealmState["candidate"]>, problem: RealmError): void {
    const { version } = candidate.signature;
    this.refuse(problem, version);
    const why = problem.message.slice(0, REFUSAL_LENGTH_MAX).toWellFormed();
    const isSame = this.#refusal?.release.manifest === candidate.manifest;
    const release = isSame ? this.#refusal!.release : releaseOf(candidate);
    this.#refusal = { version, why, release };
    const { signal } = this.#lookAgain = new AbortController();
    this.init.clock.sleep(REFUSED_LOOK_MS, signal)
      .then(() => this.takeOver(), () => {}).catch(console.error);
  }

  /** What keeps a manifest from being in force on this machine. */
  async problemOf(manifest: Manifest): Promise<RealmError | undefined> {
    try {
      const violations = checkPolicy(manifest, this.name, await this.policy())
        .map(({ line, path, message }) => `\n  line ${line}: ${path} ${message}`);
      if (violations.length === 0) return undefined;
      return new RealmError(
        "policy",
        `Cannot run the manifest on ${this.name}:${violations.join("")}`,
        { hint: `Change the manifest, or ${this.policyPath} on ${this.name}` },
      );
    } catch (error) {
      if (error instanceof RealmError) return error;
      throw error;
    }
  }

  /** Notes a manifest that was not taken; the same reason again is no news. */
  refuse(error: RealmError, version: number | null): void {
    const last = this.#refused[0];
    if (last?.version === version && last.error.message === error.message) return;
    const atMs = this.init.clock.wallMs();
    this.#refused = [{ atMs, version, error }, ...this.#refused].slice(0, REFUSED_KEPT);
  }

  /** Nodes that count for what is divided: those that live, or all where there are no others. */
  #live(manifest: Manifest): Iterable<string> {
    const { state, others, key } = this.init;
    const { view } = state;
    if (view === undefined || view.nodes.size === 0) return manifest.nodes.keys();
    return view.nodes.has(key) ? others().live : [];
  }

  /** Follows once what happens now is over. */
  #followSoon(): void {
    if (this.#isFollowing) return;
    this.#isFollowing = true;
    Promise.resolve().then(() => {
      this.#isFollowing = false;
      if (!this.#isClosed) this.follow();
    }).catch(console.error);
  }

  /** Replicas of a component that take its requests; resolves when the others have ended theirs. */
  async #serve(
    component: string,
    replicas: readonly Replica[],
    awaited: boolean,
  ): Promise<void> {
    const former = (this.#former.get(component) ?? [])
      .filter(({ load }) => load.inFlight + load.waiting > 0);
    if (former.length > 0) this.#former.set(component, former);
    else this.#former.delete(component);
    const upstream = this.#upstreams.get(component);
    const all = upstream === undefined ? former : [upstream, ...former];
    await Promise.all(
      all.map((each) => each.setReplicas(replicas, awaited && this.wanted(component) > 0)),
    );
  }

  #retire(component: string, upstream: Upstream | undefined): void {
    if (upstream === undefined) return;
    this.#former.set(component, [...this.#former.get(component) ?? [], upstream]);
  }

  /** Runs and routes what the realm's state says, as far as rollouts are. */
  follow(): void {
    const { state } = this.init;
    const { overrides } = state;
    const refused = this.#refusal?.release;
    const inForce = state.inForce ? releaseOf(state.inForce) : refused && nothingBefore(refused);
    if (!inForce) {
      this.#answer = undefined;
      this.#routes = compileRoutes({ routes: [] });
      return this.supervisor.set([]);
    }
    const answer = this.#answer = this.#rollouts.plan(inForce, {
      node: this.name,
      live: [...this.#live(inForce.manifest)],
      overrides,
      own: this.supervisor.slots(),
      troubles: this.supervisor.troubles(),
      refusal: this.#refusal && {
        ...this.#refusal,
        overrides: state.view?.overrides ?? overrides,
      },
    });
    const { manifest } = answer.release;
    for (const [name, spec] of manifest.components) {
      const there = this.#upstreams.get(name);
      if (spec.world !== "wasi:http/proxy" && !proxiedPortOf(name, manifest)) continue;
      const { maxConcurrency, requestTimeoutMs } = spec;
      const same = there?.requestTimeoutMs === requestTimeoutMs &&
        there.maxConcurrency === maxConcurrency;
      if (same) continue;
      // Requests that wait at the old one keep their places there.
      const elsewhere = this.init.peers?.elsewhere(name);
      const options = {
        component: name,
        maxConcurrency,
        requestTimeoutMs,
        ...(elsewhere ? { elsewhere } : {}),
      };
      const replicas = there?.expectsFirst ? undefined : there?.replicas;
      this.#retire(name, there);
      this.#upstreams.set(name, new Upstream(options, replicas));
    }
    for (const [name, upstream] of this.#upstreams) {
      if (manifest.components.has(name)) continue;
      this.#retire(name, upstream);
      this.#upstreams.delete(name);
    }
    this.#dropLogs(inForce.manifest);
    this.#routes = compileRoutes(manifest);
    const wanted = new Set(answer.desired.map(({ component }) => component));
    for (const [name, upstream] of this.#upstreams) {
      if (upstream.expectsFirst && !wanted.has(name)) upstream.setReplicas([]); // none will come
    }
    this.supervisor.set(answer.desired, { mayStart: this.mayStart });
    this.#followAt(this.#rollouts.dueAt());
    this.init.followed?.();
    this.#tellOfChange();
  }

  /** Follows when a slot that was given up is to be tried again. */
  #followAt(dueMs: number | undefined): void {
    this.#rested.abort();
    if (dueMs === undefined || this.#isClosed) return;
    const { clock } = this.init;
    const { signal } = this.#rested = new AbortController();
    clock.sleep(Math.max(0, Math.ceil(dueMs - clock.monotonicMs())), signal)
      .then(() => this.#followSoon(), () => {});
  }

  /** Of components that are gone nobody can ask for the log any more. */
  #dropLogs({ components }: Manifest): void {
    const gone = [...this.#logs.keys()].filter((name) => !components.has(name));
    if (gone.length === 0) return;
    const running = new Set(this.supervisor.slots().map(({ replica }) => replica.component));
    for (const name of gone) {
      if (running.has(name)) continue;
      this.#logs.get(name)!.close();
      this.#logs.delete(name);
    }
  }

  #said = "";

  /** Others wait for what this node says of its slots. */
  #tellOfChange(): void {
    const said = JSON.stringify(this.health());
    if (said === this.#said) return;
    this.#said = said;
    this.init.changed?.();
  }

  async #start(
    replica: DesiredReplica,
    { waits, ...io }: Parameters<SupervisorInit["start"]>[1],
    signal: AbortSignal,
  ): Promise<Replica> {
    const engine = this.init.engines[replica.spec.isolation];
    this.init.state.requirePublished(replica.component, replica.digest);
    const bytes = await this.bytes.whenever(replica.digest, signal, { notice: io.notice, waits });
    signal.throwIfAborted();
    const prepared = await engine.prepare(bytes);
    signal.throwIfAborted();
    const { spec, proxiedPort } = replica;
    const grants = await this.#grants(replica);
    const proxied = proxiedPort === undefined ? undefined : new ProxiedListener(proxiedPort);
    const { notice } = io;
    const { tracer } = this.init;
    const live = await engine.start(prepared, {
      world: replica.world,
      grants,
      services: {
        ...createServices({
          grants,
          notice,
          ...(proxied ? { proxied } : {}),
          ...(tracer ? { tracing: { tracer, component: replica.component } } : {}),
        }),
        ...await this.#services(replica, notice),
      },
      limits: limitsOf(spec),
      maxConcurrency: spec.maxConcurrency,
      instancePerRequest: spec.instancePerRequest,
      ...io,
    });
    if (!proxied) return live;
    const { RoutedCommand } = await import("./routed_command.ts");
    return RoutedCommand.start(live, proxied);
  }

  /** What it does for a replica beside the network. */
  async #services(
    { component, spec }: DesiredReplica,
    notice: (text: string) => void,
  ): Promise<Record<string, Service>> {
    const services: Record<string, Service> = {};
    if (spec.keyvalue) services.keyvalue = await this.#keyValues.service(component);
    if (spec.secrets.length > 0) {
      services.secrets = secretsService({
        names: new Set(spec.secrets),
        read: secretReader({
          record: (name) => this.init.state.view?.secrets.get(name),
          open: this.init.openSecret,
          opened: (isOpened) => this.init.revealed?.(component, isOpened),
          notice,
        }),
      });
    }
    return services;
  }

  async #grants(replica: DesiredReplica): Promise<Grants> {
    const { component, spec } = replica;
    const policy = await this.policy();
    const [refused] = portViolations(replica, policy);
    if (refused) {
      throw new RealmError(
        "policy",
        `Cannot start ${component}: ${refused.key} ${refused.message}`,
        { hint: `Allow it in ${this.policyPath}` },
      );
    }
    const mounts: Mount[] = [];
    for (const { volume, host, guest, mode } of spec.mounts) {
      let hostPath: string;
      if (volume !== undefined) {
        hostPath = join(this.init.dataFolder, "volumes", volume);
        await Deno.mkdir(hostPath, { recursive: true, mode: 0o700 });
        hostPath = await Deno.realPath(hostPath);
      } else {
        hostPath = await resolveFolder(component, host!);
        if (!allowsMount(policy, hostPath, mode)) {
          throw new RealmError(
            "policy",
            `Cannot mount ${hostPath} for ${component}: the policy of this node does not allow it`,
            { hint: `Allow it in ${this.policyPath}` },
          );
        }
      }
      mounts.push({ hostPath, guestPath: guest, writable: mode === "rw" });
    }
    return {
      args: [component, ...spec.args],
      env: [...spec.env, ...spec.vars],
      mounts,
      clock: spec.clock,
      random: spec.random,
      stdio: true,
      network: {
        outbound: spec.allowedOutbound.map((text) => parseOutbound(text)!),
        privateNetworks: spec.privateOutbound,
        loopback: spec.loopback,
        dns: spec.dns,
        listen: spec.listen.map((text) => parseListen(text)!),
      },
      config: [...spec.vars],
      keyvalue: spec.keyvalue,
      secrets: spec.secrets.length > 0,
    };
  }

  /** Who answers a request; `undefined` where there is no route. */
  route({ host, path }: { host: string; path: string }): RouteDecision | undefined {
    const match = matchRoute(this.#routes, host, path, Math.random());
    if (!match) return undefined;
    let upstream = this.#upstreams.get(match.component);
    if (!upstream?.isServed) {
      for (const other of match.alternatives) {
        const candidate = this.#upstreams.get(other);
        if (candidate?.isServed) upstream = candidate;
      }
    }
    return upstream && { route: match.route, upstream, path: match.path };
  }

  /** The last lines of a slot's log that are of its release: the one before may serve beside it. */
  #lastLines({ component, index, revision }: DesiredReplica): string[] {
    return this.log(component).lines({ tail: LINES_SHOWN, replica: index, of: revision })
      .map(({ text }) => text);
  }

  #openLog({ component, index, revision }: DesiredReplica): ReplicaLog {
    const ring = this.log(component);
    const writer = (stream: "stdout" | "stderr") => ring.writer(index, stream, revision);
    const streams = { stdout: writer("stdout"), stderr: writer("stderr") };
    return {
      write: (stream, bytes) => streams[stream].write(bytes),
      log: (level, text) => ring.log(level, text, index, revision),
      notice: (text) => text.split("\n").forEach((line) => ring.notice(line, index, revision)),
      close: () => {
        streams.stdout.close();
        streams.stderr.close();
      },
    };
  }
}

async function resolveFolder(component: string, host: string): Promise<string> {
  try {
    return await Deno.realPath(host);
  } catch (error) {
    throw new RealmError(
      "not-found",
      `Cannot mount ${host} for ${component}: ${(error as Error).message}`,
      { hint: "Make the folder on this node", cause: error },
    );
  }
}

function limitsOf(spec: DesiredReplica["spec"]): Limits {
  return {
    memoryBytesMax: spec.memoryMaxMb * MIB,
    fuelPerSec: spec.fuelPerSec,
    epochTimeoutMs: spec.epochTimeoutMs,
  };
}
