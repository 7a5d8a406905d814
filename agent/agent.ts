/**
 * The agent: one per machine, and the place where its parts are put together.
 *
 * In the data folder: `node.key`, `state.sqlite` (owner, manifest in force, overrides), `blobs/`,
 * `cache/`, `volumes/NAME/`, `policy.toml` (the machine's own, read at every apply), and
 * `control.sock`.
 *
 * @module
 */
import { join } from "node:path";
import type {
  ApplyAnswer,
  ControlApi,
  PlanAnswer,
  RefusedManifest,
  Status,
} from "./control/api.ts";
import { type ControlServer, serveControl } from "./control/server.ts";
import { nodeBackend } from "./crypto_node.ts";
import { RealmError } from "./kernel/error.ts";
import { formatPublicKey, formatSecretKey, parseSecretKey } from "./kernel/key.ts";
import type { Clock, Grants, Limits, Mount, Replica, StartOptions } from "./kernel/ports.ts";
import { keyPairOf } from "./kernel/verify.ts";
import { listen } from "./listen.ts";
import { createEngine } from "./local_engine.ts";
import { LogRing } from "./observe/log_ring.ts";
import { Metrics } from "./observe/metrics.ts";
import { NodeSampler } from "./observe/node_sampler.ts";
import { type ProxyServer, type RequestRecord, serveProxy } from "./proxy/proxy.ts";
import { Upstream } from "./proxy/upstream.ts";
import { RealmState } from "./realm_state.ts";
import { type DesiredReplica, desiredReplicas } from "./realm/desired.ts";
import { decodeManifest, formatTarget, type Manifest, parseManifest } from "./realm/manifest.ts";
import { requireSupported } from "./realm/manifest_features.ts";
import { parseManifestSignature } from "./realm/manifest_signature.ts";
import {
  allowsMount,
  checkPolicy,
  DEFAULT_POLICY,
  parsePolicy,
  type Policy,
} from "./realm/policy.ts";
import { compileRoutes, matchRoute, type RouteTable } from "./realm/routing.ts";
import type { WorkerEngine } from "./runtime/engine.ts";
import { DiskBlobs } from "./store/disk_blobs.ts";
import { SqliteStore } from "./store/sqlite_store.ts";
import { Supervisor } from "./supervisor/supervisor.ts";
import { systemClock } from "./system_clock.ts";

/** How an agent is started. */
export interface AgentOptions {
  readonly dataFolder: string;
  /** What the manifest calls this machine. */
  readonly nodeName: string;
  /** Text form of a public key; taken when the node has no owner yet. */
  readonly owner?: string;
  readonly http: { readonly hostname: string; readonly port: number };
  /** Where Prometheus reads; nowhere but the control socket unless given. */
  readonly metrics?: { readonly hostname: string; readonly port: number };
  /** Version of the program. */
  readonly program: string;
  readonly clock?: Clock;
}

/** A running agent. */
export interface Agent {
  readonly controlPath: string;
  readonly proxyUrl: string;
  readonly metricsUrl: string | undefined;
  status(): Status;
  close(): Promise<void>;
}

const MIB = 1024 * 1024;
const REFUSED_KEPT = 20;
const SAMPLE_MS = 5_000;
const WARM_WORKERS = 2;
/** Requests have this long to end when the agent is stopped. */
const CLOSE_GRACE_MS = 3_000;

/** Starts an agent. Throws RealmError when its folder, address or owner cannot be had. */
export async function startAgent(options: AgentOptions): Promise<Agent> {
  const { dataFolder } = options;
  await Deno.mkdir(dataFolder, { recursive: true, mode: 0o700 });
  // First the store: its lock tells two agents on one folder apart.
  const store = new SqliteStore(join(dataFolder, "state.sqlite"));
  const opened: (() => unknown)[] = [() => store.close()];
  try {
    const state = new RealmState(store, nodeBackend());
    if (options.owner !== undefined) state.claim(options.owner);
    const engine = createEngine(dataFolder, { warmWorkers: WARM_WORKERS });
    opened.unshift(() => engine.close());
    const node = new Node({
      ...options,
      state,
      engine,
      blobs: await DiskBlobs.open(join(dataFolder, "blobs")),
      key: await nodeKey(join(dataFolder, "node.key")),
      clock: options.clock ?? systemClock,
    });
    opened.unshift(() => node.close());
    await node.open();
    return {
      controlPath: node.control!.socketPath,
      proxyUrl: node.proxyUrl!,
      metricsUrl: node.metricsUrl,
      status: () => node.api.status() as Status,
      close: async () => {
        for (const close of opened) await close();
      },
    };
  } catch (error) {
    for (const close of opened) await close();
    throw error;
  }
}

