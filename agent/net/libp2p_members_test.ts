import assert from "node:assert/strict";
import type { Network } from "../kernel/ports.ts";
import { splitAddress } from "../kernel/peer_id.ts";
import { type Libp2pOptions, type PeerNetwork, startLibp2p } from "./libp2p_network.ts";
import { MEMBERS_PROTOCOL } from "./libp2p_node.ts";
import { echo, readAll } from "./network_conformance.ts";
import { until } from "../../tests/until.ts";

const PROTOCOL = "/realm/echo/1.0.0";

/** A realm of nodes on loopback; `members` are the keys that the gates of all know. */
function realm(
  title: string,
  run: (
    start: (options?: Partial<Libp2pOptions>) => Promise<PeerNetwork>,
    members: Set<string>,
  ) => Promise<void>,
): void {
  const options = { sanitizeOps: false, sanitizeResources: false };
  Deno.test(`members: ${title}`, options, async () => {
    const members = new Set<string>();
    const nodes: Network[] = [];
    const gate = {
      mayConnect: () => true,
      mayOpen: (peer: string, protocol: string) => protocol === PROTOCOL || members.has(peer),
    };
    try {
      await run(async (more = {}) => {
        const secretKey = crypto.getRandomValues(new Uint8Array(32));
        const listen = ["/ip4/127.0.0.1/tcp/0"];
        const node = await startLibp2p({ secretKey, listen, gate, ...more });
        nodes.push(node);
        return node;
      }, members);
    } finally {
      await Promise.all(nodes.map((node) => node.close()));
    }
  });
}

realm(
  "a member learns from another where a third is, a stranger does not",
  async (start, members) => {
    const hub = await start({ serveMembers: true });
    const [a, b, stranger] = [await start(), await start({ serveMembers: true }), await start()];
    for (const node of [hub, a, b]) members.add(node.self);
    for (const node of [a, b, stranger]) await node.dial(hub.addresses()[0]!);
    let found: readonly string[] = [];
    await until("a finds b", async () => (found = await a.find(b.self)).length > 0);
    assert.ok(found.includes(b.addresses()[0]!), found.join());
    assert.equal(await a.dial(found[0]!), b.self);
    assert.deepEqual(await stranger.find(b.self), []);
    await assert.rejects(() => stranger.open(hub.self, MEMBERS_PROTOCOL));
    // Approved, it learns.
    members.add(stranger.self);
    await until("the stranger finds b", async () => (await stranger.find(b.self)).length > 0);
  },
);

realm("what members say of themselves is told, of strangers nothing", async (start, members) => {
  const told = new Map<string, readonly string[]>();
  const a = await start({ learnt: (peer, addresses) => void told.set(peer, addresses) });
  const [b, stranger] = [await start(), await start()];
  members.add(b.self);
  await b.dial(a.addresses()[0]!);
  await stranger.dial(a.addresses()[0]!);
  await until("both connect", () => a.connections().length === 2 && told.size === 1);
  assert.deepEqual(told.get(b.self), b.addresses());
  members.add(stranger.self);
  await until("the stranger is told of", () => told.has(stranger.self));
});

realm(
  "a node that cannot be dialled is reached by way of a member that relays",
  async (start, members) => {
    const relay = await start({ serveMembers: true });
    const [a, stranger] = [await start(), await start()];
    const hidden = await start({ listen: ["/p2p-circuit"] });
    for (const node of [relay, a, hidden]) members.add(node.self);
    assert.deepEqual(hidden.addresses(), []);
    await hidden.dial(relay.addresses()[0]!);
    await until("an address of the relay", () => hidden.addresses().length > 0);
    const address = hidden.addresses()[0]!;
    assert.match(address, /\/p2p-circuit\/p2p\/[^/]+$/);
    assert.equal(await a.dial(address), hidden.self);
    assert.equal(a.connections().find(({ peer }) => peer === hidden.self)!.relayed, true);
    hidden.handle(PROTOCOL, echo);
    const stream = await a.open(hidden.self, PROTOCOL);
    const sent = new Uint8Array(500_000).map((_, i) => i * 7);
    const reading = readAll(stream);
    await stream.write(sent);
    await stream.end();
    assert.deepEqual(await reading, sent);
    // A stranger may connect to the relay, and gets no further.
    await stranger.dial(relay.addresses()[0]!);
    await assert.rejects(() => stranger.dial(address), { code: "unreachable" });
  },
);

realm("a stranger gets no place at a relay", async (start, members) => {
  const relay = await start({ serveMembers: true });
  const hidden = await start({ listen: ["/p2p-circuit"] });
  members.add(relay.self);
  await hidden.dial(relay.addresses()[0]!);
  await assert.rejects(() => hidden.open(relay.self, "/libp2p/circuit/relay/0.2.0/hop"));
  assert.deepEqual(hidden.addresses(), []);
  members.add(hidden.self);
  await until("an address of the relay", () => hidden.addresses().length > 0);
});

realm("a direct connection is used before one by way of a relay", async (start, members) => {
  const relay = await start({ serveMembers: true });
  const a = await start();
  const hidden = await start({ listen: ["/ip4/127.0.0.1/tcp/0", "/p2p-circuit"] });
  for (const node of [relay, a, hidden]) members.add(node.self);
  await hidden.dial(relay.addresses()[0]!);
  await until(
    "an address by the relay",
    () => hidden.addresses().some((address) => address.includes("p2p-circuit")),
  );
  await a.dial(hidden.addresses().find((address) => address.includes("p2p-circuit"))!);
  const connection = () => a.connections().find(({ peer }) => peer === hidden.self)!;
  assert.equal(connection().relayed, true);
  await a.dial(hidden.addresses().find((address) => !address.includes("p2p-circuit"))!);
  await until("a direct connection", () => !connection().relayed);
  hidden.handle(PROTOCOL, echo);
  const stream = await a.open(hidden.self, PROTOCOL);
  await stream.end();
  assert.deepEqual(await readAll(stream), new Uint8Array());
});

realm("QUIC is told of once and left out, and refused where it is dialled", async (start) => {
  const notices: string[] = [];
  const node = await start({
    listen: ["/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.1/tcp/0"],
    notice: (text) => void notices.push(text),
  });
  assert.equal(notices.length, 1);
  assert.match(notices[0]!, /QUIC/);
  assert.equal(node.addresses().length, 1);
  assert.ok(splitAddress(node.addresses()[0]!).transport.startsWith("/ip4/127.0.0.1/tcp/"));
  await assert.rejects(() => node.dial("/ip4/127.0.0.1/udp/4001/quic-v1"), {
    code: "usage",
    message: /QUIC/,
  });
});
