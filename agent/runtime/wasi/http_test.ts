import assert from "node:assert/strict";
import { createFixture, type Fixture, thrown, trapOf } from "./context_fixture.ts";
import type { BodySource } from "./http_body.ts";
import { FIELDS_BYTES_MAX } from "./http_fields.ts";
import type { ResponseResult } from "./host.ts";

const bytes = (value: string) => new TextEncoder().encode(value);
const text = (value: Uint8Array) => new TextDecoder().decode(value);
const types = (f: Fixture) => f.get("wasi:http/types");

const HEAD = {
  method: "POST",
  scheme: "http",
  authority: "shop.example:8080",
  pathWithQuery: "/a?b=c",
  headers: [["X-One", bytes("1")], ["x-one", bytes("2")], ["Connection", bytes("close")]] as [
    string,
    Uint8Array,
  ][],
};

function bodyOf(chunks: (string | null | object)[], trailers?: [string, Uint8Array][]) {
  const state = { cancelled: 0, reads: 0 };
  const source: BodySource = {
    read() {
      state.reads++;
      const next = chunks.shift();
      if (next === undefined) return new Promise(() => {});
      if (next === null) return Promise.resolve(null);
      if (typeof next === "string") return Promise.resolve(bytes(next));
      return Promise.reject(next);
    },
    trailers: () => trailers,
    cancel: () => void state.cancelled++,
  };
  return { source, state };
}

function respond(f: Fixture) {
  const responses: ResponseResult[] = [];
  const param = f.wasi.http.createResponseOutparam((response) => void responses.push(response));
  return { param, responses };
}

/** The stream error that a read ends with. */
async function rejection(read: unknown): Promise<{ tag: string; val: object }> {
  try {
    await read;
  } catch (error) {
    return error as { tag: string; val: object };
  }
  throw new Error("Expected a rejection");
}

/** Sets a response with these headers; its guest side and its host side. */
function response(f: Fixture, headers: [string, Uint8Array][] = []) {
  const { OutgoingResponse, Fields, ResponseOutparam, OutgoingBody } = types(f);
  const { param, responses } = respond(f);
  const message = new OutgoingResponse(Fields.fromList(headers));
  const body = message.body();
  ResponseOutparam.set(param, { tag: "ok", val: message });
  const result = responses[0]!;
  assert.ok("body" in result);
  return { body, result, finish: (t?: object) => OutgoingBody.finish(body, t) };
}

Deno.test("fields keep, replace and remove values, by names of any case", () => {
  const { Fields } = types(createFixture());
  const fields = new Fields();
  fields.append("X-A", bytes("1"));
  fields.append("x-a", bytes("2"));
  fields.set("b", [bytes("3")]);
  assert.deepEqual(fields.get("X-a").map(text), ["1", "2"]);
  assert.deepEqual(fields.entries().map(([n, v]: [string, Uint8Array]) => [n, text(v)]), [
    ["x-a", "1"],
    ["x-a", "2"],
    ["b", "3"],
  ]);
  assert.equal(fields.has("B"), true);
  fields.set("b", []);
  assert.equal(fields.has("b"), false);
  fields.delete("x-A");
  assert.deepEqual(fields.get("x-a"), []);
  assert.equal(fields.has("not a name"), false);
  assert.ok(fields instanceof Fields);
});

Deno.test("fields refuse names, values and lengths that no message may have", () => {
  const { Fields } = types(createFixture());
  const append = (name: string, value: string) => () => new Fields().append(name, bytes(value));
  const table: [() => unknown, string][] = [
    [append("", "x"), "invalid-syntax"],
    [append("a b", "x"), "invalid-syntax"],
    [append("naïve", "x"), "invalid-syntax"],
    [append("a\r\nb", "x"), "invalid-syntax"],
    [append("a", "x\r\ny: z"), "invalid-syntax"],
    [append("a", "x\0"), "invalid-syntax"],
    [append("content-length", "-1"), "invalid-syntax"],
    [append("content-length", ""), "invalid-syntax"],
    [() => new Fields().set("content-length", [bytes("1"), bytes("1")]), "invalid-syntax"],
    [append("Host", "x"), "forbidden"],
    [append("transfer-encoding", "chunked"), "forbidden"],
    [() => new Fields().set("connection", []), "forbidden"],
    [() => new Fields().delete("Upgrade"), "forbidden"],
    [() => Fields.fromList([["keep-alive", bytes("1")]]), "forbidden"],
    [
      () => Fields.fromList([["content-length", bytes("1")], ["Content-Length", bytes("1")]]),
      "invalid-syntax",
    ],
  ];
  for (const [act, tag] of table) assert.deepEqual(thrown(act), { tag });
  new Fields().append("a", bytes("tab\t and ü"));
});