/** The node's own key, made at the first start. */
async function nodeKey(path: string): Promise<string> {
  const backend = nodeBackend();
  try {
    const pair = await keyPairOf(parseSecretKey((await Deno.readTextFile(path)).trim()), backend);
    return formatPublicKey(pair.publicKey);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  const pair = await keyPairOf(crypto.getRandomValues(new Uint8Array(32)), backend);
  const temporary = `${path}.new`;
  await Deno.writeTextFile(temporary, `${formatSecretKey(pair.secretKey)}\n`, { mode: 0o600 });
  await Deno.rename(temporary, path);
  return formatPublicKey(pair.publicKey);
}

interface NodeInit extends AgentOptions {
  readonly state: RealmState;
  readonly engine: WorkerEngine;
  readonly blobs: DiskBlobs;
  readonly key: string;
  readonly clock: Clock;
}

/** The agent's parts and what connects them. */
class Node {
  readonly #startedAtMs: number;
  readonly #logs = new Map<string, LogRing>();
  readonly #upstreams = new Map<string, Upstream>();
  readonly #supervisor: Supervisor;
  readonly #metrics: Metrics;
  readonly #sampler: NodeSampler;
  #sample: Awaited<ReturnType<NodeSampler["sample"]>> | undefined;
  #sampling: number | undefined;
  #refused: RefusedManifest[] = [];
  #routes: RouteTable = compileRoutes({ routes: [] });
  #desired: readonly DesiredReplica[] = [];
  #applying: Promise<unknown> = Promise.resolve();
  control: ControlServer | undefined;
  #proxy: ProxyServer | undefined;
  #metricsServer: Deno.HttpServer<Deno.NetAddr> | undefined;

  constructor(readonly init: NodeInit) {
    const { clock } = init;
    this.#startedAtMs = clock.wallMs();
    this.#sampler = new NodeSampler(init.dataFolder);
    this.#supervisor = new Supervisor({
      clock,
      start: (replica, io) => this.#start(replica, io),
      openLog: (component, index) => {
        const ring = this.#log(component);
        const streams = {
          stdout: ring.writer(index, "stdout"),
          stderr: ring.writer(index, "stderr"),
        };
        return {
          write: (stream, bytes) => streams[stream].write(bytes),
          notice: (text) => text.split("\n").forEach((line) => ring.notice(line, index)),
          close: () => {
            streams.stdout.close();
            streams.stderr.close();
          },
        };
      },
      serve: (component, replicas) =>
        this.#upstreams.get(component)?.setReplicas(replicas) ?? Promise.resolve(),
      ended: ({ component, index, startedAtMs, restarts, usage }) =>
        this.#metrics.record({ component, replica: index, instance: startedAtMs, restarts, usage }),
    });
    this.#metrics = new Metrics({
      replicas: () =>
        this.#supervisor.replicas().map((r) => ({
          component: r.component,
          replica: r.index,
          instance: r.startedAtMs ?? 0,
          restarts: r.restarts,
          usage: r.usage ?? undefined,
        })),
      replicasByState: () => {
        const counts: Record<string, number> = {};
        for (const { state } of this.#supervisor.replicas()) {
          counts[state] = (counts[state] ?? 0) + 1;
        }
        return counts;
      },
      components: () => init.state.inForce?.manifest.components.size ?? 0,
      node: () => ({ ...this.#sample!, p2pLinks: 0 }),
    });
  }

  get proxyUrl(): string | undefined {
    return this.#proxy && urlOf(this.#proxy);
  }

  get metricsUrl(): string | undefined {
    return this.#metricsServer && `${urlOf(this.#metricsServer.addr)}/metrics`;
  }

  async open(): Promise<void> {
    const { init } = this;
    const sample = async () => void (this.#sample = await this.#sampler.sample());
    await sample();
    this.#sampling = setInterval(() => sample().catch(() => {}), SAMPLE_MS);
    this.control = await serveControl({
      path: join(init.dataFolder, "control.sock"),
      api: this.api,
      onBug: (error) => console.error(error),
    });
    this.#proxy = listen("the proxy", init.http, () =>
      serveProxy({
        ...init.http,
        route: (request) => this.#route(request),
        onRequest: (record) => this.#requested(record),
      }));
    const { metrics } = init;
    if (metrics) {
      this.#metricsServer = listen(
        "metrics",
        metrics,
        () =>
          Deno.serve({ ...metrics, onListen: () => {} }, async (request) => {
            if (new URL(request.url).pathname !== "/metrics") {
              return new Response("Not found: see /metrics\n", { status: 404 });
            }
            return new Response(await this.#metrics.text(), {
              headers: { "content-type": "text/plain; version=0.0.4" },
            });
          }),
      );
    }
    this.#follow();
  }

  async close(): Promise<void> {
    clearInterval(this.#sampling);
    await this.control?.close();
    await this.#proxy?.close(CLOSE_GRACE_MS);
    await this.#metricsServer?.shutdown();
    await this.#supervisor.close();
    for (const ring of this.#logs.values()) ring.close();
  }

  // ---- from the manifest to what runs ----

  /** Takes over what is in force: routes, upstreams, replicas. */
  #follow(): void {
    const { state, nodeName } = this.init;
    const { inForce, overrides } = state;
    if (!inForce) return;
    const { manifest, signature } = inForce;
    for (const [name, spec] of manifest.components) {
      const there = this.#upstreams.get(name);
      if (spec.world !== "wasi:http/proxy") continue;
      const { maxConcurrency, requestTimeoutMs } = spec;
      const same = there?.requestTimeoutMs === requestTimeoutMs &&
        there.maxConcurrency === maxConcurrency;
      if (same) continue;
      // Requests that wait at the old one keep their places there.
      const options = { component: name, maxConcurrency, requestTimeoutMs };
      this.#upstreams.set(name, new Upstream(options, there?.replicas));
    }
    for (const name of this.#upstreams.keys()) {
      if (!manifest.components.has(name)) this.#upstreams.delete(name);
    }
    this.#routes = compileRoutes(manifest);
    this.#desired = desiredReplicas({
      manifest,
      digests: signature.digests,
      node: nodeName,
      live: manifest.nodes.keys(),
      overrides,
    });
    this.#supervisor.set(this.#desired);
  }

  async #start(
    replica: DesiredReplica,
    io: Pick<StartOptions, "stdio" | "notice">,
  ): Promise<Replica> {
    const { engine } = this.init;
    const prepared = await engine.prepare(await this.#bytes(replica.component, replica.digest));
    const { spec } = replica;
    return engine.start(prepared, {
      world: replica.world,
      grants: await this.#grants(replica),
      limits: limitsOf(spec),
      maxConcurrency: spec.maxConcurrency,
      instancePerRequest: spec.instancePerRequest,
      ...io,
    });
  }

  async #bytes(component: string, digest: string): Promise<Uint8Array> {
    const bytes = await this.init.blobs.get(digest);
    if (bytes) return bytes;
    throw new RealmError(
      "not-found",
      `Cannot start ${component}: its bytes sha256:${digest} are not on this node`,
      { hint: "Run realm apply, which sends what is missing" },
    );
  }

  async #grants({ component, spec }: DesiredReplica): Promise<Grants> {
    const policy = await this.#policy();
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
            { hint: `Allow it in ${join(this.init.dataFolder, "policy.toml")}` },
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
    };
  }

  async #policy(): Promise<Policy> {
    const path = join(this.init.dataFolder, "policy.toml");
    try {
      return parsePolicy(await Deno.readTextFile(path), path);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return DEFAULT_POLICY;
      throw error;
    }
  }

  // ---- requests ----

  #route({ host, path }: { host: string; path: string }) {
    const match = matchRoute(this.#routes, host, path, Math.random());
    if (!match) return undefined;
    let upstream = this.#upstreams.get(match.component);
    if (!upstream?.replicas.length) {
      for (const other of match.alternatives) {
        const candidate = this.#upstreams.get(other);
        if (candidate?.replicas.length) upstream = candidate;
      }
    }
    return upstream && { route: match.component, upstream, path: match.path };
  }

  #requested({ route, component, status, durationMs, outcome }: RequestRecord): void {
    this.#metrics.request({
      route: route ?? "none",
      component: component ?? "none",
      status,
      durationMs,
      outcome,
    });
  }

  #log(component: string): LogRing {
    let ring = this.#logs.get(component);
    if (!ring) this.#logs.set(component, ring = new LogRing(this.init.clock));
    return ring;
  }

  // ---- the control API ----

  readonly api: ControlApi = {
    status: () => this.#status(),
    manifest: () => {
      const { inForce } = this.init.state;
      return inForce
        ? {
          version: inForce.signature.version,
          manifest: inForce.bytes,
          signature: this.init.state.signatureLine!,
        }
        : null;
    },
    plan: async ({ manifest: bytes, signature }) => {
      const manifest = parseManifest(decodeManifest(bytes));
      const digests = signature === undefined
        ? pinnedDigests(manifest, this.init.state.inForce?.signature.digests)
        : parseManifestSignature(signature).digests;
      return this.#plan(manifest, digests);
    },
    apply: (request) => {
      const done = this.#applying.then(() => this.#apply(request.manifest, request.signature));
      this.#applying = done.catch(() => {});
      return done;
    },
    blobs: {
      has: (digest) => this.init.blobs.has(digest),
      put: (bytes) => this.init.blobs.put(bytes),
    },
    logs: ({ component, follow, ...options }, signal) => {
      this.#require(component);
      const ring = this.#log(component);
      if (follow) return ring.follow(options, signal);
      return (async function* () {
        for (const entry of ring.lines(options)) yield { kind: "line" as const, ...entry };
      })();
    },
    restart: (component) => {
      this.#require(component);
      this.init.state.restart(component);
      this.#follow();
      return { restarted: this.#wanted(component) };
    },
    scale: (component, replicas) => {
      this.#require(component);
      this.init.state.scale(component, replicas);
      this.#follow();
      return { replicas: this.#wanted(component), scaledTo: replicas };
    },
    metrics: () => this.#metrics.text(),
  };

  #wanted(component: string): number {
    return this.#desired.filter((r) => r.component === component).length;
  }

  #require(component: string): void {
    const { inForce } = this.init.state;
    if (inForce?.manifest.components.has(component)) return;
    const names = [...inForce?.manifest.components.keys() ?? []].join(", ") || "none";
    throw new RealmError(
      "not-found",
      `Cannot find component "${component}" in the manifest, which has ${names}`,
      { hint: "Run realm status" },
    );
  }

  async #plan(manifest: Manifest, digests: ReadonlyMap<string, string>): Promise<PlanAnswer> {
    const { state, nodeName, blobs } = this.init;
    const missing: string[] = [];
    for (const digest of new Set(digests.values())) {
      if (!await blobs.has(digest)) missing.push(digest);
    }
    return {
      currentVersion: state.inForce?.signature.version ?? null,
      changes: state.changes(manifest, digests),
      violations: checkPolicy(manifest, nodeName, await this.#policy())
        .map((v) => `line ${v.line}: ${v.path} ${v.message}`),
      missing,
    };
  }

  async #apply(bytes: Uint8Array, signature: string): Promise<ApplyAnswer> {
    const { state, clock } = this.init;
    try {
      const verified = await state.verify(bytes, signature);
      const { manifest } = verified;
      requireSupported(manifest);
      await this.#requireRunnable(manifest, verified.signature.digests);
      const changes = state.accept(verified, clock.wallMs());
      this.#follow();
      return { version: verified.signature.version, changes: changes };
    } catch (error) {
      if (error instanceof RealmError) this.#refuse(error, signature);
      throw error;
    }
  }

  /** Everything that can be known before a manifest is in force. */
  async #requireRunnable(manifest: Manifest, digests: ReadonlyMap<string, string>): Promise<void> {
    const { nodeName, engine } = this.init;
    const violations = checkPolicy(manifest, nodeName, await this.#policy());
    if (violations.length > 0) {
      const lines = violations.map((v) => `\n  line ${v.line}: ${v.path} ${v.message}`).join("");
      throw new RealmError("policy", `Cannot run the manifest on ${nodeName}:${lines}`, {
        hint: `Change the manifest, or ${join(this.init.dataFolder, "policy.toml")} on ${nodeName}`,
      });
    }
    const here = desiredReplicas({
      manifest,
      digests,
      node: nodeName,
      live: manifest.nodes.keys(),
    });
    const components = new Map(here.map((r) => [r.component, r.digest]));
    await Promise.all([...components].map(async ([name, digest]) => {
      await engine.prepare(await this.#bytes(name, digest));
    }));
  }

  #refuse(error: RealmError, signature: string): void {
    let version: number | null = null;
    try {
      version = parseManifestSignature(signature).version;
    } catch {
      // An unreadable signature has no version; the error says what is wrong with it.
    }
    const { code, message } = error;
    this.#refused = [
      { atMs: this.init.clock.wallMs(), version, code, message },
      ...this.#refused,
    ].slice(0, REFUSED_KEPT);
  }

  #status(): Status {
    const { init } = this;
    const { inForce, owner, overrides } = init.state;
    const manifest = inForce?.manifest;
    return {
      node: {
        name: init.nodeName,
        key: init.key,
        owner: owner ?? null,
        realm: manifest?.realm.name ?? null,
        program: init.program,
        startedAtMs: this.#startedAtMs,
        dataFolder: init.dataFolder,
      },
      manifest: inForce
        ? {
          version: inForce.signature.version,
          sha256: inForce.signature.sha256,
          appliedAtMs: inForce.appliedAtMs,
        }
        : null,
      refused: this.#refused,
      proxy: this.proxyUrl ?? null,
      components: [...manifest?.components ?? []].map(([name, { world }]) => ({
        name,
        world,
        digest: inForce!.signature.digests.get(name)!,
        replicas: this.#wanted(name),
        scaledTo: overrides.scales.find((s) => s.component === name)?.replicas ?? null,
      })),
      replicas: this.#supervisor.replicas().map((r) => ({
        ...r,
        node: init.nodeName,
        lastExit: r.lastExit && { ...r.lastExit, exit: wireExit(r.lastExit.exit) },
      })),
      routes: (manifest?.routes ?? []).map((route) => ({
        host: route.host ?? null,
        path: route.path,
        component: route.component,
        placement: formatTarget(route.target),
        replicas: route.replicas,
        weight: route.weight ?? 100,
        stripPrefix: route.stripPrefix,
      })),
    };
  }
}

function urlOf({ hostname, port }: { hostname: string; port: number }): string {
  return `http://${hostname.includes(":") ? `[${hostname}]` : hostname}:${port}`;
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

/** Digests for a plan that nobody signed: what the manifest pins, else what runs. */
function pinnedDigests(
  manifest: Manifest,
  current: ReadonlyMap<string, string> | undefined,
): ReadonlyMap<string, string> {
  const digests = new Map<string, string>();
  for (const [name, { sha256 }] of manifest.components) {
    const digest = sha256 ?? current?.get(name);
    if (digest !== undefined) digests.set(name, digest);
  }
  return digests;
}

function wireExit(
  exit: NonNullable<ReturnType<Supervisor["replicas"]>[number]["lastExit"]>["exit"],
) {
  return exit.kind === "trap" ? { ...exit, backtrace: [...exit.backtrace] } : exit;
}
