/**
 * Cuts the bytes that a component writes into lines.
 *
 * @module
 */

/** Put at the end of a line of which the rest was dropped. */
export const CUT_MARK = " […]";

const NEWLINE = 0x0a;
// Not fatal: a component may write anything; what is not UTF-8 becomes U+FFFD.
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/**
 * Collects bytes up to a line feed. A line longer than `lineBytesMax` is given out as soon as that
 * is known, with {@link CUT_MARK}, and the rest of it is dropped. Keeps at most one line.
 */
export class LineSplitter {
  readonly #lineBytesMax: number;
  #parts: Uint8Array[] = [];
  #length = 0;
  /** In a line that was cut: dropping up to its end. */
  #cutting = false;

  constructor(lineBytesMax: number) {
    this.#lineBytesMax = lineBytesMax;
  }

  /**
   * Calls `accept` before it decodes each line that ends in the chunk; a line that is not accepted
   * costs no more than finding its end. Accepted ones go to `emit`.
   */
  push(chunk: Uint8Array, accept: () => boolean, emit: (text: string) => void): void {
    let start = 0;
    while (start < chunk.length) {
      const newline = chunk.indexOf(NEWLINE, start);
      const end = newline === -1 ? chunk.length : newline;
      if (!this.#cutting) {
        const room = this.#lineBytesMax - this.#length;
        const part = chunk.subarray(start, Math.min(end, start + room));
        if (end - start > room) {
          this.#cutting = true;
          if (accept()) emit(this.#text(part, true));
          this.#clear();
        } else if (newline !== -1) {
          if (accept()) emit(this.#text(part, false));
          this.#clear();
        } else {
          this.#parts.push(part.slice()); // The chunk may be a view of memory that changes.
          this.#length += part.length;
        }
      }
      if (newline === -1) return;
      this.#cutting = false;
      start = newline + 1;
    }
  }

  /** The end of the output: a last line without a line feed is a line too. */
  end(accept: () => boolean, emit: (text: string) => void): void {
    if (this.#length > 0 && accept()) emit(this.#text(new Uint8Array(), false));
    this.#clear();
    this.#cutting = false;
  }

  #clear(): void {
    this.#parts = [];
    this.#length = 0;
  }

  #text(last: Uint8Array, cut: boolean): string {
    let bytes = last;
    if (this.#length > 0) {
      bytes = new Uint8Array(this.#length + last.length);
      let offset = 0;
      for (const part of [...this.#parts, last]) {
        bytes.set(part, offset);
        offset += part.length;
      }
    }
    if (cut) return decoder.decode(wholeCharacters(bytes)) + CUT_MARK;
    if (bytes.at(-1) === 0x0d) bytes = bytes.subarray(0, -1);
    return decoder.decode(bytes);
  }
}

/** The bytes without an unfinished UTF-8 sequence at their end. */
function wholeCharacters(bytes: Uint8Array): Uint8Array {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back]!;
    if ((byte & 0xc0) === 0x80) continue; // A continuation: its first byte is further back.
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return length > back ? bytes.subarray(0, -back) : bytes;
  }
  return bytes;
}
