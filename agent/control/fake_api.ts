/**
 * A {@link ControlApi} that records its calls, for the tests of this folder.
 *
 * @module
 */
import { sha256Hex } from "../kernel/sha256.ts";
import type { ControlApi, LogEvent, LogOptions, Status } from "./api.ts";

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
  proxy: "http://127.0.0.1:8080",
  components: [{
    name: "auth",
    world: "wasi:http/proxy",
    digest: DIGEST,
    replicas: 2,
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
};

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
      violations: [],
      missing: [DIGEST],
    };
  };

  apply: ControlApi["apply"] = (request) => {
    this.calls.push(["apply", request]);
    if (this.failure !== undefined) throw this.failure;
    return { version: 8, changes: [] };
  };

  logs: ControlApi["logs"] = (options, signal) => {
    this.calls.push(["logs", options]);
    if (this.failure !== undefined) throw this.failure;
    return this.events(options, signal);
  };

  restart: ControlApi["restart"] = (component) => {
    this.calls.push(["restart", component]);
    if (this.failure !== undefined) throw this.failure;
    return { restarted: 2 };
  };

  scale: ControlApi["scale"] = (component, replicas) => {
    this.calls.push(["scale", component, replicas]);
    if (this.failure !== undefined) throw this.failure;
    return { replicas: replicas ?? 1, scaledTo: replicas };
  };

  metrics = (): string => "# TYPE x counter\nx 1\n";
}
