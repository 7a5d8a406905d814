/**
 * Every metric there is: what it is called, what it counts, and by which labels. Names and labels are
 * a contract; `docs/metrics.md` is made of this table.
 *
 * What a label can be is bounded: names of the manifest, nodes of the realm, words of the program. A
 * guest may answer with any status, so `code` is the number of a usual one and the class (`4xx`) of
 * any other.
 *
 * @module
 */

/** One metric. */
export interface MetricSpec {
  readonly type: "counter" | "gauge" | "histogram";
  /** One sentence without a final period. */
  readonly help: string;
  readonly labels: readonly string[];
  /** Upper bounds of the buckets of a histogram, in its unit, ascending; without the last, +Inf. */
  readonly buckets?: readonly number[];
}

const REPLICA = ["component", "replica"] as const;
const REQUEST_SECONDS = [
  ...[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
] as const;
const TRANSFER_SECONDS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300] as const;

/** See the module. */
export const METRICS = {
  wasm_exec_time_ms: {
    type: "counter",
    help: "Milliseconds that guest code ran, without host calls and throttling",
    labels: REPLICA,
  },
  wasm_throttled_time_ms: {
    type: "counter",
    help: "Milliseconds that the guest was made to wait for fuel",
    labels: REPLICA,
  },
  wasm_restarts_total: {
    type: "counter",
    help: "Times the replica was started again",
    labels: REPLICA,
  },
  wasm_traps_total: {
    type: "counter",
    help: "Instances of a handler that trapped and were thrown away",
    labels: REPLICA,
  },
  fuel_used_total: { type: "counter", help: "Instructions executed", labels: REPLICA },
  epoch_preemptions_total: {
    type: "counter",
    help: "Times the guest was made to pause, throttled or to let a neighbour run",
    labels: REPLICA,
  },
  mem_current_bytes: {
    type: "gauge",
    help: "Memories and tables of the replica's instances",
    labels: REPLICA,
  },
  mem_peak_bytes: { type: "gauge", help: "Most that they have had", labels: REPLICA },
  mem_limit_bytes: { type: "gauge", help: "Most that they may have", labels: REPLICA },

  realm_proxy_requests_total: {
    type: "counter",
    help: "Requests that the proxy of this node is done with",
    labels: ["route", "component", "code", "outcome"],
  },
  realm_proxy_request_duration_seconds: {
    type: "histogram",
    help: "From the head of the request to the end of the response",
    labels: ["route", "component", "outcome"],
    buckets: REQUEST_SECONDS,
  },

  realm_info: { type: "gauge", help: "1; the version of the program", labels: ["version"] },
  realm_start_time_seconds: {
    type: "gauge",
    help: "When the agent was started, in seconds since 1970",
    labels: [],
  },
  realm_node_cpu_percent: {
    type: "gauge",
    help: "Processor time in use, of all cores, 0 to 100",
    labels: [],
  },
  realm_node_memory_bytes: {
    type: "gauge",
    help: "Memory of the node (kind: total, used)",
    labels: ["kind"],
  },
  realm_node_disk_bytes: {
    type: "gauge",
    help: "The file system that holds the data folder (kind: total, used)",
    labels: ["kind"],
  },
  realm_agent_memory_bytes: {
    type: "gauge",
    help: "Resident memory of the agent, its instances included",
    labels: [],
  },
  realm_node_p2p_links: { type: "gauge", help: "Connections to other nodes", labels: [] },
  realm_components: { type: "gauge", help: "Components in the manifest", labels: [] },
  realm_replicas: { type: "gauge", help: "Replicas of this node by state", labels: ["state"] },
  realm_log_lines_dropped_total: {
    type: "counter",
    help: "Lines that came too fast and are not in the log",
    labels: ["component"],
  },
  realm_secret_reveals_total: {
    type: "counter",
    help: "Secrets that were opened for a replica (outcome: ok, failed)",
    labels: ["component", "outcome"],
  },

  realm_alarm: {
    type: "gauge",
    help: "Alarms of the realm as this node knows them, by name; see alarms.md",
    labels: ["name"],
  },
  realm_nodes: {
    type: "gauge",
    help: "Machines of the realm (state: live, silent, pending, revoked)",
    labels: ["state"],
  },
  realm_majority: {
    type: "gauge",
    help: "1 while this node may start what it does not run yet",
    labels: [],
  },
  realm_manifest_version: {
    type: "gauge",
    help: "Version of the manifest that this node goes by; 0 for none",
    labels: [],
  },
  realm_control_log_events: { type: "gauge", help: "Events of the control log", labels: [] },
  realm_sync_behind_nodes: {
    type: "gauge",
    help: "Nodes that live and have another control log than this one",
    labels: [],
  },
  realm_sync_lag_seconds: {
    type: "histogram",
    help: "For how long the control log of another node was another, each time that it was",
    labels: [],
    buckets: [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300],
  },
  realm_gossip_frames_total: {
    type: "counter",
    help: "Frames on links with other nodes (direction: in, out)",
    labels: ["direction"],
  },
  realm_gossip_bytes_total: {
    type: "counter",
    help: "Bytes of these frames",
    labels: ["direction"],
  },
  realm_gossip_age_seconds: {
    type: "gauge",
    help: "Since the node was last heard",
    labels: ["node"],
  },
  realm_peer_rtt_seconds: {
    type: "gauge",
    help: "Round trip to a node that is connected",
    labels: ["node"],
  },

  realm_rollout_replicas: {
    type: "gauge",
    help: "Replicas on all nodes: wanted, and settled in the release that is wanted",
    labels: ["component", "kind"],
  },
  realm_rollout_duration_seconds: {
    type: "histogram",
    help:
      "Rollouts as this node saw them, from their begin to their end (outcome: complete, failed)",
    labels: ["outcome"],
    buckets: [1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1_800],
  },

  realm_blob_fetch_duration_seconds: {
    type: "histogram",
    help: "Fetches of components from other nodes (outcome: ok, not-found, failed)",
    labels: ["outcome"],
    buckets: TRANSFER_SECONDS,
  },
  realm_blob_bytes_total: {
    type: "counter",
    help: "Bytes of components that came from other nodes or went to them (direction: in, out)",
    labels: ["direction"],
  },
  realm_blob_faults_total: {
    type: "counter",
    help: "What nodes did wrong when they gave components (fault: lied, stalled)",
    labels: ["fault"],
  },

  realm_trace_spans_total: {
    type: "counter",
    help: "Spans that were to be sent to the collector (outcome: sent, dropped, failed)",
    labels: ["outcome"],
  },

  realm_topics: {
    type: "gauge",
    help: "Topics of apps on this machine by state",
    labels: ["state"],
  },
  realm_topic_peers: {
    type: "gauge",
    help: "Links with others that take part in topics of this machine",
    labels: [],
  },
} as const satisfies Readonly<Record<string, MetricSpec>>;

/** Names a metric. */
export type MetricName = keyof typeof METRICS;

/** The metrics of one type. */
export type MetricOf<T extends MetricSpec["type"]> = {
  [N in MetricName]: (typeof METRICS)[N]["type"] extends T ? N : never;
}[MetricName];

/** The labels of a metric, each with its value. */
export type LabelsOf<N extends MetricName> = Readonly<
  Record<(typeof METRICS)[N]["labels"][number], string | number>
>;

/** Statuses that are counted each by itself. */
const USUAL = new Set([
  ...[200, 201, 202, 204, 206, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 409, 410],
  ...[413, 414, 415, 422, 429, 431, 499, 500, 501, 502, 503, 504],
]);

/** The label `code` of a status. */
export function codeOf(status: number): string {
  return USUAL.has(status) ? String(status) : `${Math.floor(status / 100)}xx`;
}
