/**
 * The control API of one node: what is asked of it, answered from the realm's state and from what
 * runs.
 *
 * @module
 */
import type {
  ControlApi,
  CurrentManifest,
  EventsAnswer,
  ExecEntry,
  ExecEvent,
  HistoryEntry,
  LogEvent,
  LogOptions,
  LogPlace,
  NodeStatus,
  PeerAnswer,
  PeerStatus,
  PlanAnswer,
  PublicationProof,
  SamplesAnswer,
  SealedSecret,
  SignedManifest,
  Status,
} from "./control/api.ts";
import type { Samples } from "./observe/samples.ts";
import { CID, sha256HexSync } from "./kernel/canonical.ts";
import type { AppsHost } from "./topics/apps_host.ts";
import type { HostCommands } from "./node/host_commands.ts";
import { RealmError } from "./kernel/error.ts";
import {
  decodeSigned,
  encodeSigned,
  type Event,
  type SignedEvent,
  verifyEventSync,
} from "./kernel/event.ts";
import { formatPublicKey, parsePublicKey } from "./kernel/key.ts";
import type { Engines } from "./kernel/ports.ts";
import type { Node } from "./node/node.ts";
import type { Alarm } from "./realm/alarms.ts";
import { readControlEvent } from "./realm/control_event.ts";
import { desiredReplicas } from "./realm/desired.ts";
import { decodeManifest, formatTarget, type Manifest, parseManifest } from "./realm/manifest.ts";
import { formatManifestSignature, parseManifestSignature } from "./realm/manifest_signature.ts";
import { type NodePlan, planNodes, planWorld } from "./realm/node_plan.ts";
import { planChanges } from "./realm/plan.ts";
import { type TreeHead, treeProblem } from "./realm/published.ts";
import { checkPolicy } from "./realm/policy.ts";
import type { HealthRecord } from "./realm/peering/health_record.ts";
import type { RealmMember } from "./member/realm_member.ts";
import type { InForce, RealmState } from "./node/realm_state.ts";
import { givenUpBy, heardOf, refusingNodes, rolloutStatus } from "./rollout_status.ts";

const MANIFEST_TYPE = "control/manifest";
/** What operators may do. */
const OPERATOR_TYPES: readonly string[] = ["restart", "scale", "drain", "publish"]
  .map((kind) => `control/${kind}`);

/** What a {@link NodeApi} is made of. */
export interface NodeApiInit {
  readonly node: Node;
  readonly realm: RealmMember;
  readonly commands: HostCommands;
  /** Version of the program. */
  readonly program: string;
  /** Where the proxy listens. */
  readonly proxyUrl: () => string | undefined;
  readonly metrics: () => string;
  readonly samples: Pick<Samples, "series">;
  readonly alarms: () => readonly Alarm[];
  readonly apps: AppsHost;
}

/** See the module. */
export class NodeApi implements ControlApi {
  readonly blobs: ControlApi["blobs"];
  readonly apps: ControlApi["apps"];
  readonly #state: RealmState;
  readonly #engines: Engines;
  readonly #startedAtMs: number;
  #appending: Promise<unknown> = Promise.resolve();

  constructor(readonly init: NodeApiInit) {
    const { state, engines, blobs, clock } = init.node.init;
    this.#state = state;
    this.#engines = engines;
    this.#startedAtMs = clock.wallMs();
    this.apps = init.apps.api;
    this.blobs = {
      has: (digest) => blobs.has(digest),
      put: (bytes) => blobs.put(bytes),
      get: (digest, signal) => init.node.bytes.get(digest, signal),
    };
  }

  manifest(version?: number): CurrentManifest | null {
    const { inForce, signatureLine, view, log } = this.#state;
    if (version !== undefined && version !== inForce?.signature.version) {
      const record = view?.history.findLast((each) =>
        each.version === version && each.outcome === "applied"
      );
      const signed = record && log.load(CID.parse(record.event));
      const said = signed && readControlEvent(signed.event);
      if (said?.kind !== "manifest") return null;
      const signature = formatManifestSignature(said.signature);
      return { version, manifest: said.manifestBytes, signature };
    }
    if (!inForce) return null;
    return {
      version: inForce.signature.version,
      manifest: inForce.bytes,
      signature: signatureLine!,
    };
  }

