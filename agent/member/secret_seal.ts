/**
 * Secrets as age files (https://age-encryption.org/v1), sealed to keys of the realm: an Ed25519 key
 * is the X25519 key that belongs to it (RFC 7748, 4.1), so nodes need no second key.
 *
 * @module
 */
import { ed25519 } from "@noble/curves/ed25519.js";
import { bech32 } from "@scure/base";
import { armor, Decrypter, Encrypter } from "age-encryption";
import { RealmError } from "../kernel/error.ts";
import { parsePublicKey } from "../kernel/key.ts";

/** Values in a manifest begin so; what follows is base64 of the file, or its armor. */
export const SEALED_PREFIX = "age-encrypted:";

/** What stands before the value in a seal of the control log: nobody passes it off as another. */
function headOf(name: string): Uint8Array {
  return new TextEncoder().encode(`realm/secret/1\0${name}\0`);
}

/** Seals the value of a secret, with its name, to these public keys in text form. */
export function sealSecret(
  name: string,
  value: Uint8Array,
  keys: readonly string[],
): Promise<Uint8Array<ArrayBuffer>> {
  return sealBytes(new Uint8Array([...headOf(name), ...value]), keys);
}

/**
 * Opens the value of a secret, with 32 bytes of Ed25519. Throws RealmError `refused` when it was
 * sealed to others, is that of another secret, or is no age file; the error has nothing of it.
 */
export async function openSecret(
  name: string,
  sealed: Uint8Array,
  secretKey: Uint8Array,
): Promise<Uint8Array> {
  const bytes = await openBytes(sealed, secretKey);
  const head = headOf(name);
  if (head.every((byte, i) => bytes[i] === byte)) return bytes.subarray(head.length);
  throw new RealmError("refused", `Cannot open secret ${name}: this is the seal of another`);
}

/** Seals to these public keys, in text form. */
export async function sealBytes(
  value: Uint8Array,
  keys: readonly string[],
): Promise<Uint8Array<ArrayBuffer>> {
  const encrypter = new Encrypter();
  for (const key of keys) encrypter.addRecipient(recipientOf(key));
  return new Uint8Array(await encrypter.encrypt(value));
}

/**
 * Opens what was sealed to a secret key, 32 bytes of Ed25519. Throws RealmError `refused` when it
 * was sealed to others, or is no age file; the error has nothing of the value.
 */
export async function openBytes(sealed: Uint8Array, secretKey: Uint8Array): Promise<Uint8Array> {
  const decrypter = new Decrypter();
  const scalar = ed25519.utils.toMontgomerySecret(secretKey);
  decrypter.addIdentity(bech32.encodeFromBytes("AGE-SECRET-KEY-", scalar).toUpperCase());
  try {
    return await decrypter.decrypt(sealed);
  } catch (cause) {
    throw new RealmError("refused", "Cannot open a secret: it is not sealed to this key", {
      hint: "Seal it anew with realm secrets reseal",
      cause,
    });
  }
}

/** Work factor of scrypt, as age has it: a second or two, and 256 MiB, for each try. */
const SCRYPT_LOG_N = 18;

/** Seals under a passphrase. */
export async function sealByPassphrase(
  value: Uint8Array,
  passphrase: string,
  logN = SCRYPT_LOG_N,
): Promise<Uint8Array<ArrayBuffer>> {
  const encrypter = new Encrypter();
  encrypter.setPassphrase(passphrase);
  encrypter.setScryptWorkFactor(logN);
  return new Uint8Array(await encrypter.encrypt(value));
}

/** Opens what is under a passphrase; `undefined` when it is under another, or no age file. */
export async function openByPassphrase(
  sealed: Uint8Array,
  passphrase: string,
): Promise<Uint8Array | undefined> {
  const decrypter = new Decrypter();
  decrypter.addPassphrase(passphrase);
  try {
    return await decrypter.decrypt(sealed);
  } catch {
    return undefined;
  }
}

/** The age recipient of a public key in text form: `age1…`. */
export function recipientOf(key: string): string {
  return bech32.encodeFromBytes("age", ed25519.utils.toMontgomery(parsePublicKey(key)));
}

/** The age file in a value of a manifest. Throws RealmError `invalid-config`. */
export function sealedOf(text: string): Uint8Array {
  const body = text.slice(SEALED_PREFIX.length).trim();
  try {
    return body.startsWith("-----BEGIN") ? armor.decode(body) : Uint8Array.fromBase64(body);
  } catch (cause) {
    throw new RealmError(
      "invalid-config",
      `Cannot read a secret of the manifest: wanted ${SEALED_PREFIX} and base64, or the armor`,
      { hint: "Write it anew with realm secrets set NAME --print", cause },
    );
  }
}
