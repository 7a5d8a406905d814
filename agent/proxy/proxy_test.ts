import assert from "node:assert/strict";
import { RealmError } from "../kernel/error.ts";
import type { HandlerRequest, HandlerResponse, Replica } from "../kernel/ports.ts";
import { type RequestRecord, type RouteDecision, serveHandler, serveProxy } from "./proxy.ts";
import { Upstream } from "./upstream.ts";

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const encode = (text: string) => new TextEncoder().encode(text);

function replicaOf(handle: (request: HandlerRequest) => Promise<HandlerResponse>): Replica {
  return { exited: new Promise(() => {}), handle } as never;
}

/** Never answers; rejects when the request is aborted. */
const hanging = (aborted: unknown[] = []) =>
  replicaOf((request) =>
    new Promise((_, reject) =>
      request.signal.addEventListener("abort", () => {
        aborted.push(request.signal.reason.name);
        reject(request.signal.reason);
      })
    )
  );

interface Setup {
  readonly replicas?: readonly Replica[];
  readonly maxConcurrency?: number;
  readonly queueMax?: number;
  readonly requestTimeoutMs?: number;
  readonly route?: (request: { host: string; path: string }) => Partial<RouteDecision> | undefined;
}

/** A proxy with one component `"shop"` on a free port, for the time of `use`. */
async function withProxy(
  setup: Setup,
  use: (
    proxy: { base: string; port: number; upstream: Upstream; records: RequestRecord[] },
  ) => Promise<void>,
): Promise<void> {
  const { maxConcurrency = 8, requestTimeoutMs = 5000, queueMax = 8 } = setup;
  const options = { component: "shop", maxConcurrency, requestTimeoutMs, queueMax };
  const upstream = new Upstream(options, setup.replicas ?? []);
  const records: RequestRecord[] = [];
  const server = serveProxy({
    hostname: "127.0.0.1",
    port: 0,
    urlBytesMax: 500,
    headerBytesMax: 2000,
    route(request) {
      const decision = setup.route ? setup.route(request) : {};
      return decision && { route: "/...", upstream, ...decision };
    },
    onRequest: (record) => records.push(record),
  });
  try {
    await use({ base: `http://127.0.0.1:${server.port}`, port: server.port, upstream, records });
  } finally {
    await server.close();
  }
}

/** Sends raw text, returns what came until the end, or for a minute. */
async function raw(port: number, text: string): Promise<string> {
  const connection = await Deno.connect({ hostname: "127.0.0.1", port });
  const late = setTimeout(() => connection.close(), 60_000);
  await connection.write(encode(text));
  let answer = "";
  const buffer = new Uint8Array(65536);
  try {
    for (let n; (n = await connection.read(buffer)) !== null;) {
      answer += new TextDecoder().decode(buffer.subarray(0, n));
    }
    clearTimeout(late);
    connection.close();
  } catch (e) {
    if (!(e instanceof Deno.errors.Interrupted || e instanceof Deno.errors.BadResource)) throw e;
  }
  return answer;
}

/** Waits until it holds: what a server does after a response was read is not in step with us. */
async function eventually(holds: () => boolean, what: string): Promise<void> {
  for (let i = 0; i < 3_000; i++) {
    if (holds()) return;
    await sleep(10);
  }
  assert.fail(`never: ${what}`);
}

const outcomes = (records: RequestRecord[]) => records.map((r) => `${r.status} ${r.outcome}`);

Deno.test("serveProxy() hands over method, path, query, headers and body", async () => {
  const replica = replicaOf(async (r) => {
    const body = await new Response(r.body as never).text();
    return Response.json({ method: r.method, url: r.url, headers: [...r.headers], body });
  });
  await withProxy({ replicas: [replica] }, async ({ base, records }) => {
    const response = await fetch(`${base}/a/b?c=%20d`, {
      method: "POST",
      body: "hello",
      headers: { "x-own": "1", "x-forwarded-for": "6.6.6.6" },
    });
    const seen = await response.json();
    const headers = Object.fromEntries(seen.headers);
    assert.equal(seen.method, "POST");
    assert.equal(seen.url, `${base}/a/b?c=%20d`);
    assert.equal(seen.body, "hello");
    assert.equal(headers["x-own"], "1");
    assert.equal(headers["x-forwarded-for"], "127.0.0.1");
    assert.equal(headers["x-forwarded-proto"], "http");
    assert.equal(headers.host, new URL(base).host);
    await eventually(() => records.length === 1, "a record");
    const { route, component, status, outcome, durationMs } = records[0]!;
    assert.deepEqual([route, component, status, outcome], ["/...", "shop", 200, "ok"]);
    assert.ok(durationMs > 0 && durationMs < 60_000);
  });
});