  async plan({ manifest: bytes, signature }: SignedManifest): Promise<PlanAnswer> {
    const { inForce } = this.#state;
    const manifest = parseManifest(decodeManifest(bytes));
    const digests = signature === undefined
      ? unsignedDigests(manifest, inForce?.signature.digests)
      : parseManifestSignature(signature).digests;
    const missing: string[] = [];
    for (const digest of new Set(digests.values())) {
      if (!await this.blobs.has(digest)) missing.push(digest);
    }
    const { plan, world } = this.#planNodes(manifest, digests, sha256HexSync(bytes));
    return {
      currentVersion: inForce?.signature.version ?? null,
      changes: this.#state.changes(manifest, digests),
      ...plan,
      world,
      violations: await this.#violations(manifest),
      refusing: refusingNodes(manifest.nodes.keys(), this.init.node.name, this.#heard()),
      missing,
    };
  }

  place(author: string): LogPlace | null {
    const { log } = this.#state;
    if (log.topic === undefined) return null;
    const key = parsePublicKey(author);
    const { topic, heads, previous } = log.placeFor(key);
    return {
      topic: topic.toString(),
      heads: heads.map(({ id, lamport }) => ({ id: id.toString(), lamport })),
      previous: previous ? { id: previous.id.toString(), seq: previous.seq } : null,
      versionMax: log.versionMax,
      published: log.published().digests,
      forked: log.topic.tipsOf(key).length > 1,
    };
  }

  /** The records of other nodes that live. */
  #heard(
    nodes: readonly NodeStatus[] = this.init.realm.nodes(),
  ): ReadonlyMap<string, HealthRecord> {
    return heardOf(nodes, this.init.realm.records());
  }

