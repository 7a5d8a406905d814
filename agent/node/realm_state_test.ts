import assert from "node:assert/strict";
import { nodeBackend } from "./crypto_node.ts";
import { CID, encodeCanonical } from "../kernel/canonical.ts";
import { RealmError } from "../kernel/error.ts";
import {
  eventAt,
  type EventContent,
  type EventPlace,
  type SignedEvent,
  signEvent,
} from "../kernel/event.ts";
import type { Store } from "../kernel/ports.ts";
import { verifierOf } from "../kernel/verify.ts";
import { FakeOwner, newSigner } from "../owner_fake.ts";
import { controlContent } from "../realm/control_event.ts";
import { formatManifestSignature, signManifest } from "../realm/manifest_signature.ts";
import { PublishedDigests } from "../realm/published.ts";
import { RealmState } from "./realm_state.ts";
import { MemoryStore } from "../store/memory_store.ts";

const verify = verifierOf(nodeBackend());
const DIGEST = "ab".repeat(32);
const code = (expected: string) => (error: unknown) =>
  error instanceof RealmError && error.code === expected;

const toml = (owner: string, more = "") =>
  new TextEncoder().encode(
    `[owner]\npubkey = "${owner}"\n[nodes.a]\n[components.c]\nsource = "file:c.wasm"\n` +
      `world = "wasi:cli/command"\n${more}`,
  );

async function signed(owner: FakeOwner, version: number, more = "") {
  const bytes = toml(owner.key, more);
  const digests = [["c", DIGEST]] as const;
  return {
    bytes,
    signature: await signManifest(bytes, { version, digests, signer: owner.signer }),
  };
}

async function manifestEvent(owner: FakeOwner, version: number): Promise<EventContent> {
  const { bytes, signature } = await signed(owner, version);
  const tree = new PublishedDigests([DIGEST]).head;
  return controlContent({ kind: "manifest", manifestBytes: bytes, signature, tree });
}

const sign = (owner: FakeOwner, place: EventPlace, content: EventContent) =>
  signEvent(eventAt(owner.signer.publicKey, place, content), owner.signer);

const after = ({ id, event }: SignedEvent): EventPlace => ({
  topic: event.topic ?? id,
  heads: [{ id, lamport: event.lamport }],
  previous: { id, seq: event.seq },
});

/** Takes over what the log says, as a node does. */
function follow(state: RealmState, nowMs = 1): void {
  const { candidate } = state;
  if (candidate === null) state.drop();
  else if (candidate !== undefined) state.takeOver(candidate, nowMs);
  state.takeOverrides();
}

Deno.test("RealmState requires that what is started was published", async () => {
  const owner = new FakeOwner(await newSigner());
  const state = RealmState.open(new MemoryStore(), verify, { owner: owner.key });
  state.requirePublished("c", "00".repeat(32)); // nothing is in force by a log
  const genesis = await owner.genesis();
  state.log.offer([genesis, await sign(owner, after(genesis), await manifestEvent(owner, 1))]);
  follow(state);
  state.requirePublished("c", DIGEST);
  assert.throws(() => state.requirePublished("c", "00".repeat(32)), {
    code: "refused",
    message: /^Cannot start c: sha256:0+ is not in the log of what the owner published$/,
  });
});

const scalesOf = ({ overrides }: RealmState) => overrides.scales.map(({ replicas }) => replicas);

Deno.test("RealmState goes on with what a version without a log left, until the log has a manifest", async () => {
  const owner = new FakeOwner(await newSigner());
  const before = await signed(owner, 4);
  const store = new MemoryStore();
  const overrides = { restarts: [], scales: [{ component: "c", replicas: 3 }], drained: [] };
  store.write([
    { put: "realm/owner", value: new TextEncoder().encode(owner.key) },
    {
      put: "realm/manifest",
      value: encodeCanonical({
        bytes: before.bytes,
        signature: formatManifestSignature(before.signature),
        appliedAtMs: 7,
      }),
    },
    { put: "realm/overrides", value: encodeCanonical(overrides) },
  ]);
  const state = RealmState.open(store, verify);
  follow(state);
  assert.deepEqual([state.owner, state.inForce?.signature.version], [owner.key, 4]);
  assert.deepEqual([state.inForce?.appliedAtMs, scalesOf(state)], [7, [3]]);

  const genesis = await owner.genesis();
  assert.equal(state.log.offer([genesis]).accepted.length, 1);
  follow(state);
  assert.deepEqual([state.inForce?.signature.version, scalesOf(state)], [4, [3]]);
  const next = await sign(owner, after(genesis), await manifestEvent(owner, 5));
  state.log.offer([next]);
  state.log.flush(1);
  follow(state, 9);
  assert.deepEqual([state.inForce?.signature.version, state.inForce?.appliedAtMs], [5, 9]);
  assert.deepEqual(scalesOf(state), [], "the log says");
  const again = RealmState.open(store, verify);
  assert.deepEqual([again.inForce?.event, again.candidate], [next.id.toString(), undefined]);
});

