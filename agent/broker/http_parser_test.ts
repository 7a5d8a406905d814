import assert from "node:assert/strict";
import fc from "fast-check";
import { bytesOf } from "../kernel/byte_string.ts";
import { TAIL, tailChunk, trailersOf } from "../kernel/http_exchange.ts";
import { FED_BYTES_MAX, HEADER_BYTES_MAX, ParserCode, ResponseParser } from "./http_parser.ts";

const code = new ParserCode();

/** What came of a response that is fed in pieces of so many bytes, and then ends. */
function parse(text: string, { piece = FED_BYTES_MAX, isBodiless = false } = {}) {
  const parser = new ResponseParser(code, isBodiless);
  const bytes = bytesOf(text);
  for (let at = 0; at < bytes.length; at += piece) parser.feed(bytes.subarray(at, at + piece));
  parser.feed(null);
  const error = parser.error?.reason;
  const { head, trailers, complete, reusable } = parser;
  const body = parser.body.map((chunk) => new TextDecoder().decode(chunk.subarray(1))).join("");
  parser.free();
  return { ...head, body, trailers, complete, reusable, ...(error ? { error } : {}) };
}

const OK = "HTTP/1.1 200 OK\r\n";
const RESPONSES: Readonly<Record<string, [string, Partial<ReturnType<typeof parse>>]>> = {
  "known length": [`${OK}content-length: 5\r\n\r\nhello`, { body: "hello", reusable: true }],
  "chunks and trailers": [
    `${OK}Transfer-Encoding: Chunked\r\n\r\n3;x=1\r\nhel\r\n2\r\nlo\r\n0\r\nX-Sum: 5\r\n\r\n`,
    { body: "hello", trailers: [["x-sum", "5"]], reusable: true },
  ],
  "until the end": [`${OK}\r\nhello`, { body: "hello", complete: true, reusable: false }],
  "no content": ["HTTP/1.1 204 No\r\n\r\n", { status: 204, body: "", reusable: true }],
  "close": [`${OK}connection: close\r\ncontent-length: 1\r\n\r\nx`, { body: "x", reusable: false }],
  "HTTP/1.0": ["HTTP/1.0 200 OK\r\n\r\nold", { body: "old", reusable: false }],
  "informational": [
    `HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nlink: a\r\n\r\n${OK}content-length: 1\r\n\r\nx`,
    { status: 200, headers: [["content-length", "1"]], body: "x", reusable: true },
  ],
  "bytes of a value": [
    `${OK}x: \xfc\xff \t\r\ncontent-length: 0\r\n\r\n`,
    { headers: [["x", "\xfc\xff"], ["content-length", "0"]] },
  ],
  "nothing": ["", { error: { tag: "connection-terminated" } }],
  "half a head": [`${OK}content-le`, { error: { tag: "HTTP-response-incomplete" } }],
  "half a body": [
    `${OK}content-length: 9\r\n\r\nhalf`,
    { body: "half", error: { tag: "HTTP-response-incomplete" } },
  ],
  "half a chunk": [
    `${OK}transfer-encoding: chunked\r\n\r\n9\r\nhalf`,
    { body: "half", error: { tag: "HTTP-response-incomplete" } },
  ],
  "another protocol": ["SSH-2.0-OpenSSH\r\n\r\n", { error: { tag: "HTTP-protocol-error" } }],
  "a chunk size that is none": [
    `${OK}transfer-encoding: chunked\r\n\r\n4\r\ngood\r\nxyz\r\n`,
    { status: 200, body: "good", error: { tag: "HTTP-protocol-error" } },
  ],
  "two lengths": [
    `${OK}content-length: 1\r\ncontent-length: 2\r\n\r\nx`,
    { error: { tag: "HTTP-protocol-error" } },
  ],
  "length and chunks": [
    `${OK}content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`,
    { error: { tag: "HTTP-protocol-error" } },
  ],
  "a name with a space": [`${OK}a b: 1\r\n\r\n`, { error: { tag: "HTTP-protocol-error" } }],
  "a bare line feed": [`${OK}a: 1\n\r\n\r\n`, { error: { tag: "HTTP-protocol-error" } }],
  "a folded line": [`${OK}a: 1\r\n b: 2\r\n\r\n`, { error: { tag: "HTTP-protocol-error" } }],
  "switched protocols": [
    "HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    { error: { tag: "HTTP-upgrade-failed" } },
  ],
  "a coding that is not known": [
    `${OK}transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n`,
    { error: { tag: "HTTP-response-transfer-coding", val: "gzip, chunked" } },
  ],
};