Deno.test("fields are bounded by a trap", () => {
  const { Fields } = types(createFixture());
  const fields = new Fields();
  fields.set("a", [new Uint8Array(FIELDS_BYTES_MAX - 100).fill(65)]);
  fields.set("a", [new Uint8Array(FIELDS_BYTES_MAX - 100).fill(66)]);
  assert.match(trapOf(() => fields.append("b", new Uint8Array(100).fill(65))), /131072/);
  const many = new (types(createFixture()).Fields)();
  trapOf(() => {
    for (let i = 0; i < 10_000; i++) many.append("x", new Uint8Array());
  });
});

Deno.test("headers of a message are immutable, their copy is not", () => {
  const f = createFixture();
  const { Fields, OutgoingResponse } = types(f);
  const request = f.wasi.http.createIncomingRequest(HEAD, null);
  const response = new OutgoingResponse(Fields.fromList([["a", bytes("1")]]));
  for (const headers of [request.headers(), response.headers()]) {
    assert.deepEqual(thrown(() => headers.append("b", bytes("2"))), { tag: "immutable" });
    assert.deepEqual(thrown(() => headers.set("a", [])), { tag: "immutable" });
    assert.deepEqual(thrown(() => headers.delete("a")), { tag: "immutable" });
    const copy = headers.clone();
    copy.append("b", bytes("2"));
    assert.equal(headers.has("b"), false);
  }
  assert.equal(request.headers().has("connection"), false, "nothing of the connection");
});

Deno.test("headers of a request are read when the guest asks, where it may ask nobody itself", () => {
  const f = createFixture();
  let reads = 0;
  const head = {
    ...HEAD,
    get headers() {
      reads++;
      return HEAD.headers;
    },
  };
  const request = f.wasi.http.createIncomingRequest(head, null);
  assert.equal(reads, 0);
  assert.equal(request.headers().entries().length, 2);
  assert.equal(reads, 1);
});

Deno.test("incoming-request tells its head", () => {
  const f = createFixture();
  const request = f.wasi.http.createIncomingRequest(HEAD, null);
  assert.ok(request instanceof types(f).IncomingRequest);
  assert.deepEqual(request.method(), { tag: "post" });
  assert.deepEqual(request.scheme(), { tag: "HTTP" });
  assert.equal(request.authority(), "shop.example:8080");
  assert.equal(request.pathWithQuery(), "/a?b=c");
  assert.deepEqual(request.headers().get("x-one").map(text), ["1", "2"]);
  const odd = f.wasi.http.createIncomingRequest({ ...HEAD, method: "Purge" }, null);
  assert.deepEqual(odd.method(), { tag: "other", val: "Purge" });
});

Deno.test("incoming-body is read once, to its trailers", async () => {
  const f = createFixture();
  const { IncomingBody } = types(f);
  const { source, state } = bodyOf(["hello", null], [["x-sum", bytes("5")]]);
  const request = f.wasi.http.createIncomingRequest(HEAD, source);
  const body = request.consume();
  assert.equal(thrown(() => request.consume()), undefined);
  const stream = body.stream();
  assert.equal(thrown(() => body.stream()), undefined);
  assert.equal(text(await stream.blockingRead(3n)), "hel");
  assert.equal(text(await stream.blockingRead(9n)), "lo");
  await assert.rejects(async () => await stream.blockingRead(9n), { tag: "closed" });
  stream[Symbol.dispose]();
  const future = IncomingBody.finish(body);
  const result = future.get();
  assert.deepEqual(result.val.val.entries(), [["x-sum", bytes("5")]]);
  assert.deepEqual(future.get(), { tag: "err", val: undefined });
  assert.equal(state.cancelled, 0);
});

