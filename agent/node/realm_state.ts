/**
 * What a node goes by: whose it is, the manifest that it runs, and what operators changed since.
 *
 * The owner is learnt on the machine itself, once, and never from the network. Everything else is
 * what the control log says, with one exception: while a key that matters has written on two
 * branches, nobody knows which of them is meant, so what was taken over before stays. What was taken
 * over is stored, so that a restart in such a time changes nothing either.
 *
 * A data folder of a version without a control log goes on with the manifest and the numbers of
 * replicas that it has, until the first manifest of the log.
 *
 * @module
 */
import { CID, decodeCanonical, encodeCanonical } from "../kernel/canonical.ts";
import { RealmError } from "../kernel/error.ts";
import { bytesEqual } from "../kernel/key.ts";
import type { Store } from "../kernel/ports.ts";
import type { VerifySync } from "../kernel/verify.ts";
import { followManifest } from "../realm/applied_manifest.ts";
import { NO_OVERRIDES, type Overrides } from "../realm/desired.ts";
import { decodeManifest, type Manifest, parseManifest } from "../realm/manifest.ts";
import {
  formatManifestSignature,
  type ManifestSignature,
  parseManifestSignature,
  verifyManifestSync,
} from "../realm/manifest_signature.ts";
import { type PlanChange, planChanges } from "../realm/plan.ts";
import { type InForceManifest, RealmLog } from "../realm/realm_log.ts";
import type { RealmView } from "../realm/realm_view.ts";

/** The manifest that the node goes by. */
export interface InForce {
  readonly bytes: Uint8Array;
  readonly manifest: Manifest;
  readonly signature: ManifestSignature;
  readonly appliedAtMs: number;
  /** Its event; `undefined` when it is of a time before the log. */
  readonly event: string | undefined;
}

const OWNER = "realm/owner";
const TOPIC = "realm/topic";
const MANIFEST = "realm/manifest";
const OVERRIDES = "realm/overrides";

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const bytesOf = (value: string) => new TextEncoder().encode(value);

/** Whose a node is, as its operator says when it starts. */
export interface Claim {
  /** Text form of the owner's public key. */
  readonly owner: string;
  /** CID of the genesis of the control log, where a ticket told it. */
  readonly topic?: string;
}

/** See the module. */
export class RealmState {
  #inForce: InForce | undefined;
  #overrides: Overrides;
  /** Whether the store has them. */
  #areStored = true;

  private constructor(
    readonly store: Store,
    readonly log: RealmLog,
    readonly verifySync: VerifySync,
    /** The owner that the node was claimed for; another may have succeeded it. */
    readonly claimedBy: string | undefined,
  ) {
    const [manifest, overrides] = [MANIFEST, OVERRIDES].map((key) => store.get(key));
    this.#inForce = manifest && decodeInForce(manifest);
    this.#overrides = overrides ? decodeCanonical(overrides) as unknown as Overrides : NO_OVERRIDES;
  }

  /**
   * Reads what is stored, and takes an owner where there is none yet.
   *
   * Throws RealmError `wrong-owner` when the node has another one, `corrupt` when what is stored is
   * damaged.
   */
  static open(store: Store, verify: VerifySync, claim?: Claim): RealmState {
    const stored = { owner: textIn(store, OWNER), topic: textIn(store, TOPIC) };
    const isNew = stored.owner === undefined && claim !== undefined;
    const { owner, topic } = isNew ? { topic: undefined, ...claim } : {
      owner: stored.owner,
      // A node that only knew its owner learns from the ticket which of their realms is meant.
      topic: stored.topic ?? (claim?.owner === stored.owner ? claim?.topic : undefined),
    };
    const trust = {
      ...(owner === undefined ? {} : { owner }),
      ...(topic === undefined ? {} : { topic }),
    };
    const log = RealmLog.open({ store, verify, trust });
    const state = new RealmState(store, log, verify, owner);
    if (claim !== undefined) state.#requireOwn(claim);
    state.#learn(OWNER, owner, stored.owner);
    state.#learn(TOPIC, topic, stored.topic);
    return state;
  }

  /** The owner in force: the control log may have named another. */
  get owner(): string | undefined {
    return this.view?.owner ?? this.claimedBy;
  }

  get view(): RealmView | undefined {
    return this.log.view;
  }

  get inForce(): InForce | undefined {
    return this.#inForce;
  }

  /** `realm.toml.sig` of the manifest that the node goes by. */
  get signatureLine(): string | undefined {
    return this.#inForce && formatManifestSignature(this.#inForce.signature);
  }

  get overrides(): Overrides {
    return this.#overrides;
  }

  /** Whether the owner or an operator wrote on two branches: what they changed stays meanwhile. */
  get isInDoubt(): boolean {
    const { view } = this;
    return view !== undefined && view.alarms.some((alarm) =>
      alarm.kind === "conflict" &&
      (alarm.author === view.owner || view.operators.includes(alarm.author))
    );
  }

