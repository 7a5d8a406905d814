import assert from "node:assert/strict";
import { nodeBackend } from "../node/crypto_node.ts";
import { type CborValue, cidOf, decodeCanonical, encodeCanonical } from "../kernel/canonical.ts";
import { RealmError } from "../kernel/error.ts";
import { decodeSigned, encodeSigned, topicOf } from "../kernel/event.ts";
import { formatPublicKey } from "../kernel/key.ts";
import { keyPairOf, signerOf } from "../kernel/verify.ts";
import {
  controlContent,
  type ControlEvent,
  createControlGenesis,
  readControlEvent,
  readControlGenesis,
} from "./control_event.ts";
import { signManifest } from "./manifest_signature.ts";

const backend = nodeBackend();
const keys = (byte: number) => keyPairOf(new Uint8Array(32).fill(byte), backend);
const owner = signerOf(await keys(1), backend);
const recovery = (await keys(2)).publicKey;
const genesis = await createControlGenesis(owner, recovery);
const key = formatPublicKey(owner.publicKey);
const manifestBytes = new TextEncoder().encode(`owner.pubkey = "${key}"`);
const corrupt = (error: unknown) => error instanceof RealmError && error.code === "corrupt";
const id = genesis.id;

/** One or more of each kind. */
const EVENTS: readonly ControlEvent[] = [
  {
    kind: "manifest",
    manifestBytes,
    signature: await signManifest(manifestBytes, {
      version: 3,
      digests: [],
      parents: [id.toString()],
      signer: owner,
    }),
    tree: { size: 3, root: new Uint8Array(32).fill(7) },
  },
  { kind: "genesis", owner: key, recoveryHash: new Uint8Array(32) },
  { kind: "approve", key, name: "bm-01" },
  { kind: "revoke", key, last: null },
  { kind: "revoke", key, last: id },
  { kind: "restart", component: "auth@blue", nodes: [] },
  { kind: "restart", component: "auth", nodes: ["bm-02", "bm-01"] },
  { kind: "scale", component: "auth", replicas: 0, node: null },
  { kind: "scale", component: "auth", replicas: null, node: "bm-01" },
  { kind: "drain", node: "bm-01", drained: true },
  { kind: "publish", digest: "ab".repeat(32), bytes: 5, name: "auth 1.2" },
  {
    kind: "exec",
    node: "bm-01",
    command: ["uptime", ""],
    nonce: new Uint8Array(16),
    expiresAtMs: 1,
  },
  { kind: "executed", exec: id, status: 255 },
  { kind: "secret", name: "jwt_pub", nodes: [key], sealed: new Uint8Array([1, 2]) },
  { kind: "secret", name: "jwt_pub", nodes: [], sealed: null },
  { kind: "succession", owner: key, last: id },
];

Deno.test("createControlGenesis() holds the owner and the hash of the recovery key", async () => {
  const { owner: found, recoveryHash } = readControlGenesis(genesis.event);
  assert.deepEqual(found, owner.publicKey);
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", recovery.slice()));
  assert.deepEqual(recoveryHash, hash);
  const other = await createControlGenesis(owner, (await keys(3)).publicKey);
  assert.notDeepEqual(topicOf(other), topicOf(genesis));
});

Deno.test("the bytes of a genesis stay what they are", () => {
  assert.equal(id.toString(), "bafyreiguwhzg6vlov3fqtqopwzbqjczw23csa75oaapqujinmuh5m7o7ui");
  assert.deepEqual(decodeSigned(encodeSigned(genesis)), genesis);
});

Deno.test("readControlEvent() inverts controlContent() for every kind", () => {
  for (const said of EVENTS) {
    const content = controlContent(said);
    assert.equal(content.type, `control/${said.kind}`);
    assert.deepEqual(readControlEvent(content), said);
  }
});

