/**
 * The agent: one per machine. This is the place where its parts are put together.
 *
 * In the data folder: `node.key`, `state.sqlite` (owner, control log, manifest that is run, peers),
 * `blobs/`, `cache/`, `volumes/NAME/`, `policy.toml` (the machine's own, read at every apply), and
 * `control.sock`. Of apps: `person.key`, `apps/`.
 *
 * @module
 */
import { join } from "node:path";
import type { Status } from "./control/api.ts";
import { serveControl } from "./control/server.ts";
import { AppSharing } from "./topics/app_sharing.ts";
import { AppsHost } from "./topics/apps_host.ts";
import { SignaturesAhead } from "./topics/signatures_ahead.ts";
import { nodeBackend } from "./node/crypto_node.ts";
import { openDataFolder } from "./node/data_folder.ts";
import { HostCommands } from "./node/host_commands.ts";
import { formatPublicKey } from "./kernel/key.ts";
import type { Clock } from "./kernel/ports.ts";
import { RareNotice } from "./kernel/rare_notice.ts";
import { SteadyServer } from "./kernel/steady_server.ts";
import { verifierOf } from "./kernel/verify.ts";
import { listen } from "./listen.ts";
import { createEngine } from "./local_engine.ts";
import { createProcessEngine } from "./local_process_engine.ts";
import { Node } from "./node/node.ts";
import { NodeAlarms } from "./node_alarms.ts";
import { NodeApi } from "./node_api.ts";
import { NodeMetrics } from "./node_metrics.ts";
import { OtlpExporter, type OtlpInit } from "./observe/otlp_exporter.ts";
import { SpanRecorder, type TracerInit } from "./observe/tracer.ts";
import { FolderNotice } from "./observe/folder_notice.ts";
import { NodeSampler } from "./observe/node_sampler.ts";
import { Samples } from "./observe/samples.ts";
import { ownKey } from "./node/own_keys.ts";
import { PeerServices } from "./node/peer_services.ts";
import { type ProxyServer, serveProxy } from "./proxy/proxy.ts";
import { type LanChoice, RealmMember } from "./member/realm_member.ts";
import { type Claim, RealmState } from "./node/realm_state.ts";
import { type RemoteControl, serveRemoteControl } from "./member/remote_control.ts";
import { DiskBlobs } from "./store/disk_blobs.ts";
import { SqliteStore } from "./store/sqlite_store.ts";
import { systemClock } from "./node/system_clock.ts";

/** How an agent is started. */
export interface AgentOptions {
  readonly dataFolder: string;
  /** What the manifest calls this machine. */
  readonly nodeName: string;
  /** Whose the node is; taken when it has no owner yet. */
  readonly claim?: Claim;
  /** Multiaddrs at which peers reach this node. */
  readonly listen?: readonly string[];
  /** Multiaddrs of nodes to join, each with its peer id. */
  readonly join?: readonly string[];
  /** Members are looked for on the same network, unless missing. */
  readonly lan?: LanChoice;
  /** Whether the owner may run host commands, where policy and manifest allow it, too. */
  readonly allowExec?: boolean;
  /** Hears of what who watches the agent may want to know. */
  readonly notice?: (text: string) => void;
  readonly http: { readonly hostname: string; readonly port: number };
  /** Where Prometheus reads; nowhere but the control socket unless given. */
  readonly metrics?: { readonly hostname: string; readonly port: number };
  /** Where traces go by OTLP, and which: see `TracerInit`. Nowhere unless given. */
  readonly traces?: Pick<TracerInit, "ratio" | "callersPerSecond"> & { readonly url: string };
  /** Version of the program. */
  readonly program: string;
  readonly clock?: Clock;
}

/** A running agent. */
export interface Agent {
  readonly controlPath: string;
  readonly proxyUrl: string;
  readonly metricsUrl: string | undefined;
  /** Where peers reach it. */
  readonly addresses: readonly string[];
  status(): Status;
  close(): Promise<void>;
}