  /**
   * The manifest to go by from now on; `null` for none, `undefined` for the one that is there: see
   * {@link followManifest}.
   */
  get candidate(): InForceManifest | null | undefined {
    const { view } = this;
    if (view === undefined) return undefined;
    const event = this.#inForce?.event;
    const { version, sha256 } = this.#inForce?.signature ?? { version: 0, sha256: "" };
    const applied = event === undefined ? undefined : { event, version, sha256 };
    const next = followManifest(applied, view);
    if (next?.event === event) return undefined;
    return next === undefined ? null : this.log.manifest();
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
   * Checks that a manifest is the owner's and newer than the one that the node goes by.
   *
   * Throws RealmError `unclaimed`, and what {@link verifyManifestSync} throws.
   */
  verify(manifestBytes: Uint8Array, signature: ManifestSignature): Manifest {
    const { owner } = this;
    if (owner === undefined) {
      throw new RealmError("unclaimed", "Cannot take the manifest: this agent has no owner", {
        hint: "Start it with realm agent --owner KEY, or --ticket from realm invite",
      });
    }
    const lastVersion = this.#inForce?.signature.version ?? 0;
    const verify = this.verifySync;
    return verifyManifestSync({ manifestBytes, signature, owner, lastVersion, verify }).manifest;
  }

  /**
   * Requires that the manifest in force, or one before it, published these bytes, as the tree in its
   * event says. Throws RealmError `refused`. A manifest of before the log has none.
   */
  requirePublished(component: string, digest: string): void {
    const event = this.#inForce?.event;
    if (event === undefined || this.log.inclusionOf(digest, CID.parse(event))) return;
    throw new RealmError(
      "refused",
      `Cannot start ${component}: sha256:${digest} is not in the log of what the owner published`,
    );
  }

  /** Goes by this manifest from now on, which was {@link RealmState.candidate}. */
  takeOver(manifest: InForceManifest, nowMs: number): void {
    const event = manifest.event.toString();
    const inForce: InForce = { ...manifest, event, appliedAtMs: nowMs };
    this.store.write([{ put: MANIFEST, value: encodeInForce(inForce) }]);
    this.#inForce = inForce;
  }

  /** Goes by no manifest any more, which is what {@link RealmState.candidate} said. */
  drop(): void {
    this.store.write([{ delete: MANIFEST }]);
    this.#inForce = undefined;
  }

  /** Goes by what operators changed since. Throws what the store throws, and goes by it all the same. */
  takeOverrides(): void {
    const { view } = this;
    // Of a manifest that this node does not go by the overrides mean nothing here.
    if (view?.inForce === undefined || view.inForce.event !== this.#inForce?.event) return;
    if (this.isInDoubt) return;
    if (view.overrides === this.#overrides && this.#areStored) return;
    // They are in the log, so they hold although they cannot be stored here: others wait for it.
    this.#overrides = view.overrides;
    this.#areStored = false;
    const value = encodeOverrides(view.overrides);
    const stored = this.store.get(OVERRIDES);
    if (stored === undefined || !bytesEqual(stored, value)) {
      this.store.write([{ put: OVERRIDES, value }]);
    }
    this.#areStored = true;
  }

  #requireOwn({ owner, topic }: Claim): void {
    const owners = this.view?.owners ?? [this.claimedBy!];
    const isOwners = owners.includes(owner);
    const known = this.view?.topic;
    if (isOwners && (topic === undefined || known === undefined || known === topic)) return;
    throw new RealmError(
      "wrong-owner",
      isOwners
        ? `Cannot join the realm ${topic}: this node belongs to ${known}`
        : `Cannot take ${owner} as owner: this node belongs to ${this.owner}`,
      { hint: "Start it with another data folder: realm agent --data DIR" },
    );
  }

  #learn(key: string, value: string | undefined, stored: string | undefined): void {
    if (value !== undefined && value !== stored) {
      this.store.write([{ put: key, value: bytesOf(value) }]);
    }
  }
}

function textIn(store: Store, key: string): string | undefined {
  const value = store.get(key);
  return value && text(value);
}

function encodeOverrides(overrides: Overrides): Uint8Array {
  // The shapes have no undefined values, and arrays of maps are what dag-cbor stores.
  return encodeCanonical(JSON.parse(JSON.stringify(overrides)));
}

function encodeInForce({ bytes, signature, appliedAtMs, event }: InForce): Uint8Array {
  return encodeCanonical({
    bytes,
    signature: formatManifestSignature(signature),
    appliedAtMs,
    event: event ?? null,
  });
}

function decodeInForce(stored: Uint8Array): InForce {
  const { bytes, signature, appliedAtMs, event } = decodeCanonical(stored) as {
    bytes: Uint8Array;
    signature: string;
    appliedAtMs: number;
    event?: string | null; // not there before there was a log
  };
  return {
    bytes,
    manifest: parseManifest(decodeManifest(bytes)),
    signature: parseManifestSignature(signature),
    appliedAtMs,
    event: event ?? undefined,
  };
}