  /** What each node will do, by what is known here; a node on its own takes part in any case. */
  #planNodes(
    manifest: Manifest,
    digests: ReadonlyMap<string, string>,
    sha256: string,
  ): { readonly plan: NodePlan; readonly world: string } {
    const { node } = this.init;
    const { inForce, overrides } = this.#state;
    const before = node.release ??
      (inForce && { manifest: inForce.manifest, digests: inForce.signature.digests });
    const changes = this.#state.changes(manifest, digests);
    const live = [...new Set([...node.init.others().live, node.name])].sort();
    const plan = planNodes({ before, after: { manifest, digests }, overrides, changes, live });
    return {
      plan,
      world: planWorld(inForce?.event, { manifest: { sha256, digests }, plan, overrides }),
    };
  }

  /** One call at a time, in the order in which they came. */
  append(events: readonly Uint8Array[], world?: string): Promise<EventsAnswer> {
    const done = this.#appending.then(() => this.#append(events, world));
    this.#appending = done.catch(() => {});
    return done;
  }

  exec(
    encoded: Uint8Array,
    timeoutMs: number,
    signal: AbortSignal,
  ): AsyncIterable<ExecEvent> {
    const event = decodeSigned(encoded);
    if (this.#state.log.topic !== undefined) this.#requireNext(event.event, [event]);
    return this.init.commands.run(event, timeoutMs, signal);
  }

  nodes(): readonly NodeStatus[] {
    return this.init.realm.nodes();
  }

  history(): readonly HistoryEntry[] {
    const { view, inForce, log } = this.#state;
    return (view?.history ?? []).map(({ event, version, sha256, author, outcome, why }) => ({
      version,
      sha256,
      author,
      event,
      state: event === inForce?.event ? "in-force" as const : outcome,
      ...(why === undefined ? {} : { reason: why }),
      takenAtMs: log.storedAtMs(CID.parse(event)) ?? null,
    })).reverse();
  }

  proof(digest: string): PublicationProof | null {
    const { log, inForce, view } = this.#state;
    if (inForce?.event === undefined) return null;
    const event = CID.parse(inForce.event);
    const inclusion = log.inclusionOf(digest, event);
    if (inclusion === undefined) return null;
    const last = view?.history.findLast((record) =>
      record.outcome === "applied" && record.version < inForce.signature.version
    );
    const before = last && CID.parse(last.event);
    const proof = before && log.consistencyOf(before, event);
    const encoded = (id: CID) => encodeSigned(log.load(id)!).toBase64();
    return {
      event: encoded(event),
      index: inclusion.index,
      path: inclusion.path.map((hash) => hash.toHex()),
      before: proof === undefined
        ? null
        : { event: encoded(before!), proof: proof.map((hash) => hash.toHex()) },
    };
  }

  secrets(): readonly SealedSecret[] {
    return Array.from(this.#state.view?.secrets.values() ?? [], ({ sealed, ...secret }) => ({
      ...secret,
      sealed: sealed.toBase64(),
    }));
  }

  execs(): readonly ExecEntry[] {
    const { view, log } = this.#state;
    return (view?.execs ?? []).map(({ status = null, ...exec }) => ({
      ...exec,
      status,
      takenAtMs: log.storedAtMs(CID.parse(exec.event)) ?? null,
    })).reverse();
  }

  samples(component: string | undefined, sinceMs: number): SamplesAnswer {
    const { atMs, values } = this.init.samples.series(component, sinceMs);
    // JSON has no NaN, and nobody sees more digits in a chart.
    const shown = (value: number) => Number.isNaN(value) ? null : Number(value.toPrecision(4));
    return {
      atMs,
      values: Object.fromEntries(
        Object.entries(values).map(([measure, each]) => [measure, each.map(shown)]),
      ),
    };
  }

  peers(): readonly PeerStatus[] {
    return this.init.realm.peers();
  }

  async addPeer(address: string): Promise<PeerAnswer> {
    return { key: await this.init.realm.addPeer(address) };
  }

  logs(
    { component, follow, ...options }: LogOptions,
    signal: AbortSignal,
  ): AsyncIterable<LogEvent> {
    this.#require(component);
    const ring = this.init.node.log(component);
    if (follow) return ring.follow(options, signal);
    return (async function* () {
      for (const entry of ring.lines(options)) yield { kind: "line" as const, ...entry };
    })();
  }

  metrics(): string {
    return this.init.metrics();
  }

  status(): Status {
    const { node, program, proxyUrl, realm } = this.init;
    const { key } = node.init;
    const { inForce, owner, overrides, view } = this.#state;
    const manifest = inForce?.manifest;
    const placed = node.placed();
    const records = realm.records();
    const own = node.health();
    const nodes = realm.nodes();
    const version = inForce?.signature.version ?? 0;
    const heard = [[node.name, { ...own, version }] as const, ...this.#heard(nodes)];
    // One that refuses a manifest looks at the rollouts of those that do not.
    const versions = [version, ...own.refusal === null ? [] : [own.refusal.version]];
    const refusalOf = (name: string) => (name === node.name ? own : records.get(name))?.refusal;
    const running = (name: string, component: string) =>
      (name === node.name ? own : records.get(name))?.replicas
        .reduce((sum, each) => sum + (each.component === component ? each.running : 0), 0) ?? null;
    return {
      node: {
        name: node.name,
        key,
        owner: owner ?? null,
        realm: manifest?.realm.name ?? null,
        program,
        startedAtMs: this.#startedAtMs,
        pid: Deno.pid,
        dataFolder: node.init.dataFolder,
      },
      manifest: inForce
        ? {
          version: inForce.signature.version,
          sha256: inForce.signature.sha256,
          appliedAtMs: inForce.appliedAtMs,
        }
        : null,
      refused: node.refused.map(({ atMs, version, error: { code, message } }) => ({
        atMs,
        version,
        code,
        message,
      })),
      topic: view?.topic ?? null,
      nodes,
      majority: node.mayStart,
      alarms: this.init.alarms(),
      proxy: proxyUrl() ?? null,
      components: [...manifest?.components ?? []].map(([name, { world }]) => ({
        name,
        world,
        digest: inForce!.signature.digests.get(name)!,
        replicas: node.wanted(name),
        placed: [...placed.get(name) ?? []].sort()
          .map(([node, replicas]) => ({ node, replicas, running: running(node, name) })),
        rollout: rolloutStatus(
          node.rollouts.get(name),
          refusalOf,
          inForce!.signature.version,
          givenUpBy(name, versions, heard),
        ),
        unplaced: node.unplaced.filter(({ component }) => component === name)
          .map(({ replicas, why }) => ({ replicas, why })),
        scaledTo:
          overrides.scales.find((s) => s.component === name && (s.node ?? node.name) === node.name)
            ?.replicas ?? null,
        droppedLogLines: node.log(name).droppedLines,
      })),
      replicas: node.supervisor.replicas().map((r) => ({ ...r, node: node.name })),
      routes: (manifest?.routes ?? []).map((route) => ({
        host: route.host ?? null,
        path: route.path,
        component: route.component,
        placement: formatTarget(route.target),
        replicas: route.replicas,
        weight: route.weight ?? 100,
        stripPrefix: route.stripPrefix,
      })),
      topics: this.init.apps.statuses(),
    };
  }

  async #append(encoded: readonly Uint8Array[], world?: string): Promise<EventsAnswer> {
    const { node, realm } = this.init;
    const events = encoded.map(decodeSigned);
    const before = this.#state.inForce;
    const overrides = this.#state.overrides;
    for (const signed of events) {
      const { event } = signed;
      if (this.#state.log.topic !== undefined) this.#requireNext(event, events);
      this.#requireSay(event);
      if (event.type === MANIFEST_TYPE) await this.#requireGood(signed);
    }
    // After all that takes time: nothing changes between this and the append.
    for (const { event } of events) {
      if (event.type === MANIFEST_TYPE && world !== undefined) this.#requireSame(event, world);
    }
    realm.append(events);
    await node.takeOver();
    const { inForce } = this.#state;
    const release = (of: InForce) => ({ manifest: of.manifest, digests: of.signature.digests });
    return {
      accepted: events.map(({ id }) => id.toString()),
      version: inForce?.signature.version ?? null,
      changes: inForce === undefined || inForce === before
        ? []
        : planChanges(before && release(before), release(inForce), overrides),
    };
  }

  /**
   * Who was an operator before may still write to the log, since not every node knows better; it has
   * no effect, which is worth an error here.
   */
  #requireSay({ type, author }: Event): void {
    const { view } = this.#state;
    const key = formatPublicKey(author);
    if (view === undefined || !OPERATOR_TYPES.includes(type)) return;
    if (key === view.owner || view.operators.includes(key)) return;
    throw new RealmError(
      "refused",
      `Cannot take the event: ${key} is neither the owner nor an operator of the manifest in force`,
      { hint: "Use the owner's key, or name this one in [realm] operators" },
    );
  }

  /** The plan that somebody confirmed is the one that is carried out. */
  #requireSame(event: Event, world: string): void {
    const said = readControlEvent(event);
    if (said.kind !== "manifest") return;
    const { digests, sha256 } = said.signature;
    const manifest = parseManifest(decodeManifest(said.manifestBytes));
    if (this.#planNodes(manifest, digests, sha256).world === world) return;
    throw new RealmError(
      "stale",
      "Cannot apply the manifest: nodes would do something else now than what was planned",
      { hint: "Run the command again to see what would change now" },
    );
  }

  /** Who signs after another event than the author's newest does not know of that one. */
  #requireNext(event: Event, among: readonly SignedEvent[]): void {
    if (event.topic === null || among.some(({ id }) => event.prev?.equals(id))) return;
    const { previous } = this.#state.log.placeFor(event.author);
    if (previous === undefined ? event.prev === null : event.prev?.equals(previous.id)) return;
    throw new RealmError(
      "stale",
      `Cannot take the event: ${formatPublicKey(event.author)} wrote another one meanwhile`,
      { hint: "Run the command again" },
    );
  }

  /**
   * Everything that can be known of a manifest before it is in the log. What is wrong with the
   * owner's is told by `status`; what others send, who may ask here too, is told to them alone.
   */
  async #requireGood(signed: SignedEvent): Promise<void> {
    const { event } = signed;
    let version: number | null = null;
    let isOwners = false;
    try {
      verifyEventSync(signed, this.#state.verifySync);
      isOwners = formatPublicKey(event.author) === this.#state.owner;
      const said = readControlEvent(event);
      if (said.kind !== "manifest") throw new Error("asked for manifests only");
      version = said.signature.version;
      const manifest = this.#state.verify(said.manifestBytes, said.signature);
      const problem = await this.init.node.problemOf(manifest);
      if (problem !== undefined) throw problem;
      this.#requireTree(said.tree, said.signature.digests);
      await this.#requireRunnable(manifest, said.signature.digests);
    } catch (error) {
      if (isOwners && error instanceof RealmError) this.init.node.refuse(error, version);
      throw error;
    }
  }

  /** Nodes refuse a manifest that does not go on with what was published. */
  #requireTree(said: TreeHead, digests: ReadonlyMap<string, string>): void {
    const problem = treeProblem(said, this.#state.log.published().add(digests.values()).head);
    if (problem === undefined) return;
    throw new RealmError("stale", `Cannot take the manifest: ${problem}`, {
      hint: "Run the command again",
    });
  }

  /** Compiles what this node would run of it. */
  async #requireRunnable(manifest: Manifest, digests: ReadonlyMap<string, string>): Promise<void> {
    const { node } = this.init;
    const live = manifest.nodes.keys();
    const here = desiredReplicas({ manifest, digests, node: node.name, live });
    const components = new Map(here.map((r) => [r.component, r]));
    await Promise.all([...components.values()].map(async ({ digest, spec }) => {
      await this.#engines[spec.isolation].prepare(await node.bytes.get(digest));
    }));
  }

  async #violations(manifest: Manifest): Promise<string[]> {
    return checkPolicy(manifest, this.init.node.name, await this.init.node.policy())
      .map(({ line, path, message }) => `line ${line}: ${path} ${message}`);
  }

  #require(component: string): void {
    const { inForce } = this.#state;
    if (inForce?.manifest.components.has(component)) return;
    const names = [...inForce?.manifest.components.keys() ?? []].join(", ") || "none";
    throw new RealmError(
      "not-found",
      `Cannot find component "${component}" in the manifest, which has ${names}`,
      { hint: "Run realm status" },
    );
  }
}

/** Digests for a plan that nobody signed: what the manifest pins, else what runs. */
function unsignedDigests(
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
