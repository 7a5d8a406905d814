/**
 * What a node bears from the other end of real sockets, none of which is a member.
 *
 * @module
 */
import assert from "node:assert/strict";
import { createLibp2p } from "libp2p";
import { identify } from "@libp2p/identify";
import type { MessageStream } from "@libp2p/interface";
import { noise } from "@libp2p/noise";
import { multiaddr } from "@multiformats/multiaddr";
import { splitAddress } from "../kernel/peer_id.ts";
import type { Network, PeerStream } from "../kernel/ports.ts";
import type { NetworkBounds } from "./bounds.ts";
import { startLibp2p } from "./libp2p_network.ts";
import { MEMBERS_PROTOCOL } from "./libp2p_node.ts";
import { echo, readAll } from "./network_conformance.ts";
import { until } from "../../tests/until.ts";
import { NOISE_CRYPTO } from "./noise_crypto.ts";
import { QUIET_LOGGER } from "./quiet_logger.ts";
import { parseTcpAddress } from "./tcp_address.ts";
import { tcpTransport } from "./tcp_transport.ts";

const PROTOCOL = "/realm/echo/1.0.0";
const members = new Set<string>();
const gate = {
  mayConnect: () => true,
  mayOpen: (peer: string, protocol: string) => protocol !== MEMBERS_PROTOCOL || members.has(peer),
};

/** Runs against one node, which afterwards must serve somebody honest as if nothing had been. */
function hostile(
  title: string,
  bounds: Partial<NetworkBounds>,
  attack: (victim: Network, bounds: Partial<NetworkBounds>) => Promise<void>,
): void {
  const loose = { sanitizeOps: false, sanitizeResources: false };
  Deno.test(`hostile: ${title}`, loose, async () => {
    const victim = await start(bounds);
    const honest = await start();
    try {
      members.add(honest.self);
      victim.handle(PROTOCOL, echo);
      await attack(victim, bounds);
      let echoed: Uint8Array | undefined;
      await until("an honest peer is served", async () => {
        try {
          await honest.dial(victim.addresses()[0]!);
          const stream = await honest.open(victim.self, PROTOCOL);
          await stream.write(Uint8Array.of(1, 2, 3));
          await stream.end();
          echoed = await readAll(stream);
          return true;
        } catch {
          return false; // all places are still taken, or its time for a handshake was too short
        }
      });
      assert.deepEqual(echoed, Uint8Array.of(1, 2, 3));
    } finally {
      await Promise.all([victim.close(), honest.close()]);
    }
  });
}

function start(bounds: Partial<NetworkBounds> = {}) {
  const secretKey = crypto.getRandomValues(new Uint8Array(32));
  return startLibp2p({ secretKey, listen: ["/ip4/127.0.0.1/tcp/0"], gate, bounds });
}

function connect(victim: Network): Promise<Deno.TcpConn> {
  const { host, port } = parseTcpAddress(splitAddress(victim.addresses()[0]!).transport)!;
  return Deno.connect({ hostname: host, port });
}

/** Resolves when the other end has ended a socket. */
async function ended(socket: Deno.TcpConn): Promise<void> {
  const room = new Uint8Array(4096);
  try {
    while (await socket.read(room) !== null);
  } catch {
    // It was reset.
  }
  try {
    socket.close();
  } catch {
    // It is closed already.
  }
}

/** A connection whose handshake is done, and on which anything can be said in place of Yamux. */
async function rogue(victim: Network): Promise<{ say: MessageStream; stop(): Promise<void> }> {
  const said = Promise.withResolvers<MessageStream>();
  const met = Promise.withResolvers<void>();
  const node = await createLibp2p({
    logger: QUIET_LOGGER,
    transports: [tcpTransport({ inboundMax: 1, inboundPerAddressMax: 1, pendingPerAddressMax: 1 })],
    connectionEncrypters: [noise({ crypto: NOISE_CRYPTO })],
    connectionMonitor: { enabled: false },
    streamMuxers: [() => ({
      protocol: "/yamux/1.0.0",
      createStreamMuxer(connection: MessageStream) {
        connection.addEventListener("message", ({ data }) => {
          // The victim opens a stream, to ask who this is: now it listens for streams as well.
          const bytes = data.subarray();
          for (let at = 0; at + 12 <= bytes.length; at += 12) {
            if (bytes[at + 1] === WINDOW) met.resolve();
          }
        });
        said.resolve(connection);
        return Object.assign(new EventTarget(), {
          protocol: "/yamux/1.0.0",
          status: "open",
          streams: [],
          createStream: () => Promise.reject(new Error("none")),
          close: () => Promise.resolve(),
          abort: () => {},
        });
      },
    } as any)],
    services: { identify: identify({ runOnConnectionOpen: false }) },
  });
  await node.dial(multiaddr(victim.addresses()[0]!));
  await met.promise;
  return { say: await said.promise, stop: async () => void await node.stop() };
}

