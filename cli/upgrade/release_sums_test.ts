import assert from "node:assert/strict";
import { formatPublicKey } from "../../agent/kernel/key.ts";
import { webCryptoBackend } from "../../agent/kernel/signature_backends.ts";
import { keyPairOf, signerOf } from "../../agent/kernel/verify.ts";
import { formatSums, parseSums, signSums, verifySums } from "./release_sums.ts";

const BACKEND = webCryptoBackend();
const bytes = (text: string) => new TextEncoder().encode(text);
const DIGEST = "a".repeat(64);

async function testKey(seed: number) {
  const keys = await keyPairOf(new Uint8Array(32).fill(seed), BACKEND);
  return { signer: signerOf(keys, BACKEND), key: formatPublicKey(keys.publicKey) };
}

Deno.test("parseSums() reads what formatSums() and sha256sum write", () => {
  const sums = new Map([["realm-b.exe", DIGEST], ["install.sh", "b".repeat(64)]]);
  assert.deepEqual(new Map(parseSums(bytes(formatSums(sums)))), sums);
  assert.equal(parseSums(bytes(`${DIGEST} *realm\n`)).get("realm"), DIGEST);
});

Deno.test("parseSums() refuses what could name another file, or one twice", () => {
  const lines = [
    `${DIGEST}  ../realm`,
    `${DIGEST}  a b`,
    `${DIGEST.slice(1)}  realm`,
    `${DIGEST.toUpperCase()}  realm`,
    `${DIGEST}  realm\n${DIGEST}  realm`,
    "# a comment",
  ];
  for (const line of lines) assert.throws(() => parseSums(bytes(line)), { code: "corrupt" }, line);
});

Deno.test("verifySums() wants a signature of these very bytes by a trusted key", async () => {
  const [ours, other] = [await testKey(1), await testKey(2)];
  const sums = bytes(`${DIGEST}  realm\n`);
  const signed = await signSums(sums, ours.signer);
  const both = bytes(await signSums(sums, other.signer) + signed);
  assert.equal(await verifySums(sums, both, [ours.key]), ours.key);

  const refused: [sums: Uint8Array, signatures: string, keys: string[]][] = [
    [bytes(`${"b".repeat(64)}  realm\n`), signed, [ours.key]],
    [sums, await signSums(sums, other.signer), [ours.key]],
    [sums, "", [ours.key]],
    [sums, `${ours.key} AAAA\n`, [ours.key]],
    [sums, `${ours.key} %%%\n`, [ours.key]],
    // Signed without the domain: made for something else.
    [
      sums,
      `${ours.key} ${(await BACKEND.sign(new Uint8Array(32).fill(1), sums)).toBase64()}\n`,
      [ours.key],
    ],
    [sums, signed, []],
  ];
  for (const [bytesOf, signatures, keys] of refused) {
    await assert.rejects(verifySums(bytesOf, bytes(signatures), keys), { code: "bad-signature" });
  }
});
