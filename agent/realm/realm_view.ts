/**
 * What a control log comes to: who owns the realm, which nodes are in it, which manifest is in
 * force and what operators changed since.
 *
 * A value that is never changed. Keys are in text form, ids of events the text of their CIDs. Two
 * nodes with the same heads have views with the same {@link viewDigest}.
 *
 * @module
 */
import { type CborValue, encodeCanonical, sha256HexSync } from "../kernel/canonical.ts";
import type { Overrides } from "./desired.ts";

/** A node that may take part. */
export interface ApprovedNode {
  readonly key: string;
  readonly name: string;
  /** The event that approved it. */
  readonly event: string;
  /** The version that was in force when it was given its name; 0 for none. */
  readonly since: number;
}

/** A manifest that was handed to the realm. */
export interface ManifestRecord {
  readonly event: string;
  readonly version: number;
  /** sha256 of its bytes, in hex. */
  readonly sha256: string;
  readonly author: string;
  /** Its place in the order. */
  readonly lamport: number;
  /**
   * `applied`: came into force there. `stale`: its version was not above the one in force.
   * `conflict`: its author wrote on two branches and has not joined them yet. `void`: its author
   * was revoked, or replaced, before it. `refused`: it is not one, or not by the owner.
   */
  readonly outcome: "applied" | "stale" | "conflict" | "void" | "refused";
  /** In words, unless it was applied. */
  readonly why?: string;
}

/** Bytes that nodes may fetch. */
export interface PublishedBlob {
  /** Their sha256, in hex. */
  readonly digest: string;
  readonly bytes: number;
  readonly name: string;
  readonly author: string;
  readonly event: string;
}

/** A value that components read by its name. */
export interface SecretRecord {
  readonly name: string;
  /** That set it. */
  readonly event: string;
  /** The owner that set it, who can open it too. */
  readonly author: string;
  /** Keys of the nodes that can open it, in text form. */
  readonly nodes: readonly string[];
  /** The age file. */
  readonly sealed: Uint8Array;
}

/** A program that the owner asked a node to run. */
export interface ExecRecord {
  readonly event: string;
  readonly author: string;
  /** Name and key that the node had there. */
  readonly node: string;
  readonly key: string;
  readonly command: readonly string[];
  readonly expiresAtMs: number;
  /** Once the node told how it ended. */
  readonly status?: number;
}

/** Something that a person should look at. */
export type RealmAlarm =
  /**
   * A key wrote on several branches: nothing after they part counts until it joins them. `tips` are
   * the first 16 of its newest events.
   */
  | { readonly kind: "conflict"; readonly author: string; readonly tips: readonly string[] }
  /**
   * An owner signed two manifests of which neither knows of the other: these events. Their trees of
   * digests are no continuation of each other, so whoever has both can prove it.
   */
  | {
    readonly kind: "equivocation";
    readonly author: string;
    readonly events: readonly [string, string];
  }
  /** A name was given to another key, and the one that had it was not revoked. */
  | {
    readonly kind: "key-changed";
    readonly name: string;
    readonly from: string;
    readonly to: string;
    readonly event: string;
  };

/** See the module. */
export interface RealmView {
  /** The CID of the genesis. */
  readonly topic: string;
  /** The owner in force; it may be revoked while two successions are in conflict. */
  readonly owner: string;
  /** All that were, the first one first, the one in force too. */
  readonly owners: readonly string[];
  /** sha256 of the recovery key, in hex. */
  readonly recoveryHash: string;
  /** Approved nodes by key, in order of their keys. */
  readonly nodes: ReadonlyMap<string, ApprovedNode>;
  /** Keys that will never have a say again, sorted. */
  readonly revoked: readonly string[];
  /** The last names of revoked keys that were nodes, by key. */
  readonly formerNames: ReadonlyMap<string, Pick<ApprovedNode, "key" | "name">>;
  /** Of the manifest in force, without those that were revoked. */
  readonly operators: readonly string[];
  /** The manifest in force; `RealmLog.manifest()` has its contents. */
  readonly inForce: ManifestRecord | undefined;
  /** Every manifest, in order. */
  readonly history: readonly ManifestRecord[];
  readonly overrides: Overrides;
  /** By digest, in the order in which they were published. */
  readonly published: ReadonlyMap<string, PublishedBlob>;
  /** By name, in order of the names. */
  readonly secrets: ReadonlyMap<string, SecretRecord>;
  /** In order. */
  readonly execs: readonly ExecRecord[];
  readonly alarms: readonly RealmAlarm[];
}

const digests = new WeakMap<RealmView, string>();

/** The sha256 of a view's canonical form, in hex. */
export function viewDigest(view: RealmView): string {
  let digest = digests.get(view);
  if (digest === undefined) {
    digest = sha256HexSync(encodeCanonical(canonical(view)));
    digests.set(view, digest);
  }
  return digest;
}

/**
 * Maps as lists of their values, which have their keys in them; without what is undefined, without
 * reasons in words, which another version words in another way, and without sealed bytes, which
 * their event names.
 */
function canonical(value: unknown): CborValue {
  if (value instanceof Map) return [...value.values()].map(canonical);
  if (Array.isArray(value)) return value.map(canonical);
  if (typeof value !== "object" || value === null) return value as CborValue;
  return Object.fromEntries(
    Object.entries(value).filter(([k, v]) => v !== undefined && k !== "why" && k !== "sealed").map((
      [k, v],
    ) => [k, canonical(v)]),
  );
}
