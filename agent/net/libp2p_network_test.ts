import assert from "node:assert/strict";
import { nodeBackend } from "../node/crypto_node.ts";
import { formatPublicKey } from "../kernel/key.ts";
import { peerIdOfKey } from "../kernel/peer_id.ts";
import { startLibp2p } from "./libp2p_network.ts";
import { testNetwork } from "./network_conformance.ts";
import { until } from "../../tests/until.ts";

/** A seed that no other test has. */
const seed = () => crypto.getRandomValues(new Uint8Array(32));

/** libp2p uses `AbortSignal.timeout` much, whose timers end by themselves and hold nothing up. */
const options = { sanitizeOps: false, sanitizeResources: false };

testNetwork("libp2p network", () => ({
  start: (gate) => startLibp2p({ secretKey: seed(), listen: ["/ip4/127.0.0.1/tcp/0"], gate }),
  // Port 1 of loopback: nobody listens there.
  nowhere: "/ip4/127.0.0.1/tcp/1",
}), options);

// With libp2p's own bound of five new connections a second from one address, most would be refused.
Deno.test("many nodes behind one address join one node at once", options, async () => {
  const gate = { mayConnect: () => true, mayOpen: () => true };
  const start = () => startLibp2p({ secretKey: seed(), listen: ["/ip4/127.0.0.1/tcp/0"], gate });
  const hub = await start();
  const nodes = await Promise.all(Array.from({ length: 12 }, start));
  await Promise.all(nodes.map((node) => node.dial(hub.addresses()[0]!)));
  await until("all connect", () => hub.connections().length === nodes.length);
  await Promise.all([hub, ...nodes].map((node) => node.close()));
});

Deno.test(
  "a network needs net, and env for a logger that says nothing; and its process ends with it",
  options,
  async () => {
    const script = new URL("./two_nodes_fake.ts", import.meta.url).pathname;
    const config = new URL("../../deno.json", import.meta.url).pathname;
    const run = ["run", "--quiet", "--no-check", "--no-prompt", "--config", config];
    const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [...run, "--allow-net=127.0.0.1", "--allow-env", script],
      env: { NO_COLOR: "1" },
    }).output();
    assert.equal(new TextDecoder().decode(stdout), "hello\n", new TextDecoder().decode(stderr));
  },
);

Deno.test("a network that cannot listen says where, and why, in a line", options, async () => {
  const gate = { mayConnect: () => true, mayOpen: () => true };
  const taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const busy = `/ip4/127.0.0.1/tcp/${taken.addr.port}`;
  const cases: readonly (readonly [string, RegExp])[] = [
    [busy, /^Cannot listen for peers on (\S+): Address already in use \(os error \d+\)$/],
    ["/unix/x", /^Cannot listen for peers on (\S+): not supported, wanted \/ip4\/ADDRESS\/tcp\//],
  ];
  for (const [address, wanted] of cases) {
    await assert.rejects(
      () => startLibp2p({ secretKey: seed(), listen: [address], gate }),
      (error: Error & { code?: string }) => {
        assert.equal(error.code, "failed");
        assert.equal(wanted.exec(error.message)?.[1], address, error.message);
        return true;
      },
    );
  }
  taken.close();
});

Deno.test("the same seed is the same key and the same peer id", options, async () => {
  const gate = { mayConnect: () => true, mayOpen: () => true };
  const secretKey = seed();
  const publicKey = nodeBackend().publicKey(secretKey);
  const node = await startLibp2p({ secretKey, listen: ["/ip4/127.0.0.1/tcp/0"], gate });
  assert.equal(node.self, formatPublicKey(publicKey));
  assert.ok(node.addresses()[0]!.endsWith(`/p2p/${peerIdOfKey(node.self)}`));
  await node.close();
});
