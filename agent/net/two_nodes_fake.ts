/**
 * A program with two nodes that greet each other, for a test of what permissions that takes.
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
  Deno.exit(0);
}
