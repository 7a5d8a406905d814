/**
 * Strings of which each character is a byte, the form of header values on their way through the
 * program.
 *
 * @see https://webidl.spec.whatwg.org/#idl-ByteString
 * @module
 */

/** The bytes of the characters, each of which is at most U+00FF. */
export function bytesOf(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/** Arguments of one call: engines bound them. */
const CHUNK = 4096;

/** Inverse of {@link bytesOf}. */
export function textOf(bytes: Uint8Array): string {
  if (bytes.length <= CHUNK) return String.fromCharCode.apply(null, bytes as unknown as number[]);
  let text = "";
  for (let at = 0; at < bytes.length; at += CHUNK) text += textOf(bytes.subarray(at, at + CHUNK));
  return text;
}
