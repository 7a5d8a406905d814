/**
 * What a release is proven by: `SHA256SUMS`, as sha256sum writes it, and `SHA256SUMS.sig` beside it.
 *
 * Each line of the latter is a public key and its signature in base64, over `realm/release/1`, a
 * zero byte, and the bytes of `SHA256SUMS`; one by a key that is trusted is enough.
 *
 * @module
 */
import { signedBytes } from "../../agent/kernel/canonical.ts";
import { RealmError } from "../../agent/kernel/error.ts";
import { formatPublicKey, parsePublicKey } from "../../agent/kernel/key.ts";
import { SHA256_HEX } from "../../agent/kernel/sha256.ts";
import { webCryptoBackend } from "../../agent/kernel/signature_backends.ts";
import { type Signer, verify } from "../../agent/kernel/verify.ts";

/** Name of the file with the digests of a release. */
export const SUMS_FILE = "SHA256SUMS";
/** Name of the file with its signatures. */
export const SIGNATURE_FILE = "SHA256SUMS.sig";
/** Most bytes of either. */
export const SUMS_BYTES_MAX = 64 * 1024;
const SIGNATURES_MAX = 8;

/** The digests by the names of files; throws RealmError `corrupt`. */
export function parseSums(bytes: Uint8Array): ReadonlyMap<string, string> {
  const sums = new Map<string, string>();
  for (const line of new TextDecoder().decode(bytes).split("\n")) {
    if (line === "") continue;
    const [digest, name] = [line.slice(0, 64), line.slice(66)];
    const isLine = SHA256_HEX.test(digest) && /^ [ *]$/.test(line.slice(64, 66)) &&
      /^[\w.+-]+$/.test(name) && !sums.has(name);
    if (!isLine) {
      throw new RealmError("corrupt", `Cannot read ${SUMS_FILE}: ${JSON.stringify(line)}`);
    }
    sums.set(name, digest);
  }
  return sums;
}

/** {@link parseSums} backwards, by name. */
export function formatSums(sums: ReadonlyMap<string, string>): string {
  return [...sums].sort(([a], [b]) => a < b ? -1 : 1)
    .map(([name, digest]) => `${digest}  ${name}\n`).join("");
}

/** A line of {@link SIGNATURE_FILE}. */
export async function signSums(sums: Uint8Array, signer: Signer): Promise<string> {
  const signature = await signer.sign(signedBytes("realm/release/1", sums));
  return `${formatPublicKey(signer.publicKey)} ${signature.toBase64()}\n`;
}

/**
 * Checks that one of `keys` has signed; gives which.
 *
 * Throws RealmError `bad-signature` when none has, whatever else the file says.
 */
export async function verifySums(
  sums: Uint8Array,
  signatures: Uint8Array,
  keys: readonly string[],
): Promise<string> {
  const message = signedBytes("realm/release/1", sums);
  const lines = new TextDecoder().decode(signatures).split("\n").slice(0, SIGNATURES_MAX);
  for (const line of lines) {
    const [key, signature] = line.split(" ");
    if (key === undefined || signature === undefined || !keys.includes(key)) continue;
    const isSigned = await verify(
      parsePublicKey(key),
      message,
      fromBase64(signature),
      webCryptoBackend(),
    );
    if (isSigned) return key;
    throw new RealmError(
      "bad-signature",
      `Cannot trust ${SUMS_FILE}: the signature in ${SIGNATURE_FILE} by ${key} is not of it`,
      { hint: "Do not install it; download it again, or ask who released it" },
    );
  }
  throw new RealmError(
    "bad-signature",
    `Cannot trust ${SUMS_FILE}: it is not signed by ${keys.join(" or ")}`,
    { hint: "Do not install it; ask who releases realm, and where" },
  );
}

function fromBase64(text: string): Uint8Array {
  try {
    return Uint8Array.fromBase64(text);
  } catch {
    return new Uint8Array(0); // verify() refuses it
  }
}
