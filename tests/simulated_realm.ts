/**
 * A realm of any size that is not there: the control API of an agent that tells of it, on a socket, for
 * what shows realms. Numbers move with time, a component writes as many lines as one likes.
 *
 *     deno run -A tests/simulated_realm.ts DATA_FOLDER [NODES] [COMPONENTS] [LINES_PER_SECOND]
 *
 * @module
 */
import * as path from "node:path";
import type { LogEvent, LogOptions, Status } from "../agent/control/api.ts";
import { FakeApi } from "../agent/control/fake_api.ts";
import { serveControl } from "../agent/control/server.ts";
import { systemClock } from "../agent/node/system_clock.ts";
import {
  fakeNode,
  fakeReplica,
  fakeStatus,
  fallenReplica,
  historyEntry,
  NOW_MS,
} from "../tui/status_fake.ts";

const TAGS = [["metal", "eu"], ["metal", "us"], ["edge"], ["laptop"]];
const WORDS = ["auth", "orders", "mail", "search", "images", "billing", "feed", "audit"];
/** Replicas of each component, over all nodes. */
const REPLICAS = 4;
/** Nodes that a node is linked with. */
const LINKS = 24;

const nodeName = (i: number) => `node-${String(i + 1).padStart(3, "0")}`;

/** What the first node says of a realm of this size, so long after its start. */
export function simulatedStatus(nodeCount: number, componentCount: number, atMs: number): Status {
  const seconds = atMs / 1000;
  const wave = (i: number) => 0.5 + 0.5 * Math.sin(seconds / 3 + i * 1.7);
  const base = fakeStatus();
  const keyOf = (i: number) => i === 0 ? base.node.key : `ed25519:${nodeName(i)}`;
  const nodes = Array.from({ length: nodeCount }, (_, i) =>
    fakeNode(nodeName(i), {
      key: keyOf(i),
      self: i === 0,
      live: i % 37 !== 36,
      silentSinceMs: i % 37 === 36 ? NOW_MS - 90_000 : null,
      drained: i % 23 === 22,
      tags: TAGS[i % TAGS.length]!,
      latencyMs: i === 0 ? null : 0.4 + (i % 9) * 11 * wave(i),
      health: {
        wanted: Math.ceil(componentCount * REPLICAS / nodeCount),
        running: Math.ceil(componentCount * REPLICAS / nodeCount) - (i % 11 === 10 ? 1 : 0),
        cpuPermille: Math.round(900 * wave(i)),
        memoryBytes: Math.round((150 + 80 * wave(i)) * 2 ** 20),
      },
      links: Array.from({ length: Math.min(LINKS, nodeCount - 1) }, (_, k) => ({
        key: keyOf((i + k + 1) % nodeCount),
        latencyMs: 0.4 + ((i + k) % 9) * 12,
      })),
    }));
  const components = Array.from({ length: componentCount }, (_, i) => ({
    ...base.components[0]!,
    name: `${WORDS[i % WORDS.length]}-${String(Math.floor(i / WORDS.length) + 1).padStart(3, "0")}`,
    replicas: i % nodeCount < 1 ? 1 : 0,
    placed: Array.from({ length: Math.min(REPLICAS, nodeCount) }, (_, k) => ({
      node: nodeName((i + k) % nodeCount),
      replicas: 1,
      running: i % 50 === 49 && k === 1 ? 0 : 1,
    })),
    rollout: {
      state: i % 100 === 7 ? "rolling" as const : "complete" as const,
      version: 3,
      wanted: REPLICAS,
      settled: i % 100 === 7 ? Math.floor(seconds / 2) % REPLICAS : REPLICAS,
      waitsFor: [],
      refusedBy: [],
      failure: null,
    },
  }));
  const replicas = components.filter(({ replicas }) => replicas > 0).map(({ name }, i) => {
    const replica = fakeReplica(name, 0, { node: nodeName(0) });
    return i % 10 === 9 ? { ...fallenReplica(name, 0), node: nodeName(0) } : {
      ...replica,
      usage: {
        ...replica.usage!,
        fuelUsed: Math.round(2_500_000 * seconds * (1 + (i % 3) / 4)),
        memoryBytes: Math.round((10 + 50 * wave(i)) * 2 ** 20),
        throttledMs: i % 7 === 6 ? atMs / 5 : 0,
      },
    };
  });
  const topics = ["lunch", "standup"].map((name) => ({
    topic: `bafyreitopic${name}`,
    name,
    app: "bafyreiapp",
    appName: "poll",
    bundle: "bafyreibundle",
    role: "member" as const,
    state: "running" as const,
    why: null,
    key: base.node.key,
    behaviorKey: null,
    behaviorProblem: null,
    encrypted: name === "standup",
    events: 120,
    applied: 120,
    settled: true,
    heads: ["bafyreihead"],
    digest: "cd".repeat(32),
    members: [{ key: base.node.key, role: "creator" }],
    peers: ["ed25519:bob"],
    alarms: [],
  }));
  return fakeStatus({
    node: { ...base.node, name: nodeName(0), startedAtMs: NOW_MS - 86_400_000 },
    nodes,
    components,
    replicas,
    topics,
    routes: [],
  });
}

/** The control API of that realm. */
export class SimulatedApi extends FakeApi {
  readonly #beganMs = performance.now();

  constructor(
    readonly nodeCount: number,
    readonly componentCount: number,
    readonly linesPerSec: number,
  ) {
    super();
  }

  /** Thrown when it is asked for its status, while set. */
  failing: unknown = undefined;

  override status = (): Status => {
    if (this.failing !== undefined) throw this.failing;
    return simulatedStatus(this.nodeCount, this.componentCount, performance.now() - this.#beganMs);
  };
  override nodes = () => [...this.status().nodes];
  override history = () => [
    historyEntry(3, "in-force"),
    historyEntry(2, "applied"),
    historyEntry(1, "applied"),
  ];

  override logs = async function* (
    this: SimulatedApi,
    { component }: LogOptions,
    signal: AbortSignal,
  ): AsyncGenerator<LogEvent> {
    const everyMs = 50;
    for (let n = 0; !signal.aborted;) {
      for (let i = 0; i < Math.max(1, this.linesPerSec * everyMs / 1000); i++, n++) {
        yield {
          kind: "line",
          replica: n % 4,
          wallMs: Date.now(),
          stream: n % 17 === 16 ? "stderr" : "stdout",
          text: `${component} answered request ${n} of 10.0.0.${n % 256} with ${
            n % 29 === 28 ? 500 : 200
          } in ${(n * 7919) % 40} ms`,
        };
      }
      await systemClock.sleep(everyMs, signal).catch(() => {}); // rejects when nobody reads
    }
  };
}

if (import.meta.main) {
  const [folder = ".", nodes = "100", components = "1000", lines = "100"] = Deno.args;
  await serveControl({
    path: path.join(folder, "control.sock"),
    api: new SimulatedApi(Number(nodes), Number(components), Number(lines)),
  });
  console.log(`a realm of ${nodes} nodes and ${components} components: realm tui --data ${folder}`);
}
