import assert from "node:assert/strict";
import {
  createRings,
  readRequests,
  ResponseReader,
  type WholeResponse,
  writeRequest,
  writeResponse,
} from "./exchange.ts";
import { LazyHead, packHead } from "./request_head.ts";
import { RingReader, RingWriter } from "./shared_ring.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

Deno.test("requests arrive with their heads; what does not fit is not taken", () => {
  const { requests } = createRings();
  const writer = new RingWriter(requests);
  const head = packHead({
    method: "GET",
    url: "http://a:1/b?c",
    headers: [["x", "\u00fc"], ["y", ""]],
    body: null,
    signal: new AbortController().signal,
  });
  assert.ok(writeRequest(writer, 7, head, true));
  assert.ok(!writeRequest(writer, 8, "x".repeat(32_000), false));
  assert.ok(!writeRequest(writer, 9, "\u0100", false));
  writer.flush();
  const arrived: [number, LazyHead, boolean][] = [];
  readRequests(
    new RingReader(requests),
    (id, head, hasBody) => arrived.push([id, new LazyHead(head), hasBody]),
  );
  assert.equal(arrived.length, 1);
  const [id, { method, scheme, authority, pathWithQuery, headers }, hasBody] = arrived[0]!;
  assert.deepEqual([id, hasBody], [7, true]);
  assert.deepEqual([method, scheme, authority, pathWithQuery], ["GET", "http", "a:1", "/b?c"]);
  assert.deepEqual(headers, [["x", new Uint8Array([0xfc])], ["y", new Uint8Array()]]);
});

Deno.test("responses arrive whole, after what was posted before them", () => {
  const { responses } = createRings();
  const writer = new RingWriter(responses);
  const fields = [["content-type", bytes("a/b")]] as const;
  assert.ok(writeResponse(writer, 1, 0, 200, fields, bytes("hello")));
  assert.ok(writeResponse(writer, 2, 1, 204, fields, null));
  assert.ok(writeResponse(writer, 3, 1, 599, [], new Uint8Array()));
  assert.ok(!writeResponse(writer, 4, 1, 200, [], new Uint8Array(40_000)));
  writer.flush();
  const reader = new ResponseReader(new RingReader(responses));
  const got: [number, WholeResponse][] = [];
  reader.drain(0, (...response) => got.push(response));
  const headers = [["content-type", "a/b"]] as [string, string][];
  assert.deepEqual(got, [[1, { status: 200, headers, body: bytes("hello") }]]);
  reader.drain(1, (...response) => got.push(response));
  assert.deepEqual(got.slice(1), [
    [2, { status: 204, headers, body: null }],
    [3, { status: 599, headers: [], body: new Uint8Array() }],
  ]);
});

Deno.test("headers longer than their record are an error", () => {
  const { responses } = createRings();
  const writer = new RingWriter(responses);
  writeResponse(writer, 1, 0, 200, [], bytes("body"));
  writer.words[4] = 5; // after the length of the record: id, posted, status, length of the headers
  writer.flush();
  const reader = new ResponseReader(new RingReader(responses));
  assert.throws(() => reader.drain(0, () => {}), /Cannot read shared memory/);
});