/** A frame of Yamux; `length` is what its header claims. */
function frame(
  type: number,
  flags: number,
  stream: number,
  length: number,
  data = new Uint8Array(),
): Uint8Array {
  const bytes = new Uint8Array(12 + data.length);
  const view = new DataView(bytes.buffer);
  view.setUint8(1, type);
  view.setUint16(2, flags);
  view.setUint32(4, stream);
  view.setUint32(8, length);
  bytes.set(data, 12);
  return bytes;
}

const [DATA, WINDOW, PING] = [0, 1, 2];
const SYN = 1;

/** Says `next()` again and again until the other end breaks off; the bytes that it took. */
async function pour(say: MessageStream, next: () => Uint8Array): Promise<number> {
  let bytes = 0;
  while (say.status === "open") {
    const piece = next();
    try {
      const room = say.send(piece);
      bytes += piece.length;
      if (!room) await new Promise((resolve) => setTimeout(resolve, 1));
    } catch {
      break;
    }
    if (bytes % (64 * piece.length) === 0) await new Promise((resolve) => setTimeout(resolve, 0));
  }
  return bytes;
}

hostile("garbage", { handshakeMs: 2000 }, async (victim) => {
  await Promise.all(Array.from({ length: 30 }, async (_, n) => {
    const socket = await connect(victim);
    const over = ended(socket);
    try {
      for (let i = 0; i < 20; i++) {
        await socket.write(crypto.getRandomValues(new Uint8Array(1 + n * 100)));
      }
    } catch {
      // It was ended already.
    }
    await over;
  }));
  assert.deepEqual(victim.connections(), []);
});

hostile("handshakes that stop half way", { handshakeMs: 500 }, async (victim) => {
  const hello = "\x13/multistream/1.0.0\n\x07/noise\n";
  await Promise.all(Array.from({ length: 20 }, async (_, n) => {
    const socket = await connect(victim);
    const over = ended(socket);
    // None, some or all of the first message, then silence.
    await socket.write(new TextEncoder().encode(hello.slice(0, n * 2))).catch(() => {});
    await over;
  }));
});

