/**
 * The control API: what a command, the dashboard or the web page may ask of an agent.
 *
 * One table of shapes, used by server and client alike. Sizes are in bytes, fuel in instructions;
 * points in time are milliseconds since 1970 in fields that end in `AtMs` or `wallMs`. Requests
 * with unknown keys are refused; unknown keys in answers are dropped, so that an older client
 * talks to a newer agent. Claiming an agent for an owner is not here on purpose: that is done on
 * the machine itself, when the agent starts. What changes the realm is an event that its author
 * signed before it came here: the agent has no key that could.
 *
 * | request | answer |
 * | --- | --- |
 * | `GET /v1/status` | {@link Status} |
 * | `GET /v1/manifest?version` | `{ current: CurrentManifest or null }`; of before with a version |
 * | `POST /v1/plan` {@link ManifestRequest} | {@link PlanAnswer} |
 * | `GET /v1/log?author=KEY` | {@link LogPlace} |
 * | `POST /v1/log` {@link EventsRequest} | {@link EventsAnswer} |
 * | `POST /v1/exec` {@link ExecRequest} | server-sent {@link ExecEvent}s |
 * | `GET /v1/nodes` | `{ nodes: NodeStatus[] }` |
 * | `GET /v1/history` | `{ versions: HistoryEntry[] }` |
 * | `GET /v1/proofs/DIGEST` | `{ proof: PublicationProof or null }` |
 * | `GET /v1/execs` | `{ execs: ExecEntry[] }` |
 * | `GET /v1/samples?component&since` | {@link SamplesAnswer} |
 * | `GET /v1/peers` | `{ peers: PeerStatus[] }` |
 * | `POST /v1/peers` {@link PeerRequest} | {@link PeerAnswer} |
 * | `HEAD`, `PUT /v1/blobs/DIGEST` | 200 or 404, 201 |
 * | `GET /v1/blobs/DIGEST` | its bytes, which other nodes are asked for |
 * | `GET /v1/components/NAME/logs?follow&tail&since&replica` | server-sent {@link LogEvent}s |
 * | `POST /v1/apps/CALL` | see `apps_api.ts` |
 * | `GET /metrics` | Prometheus text |
 *
 * Errors are `{ "error": { code, message, hint? } }`, see `kernel/error.ts`.
 *
 * @module
 */
import * as z from "zod";
import { type ErrorCode, EXIT_STATUS } from "../kernel/error.ts";
import type { Blobs } from "../kernel/ports.ts";
import { SHA256_HEX } from "../kernel/sha256.ts";
import { type AppsApi, topicStatus } from "./apps_api.ts";

/** Largest blob that can be uploaded. */
export const BLOB_BYTES_MAX = 256 * 1024 * 1024;
/** Largest JSON body of a request; a manifest travels in it as base64. */
export const JSON_BYTES_MAX = 4 * 1024 * 1024;
/** Most lines that a log request may ask to see again. */
export const LOG_TAIL_MAX = 100_000;
/** Most events that are handed over at once. */
export const EVENTS_MAX = 64;

const count = z.int().nonnegative();
const atMs = z.number().nonnegative();
const digest = z.string().regex(SHA256_HEX, "wanted 64 lower-case hex digits");
const errorCode = z.enum(Object.keys(EXIT_STATUS) as [ErrorCode, ...ErrorCode[]]);

/** Where a replica is in its life. */
export const replicaState = z.enum([
  "starting",
  "running",
  "unhealthy",
  "backoff",
  "stopped",
  "failed",
]);

/** {@link EnforcedLimits} of the ports. */
export const limits = z.object({
  memoryBytesMax: count,
  fuelPerSec: count.optional(),
  fuelMax: count.optional(),
  epochTimeoutMs: z.number().positive().optional(),
  timeoutMs: z.number().positive().optional(),
  concurrencyMax: count,
  handlesMax: count,
  openFilesMax: count,
  socketsMax: count,
  logLinesPerSecMax: count,
});

