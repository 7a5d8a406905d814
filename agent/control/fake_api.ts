/**
 * A {@link ControlApi} that records its calls, for the tests of this folder.
 *
 * @module
 */
import { sha256Hex } from "../kernel/sha256.ts";
import { APP_CALLS, type AppsApi } from "./apps_api.ts";
import type {
  ControlApi,
  ExecEntry,
  HistoryEntry,
  LogEvent,
  LogOptions,
  LogPlace,
  PeerStatus,
  PublicationProof,
  Status,
} from "./api.ts";

const DIGEST = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/** A status with every field filled in. */
export const STATUS: Status = {
  node: {
    name: "laptop",
    key: "ed25519:node",
    owner: "ed25519:owner",
    realm: "shop",
    program: "0.1.0",
    startedAtMs: 1_000,
    dataFolder: "/home/me/.realm",
  },
  manifest: { version: 7, sha256: DIGEST, appliedAtMs: 2_000 },
  refused: [{ atMs: 3_000, version: 6, code: "stale", message: "Cannot apply manifest: 6" }],
  topic: "bafytopic",
  nodes: [
    {
      name: "laptop",
      key: "ed25519:node",
      fingerprint: "3f2a-91bc-04de-77a1-5b60",
      state: "approved",
      self: true,
      live: true,
      silentSinceMs: null,
      drained: false,
      program: "0.1.0",
      version: 7,
      heads: "aa",
      view: null,
      drift: false,
      health: { wanted: 2, running: 1, cpuPermille: 500, memoryBytes: 1_000 },
      latencyMs: null,
      links: [],
      tags: ["metal"],
      addresses: ["/ip4/127.0.0.1/tcp/4001"],
    },
    {
      name: "bm-01",
      key: "ed25519:other",
      fingerprint: "0000-91bc-04de-77a1-5b60",
      state: "pending",
      self: false,
      live: false,
      silentSinceMs: 3_500,
      drained: false,
      program: null,
      version: null,
      heads: null,
      view: null,
      drift: false,
      health: null,
      latencyMs: 1.5,
      links: [{ key: "ed25519:node", latencyMs: 1.5 }],
      tags: [],
      addresses: [],
    },
  ],
  majority: true,
  alarms: [{
    code: "disk",
    severity: "warning",
    node: "bm-01",
    subject: null,
    value: "94 %",
    sinceAtMs: 1_000,
    message: "the disk of bm-01 is 94 % full",
    hint: "Make room",
  }, {
    code: "drift",
    severity: "critical",
    node: "laptop",
    subject: "lunch",
    value: "drift: somebody",
    sinceAtMs: 2_000,
    message: "topic lunch: drift: somebody",
    hint: "Report this",
  }],
  proxy: "http://127.0.0.1:8080",
  components: [{
    name: "auth",
    world: "wasi:http/proxy",
    digest: DIGEST,
    replicas: 2,
    placed: [{ node: "laptop", replicas: 2, running: 1 }],
    rollout: null,
    unplaced: [],
    scaledTo: 2,
    droppedLogLines: 0,
  }],
  replicas: [
    {
      component: "auth",
      index: 0,
      node: "laptop",
      state: "running",
      digest: DIGEST,
      restarts: 1,
      startedAtMs: 4_000,
      retryAtMs: null,
      limits: {
        memoryBytesMax: 67_108_864,
        fuelPerSec: 5_000_000,
        epochTimeoutMs: 100,
        concurrencyMax: 64,
        handlesMax: 1024,
        openFilesMax: 1024,
        socketsMax: 256,
        logLinesPerSecMax: 1000,
      },
      usage: {
        fuelUsed: 12_345,
        memoryBytes: 1_114_112,
        memoryBytesPeak: 1_179_648,
        runningMs: 1.5,
        throttledMs: 0,
        preemptions: 3,
        refusedGrowths: 0,
        traps: 0,
        hostBytes: 4_096,
        handles: 12,
        openFiles: 1,
        sockets: 0,
        requests: 2,
        droppedLogLines: 0,
      },
      isolation: "worker",
      process: null,
      lastExit: {
        atMs: 3_900,
        exit: {
          kind: "trap",
          code: "epoch-timeout",
          message: "ran 101 ms",
          backtrace: [{ module: "m", function: "f", offset: 1 }],
        },
      },
    },
    {
      component: "auth",
      index: 1,
      node: "laptop",
      state: "backoff",
      digest: DIGEST,
      restarts: 4,
      startedAtMs: null,
      retryAtMs: 9_000,
      limits: null,
      usage: null,
      isolation: "process",
      process: null,
      lastExit: null,
    },
  ],
  routes: [{
    host: null,
    path: "/auth/...",
    component: "auth",
    placement: "tag:metal",
    replicas: 2,
    weight: 100,
    stripPrefix: false,
  }],
  topics: [{
    topic: "bafytopic",
    name: "lunch",
    app: "bafyapp",
    appName: "poll",
    bundle: "bafybundle",
    role: "creator",
    state: "running",
    why: null,
    key: "ed25519:person",
    behaviorKey: null,
    behaviorProblem: null,
    encrypted: false,
    events: 3,
    applied: 2,
    settled: true,
    heads: ["bafyhead"],
    digest: DIGEST,
    members: [{ key: "ed25519:person", role: "creator" }],
    peers: [],
    alarms: [],
  }],
};

