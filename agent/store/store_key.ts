/**
 * Keys of a store: well-formed text of at most 1,024 characters, ordered by their UTF-8 bytes.
 *
 * JavaScript compares strings by UTF-16 code unit, which puts U+10000 before U+E000; UTF-8 and
 * therefore SQLite do not.
 *
 * @module
 */

/** Longest key, in UTF-16 code units. */
export const KEY_LENGTH_MAX = 1024;

/**
 * The key itself. Throws a `TypeError` for an empty, overlong or ill-formed one: keys are made by
 * our own code, so a bad one is a bug and must not silently become another key.
 */
export function checkKey(key: string): string {
  if (key.length === 0 || key.length > KEY_LENGTH_MAX || !key.isWellFormed()) {
    throw new TypeError(`not a store key: ${JSON.stringify(key.slice(0, 80))}`);
  }
  return key;
}

/** Negative, zero or positive as the UTF-8 bytes of `a` sort before, with or after those of `b`. */
export function compareKeys(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x !== y) return rank(x) - rank(y);
  }
  return a.length - b.length;
}

/** Moves surrogates, which stand for U+10000 and up, behind all other code units. */
function rank(unit: number): number {
  return unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit;
}