const SAMPLE_MS = 5_000;
const WARM_WORKERS = 2;
/** Requests of clients and of other nodes have this long to end when the agent is stopped. */
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
    await openDataFolder(dataFolder);
    // First the store: its lock tells two agents on one folder apart.
    const store = new SqliteStore(join(dataFolder, "state.sqlite"));
    opened.push(() => store.close());
    const state = RealmState.open(store, verifierOf(nodeBackend()), options.claim);
    const keys = await ownKey(join(dataFolder, "node.key"));
    const blobs = await DiskBlobs.open(join(dataFolder, "blobs"));
    const sources = (digest: string) => blobs.get(digest);
    const engine = createEngine(dataFolder, { sources, warmWorkers: WARM_WORKERS, spawner: true });
    opened.push(() => engine.close());
    const processes = createProcessEngine(dataFolder, sources);
    opened.push(() => processes.close());

    const sampler = new NodeSampler(dataFolder);
    let sample = await sampler.sample();
    const notice = options.notice ?? (() => {});
    /** Tells that a server takes no connections for a moment. */
    const crowded = (what: string) => {
      const rare = new RareNotice(notice, () => clock.monotonicMs());
      return (reason: unknown) =>
        rare.tell(
          `Cannot take connections for ${what}, which is tried again: ${reason}. ` +
            "Start the agent with more open files: ulimit -n 65536",
        );
    };
    const peers: PeerServices = new PeerServices({
      blobs,
      clock,
      known: {
        isApproved: (peer) => realm.peer.core.isApproved(peer),
        isLive: (peer) => realm.peer.core.isLive(peer),
        healthOf: (peer) => realm.peer.core.healthOf(peer),
      },
      given: (component, peer) => node.given(component, peer),
      upstreamOf: (component) => node.upstream(component),
      fault: (peer, fault, reason) => {
        metrics.counts.add("realm_blob_faults_total", { fault });
        notice(`Peer ${peer} ${reason}`);
      },
      progress: ({ chunkBytes }) =>
        metrics.counts.add("realm_blob_bytes_total", { direction: "in" }, chunkBytes),
      sent: (bytes) => metrics.counts.add("realm_blob_bytes_total", { direction: "out" }, bytes),
      fetched: (outcome, ms) =>
        metrics.counts.took("realm_blob_fetch_duration_seconds", { outcome }, ms),
    });
    const traces = options.traces && startTraces(options.traces, {
      clock,
      node: () => node.name,
      program: options.program,
      counted: (outcome, spans) =>
        metrics.counts.add("realm_trace_spans_total", { outcome }, spans),
    });
    opened.push(() => traces?.close());
    const node: Node = new Node({
      name: options.nodeName,
      key: formatPublicKey(keys.publicKey),
      dataFolder,
      openSecret: async (name, sealed) => {
        const { openSecret } = await import("./member/secret_seal.ts");
        return await openSecret(name, sealed, keys.secretKey);
      },
      state,
      others: () => realm.others(),
      engines: { worker: engine, process: processes },
      blobs,
      clock,
      peers,
      records: () => realm.records(),
      changed: () => realm.healthChanged(),
      followed: () => metrics.followed(),
      tracer: traces?.tracer,
      revealed: (component, isOpened) => {
        const outcome = isOpened ? "ok" : "failed";
        metrics.counts.add("realm_secret_reveals_total", { component, outcome });
      },
      notice,
      ended: ({ component, index, startedAtMs, restarts, usage }) =>
        metrics.counts.record({
          component,
          replica: index,
          instance: startedAtMs,
          restarts,
          usage,
        }),
    });
    opened.push(() => node.close());
    const samples = new Samples();
    const takeSample = () => {
      const { cpuPercent, agentMemoryBytes } = sample;
      samples.take({
        wallMs: clock.wallMs(),
        monotonicMs: clock.monotonicMs(),
        cpuPercent,
        agentMemoryBytes,
        replicas: node.supervisor.replicas(),
      });
      alarms.sampled(sample);
    };
    const metrics: NodeMetrics = new NodeMetrics({
      clock,
      program: options.program,
      state,
      node: () => node,
      realm: () => realm,
      alarms: () => alarms,
      topics: () => apps.statuses(),
      sample: () => sample,
    });
    const ahead = new SignaturesAhead(verifierOf(nodeBackend()));
    opened.push(() => ahead.close());
    const sharing: AppSharing = new AppSharing({
      self: formatPublicKey(keys.publicKey),
      store,
      verify: ahead.verify,
      ahead,
      clock,
      member: () => realm,
      bundle: (id) => apps.bundles.bytes(id),
      notice,
    });
    opened.push(() => sharing.close());
    const apps: AppsHost = await AppsHost.open({
      dataFolder,
      store,
      verify: ahead.verify,
      clock,
      notice,
      opened: (topic, person) => sharing.opened(topic, person),
      removed: (topic) => sharing.removed(topic),
      ticketPeers: (topic) => sharing.ticketPeers(topic),
      fetchBundle: (id) => sharing.fetch(id),
      fetchState: (topic, digest) => sharing.fetchState(topic, digest),
    });
    opened.push(() => apps.close());
    const alarms: NodeAlarms = new NodeAlarms({
      clock,
      state,
      node,
      realm: () => realm,
      topics: () => apps.statuses(),
    });
    let remote: RemoteControl | undefined;
    const realm: RealmMember = new RealmMember({
      keys,
      name: options.nodeName,
      program: options.program,
      state,
      clock,
      node: () => node,
      sample: () => sample,
      alarms: () => alarms.told,
      heard: () => metrics.heard(),
      joined: (network) => {
        peers.join(network);
        sharing.join(network);
        const roleOf = (peer: string) => realm.roleOf(peer);
        remote = serveRemoteControl({ network, api, dataFolder, roleOf, onBug: console.error });
      },
      changed: () => {
        remote?.review();
        metrics.heard();
        // The core is in the middle of something.
        queueMicrotask(() => {
          peers.changed();
          node.takeOver().catch(console.error);
        });
      },
      notice,
      lan: options.lan,
      apps: sharing,
    });
    opened.push(() => realm.close());
    opened.push(() => peers.close());
    opened.push(() => remote?.close());

    takeSample();
    const folder = new FolderNotice(notice);
    const sampling = setInterval(() => {
      sampler.sample().then((next) => {
        sample = next;
        folder.seen();
      }, (error: Error) => folder.failed(error)).then(takeSample).catch(console.error);
    }, SAMPLE_MS);
    opened.push(() => clearInterval(sampling));

    let proxy: ProxyServer | undefined;
    const api = new NodeApi({
      node,
      realm,
      commands: new HostCommands({
        isAllowed: options.allowExec ?? false,
        nodeName: () => node.name,
        policy: () => node.policy(),
        state,
        clock,
        append: (event) => realm.append([event]),
        write: (said) => realm.write(said),
      }),
      program: options.program,
      proxyUrl: () => proxy && urlOf(proxy),
      metrics: () => metrics.counts.text(),
      samples,
      alarms: () => alarms.all(),
      apps,
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
        crowded: crowded("the proxy"),
        ...(traces ? { tracer: traces.tracer } : {}),
        onRequest: ({ route = "none", component, status, durationMs, outcome }) => {
          metrics.counts.request({
            route,
            component: component ?? "none",
            status,
            durationMs,
            outcome,
          });
          // That a client left is no fault of a component.
          const isLeft = outcome === "canceled" || outcome === "incomplete";
          samples.request(component, status >= 500 && !isLeft, durationMs);
        },
      }));
    opened.push(() => Promise.all([listening.close(CLOSE_GRACE_MS), peers.finish(CLOSE_GRACE_MS)]));
    const metricsServer = options.metrics &&
      serveMetrics(options.metrics, metrics, crowded("metrics"));
    if (metricsServer) opened.push(() => metricsServer.shutdown());

    await node.takeOver();
    for (const address of options.join ?? []) realm.name(address);
    const listenAt = options.listen ?? [];
    if (listenAt.length > 0 || realm.knowsPeers) {
      await realm.start(listenAt);
    }
    sharing.started();
    return {
      controlPath: control.socketPath,
      proxyUrl: urlOf(proxy),
      metricsUrl: metricsServer && `${urlOf(metricsServer.addr)}/metrics`,
      addresses: realm.addresses,
      status: () => api.status(),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Records spans and sends them. */
function startTraces(
  { url, ...which }: NonNullable<AgentOptions["traces"]>,
  { clock, ...about }: Pick<OtlpInit, "node" | "program" | "counted"> & { readonly clock: Clock },
) {
  const exporter = new OtlpExporter({ url, ...about });
  const tracer = new SpanRecorder({
    clock,
    ...which,
    ended: (span) => exporter.add(span),
    random: (bytes) => void crypto.getRandomValues(bytes),
  });
  return { tracer, close: () => exporter.close() };
}

/** Serves `/metrics` and nothing else. */
function serveMetrics(
  at: { readonly hostname: string; readonly port: number },
  metrics: NodeMetrics,
  failed: (reason: unknown) => void,
) {
  const serve = ({ hostname, port }: typeof at) =>
    Deno.serve({ hostname, port, onListen: () => {} }, (request) => {
      if (new URL(request.url).pathname !== "/metrics") {
        return new Response("Not found: see /metrics\n", { status: 404 });
      }
      return new Response(metrics.counts.text(), {
        headers: { "content-type": "text/plain; version=0.0.4" },
      });
    });
  const first = listen("metrics", at, () => serve(at));
  const { addr } = first;
  const again = () => serve(addr);
  const { sleep } = systemClock;
  const server = new SteadyServer({ first, again, sleep, failed });
  return { addr, shutdown: () => server.shutdown() };
}

function urlOf({ hostname, port }: { hostname: string; port: number }): string {
  return `http://${hostname.includes(":") ? `[${hostname}]` : hostname}:${port}`;
}