/** {@link Usage} of the ports. */
export const usage = z.object({
  fuelUsed: z.number().nonnegative(),
  memoryBytes: count,
  memoryBytesPeak: count,
  runningMs: z.number().nonnegative(),
  throttledMs: z.number().nonnegative(),
  preemptions: count,
  refusedGrowths: count,
  traps: count,
  hostBytes: count,
  handles: count,
  openFiles: count,
  sockets: count,
  requests: count,
  droppedLogLines: count,
});

/** {@link Exit} of the ports. */
export const exit = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("exit"), status: z.int() }),
  z.object({
    kind: z.literal("trap"),
    code: errorCode,
    message: z.string(),
    hint: z.string().optional(),
    backtrace: z.array(z.object({
      module: z.string(),
      function: z.string(),
      offset: count,
      file: z.string().optional(),
      line: count.optional(),
    })).readonly(),
  }),
  z.object({ kind: z.literal("stopped") }),
]);

/** A process of a replica; what the operating system enforces is missing where that is nothing. */
const replicaProcess = z.object({
  pid: count,
  residentBytes: count,
  permissions: z.array(z.string()).readonly(),
  dataBytesMax: count.optional(),
  openFilesMax: count.optional(),
});

/** One replica of a component, as the node that runs it sees it. */
export const replicaStatus = z.object({
  component: z.string(),
  index: count,
  node: z.string(),
  state: replicaState,
  digest,
  /** How often it was started again since the agent started. */
  restarts: count,
  startedAtMs: atMs.nullable(),
  /** When it will be started again; only in `backoff`. */
  retryAtMs: atMs.nullable(),
  /** Read from the running instance; `null` while there is none. */
  limits: limits.nullable(),
  usage: usage.nullable(),
  isolation: z.enum(["worker", "process"]),
  /** Of a replica that runs in one of its own. */
  process: replicaProcess.nullable(),
  /** How the instance before this one ended. */
  lastExit: z.object({ atMs, exit }).nullable(),
  /** What its last bad health check said, while it is not healthy. */
  health: z.string().optional(),
});

/** Why the agent did not take a manifest that it was given. */
export const refusedManifest = z.object({
  atMs,
  version: count.nullable(),
  code: errorCode,
  message: z.string(),
});

/** Health of a node by its own account. */
export const nodeHealth = z.object({
  /** Replicas that it wants, and those of them that run. */
  wanted: count,
  running: count,
  /** Of all its cores, in thousandths. */
  cpuPermille: count,
  /** Resident memory of the agent. */
  memoryBytes: count,
});

/** One machine of the realm, as this agent knows it. */
export const nodeStatus = z.object({
  name: z.string(),
  /** Its public key. */
  key: z.string(),
  /** For comparing by voice. */
  fingerprint: z.string(),
  /** `pending`: it asks to be approved. */
  state: z.enum(["approved", "pending", "revoked"]),
  /** The agent that answers. */
  self: z.boolean(),
  live: z.boolean(),
  /** Wall time of when it was last heard; `null` while it is live, and when it never was. */
  silentSinceMs: atMs.nullable(),
  drained: z.boolean(),
  /** Version of the program, by its own account. */
  program: z.string().nullable(),
  /** Version of the manifest that it runs. */
  version: count.nullable(),
  /** Digest of the heads of its control log. */
  heads: z.string().nullable(),
  /** Digest of what that log comes to: nodes with equal heads have equal ones. */
  view: z.string().nullable(),
  /** Its control log is not the one of the agent that answers. */
  drift: z.boolean(),
  health: nodeHealth.nullable(),
  /** Round trip from the agent that answers, where it is linked. */
  latencyMs: z.number().nonnegative().nullable(),
  /** Keys of the nodes that it hears directly, by its own account, and the round trip to each. */
  links: z.array(z.object({ key: z.string(), latencyMs: z.number().nonnegative().nullable() }))
    .readonly(),
  /** Of the manifest in force. */
  tags: z.array(z.string()).readonly(),
  addresses: z.array(z.string()).readonly(),
});

