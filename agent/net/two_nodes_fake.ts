/**
 * A program with two nodes that greet each other, for tests of what permissions that
 * takes, and that it ends by itself.
 *
 * @module
 */
import { startLibp2p } from "./libp2p_network.ts";
import { echo, readAll } from "./network_conformance.ts";

if (import.meta.main) {
  const gate = { mayConnect: () => true, mayOpen: () => true };
  const start = () =>
    startLibp2p({
      secretKey: crypto.getRandomValues(new Uint8Array(32)),
      listen: ["/ip4/127.0.0.1/tcp/0"],
      serveMembers: true,
      bounds: { handshakeMs: 4_000 }, // libp2p does not take back its time limits
      gate,
    });
  const [a, b] = [await start(), await start()];
  b.handle("/realm/echo/1.0.0", echo);
  await a.dial(b.addresses()[0]!);
  const stream = await a.open(b.self, "/realm/echo/1.0.0");
  await stream.write(new TextEncoder().encode("hello"));
  await stream.end();
  console.log(new TextDecoder().decode(await readAll(stream)));
  await Promise.all([a.close(), b.close()]);
  // Nothing is left that keeps it alive.
}