Deno.test("future-trailers reads what the guest left of the body", async () => {
  const f = createFixture();
  const { source } = bodyOf(["a", "b", "c", null]);
  const body = f.wasi.http.createIncomingRequest(HEAD, source).consume();
  const future = types(f).IncomingBody.finish(body);
  assert.equal(future.get(), undefined);
  await future.subscribe().block();
  assert.deepEqual(future.get(), { tag: "ok", val: { tag: "ok", val: undefined } });
});

Deno.test("a body that fails tells the stream or the trailers", async () => {
  const f = createFixture();
  const { IncomingBody, httpErrorCode } = types(f);
  const code = { tag: "connection-terminated" };
  const body = f.wasi.http.createIncomingRequest(HEAD, bodyOf(["a", code]).source).consume();
  const stream = body.stream();
  assert.equal(text(await stream.blockingRead(9n)), "a");
  const error = await rejection(stream.blockingRead(9n));
  assert.deepEqual(httpErrorCode(error.val), code);
  assert.deepEqual(thrown(() => stream.read(1n)), { tag: "closed" });
  stream[Symbol.dispose]();
  assert.deepEqual(IncomingBody.finish(body).get().val, { tag: "err", val: code });
  const other = f.wasi.http.createIncomingRequest(HEAD, bodyOf([new Error("reset")]).source);
  const failed = other.consume().stream();
  const why = await rejection(failed.blockingRead(9n));
  assert.deepEqual(httpErrorCode(why.val), { tag: "internal-error", val: "reset" });
});

Deno.test("a request or body that is dropped cancels what comes in", () => {
  const f = createFixture();
  const a = bodyOf([]), b = bodyOf([]), c = bodyOf([]);
  f.wasi.http.createIncomingRequest(HEAD, a.source)[Symbol.dispose]();
  const request = f.wasi.http.createIncomingRequest(HEAD, b.source);
  const body = request.consume();
  request[Symbol.dispose]();
  assert.equal(b.state.cancelled, 0, "the body lives on");
  body[Symbol.dispose]();
  const future = types(f).IncomingBody.finish(
    f.wasi.http.createIncomingRequest(HEAD, c.source).consume(),
  );
  future[Symbol.dispose]();
  assert.deepEqual([a, b, c].map((x) => x.state.cancelled), [1, 1, 1]);
});

Deno.test("a body with a live stream cannot be finished or dropped", () => {
  for (const act of ["finish", "drop"]) {
    for (const direction of ["in", "out"]) {
      const f = createFixture();
      const { IncomingBody, OutgoingBody, OutgoingResponse, Fields } = types(f);
      const body = direction === "in"
        ? f.wasi.http.createIncomingRequest(HEAD, null).consume()
        : new OutgoingResponse(new Fields()).body();
      if (direction === "in") body.stream();
      else body.write();
      const type = direction === "in" ? IncomingBody : OutgoingBody;
      assert.match(
        trapOf(() => act === "finish" ? type.finish(body) : body[Symbol.dispose]()),
        /children/,
      );
    }
  }
});

Deno.test("a response goes out with status, headers, body and trailers", async () => {
  const f = createFixture();
  const { OutgoingResponse, Fields, ResponseOutparam, OutgoingBody } = types(f);
  const { param, responses } = respond(f);
  const message = new OutgoingResponse(Fields.fromList([["content-type", bytes("text/plain")]]));
  assert.equal(message.statusCode(), 200);
  message.setStatusCode(404);
  for (const bad of [0, 99, 1000]) {
    assert.equal(thrown(() => message.setStatusCode(bad)), undefined);
  }
  const body = message.body();
  assert.equal(thrown(() => message.body()), undefined);
  ResponseOutparam.set(param, { tag: "ok", val: message });
  const [result] = responses;
  assert.ok(result && "body" in result);
  assert.equal(result.status, 404);
  assert.deepEqual(result.headers, [["content-type", bytes("text/plain")]]);
  const stream = body.write();
  assert.equal(thrown(() => body.write()), undefined);
  const first = result.body.read();
  stream.blockingWriteAndFlush(bytes("one"));
  stream.write(bytes("two"));
  assert.equal(text((await first)!), "one");
  assert.equal(text((await result.body.read())!), "two");
  stream[Symbol.dispose]();
  OutgoingBody.finish(body, Fields.fromList([["x-sum", bytes("6")]]));
  assert.equal(await result.body.read(), null);
  assert.deepEqual(result.body.trailers(), [["x-sum", bytes("6")]]);
});