/** How far a component is on its way from one release to the next, on all nodes together. */
export const rollout = z.object({
  /**
   * `complete`: all replicas run what is wanted. `rolling`: on the way. `returned`: what the manifest
   * in force wants failed, and all run the release before; `returning`: on the way there.
   * `refused`: all that can be done is done, and nodes that refuse the manifest run something else.
   */
  state: z.enum(["complete", "rolling", "returning", "returned", "refused"]),
  /** Of the manifest that the release is of. */
  version: count,
  wanted: count,
  /** Replicas that run it, are ready, and have nothing of before beside them. */
  settled: count,
  /** Nodes that do not say yet that they go by it. */
  waitsFor: z.array(z.string()).readonly(),
  /** Nodes that refuse the manifest, so that they do not run it, and why; nobody waits for them. */
  refusedBy: z.array(z.object({ node: z.string(), version: count, why: z.string() })).readonly(),
  /**
   * Nodes that cannot run it, of which no verdict is given, and why: what ran in its place goes on, and
   * it is tried again from time to time. Agents of builds before do not say it.
   */
  givenUpBy: z.array(z.object({ node: z.string(), replicas: count, why: z.string() })).readonly()
    .exactOptional(),
  failure: z.object({
    version: count,
    node: z.string(),
    /** Probe, status and body, or how it ended; then the last lines of its log. */
    evidence: z.string(),
  }).nullable(),
});

/** Something that an operator should see to, as `realm/alarms.ts` has it. */
export const alarm = z.object({
  code: z.string(),
  severity: z.enum(["critical", "warning"]),
  /** The machine that it is about; `null`: the realm as a whole. */
  node: z.string().nullable(),
  /** What of it: a component, a replica `orders/2`, a key, a topic. */
  subject: z.string().nullable(),
  /** What was measured or found. */
  value: z.string().nullable(),
  sinceAtMs: atMs,
  message: z.string(),
  /** What to do. */
  hint: z.string(),
});

/**
 * Which program runs, of `/v1/status`: the part that programs of other versions understand too, when
 * one takes the place of another.
 */
export const programAnswer = z.object({
  node: z.object({
    /** Its version. */
    program: z.string(),
    startedAtMs: atMs,
    /** Of its process. */
    pid: count.optional(),
  }),
});

/** The whole state of one agent. */
export const status = z.object({
  node: z.object({
    name: z.string(),
    /** The node's own public key. */
    key: z.string(),
    /** `null`: unclaimed, the agent obeys nothing. */
    owner: z.string().nullable(),
    realm: z.string().nullable(),
    ...programAnswer.shape.node.shape,
    dataFolder: z.string(),
  }),
  manifest: z.object({ version: count, sha256: digest, appliedAtMs: atMs }).nullable(),
  /** Newest first, bounded by the agent. */
  refused: z.array(refusedManifest).readonly(),
  /** CID of the genesis of its control log; `null` before the first apply. */
  topic: z.string().nullable(),
  /** Every machine of the realm that is known here, this one first. */
  nodes: z.array(nodeStatus).readonly(),
  /** Whether most of the approved nodes are live; while not, nothing new is started. */
  majority: z.boolean(),
  /** The worst first. What the nodes tell of themselves is among them. */
  alarms: z.array(alarm).readonly(),
  /** Where the proxy listens, as a URL. */
  proxy: z.string().nullable(),
  components: z.array(z.object({
    name: z.string(),
    world: z.string(),
    digest,
    /** Replicas wanted on this node, overrides included. */
    replicas: count,
    /**
     * The same for every node that it is placed on, this one included, and how many of them run by
     * the node's own account; `null` where it was not heard.
     */
    placed: z.array(z.object({ node: z.string(), replicas: count, running: count.nullable() }))
      .readonly(),
    /** `null` before there is an answer. */
    rollout: rollout.nullable(),
    /** Replicas that have no place, and why. */
    unplaced: z.array(z.object({ replicas: count, why: z.string() })).readonly(),
    /** Set by `scale`; `null` when the manifest decides. */
    scaledTo: count.nullable(),
    /** Lines of all its replicas that came too fast and are not in its log. */
    droppedLogLines: count,
  })).readonly(),
  replicas: z.array(replicaStatus).readonly(),
  routes: z.array(z.object({
    host: z.string().nullable(),
    path: z.string(),
    component: z.string(),
    /** Node name or `tag:NAME`. */
    placement: z.string(),
    replicas: count,
    /** Per cent of the traffic of this path. */
    weight: z.number().min(0).max(100),
    stripPrefix: z.boolean(),
  })).readonly(),
  /** Topics of apps that the person of this machine takes part in. */
  topics: z.array(topicStatus).readonly(),
});

