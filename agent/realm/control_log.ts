/**
 * The control log of a realm: the topic whose events are what its owner decided. Its genesis holds
 * the owner's key and the hash of the recovery key, and its topic id is the CID of the genesis, so
 * that keys can change and the realm stays the same one.
 *
 * Payloads are checked when they are read, with RealmError `corrupt`; that an event was allowed to
 * its author is for the reader of the log to check.
 *
 * @module
 */
import { sha256 } from "@noble/hashes/sha2.js";
import type { CborValue } from "../kernel/canonical.ts";
import { RealmError } from "../kernel/error.ts";
import {
  type Event,
  genesisEvent,
  nextEvent,
  type SignedEvent,
  signEvent,
} from "../kernel/event.ts";
import { bytesEqual, KEY_BYTES } from "../kernel/key.ts";
import type { Signer } from "../kernel/verify.ts";
import {
  formatManifestSignature,
  type ManifestSignature,
  parseManifestSignature,
} from "./manifest_signature.ts";

const GENESIS = "control/genesis";
const MANIFEST = "control/manifest";

/** What a genesis says. */
export interface ControlGenesis {
  /** The owner's 32-byte public key, which is the author's. */
  readonly owner: Uint8Array;
  /** sha256 of the 32-byte public recovery key, which alone can replace a stolen owner key. */
  readonly recoveryHash: Uint8Array;
}

/** A manifest with its signature, as an event carries them. */
export interface ControlManifest {
  readonly manifestBytes: Uint8Array;
  readonly signature: ManifestSignature;
}

/**
 * The genesis of a new realm. A recovery key of its own makes the topic id unique, so each realm
 * needs a new one.
 */
export function createControlGenesis(
  owner: Signer,
  recoveryPublicKey: Uint8Array,
): Promise<SignedEvent> {
  const payload = { owner: owner.publicKey, recovery: sha256(recoveryPublicKey) };
  return signEvent(genesisEvent(owner.publicKey, { type: GENESIS, payload }), owner);
}

/** Reads a genesis of a control log. */
export function readControlGenesis(event: Event): ControlGenesis {
  const { owner, recovery } = payloadOf(event, GENESIS, "owner recovery");
  if (event.topic !== null) throw corrupt("is no genesis");
  if (!(owner instanceof Uint8Array) || !bytesEqual(owner, event.author)) {
    throw corrupt("owner is not its author's key");
  }
  if (!(recovery instanceof Uint8Array) || recovery.length !== KEY_BYTES) {
    throw corrupt("recovery is not a sha256");
  }
  return { owner, recoveryHash: recovery };
}

/** The event that hands a signed manifest to the realm; see {@link nextEvent}. */
export function createManifestEvent(
  owner: Signer,
  heads: readonly SignedEvent[],
  previous: SignedEvent | undefined,
  { manifestBytes, signature }: ControlManifest,
): Promise<SignedEvent> {
  const payload = { manifest: manifestBytes, signature: formatManifestSignature(signature) };
  const content = { type: MANIFEST, payload };
  return signEvent(nextEvent(owner.publicKey, heads, previous, content), owner);
}

/** Reads a manifest event; the manifest still has to pass `verifyManifest()`. */
export function readManifestEvent(event: Event): ControlManifest {
  const { manifest, signature } = payloadOf(event, MANIFEST, "manifest signature");
  if (!(manifest instanceof Uint8Array)) throw corrupt("manifest is not bytes");
  if (typeof signature !== "string") throw corrupt("signature is not text");
  return { manifestBytes: manifest, signature: parseManifestSignature(signature) };
}

/** Whether an event carries a manifest. */
export function isManifestEvent(event: Event): boolean {
  return event.type === MANIFEST;
}

function payloadOf(event: Event, type: string, keys: string): Record<string, CborValue> {
  if (event.type !== type) throw corrupt(`type is ${event.type}, wanted ${type}`);
  const { payload } = event;
  const isMap = typeof payload === "object" && payload !== null && !Array.isArray(payload);
  if (!isMap || Object.keys(payload).sort().join(" ") !== keys) {
    throw corrupt(`payload is not a map with the keys ${keys}`);
  }
  return payload as Record<string, CborValue>;
}

function corrupt(problem: string): RealmError {
  return new RealmError("corrupt", `Cannot read event of the control log: ${problem}`);
}
