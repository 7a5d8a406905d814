/**
 * The metrics of one node: what `observe/metrics.ts` counts, joined with the parts that know it.
 *
 * @module
 */
import type { AppsHost } from "./topics/apps_host.ts";
import type { Clock } from "./kernel/ports.ts";
import type { Node } from "./node/node.ts";
import type { NodeAlarms } from "./node_alarms.ts";
import { Metrics, type NodeMetrics as Machine, type Reading } from "./observe/metrics.ts";
import { RolloutWatch } from "./observe/rollout_watch.ts";
import { SyncLag } from "./observe/sync_lag.ts";
import { ALARM_CODES } from "./realm/alarms.ts";
import type { RealmMember } from "./member/realm_member.ts";
import type { RealmState } from "./node/realm_state.ts";

/** What {@link NodeMetrics} are made of. */
export interface NodeMetricsInit {
  readonly clock: Clock;
  /** Version of the program. */
  readonly program: string;
  readonly state: Pick<RealmState, "inForce" | "log">;
  readonly node: () => Pick<Node, "supervisor" | "rollouts" | "log" | "mayStart">;
  readonly realm: () => Pick<
    RealmMember,
    "heard" | "headsDigest" | "network" | "nodes" | "peer" | "peers"
  >;
  readonly alarms: () => Pick<NodeAlarms, "all">;
  readonly topics: () => ReturnType<AppsHost["statuses"]>;
  /** The last sample of the machine. */
  readonly sample: () => Machine;
}

/** See the module. */
export class NodeMetrics {
  /** Where everything is counted that happens. */
  readonly counts: Metrics;
  readonly #init: NodeMetricsInit;
  readonly #startedAtMs: number;
  readonly #lag = new SyncLag((ms) => this.counts.took("realm_sync_lag_seconds", {}, ms));
  readonly #rollouts = new RolloutWatch((outcome, ms) =>
    this.counts.took("realm_rollout_duration_seconds", { outcome }, ms)
  );

  constructor(init: NodeMetricsInit) {
    this.counts = new Metrics({
      replicas: () =>
        init.node().supervisor.replicas().map((
          { index, startedAtMs, usage, limits, ...replica },
        ) => ({
          ...replica,
          replica: index,
          instance: startedAtMs ?? 0,
          usage: usage ?? undefined,
          memoryBytesMax: limits?.memoryBytesMax,
        })),
      readings: () => this.#readings(),
    });
    this.#init = init;
    this.#startedAtMs = init.clock.wallMs();
  }

  /** Other nodes said something, or the control log changed. */
  heard(): void {
    const { clock, realm } = this.#init;
    const others = realm().heard().filter(({ isLive }) => isLive)
      .map(({ node, record }) => [node, record.heads] as const);
    this.#lag.look(realm().headsDigest(), new Map(others), clock.monotonicMs());
  }

  /** The node looked how far rollouts are. */
  followed(): void {
    this.#rollouts.look(this.#init.node().rollouts, this.#init.clock.monotonicMs());
  }

  *#readings(): Generator<Reading> {
    const { program } = this.#init;
    yield ["realm_info", { version: program }, 1];
    yield ["realm_start_time_seconds", {}, this.#startedAtMs / 1000];
    yield* this.#ofMachine();
    yield* this.#ofNode();
    yield* this.#ofRealm();
    const topics = this.#init.topics();
    for (const [state, all] of Map.groupBy(topics, (topic) => topic.state)) {
      yield ["realm_topics", { state }, all.length];
    }
    yield ["realm_topic_peers", {}, topics.reduce((sum, { peers }) => sum + peers.length, 0)];
  }

  *#ofMachine(): Generator<Reading> {
    const sample = this.#init.sample();
    yield ["realm_node_cpu_percent", {}, sample.cpuPercent];
    yield ["realm_node_memory_bytes", { kind: "total" }, sample.memoryTotalBytes];
    yield ["realm_node_memory_bytes", { kind: "used" }, sample.memoryUsedBytes];
    yield ["realm_node_disk_bytes", { kind: "total" }, sample.diskTotalBytes];
    yield ["realm_node_disk_bytes", { kind: "used" }, sample.diskUsedBytes];
    yield ["realm_agent_memory_bytes", {}, sample.agentMemoryBytes];
  }

  *#ofNode(): Generator<Reading> {
    const { state, node } = this.#init;
    const here = node();
    const manifest = state.inForce?.manifest;
    yield ["realm_components", {}, manifest?.components.size ?? 0];
    yield ["realm_majority", {}, here.mayStart ? 1 : 0];
    yield ["realm_manifest_version", {}, state.inForce?.signature.version ?? 0];
    yield ["realm_control_log_events", {}, state.log.topic?.size ?? 0];
    for (const [state, all] of Map.groupBy(here.supervisor.replicas(), (each) => each.state)) {
      yield ["realm_replicas", { state }, all.length];
    }
    for (const [component, { wanted, settled }] of here.rollouts) {
      yield ["realm_rollout_replicas", { component, kind: "wanted" }, wanted];
      yield ["realm_rollout_replicas", { component, kind: "settled" }, settled];
    }
    for (const component of manifest?.components.keys() ?? []) {
      yield ["realm_log_lines_dropped_total", { component }, here.log(component).droppedLines];
    }
  }

  *#ofRealm(): Generator<Reading> {
    const realm = this.#init.realm();
    const codes = Map.groupBy(this.#init.alarms().all(), ({ code }) => code);
    for (const name of ALARM_CODES) yield ["realm_alarm", { name }, codes.get(name)?.length ?? 0];
    const states = Map.groupBy(
      realm.nodes(),
      ({ state, live }) => state !== "approved" ? state : live ? "live" : "silent",
    );
    for (const state of ["live", "silent", "pending", "revoked"] as const) {
      yield ["realm_nodes", { state }, states.get(state)?.length ?? 0];
    }
    yield ["realm_node_p2p_links", {}, realm.network?.connections().length ?? 0];
    yield ["realm_sync_behind_nodes", {}, this.#lag.behind];
    for (const direction of ["in", "out"] as const) {
      const { frames, bytes } = realm.peer.traffic[direction];
      yield ["realm_gossip_frames_total", { direction }, frames];
      yield ["realm_gossip_bytes_total", { direction }, bytes];
    }
    for (const { node, ageMs } of realm.heard()) {
      yield ["realm_gossip_age_seconds", { node }, ageMs / 1000];
    }
    for (const { name: node, latencyMs } of realm.peers()) {
      if (node === null || latencyMs === null) continue;
      yield ["realm_peer_rtt_seconds", { node }, latencyMs / 1000];
    }
  }
}
