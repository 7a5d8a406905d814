/**
 * What a node knows of its realm, and keeps over restarts: its owner, the manifest in force, and
 * what operators changed since.
 *
 * The owner is learnt on the machine itself, once, and never from the network. A manifest passes
 * one gate, `accept`; what is stored passed it.
 *
 * @module
 */
import { decodeCanonical, encodeCanonical } from "./kernel/canonical.ts";
import { RealmError } from "./kernel/error.ts";
import type { Store, StoreOp } from "./kernel/ports.ts";
import type { SignatureBackend } from "./kernel/verify.ts";
import type { Overrides } from "./realm/desired.ts";
import { decodeManifest, type Manifest, parseManifest } from "./realm/manifest.ts";
import {
  formatManifestSignature,
  type ManifestSignature,
  parseManifestSignature,
  verifyManifest,
} from "./realm/manifest_signature.ts";
import { type PlanChange, planChanges } from "./realm/plan.ts";

/** The manifest in force. */
export interface InForce {
  readonly bytes: Uint8Array;
  readonly manifest: Manifest;
  readonly signature: ManifestSignature;
  readonly appliedAtMs: number;
}

const OWNER = "realm/owner";
const MANIFEST = "realm/manifest";
const OVERRIDES = "realm/overrides";

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const bytesOf = (value: string) => new TextEncoder().encode(value);

/** See the module. */
export class RealmState {
  #owner: string | undefined;
  #inForce: InForce | undefined;
  #overrides: Overrides = { restarts: [], scales: [], drained: [] };

  /** Reads what is stored. Throws RealmError `corrupt` when that is damaged. */
  constructor(readonly store: Store, readonly backend: SignatureBackend) {
    const owner = store.get(OWNER);
    this.#owner = owner && text(owner);
    const manifest = store.get(MANIFEST);
    if (manifest) this.#inForce = decodeInForce(manifest);
    const overrides = store.get(OVERRIDES);
    if (overrides) this.#overrides = decodeCanonical(overrides) as unknown as Overrides;
  }

  get owner(): string | undefined {
    return this.#owner;
  }

  get inForce(): InForce | undefined {
    return this.#inForce;
  }

  /** `realm.toml.sig` of the manifest in force. */
  get signatureLine(): string | undefined {
    return this.#inForce && formatManifestSignature(this.#inForce.signature);
  }

  get overrides(): Overrides {
    return this.#overrides;
  }

  /** Takes an owner. Throws RealmError `wrong-owner` when the node has another one. */
  claim(owner: string): void {
    if (this.#owner === owner) return;
    if (this.#owner !== undefined) {
      throw new RealmError(
        "wrong-owner",
        `Cannot take ${owner} as owner: this node belongs to ${this.#owner}`,
        { hint: "Start it with another data folder: realm agent --data DIR" },
      );
    }
    this.store.write([{ put: OWNER, value: bytesOf(owner) }]);
    this.#owner = owner;
  }

  /** What taking `manifest` would change. */
  changes(manifest: Manifest, digests: ReadonlyMap<string, string>): PlanChange[] {
    const before = this.#inForce && {
      manifest: this.#inForce.manifest,
      digests: this.#inForce.signature.digests,
    };
    return planChanges(before, { manifest, digests }, this.#overrides);
  }

  /**
   * Checks that a manifest is the owner's and newer than the one in force.
   *
   * Throws RealmError `unclaimed`, and what {@link verifyManifest} throws.
   */
  async verify(bytes: Uint8Array, signatureLine: string): Promise<Omit<InForce, "appliedAtMs">> {
    if (this.#owner === undefined) {
      throw new RealmError("unclaimed", "Cannot take the manifest: this agent has no owner", {
        hint: "Start it with realm agent --owner KEY, or --ticket from realm invite",
      });
    }
    const { manifest, signature } = await verifyManifest({
      manifestBytes: bytes,
      signature: parseManifestSignature(signatureLine),
      owner: this.#owner,
      lastVersion: this.#inForce?.signature.version ?? 0,
      backend: this.backend,
    });
    return { bytes, manifest, signature };
  }

  /** Puts a manifest that {@link verify} returned in force; returns what changed. */
  accept(verified: Omit<InForce, "appliedAtMs">, nowMs: number): PlanChange[] {
    const { manifest, signature } = verified;
    const version = this.#inForce?.signature.version ?? 0;
    if (signature.version <= version) { // another one came while this was verified
      throw new RealmError(
        "stale",
        `Cannot take the manifest: its version is ${signature.version}, wanted more than ${version}`,
        { hint: "Run realm apply, which signs the next version" },
      );
    }
    const changes = this.changes(manifest, signature.digests);
    const inForce = { ...verified, appliedAtMs: nowMs };
    const overrides = withoutCleared(this.#overrides, changes);
    this.store.write([
      { put: MANIFEST, value: encodeInForce(inForce) },
      overridesOp(overrides),
    ]);
    this.#inForce = inForce;
    this.#overrides = overrides;
    return changes;
  }

  /** Asks for every replica of a component to start anew. */
  restart(component: string): void {
    const { restarts } = this.#overrides;
    const count = (restarts.find((r) => r.component === component)?.count ?? 0) + 1;
    this.#override({
      restarts: [...restarts.filter((r) => r.component !== component), { component, count }],
    });
  }

  /** Sets the number of replicas; `null` gives it back to the manifest. */
  scale(component: string, replicas: number | null): void {
    const scales = this.#overrides.scales.filter((s) => s.component !== component);
    if (replicas !== null) scales.push({ component, replicas });
    this.#override({ scales });
  }

  #override(change: Partial<Overrides>): void {
    const overrides = { ...this.#overrides, ...change };
    this.store.write([overridesOp(overrides)]);
    this.#overrides = overrides;
  }
}

function overridesOp(overrides: Overrides): StoreOp {
  // The shapes have no undefined values, and arrays of maps are what dag-cbor stores.
  const value = JSON.parse(JSON.stringify(overrides));
  return { put: OVERRIDES, value: encodeCanonical(value) };
}

function encodeInForce({ bytes, signature, appliedAtMs }: InForce): Uint8Array {
  return encodeCanonical({ bytes, signature: formatManifestSignature(signature), appliedAtMs });
}

function decodeInForce(stored: Uint8Array): InForce {
  const { bytes, signature, appliedAtMs } = decodeCanonical(stored) as {
    bytes: Uint8Array;
    signature: string;
    appliedAtMs: number;
  };
  return {
    bytes,
    manifest: parseManifest(decodeManifest(bytes)),
    signature: parseManifestSignature(signature),
    appliedAtMs,
  };
}

/** An apply that touches a component ends what operators changed of it. */
function withoutCleared(overrides: Overrides, changes: readonly PlanChange[]): Overrides {
  const touched = new Set(
    changes.filter((c) => c.subject === "component" && c.change !== "added").map((c) => c.name),
  );
  const kept = ({ component }: { component: string }) => !touched.has(component);
  return {
    ...overrides,
    restarts: overrides.restarts.filter(kept),
    scales: overrides.scales.filter(kept),
  };
}
