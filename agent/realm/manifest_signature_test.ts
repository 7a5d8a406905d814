import assert from "node:assert/strict";
import fc from "fast-check";
import { nodeBackend } from "../node/crypto_node.ts";
import { cidOf, encodeCanonical } from "../kernel/canonical.ts";
import { type ErrorCode, RealmError } from "../kernel/error.ts";
import { formatPublicKey } from "../kernel/key.ts";
import { keyPairOf, signerOf } from "../kernel/verify.ts";
import {
  formatManifestSignature,
  type ManifestSignature,
  parseManifestSignature,
  signManifest,
  verifyManifest,
} from "./manifest_signature.ts";

const backend = nodeBackend();
const signerFrom = async (byte: number) =>
  signerOf(await keyPairOf(new Uint8Array(32).fill(byte), backend), backend);
const owner = await signerFrom(1);
const stranger = await signerFrom(2);
const ownerKey = formatPublicKey(owner.publicKey);
const strangerKey = formatPublicKey(stranger.publicKey);
const DIGEST = "ab".repeat(32);
const OTHER = "cd".repeat(32);

const manifestText = (key = ownerKey, pin = "") => `
[owner]
pubkey = "${key}"
[components.auth]
source = "file:auth.wasm"
world = "wasi:cli/command"
${pin}
[components."7"]
source = "file:seven.wasm"
world = "wasi:cli/command"
`;
const bytesOf = (text: string) => new TextEncoder().encode(text);
const digests = [["auth", DIGEST], ["7", OTHER]] as const;
const parents = [cidOf(encodeCanonical("head")).toString()];
const manifestBytes = bytesOf(manifestText());
const signed = await signManifest(manifestBytes, { version: 3, digests, parents, signer: owner });

const accept = (
  signature: ManifestSignature,
  over: { manifestBytes?: Uint8Array; lastVersion?: number } = {},
) =>
  verifyManifest({ manifestBytes, lastVersion: 2, ...over, signature, owner: ownerKey, backend });

async function refused(run: () => unknown, code: ErrorCode, ...named: string[]): Promise<void> {
  await assert.rejects(async () => await run(), (error) => {
    assert.ok(error instanceof RealmError, String(error));
    assert.equal(error.code, code, error.message);
    for (const value of named) assert.ok(error.message.includes(value), error.message);
    return true;
  });
}

Deno.test("verifyManifest() accepts what the owner signed, through its text form", async () => {
  const line = formatManifestSignature(signed);
  assert.ok(!line.includes("\n"));
  const { manifest, signature } = await accept(parseManifestSignature(line + "\n"));
  assert.deepEqual([...manifest.components.keys()], ["auth", "7"]);
  assert.deepEqual(signature, signed);
  assert.equal(signature.digests.get("auth"), DIGEST);
});

Deno.test("verifyManifest() refuses another key and names both", async () => {
  const options = { version: 3, digests, signer: stranger };
  const foreign = await signManifest(manifestBytes, options);
  await refused(() => accept(foreign), "wrong-owner", ownerKey, strangerKey);
  // The owner's signature over a manifest that names another owner.
  const theirs = bytesOf(manifestText(strangerKey));
  const mine = await signManifest(theirs, { ...options, signer: owner });
  await refused(
    () => accept(mine, { manifestBytes: theirs }),
    "wrong-owner",
    ownerKey,
    strangerKey,
  );
});

Deno.test("verifyManifest() refuses another's signature under the owner's name", async () => {
  const foreign = await signManifest(manifestBytes, { version: 3, digests, signer: stranger });
  await refused(() => accept({ ...foreign, key: ownerKey }), "bad-signature", ownerKey, "3");
});

Deno.test("verifyManifest() refuses bytes that were changed after signing", async () => {
  const tampered = bytesOf(manifestText().replace("auth.wasm", "evil.wasm"));
  await refused(
    () => accept(signed, { manifestBytes: tampered }),
    "digest-mismatch",
    signed.sha256,
  );
});

Deno.test("verifyManifest() refuses a version that is not higher", async () => {
  for (const lastVersion of [3, 4]) {
    await refused(() => accept(signed, { lastVersion }), "stale", "3", String(lastVersion));
  }
});

