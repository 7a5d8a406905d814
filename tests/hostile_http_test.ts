/**
 * Handlers that misbehave towards clients, and clients that misbehave towards handlers, with the
 * real proxy between them: each gets its answer, and the next request is served.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { Limits, Replica } from "../agent/kernel/ports.ts";
import { createEngine } from "../agent/local_engine.ts";
import { serveHandler } from "../agent/proxy/proxy.ts";
import { CACHE_FOLDER, fixture, NO_GRANTS } from "./guest.ts";

const MIB = 1024 * 1024;
const encode = (text: string) => new TextEncoder().encode(text);
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

interface Served {
  readonly port: number;
  readonly replica: Replica;
  readonly notices: string[];
  get(path: string, init?: RequestInit): Promise<[number, string]>;
  /** A connection that sends this, and stays open. */
  connect(text: string): Promise<Deno.TcpConn>;
}

/** Serves the fixture, and checks afterwards that it serves on and holds nothing. */
async function served(
  test: (served: Served) => Promise<void>,
  limits: Partial<Limits> = {},
  requestsLeft = 0,
): Promise<void> {
  const engine = createEngine(CACHE_FOLDER);
  const notices: string[] = [];
  const open: Deno.TcpConn[] = [];
  try {
    const replica = await engine.start(await engine.prepare(await fixture("hostile-http")), {
      world: "wasi:http/proxy",
      grants: NO_GRANTS,
      limits: { memoryBytesMax: 32 * MIB, epochTimeoutMs: 300, ...limits },
      stdio: {
        terminal: { stdin: false, stdout: false, stderr: false },
        read: () => Promise.resolve(null),
        write: () => {},
      },
      notice: (text) => void notices.push(text),
    });
    const server = serveHandler({
      hostname: "127.0.0.1",
      port: 0,
      component: "hostile",
      replica,
      requestTimeoutMs: 2_000,
    });
    const { port } = server;
    const get = async (path: string, init?: RequestInit): Promise<[number, string]> => {
      const response = await fetch(`http://127.0.0.1:${port}${path}`, init);
      return [response.status, await response.text()];
    };
    const connect = async (text: string) => {
      const connection = await Deno.connect({ hostname: "127.0.0.1", port });
      open.push(connection);
      await connection.write(encode(text));
      return connection;
    };
    await test({ port, replica, notices, get, connect });
    assert.deepEqual(await get("/"), [200, "ok\n"], "the next request is served");
    while (open.length > 0) close(open.pop()!);
    for (let i = 0; i < 3_000 && replica.usage().requests > requestsLeft; i++) await sleep(10);
    const { requests, hostBytes, memoryBytes } = replica.usage();
    assert.equal(requests, requestsLeft);
    assert.ok(hostBytes < 64 * 1024, `the host holds ${hostBytes} bytes`);
    assert.ok(memoryBytes < 16 * MIB, `${memoryBytes}`);
    await server.close();
  } finally {
    for (const connection of open) close(connection);
    await engine.close();
  }
}

function close(connection: Deno.TcpConn): void {
  try {
    connection.close();
  } catch {
    // It was closed by the test.
  }
}

/** What comes of it, or `otherwise` where it fails or takes longer. */
async function within<T>(ms: number, what: Promise<T>, otherwise: T): Promise<T> {
  const { promise, resolve } = Promise.withResolvers<T>();
  const timer = setTimeout(resolve, ms, otherwise);
  what.then(resolve, () => resolve(otherwise));
  return await promise.finally(() => clearTimeout(timer));
}

/** What arrives until the end, until so much did, or until nothing does for 30 seconds. */
async function read(connection: Deno.TcpConn, lengthMax = Infinity): Promise<string> {
  const buffer = new Uint8Array(65_536);
  let text = "";
  while (text.length < lengthMax) {
    const length = await within(30_000, connection.read(buffer), null);
    if (length === null) break;
    text += new TextDecoder("latin1").decode(buffer.subarray(0, length));
  }
  return text;
}

/** Asks with a head that may be broken; the status line. */
async function statusOf({ connect }: Served, head: string): Promise<string> {
  const connection = await connect(head);
  const answer = await read(connection, 12);
  close(connection);
  return answer.slice(0, 12);
}

// ---- handlers ----