Deno.test("a response without a body is empty", async () => {
  const f = createFixture();
  const { OutgoingResponse, Fields, ResponseOutparam } = types(f);
  const { param, responses } = respond(f);
  ResponseOutparam.set(param, { tag: "ok", val: new OutgoingResponse(new Fields()) });
  const [result] = responses;
  assert.ok(result && "body" in result);
  assert.equal(await result.body.read(), null);
});

Deno.test("a body pushes back at 64 KiB until the host reads", async () => {
  const f = createFixture();
  const { body, result } = response(f);
  const stream = body.write();
  stream.write(new Uint8Array(65_536));
  assert.equal(stream.checkWrite(), 0n);
  const waiting = stream.blockingWriteAndFlush(bytes("more"));
  assert.ok(waiting instanceof Promise);
  assert.equal((await result.body.read())!.length, 65_536);
  await waiting;
  assert.equal(text((await result.body.read())!), "more");
});

Deno.test("a body joins small writes", async () => {
  const f = createFixture();
  const { body, result } = response(f);
  const stream = body.write();
  for (let i = 0; i < 3000; i++) stream.write(Uint8Array.of(i));
  const chunks: Uint8Array[] = [];
  for (let taken = result.body.take(); taken; taken = result.body.take()) chunks.push(taken);
  assert.ok(chunks.length < 25, `${chunks.length}`);
  assert.deepEqual(chunks.flatMap((c) => [...c]), Array.from({ length: 3000 }, (_, i) => i & 0xff));
});

Deno.test("a reader that goes away closes the guest's stream", async () => {
  const f = createFixture();
  const { body, result } = response(f);
  const stream = body.write();
  stream.write(new Uint8Array(65_536));
  const waiting = stream.subscribe().block();
  result.body.cancel();
  await waiting;
  assert.deepEqual(thrown(() => stream.checkWrite()), { tag: "closed" });
  assert.deepEqual(thrown(() => stream.write(bytes("x"))), { tag: "closed" });
});

Deno.test("a body that is dropped before its end fails at the reader", async () => {
  const f = createFixture();
  const { body, result } = response(f);
  const stream = body.write();
  stream.write(bytes("half"));
  stream[Symbol.dispose]();
  body[Symbol.dispose]();
  assert.equal(text((await result.body.read())!), "half");
  await assert.rejects(result.body.read(), { tag: "HTTP-protocol-error" });
  assert.equal(result.body.trailers(), undefined);
});

Deno.test("a body that is not as long as promised is an error on both sides", async () => {
  const length = (n: number): [string, Uint8Array][] => [["content-length", bytes(String(n))]];
  const short = response(createFixture(), length(5));
  const stream = short.body.write();
  stream.write(bytes("abc"));
  stream[Symbol.dispose]();
  const error = { tag: "HTTP-response-body-size", val: 3n };
  assert.deepEqual(thrown(() => short.finish()), error);
  await short.result.body.read();
  await assert.rejects(short.result.body.read(), error);

  const f = createFixture();
  const long = response(f, length(2));
  const failed = thrown(() => long.body.write().write(bytes("abc"))) as {
    tag: string;
    val: object;
  };
  assert.equal(failed.tag, "last-operation-failed");
  assert.deepEqual(types(f).httpErrorCode(failed.val), error);

  const exact = response(createFixture(), length(3));
  const out = exact.body.write();
  out.write(bytes("abc"));
  out[Symbol.dispose]();
  exact.finish();
  assert.equal(text((await exact.result.body.read())!), "abc");
  assert.equal(await exact.result.body.read(), null);
});

Deno.test("response-outparam reports an error, and a guest that drops it", () => {
  const f = createFixture();
  const { param, responses } = respond(f);
  const code = { tag: "internal-error", val: "sorry" };
  types(f).ResponseOutparam.set(param, { tag: "err", val: code });
  assert.deepEqual(responses, [{ error: code }]);
  const dropped = respond(f);
  dropped.param[Symbol.dispose]();
  dropped.param[Symbol.dispose]();
  assert.equal(dropped.responses.length, 1);
  assert.ok("error" in dropped.responses[0]!);
  const twice = respond(f);
  types(f).ResponseOutparam.set(twice.param, { tag: "err", val: code });
  const again = () => types(f).ResponseOutparam.set(twice.param, { tag: "err", val: code });
  assert.match(trapOf(again), /already/);
  const g = createFixture();
  const informational = () => respond(g).param.sendInformational(103, new (types(g).Fields)());
  assert.match(trapOf(informational), /informational/);
});