/** A manifest as it was signed: the bytes in base64, the signature file as its text. */
export const manifestRequest = z.strictObject({
  manifest: z.base64(),
  /** `realm.toml.sig`; a plan can do without. */
  signature: z.string().max(1024 * 1024).optional(),
});

/** The manifest in force. */
export const currentManifest = z.object({
  version: count,
  manifest: z.base64(),
  signature: z.string(),
});
export const manifestAnswer = z.object({ current: currentManifest.nullable() });

/** One line of a plan, as `realm/plan.ts` has it. */
export const change = z.object({
  change: z.enum(["added", "removed", "changed", "cleared"]),
  subject: z.enum(["realm", "node", "component", "route", "secret", "override"]),
  name: z.string(),
  /** Key by key what differs; a value that is not there is not set. */
  details: z.array(z.object({
    key: z.string(),
    from: z.string().exactOptional(),
    to: z.string().exactOptional(),
  })).readonly(),
});

/** What applying a manifest would do. */
export const planAnswer = z.object({
  /** `null`: nothing was applied yet. */
  currentVersion: count.nullable(),
  changes: z.array(change).readonly(),
  /** What each node will do, as `realm/node_plan.ts` has it. */
  steps: z.array(z.object({
    node: z.string(),
    action: z.enum(["start", "replace", "stop", "move"]),
    component: z.string(),
    replicas: count,
    from: z.string().exactOptional(),
    digest: digest.exactOptional(),
    beside: z.boolean().exactOptional(),
    atOnce: count.exactOptional(),
  })).readonly(),
  /** Replicas that will have no place. */
  unplaced: z.array(z.object({ component: z.string(), replicas: count, why: z.string() }))
    .readonly(),
  /** Names the world that this is the plan for: see {@link eventsRequest}. */
  world: digest,
  /** What this node's policy does not allow; not empty: apply will be refused. */
  violations: z.array(z.string()).readonly(),
  /**
   * Other nodes of the manifest that refuse one now, by what they say themselves: they may refuse
   * this one, too. Policies are on their nodes alone, so more is known once it is applied. Agents of
   * builds before do not say it.
   */
  refusing: z.array(z.object({ node: z.string(), version: count, why: z.string() })).readonly()
    .exactOptional(),
  /** Digests of components that the agent has not got and that must be uploaded first. */
  missing: z.array(digest).readonly(),
});

/** Where the next event of an author goes; `null`: there is no log yet, it begins with a genesis. */
export const logPlace = z.object({
  topic: z.string(),
  heads: z.array(z.object({ id: z.string(), lamport: count })).readonly(),
  /** The author's own newest event. */
  previous: z.object({ id: z.string(), seq: count }).nullable(),
  /** The greatest version of any manifest in the log: the next one's is above it. */
  versionMax: count,
  /** Every digest that was published, in order: see `realm/published.ts`. */
  published: z.array(digest).readonly(),
  /** The author wrote on several branches: what came after they part counts once they are joined. */
  forked: z.boolean(),
});
export const logAnswer = z.object({ place: logPlace.nullable() });

