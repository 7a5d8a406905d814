/**
 * A publisher takes a bundle back: who has the revocation installs and starts it no more.
 *
 * Signed by the key that signed the bundle, or by one to which the app was handed on since. It is one
 * canonical dag-cbor map: `{v: 1, app, bundle, succession, signature}`, with the steps from the key of
 * the bundle to the one that signs, as in the seal of a bundle (`bundle.ts`), and an Ed25519 signature
 * over `realm/revocation/1`, a zero byte and the map `{v: 1, app, bundle}`. Throws RealmError `corrupt`
 * for bytes that are none, `bad-signature`.
 *
 * @module
 */
import {
  CID,
  decodeCanonical,
  encodeCanonical,
  isCanonicalCid,
  signedBytes,
} from "../kernel/canonical.ts";
import { RealmError } from "../kernel/error.ts";
import { formatPublicKey } from "../kernel/key.ts";
import { SIGNATURE_BYTES, type SignatureBackend, type Signer, verify } from "../kernel/verify.ts";
import {
  followSuccession,
  hasKeys,
  isBytes,
  type PackedBundle,
  readSuccession,
  type Succession,
} from "./bundle.ts";

/** A revocation; not verified by being one. */
export interface Revocation {
  readonly app: CID;
  readonly bundle: CID;
  /** Steps after those of the bundle, to the key that signed. */
  readonly succession: readonly Succession[];
  readonly signature: Uint8Array;
}

/** Bytes of one. */
export const REVOCATION_BYTES_MAX = 64 * 1024;

/** Takes a bundle back. `signer` is its publisher, or the last key of `succession`. */
export async function revokeBundle(
  { id, app }: Pick<PackedBundle, "id" | "app">,
  succession: readonly Succession[],
  signer: Signer,
): Promise<Revocation> {
  const signature = await signer.sign(messageOf({ app, bundle: id }));
  return { app, bundle: id, succession, signature };
}

/** Refuses a revocation that is not of this bundle, or not by who may revoke it. */
export async function verifyRevocation(
  revocation: Revocation,
  packed: PackedBundle,
  backend: SignatureBackend,
): Promise<void> {
  const { app, bundle, succession, signature } = revocation;
  if (!bundle.equals(packed.id) || !app.equals(packed.app)) {
    throw new RealmError("refused", `Cannot take revocation: it is of bundle ${bundle}, not this`);
  }
  const before = { app, number: packed.succession.length, key: packed.bundle.publisher };
  const key = await followSuccession(before, succession, backend);
  if (await verify(key, messageOf(revocation), signature, backend)) return;
  throw new RealmError(
    "bad-signature",
    `Cannot take revocation: it is not signed by ${formatPublicKey(key)}, a publisher of the app`,
  );
}

export function encodeRevocation(revocation: Revocation): Uint8Array<ArrayBuffer> {
  const { app, bundle, succession, signature } = revocation;
  const steps = succession.map(({ to, signature }) => ({ to, signature }));
  return encodeCanonical({ v: 1, app, bundle, succession: steps, signature });
}

/** Inverts {@link encodeRevocation}. */
export function decodeRevocation(bytes: Uint8Array): Revocation {
  if (bytes.length > REVOCATION_BYTES_MAX) throw malformed(`it has ${bytes.length} bytes`);
  const map = decodeCanonical(bytes);
  if (!hasKeys(map, ["app", "bundle", "signature", "succession", "v"]) || map.v !== 1) {
    throw malformed("it has other keys");
  }
  const [app, bundle] = [CID.asCID(map.app), CID.asCID(map.bundle)];
  if (app === null || bundle === null || !isCanonicalCid(app) || !isCanonicalCid(bundle)) {
    throw malformed("app or bundle is no CID of a bundle");
  }
  if (!isBytes(map.signature, SIGNATURE_BYTES)) throw malformed("its signature has another length");
  return { app, bundle, succession: readSuccession(map.succession), signature: map.signature };
}

function messageOf({ app, bundle }: Pick<Revocation, "app" | "bundle">): Uint8Array {
  return signedBytes("realm/revocation/1", encodeCanonical({ v: 1, app, bundle }));
}

function malformed(problem: string): RealmError {
  return new RealmError("corrupt", `Cannot read revocation: ${problem}`);
}
