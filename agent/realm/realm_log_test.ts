import assert from "node:assert/strict";
import { MemoryStore } from "../store/memory_store.ts";
import { nodeBackend } from "../crypto_node.ts";
import { formatPublicKey } from "../kernel/key.ts";
import { keyPairOf, signerOf, type SyncSigner, verifierOf } from "../kernel/verify.ts";
import { type ControlEvent, createControlGenesis } from "./control_event.ts";
import { signManifest } from "./manifest_signature.ts";
import { RealmLog } from "./realm_log.ts";
import { viewDigest } from "./realm_view.ts";

const backend = nodeBackend();
const verify = verifierOf(backend);
const signer = async (byte: number) =>
  signerOf(await keyPairOf(new Uint8Array(32).fill(byte), backend), backend);
const owner = await signer(1);
const recovery = await signer(2);
const node = await signer(3);
const genesis = await createControlGenesis(owner, recovery.publicKey);
const keyOf = ({ publicKey }: SyncSigner) => formatPublicKey(publicKey);
const trust = { owner: keyOf(owner) };

function manifest(text: string) {
  return new TextEncoder().encode(`owner.pubkey = "${keyOf(owner)}"\n${text}`);
}

async function manifestSaid(version: number, text = ""): Promise<ControlEvent> {
  const manifestBytes = manifest(text);
  const signature = await signManifest(manifestBytes, { version, digests: [], signer: owner });
  return { kind: "manifest", manifestBytes, signature };
}

function open(store = new MemoryStore()): RealmLog {
  return RealmLog.open({ store, verify, trust });
}

Deno.test("a RealmLog keeps what it flushed, and nothing else, over a restart", async () => {
  const store = new MemoryStore();
  const log = open(store);
  assert.equal(open(new MemoryStore()).view, undefined);
  assert.deepEqual(log.offer([genesis]).accepted, [genesis]);
  const approved = log.append({ kind: "approve", key: keyOf(node), name: "bm-01" }, owner);
  assert.deepEqual(log.flush(5).map(({ id }) => id), [genesis.id, approved.id]);
  log.append(await manifestSaid(1), owner);
  assert.equal(log.view!.inForce?.version, 1);
  assert.equal([...log.stored()].length, 2);
  const again = open(store);
  assert.deepEqual([...again.view!.nodes.values()].map(({ name }) => name), ["bm-01"]);
  assert.equal(again.view!.inForce, undefined);
  assert.equal(again.storedAtMs(approved.id), 5);
  again.append(await manifestSaid(1), owner);
  assert.equal(viewDigest(again.view!), viewDigest(log.view!));
  again.flush(6);
  assert.equal(open(store).manifest()?.signature.version, 1);
});