Deno.test("many requests leave no handles behind", () => {
  const f = createFixture();
  const { OutgoingResponse, Fields, ResponseOutparam, OutgoingBody, IncomingBody } = types(f);
  for (let i = 0; i < 3000; i++) {
    const request = f.wasi.http.createIncomingRequest(HEAD, null);
    const { param } = respond(f);
    IncomingBody.finish(request.consume())[Symbol.dispose]();
    request[Symbol.dispose]();
    const message = new OutgoingResponse(new Fields());
    const body = message.body();
    ResponseOutparam.set(param, { tag: "ok", val: message });
    body.write()[Symbol.dispose]();
    OutgoingBody.finish(body, Fields.fromList([]));
  }
});

Deno.test("outgoing-request and request-options keep what is valid", () => {
  const { OutgoingRequest, Fields, RequestOptions, OutgoingBody } = types(createFixture());
  const request = new OutgoingRequest(Fields.fromList([["content-length", bytes("1")]]));
  assert.deepEqual(request.method(), { tag: "get" });
  request.setMethod({ tag: "other", val: "PURGE" });
  request.setPathWithQuery("/a?b");
  request.setScheme({ tag: "HTTPS" });
  request.setAuthority("example.com:443");
  assert.deepEqual(request.method(), { tag: "other", val: "PURGE" });
  assert.equal(request.pathWithQuery(), "/a?b");
  assert.deepEqual(request.scheme(), { tag: "HTTPS" });
  assert.equal(request.authority(), "example.com:443");
  for (
    const act of [
      () => request.setMethod({ tag: "other", val: "BAD METHOD" }),
      () => request.setPathWithQuery("no-slash"),
      () => request.setPathWithQuery("/a b"),
      () => request.setPathWithQuery("/a\r\nx"),
      () => request.setScheme({ tag: "other", val: "1x" }),
      () => request.setAuthority("a/b"),
      () => request.setAuthority("a b"),
      // The host keeps these: they may not add up to more than it has.
      () => request.setAuthority("a".repeat(10_000)),
      () => request.setPathWithQuery(`/${"a".repeat(10_000)}`),
      () => request.setMethod({ tag: "other", val: "A".repeat(10_000) }),
    ]
  ) assert.equal(thrown(act), undefined);
  assert.equal(request.headers().has("content-length"), true);
  const size = thrown(() => OutgoingBody.finish(request.body(), undefined));
  assert.deepEqual(size, { tag: "HTTP-request-body-size", val: 0n });
  assert.equal(thrown(() => request.body()), undefined);
  const options = new RequestOptions();
  assert.equal(options.connectTimeout(), undefined);
  options.setConnectTimeout(1n);
  options.setFirstByteTimeout(2n);
  options.setBetweenBytesTimeout(3n);
  assert.deepEqual([
    options.connectTimeout(),
    options.firstByteTimeout(),
    options.betweenBytesTimeout(),
  ], [1n, 2n, 3n]);
});

Deno.test("outgoing-handler refuses and names the grant", () => {
  const f = createFixture();
  const { OutgoingRequest, Fields, RequestOptions } = types(f);
  const { handle } = f.get("wasi:http/outgoing-handler");
  const request = () => new OutgoingRequest(new Fields());
  assert.deepEqual(thrown(() => handle(request(), undefined)), { tag: "HTTP-request-denied" });
  assert.deepEqual(thrown(() => handle(request(), new RequestOptions())), {
    tag: "HTTP-request-denied",
  });
  assert.equal(f.notices.length, 1);
  assert.match(f.notices[0]!.join(" "), /outgoing-handler#handle allowed_outbound/);
});

Deno.test("a constructor takes no more arguments than the interface gives it", () => {
  const f = createFixture();
  const { Fields } = types(f);
  // A guest declares itself what it calls a constructor with; entries must pass the checks.
  const fields = new Fields([["x\ninjected", bytes("1")], ["host", bytes("2")]], true);
  assert.deepEqual(fields.entries(), []);
  fields.append("x", bytes("1"));
});
