import assert from "node:assert/strict";
import { nodeBackend } from "../crypto_node.ts";
import type { CborValue } from "../kernel/canonical.ts";
import { RealmError } from "../kernel/error.ts";
import { decodeSigned, encodeSigned, topicOf, verifyEvent } from "../kernel/event.ts";
import { formatPublicKey } from "../kernel/key.ts";
import { keyPairOf, signerOf } from "../kernel/verify.ts";
import {
  createControlGenesis,
  createManifestEvent,
  isManifestEvent,
  readControlGenesis,
  readManifestEvent,
} from "./control_log.ts";
import { signManifest, verifyManifest } from "./manifest_signature.ts";

const backend = nodeBackend();
const keys = (byte: number) => keyPairOf(new Uint8Array(32).fill(byte), backend);
const owner = signerOf(await keys(1), backend);
const recovery = (await keys(2)).publicKey;
const genesis = await createControlGenesis(owner, recovery);
const ownerKey = formatPublicKey(owner.publicKey);
const manifestBytes = new TextEncoder().encode(`owner.pubkey = "${ownerKey}"`);
const corrupt = (error: unknown) => error instanceof RealmError && error.code === "corrupt";

Deno.test("createControlGenesis() holds the owner and the hash of the recovery key", async () => {
  const { owner: key, recoveryHash } = readControlGenesis(genesis.event);
  assert.deepEqual(key, owner.publicKey);
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", recovery.slice()));
  assert.deepEqual(recoveryHash, hash);
  assert.ok(!isManifestEvent(genesis.event));
  const other = await createControlGenesis(owner, (await keys(3)).publicKey);
  assert.notDeepEqual(topicOf(other), topicOf(genesis));
});

Deno.test("a chain of manifests goes through the log and back", async () => {
  let last = genesis;
  for (let version = 1; version <= 3; version++) {
    const parents = [last.id.toString()];
    const signature = await signManifest(manifestBytes, {
      version,
      digests: [],
      parents,
      signer: owner,
    });
    const event = await createManifestEvent(owner, [last], last, { manifestBytes, signature });
    last = decodeSigned(encodeSigned(event));
    await verifyEvent(last, backend);
    assert.ok(isManifestEvent(last.event));
    assert.deepEqual([last.event.seq, last.event.lamport], [version, version]);
    assert.deepEqual(topicOf(last), topicOf(genesis));
    const read = readManifestEvent(last.event);
    const lastVersion = version - 1;
    const accepted = await verifyManifest({ ...read, owner: ownerKey, lastVersion, backend });
    assert.deepEqual(accepted.signature.parents, parents);
  }
});

Deno.test("readControlGenesis() and readManifestEvent() refuse other payloads", () => {
  const { event } = genesis;
  const payload = event.payload as Record<string, CborValue>;
  const payloads: CborValue[] = [
    null,
    [],
    {},
    { ...payload, more: 1 },
    { ...payload, owner: new Uint8Array(32) },
    { ...payload, recovery: new Uint8Array(31) },
    { ...payload, owner: "x" },
  ];
  for (const wrong of payloads) {
    assert.throws(() => readControlGenesis({ ...event, payload: wrong }), corrupt);
  }
  assert.throws(() => readControlGenesis({ ...event, type: "control/manifest" }), corrupt);
  assert.throws(() => readControlGenesis({ ...event, topic: genesis.id }), corrupt);
  const type = "control/manifest";
  for (const wrong of [null, {}, { manifest: "x", signature: "y" }]) {
    assert.throws(() => readManifestEvent({ ...event, type, payload: wrong }), corrupt);
  }
  assert.throws(
    () =>
      readManifestEvent({ ...event, type, payload: { manifest: manifestBytes, signature: "" } }),
    (error) => error instanceof RealmError && error.code === "bad-signature",
  );
});
