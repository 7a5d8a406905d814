import assert from "node:assert/strict";
import { nodeBackend } from "../node/crypto_node.ts";
import { eventAt, type SignedEvent, signEvent } from "../kernel/event.ts";
import { formatPublicKey } from "../kernel/key.ts";
import type { Network, Store } from "../kernel/ports.ts";
import { type SyncSigner, verifierOf } from "../kernel/verify.ts";
import { MemoryHub } from "../net/memory_network.ts";
import { FakeOwner, newSigner } from "../owner_fake.ts";
import { controlContent } from "../realm/control_event.ts";
import { RealmLog } from "../realm/realm_log.ts";
import { RealmPeer } from "./realm_peer.ts";
import { MemoryStore } from "../store/memory_store.ts";
import { systemClock } from "../node/system_clock.ts";
import { until } from "../../tests/until.ts";

const verify = verifierOf(nodeBackend());

interface Member {
  readonly key: string;
  readonly log: RealmLog;
  readonly peer: RealmPeer;
  readonly network: Network;
  close(): Promise<void>;
}

/** A node of the hub that knows the owner, and reads from those that it was named. */
function member(
  hub: MemoryHub,
  owner: FakeOwner,
  signer: SyncSigner,
  named: readonly string[] = [],
  store: Store = new MemoryStore(),
): Member {
  const key = formatPublicKey(signer.publicKey);
  const log = RealmLog.open({ store, verify, trust: { owner: owner.key } });
  const peer = new RealmPeer({
    signer,
    self: key,
    name: key.slice(-6),
    program: "realm test",
    log,
    epoch: 1,
    isNamed: (other) => named.includes(other),
    clock: systemClock,
    mayOpen: () => false,
    ports: {
      changed: () => {},
      verify,
      notice: () => {},
      health: () => ({
        version: 0,
        basis: "",
        refusal: null,
        turns: 0,
        givenUp: [],
        verdicts: [],
        cpuPermille: 0,
        memoryBytes: 0,
        addresses: [],
        replicas: [],
        failures: [],
        alarms: [],
        latencyMs: () => undefined,
      }),
    },
  });
  const network = hub.join(key, peer.gate);
  peer.join(network);
  return {
    key,
    log,
    peer,
    network,
    async close() {
      peer.close();
      await network.close();
    },
  };
}

/** Signs at the end of a log, and hands it to the node. */
async function decide(
  { log, peer }: Member,
  owner: FakeOwner,
  content: ReturnType<typeof controlContent>,
) {
  const place = log.placeFor(owner.signer.publicKey);
  const event: SignedEvent = await signEvent(
    eventAt(owner.signer.publicKey, place, content),
    owner.signer,
  );
  peer.core.append([event]);
  peer.touched();
}

const signer = async () => await newSigner() as SyncSigner;

Deno.test("RealmPeer opens one link between two peers, and again when it broke", async () => {
  const hub = new MemoryHub();
  const owner = new FakeOwner(await newSigner());
  const [one, two] = [await signer(), await signer()];
  const a = member(hub, owner, one);
  const b = member(hub, owner, two, [a.key]);
  try {
    a.peer.core.append([await owner.genesis()]);
    await decide(a, owner, controlContent({ kind: "approve", key: a.key, name: "a" }));
    await decide(a, owner, controlContent({ kind: "approve", key: b.key, name: "b" }));
    await b.network.dial(a.network.addresses()[0]!);
    await until("b has the log", () => b.log.view?.nodes.size === 2);
    await until(
      "both are linked",
      () => a.peer.core.isLinked(b.key) && b.peer.core.isLinked(a.key),
    );
    await until(
      "each is live to the other",
      () => a.peer.core.liveNames().length === 2 && b.peer.core.liveNames().length === 2,
    );
    b.network.disconnect(a.key);
    await until("the link is gone", () => !a.peer.core.isLinked(b.key));
    await decide(a, owner, controlContent({ kind: "drain", node: "b", drained: true }));
    await b.network.dial(a.network.addresses()[0]!);
    await until("b caught up", () => b.log.topic?.size === a.log.topic?.size);
    assert.equal(a.peer.core.linkedPeers().length, 1);
  } finally {
    await a.close();
    await b.close();
  }
});

Deno.test("RealmPeer tells a stranger nothing, and cuts who is revoked from the network", async () => {
  const hub = new MemoryHub();
  const owner = new FakeOwner(await newSigner());
  const a = member(hub, owner, await signer());
  const b = member(hub, owner, await signer(), [a.key]);
  try {
    a.peer.core.append([await owner.genesis()]);
    await decide(a, owner, controlContent({ kind: "approve", key: a.key, name: "a" }));
    await b.network.dial(a.network.addresses()[0]!);
    await until(
      "b asks to join",
      () => a.peer.core.introductions().some(({ key }) => key === b.key),
    );
    assert.equal(b.log.topic, undefined);
    assert.deepEqual([a.peer.core.isLinked(b.key), b.peer.core.isLinked(a.key)], [false, false]);

    await decide(a, owner, controlContent({ kind: "approve", key: b.key, name: "b" }));
    await until("b has the log", () => b.log.view?.nodes.size === 2);
    await decide(a, owner, controlContent({ kind: "revoke", key: b.key, last: null }));
    await until("b is off the network", () => a.network.connections().length === 0);
    await assert.rejects(b.network.dial(a.network.addresses()[0]!));
    assert.equal(b.log.view?.revoked.length, 0, "nor was it told why");
  } finally {
    await a.close();
    await b.close();
  }
});

Deno.test("RealmPeer goes on when the disk fails for a while", async () => {
  const hub = new MemoryHub();
  const owner = new FakeOwner(await newSigner());
  const store = new MemoryStore();
  const [one, two] = [await signer(), await signer()];
  const a = member(hub, owner, one);
  const b = member(hub, owner, two, [a.key], store);
  const write = store.write.bind(store);
  let failures = 0;
  try {
    a.peer.core.append([await owner.genesis()]);
    await decide(a, owner, controlContent({ kind: "approve", key: a.key, name: "a" }));
    await decide(a, owner, controlContent({ kind: "approve", key: b.key, name: "b" }));
    store.write = () => {
      failures++;
      throw new Error("the disk is full");
    };
    await b.network.dial(a.network.addresses()[0]!);
    await until("the disk failed", () => failures > 0);
    store.write = write;
    // By its clock, too: nobody is there to catch what a timer throws.
    const tick = b.peer.core.tick.bind(b.peer.core);
    let ticks = 0;
    b.peer.core.tick = () => {
      if (++ticks === 1) throw new Error("the disk is full");
      tick();
    };
    await until("time goes on", () => ticks > 2);
    await until("b has the log on its disk", () => [...store.scan("control/")].length >= 3);
    await until("both are linked", () => a.peer.core.isLinked(b.key));
  } finally {
    await a.close();
    await b.close();
  }
});