for (const [name, [text, expected]] of Object.entries(RESPONSES)) {
  Deno.test(`ResponseParser reads ${name}`, () => {
    for (const piece of [FED_BYTES_MAX, 1, 7]) {
      const result = parse(text, { piece });
      for (const key of Object.keys(expected) as (keyof typeof result)[]) {
        assert.deepEqual(result[key], expected[key], `${key}, ${piece} bytes at once`);
      }
      assert.equal("error" in result, "error" in expected, `${piece} bytes at once`);
    }
  });
}

Deno.test("ResponseParser takes no body for a HEAD", () => {
  const result = parse(`${OK}content-length: 5\r\n\r\n`, { isBodiless: true });
  assert.deepEqual([result.complete, result.body, result.reusable], [true, "", true]);
});

Deno.test("ResponseParser does not reuse a connection that says more than was asked for", () => {
  const result = parse(`${OK}content-length: 1\r\n\r\nx${OK}`);
  assert.deepEqual([result.complete, result.body, result.reusable], [true, "x", false]);
});

Deno.test("ResponseParser bounds heads, trailers and informational responses", () => {
  const long = "v".repeat(HEADER_BYTES_MAX);
  const tagOf = ({ error }: ReturnType<typeof parse>) => error?.tag;
  const header = parse(`${OK}x: ${long}\r\n\r\n`, { piece: 4096 });
  assert.equal(tagOf(header), "HTTP-response-header-section-size");
  const many = parse(`${OK}${"x: 1\r\n".repeat(5000)}\r\n`, { piece: 4096 });
  assert.equal(tagOf(many), "HTTP-response-header-section-size");
  const hints = `HTTP/1.1 103 Hints\r\nx: ${"v".repeat(1000)}\r\n\r\n`.repeat(200);
  const informational = parse(hints, { piece: 4096 });
  assert.equal(tagOf(informational), "HTTP-response-header-section-size");
  const trailers = parse(
    `${OK}transfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nx: ${long}\r\n\r\n`,
    { piece: 4096 },
  );
  assert.equal(tagOf(trailers), "HTTP-response-trailer-section-size");
  assert.equal(trailers.body, "x");
});

Deno.test("ResponseParser gives one answer however a response is cut", () => {
  const responses = Object.values(RESPONSES).map(([text]) => text);
  fc.assert(
    fc.property(fc.constantFrom(...responses), fc.integer({ min: 1, max: 40 }), (text, piece) => {
      assert.deepEqual(parse(text, { piece }), parse(text));
    }),
  );
});

Deno.test("ResponseParser answers any bytes with a response or an error code", () => {
  const parts = fc.array(
    fc.oneof(
      fc.constantFrom("HTTP/1.1 ", "200 OK", "\r\n", "\r\n\r\n", "content-length: ", "5", "0"),
      fc.constantFrom("transfer-encoding: chunked", "a: b", "\n", "\0", ":", " "),
      fc.string({ maxLength: 5 }),
    ),
    { maxLength: 30 },
  );
  fc.assert(fc.property(parts, (list) => {
    const result = parse(list.join("").replace(/[^\0-\xff]/g, ""), { piece: 16 });
    if (!("error" in result)) assert.ok(result.status! >= 200 && result.complete);
    else assert.equal(typeof result.error?.tag, "string");
  }));
});

Deno.test("trailersOf() inverts what tailChunk() packs", () => {
  for (const trailers of [[], [["a", ""]], [["a", "\xff"], ["b", "c d"]]] as [string, string][][]) {
    const chunk = tailChunk(trailers);
    assert.equal(chunk[0], TAIL);
    assert.deepEqual(trailersOf(chunk), trailers);
  }
});
