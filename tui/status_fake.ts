/**
 * States of an agent for tests.
 *
 * @module
 */
import { NO_USAGE } from "../agent/kernel/ports.ts";
import type { HistoryEntry } from "./session.ts";
import type { ReplicaStatus, Status } from "./view_model.ts";

/** Wall time at which these states are looked at. */
export const NOW_MS = Date.UTC(2026, 10, 22, 12, 0, 0);

export const DIGEST = "ab".repeat(32);
const KEY = "ed25519:9XRCk5JnAzMNb6PrwFWy2D8VvEuTpQsGqHhZoYdLc3Ba";
const MIB = 2 ** 20;

/** A replica that has been running for a minute, but for what is given. */
export function fakeReplica(
  component: string,
  index: number,
  but: Partial<ReplicaStatus> = {},
): ReplicaStatus {
  return {
    component,
    index,
    node: "bm-01",
    state: "running",
    digest: DIGEST,
    restarts: 0,
    startedAtMs: NOW_MS - 60_000,
    retryAtMs: null,
    limits: {
      memoryBytesMax: 64 * MIB,
      fuelPerSec: 5_000_000,
      epochTimeoutMs: 100,
      concurrencyMax: 64,
      handlesMax: 1024,
      openFilesMax: 1024,
      socketsMax: 256,
      logLinesPerSecMax: 1000,
    },
    usage: {
      ...NO_USAGE,
      fuelUsed: 10_000_000,
      memoryBytes: 24 * MIB,
      memoryBytesPeak: 32 * MIB,
      runningMs: 1_000,
      preemptions: 3,
    },
    isolation: "worker",
    process: null,
    lastExit: null,
    ...but,
  };
}

/** A replica that trapped and is about to be started again. */
export function fallenReplica(component: string, index: number): ReplicaStatus {
  return fakeReplica(component, index, {
    state: "backoff",
    restarts: 3,
    startedAtMs: null,
    retryAtMs: NOW_MS + 4_000,
    usage: null,
    limits: null,
    lastExit: {
      atMs: NOW_MS - 1_000,
      exit: {
        kind: "trap",
        code: "epoch-timeout",
        message: "ran for 100 ms without a return to the host",
        backtrace: [],
      },
    },
  });
}

/** An approved machine that lives and agrees, but for what is given. */
export function fakeNode(name: string, but: Partial<Status["nodes"][number]> = {}) {
  return {
    name,
    key: `ed25519:${name}`,
    fingerprint: "3f2a-91bc-04de-77a1-5b60",
    state: "approved",
    self: false,
    live: true,
    silentSinceMs: null,
    drained: false,
    program: "0.1.0",
    version: 3,
    heads: "abcd",
    view: null,
    drift: false,
    health: { wanted: 3, running: 3, cpuPermille: 120, memoryBytes: 200 * MIB },
    latencyMs: null,
    links: [],
    tags: [],
    addresses: [],
    ...but,
  } as const;
}

/** An alarm of this machine since a minute, but for what is given. */
export function fakeAlarm(message: string, but: Partial<Status["alarms"][number]> = {}) {
  return {
    code: "replica-restarting",
    severity: "warning",
    node: "bm-01",
    subject: null,
    value: null,
    sinceAtMs: NOW_MS - 60_000,
    message,
    hint: "Do something",
    ...but,
  } as const;
}

/** An agent with `auth` twice and `orders` once, but for what is given. */
export function fakeStatus(but: Partial<Status> = {}): Status {
  return {
    node: {
      name: "bm-01",
      key: KEY,
      owner: KEY,
      realm: "shop",
      program: "0.1.0",
      startedAtMs: NOW_MS - 3_600_000,
      dataFolder: "/home/ada/.realm",
    },
    manifest: { version: 3, sha256: DIGEST, appliedAtMs: NOW_MS - 300_000 },
    refused: [],
    topic: "bafytopic",
    nodes: [fakeNode("bm-01", { key: KEY, self: true })],
    majority: true,
    alarms: [],
    proxy: "http://127.0.0.1:8080",
    components: [
      {
        name: "auth",
        world: "wasi:http/proxy",
        digest: DIGEST,
        replicas: 2,
        placed: [{ node: "bm-01", replicas: 2, running: 2 }],
        rollout: null,
        unplaced: [],
        scaledTo: null,
        droppedLogLines: 0,
      },
      {
        name: "orders",
        world: "wasi:cli/command",
        digest: DIGEST,
        replicas: 1,
        placed: [{ node: "bm-01", replicas: 1, running: 1 }],
        rollout: null,
        unplaced: [],
        scaledTo: null,
        droppedLogLines: 0,
      },
    ],
    replicas: [fakeReplica("auth", 0), fakeReplica("auth", 1), fakeReplica("orders", 0)],
    topics: [],
    routes: [{
      host: null,
      path: "/auth/...",
      component: "auth",
      placement: "bm-01",
      replicas: 2,
      weight: 100,
      stripPrefix: false,
    }],
    ...but,
  };
}

/** A manifest of the control log. */
export function historyEntry(
  version: number,
  state: HistoryEntry["state"],
  but: Partial<HistoryEntry> = {},
): HistoryEntry {
  return {
    version,
    sha256: DIGEST,
    author: KEY,
    event: `bafyevent${version}`,
    state,
    takenAtMs: NOW_MS - 60_000,
    ...but,
  };
}