/** A place in a log. */
export const PLACE: LogPlace = {
  topic: "bafytopic",
  heads: [{ id: "bafyhead", lamport: 3 }],
  previous: { id: "bafyhead", seq: 2 },
  published: ["ab".repeat(32)],
  versionMax: 7,
  forked: false,
};

/** A proof. */
export const PROOF: PublicationProof = {
  event: "AQI=",
  index: 1,
  path: ["0f".repeat(32)],
  before: null,
};

/** A manifest of the past. */
export const EXEC: ExecEntry = {
  event: "bafyexec",
  author: "ed25519:owner",
  node: "bm-01",
  key: "ed25519:node",
  command: ["uptime", "-p"],
  status: 0,
  expiresAtMs: 2_000,
  takenAtMs: 1_000,
};

export const HISTORY: HistoryEntry = {
  version: 6,
  sha256: DIGEST,
  author: "ed25519:owner",
  event: "bafyevent",
  state: "stale",
  reason: "stale",
  takenAtMs: 1_500,
};

/** Somebody connected. */
export const PEER: PeerStatus = {
  key: "ed25519:other",
  name: "bm-01",
  connected: true,
  direction: "outbound",
  relayed: false,
  latencyMs: 1.5,
  addresses: ["/ip4/127.0.0.1/tcp/4002"],
};

/** The calls about apps, all answered by one function. */
export function fakeApps(answer: (name: string, params: unknown) => unknown): AppsApi {
  return Object.fromEntries(
    Object.keys(APP_CALLS).map((name) => [name, (params: unknown) => answer(name, params)]),
  ) as unknown as AppsApi;
}

/** Answers from fixed values; `calls` has what was asked, `blobs` what was uploaded. */
export class FakeApi implements ControlApi {
  readonly calls: unknown[][] = [];
  readonly stored = new Map<string, Uint8Array>();
  /** What {@link logs} streams. */
  events: (options: LogOptions, signal: AbortSignal) => AsyncIterable<LogEvent> =
    async function* () {};
  /** Thrown by every call that is given a component, while set. */
  failure: unknown = undefined;

  readonly blobs = {
    has: async (digest: string): Promise<boolean> => this.stored.has(digest),
    get: async (digest: string): Promise<Uint8Array | undefined> => this.stored.get(digest),
    put: async (bytes: Uint8Array): Promise<string> => {
      const digest = await sha256Hex(bytes);
      this.stored.set(digest, bytes);
      return digest;
    },
  };

  status = (): Status => STATUS;
  manifest: ControlApi["manifest"] = () => null;

  plan: ControlApi["plan"] = (request) => {
    this.calls.push(["plan", request]);
    return {
      currentVersion: null,
      changes: [{ change: "added", subject: "component", name: "auth", details: [] }],
      steps: [],
      unplaced: [],
      world: "0".repeat(64),
      violations: [],
      missing: [DIGEST],
    };
  };

  place: ControlApi["place"] = (author) => {
    this.calls.push(["place", author]);
    return PLACE;
  };

  append: ControlApi["append"] = (events) => {
    this.calls.push(["append", events]);
    if (this.failure !== undefined) throw this.failure;
    return { accepted: ["bafyevent"], version: 8, changes: [] };
  };

  exec: ControlApi["exec"] = async function* (this: FakeApi, event, timeoutMs) {
    this.calls.push(["exec", event, timeoutMs]);
    if (this.failure !== undefined) throw this.failure;
    yield { kind: "output", stream: "stdout", data: "aGk=" };
    yield { kind: "exit", status: 3 };
  };

  nodes = () => STATUS.nodes;
  history = () => [HISTORY];
  proof = () => PROOF;
  execs = () => [EXEC];
  peers = () => [PEER];

  samples: ControlApi["samples"] = (component, sinceMs) => {
    this.calls.push(["samples", component, sinceMs]);
    return { atMs: [1_000, 6_000], values: { cpu: [1.5, null] } };
  };

  secrets: ControlApi["secrets"] = () => [];

  addPeer: ControlApi["addPeer"] = (address) => {
    this.calls.push(["addPeer", address]);
    if (this.failure !== undefined) throw this.failure;
    return { key: PEER.key };
  };

  logs: ControlApi["logs"] = (options, signal) => {
    this.calls.push(["logs", options]);
    if (this.failure !== undefined) throw this.failure;
    return this.events(options, signal);
  };

  metrics = (): string => "# TYPE x counter\nx 1\n";

  /** What calls about apps answer, by their names. */
  readonly answers: Record<string, unknown> = {};
  readonly apps = fakeApps((name, params) => {
    this.calls.push([name, params]);
    if (this.failure !== undefined) throw this.failure;
    return this.answers[name];
  });
}