Deno.test("a handler that answers with a million headers or a giant one fails alone", () =>
  served(async ({ get, replica, notices }) => {
    const told = "502";
    for (const path of ["/headers?n=1000000", "/header?n=1000000", "/trailers?n=1000000"]) {
      const [status] = await get(path).catch((error) => [String(error).includes("body") ? 502 : 0]);
      assert.equal(String(status), told, path);
    }
    assert.equal(replica.usage().traps, 3);
    for (let i = 0; i < 3_000 && notices.length < 3; i++) await sleep(10);
    assert.match(notices.join("\n"), /Cannot add header "x-\d+": .* 131072/);
    assert.deepEqual(await get("/headers?n=90"), [200, "many\n"]);
  }));

Deno.test("a handler cannot break out of a header, nor frame its message otherwise", () =>
  served(async ({ get }) => {
    assert.deepEqual(await get("/split"), [200, "10 refused\n"]);
  }));

Deno.test("a handler that writes more or less than it promised ends the connection, not the body", () =>
  served(async (s) => {
    assert.deepEqual(await s.get("/lie?n=5"), [200, "xxxxx"]);
    const short = await s.connect("GET /lie?n=3 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert.doesNotMatch(await read(short), /\r\n\r\nx{3}HTTP|\r\n\r\nx{5}/);
    const long = await s.connect("GET /lie?n=50 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert.doesNotMatch(await read(long), /x{6}/);
  }));

Deno.test("an endless body waits for its reader, and ends with it", () =>
  served(async ({ connect, replica }) => {
    const readers = await Promise.all(
      Array.from({ length: 20 }, () => connect("GET /endless HTTP/1.1\r\nhost: a\r\n\r\n")),
    );
    await Promise.all(readers.map((reader) => read(reader, MIB)));
    // Nobody reads: what fits into buffers is written, and then nothing more.
    let quiet = 0; // Twice: it may be the machine that stood still.
    for (let i = 0; i < 100 && quiet < 2; i++) {
      const { fuelUsed } = replica.usage();
      await sleep(300);
      quiet = replica.usage().fuelUsed - fuelUsed < 1_000_000 ? quiet + 1 : 0;
    }
    assert.equal(quiet, 2, "they wait");
    assert.ok(replica.usage().hostBytes < 20 * 256 * 1024, `${replica.usage().hostBytes}`);
    assert.equal(replica.usage().requests, 20);
  }));

Deno.test("a body that drips for ever ends with its reader", () =>
  served(async ({ connect, replica }) => {
    const reader = await connect("GET /drip HTTP/1.1\r\nhost: a\r\n\r\n");
    assert.match(await read(reader, 300), /^HTTP\/1.1 200/);
    assert.equal(replica.usage().requests, 1);
  }));

Deno.test("a handler that gives no answer gets one made for it: 502, or 504 in time", () =>
  served(async ({ get, replica, notices }) => {
    const refused = async (path: string) => {
      const [status, text] = await get(path);
      assert.equal(status, 502, path);
      assert.ok(text.length < 1_000, "one line, and nothing of the guest's");
    };
    for (const path of ["/drop", "/error"]) await refused(path);
    // Where its head was sent by the time that it writes too little, its body breaks off.
    await refused("/lie?n=3").catch((error) => assert.ok(error instanceof TypeError, error));
    for (const path of ["/exit", "/panic", "/recurse", "/forget"]) await refused(path);
    assert.equal((await get("/hold"))[0], 504);
    assert.ok(replica.usage().traps >= 3);
    const failed = notices.filter((notice) => notice.startsWith("failed: "));
    assert.match(
      failed.join("\n"),
      /never set a response.*\n.*"e{1024}…"\n.*body-size.*\n.*with 0/,
    );
    assert.equal(failed.length, 4, "the log has why, also of those that did not trap");
  }));

Deno.test("a handler that hoards gets no more than its memory, and starts anew", () =>
  served(async ({ get, replica }) => {
    const told: number[] = [];
    for (let i = 0; i < 60; i++) told.push((await get("/hoard"))[0]);
    assert.ok(told.filter((status) => status === 502).length >= 1, told.join());
    assert.ok(told.filter((status) => status === 200).length > 40, told.join());
    assert.ok(replica.usage().memoryBytesPeak <= 32 * MIB);
    for (let i = 0; (await get("/hoard"))[0] !== 502; i++) assert.ok(i < 60, "hoards for ever");
  }));

Deno.test("a handler that computes on after its answer has answered, and ends by its epoch", () =>
  served(async ({ get, replica }) => {
    assert.deepEqual(await get("/after"), [200, "done\n"]);
    for (let i = 0; i < 3_000 && replica.usage().traps < 1; i++) await sleep(10);
    assert.equal(replica.usage().traps, 1);
    // Long enough for the answer to be fetched, also on a busy machine.
  }, { epochTimeoutMs: 2_000 }));

Deno.test("a handler that sleeps on after its answer has answered, and ends with its replica", () =>
  served(
    async ({ get, replica }) => {
      assert.deepEqual(await get("/linger"), [200, "done\n"]);
      assert.equal(replica.usage().requests, 1, "it keeps its place");
    },
    {},
    1,
  ));

// ---- clients ----

Deno.test("a client's heads are bounded: many headers, long ones, and such without an end", () =>
  served(async (s) => {
    const headers = (n: number, length: number) =>
      Array.from({ length: n }, (_, i) => `x-${i}: ${"v".repeat(length)}\r\n`).join("");
    for (
      const [head, wanted] of [
        [headers(90, 500), "431"],
        [headers(1, 40_000), "431"],
        [headers(100_000, 1), "431"],
        [headers(1, 2 * MIB), "431"],
      ] as const
    ) {
      const status = await statusOf(s, `GET / HTTP/1.1\r\nhost: a\r\n${head}\r\n`);
      // A server that hangs up in the middle of a bomb has answered it, too.
      if (status !== "") assert.match(status, new RegExp(`^HTTP/1.1 (${wanted}|400)`));
      else assert.ok(head.length > 60_000, "only of a bomb nothing is said");
    }
    assert.match(await statusOf(s, `GET /${"a".repeat(9_000)} HTTP/1.1\r\nhost: a\r\n\r\n`), /414/);
  }));

Deno.test("a client's framing that is not HTTP is refused before the guest hears of it", () =>
  served(async (s) => {
    const fuel = s.replica.usage().fuelUsed;
    for (
      const head of [
        "POST /deaf HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nxxxxxx",
        "POST /deaf HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
        "POST /deaf HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999999\r\n\r\n",
        "POST /deaf HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx\0y: a\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\n folded: a\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nxxxxxxxxxxxxxxxxx",
      ]
    ) {
      const connection = await s.connect(head);
      const answer = await within(2_000, read(connection, 12), "");
      assert.doesNotMatch(answer, /^HTTP\/1.1 200/, JSON.stringify(head));
      close(connection);
    }
    assert.equal(s.replica.usage().fuelUsed, fuel);
  }));

/** A frame of HTTP/2 (RFC 9113, 4.1). */
function frame(type: number, flags: number, stream: number, payload: readonly number[] = []) {
  const { length } = payload;
  const head = new Uint8Array(9);
  const view = new DataView(head.buffer);
  view.setUint32(0, length << 8 | type);
  view.setUint8(4, flags);
  view.setUint32(5, stream);
  return [...head, ...payload];
}

/** Frames, and flags, of HTTP/2. */
const H2 = { HEADERS: 1, RST_STREAM: 3, SETTINGS: 4, CONTINUATION: 9, END: 1, END_HEADERS: 4 };
/** What a GOAWAY frame has for ENHANCE_YOUR_CALM. */
const CALM = "\0\0\0\x0b";
/** GET / of http://a, in HPACK. */
const H2_GET = [0x82, 0x86, 0x84, 0x41, 1, 0x61];

Deno.test("HTTP/2 without TLS is served, heads past all bounds are refused, and who resets streams as they begin is cut off", () =>
  served(async ({ connect, replica }) => {
    const open = async (frames: readonly number[]) => {
      const connection = await connect("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
      await connection.write(new Uint8Array([...frame(H2.SETTINGS, 0, 0), ...frames]));
      return connection;
    };
    const get = frame(H2.HEADERS, H2.END | H2.END_HEADERS, 1, H2_GET);
    const honest = await open(get);
    let answer = "";
    while (!answer.includes("ok\n")) {
      const more = await read(honest, 1);
      assert.ok(more.length > 0, `it ended: ${answer}`);
      answer += more;
    }

    const fuel = replica.usage().fuelUsed;
    // x: yyy…, whose length is written with bits 0 to 6 and then seven at a time.
    const bytes = 300_000;
    const rest = bytes - 127;
    const length = [0x7f, rest & 0x7f | 0x80, rest >> 7 & 0x7f | 0x80, rest >> 14];
    const value = new Array(16_000).fill(0x79);
    const bomb = await open([
      ...frame(H2.HEADERS, H2.END, 1, [...H2_GET, 0, 1, 0x78, ...length]),
      ...Array.from({ length: 18 }, () => frame(H2.CONTINUATION, 0, 1, value)).flat(),
      ...frame(H2.CONTINUATION, H2.END_HEADERS, 1, value.slice(0, bytes - 18 * 16_000)),
    ]);
    const refused = await read(bomb);
    assert.ok(refused.includes(CALM) && !refused.includes("ok\n"), JSON.stringify(refused));
    assert.equal(replica.usage().fuelUsed, fuel);

    // What is told of what was reset is an error, and the connection ends.
    const resets = await open([]);
    const ended = read(resets);
    const sending = (async () => {
      for (let stream = 1; stream < 20_000; stream += 2) {
        await resets.write(
          new Uint8Array([
            ...frame(H2.HEADERS, H2.END | H2.END_HEADERS, stream, H2_GET),
            ...frame(H2.RST_STREAM, 0, stream, [0, 0, 0, 8]),
          ]),
        );
      }
    })().catch(() => {});
    assert.ok((await ended).includes(CALM), JSON.stringify(await ended));
    close(resets);
    await sending;
  }));

Deno.test("clients that send their heads byte by byte, or never to the end, keep nobody waiting", () =>
  served(async ({ connect, get, replica }) => {
    const slow = await Promise.all(
      Array.from({ length: 200 }, () => connect("GET / HTTP/1.1\r\nhost: a\r\nx-slow: ")),
    );
    for (let i = 0; i < 5; i++) {
      await Promise.all(slow.map((connection) => connection.write(encode("y"))));
      assert.deepEqual(await get("/"), [200, "ok\n"]);
    }
    assert.equal(replica.usage().requests, 0, "a half head is no request");
  }));

Deno.test("a body that nobody reads is not collected, however much of it comes", () =>
  served(async ({ connect, replica }) => {
    for (const path of ["/deaf", "/drop", "/"]) {
      const connection = await connect(
        `POST ${path} HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000000000\r\n\r\n`,
      );
      const block = new Uint8Array(MIB);
      let sent = 0;
      const sending = (async () => {
        while (sent < 512 * MIB) sent += await connection.write(block);
      })().catch(() => {});
      const answer = await within(30_000, read(connection, 12), "");
      assert.match(answer, path === "/drop" ? /^HTTP\/1.1 502/ : /^HTTP\/1.1 200/, path);
      await sleep(100);
      const { hostBytes } = replica.usage();
      assert.ok(hostBytes < MIB, `${hostBytes}`);
      close(connection);
      await sending;
      assert.ok(sent < 512 * MIB, "it was pushed back or cut off");
    }
  }));

Deno.test("chunks that are no chunks end the request", () =>
  served(async (s) => {
    for (
      const chunk of ["FFFFFFFFFFFFFFFFFF\r\n", "-5\r\nx", "zz\r\n", "5;".padEnd(100_000, "e")]
    ) {
      const head = "POST /deaf HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
      const connection = await s.connect(head + chunk);
      const answer = await within(3_000, read(connection, 12), "");
      assert.doesNotMatch(answer, /^HTTP\/1.1 5/, "the guest is not at fault");
      close(connection);
    }
  }));

Deno.test("a client that asks without reading the answers waits for itself alone", () =>
  served(async ({ connect, get, replica }) => {
    const connection = await connect("");
    const many = encode("GET / HTTP/1.1\r\nhost: a\r\n\r\n".repeat(1_000));
    let over = false;
    const sending = (async () => {
      for (let i = 0; i < 2_000 && !over; i++) await connection.write(many);
    })().catch(() => {});
    await sleep(500);
    for (let i = 0; i < 10; i++) assert.deepEqual(await get("/"), [200, "ok\n"]);
    assert.ok(replica.usage().requests <= 2, "of one connection one request at a time");
    over = true;
    close(connection);
    await sending;
  }));

Deno.test("clients that leave again and again leave nothing behind", () =>
  served(async ({ connect, replica }) => {
    for (let i = 0; i < 10; i++) {
      const all = await Promise.all(
        ["/hold", "/drip", "/endless", "/deaf", "/"].flatMap((path) =>
          Array.from({ length: 8 }, () => connect(`GET ${path} HTTP/1.1\r\nhost: a\r\n\r\n`))
        ),
      );
      all.forEach(close);
    }
    for (let i = 0; i < 3_000 && replica.usage().requests > 0; i++) await sleep(10);
    assert.equal(replica.usage().requests, 0);
  }));
