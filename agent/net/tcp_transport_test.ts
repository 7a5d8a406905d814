import assert from "node:assert/strict";
import { splitAddress } from "../kernel/peer_id.ts";
import type { NetworkBounds } from "./bounds.ts";
import { until } from "../../tests/until.ts";
import { startLibp2p } from "./libp2p_network.ts";
import { parseTcpAddress } from "./tcp_address.ts";
import type { Sockets } from "./tcp_transport.ts";

const gate = { mayConnect: () => true, mayOpen: () => true };
const loose = { sanitizeOps: false, sanitizeResources: false };

/** Sockets of the system, with a list of what each of them was told and whether it is closed. */
function watched() {
  const seen: { noDelay: boolean; closed: boolean }[] = [];
  const watch = (socket: Deno.TcpConn) => {
    const state = { noDelay: false, closed: false };
    seen.push(state);
    const { setNoDelay, close } = socket;
    socket.setNoDelay = (on = true) => {
      state.noDelay = on;
      setNoDelay.call(socket, on);
    };
    socket.close = () => {
      state.closed = true;
      close.call(socket);
    };
    return socket;
  };
  const sockets: Sockets = {
    connect: async (options) => watch(await Deno.connect(options)),
    listen(options) {
      const listener = Deno.listen(options);
      const { accept } = listener;
      listener.accept = async () => watch(await accept.call(listener));
      return listener;
    },
  };
  return { sockets, seen };
}

const start = (sockets: Sockets, bounds: Partial<NetworkBounds> = {}) =>
  startLibp2p({
    bounds,
    secretKey: crypto.getRandomValues(new Uint8Array(32)),
    listen: ["/ip4/127.0.0.1/tcp/0"],
    gate,
    sockets,
  });

// Over `node:net` of Deno 2.7 neither end would have been told: `noDelay` is an option there that is
// not looked at.
Deno.test("small messages are sent at once, by both ends", loose, async () => {
  const { sockets, seen } = watched();
  const [a, b] = [await start(sockets), await start(sockets)];
  await a.dial(b.addresses()[0]!);
  assert.deepEqual(seen.map(({ noDelay }) => noDelay), [true, true]);
  await Promise.all([a.close(), b.close()]);
});

// With `@libp2p/tcp` the end that breaks a connection off keeps its socket: Deno has no
// `resetAndDestroy`, so nothing but an error that nobody sees comes of it.
Deno.test("a connection that is broken off leaves no socket open", loose, async () => {
  const { sockets, seen } = watched();
  const [a, b] = [await start(sockets), await start(sockets)];
  for (const breaking of [a, b]) {
    await a.dial(b.addresses()[0]!);
    await until("it connects", () => b.connections().length === 1);
    breaking.disconnect(breaking === a ? b.self : a.self);
    await until("all are closed", () => seen.every(({ closed }) => closed));
  }
  assert.equal(seen.length, 4);
  await Promise.all([a.close(), b.close()]);
});

Deno.test("nothing of a network is left open when it is closed", loose, async () => {
  const { sockets, seen } = watched();
  const [a, b] = [await start(sockets), await start(sockets)];
  await a.dial(b.addresses()[0]!);
  await Promise.all([a.close(), b.close()]);
  await until("all are closed", () => seen.every(({ closed }) => closed));
});

// Deno holds a socket open while a write to it waits, so its place is not free either.
Deno.test("a socket that is stuck in a write keeps its place", loose, async () => {
  let stuck: PromiseWithResolvers<number> | undefined;
  const { sockets } = watched();
  const listening: Sockets = {
    ...sockets,
    listen(options) {
      const listener = sockets.listen(options);
      const { accept } = listener;
      listener.accept = async () => {
        const socket = await accept.call(listener);
        stuck = Promise.withResolvers();
        socket.write = () => stuck!.promise;
        return socket;
      };
      return listener;
    },
  };
  const node = await start(listening, { connectionsMax: 1, handshakeMs: 200 });
  const { host, port } = parseTcpAddress(splitAddress(node.addresses()[0]!).transport)!;
  const connect = () => Deno.connect({ hostname: host, port });
  const first = await connect();
  await first.write(new TextEncoder().encode("\x13/multistream/1.0.0\n"));
  // The handshake has run out of time, and the node has closed it.
  assert.equal(await first.read(new Uint8Array(1)), null);
  const before = stuck;
  const second = await connect();
  assert.equal(await second.read(new Uint8Array(1)), null, "turned away");
  before!.resolve(1_000_000);
  await until("a place is free", async () => {
    const third = await connect();
    const asked = stuck;
    await third.write(new TextEncoder().encode("\x13/multistream/1.0.0\n")).catch(() => {});
    await third.read(new Uint8Array(1)).catch(() => {});
    third.close();
    return asked !== before;
  });
  stuck!.resolve(1_000_000);
  first.close();
  second.close();
  await node.close();
});

Deno.test("a second connection with a peer ends when nothing uses it", loose, async () => {
  const { sockets, seen } = watched();
  const bounds = { handshakeMs: 4_000 }; // so long a connection is kept at the least, too
  const [a, b] = [await start(sockets, bounds), await start(sockets, bounds)];
  await a.dial(b.addresses()[0]!);
  // Without a key it is not known that they are connected already.
  assert.equal(await b.dial(splitAddress(a.addresses()[0]!).transport), a.self);
  assert.equal(seen.length, 4);
  const direction = () => [a, b].map((node) => node.connections()[0]!.direction).sort();
  await until("both directions", () => direction().join() === "inbound,outbound");
  await until("two are open", () => seen.filter(({ closed }) => !closed).length === 2);
  assert.deepEqual(direction(), ["inbound", "outbound"]);
  await Promise.all([a.close(), b.close()]);
});
