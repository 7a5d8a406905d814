import assert from "node:assert/strict";
import {
  addForwarded,
  clientResponse,
  readHeaders,
  setTraceparent,
  traceparentOf,
} from "./headers.ts";

const post = (headers: HeadersInit) => ({ headers: new Headers(headers), method: "POST" });

Deno.test("readHeaders() drops what is about the connection and what Connection lists", () => {
  const head = readHeaders(
    post({
      connection: "close, X-Mine",
      "x-mine": "1",
      "keep-alive": "timeout=5",
      te: "trailers",
      "proxy-authorization": "Basic x",
      upgrade: "h2c",
      host: "a",
      accept: "*/*",
      cookie: "a=1",
    }),
  );
  assert.deepEqual(head.kept.sort(), [["accept", "*/*"], ["cookie", "a=1"]]);
  assert.equal(head.host, "a");
  assert.equal(head.upgrade, "h2c");
});

Deno.test("readHeaders() keeps one framing: chunked wins over a length", () => {
  const both = post({ "content-length": "5", "transfer-encoding": "chunked" });
  assert.deepEqual(readHeaders(both).kept, []);
  const sized = post({ "content-length": "5", connection: "close" });
  assert.deepEqual(readHeaders(sized).kept, [["content-length", "5"]]);
  for (const method of ["GET", "HEAD"]) {
    assert.deepEqual(readHeaders({ ...sized, method }).kept, [], "Deno gives no body of it");
  }
});

Deno.test("addForwarded() replaces what the client claimed", () => {
  const { kept } = readHeaders(
    post({ "x-forwarded-for": "6.6.6.6", forwarded: "for=6.6.6.6", "x-real-ip": "6.6.6.6" }),
  );
  addForwarded(kept, { address: "::1", host: "a:80", prefix: "/p" });
  assert.deepEqual(Object.fromEntries(kept), {
    host: "a:80",
    "x-forwarded-for": "::1",
    "x-forwarded-host": "a:80",
    "x-forwarded-proto": "http",
    "x-forwarded-prefix": "/p",
  });
});

Deno.test("readHeaders() counts every byte", () => {
  assert.equal(readHeaders(post({ ab: "cde", f: "" })).bytes, 2 + 3 + 4 + 1 + 4);
});

Deno.test("clientResponse() drops hop-by-hop headers and a body for HEAD, else changes nothing", async () => {
  const plain = new Response("x", { headers: { a: "1" } });
  assert.deepEqual([...clientResponse(plain, "GET").headers], [...plain.headers]);
  const hop = new Response("x", { headers: { a: "1", b: "2", connection: "b", upgrade: "c" } });
  const cleaned = clientResponse(hop, "GET");
  assert.deepEqual([...cleaned.headers.keys()].sort(), ["a", "content-type"]);
  assert.equal(await cleaned.text(), "x");
  const head = clientResponse(new Response("x", { headers: { "content-length": "1" } }), "HEAD");
  assert.equal(head.body, null);
  assert.equal(head.headers.get("content-length"), "1");
});

Deno.test("setTraceparent() leaves none of those that the client sent", () => {
  const headers: [string, string][] = [["traceparent", "a"], ["x", "1"], ["traceparent", "b"]];
  setTraceparent(headers, "c");
  assert.deepEqual(headers, [["x", "1"], ["traceparent", "c"]]);
  assert.equal(traceparentOf(headers), "c");
});