Deno.test("verifyManifest() refuses digests that do not fit the manifest", async () => {
  const sign = (text: string, list: readonly (readonly [string, string])[]) =>
    signManifest(bytesOf(text), { version: 3, digests: list, signer: owner });
  const pinned = manifestText(ownerKey, `sha256 = "${OTHER}"`);
  const cases: [string, readonly (readonly [string, string])[], string[]][] = [
    [pinned, digests, [DIGEST, OTHER, "auth"]],
    [manifestText(), [["auth", DIGEST]], ["component 7 has no digest"]],
    [manifestText(), [...digests, ["more", DIGEST]], ["more"]],
  ];
  for (const [text, list, named] of cases) {
    const signature = await sign(text, list);
    const run = () => accept(signature, { manifestBytes: bytesOf(text) });
    await refused(run, "digest-mismatch", ...named);
  }
});

Deno.test("verifyManifest() refuses a signed text that is no valid manifest", async () => {
  const bytes = bytesOf("nonsense = 1");
  const signature = await signManifest(bytes, { version: 3, digests: [], signer: owner });
  await refused(() => accept(signature, { manifestBytes: bytes }), "invalid-config", "nonsense");
  const binary = Uint8Array.of(0x23, 0xff);
  const other = await signManifest(binary, { version: 3, digests: [], signer: owner });
  await refused(() => accept(other, { manifestBytes: binary }), "invalid-config", "UTF-8");
});

Deno.test("parseManifestSignature() says when there is no signature", async () => {
  await refused(() => parseManifestSignature(""), "bad-signature", "no signature");
  await refused(() => parseManifestSignature("\n"), "bad-signature", "no signature");
});

Deno.test("parseManifestSignature() takes one spelling only", async () => {
  const line = formatManifestSignature(signed);
  const json = JSON.parse(line);
  const cases = [
    " " + line,
    line + "\n\n",
    line.replace(":", ": "),
    JSON.stringify({ ...json, more: 1 }),
    JSON.stringify({ signature: json.signature, ...json }),
    JSON.stringify({ ...json, version: 0 }),
    JSON.stringify({ ...json, version: 1.5 }),
    JSON.stringify({ ...json, version: "3" }),
    line.replace('"version":3', '"version":3.0'),
    JSON.stringify({ ...json, sha256: json.sha256.toUpperCase() }),
    JSON.stringify({ ...json, digests: [] }),
    JSON.stringify({ ...json, digests: { ...json.digests, "a b": DIGEST } }),
    JSON.stringify({ ...json, parents: ["nope"] }),
    JSON.stringify({ ...json, parents: Array(17).fill(parents[0]) }),
    JSON.stringify({ ...json, key: json.key + "1" }),
    JSON.stringify({ ...json, signature: json.signature.slice(0, -4) }),
    JSON.stringify({ ...json, signature: json.signature.replaceAll("=", "") }),
    '{"__proto__":{}}',
    "null",
    "[]",
    "{",
  ];
  for (const text of cases) await refused(() => parseManifestSignature(text), "bad-signature");
});

Deno.test("a signature line with any byte changed is refused", async () => {
  const line = formatManifestSignature(signed);
  const codes: readonly ErrorCode[] = ["bad-signature", "wrong-owner"];
  const tamper = async (at: number, put: string) => {
    const text = line.slice(0, at) + put + line.slice(at + 1);
    if (text === line) return;
    await assert.rejects(
      async () => await accept(parseManifestSignature(text)),
      (error) => error instanceof RealmError && codes.includes(error.code),
      text,
    );
  };
  for (let at = 0; at < line.length; at++) {
    for (const put of ["", "0", "1", "a", "A", " ", '"']) await tamper(at, put);
  }
  await fc.assert(fc.asyncProperty(fc.nat(line.length - 1), fc.string(), tamper));
});

Deno.test("a manifest with any byte changed is refused", async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat(manifestBytes.length - 1), fc.nat(254), async (at, change) => {
      const copy = manifestBytes.slice();
      copy[at]! ^= change + 1;
      await refused(() => accept(signed, { manifestBytes: copy }), "digest-mismatch");
    }),
  );
});