/** Signed events, parents first, each as `encodeSigned()` gives it, in base64. */
export const eventsRequest = z.strictObject({
  events: z.array(z.base64()).min(1).max(EVENTS_MAX),
  /** `world` of the plan that was confirmed: a manifest for which it is another now is `stale`. */
  world: digest.optional(),
});

/** All of them were taken; otherwise the answer is why one was not, and those before it were. */
export const eventsAnswer = z.object({
  /** Their ids, in the order in which they came. */
  accepted: z.array(z.string()).readonly(),
  /** Version of the manifest in force afterwards. */
  version: count.nullable(),
  /** What they changed of it. */
  changes: z.array(change).readonly(),
});

/** One manifest of the control log. */
export const historyEntry = z.object({
  version: count,
  sha256: digest,
  /** Public key of who signed it. */
  author: z.string(),
  /** CID of its event. */
  event: z.string(),
  /** `applied`: it was in force. Of the rest, which never were, `reason` says why. */
  state: z.enum(["in-force", "applied", "stale", "conflict", "void", "refused"]),
  reason: z.string().exactOptional(),
  /** When it came to the agent that answers. */
  takenAtMs: atMs.nullable(),
});
export const historyAnswer = z.object({ versions: z.array(historyEntry).readonly() });

const hash = z.string().regex(SHA256_HEX);

/** That the realm's owner published a digest; hashes in hex, see `realm/published.ts`. */
export const publicationProof = z.object({
  /** The event of the manifest in force, as `encodeSigned()` gives it, in base64. */
  event: z.base64(),
  /** Place in the tree of that event, from 0. */
  index: count,
  path: z.array(hash).readonly(),
  /** That the tree begins with that of the manifest before; `null` for the first one. */
  before: z.object({ event: z.base64(), proof: z.array(hash).readonly() }).nullable(),
});
export const proofAnswer = z.object({ proof: publicationProof.nullable() });

/** One use of `realm exec`, as the control log has it. */
export const execEntry = z.object({
  /** CID of its event. */
  event: z.string(),
  /** Public key of who signed it. */
  author: z.string(),
  /** Name and key of the machine that was asked. */
  node: z.string(),
  key: z.string(),
  command: z.array(z.string()).readonly(),
  /** How it ended, as that machine says; null where it has not said so. */
  status: count.nullable(),
  /** Until when it might begin. */
  expiresAtMs: atMs,
  /** When its event came to the agent that answers. */
  takenAtMs: atMs.nullable(),
});
export const execsAnswer = z.object({ execs: z.array(execEntry).readonly() });

/** A signed event of the kind `exec`, and for how long the command may run. */
export const execRequest = z.strictObject({
  event: z.base64(),
  timeoutMs: z.number().positive().max(600_000),
});

/** What an exec request streams; `exit` is the last. */
export const execEvent = z.discriminatedUnion("kind", [
  z.object({
    kind: z.literal("output"),
    stream: z.enum(["stdout", "stderr"]),
    data: z.base64(),
  }),
  z.object({ kind: z.literal("exit"), status: z.int().min(0).max(255) }),
]);

export const nodesAnswer = z.object({ nodes: z.array(nodeStatus).readonly() });

/** Somebody this agent knows how to reach, or is connected with. */
export const peerStatus = z.object({
  key: z.string(),
  /** What the realm calls it. */
  name: z.string().nullable(),
  connected: z.boolean(),
  direction: z.enum(["inbound", "outbound"]).nullable(),
  relayed: z.boolean(),
  latencyMs: z.number().nonnegative().nullable(),
  addresses: z.array(z.string()).readonly(),
});
/** A secret as the control log has it: to open it takes a key that it is sealed to. */
export const sealedSecret = z.object({
  name: z.string(),
  /** The event that set it. */
  event: z.string(),
  /** The owner that set it, who can open it too. */
  author: z.string(),
  /** Keys of the nodes that can open it. */
  nodes: z.array(z.string()).readonly(),
  /** The age file in base64. */
  sealed: z.string(),
});
/**
 * The last hour of the node, or of a component on it, as `observe/samples.ts` takes it: of each
 * measure as many values as there are times, the oldest first, `null` where there is none.
 */
