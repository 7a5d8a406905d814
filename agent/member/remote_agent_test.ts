import assert from "node:assert/strict";
import { connectControl } from "../control/client.ts";
import { FakeApi } from "../control/fake_api.ts";
import { RealmError } from "../kernel/error.ts";
import { formatPublicKey, type KeyPair } from "../kernel/key.ts";
import type { Network } from "../kernel/ports.ts";
import { webCryptoBackend } from "../kernel/signature_backends.ts";
import { keyPairOf } from "../kernel/verify.ts";
import { startLibp2p } from "../net/libp2p_network.ts";
import { MemoryHub } from "../net/memory_network.ts";
import { connectRemote, openDoor } from "./remote_agent.ts";
import { serveRemoteControl } from "./remote_control.ts";

const [NODE, OWNER] = [1, 2].map((byte) => formatPublicKey(new Uint8Array(32).fill(byte))) as [
  string,
  string,
];
const ANYBODY = { mayConnect: () => true, mayOpen: () => true };

/** A node that answers its owner, until it is stopped. */
function startNode(hub: MemoryHub, dataFolder: string) {
  const network = hub.join(NODE, ANYBODY);
  const served = serveRemoteControl({
    network,
    api: new FakeApi(),
    dataFolder,
    roleOf: (peer) => peer === OWNER ? "owner" : undefined,
  });
  return {
    address: network.addresses()[0]!,
    async stop() {
      await served.close();
      await network.close();
    },
  };
}

/** The owner's end, which counts how often it dials. */
function startOwner(hub: MemoryHub) {
  const network = hub.join(OWNER, ANYBODY);
  let dials = 0;
  const counted: Network = Object.create(network, {
    dial: {
      value: async (address: string, signal?: AbortSignal) => {
        dials++;
        return await network.dial(address, signal);
      },
    },
    open: { value: network.open.bind(network) },
  });
  return { network: counted, dials: () => dials, close: () => network.close() };
}

Deno.test("openDoor() leads to a node that was started again", async () => {
  const folder = await Deno.makeTempDir();
  const hub = new MemoryHub();
  const node = startNode(hub, folder); // /memory/1
  const owner = startOwner(hub); // /memory/2
  await owner.network.dial(node.address);
  const addresses = [node.address, node.address.replace("/memory/1/", "/memory/3/")];
  const door = await openDoor(owner.network, { name: "two", key: NODE, addresses });
  const asked = { name: "node two", hint: "Look" };
  const client = connectControl(door.path, { asked });
  try {
    const before = await client.status();
    const dialsBefore = owner.dials();
    await node.stop();
    for (let i = 0; i < 2; i++) {
      await assert.rejects(
        client.status(),
        (error) =>
          error instanceof RealmError && error.code === "unreachable" && error.hint === "Look" &&
          error.message === "Cannot reach node two: the connection broke off",
      );
    }
    const again = startNode(hub, folder);
    assert.equal(again.address, addresses[1]);
    const dialsBeforeAgain = owner.dials();
    const answers = await Promise.all(Array.from({ length: 5 }, () => client.status()));
    for (const each of answers) assert.deepEqual(each, before);
    assert.ok(dialsBeforeAgain > dialsBefore, "it tried meanwhile");
    assert.ok(owner.dials() - dialsBeforeAgain < 10, "not for each of the five anew");
    await again.stop();
  } finally {
    client.close();
    await door.close();
    await owner.close();
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("openDoor() opens to nobody whom the node does not answer", async () => {
  const folder = await Deno.makeTempDir();
  const hub = new MemoryHub();
  const node = hub.join(NODE, { mayConnect: () => true, mayOpen: () => false });
  const owner = hub.join(OWNER, ANYBODY);
  try {
    await owner.dial(node.addresses()[0]!);
    await assert.rejects(
      openDoor(owner, { name: "two", key: NODE, addresses: node.addresses() }),
      (error) => error instanceof RealmError && error.code === "refused",
    );
  } finally {
    await owner.close();
    await node.close();
    await Deno.remove(folder, { recursive: true });
  }
});

// Timers of libp2p end some time after it was stopped.
const REAL = { sanitizeOps: false, sanitizeResources: false };

Deno.test(
  "connectRemote() goes on with a node that was started again, over real sockets",
  REAL,
  async () => {
    const folder = await Deno.makeTempDir();
    const backend = webCryptoBackend();
    const [own, theirs] = await Promise.all(
      [3, 4].map((byte) => keyPairOf(new Uint8Array(32).fill(byte), backend)),
    ) as [KeyPair, KeyPair];
    const start = async () => {
      const network = await startLibp2p({
        secretKey: theirs.secretKey,
        listen: ["/ip4/127.0.0.1/tcp/0"],
        gate: ANYBODY,
      });
      const roleOf = (peer: string) =>
        peer === formatPublicKey(own.publicKey) ? "owner" as const : undefined;
      const served = serveRemoteControl({
        network,
        api: new FakeApi(),
        dataFolder: folder,
        roleOf,
      });
      return {
        address: network.addresses()[0]!,
        async stop() {
          await served.close();
          await network.close();
        },
      };
    };
    const first = await start();
    const key = formatPublicKey(theirs.publicKey);
    // Another port, which nobody can have taken meanwhile.
    let address = first.address;
    const at = () => ({ name: "two", key, addresses: [address] });
    const node = { ...at(), find: () => Promise.resolve(at()) };
    const remote = await connectRemote(own, node);
    try {
      const before = await remote.client.status();
      await first.stop();
      await assert.rejects(remote.client.status(), /^RealmError: Cannot reach node two: /);
      const second = await start();
      address = second.address;
      // As a session asks: again and again.
      const lateMs = Date.now() + 30_000;
      const ask = async (): Promise<unknown> => {
        try {
          return await remote.client.status();
        } catch (error) {
          if (Date.now() > lateMs) throw error;
          await new Promise((resolve) => setTimeout(resolve, 50));
          return await ask();
        }
      };
      assert.deepEqual(await ask(), before);
      await second.stop();
    } finally {
      await remote.close();
      await Deno.remove(folder, { recursive: true });
    }
  },
);
