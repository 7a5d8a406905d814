/**
 * Ed25519 edge vectors: the cases on which implementations disagree.
 *
 * Built here from curve arithmetic (`@noble/ed25519` points), after the twelve cases of "Taming
 * the many EdDSAs" (https://eprint.iacr.org/2020/1244, table 5), so that each says what it is
 * made of. Torsion points, scalars and messages are searched for deterministically.
 *
 * @module
 */
import { etc, Point } from "@noble/ed25519";
import { sha512 } from "@noble/hashes/sha2.js";

/** One case; `accepted` is the answer that `verify()` must give on every backend. */
export interface EdgeVector {
  readonly name: string;
  readonly publicKey: Uint8Array;
  readonly message: Uint8Array;
  readonly signature: Uint8Array;
  readonly accepted: boolean;
}

const L = Point.CURVE().n;
const P = Point.CURVE().p;
const SIGN_BIT = 1n << 255n;

/** A generator of the eight points of small order: what is left of a point times L. */
const TORSION = (() => {
  for (let y = 2n;; y++) {
    let point: Point;
    try {
      point = Point.fromBytes(bytesOf(y), true);
    } catch {
      continue;
    }
    // L is not a valid argument of multiply(), which wants less.
    const torsion = point.multiply(L - 1n, false).add(point);
    if (!torsion.double().double().is0()) return torsion;
  }
})();

function bytesOf(n: bigint): Uint8Array {
  return Uint8Array.from({ length: 32 }, (_, i) => Number((n >> BigInt(8 * i)) & 0xffn));
}

function numberOf(bytes: Uint8Array): bigint {
  return bytes.reduceRight((n, byte) => (n << 8n) | BigInt(byte), 0n);
}

/** `k` of RFC 8032, section 5.1.7, step 2. */
function challenge(r: Uint8Array, a: Uint8Array, message: Uint8Array): bigint {
  return numberOf(sha512(etc.concatBytes(r, a, message))) % L;
}

const text = (s: string) => new TextEncoder().encode(s);
const times = (point: Point, n: number) =>
  Array.from({ length: n }).reduce<Point>((sum) => sum.add(point), Point.ZERO);

/**
 * A signature from its parts: secret scalar `a` and nonce `r`, plus torsion on A and on R.
 * `wanted` picks a message by its challenge; `encodeA` and `encodeR` may encode points oddly.
 */
function build(parts: {
  a: bigint;
  r: bigint;
  torsionA?: number;
  torsionR?: number;
  encodeA?: Uint8Array;
  encodeR?: Uint8Array;
  wanted?: (k: bigint) => boolean;
  addToS?: bigint;
}): { publicKey: Uint8Array; message: Uint8Array; signature: Uint8Array } {
  const on = (n: bigint) => n === 0n ? Point.ZERO : Point.BASE.multiply(n, false);
  const publicKey = parts.encodeA ?? on(parts.a).add(times(TORSION, parts.torsionA ?? 0)).toBytes();
  const r = parts.encodeR ?? on(parts.r).add(times(TORSION, parts.torsionR ?? 0)).toBytes();
  for (let i = 0;; i++) {
    const message = text(`edge ${i}`);
    const k = challenge(r, publicKey, message);
    if (parts.wanted !== undefined && !parts.wanted(k)) continue;
    const s = (parts.r + k * parts.a) % L + (parts.addToS ?? 0n);
    return { publicKey, message, signature: etc.concatBytes(r, bytesOf(s)) };
  }
}

const a = 0x1234567890abcdef1234567890abcdef1234567890abcdefn;
const r = 0xfedcba0987654321fedcba0987654321fedcba098765n;
const order8 = TORSION.toBytes();
const order4 = times(TORSION, 2).toBytes();
const order2 = times(TORSION, 4).toBytes();
const identity = bytesOf(1n);

