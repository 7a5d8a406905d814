/**
 * `realm.toml.sig`: the owner's detached signature, one line of JSON.
 *
 * ```json
 * {"version":3,"sha256":"HEX","digests":{"auth":"HEX"},"parents":["CID"],"key":"ed25519:…","signature":"BASE64"}
 * ```
 *
 * `version` is one more than the previous one, `sha256` is of the manifest's bytes as written,
 * `digests` gives the sha256 of every component, `parents` are events of the control log. The
 * signature is over `realm/manifest/1`, a zero byte, and the canonical dag-cbor of the other five
 * fields. The line has one spelling: any other text is refused, so not one byte can be changed.
 *
 * @module
 */
import { base64pad } from "multiformats/bases/base64";
import {
  CID,
  encodeCanonical,
  isCanonicalCid,
  sha256HexSync,
  signedBytes,
} from "../kernel/canonical.ts";
import { RealmError } from "../kernel/error.ts";
import { formatPublicKey, parsePublicKey } from "../kernel/key.ts";
import { SHA256_HEX } from "../kernel/sha256.ts";
import {
  SIGNATURE_BYTES,
  type SignatureBackend,
  type Signer,
  type SyncSigner,
  verify,
  type VerifySync,
} from "../kernel/verify.ts";
import { decodeManifest, isComponentName, type Manifest, parseManifest } from "./manifest.ts";

/** What the owner signs. */
export interface ManifestClaim {
  /** 1 or more; each manifest's is higher than the one before. */
  readonly version: number;
  /** sha256 of the manifest's bytes, lower-case hex. */
  readonly sha256: string;
  /** sha256 of each component's bytes by its name; sorted by name. */
  readonly digests: ReadonlyMap<string, string>;
  /** CIDs of the control log's heads that the owner knew, in text. */
  readonly parents: readonly string[];
  /** The owner's public key. */
  readonly key: string;
}

/** A claim with its 64-byte signature; not verified by being one. */
export interface ManifestSignature extends ManifestClaim {
  readonly signature: Uint8Array;
}

/** A manifest that {@link verifyManifest} found to be the owner's. */
export interface VerifiedManifest {
  readonly manifest: Manifest;
  readonly signature: ManifestSignature;
}

/** Bytes of a signature line; longer ones are not read. */
const LINE_LENGTH_MAX = 512 * 1024;
const PARENTS_MAX = 16;

/** What is to be signed. `version` and `digests` are the caller's to get right. */
interface ToSign<S extends Signer> {
  readonly version: number;
  readonly digests: Iterable<readonly [string, string]>;
  readonly parents?: readonly string[];
  readonly signer: S;
}

/** Signs a manifest. */
export async function signManifest(
  manifestBytes: Uint8Array,
  toSign: ToSign<Signer>,
): Promise<ManifestSignature> {
  const claim = claimOf(manifestBytes, toSign);
  return { ...claim, signature: await toSign.signer.sign(claimBytes(claim)) };
}

/** {@link signManifest}, at once. */
export function signManifestSync(
  manifestBytes: Uint8Array,
  toSign: ToSign<SyncSigner>,
): ManifestSignature {
  const claim = claimOf(manifestBytes, toSign);
  return { ...claim, signature: toSign.signer.sign(claimBytes(claim)) };
}

function claimOf(
  manifestBytes: Uint8Array,
  { version, digests, parents = [], signer }: ToSign<Signer>,
): ManifestClaim {
  return {
    version,
    sha256: sha256HexSync(manifestBytes),
    digests: sortedDigests(digests),
    parents,
    key: formatPublicKey(signer.publicKey),
  };
}

/** The line, without a line break at its end. */
export function formatManifestSignature(signed: ManifestSignature): string {
  return JSON.stringify({
    version: signed.version,
    sha256: signed.sha256,
    digests: Object.fromEntries(signed.digests),
    parents: signed.parents,
    key: signed.key,
    signature: base64pad.baseEncode(signed.signature),
  });
}