Deno.test("readControlEvent() keeps nothing of the memory that many events were read in", () => {
  const sealed = {
    kind: "secret",
    name: "token",
    nodes: [key],
    sealed: new Uint8Array(9),
  } as const;
  const checked: string[] = [];
  for (const said of [...EVENTS, sealed]) {
    const { type, payload } = controlContent(said);
    const encoded = encodeCanonical(payload);
    const page = new Uint8Array(100_000);
    page.set(encoded, 50_000);
    const shared = decodeCanonical(page.subarray(50_000, 50_000 + encoded.length), {
      sharing: true,
    });
    for (const part of Object.values(readControlEvent({ type, payload: shared }))) {
      const { root = part } = (part ?? {}) as { root?: unknown };
      if (!(root instanceof Uint8Array)) continue;
      assert.notEqual(root.buffer, page.buffer, type);
      checked.push(type);
    }
  }
  const kinds = ["genesis", "manifest", "secret"].map((kind) => `control/${kind}`);
  assert.ok(kinds.every((kind) => checked.includes(kind)), `${checked}`);
});

Deno.test("readControlEvent() refuses a payload with a field too many, too few or of another type", () => {
  const wrong: CborValue[] = [
    undefined!,
    true,
    -1,
    1.5,
    "A b\u202e",
    "",
    {},
    [1],
    new Uint8Array(31),
  ];
  for (const said of EVENTS) {
    const { type, payload } = controlContent(said);
    const fields = payload as Record<string, CborValue>;
    assert.throws(() => readControlEvent({ type, payload: { ...fields, more: 1 } }), corrupt);
    for (const name of Object.keys(fields)) {
      const { [name]: _, ...rest } = fields;
      assert.throws(() => readControlEvent({ type, payload: rest }), corrupt, `${type} ${name}`);
      for (const value of wrong) {
        if (name === "drained" && value === true) continue;
        if (["manifest", "sealed"].includes(name) && value instanceof Uint8Array) continue;
        assert.throws(
          () => readControlEvent({ type, payload: { ...fields, [name]: value } }),
          (error) => error instanceof RealmError,
          `${type} ${name} ${value}`,
        );
      }
    }
  }
  for (const payload of [null, [], 1, "x"]) {
    assert.throws(() => readControlEvent({ type: "control/drain", payload }), corrupt);
  }
  for (const type of ["control/other", "control/toString", "drain", "app/drain"]) {
    assert.throws(() => readControlEvent({ type, payload: {} }), corrupt);
  }
});

Deno.test("readControlEvent() refuses what is out of bounds", () => {
  const cases: [string, CborValue][] = [
    ["control/restart", { component: "auth", nodes: ["a", "a"] }],
    ["control/restart", {
      component: "auth",
      nodes: Array.from({ length: 1_001 }, (_, i) => `n${i}`),
    }],
    ["control/scale", { component: "auth", node: null, replicas: 1_001 }],
    ["control/secret", { name: "../x", nodes: [], sealed: null }],
    ["control/secret", { name: "x", nodes: [new Uint8Array(31)], sealed: null }],
    ["control/secret", { name: "x", nodes: [], sealed: new Uint8Array(256 * 1024 + 1) }],
    ["control/secret", { name: "x", nodes: [], sealed: "text" }],
    ["control/executed", { exec: id, status: 256 }],
    ["control/executed", { exec: id.bytes, status: 0 }],
    ["control/publish", { digest: "AB".repeat(32), bytes: 1, name: "x" }],
    ["control/publish", { digest: "ab".repeat(32), bytes: 1, name: "x".repeat(257) }],
    ["control/approve", { key: owner.publicKey, name: "x".repeat(64) }],
  ];
  const exec = { node: "a", nonce: new Uint8Array(16), expiresAtMs: 1 };
  for (const command of [[], ["a\0"], ["a".repeat(16 * 1024 + 1)], Array(257).fill("a"), [1]]) {
    cases.push(["control/exec", { ...exec, command }]);
  }
  for (const [type, payload] of cases) {
    assert.throws(() => readControlEvent({ type, payload }), corrupt, type);
  }
});

Deno.test("readControlGenesis() takes nothing but the genesis of its author", () => {
  const { event } = genesis;
  const payload = event.payload as Record<string, CborValue>;
  const other = new Uint8Array(32).fill(9);
  assert.throws(
    () => readControlGenesis({ ...event, payload: { ...payload, owner: other } }),
    corrupt,
  );
  assert.throws(() => readControlGenesis({ ...event, topic: cidOf(encodeCanonical(1)) }), corrupt);
  const approve = controlContent({ kind: "approve", key, name: "a" });
  assert.throws(() => readControlGenesis({ ...event, ...approve }), corrupt);
});