export const samplesAnswer = z.object({
  atMs: z.array(atMs).readonly(),
  values: z.record(z.string(), z.array(z.number().nullable()).readonly()),
});
/** Query of samples; `since` in milliseconds since 1970. */
export const samplesQuery = z.strictObject({
  component: z.string().min(1).max(200).optional(),
  since: z.string().regex(/^\d{1,15}$/, "wanted a whole number").transform(Number).optional(),
});

export const secretsAnswer = z.object({ secrets: z.array(sealedSecret).readonly() });
export const peersAnswer = z.object({ peers: z.array(peerStatus).readonly() });
export const peerRequest = z.strictObject({ address: z.string().min(1).max(1024) });
/** Who answered at the address. */
export const peerAnswer = z.object({ key: z.string() });

const flag = z.enum(["", "0", "1", "false", "true"]).transform((v) => v !== "0" && v !== "false");
const wholeNumber = z.string().regex(/^\d{1,15}$/, "wanted a whole number").transform(Number);

/** Query of a manifest: that in force, or one that was. */
export const manifestQuery = z.strictObject({ version: wholeNumber.optional() });

/** Query of a place in the control log. */
export const logPlaceQuery = z.strictObject({ author: z.string().min(1).max(80) });

/** Query of a log request. */
export const logQuery = z.strictObject({
  follow: flag.default(false),
  tail: wholeNumber.pipe(z.number().max(LOG_TAIL_MAX)).optional(),
  /** Milliseconds since 1970. */
  since: wholeNumber.optional(),
  replica: wholeNumber.optional(),
});

/** {@link LogLevel} of the ports. */
export const logLevel = z.enum(["trace", "debug", "info", "warn", "error", "critical"]);

/** What a log request streams. */
export const logEvent = z.discriminatedUnion("kind", [
  z.object({
    kind: z.literal("line"),
    /** `null`: said about the component as a whole. */
    replica: count.nullable(),
    wallMs: z.number(),
    stream: z.enum(["stdout", "stderr", "realm"]),
    level: logLevel.exactOptional(),
    text: z.string(),
  }),
  /** The reader was too slow: so many lines were overwritten before it came to them. */
  z.object({ kind: z.literal("missed"), lines: z.int().positive() }),
]);

export type ReplicaState = z.infer<typeof replicaState>;
export type ReplicaStatus = z.infer<typeof replicaStatus>;
export type ProgramAnswer = z.infer<typeof programAnswer>["node"];
export type Status = z.infer<typeof status>;
export type ManifestRequest = z.infer<typeof manifestRequest>;
export type Change = z.infer<typeof change>;
export type PlanAnswer = z.infer<typeof planAnswer>;
export type Rollout = z.infer<typeof rollout>;
export type NodeStatus = z.infer<typeof nodeStatus>;
export type Alarm = z.infer<typeof alarm>;
export type LogPlace = z.infer<typeof logPlace>;
export type EventsRequest = z.infer<typeof eventsRequest>;
export type EventsAnswer = z.infer<typeof eventsAnswer>;
export type ExecRequest = z.infer<typeof execRequest>;
export type ExecEvent = z.infer<typeof execEvent>;
export type PublicationProof = z.infer<typeof publicationProof>;
export type HistoryEntry = z.infer<typeof historyEntry>;
export type SealedSecret = z.infer<typeof sealedSecret>;
export type ExecEntry = z.infer<typeof execEntry>;
export type SamplesAnswer = z.infer<typeof samplesAnswer>;
export type PeerStatus = z.infer<typeof peerStatus>;
export type PeerRequest = z.infer<typeof peerRequest>;
export type PeerAnswer = z.infer<typeof peerAnswer>;
export type LogEvent = z.infer<typeof logEvent>;