Deno.test("serveProxy() answers 502 for a status that no response has, and keeps its places", async () => {
  for (const status of [100, 101, 199, 600, 999]) {
    const replica = replicaOf(() => Promise.resolve({ status, headers: [], body: null }));
    await withProxy({ replicas: [replica] }, async ({ base, records }) => {
      const response = await fetch(base);
      assert.equal(response.status, 502);
      assert.match(await response.text(), new RegExp(`${status}`));
      await eventually(() => records.length === 1, "a record");
      assert.equal(records[0]!.outcome, "failed");
    });
  }
});

Deno.test("serveProxy() takes the prefix off and says so", async () => {
  const replica = replicaOf(async (r) =>
    Response.json([new URL(r.url).pathname, new Headers([...r.headers]).get("x-forwarded-prefix")])
  );
  const route = ({ path }: { path: string }) => ({ path: path.slice("/auth".length) || "/" });
  await withProxy({ replicas: [replica], route }, async ({ base }) => {
    const get = async (path: string) => await (await fetch(base + path)).json();
    assert.deepEqual(await get("/auth/login?x=1"), ["/login", "/auth"]);
    assert.deepEqual(await get("/auth"), ["/", "/auth"]);
    assert.deepEqual(await get("/auth/"), ["/", "/auth"]);
  });
});

