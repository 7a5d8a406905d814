import assert from "node:assert/strict";
import { Encrypter, identityToRecipient } from "age-encryption";
import { ed25519 } from "@noble/curves/ed25519.js";
import { bech32 } from "@scure/base";
import { RealmError } from "../kernel/error.ts";
import { formatPublicKey } from "../kernel/key.ts";
import {
  openBytes,
  openSecret,
  recipientOf,
  sealBytes,
  SEALED_PREFIX,
  sealedOf,
  sealSecret,
} from "./secret_seal.ts";

const SEEDS = [1, 2, 3].map((byte) => new Uint8Array(32).fill(byte));
const KEYS = SEEDS.map((seed) => formatPublicKey(ed25519.getPublicKey(seed)));
const VALUE = new TextEncoder().encode("swordfish");

Deno.test("a secret is opened by those to whom it was sealed and by nobody else", async () => {
  const sealed = await sealSecret("pw", VALUE, KEYS.slice(0, 2));
  assert.deepEqual(await openSecret("pw", sealed, SEEDS[0]!), VALUE);
  assert.deepEqual(await openSecret("pw", sealed, SEEDS[1]!), VALUE);
  const isRefusal = (error: unknown) =>
    error instanceof RealmError && error.code === "refused" && !error.message.includes("sword");
  await assert.rejects(openSecret("pw", sealed, SEEDS[2]!), isRefusal);
  const changed = sealed.with(-1, sealed.at(-1)! ^ 1);
  await assert.rejects(openSecret("pw", changed, SEEDS[0]!), isRefusal);
  await assert.rejects(openSecret("pw", new Uint8Array(9), SEEDS[0]!), isRefusal);
});

Deno.test("the value of one secret does not pass for that of another", async () => {
  const sealed = await sealSecret("pw", VALUE, KEYS.slice(0, 1));
  const isRefusal = (error: unknown) => error instanceof RealmError && error.code === "refused";
  for (const name of ["p", "pw2", "", "other"]) {
    await assert.rejects(openSecret(name, sealed, SEEDS[0]!), isRefusal, name);
  }
  const bare = await sealBytes(VALUE, KEYS.slice(0, 1));
  await assert.rejects(openSecret("pw", bare, SEEDS[0]!), isRefusal);
});

Deno.test("recipients and identities of Ed25519 keys belong together, as age has them", async () => {
  for (const [i, seed] of SEEDS.entries()) {
    const scalar = ed25519.utils.toMontgomerySecret(seed);
    const identity = bech32.encodeFromBytes("AGE-SECRET-KEY-", scalar).toUpperCase();
    assert.equal(await identityToRecipient(identity), recipientOf(KEYS[i]!));
  }
});

Deno.test("a value of a manifest is base64 of an age file, or its armor", async () => {
  const encrypter = new Encrypter();
  encrypter.addRecipient(recipientOf(KEYS[0]!));
  const sealed = await encrypter.encrypt(VALUE);
  const { armor } = await import("age-encryption");
  const base64 = new Uint8Array(sealed).toBase64();
  for (const text of [base64, `\n${base64}\n`, armor.encode(sealed)]) {
    assert.deepEqual(await openBytes(sealedOf(SEALED_PREFIX + text), SEEDS[0]!), VALUE);
  }
  assert.throws(() => sealedOf(SEALED_PREFIX + "%%"), RealmError);
});
