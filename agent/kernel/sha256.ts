/**
 * The name of a piece of bytes: its SHA-256 (FIPS 180-4) as 64 lower-case hex digits.
 *
 * Blobs, components and artifacts are named so everywhere: on disk, in manifests, in the control
 * API. WebCrypto does the work, off the calling thread for large inputs.
 *
 * @module
 */

/** A digest in the one form that is accepted: 64 lower-case hex digits. */
export const SHA256_HEX = /^[0-9a-f]{64}$/;

/** SHA-256 of the bytes, in lower-case hex. */
export async function sha256Hex(bytes: Uint8Array): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>);
  return new Uint8Array(digest).toHex();
}