hostile("one byte of a handshake at a time", { handshakeMs: 500 }, async (victim) => {
  const socket = await connect(victim);
  const over = ended(socket);
  let done = false;
  void over.then(() => done = true);
  while (!done) {
    await socket.write(Uint8Array.of(0x13)).catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
});

for (
  const [title, bounds] of [
    ["a flood of connections, bounded together", {
      connectionsMax: 10,
      connectionsPerAddressMax: 1000,
      pendingMax: 1000,
    }],
    ["a flood of connections, bounded of one address", {
      connectionsMax: 1000,
      connectionsPerAddressMax: 10,
      pendingMax: 1000,
    }],
    ["a flood of connections, bounded in their handshake", {
      connectionsMax: 1000,
      connectionsPerAddressMax: 1000,
      pendingMax: 10,
    }],
    ["a flood of connections of one address, bounded in their handshake", {
      connectionsMax: 1000,
      connectionsPerAddressMax: 1000,
      pendingMax: 1000,
      pendingPerAddressMax: 10,
    }],
  ] as const
) {
  const patient = { ...bounds, newPerSecondMax: 1000, handshakeMs: 600_000 };
  hostile(title, patient, async (victim) => {
    let open = 0;
    const flood = await Promise.all(Array.from({ length: 100 }, async () => {
      const socket = await connect(victim);
      open++;
      return { socket, over: ended(socket).then(() => void open--) };
    }));
    await until("ten are open", () => open === 10);
    for (const { socket } of flood) {
      try {
        socket.close();
      } catch {
        // It is closed already.
      }
    }
    await Promise.all(flood.map(({ over }) => over));
  });
}

const CROWDS: readonly [string, Partial<NetworkBounds>][] = [
  ["strangers: members still find a place", { strangersMax: 3 }],
  ["strangers of one address: others still find a place", { strangersPerAddressMax: 3 }],
];
for (const [title, bounds] of CROWDS) {
  hostile(title, bounds, async (victim) => {
    const strangers = await Promise.all(Array.from({ length: 6 }, () => start()));
    const dials = await Promise.allSettled(
      strangers.map((stranger) => stranger.dial(victim.addresses()[0]!)),
    );
    const inside = () => victim.connections().length;
    assert.ok(dials.some(({ status }) => status === "rejected"));
    await until("all but three are closed", () => inside() <= 3);
    await Promise.all(strangers.map((stranger) => stranger.close()));
  });
}

Deno.test("hostile: strangers do not keep out owners, who are no members", {
  sanitizeOps: false,
  sanitizeResources: false,
}, async () => {
  const control = "/realm/control/1.0.0";
  const owners = new Set<string>();
  const victim = await startLibp2p({
    secretKey: crypto.getRandomValues(new Uint8Array(32)),
    listen: ["/ip4/127.0.0.1/tcp/0"],
    gate: {
      mayConnect: () => true,
      mayOpen: (peer, protocol) => protocol === control && owners.has(peer),
    },
    knownProtocols: [control],
    bounds: { strangersMax: 1 },
  });
  victim.handle(control, echo);
  const [one, two, owner] = await Promise.all([start(), start(), start()]);
  try {
    owners.add(owner.self);
    await Promise.allSettled([one, two].map((each) => each.dial(victim.addresses()[0]!)));
    await until("it is connected", () => victim.connections().length === 1);
    await owner.dial(victim.addresses()[0]!);
    const stream = await owner.open(victim.self, control);
    await stream.write(Uint8Array.of(7));
    await stream.end();
    assert.deepEqual(await readAll(stream), Uint8Array.of(7));
    assert.equal(victim.connections().length, 2, "the stranger is there as well");
  } finally {
    await Promise.all([victim, one, two, owner].map((each) => each.close()));
  }
});

hostile("a frame that claims 4 GiB", {}, async (victim) => {
  const { say, stop } = await rogue(victim);
  say.send(frame(DATA, SYN, 1, 0xffff_ffff));
  const filler = new Uint8Array(64 * 1024);
  const bytes = await pour(say, () => filler);
  assert.ok(bytes < 32 * 1024 * 1024, `${bytes} bytes were taken`);
  await stop();
});

hostile("pings without end", { smallFramesPerSecondMax: 2000 }, async (victim) => {
  const { say, stop } = await rogue(victim);
  let n = 0;
  await pour(say, () => frame(PING, SYN, 0, n++));
  await stop();
});

hostile(
  "streams without end, none of which says what it is for",
  { streamsMax: 20, smallFramesPerSecondMax: 2000 },
  async (victim) => {
    const { say, stop } = await rogue(victim);
    let n = -1;
    await pour(say, () => frame(WINDOW, SYN, n += 2, 0));
    await stop();
  },
);

hostile("data that nobody reads, in frames of one byte", {
  unreadBytesMax: 1024 * 1024,
  smallFramesPerSecondMax: 1e9,
  // Nothing else breaks the connection meanwhile.
  handshakeMs: 600_000,
  pingMs: 600_000,
}, async (victim) => {
  const stop = victim.handle("/realm/slow/1.0.0", () => {});
  const { say, stop: leave } = await rogue(victim);
  const choose = new TextEncoder().encode("\x13/multistream/1.0.0\n\x12/realm/slow/1.0.0\n");
  const ids = Array.from({ length: 20 }, (_, n) => 2 * n + 1);
  for (const id of ids) say.send(frame(DATA, SYN, id, choose.length, choose));
  let n = 0;
  const one = Uint8Array.of(0xff);
  const bytes = await pour(say, () => frame(DATA, 0, ids[n++ % ids.length]!, 1, one));
  // A megabyte of them would be thirteen of frames.
  assert.ok(bytes < 4 * 1024 * 1024, `${bytes} bytes were taken`);
  await leave();
  stop();
});

hostile("streams that are never read: memory is bounded", {
  unreadBytesMax: 2 * 1024 * 1024,
}, async (victim) => {
  const kept: PeerStream[] = [];
  const stop = victim.handle("/realm/slow/1.0.0", (stream) => void kept.push(stream));
  const sender = await start();
  await sender.dial(victim.addresses()[0]!);
  const streams = await Promise.all(
    Array.from({ length: 30 }, () => sender.open(victim.self, "/realm/slow/1.0.0")),
  );
  const chunk = new Uint8Array(64 * 1024);
  // Each fits in its window; together they are too much, and the connection breaks.
  const results = await Promise.allSettled(streams.map(async (stream) => {
    for (;;) await stream.write(chunk);
  }));
  assert.ok(results.every(({ status }) => status === "rejected"));
  await until(
    "the sender is cut off",
    () => !victim.connections().some(({ peer }) => peer === sender.self),
  );
  stop();
  await sender.close();
});
