/**
 * What a {@link Network} must do whatever it is made of, as tests.
 *
 * @module
 */
import assert from "node:assert/strict";
import { joinAddress, splitAddress } from "../kernel/peer_id.ts";
import type { Network, NetworkGate, PeerStream } from "../kernel/ports.ts";
import { until } from "../../tests/until.ts";

/** Makes nodes that can reach one another; all are closed after each test. */
export interface NetworkSubject {
  start(gate: NetworkGate): Promise<Network>;
  /** An address that is well-formed, of this kind of network, and where nobody answers. */
  readonly nowhere: string;
}

const PROTOCOL = "/realm/echo/1.0.0";
const OPEN: NetworkGate = { mayConnect: () => true, mayOpen: () => true };
const bytes = (text: string) => new TextEncoder().encode(text);

/** Everything that comes until the end. */
export async function readAll(stream: PeerStream): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for (;;) {
    const chunk = await stream.read();
    if (chunk === null) break;
    chunks.push(chunk);
  }
  return new Uint8Array(await new Blob(chunks as Uint8Array<ArrayBuffer>[]).arrayBuffer());
}

/** Sends everything back, then its own end. */
export async function echo(stream: PeerStream): Promise<void> {
  try {
    for (;;) {
      const chunk = await stream.read();
      if (chunk === null) break;
      await stream.write(chunk);
    }
    await stream.end();
  } catch {
    // The other end broke it off; the tests that do look at their own end.
  }
}

/** Bytes that differ from place to place. */
function pattern(length: number): Uint8Array {
  const made = new Uint8Array(length);
  for (let i = 0; i < length; i++) made[i] = (i * 31 + (i >> 8)) & 255;
  return made;
}

