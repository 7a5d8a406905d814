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

/** Inverse of {@link bytesOf}. */
export function textOf(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}