/** A manifest and what its owner signed; {@link ManifestRequest} is its form on the wire. */
export interface SignedManifest {
  /** The bytes of `realm.toml` as written. */
  readonly manifest: Uint8Array;
  /** The text of `realm.toml.sig`. */
  readonly signature?: string;
}

/** The manifest in force. */
export interface CurrentManifest extends SignedManifest {
  readonly version: number;
  readonly signature: string;
}

/** What is asked of a component's log. */
export interface LogOptions {
  readonly component: string;
  /** Go on with new lines until the reader leaves. */
  readonly follow?: boolean;
  /** Only the last so many of the lines that are there. */
  readonly tail?: number;
  /** Only lines from this wall time on. */
  readonly sinceMs?: number;
  /** Only lines of this replica, and those about the component as a whole. */
  readonly replica?: number;
}

type Awaitable<T> = T | Promise<T>;

/**
 * What the agent answers; the composition root builds it.
 *
 * Every method may throw a RealmError, which reaches the caller as it is: `not-found` for a
 * component that is not in the manifest, the codes of `kernel/error.ts` for a refused manifest.
 * Anything else that is thrown is a bug: the caller sees `failed`, the agent's log the stack.
 */
export interface ControlApi {
  status(): Awaitable<Status>;
  /** The manifest in force, or one of before by its version. */
  manifest(version?: number): Awaitable<CurrentManifest | null>;
  plan(request: SignedManifest): Awaitable<PlanAnswer>;
  /** Where the next event of an author, named by its public key, goes; `null` without a log. */
  place(author: string): Awaitable<LogPlace | null>;
  /**
   * Takes signed events, as `encodeSigned()` gives them, parents first. Blobs that a manifest among
   * them names were uploaded before; with `world` it is taken if it still does what was planned.
   */
  append(events: readonly Uint8Array[], world?: string): Awaitable<EventsAnswer>;
  /**
   * Runs the command of a signed event on this machine, where everything allows it; not reading
   * slows it down. It is killed after `timeoutMs` and when the signal is aborted.
   */
  exec(event: Uint8Array, timeoutMs: number, signal: AbortSignal): Awaitable<
    AsyncIterable<ExecEvent>
  >;
  nodes(): Awaitable<readonly NodeStatus[]>;
  /** Every manifest of the control log, newest first. */
  history(): Awaitable<readonly HistoryEntry[]>;
  /** That the owner published a digest; `null` where the manifests in force until now do not say so. */
  proof(digest: string): Awaitable<PublicationProof | null>;
  /** Of the owner alone. */
  secrets(): Awaitable<readonly SealedSecret[]>;
  /** Every command that the control log has for a machine, newest first. */
  execs(): Awaitable<readonly ExecEntry[]>;
  /** The last hour of the node, or of a component on it, from a wall time on. */
  samples(component: string | undefined, sinceMs: number): Awaitable<SamplesAnswer>;
  peers(): Awaitable<readonly PeerStatus[]>;
  /** Connects to a multiaddr, now and from now on. */
  addPeer(address: string): Awaitable<PeerAnswer>;
  readonly blobs: Pick<Blobs, "has" | "put"> & {
    /** Of this node, or of others; `undefined` or RealmError `not-found` where they have none. */
    get(digest: string, signal: AbortSignal): Promise<Uint8Array | undefined>;
  };
  /**
   * The lines that are there and, with `follow`, those to come. Not reading slows nobody: what was
   * overwritten meanwhile comes as one `missed`. The signal ends the stream.
   */
  logs(options: LogOptions, signal: AbortSignal): Awaitable<AsyncIterable<LogEvent>>;
  /** Prometheus text format 0.0.4. */
  metrics(): Awaitable<string>;
  /** What is asked about apps, by the user of this machine. */
  readonly apps: AppsApi;
}