/**
 * Reads the line; one line break at its end is allowed. Throws RealmError `bad-signature`. The
 * signature itself is not checked here.
 */
export function parseManifestSignature(line: string): ManifestSignature {
  const text = line.endsWith("\n") ? line.slice(0, -1) : line;
  if (text === "") throw refuse("bad-signature", "it has no signature, wanted the owner's");
  if (text.length > LINE_LENGTH_MAX) {
    throw malformed(`${text.length} characters, wanted at most ${LINE_LENGTH_MAX}`);
  }
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw malformed("not JSON", cause);
  }
  const signed = signatureOf(json);
  if (formatManifestSignature(signed) !== text) throw malformed("not in the form realm writes");
  return signed;
}

/**
 * The gate every manifest passes before anything obeys it.
 *
 * Throws RealmError, each naming what was found and what was wanted: `wrong-owner` (signed by, or
 * for, another key than `owner`), `bad-signature`, `digest-mismatch` (other bytes than were
 * signed, or other digests than the manifest pins), `stale` (version not above `lastVersion`,
 * which is 0 when there was none), `invalid-config` (signed, and not a valid manifest).
 */
export async function verifyManifest(
  claim: Claimed & { readonly backend: SignatureBackend },
): Promise<VerifiedManifest> {
  const { message, key } = messageOf(claim);
  const { signature } = claim.signature;
  return checked(claim, await verify(key, message, signature, claim.backend));
}

/** {@link verifyManifest}, at once: the same answer for every input. */
export function verifyManifestSync(
  claim: Claimed & { readonly verify: VerifySync },
): VerifiedManifest {
  const { message, key } = messageOf(claim);
  return checked(claim, claim.verify(key, message, claim.signature.signature));
}

/** A manifest that somebody brings, and what is known of its realm. */
export interface Claimed {
  readonly manifestBytes: Uint8Array;
  readonly signature: ManifestSignature;
  readonly owner: string;
  readonly lastVersion: number;
}

/** What has to be signed by which key. */
function messageOf({ signature, owner }: Claimed): { message: Uint8Array; key: Uint8Array } {
  if (signature.key !== owner) {
    throw refuse(
      "wrong-owner",
      `version ${signature.version} is signed by ${signature.key}, wanted ${owner}`,
      { hint: "Sign with the owner's key: realm key show" },
    );
  }
  return { message: claimBytes(signature), key: parsePublicKey(signature.key) };
}

/** All that is checked once it is known whether the signature verifies. */
function checked(
  { manifestBytes, signature, owner, lastVersion }: Claimed,
  isSigned: boolean,
): VerifiedManifest {
  const version = signature.version;
  if (!isSigned) {
    throw refuse(
      "bad-signature",
      `the signature of version ${version} ` +
        `(${base64pad.baseEncode(signature.signature).slice(0, 16)}…) is not one by ${owner}`,
      { hint: "Run realm apply again" },
    );
  }
  const sha256 = sha256HexSync(manifestBytes);
  if (sha256 !== signature.sha256) {
    throw refuse(
      "digest-mismatch",
      `its bytes have sha256 ${sha256}, version ${version} is signed for ${signature.sha256}`,
      { hint: "The file was changed after it was signed: run realm apply" },
    );
  }
  if (version <= lastVersion) {
    throw refuse("stale", `its version is ${version}, wanted more than ${lastVersion}`, {
      hint: "Run realm apply, which signs the next version",
    });
  }
  const manifest = parseManifest(decodeManifest(manifestBytes));
  if (manifest.owner !== owner) {
    throw refuse("wrong-owner", `its owner.pubkey is ${manifest.owner}, wanted ${owner}`);
  }
  checkDigests(manifest, signature.digests);
  return { manifest, signature };
}

