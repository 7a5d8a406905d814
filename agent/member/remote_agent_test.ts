import assert from "node:assert/strict";
import { connectControl } from "../control/client.ts";
import { FakeApi } from "../control/fake_api.ts";
import { RealmError } from "../kernel/error.ts";
import { formatPublicKey } from "../kernel/key.ts";
import type { Network } from "../kernel/ports.ts";
import { MemoryHub } from "../net/memory_network.ts";
import { openDoor } from "./remote_agent.ts";
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
          error.message.startsWith("Cannot reach node two: "),
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