Deno.test("serveProxy() routes by the host and by the path without dot segments", async () => {
  const seen: { host: string; path: string }[] = [];
  const route = (request: { host: string; path: string }) => void seen.push(request);
  await withProxy({ route }, async ({ port, records }) => {
    const get = (target: string, host: string) =>
      raw(port, `GET ${target} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
    const answer = await get("/public/../admin/%2e%2e/x?q", "Shop.Example:81");
    assert.match(answer, /^HTTP\/1\.1 404 /);
    assert.match(answer, /404 no route for shop\.example:81\/x\n$/);
    await get("http://other.example/y", "ignored");
    assert.deepEqual(seen, [
      { host: "shop.example:81", path: "/x" },
      { host: "other.example", path: "/y" },
    ]);
    assert.deepEqual(outcomes(records), ["404 no-route", "404 no-route"]);
  });
});

Deno.test("serveProxy() refuses what is not a plain request", async () => {
  const replica = replicaOf(() => Promise.reject(new Error("must not be reached")));
  await withProxy({ replicas: [replica] }, async ({ port }) => {
    const status = async (text: string) => (await raw(port, text)).split(" ")[1];
    const close = "Connection: close\r\n\r\n";
    assert.equal(await status(`GET / HTTP/1.1\r\nHost: a/../b\r\n${close}`), "400");
    assert.equal(await status(`GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n${close}`), "400");
    assert.equal(await status(`GET / HTTP/1.1\r\nHost: u@b\r\n${close}`), "400");
    assert.equal(await status(`GET /${"x".repeat(600)} HTTP/1.1\r\nHost: a\r\n${close}`), "414");
    assert.equal(
      await status(`GET / HTTP/1.1\r\nHost: a\r\nX: ${"x".repeat(2000)}\r\n${close}`),
      "431",
    );
    const upgrade = "Upgrade: websocket\r\nConnection: upgrade, close\r\n\r\n";
    assert.equal(await status(`GET / HTTP/1.1\r\nHost: a\r\n${upgrade}`), "501");
    assert.equal(await status(`CONNECT a:1 HTTP/1.1\r\nHost: a\r\n${close}`), "501");
    assert.equal(await status(`TRACE / HTTP/1.1\r\nHost: a\r\n${close}`), "501");
  });
});

Deno.test("serveProxy() answers 503 without a replica, in JSON where asked", async () => {
  await withProxy({}, async ({ base, records }) => {
    const text = await fetch(base);
    assert.equal(text.status, 503);
    assert.equal(text.headers.get("retry-after"), "1");
    assert.equal(await text.text(), '503 component "shop": no healthy replica\n');
    const json = await fetch(base, { headers: { accept: "application/json" } });
    assert.deepEqual(await json.json(), {
      error: { code: "no-replica", status: 503, component: "shop", reason: "no healthy replica" },
    });
    await eventually(() => records.length === 2, "two records");
    assert.deepEqual(outcomes(records), ["503 no-replica", "503 no-replica"]);
  });
});

Deno.test("serveProxy() answers 502 when the component traps, and tells only us why", async () => {
  const error = new RealmError("epoch-timeout", "secret /host/path");
  const replica = replicaOf(() => Promise.reject(error));
  await withProxy({ replicas: [replica] }, async ({ base, records, upstream }) => {
    const response = await fetch(base);
    assert.equal(response.status, 502);
    const body = await response.text();
    assert.match(body, /^502 component "shop": it trapped: .*epoch_timeout_ms\n$/);
    await eventually(() => records.length === 1, "a record");
    assert.deepEqual(outcomes(records), ["502 failed"]);
    assert.equal(records[0]!.error, error);
    assert.deepEqual(upstream.load, { inFlight: 0, waiting: 0 });
  });
});

Deno.test("serveProxy() answers 504 in time and aborts the component's request", async () => {
  // Before a client is watched, and after.
  for (const requestTimeoutMs of [5, 80]) await answers504(requestTimeoutMs);
});

async function answers504(requestTimeoutMs: number) {
  const aborted: unknown[] = [];
  const setup = { replicas: [hanging(aborted)], requestTimeoutMs };
  await withProxy(setup, async ({ base, records, upstream }) => {
    const response = await fetch(base);
    assert.equal(response.status, 504);
    assert.equal(
      await response.text(),
      `504 component "shop": no response within ${requestTimeoutMs} ms\n`,
    );
    assert.deepEqual(aborted, ["TimeoutError"]);
    await eventually(() => records.length === 1, "a record");
    assert.deepEqual(outcomes(records), ["504 timeout"]);
    assert.equal(upstream.load.inFlight, 0);
  });
}

Deno.test("a replica that ignores an abort stays busy until it answers", async () => {
  const late = Promise.withResolvers<Response>();
  let isCanceled = false;
  const body = new ReadableStream({ cancel: () => void (isCanceled = true) });
  const setup = { replicas: [replicaOf(() => late.promise)], requestTimeoutMs: 50 };
  await withProxy(setup, async ({ base, upstream }) => {
    assert.equal((await (await fetch(base)).text()).slice(0, 3), "504");
    assert.equal(upstream.load.inFlight, 1);
    late.resolve(new Response(body));
    await eventually(() => upstream.load.inFlight === 0 && isCanceled, "given back");
  });
});

Deno.test("maxConcurrency holds: more wait, and more than those are turned away", async () => {
  let running = 0;
  let most = 0;
  const gate = Promise.withResolvers<void>();
  const replica = replicaOf(async () => {
    most = Math.max(most, ++running);
    await gate.promise;
    running--;
    return new Response("done");
  });
  const setup = { replicas: [replica], maxConcurrency: 2, queueMax: 3 };
  await withProxy(setup, async ({ base, upstream, records }) => {
    const asked = Array.from({ length: 9 }, () => fetch(base));
    await eventually(() => records.length === 4, "those for whom there is no place are sent away");
    gate.resolve();
    const responses = await Promise.all(asked);
    const statuses = responses.map((r) => r.status).sort();
    await Promise.all(responses.map((r) => r.body?.cancel()));
    assert.deepEqual(statuses, [200, 200, 200, 200, 200, 503, 503, 503, 503]);
    assert.equal(responses.find((r) => r.status === 503)!.headers.get("retry-after"), "1");
    assert.equal(most, 2);
    await eventually(() => records.length === 9, "all records");
    assert.equal(records.filter((r) => r.outcome === "overloaded").length, 4);
    assert.deepEqual(upstream.load, { inFlight: 0, waiting: 0 });
  });
});

Deno.test("who waits for a replica for too long gets 503", async () => {
  // It ignores that its own request is aborted, so that its place is not free in time.
  const late = Promise.withResolvers<Response>();
  const setup = {
    replicas: [replicaOf(() => late.promise)],
    maxConcurrency: 1,
    requestTimeoutMs: 100,
  };
  await withProxy(setup, async ({ base, upstream }) => {
    const first = fetch(base);
    await eventually(() => upstream.load.inFlight === 1, "the first is there");
    const second = await fetch(base);
    assert.equal(second.status, 503);
    assert.match(await second.text(), /no replica was free within 100 ms/);
    late.resolve(new Response("x"));
    await (await first).body?.cancel();
    await eventually(() => upstream.load.inFlight === 0, "given back");
  });
});

Deno.test("serveProxy() streams both ways as it comes", async () => {
  const replica = replicaOf(async (r) => new Response(r.body as never));
  await withProxy({ replicas: [replica] }, async ({ base, records, upstream }) => {
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
    const writer = writable.getWriter();
    void writer.write(encode("1"));
    const response = await fetch(base, { method: "POST", body: readable as never });
    const reader = response.body!.getReader();
    const decode = async () => new TextDecoder().decode((await reader.read()).value);
    assert.equal(await decode(), "1");
    // The second part is sent only after the first came back: nobody waited for the whole.
    void writer.write(encode("2"));
    assert.equal(await decode(), "2");
    assert.equal(upstream.load.inFlight, 1);
    await writer.close();
    assert.equal((await reader.read()).done, true);
    await eventually(() => records.length === 1, "a record");
    assert.deepEqual(outcomes(records), ["200 ok"]);
    assert.equal(upstream.load.inFlight, 0);
  });
});

Deno.test("server-sent events pass at once, also to who accepts compression", async () => {
  let push: (text: string) => void = () => {};
  const stream = new ReadableStream<Uint8Array>({
    start: (controller) => {
      push = (text) => controller.enqueue(encode(text));
    },
  });
  const headers = { "content-type": "text/event-stream" };
  const replica = replicaOf(async () => new Response(stream as never, { headers }));
  // A body may take longer than the time-out for its head.
  const setup = { replicas: [replica], requestTimeoutMs: 60 };
  await withProxy(setup, async ({ base }) => {
    const response = await fetch(base, { headers: { "accept-encoding": "gzip, br" } });
    const reader = response.body!.getReader();
    for (const event of ["data: 1\n\n", "data: 2\n\n"]) {
      await sleep(80);
      push(event);
      assert.equal(new TextDecoder().decode((await reader.read()).value), event);
    }
    await reader.cancel();
  });
});

Deno.test("a client that leaves before the response aborts the component's request", async () => {
  const aborted: unknown[] = [];
  const hold = hanging(aborted);
  const replica = replicaOf(async (request) =>
    request.url.endsWith("/hold") ? await hold.handle!(request) : new Response("quick")
  );
  const setup = { replicas: [replica], maxConcurrency: 64, requestTimeoutMs: 300_000 };
  await withProxy(setup, async ({ base, records, upstream }) => {
    const leave = async (count: number, stayMs: number) => {
      const controller = new AbortController();
      const { signal } = controller;
      const gone = Array.from(
        { length: count },
        () => assert.rejects(fetch(`${base}/hold`, { signal })),
      );
      await eventually(() => upstream.load.inFlight === count, "in flight");
      await sleep(stayMs);
      controller.abort();
      await Promise.all(gone);
      await eventually(() => records.length === count, "records");
      assert.deepEqual(aborted.splice(0), Array(count).fill("AbortError"));
      assert.deepEqual(outcomes(records.splice(0)), Array(count).fill("499 canceled"));
      assert.equal(upstream.load.inFlight, 0);
    };
    await leave(1, 0);
    // Where those before were answered at once.
    assert.equal(await (await fetch(base)).text(), "quick");
    await eventually(() => records.splice(0).length === 1, "a record");
    await leave(1, 0);
    await leave(1, 60);
    // At once, of a component that is slow.
    await leave(60, 0);
  });
});

Deno.test("a client that leaves while the body streams cancels it", async () => {
  let isCanceled = false;
  let signal: AbortSignal | undefined;
  const replica = replicaOf(async (request) => {
    signal = request.signal;
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => controller.enqueue(encode("first")),
      cancel: () => void (isCanceled = true),
    });
    return new Response(body as never);
  });
  await withProxy({ replicas: [replica] }, async ({ base, records, upstream }) => {
    const response = await fetch(base);
    const reader = response.body!.getReader();
    await reader.read();
    assert.equal(signal!.aborted, false);
    await reader.cancel();
    await eventually(() => isCanceled && signal!.aborted, "cancelled");
    await eventually(() => records.length === 1, "a record");
    assert.deepEqual(outcomes(records), ["200 incomplete"]);
    assert.equal(upstream.load.inFlight, 0);
  });
});

Deno.test("a response that was sent does not abort the component, which may still work", async () => {
  let signal: AbortSignal | undefined;
  const replica = replicaOf(async (request) => {
    signal = request.signal;
    await sleep(60);
    return new Response("done");
  });
  await withProxy({ replicas: [replica] }, async ({ base, records }) => {
    assert.equal(await (await fetch(base)).text(), "done");
    await eventually(() => records.length === 1, "a record");
    await sleep(30);
    assert.equal(signal!.aborted, false);
    assert.deepEqual(outcomes(records), ["200 ok"]);
  });
});

Deno.test("a component that traps in the middle of a body ends the connection, not the body", async () => {
  const replica = replicaOf(async () => {
    let n = 0;
    const body = new ReadableStream<Uint8Array>({
      async pull(controller) {
        await sleep(20);
        if (n++) controller.error(new RealmError("trap", "boom"));
        else controller.enqueue(encode("part"));
      },
    });
    return new Response(body as never);
  });
  await withProxy({ replicas: [replica] }, async ({ port, records, upstream }) => {
    const answer = await raw(port, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert.match(answer, /part\r\n$/, "no terminating chunk");
    await eventually(() => records.length === 1, "a record");
    assert.deepEqual(outcomes(records), ["200 incomplete"]);
    assert.equal(upstream.load.inFlight, 0);
  });
});

Deno.test("hop-by-hop headers of a component stay here; HEAD, 204 and 304 have no body", async () => {
  const replica = replicaOf(async (r) => {
    const status = Number(new URL(r.url).searchParams.get("status") ?? 200);
    const headers = { connection: "close, x-b", "x-a": "1", "x-b": "2", etag: '"e"' };
    return new Response(status === 200 ? "hello" : null, { status, headers });
  });
  await withProxy({ replicas: [replica] }, async ({ port }) => {
    const ask = (line: string) =>
      raw(port, `${line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
    const get = await ask("GET /");
    assert.match(get, /\r\nx-a: 1\r\n/);
    assert.doesNotMatch(get, /x-b: 2/);
    assert.match(get, /hello/);
    const head = await ask("HEAD /");
    assert.match(head, /^HTTP\/1\.1 200 OK\r\n[^]*etag: "e"[^]*\r\n\r\n$/);
    for (const status of [204, 304]) {
      const answer = await ask(`GET /?status=${status}`);
      assert.match(answer, new RegExp(`^HTTP/1\\.1 ${status} [^]*\\r\\n\\r\\n$`));
      assert.doesNotMatch(answer, /transfer-encoding/);
    }
  });
});

Deno.test("close() lets requests end within the grace and cuts off the rest", async () => {
  const late = Promise.withResolvers<Response>();
  let asked = 0;
  const replica = replicaOf((request) => {
    asked++;
    return new URL(request.url).pathname === "/quick" ? late.promise : hanging().handle(request);
  });
  const server = serveHandler({ hostname: "127.0.0.1", port: 0, component: "solo", replica });
  const base = `http://127.0.0.1:${server.port}`;
  const quick = fetch(`${base}/quick`).then((r) => r.text());
  const stuck = fetch(`${base}/stuck`).then(async (r) => `${r.status} ${await r.text()}`);
  await eventually(() => asked === 2, "both are there");
  const closed = server.close(1_000);
  late.resolve(new Response("quick"));
  assert.equal(await quick, "quick");
  await closed;
  assert.equal(await stuck, '503 503 component "solo": the proxy closes\n');
});

Deno.test("serveHandler() serves every path from one replica", async () => {
  const replica = replicaOf(async (r) => new Response(new URL(r.url).pathname));
  const server = serveHandler({ hostname: "127.0.0.1", port: 0, component: "solo", replica });
  const response = await fetch(`http://127.0.0.1:${server.port}/any/path`);
  assert.equal(await response.text(), "/any/path");
  await server.close();
});