Deno.test("RealmState keeps what is run while the owner's key is forked, also over a restart", async () => {
  const owner = new FakeOwner(await newSigner());
  const store: Store = new MemoryStore();
  const state = RealmState.open(store, verify, { owner: owner.key });
  const genesis = await owner.genesis();
  const first = await sign(owner, after(genesis), await manifestEvent(owner, 1));
  const scale = await sign(
    owner,
    after(first),
    controlContent({ kind: "scale", component: "c", replicas: 2, node: null }),
  );
  const second = await sign(owner, after(scale), await manifestEvent(owner, 2));
  const other = await sign(owner, after(first), await manifestEvent(owner, 3));
  state.log.offer([genesis, first, scale, second]);
  follow(state);
  assert.deepEqual([state.inForce?.signature.version, scalesOf(state)], [2, [2]]);

  state.log.offer([other]);
  state.log.flush(1);
  assert.equal(state.view?.inForce?.version, 1, "neither branch counts");
  assert.ok(state.isInDoubt);
  const open = () => {
    const again = RealmState.open(store, verify);
    follow(again);
    return [again.inForce?.signature.version, scalesOf(again)];
  };
  follow(state);
  assert.deepEqual([state.inForce?.signature.version, scalesOf(state)], [2, [2]]);
  assert.deepEqual(open(), [2, [2]]);

  const heads = [second, other].map(({ id, event }) => ({ id, lamport: event.lamport }));
  const place = {
    topic: genesis.id,
    heads,
    previous: { id: second.id, seq: second.event.seq },
  };
  const healed = await sign(owner, place, await manifestEvent(owner, state.log.versionMax + 1));
  state.log.offer([healed]);
  state.log.flush(1);
  follow(state);
  assert.ok(!state.isInDoubt);
  assert.equal(state.inForce?.signature.version, 4);
  assert.deepEqual(open()[0], 4);
});

Deno.test("RealmState has one owner and one realm for good", async () => {
  const [owner, other] = [new FakeOwner(await newSigner()), new FakeOwner(await newSigner())];
  const store = new MemoryStore();
  assert.equal(RealmState.open(store, verify).owner, undefined);
  const claimed = RealmState.open(store, verify, { owner: owner.key });
  assert.equal(claimed.owner, owner.key);
  assert.throws(() => RealmState.open(store, verify, { owner: other.key }), code("wrong-owner"));
  assert.equal(RealmState.open(store, verify).owner, owner.key);
  const genesis = await owner.genesis();
  assert.equal(claimed.log.offer([await other.genesis()]).accepted.length, 0);
  claimed.log.offer([genesis]);
  claimed.log.flush(1);
  const strange = CID.parse((await other.genesis()).id.toString()).toString();
  assert.throws(
    () => RealmState.open(store, verify, { owner: owner.key, topic: strange }),
    code("wrong-owner"),
  );
  const topic = genesis.id.toString();
  assert.equal(RealmState.open(store, verify, { owner: owner.key, topic }).view?.topic, topic);
});

Deno.test("RealmState of a ticket takes the log that the ticket names, and no other of its owner", async () => {
  const signer = await newSigner();
  const [one, two] = [new FakeOwner(signer), new FakeOwner(signer)];
  const topic = (await one.genesis()).id.toString();
  const state = RealmState.open(new MemoryStore(), verify, { owner: one.key, topic });
  assert.equal(state.log.offer([await two.genesis()]).accepted.length, 0);
  assert.equal(state.log.offer([await one.genesis()]).accepted.length, 1);
});
