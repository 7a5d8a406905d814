import assert from "node:assert/strict";
import { bytesOf, textOf } from "../kernel/byte_string.ts";
import { DATA, dataChunk, type ExchangeRequest, tailChunk } from "../kernel/http_exchange.ts";
import type { Pipe, Tracer } from "../kernel/ports.ts";
import {
  HTTP_CONNECTIONS_MAX,
  HttpClient,
  type HttpDialer,
  IDLE_CONNECTIONS_MAX,
} from "./http_client.ts";
import type { ByteStream } from "./http_connection.ts";
import { NetworkError, type NetworkErrorCode } from "./network_error.ts";
import type { Target } from "./network_policy.ts";

const OK = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/** A server at the other end of a stream: it answers when it is told to. */
class FakeStream implements ByteStream {
  written = "";
  closed = false;
  readonly #ready: (string | null | Error)[] = [];
  #reading: PromiseWithResolvers<void> | undefined;

  constructor(readonly answer: (stream: FakeStream) => void = (stream) => stream.say(OK)) {}

  /** Text, `null` for the end, or an error. */
  say(what: string | null | Error): void {
    this.#ready.push(what);
    this.#reading?.resolve();
  }

  async read(buffer: Uint8Array): Promise<number | null> {
    while (this.#ready.length === 0) {
      if (this.closed) throw new Deno.errors.BadResource();
      await (this.#reading = Promise.withResolvers()).promise;
    }
    const what = this.#ready.shift()!;
    if (typeof what !== "string") {
      if (what) throw what;
      return null;
    }
    buffer.set(bytesOf(what));
    return what.length;
  }

  write(bytes: Uint8Array): Promise<number> {
    if (this.closed) return Promise.reject(new Deno.errors.BrokenPipe());
    this.written += textOf(bytes);
    if (this.written.endsWith("\r\n\r\n")) this.answer(this);
    return Promise.resolve(bytes.length);
  }

  close(): void {
    this.closed = true;
    this.#reading?.resolve();
  }
}

/** A dialler that hands out streams, and tells what it was asked for. */
function fakeDialer(make: (target: Target) => FakeStream = () => new FakeStream()) {
  const streams: FakeStream[] = [];
  const targets: Target[] = [];
  const dial = (target: Target) => {
    targets.push(target);
    const stream = make(target);
    streams.push(stream);
    return Promise.resolve(stream);
  };
  return { streams, targets, dialer: { dial, dialTls: dial } satisfies HttpDialer };
}

/** The guest's end of a pipe: what it sends, and what came. */
function fakePipe(sends: readonly (Uint8Array | null)[] = [null]) {
  const left = [...sends];
  const received: Uint8Array[] = [];
  const over = Promise.withResolvers<unknown>();
  const abort = new AbortController();
  const pipe: Pipe = {
    read: () => left.length > 0 ? Promise.resolve(left.shift()!) : new Promise(() => {}),
    write: (chunk) => {
      received.push(chunk);
      return Promise.resolve(true);
    },
    end: () => over.resolve(undefined),
    fail: (reason) => over.resolve(reason),
    stopReading: () => {},
    signal: abort.signal,
  };
  const body = () =>
    received.filter((c) => c[0] === DATA).map((c) => textOf(c.subarray(1))).join("");
  return { pipe, body, over: over.promise, abort };
}

const REQUEST: ExchangeRequest = {
  method: "GET",
  scheme: "http",
  authority: "a.example",
  path: "/",
  headers: [],
  body: "none",
  connectTimeoutMs: 600_000,
  firstByteTimeoutMs: 600_000,
  betweenBytesTimeoutMs: 600_000,
};

/** Sends a request to its end, and gives the body or the tag of its failure. */
async function send(client: HttpClient, request: unknown, sends?: readonly Uint8Array[]) {
  const { pipe, body, over } = fakePipe(sends);
  const answered = client.call(request, pipe).catch(() => {});
  const reason = await over as { tag: string } | undefined;
  await answered;
  await new Promise((resolve) => setTimeout(resolve)); // the connection is kept by now
  return reason ? reason.tag : body();
}

Deno.test("HttpClient uses a connection again, for the same origin only", async () => {
  const { streams, targets, dialer } = fakeDialer();
  const client = new HttpClient(dialer);
  for (const authority of ["a.example", "A.EXAMPLE.", "a.example:80"]) {
    assert.equal(await send(client, { ...REQUEST, authority }), "ok");
  }
  assert.equal(streams.length, 1);
  assert.match(streams[0]!.written, /^GET \/ HTTP\/1\.1\r\nhost: a\.example\r\n\r\nGET /);
  await send(client, { ...REQUEST, authority: "b.example" });
  await send(client, { ...REQUEST, authority: "a.example:81" });
  await send(client, { ...REQUEST, scheme: "https" });
  await send(client, { ...REQUEST, scheme: "https", authority: "a.example:80" });
  assert.deepEqual(targets.map(({ scheme, host, port }) => `${scheme} ${host} ${port}`), [
    "http a.example 80",
    "http b.example 80",
    "http a.example 81",
    "https a.example 443",
    "https a.example 80",
  ]);
  await client.close();
  assert.ok(streams.every(({ closed }) => closed));
  assert.equal(client.connections, 0);
});

Deno.test("HttpClient drops an idle connection that the server ends or that speaks unasked", async () => {
  for (const word of [null, "HTTP/1.1 200 OK\r\n\r\n", new Deno.errors.ConnectionReset()]) {
    const { streams, dialer } = fakeDialer();
    const client = new HttpClient(dialer);
    await send(client, REQUEST);
    streams[0]!.say(word);
    await new Promise((resolve) => setTimeout(resolve));
    assert.equal(client.connections, 0);
    assert.equal(await send(client, REQUEST), "ok");
    assert.equal(streams.length, 2);
    await client.close();
  }
});

Deno.test("HttpClient repeats what is safe when a kept connection turns out to be closed", async () => {
  let answers = 0;
  // Only the first request of a connection is answered.
  const once = () =>
    new FakeStream((stream) => {
      const isFirst = stream.written.split("HTTP/1.1").length === 2;
      answers += Number(isFirst);
      stream.say(isFirst ? OK : null);
    });
  const { streams, dialer } = fakeDialer(once);
  const client = new HttpClient(dialer);
  assert.equal(await send(client, REQUEST), "ok");
  assert.equal(await send(client, REQUEST), "ok");
  assert.deepEqual([streams.length, answers], [2, 2]);
  assert.equal(await send(client, { ...REQUEST, method: "POST" }), "connection-terminated");
  assert.deepEqual([streams.length, answers], [2, 2], "a POST is never sent twice");
  await client.close();
});

Deno.test("HttpClient does not repeat on a fresh connection", async () => {
  const { streams, dialer } = fakeDialer(() => new FakeStream((stream) => stream.say(null)));
  const client = new HttpClient(dialer);
  assert.equal(await send(client, REQUEST), "connection-terminated");
  assert.equal(streams.length, 1);
  await client.close();
});

Deno.test("HttpClient bounds connections, idle ones give way", async () => {
  const { streams, dialer } = fakeDialer(({ host }) =>
    new FakeStream((stream) => host.startsWith("busy") || stream.say(OK))
  );
  const client = new HttpClient(dialer);
  const origin = (name: string, i: number) => ({ ...REQUEST, authority: `${name}${i}.example` });
  for (let i = 0; i < IDLE_CONNECTIONS_MAX + 3; i++) await send(client, origin("idle", i));
  assert.equal(client.connections, IDLE_CONNECTIONS_MAX);
  const waiting: Promise<string>[] = [];
  for (let i = 0; i < HTTP_CONNECTIONS_MAX; i++) waiting.push(send(client, origin("busy", i)));
  await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(client.connections, HTTP_CONNECTIONS_MAX);
  assert.equal(await send(client, origin("one", 1)), "connection-limit-reached");
  await client.close();
  assert.ok((await Promise.all(waiting)).every((tag) => tag === "connection-terminated"));
  assert.ok(streams.every(({ closed }) => closed));
});

Deno.test("HttpClient ends the connection of a guest that lets go", async () => {
  const { streams, dialer } = fakeDialer(() => new FakeStream(() => {}));
  const client = new HttpClient(dialer);
  const { pipe, abort } = fakePipe();
  const answered = client.call(REQUEST, pipe);
  await new Promise((resolve) => setTimeout(resolve, 2));
  abort.abort();
  assert.ok(streams[0]!.closed);
  await assert.rejects(answered);
  assert.equal(client.connections, 0);
});

Deno.test("HttpClient says why a connection did not come about", async () => {
  const cases: [NetworkErrorCode, string, string?][] = [
    ["access-denied", "HTTP-request-denied"],
    ["address-prohibited", "destination-IP-prohibited"],
    ["name-unresolvable", "DNS-error"],
    ["temporary-resolver-failure", "DNS-error"],
    ["timeout", "DNS-timeout"],
    ["connection-refused", "connection-refused"],
    ["connection-reset", "connection-terminated"],
    ["remote-unreachable", "destination-unavailable"],
    ["new-socket-limit", "connection-limit-reached"],
    ["tls-certificate", "TLS-certificate-error"],
    ["tls-protocol", "TLS-protocol-error"],
    ["tls-protocol", "TLS-alert-received", "received fatal alert: HandshakeFailure"],
    ["unknown", "internal-error"],
  ];
  for (const [code, tag, message] of cases) {
    const dial = () => Promise.reject(new NetworkError(code, message));
    const client = new HttpClient({ dial, dialTls: dial });
    assert.equal(await send(client, REQUEST), tag);
    assert.equal(client.connections, 0);
  }
});

Deno.test("HttpClient believes nothing that a Worker says", async () => {
  const { streams, dialer } = fakeDialer();
  const client = new HttpClient(dialer);
  const wrong: Record<string, unknown>[] = [
    { method: "GET / HTTP/1.1\r\nx:" },
    { method: "CONNECT" },
    { method: 1 },
    { scheme: "file" },
    { authority: "a.example\r\nx: y" },
    { authority: "me@a.example" },
    { authority: "a.example:0" },
    { authority: "a.example:99999" },
    { authority: "[::1" },
    { authority: "" },
    { path: "a" },
    { path: "/ HTTP/1.1\r\nx: y" },
    { path: "/\u0100" },
    { headers: [["a\r\nb", "c"]] },
    { headers: [["a", "b\r\nc: d"]] },
    { headers: [["a", "\u0100"]] },
    { headers: [["transfer-encoding", "chunked"]] },
    { headers: [["content-length", "1"]] },
    { headers: [["host", "b.example"]] },
    { headers: [["a"]] },
    { headers: "a" },
    { body: -1 },
    { body: 1.5 },
    { body: "some" },
    { firstByteTimeoutMs: NaN },
    { connectTimeoutMs: -1 },
    { betweenBytesTimeoutMs: 2 ** 40 },
  ];
  for (const part of wrong) {
    const tag = await send(client, { ...REQUEST, ...part });
    assert.match(tag, /^HTTP-(protocol-error|request-URI-invalid)$/, JSON.stringify(part));
  }
  for (const given of [null, undefined, 1, "x", []]) {
    assert.equal(await send(client, given), "HTTP-protocol-error");
  }
  assert.equal(streams.length, 0);
  const post = { ...REQUEST, method: "POST" };
  const smuggled = [dataChunk(bytesOf("x")), tailChunk([["content-length", "1"], ["a", "b"]])];
  assert.equal(await send(client, { ...post, body: "chunked" }, smuggled), "ok");
  assert.match(streams[0]!.written, /\r\n1\r\nx\r\n0\r\na: b\r\n\r\n$/, "no framing in trailers");
  await client.close();

  const silent = fakeDialer(() => new FakeStream(() => {}));
  const other = new HttpClient(silent.dialer);
  const cases: [ExchangeRequest["body"], Uint8Array[], string][] = [
    ["chunked", [tailChunk([["a", "b\r\nc: d"]])], "HTTP-protocol-error"],
    [3, [dataChunk(bytesOf("GET / HTTP/1.1\r\n\r\n")), tailChunk([])], "HTTP-request-body-size"],
    [3, [dataChunk(bytesOf("x")), tailChunk([])], "HTTP-request-body-size"],
  ];
  for (const [body, chunks, tag] of cases) {
    assert.equal(await send(other, { ...post, body }, chunks), tag);
    const { written, closed } = silent.streams.at(-1)!;
    assert.doesNotMatch(written, /c: d|GET/);
    assert.ok(closed);
  }
  await other.close();
});

Deno.test("HttpClient goes on with the trace of the guest, else of the request that it answers", async () => {
  const started: (string | undefined)[] = [];
  const ended: [Readonly<Record<string, unknown>> | undefined, string | undefined][] = [];
  const tracer: Tracer = {
    unrecorded: (parent) => parent,
    start: (name, { parent, service, kind }) => {
      started.push(`${kind} ${service} ${name} ${parent}`);
      return parent === undefined ? undefined : {
        traceparent: "of-the-span",
        end: (attributes, problem) => void ended.push([attributes, problem]),
      };
    },
  };
  const { streams, dialer } = fakeDialer(({ host }) => {
    if (host === "b.example") throw new NetworkError("access-denied", "no");
    return new FakeStream();
  });
  const client = new HttpClient(dialer, { tracer, component: "orders" });
  await send(client, { ...REQUEST, trace: "of-the-request" });
  await send(client, {
    ...REQUEST,
    headers: [["traceparent", "of-the-guest"]],
    trace: "of-the-request",
  });
  await send(client, REQUEST);
  await send(client, { ...REQUEST, authority: "b.example", trace: "of-the-request" });
  await send(client, { ...REQUEST, trace: 7 });
  await client.close();
  const start = "client orders GET";
  assert.deepEqual(started, [
    `${start} of-the-request`,
    `${start} of-the-guest`,
    `${start} undefined`,
    `${start} of-the-request`,
  ]);
  const heads = streams.flatMap(({ written }) => written.split("\r\n\r\n").slice(0, -1));
  const said = heads.map((head) => /traceparent: (.*)/i.exec(head)?.[1]);
  assert.deepEqual(said, ["of-the-span", "of-the-span", undefined]);
  const about = { "http.request.method": "GET", "server.address": "a.example" };
  const done = [{ ...about, "http.response.status_code": 200 }, undefined];
  const denied = [{ ...about, "server.address": "b.example" }, "HTTP-request-denied"];
  assert.deepEqual(ended, [done, done, denied]);
});