/** Every component has exactly one digest, the one it pins if it pins one. */
function checkDigests(manifest: Manifest, digests: ReadonlyMap<string, string>): void {
  for (const [name, component] of manifest.components) {
    const digest = digests.get(name);
    if (digest === undefined) {
      throw refuse("digest-mismatch", `component ${name} has no digest in its signature`);
    }
    if (component.sha256 !== undefined && component.sha256 !== digest) {
      throw refuse(
        "digest-mismatch",
        `component ${name} is pinned to ${component.sha256}, signed for ${digest}`,
      );
    }
  }
  for (const name of digests.keys()) {
    if (!manifest.components.has(name)) {
      throw refuse("digest-mismatch", `its signature has a digest of ${name}, no component of it`);
    }
  }
}

function claimBytes(claim: ManifestClaim): Uint8Array {
  return signedBytes(
    "realm/manifest/1",
    encodeCanonical({
      version: claim.version,
      sha256: claim.sha256,
      digests: Object.fromEntries(claim.digests),
      parents: claim.parents,
      key: claim.key,
    }),
  );
}

function signatureOf(json: unknown): ManifestSignature {
  const fields = ["version", "sha256", "digests", "parents", "key", "signature"];
  if (!isObject(json) || Object.keys(json).join() !== fields.join()) {
    throw malformed(`wanted an object with ${fields.join(", ")}`);
  }
  const { version, sha256, digests, parents, key, signature } = json;
  if (typeof version !== "number" || !Number.isSafeInteger(version) || version < 1) {
    throw malformed(`version is ${JSON.stringify(version)}, wanted a whole number from 1`);
  }
  if (typeof sha256 !== "string" || !SHA256_HEX.test(sha256)) {
    throw malformed("sha256 is not 64 digits of lower-case hex");
  }
  if (!isObject(digests)) throw malformed("digests is not an object");
  const entries = Object.entries(digests).map(([name, digest]) => {
    if (!isComponentName(name) || typeof digest !== "string" || !SHA256_HEX.test(digest)) {
      throw malformed(`digests.${JSON.stringify(name)} is not a component with its sha256`);
    }
    return [name, digest] as const;
  });
  const isParents = Array.isArray(parents) && parents.length <= PARENTS_MAX && parents.every(isCid);
  if (!isParents) throw malformed(`parents is not an array of at most ${PARENTS_MAX} CIDs`);
  if (typeof key !== "string") throw malformed("key is not a string");
  let bytes: Uint8Array;
  try {
    parsePublicKey(key);
    bytes = base64pad.baseDecode(typeof signature === "string" ? signature : "");
  } catch (cause) {
    throw malformed(cause instanceof RealmError ? cause.message : "signature not base64", cause);
  }
  if (bytes.length !== SIGNATURE_BYTES) {
    throw malformed(`signature has ${bytes.length} bytes, wanted ${SIGNATURE_BYTES}`);
  }
  return { version, sha256, digests: sortedDigests(entries), parents, key, signature: bytes };
}

function isCid(value: unknown): value is string {
  try {
    return typeof value === "string" && isCanonicalCid(CID.parse(value));
  } catch {
    return false;
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * Sorted, so that there is one spelling. Names that look like numbers come first in a JavaScript
 * object whatever their place here, in the same order for everyone.
 */
function sortedDigests(digests: Iterable<readonly [string, string]>): Map<string, string> {
  const sorted = [...digests].sort(([a], [b]) => a < b ? -1 : 1);
  return new Map(Object.entries(Object.fromEntries(sorted)));
}

function malformed(problem: string, cause?: unknown): RealmError {
  return new RealmError("bad-signature", `Cannot read manifest signature: ${problem}`, {
    cause,
    hint: "Run realm apply, which signs the manifest",
  });
}

type Refusal = "wrong-owner" | "bad-signature" | "digest-mismatch" | "stale";

function refuse(code: Refusal, problem: string, options: { hint?: string } = {}): RealmError {
  return new RealmError(code, `Cannot accept manifest: ${problem}`, options);
}