/** Registers the suite; `subject` is called once for each test. */
export function testNetwork(
  name: string,
  subject: () => NetworkSubject,
  options: Pick<Deno.TestDefinition, "sanitizeOps" | "sanitizeResources"> = {},
): void {
  const test = (
    title: string,
    run: (start: (gate?: NetworkGate) => Promise<Network>, nowhere: string) => Promise<void>,
  ) =>
    Deno.test(`${name}: ${title}`, options, async () => {
      const { start, nowhere } = subject();
      const nodes: Network[] = [];
      try {
        await run(async (gate = OPEN) => {
          const node = await start(gate);
          nodes.push(node);
          return node;
        }, nowhere);
      } finally {
        await Promise.all(nodes.map((node) => node.close()));
      }
    });
  const pair = async (
    start: (gate?: NetworkGate) => Promise<Network>,
    gates: [NetworkGate?, NetworkGate?] = [],
  ) => {
    const [a, b] = [await start(gates[0]), await start(gates[1])];
    assert.equal(await a.dial(b.addresses()[0]!), b.self);
    await until("a connection", () => b.connections().length === 1);
    return [a, b] as const;
  };

  test("a dial connects both ends, by keys", async (start) => {
    const [a, b] = await pair(start);
    const [there] = a.connections();
    const [here] = b.connections();
    assert.equal(there!.peer, b.self);
    assert.equal(there!.direction, "outbound");
    assert.equal(there!.relayed, false);
    assert.equal(splitAddress(there!.address).key, b.self);
    assert.equal(here!.peer, a.self);
    assert.equal(here!.direction, "inbound");
  });

  test("an address without a key tells who answered", async (start) => {
    const [a, b] = [await start(), await start()];
    assert.equal(await a.dial(splitAddress(b.addresses()[0]!).transport), b.self);
  });

  test("another key than the address says does not answer", async (start) => {
    const [a, b, c] = [await start(), await start(), await start()];
    const wrong = joinAddress(splitAddress(b.addresses()[0]!).transport, c.self);
    await assert.rejects(() => a.dial(wrong), { code: "unreachable" });
    assert.deepEqual(a.connections(), []);
    await until("its end", () => b.connections().length === 0);
  });

  test("addresses where nobody is, or that are none", async (start, nowhere) => {
    const a = await start();
    await assert.rejects(() => a.dial(nowhere), { code: "unreachable" });
    for (const wrong of ["", "nonsense", "/ip4/127.0.0.1/tcp", "/dns4/example.com/udp/1"]) {
      await assert.rejects(() => a.dial(wrong), { code: "usage" }, wrong);
    }
    await assert.rejects(() => a.dial(a.addresses()[0]!), { code: "unreachable" });
    const aborted = AbortSignal.abort(new Error("enough"));
    await assert.rejects(() => a.dial(nowhere, aborted), /enough/);
  });

  test("streams carry bytes both ways and end one way at a time", async (start) => {
    const [a, b] = await pair(start);
    const got: string[] = [];
    b.handle(PROTOCOL, async (stream) => {
      assert.equal(stream.peer, a.self);
      assert.equal(stream.protocol, PROTOCOL);
      got.push(new TextDecoder().decode(await readAll(stream)));
      await stream.write(bytes("and back"));
      await stream.end();
    });
    const stream = await a.open(b.self, PROTOCOL);
    await stream.write(bytes("there "));
    await stream.write(new Uint8Array());
    await stream.write(bytes("too"));
    await stream.end();
    assert.equal(new TextDecoder().decode(await readAll(stream)), "and back");
    assert.deepEqual(got, ["there too"]);
    assert.equal(await stream.read(), null, "the end stays the end");
    await assert.rejects(() => stream.write(bytes("x")), { code: "unreachable" });
  });

  test("either end opens, whoever dialled", async (start) => {
    const [a, b] = await pair(start);
    a.handle(PROTOCOL, echo);
    const stream = await b.open(a.self, PROTOCOL);
    await stream.write(bytes("hello"));
    await stream.end();
    assert.deepEqual(await readAll(stream), bytes("hello"));
  });

  test("much data arrives whole and in order", async (start) => {
    const [a, b] = await pair(start);
    b.handle(PROTOCOL, echo);
    const stream = await a.open(b.self, PROTOCOL);
    const sent = pattern(3_000_001);
    const [received] = await Promise.all([
      readAll(stream),
      (async () => {
        // One large write and many of awkward lengths: 1 kB to 2 kB is where ciphers differ.
        await stream.write(sent.subarray(0, 1_000_000));
        for (let at = 1_000_000, n = 1; at < sent.length; n = n * 3 % 70_001) {
          await stream.write(sent.subarray(at, at + n));
          at += n;
        }
        await stream.end();
      })(),
    ]);
    assert.equal(received.length, sent.length);
    assert.ok(received.every((byte, i) => byte === sent[i]));
  });

  test("a writer waits for a reader that is slow", async (start) => {
    const [a, b] = await pair(start);
    const accepted = Promise.withResolvers<PeerStream>();
    b.handle(PROTOCOL, (stream) => accepted.resolve(stream));
    const stream = await a.open(b.self, PROTOCOL);
    const chunk = pattern(64 * 1024);
    let written = 0;
    let stuck = false;
    const writing = (async () => {
      for (let n = 0; n < 512; n++) {
        const done = stream.write(chunk);
        stuck = true;
        await done;
        stuck = false;
        written += chunk.length;
      }
      await stream.end();
    })();
    // Waits until nothing moves any more: 32 MiB do not fit into any window or socket.
    let before = -1;
    await until("nothing moves", async () => {
      if (stuck && written === before) return true;
      before = written;
      await new Promise((resolve) => setTimeout(resolve, 100));
      return false;
    });
    assert.ok(written < 24 * 1024 * 1024, `${written} bytes were taken that nobody read`);
    const reader = await accepted.promise;
    const [all] = await Promise.all([readAll(reader), writing]);
    assert.equal(all.length, 512 * chunk.length);
  });

  test("an aborted stream breaks at both ends, and only it", async (start) => {
    const [a, b] = await pair(start);
    const streams: PeerStream[] = [];
    b.handle(PROTOCOL, (stream) => void streams.push(stream));
    const [first, second] = [await a.open(b.self, PROTOCOL), await a.open(b.self, PROTOCOL)];
    await until("both streams", () => streams.length === 2);
    const waiting = assert.rejects(() => streams[0]!.read(), { code: "unreachable" });
    const here = assert.rejects(() => first.read(), { code: "unreachable" });
    first.abort();
    await Promise.all([waiting, here]);
    await assert.rejects(() => first.write(bytes("x")), { code: "unreachable" });
    await assert.rejects(() => streams[0]!.write(bytes("x")), { code: "unreachable" });
    await second.write(bytes("fine"));
    assert.deepEqual(await streams[1]!.read(), bytes("fine"));
  });

  test("many streams at once", async (start) => {
    const [a, b] = await pair(start);
    b.handle(PROTOCOL, echo);
    await Promise.all(Array.from({ length: 60 }, async (_, n) => {
      const stream = await a.open(b.self, PROTOCOL);
      const sent = pattern(1000 * n);
      const reading = readAll(stream);
      await stream.write(sent);
      await stream.end();
      assert.deepEqual(await reading, sent);
    }));
  });

  test("a protocol that nobody answers is refused, also once it is not answered any more", async (start) => {
    const [a, b] = await pair(start);
    await assert.rejects(() => a.open(b.self, PROTOCOL), { code: "refused" });
    const stop = b.handle(PROTOCOL, echo);
    (await a.open(b.self, PROTOCOL)).abort();
    assert.throws(() => b.handle(PROTOCOL, echo), /answered already/);
    stop();
    await assert.rejects(() => a.open(b.self, PROTOCOL), { code: "refused" });
    b.handle(PROTOCOL, echo);
    (await a.open(b.self, PROTOCOL)).abort();
    const stranger = await start();
    await assert.rejects(() => a.open(stranger.self, PROTOCOL), { code: "unreachable" });
  });

  test("the gate says who may connect, at either end", async (start) => {
    const shut = new Set<string>();
    const gate = { mayConnect: (peer: string) => !shut.has(peer), mayOpen: () => true };
    const [a, b] = [await start(gate), await start(gate)];
    shut.add(b.self);
    await assert.rejects(() => a.dial(b.addresses()[0]!), { code: "refused" });
    const bare = splitAddress(b.addresses()[0]!).transport;
    await assert.rejects(() => a.dial(bare), { code: "refused" });
    shut.clear();
    shut.add(a.self);
    await assert.rejects(() => a.dial(b.addresses()[0]!), { code: "unreachable" });
    assert.deepEqual(a.connections(), []);
    assert.deepEqual(b.connections(), []);
    shut.clear();
    assert.equal(await a.dial(b.addresses()[0]!), b.self);
  });

  test("a connection that the gate no longer allows ends", async (start) => {
    const shut = new Set<string>();
    const gate = { mayConnect: (peer: string) => !shut.has(peer), mayOpen: () => true };
    const [a, b] = await pair(start, [OPEN, gate]);
    b.handle(PROTOCOL, echo);
    const stream = await a.open(b.self, PROTOCOL);
    shut.add(a.self);
    await until(
      "the end at both",
      () => b.connections().length === 0 && a.connections().length === 0,
    );
    await assert.rejects(() => stream.read(), { code: "unreachable" });
  });

  test("the gate says who may open which protocol, also of streams that are open", async (start) => {
    const allowed = new Set<string>([PROTOCOL]);
    const gate = {
      mayConnect: () => true,
      mayOpen: (_: string, name: string) => allowed.has(name),
    };
    const [a, b] = await pair(start, [OPEN, gate]);
    const other = "/realm/other/1.0.0";
    let reached = 0;
    b.handle(PROTOCOL, echo);
    b.handle(other, () => void reached++);
    await assert.rejects(() => a.open(b.self, other), { code: "refused" });
    assert.equal(reached, 0);
    const stream = await a.open(b.self, PROTOCOL);
    allowed.clear();
    await assert.rejects(async () => {
      for (;;) {
        await stream.write(bytes("x"));
        await stream.read();
      }
    }, { code: "unreachable" });
    await assert.rejects(() => a.open(b.self, PROTOCOL), { code: "refused" });
    assert.equal(a.connections().length, 1, "the connection stays");
  });

  test("the gate of who opens a stream says nothing of it", async (start) => {
    const gate = { mayConnect: () => true, mayOpen: () => false };
    const [a, b] = await pair(start, [gate, OPEN]);
    b.handle(PROTOCOL, echo);
    const stream = await a.open(b.self, PROTOCOL);
    for (let i = 0; i < 3; i++) {
      await stream.write(bytes("x"));
      assert.deepEqual(await stream.read(), bytes("x"));
    }
    stream.abort();
  });

  test("watchers hear of each peer once, and when it goes", async (start) => {
    const [a, b] = [await start(), await start()];
    const heard: string[] = [];
    const stop = b.watch({
      connected: ({ peer }) => heard.push(`+${peer}`),
      disconnected: (peer) => heard.push(`-${peer}`),
    });
    await a.dial(b.addresses()[0]!);
    await a.dial(b.addresses()[0]!);
    await until("the peer is told of", () => heard.length === 1);
    b.handle(PROTOCOL, echo);
    const stream = await a.open(b.self, PROTOCOL);
    b.disconnect(a.self);
    await until("its end is told of", () => heard.length === 2);
    await until("its end", () => a.connections().length === 0);
    await assert.rejects(() => stream.read(), { code: "unreachable" });
    await assert.rejects(() => a.open(b.self, PROTOCOL), { code: "unreachable" });
    assert.deepEqual(heard, [`+${a.self}`, `-${a.self}`]);
    stop();
    await a.dial(b.addresses()[0]!);
    await until("it comes again", () => b.connections().length === 1);
    assert.equal(heard.length, 2);
    a.disconnect("ed25519:11111111111111111111111111111111");
  });

  test("both ends dial at once, again and again: one peer, and it works", async (start) => {
    for (let round = 0; round < 3; round++) {
      const [a, b] = [await start(), await start()];
      const heard: string[] = [];
      a.watch({
        connected: () => heard.push("+"),
        disconnected: () => heard.push("-"),
      });
      a.handle(PROTOCOL, echo);
      b.handle(PROTOCOL, echo);
      await Promise.all([
        a.dial(b.addresses()[0]!),
        b.dial(a.addresses()[0]!),
        a.dial(splitAddress(b.addresses()[0]!).transport),
      ]);
      await until(
        "one connection at each end",
        () => a.connections().length === 1 && b.connections().length === 1,
      );
      for (const [from, to] of [[a, b], [b, a]] as const) {
        const stream = await from.open(to.self, PROTOCOL);
        await stream.write(bytes("one"));
        await stream.end();
        assert.deepEqual(await readAll(stream), bytes("one"));
      }
      assert.deepEqual(heard, ["+"]);
      await Promise.all([a.close(), b.close()]);
    }
  });

  test("a closed network is gone for its peers and dials no more", async (start) => {
    const [a, b] = await pair(start);
    const address = a.addresses()[0]!;
    await a.close();
    await a.close();
    await until("its end", () => b.connections().length === 0);
    await assert.rejects(() => b.dial(address), { code: "unreachable" });
    await assert.rejects(() => a.dial(b.addresses()[0]!), { code: "unreachable" });
    assert.deepEqual(a.connections(), []);
  });
}
