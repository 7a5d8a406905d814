import assert from "node:assert/strict";
import fc from "fast-check";
import { encodeCanonical } from "../kernel/canonical.ts";
import { RealmError } from "../kernel/error.ts";
import { packBundle, succeed, unpackBundle } from "./bundle.ts";
import { BACKEND, COMPONENTS, testBundle, testSigner } from "./bundle_fake.ts";
import {
  decodeRevocation,
  encodeRevocation,
  revokeBundle,
  verifyRevocation,
} from "./revocation.ts";

const [ann, ben, eve] = await Promise.all([1, 2, 3].map(testSigner)) as [
  Awaited<ReturnType<typeof testSigner>>,
  Awaited<ReturnType<typeof testSigner>>,
  Awaited<ReturnType<typeof testSigner>>,
];
const packed = async (version = "1.2.3") =>
  unpackBundle(await packBundle(testBundle(ann.publicKey, { version }), COMPONENTS, ann));
const code = (code: string) => (error: unknown) =>
  error instanceof RealmError && error.code === code;

Deno.test("the publisher revokes a bundle, or who the app was handed on to", async () => {
  const bundle = await packed();
  const revocation = await revokeBundle(bundle, [], ann);
  await verifyRevocation(decodeRevocation(encodeRevocation(revocation)), bundle, BACKEND);
  const step = await succeed({ app: bundle.app, chain: [], to: ben.publicKey }, ann);
  const later = await revokeBundle(bundle, [step], ben);
  await verifyRevocation(decodeRevocation(encodeRevocation(later)), bundle, BACKEND);
});

Deno.test("nobody else revokes it, and it revokes no other bundle", async () => {
  const bundle = await packed();
  const refused = async (revocation: Parameters<typeof verifyRevocation>[0], why: string) =>
    await assert.rejects(verifyRevocation(revocation, bundle, BACKEND), code(why));
  await refused(await revokeBundle(bundle, [], eve), "bad-signature");
  const forged = await succeed({ app: bundle.app, chain: [], to: eve.publicKey }, eve);
  await refused(await revokeBundle(bundle, [forged], eve), "bad-signature");
  const other = await revokeBundle(await packed("1.2.4"), [], ann);
  await refused(other, "refused");
  await refused({ ...other, bundle: bundle.id, app: bundle.app }, "bad-signature");
});

Deno.test("decodeRevocation() takes nothing else, with an error of realm's own", async () => {
  const good = encodeRevocation(await revokeBundle(await packed(), [], ann));
  const isOwn = (bytes: Uint8Array) => {
    try {
      decodeRevocation(bytes);
    } catch (error) {
      return error instanceof RealmError;
    }
    return true;
  };
  assert.throws(() => decodeRevocation(encodeCanonical({ v: 1 })), code("corrupt"));
  assert.throws(() => decodeRevocation(new Uint8Array(70_000)), code("corrupt"));
  fc.assert(
    fc.property(fc.nat(good.length - 1), fc.nat(255), (at, byte) => {
      const bytes = good.slice();
      bytes[at] = byte;
      return isOwn(bytes) && isOwn(bytes.subarray(0, at));
    }),
  );
});