/** The cases, accepted and refused. */
export const EDGE_VECTORS: readonly EdgeVector[] = [
  { name: "ordinary", ...build({ a, r }), accepted: true },
  { name: "ordinary, empty message", ...ordinaryOver(new Uint8Array()), accepted: true },
  {
    name: "mixed-order A and R whose torsion cancels without the cofactor",
    ...build({ a, r, torsionA: 1, torsionR: 1, wanted: (k) => k % 8n === 7n }),
    accepted: true,
  },
  {
    name: "mixed-order A whose torsion vanishes, 8 divides k",
    ...build({ a, r, torsionA: 1, wanted: (k) => k % 8n === 0n }),
    accepted: true,
  },
  {
    name: "mixed-order A, equation holds only with the cofactor",
    ...build({ a, r, torsionA: 1, wanted: (k) => k % 8n === 1n }),
    accepted: false,
  },
  {
    name: "mixed-order R, equation holds only with the cofactor",
    ...build({ a, r, torsionR: 1 }),
    accepted: false,
  },
  {
    name: "mixed-order A and R, equation holds only with the cofactor",
    ...build({ a, r, torsionA: 1, torsionR: 1, wanted: (k) => k % 8n === 1n }),
    accepted: false,
  },
  { name: "S = 0, small-order A and R (the identity)", ...zero(identity, identity) },
  {
    name: "small-order A of order 8, R = S·B, 8 divides k",
    ...build({ a: 0n, r, torsionA: 1, wanted: (k) => k % 8n === 0n }),
    accepted: false,
  },
  {
    name: "small-order A of order 8 with the other y, 8 divides k",
    ...build({ a: 0n, r, torsionA: 3, wanted: (k) => k % 8n === 0n }),
    accepted: false,
  },
  {
    name: "small-order A of order 4, 4 divides k",
    ...build({ a: 0n, r, encodeA: order4, wanted: (k) => k % 4n === 0n }),
    accepted: false,
  },
  {
    name: "small-order A of order 2, 2 divides k",
    ...build({ a: 0n, r, encodeA: order2, wanted: (k) => k % 2n === 0n }),
    accepted: false,
  },
  {
    name: "small-order A, the identity: S·B = R for every message",
    ...build({ a: 0n, r, encodeA: identity }),
    accepted: false,
  },
  {
    name: "small-order R of order 8, ordinary A with cofactor",
    ...build({ a, r: 0n, torsionR: 1 }),
    accepted: false,
  },
  {
    name: "small-order R, the identity: S = k·a",
    ...build({ a, r: 0n, encodeR: identity }),
    accepted: false,
  },
  {
    name: "small-order A and R of order 8 that cancel",
    ...build({ a: 0n, r: 0n, encodeA: order8, encodeR: order8, wanted: (k) => k % 8n === 7n }),
    accepted: false,
  },
  { name: "S + L", ...build({ a, r, addToS: L }), accepted: false },
  {
    name: "S + 8·L, whose three top bits are not zero",
    ...build({ a, r, addToS: 8n * L }),
    accepted: false,
  },
  {
    name: "non-canonical A: the identity as y = p + 1",
    ...build({ a: 0n, r, encodeA: bytesOf(P + 1n) }),
    accepted: false,
  },
  {
    name: "non-canonical R: the identity as y = p + 1, S = k·a",
    ...build({ a, r: 0n, encodeR: bytesOf(P + 1n) }),
    accepted: false,
  },
  {
    name: "non-canonical A: the identity with the sign bit of x = 0",
    ...build({ a: 0n, r, encodeA: bytesOf(1n + SIGN_BIT) }),
    accepted: false,
  },
  {
    name: "non-canonical R: the identity with the sign bit of x = 0, S = k·a",
    ...build({ a, r: 0n, encodeR: bytesOf(1n + SIGN_BIT) }),
    accepted: false,
  },
  {
    name: "non-canonical A: order 2 with the sign bit of x = 0",
    ...build({ a: 0n, r, encodeA: bytesOf(P - 1n + SIGN_BIT), wanted: (k) => k % 2n === 0n }),
    accepted: false,
  },
  {
    name: "non-canonical A: order 4 as y = p",
    ...build({ a: 0n, r, encodeA: bytesOf(P), wanted: (k) => k % 4n === 0n }),
    accepted: false,
  },
  {
    name: "non-canonical A that is no small-order point, as y + p",
    ...highOrder("A"),
  },
  {
    name: "non-canonical R that is no small-order point, as y + p",
    ...highOrder("R"),
  },
  {
    name: "A is not on the curve",
    ...build({ a, r, encodeA: bytesOf(notOnCurve()) }),
    accepted: false,
  },
  {
    name: "R is not on the curve",
    ...build({ a, r, encodeR: bytesOf(notOnCurve()) }),
    accepted: false,
  },
];

function ordinaryOver(message: Uint8Array) {
  const publicKey = Point.BASE.multiply(a, false).toBytes();
  const rBytes = Point.BASE.multiply(r, false).toBytes();
  const s = (r + challenge(rBytes, publicKey, message) * a) % L;
  return { publicKey, message, signature: etc.concatBytes(rBytes, bytesOf(s)) };
}

function zero(publicKey: Uint8Array, rBytes: Uint8Array) {
  return {
    publicKey,
    message: text("zero"),
    signature: etc.concatBytes(rBytes, bytesOf(0n)),
    accepted: false,
  };
}

/**
 * y + p fits 255 bits for y < 19 only, and no discrete logarithm of such a point is known: the
 * equation cannot be made to hold, the refusal must come from the encoding.
 */
function highOrder(where: "A" | "R") {
  for (let y = 2n; y < 19n; y++) {
    try {
      if (Point.fromBytes(bytesOf(y), true).isSmallOrder()) continue;
    } catch {
      continue;
    }
    const encoded = bytesOf(y + P);
    return {
      ...build(where === "A" ? { a, r, encodeA: encoded } : { a, r, encodeR: encoded }),
      accepted: false,
    };
  }
  throw new Error("unreachable: y = 3 is a point");
}

function notOnCurve(): bigint {
  for (let y = 2n;; y++) {
    try {
      Point.fromBytes(bytesOf(y), true);
    } catch {
      return y;
    }
  }
}
