import assert from "node:assert/strict";
import * as ed25519 from "@noble/ed25519";
import fc from "fast-check";
import { nodeBackend } from "../node/crypto_node.ts";
import { nobleBackend, webCryptoBackend } from "./signature_backends.ts";
import { keyPairOf, signerOf, verify, verifySync } from "./verify.ts";
import { EDGE_VECTORS } from "./verify_vectors.ts";

const backends = [nodeBackend(), webCryptoBackend(), nobleBackend()];
const hex = (text: string) => Uint8Array.from(text.match(/../g) ?? [], (b) => parseInt(b, 16));
const runs = Deno.env.get("SLOW") ? 2000 : 15;

Deno.test("verifySync() answers the edge vectors, and refuses before the backend runs", async () => {
  for (const { name, publicKey, message, signature, accepted } of EDGE_VECTORS) {
    assert.equal(verifySync(publicKey, message, signature, nodeBackend()), accepted, name);
    const yes = { ...nodeBackend(), verify: () => true };
    assert.equal(
      verifySync(publicKey, message, signature, yes),
      await verify(publicKey, message, signature, yes),
      name,
    );
  }
  const silent = { ...nodeBackend(), verify: () => assert.fail("asked") };
  for (const [k, s] of [[31, 64], [33, 64], [32, 63], [32, 65]] as const) {
    const answer = verifySync(new Uint8Array(k), new Uint8Array(), new Uint8Array(s), silent);
    assert.equal(answer, false);
  }
});

for (const backend of backends) {
  Deno.test(`verify() answers the edge vectors on ${backend.name}`, async () => {
    for (const { name, publicKey, message, signature, accepted } of EDGE_VECTORS) {
      assert.equal(await verify(publicKey, message, signature, backend), accepted, name);
    }
  });

  Deno.test(`${backend.name} gives the keys and signatures of RFC 8032, section 7.1`, async () => {
    const seed = hex("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7");
    const publicKey = hex("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025");
    const signature = hex(
      "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac" +
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    );
    const keys = await keyPairOf(seed, backend);
    assert.deepEqual(keys.publicKey, publicKey);
    assert.deepEqual(await signerOf(keys, backend).sign(hex("af82")), signature);
    assert.equal(await verify(publicKey, hex("af82"), signature, backend), true);
    assert.equal(await verify(publicKey, hex("af83"), signature, backend), false);
  });
}

Deno.test("verify() is needed: the backends alone disagree", async () => {
  const noble = (v: typeof EDGE_VECTORS[number]) => {
    try {
      return ed25519.verify(v.signature, v.message, v.publicKey, { zip215: false });
    } catch {
      return false;
    }
  };
  const split: string[] = [];
  const acceptedButRefused: string[] = [];
  for (const v of EDGE_VECTORS) {
    const answers = [noble(v)];
    for (const b of backends) answers.push(await b.verify(v.publicKey, v.message, v.signature));
    if (new Set(answers).size > 1) split.push(v.name);
    if (!v.accepted && answers.includes(true)) acceptedButRefused.push(v.name);
  }
  assert.ok(split.length >= 1, "no vector on which raw backends disagree");
  assert.ok(split.includes("mixed-order R, equation holds only with the cofactor"));
  assert.ok(acceptedButRefused.includes("small-order A, the identity: S·B = R for every message"));
});

Deno.test("verify() refuses bad encodings before any backend runs", async () => {
  const needsBackend = /^ordinary|^mixed-order|not on the curve/;
  for (const { name, publicKey, message, signature } of EDGE_VECTORS) {
    let isAsked = false;
    const yes = { ...nodeBackend(), verify: () => isAsked = true };
    const answer = await verify(publicKey, message, signature, yes);
    assert.deepEqual(
      [answer, isAsked],
      needsBackend.test(name) ? [true, true] : [false, false],
      name,
    );
  }
});

Deno.test("verify() refuses wrong lengths without asking the backend", async () => {
  const silent = { ...nodeBackend(), verify: () => assert.fail("asked") };
  const sizes = [[31, 64], [33, 64], [32, 63], [32, 65], [0, 0]] as const;
  for (const [k, s] of sizes) {
    const answer = await verify(new Uint8Array(k), new Uint8Array(), new Uint8Array(s), silent);
    assert.equal(answer, false);
  }
});

Deno.test("verify() refuses a signature, message or key with one bit changed, everywhere", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.uint8Array({ minLength: 32, maxLength: 32 }),
      fc.uint8Array({ minLength: 1, maxLength: 100 }),
      fc.nat(),
      fc.nat(7),
      async (seed, message, at, bit) => {
        const keys = await keyPairOf(seed, backends[0]!);
        const signature = await signerOf(keys, backends[0]!).sign(message);
        const flip = (bytes: Uint8Array) => {
          const copy = bytes.slice();
          copy[at % copy.length]! ^= 1 << bit;
          return copy;
        };
        for (const backend of backends) {
          assert.equal(await verify(keys.publicKey, message, signature, backend), true);
          assert.equal(await verify(keys.publicKey, message, flip(signature), backend), false);
          assert.equal(await verify(keys.publicKey, flip(message), signature, backend), false);
          assert.equal(await verify(flip(keys.publicKey), message, signature, backend), false);
        }
      },
    ),
    { numRuns: runs },
  );
});

Deno.test("a stack that is used up is no verdict on a signature", async () => {
  const message = new Uint8Array(8);
  for (const backend of [nodeBackend(), nobleBackend()]) {
    for (let i = 0; i < 8; i++) {
      // A new key each time: what was read before is remembered.
      const keys = await keyPairOf(crypto.getRandomValues(new Uint8Array(32)), backend);
      const signature = await signerOf(keys, backend).sign(message);
      let answer: unknown;
      const dive = (): void => {
        try {
          dive();
        } catch { // the stack ends here, or a little further up than it did for the calls above
        }
        if (answer !== undefined) return;
        try {
          answer = backend.verify(keys.publicKey, message, signature);
        } catch (error) {
          if (!(error instanceof RangeError)) answer = error;
        }
      };
      dive();
      assert.equal(answer, true, backend.name);
    }
  }
});
