/**
 * The agent: one per machine. This is the place where its parts are put together.
 *
 * In the data folder: `node.key`, `state.sqlite` (owner, manifest in force, overrides), `blobs/`,
 * `cache/`, `volumes/NAME/`, `policy.toml` (the machine's own, read at every apply), and
 * `control.sock`.
 *
 * @module
 */
import { join } from "node:path";
import type { Status } from "./control/api.ts";
import { serveControl } from "./control/server.ts";
import { nodeBackend } from "./crypto_node.ts";
import { formatPublicKey, formatSecretKey, parseSecretKey } from "./kernel/key.ts";
import type { Clock } from "./kernel/ports.ts";
import { keyPairOf } from "./kernel/verify.ts";
import { listen } from "./listen.ts";
import { createEngine } from "./local_engine.ts";
import { createProcessEngine } from "./local_process_engine.ts";
import { Node } from "./node.ts";
import { NodeApi } from "./node_api.ts";
import { Metrics } from "./observe/metrics.ts";
import { NodeSampler } from "./observe/node_sampler.ts";
import { type ProxyServer, serveProxy } from "./proxy/proxy.ts";
import { RealmState } from "./realm_state.ts";
import { DiskBlobs } from "./store/disk_blobs.ts";
import { SqliteStore } from "./store/sqlite_store.ts";
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

const SAMPLE_MS = 5_000;
const WARM_WORKERS = 2;
/** Requests have this long to end when the agent is stopped. */
const CLOSE_GRACE_MS = 3_000;

/** Starts an agent. Throws RealmError when its folder, address or owner cannot be had. */
export async function startAgent(options: AgentOptions): Promise<Agent> {
  const { dataFolder, clock = systemClock } = options;
  /** Undoes what was opened, the last first. */
  const opened: (() => unknown)[] = [];
  const close = async () => {
    for (const undo of opened.splice(0).reverse()) await undo();
  };
  try {
    await Deno.mkdir(dataFolder, { recursive: true, mode: 0o700 });
    // First the store: its lock tells two agents on one folder apart.
    const store = new SqliteStore(join(dataFolder, "state.sqlite"));
    opened.push(() => store.close());
    const state = new RealmState(store, nodeBackend());
    if (options.owner !== undefined) state.claim(options.owner);
    const key = await nodeKey(join(dataFolder, "node.key"));
    const blobs = await DiskBlobs.open(join(dataFolder, "blobs"));
    const engine = createEngine(dataFolder, { warmWorkers: WARM_WORKERS, spawner: true });
    opened.push(() => engine.close());
    const processes = createProcessEngine(dataFolder);
    opened.push(() => processes.close());

    const node: Node = new Node({
      name: options.nodeName,
      dataFolder,
      state,
      engines: { worker: engine, process: processes },
      blobs,
      clock,
      ended: ({ component, index, startedAtMs, restarts, usage }) =>
        metrics.record({ component, replica: index, instance: startedAtMs, restarts, usage }),
    });
    opened.push(() => node.close());
    const sampler = new NodeSampler(dataFolder);
    let sample = await sampler.sample();
    const sampling = setInterval(() => {
      sampler.sample().then((next) => sample = next, () => {});
    }, SAMPLE_MS);
    opened.push(() => clearInterval(sampling));
    const metrics = new Metrics({
      replicas: () =>
        node.supervisor.replicas().map(({ component, index, startedAtMs, restarts, usage }) => ({
          component,
          replica: index,
          instance: startedAtMs ?? 0,
          restarts,
          usage: usage ?? undefined,
        })),
      replicasByState: () => {
        const counts: Record<string, number> = {};
        for (const { state } of node.supervisor.replicas()) {
          counts[state] = (counts[state] ?? 0) + 1;
        }
        return counts;
      },
      components: () => state.inForce?.manifest.components.size ?? 0,
      node: () => ({ ...sample, p2pLinks: 0 }),
    });

    let proxy: ProxyServer | undefined;
    const api = new NodeApi({
      node,
      key,
      program: options.program,
      proxyUrl: () => proxy && urlOf(proxy),
      metrics: () => metrics.text(),
    });
    const control = await serveControl({
      path: join(dataFolder, "control.sock"),
      api,
      onBug: (error) => console.error(error),
    });
    opened.push(() => control.close());
    const listening = proxy = listen("the proxy", options.http, () =>
      serveProxy({
        ...options.http,
        route: (request) => node.route(request),
        onRequest: ({ route = "none", component = "none", status, durationMs, outcome }) =>
          metrics.request({ route, component, status, durationMs, outcome }),
      }));
    opened.push(() => listening.close(CLOSE_GRACE_MS));
    const metricsServer = options.metrics && serveMetrics(options.metrics, metrics);
    if (metricsServer) opened.push(() => metricsServer.shutdown());

    node.follow();
    return {
      controlPath: control.socketPath,
      proxyUrl: urlOf(proxy),
      metricsUrl: metricsServer && `${urlOf(metricsServer.addr)}/metrics`,
      status: () => api.status(),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Serves `/metrics` and nothing else. */
function serveMetrics(
  at: { readonly hostname: string; readonly port: number },
  metrics: Metrics,
): Deno.HttpServer<Deno.NetAddr> {
  return listen("metrics", at, () =>
    Deno.serve({ ...at, onListen: () => {} }, async (request) => {
      if (new URL(request.url).pathname !== "/metrics") {
        return new Response("Not found: see /metrics\n", { status: 404 });
      }
      return new Response(await metrics.text(), {
        headers: { "content-type": "text/plain; version=0.0.4" },
      });
    }));
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

function urlOf({ hostname, port }: { hostname: string; port: number }): string {
  return `http://${hostname.includes(":") ? `[${hostname}]` : hostname}:${port}`;
}
