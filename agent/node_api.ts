/**
 * The control API of one node: what is asked of it, answered from the realm's state and from what
 * runs.
 *
 * @module
 */
import type {
  ApplyAnswer,
  ControlApi,
  CurrentManifest,
  LogEvent,
  LogOptions,
  PlanAnswer,
  RefusedManifest,
  RestartAnswer,
  ScaleAnswer,
  SignedManifest,
  Status,
} from "./control/api.ts";
import { RealmError } from "./kernel/error.ts";
import type { Blobs, Engines } from "./kernel/ports.ts";
import type { Node } from "./node.ts";
import { desiredReplicas } from "./realm/desired.ts";
import { decodeManifest, formatTarget, type Manifest, parseManifest } from "./realm/manifest.ts";
import { requireSupported } from "./realm/manifest_features.ts";
import { parseManifestSignature } from "./realm/manifest_signature.ts";
import { checkPolicy } from "./realm/policy.ts";
import type { RealmState } from "./realm_state.ts";

/** What a {@link NodeApi} is made of. */
export interface NodeApiInit {
  readonly node: Node;
  /** Text form of the node's own public key. */
  readonly key: string;
  /** Version of the program. */
  readonly program: string;
  /** Where the proxy listens. */
  readonly proxyUrl: () => string | undefined;
  readonly metrics: () => Promise<string>;
}

const REFUSED_KEPT = 20;

/** See the module. */
export class NodeApi implements ControlApi {
  readonly blobs: Pick<Blobs, "has" | "put">;
  readonly #state: RealmState;
  readonly #engines: Engines;
  readonly #name: string;
  readonly #startedAtMs: number;
  #refused: readonly RefusedManifest[] = [];
  #applying: Promise<unknown> = Promise.resolve();

  constructor(readonly init: NodeApiInit) {
    const { state, engines, blobs, name, clock } = init.node.init;
    this.#state = state;
    this.#engines = engines;
    this.#name = name;
    this.#startedAtMs = clock.wallMs();
    this.blobs = { has: (digest) => blobs.has(digest), put: (bytes) => blobs.put(bytes) };
  }

  manifest(): CurrentManifest | null {
    const { inForce, signatureLine } = this.#state;
    if (!inForce) return null;
    const { version } = inForce.signature;
    return { version, manifest: inForce.bytes, signature: signatureLine! };
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
    return {
      currentVersion: inForce?.signature.version ?? null,
      changes: this.#state.changes(manifest, digests),
      violations: await this.#violations(manifest),
      missing,
    };
  }

  /** One at a time, in the order in which they came. */
  apply({ manifest, signature }: SignedManifest & { signature: string }): Promise<ApplyAnswer> {
    const done = this.#applying.then(() => this.#apply(manifest, signature));
    this.#applying = done.catch(() => {});
    return done;
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

  restart(component: string): RestartAnswer {
    this.#require(component);
    this.#state.restart(component);
    this.init.node.follow();
    return { restarted: this.init.node.wanted(component) };
  }

  scale(component: string, replicas: number | null): ScaleAnswer {
    this.#require(component);
    this.#state.scale(component, replicas);
    this.init.node.follow();
    return { replicas: this.init.node.wanted(component), scaledTo: replicas };
  }

  metrics(): Promise<string> {
    return this.init.metrics();
  }

  status(): Status {
    const { node, key, program, proxyUrl } = this.init;
    const { inForce, owner, overrides } = this.#state;
    const manifest = inForce?.manifest;
    return {
      node: {
        name: this.#name,
        key,
        owner: owner ?? null,
        realm: manifest?.realm.name ?? null,
        program,
        startedAtMs: this.#startedAtMs,
        dataFolder: node.init.dataFolder,
      },
      manifest: inForce
        ? {
          version: inForce.signature.version,
          sha256: inForce.signature.sha256,
          appliedAtMs: inForce.appliedAtMs,
        }
        : null,
      refused: [...this.#refused],
      proxy: proxyUrl() ?? null,
      components: [...manifest?.components ?? []].map(([name, { world }]) => ({
        name,
        world,
        digest: inForce!.signature.digests.get(name)!,
        replicas: node.wanted(name),
        scaledTo: overrides.scales.find((s) => s.component === name)?.replicas ?? null,
        droppedLogLines: node.log(name).droppedLines,
      })),
      replicas: node.supervisor.replicas().map((r) => ({ ...r, node: this.#name })),
      routes: (manifest?.routes ?? []).map((route) => ({
        host: route.host ?? null,
        path: route.path,
        component: route.component,
        placement: formatTarget(route.target),
        replicas: route.replicas,
        weight: route.weight ?? 100,
        stripPrefix: route.stripPrefix,
      })),
    };
  }

  async #apply(bytes: Uint8Array, signature: string): Promise<ApplyAnswer> {
    try {
      const verified = await this.#state.verify(bytes, signature);
      const { manifest } = verified;
      requireSupported(manifest);
      await this.#requireRunnable(manifest, verified.signature.digests);
      const changes = this.#state.accept(verified, this.init.node.init.clock.wallMs());
      this.init.node.follow();
      return { version: verified.signature.version, changes };
    } catch (error) {
      if (error instanceof RealmError) this.#refuse(error, signature);
      throw error;
    }
  }

  /** Everything that can be known before a manifest is in force. */
  async #requireRunnable(manifest: Manifest, digests: ReadonlyMap<string, string>): Promise<void> {
    const { node } = this.init;
    const violations = await this.#violations(manifest);
    if (violations.length > 0) {
      throw new RealmError(
        "policy",
        `Cannot run the manifest on ${this.#name}:${violations.map((v) => `\n  ${v}`).join("")}`,
        { hint: `Change the manifest, or ${node.policyPath} on ${this.#name}` },
      );
    }
    const live = manifest.nodes.keys();
    const here = desiredReplicas({ manifest, digests, node: this.#name, live });
    const components = new Map(here.map((r) => [r.component, r]));
    await Promise.all([...components].map(async ([name, { digest, spec }]) => {
      await this.#engines[spec.isolation].prepare(await node.bytes(name, digest));
    }));
  }

  async #violations(manifest: Manifest): Promise<string[]> {
    return checkPolicy(manifest, this.#name, await this.init.node.policy())
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

  #refuse({ code, message }: RealmError, signature: string): void {
    let version: number | null = null;
    try {
      version = parseManifestSignature(signature).version;
    } catch {
      // An unreadable signature has no version; the error says what is wrong with it.
    }
    const atMs = this.init.node.init.clock.wallMs();
    this.#refused = [{ atMs, version, code, message }, ...this.#refused].slice(0, REFUSED_KEPT);
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
