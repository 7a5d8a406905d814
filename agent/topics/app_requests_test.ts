import assert from "node:assert/strict";
import { APP_RESPONSE_BYTES_MAX, appRequest } from "./app_requests.ts";
import type { GuestRequest } from "../apps/arbiter/guest_host.ts";
import { dataChunk, type ExchangeRequest, tailChunk } from "../kernel/http_exchange.ts";
import type { Pipe, Service } from "../kernel/ports.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const request = (more: Partial<GuestRequest> = {}): GuestRequest => ({
  method: "GET",
  url: "https://api.example.com:8443/a?b=c",
  headers: [["X-Key", Uint8Array.of(0xff)]],
  body: new Uint8Array(0),
  ...more,
});

/** A broker that answers as a test says; what it was asked, with the body that came. */
function broker(answer: (pipe: Pipe) => Promise<unknown>) {
  const asked: { request: ExchangeRequest; body: number[] }[] = [];
  let closed = 0;
  const service: Service = {
    async call(request, pipe) {
      const body: number[] = [];
      for (let chunk; (chunk = await pipe.read()) !== null;) body.push(...chunk);
      asked.push({ request: request as ExchangeRequest, body });
      return await answer(pipe);
    },
    close: () => {
      closed++;
      return Promise.resolve();
    },
  };
  return { asked, of: () => service, closed: () => closed };
}

const reason = (tag: string) => Object.assign(new Error(tag), { reason: { tag } });

Deno.test("a request goes out as it is, and its answer comes as a whole", async () => {
  const fake = broker(async (pipe) => {
    for (const part of ["he", "llo"]) await pipe.write(dataChunk(bytes(part)));
    await pipe.write(tailChunk([]));
    pipe.end();
    return { status: 201, headers: [["x-two", "\xfe"]] };
  });
  const answer = await appRequest(request({ method: "POST", body: bytes("in") }), [], fake.of);
  assert.deepEqual(answer, {
    tag: "ok",
    val: { status: 201, headers: [["x-two", Uint8Array.of(0xfe)]], body: bytes("hello") },
  });
  const [{ request: sent, body }] = fake.asked as [typeof fake.asked[number]];
  assert.deepEqual(
    [sent.method, sent.scheme, sent.authority, sent.path, sent.headers, sent.body],
    ["POST", "https", "api.example.com:8443", "/a?b=c", [["x-key", "\xff"]], 2],
  );
  assert.deepEqual(body, [...dataChunk(bytes("in")), ...tailChunk([])]);
  assert.equal(fake.closed(), 1);
});

Deno.test("what goes wrong is told in the words of the contract", async () => {
  const large = dataChunk(new Uint8Array(APP_RESPONSE_BYTES_MAX + 1));
  const cases: readonly (readonly [(pipe: Pipe) => Promise<unknown>, unknown])[] = [
    [() => Promise.reject(reason("HTTP-request-denied")), { tag: "denied" }],
    [() => Promise.reject(reason("connection-timeout")), { tag: "timed-out" }],
    [() => Promise.reject(reason("DNS-error")), { tag: "unreachable", val: "DNS-error" }],
    [() => Promise.reject(reason("HTTP-request-URI-invalid")), {
      tag: "invalid",
      val: "HTTP-request-URI-invalid",
    }],
    [async (pipe) => {
      assert.equal(await pipe.write(large), false);
      assert.ok(pipe.signal.aborted);
      return { status: 200, headers: [] };
    }, { tag: "too-large" }],
    [(pipe) => {
      pipe.end();
      return Promise.resolve({ status: 200, headers: [] });
    }, { tag: "unreachable", val: "HTTP-response-incomplete" }],
  ];
  for (const [answer, val] of cases) {
    const fake = broker(answer);
    assert.deepEqual(await appRequest(request(), [], fake.of), { tag: "err", val });
    assert.equal(fake.closed(), 1);
  }
});

Deno.test("a host that was not granted is not even looked up", async () => {
  const urls = [
    "https://api.example.com/",
    "http://granted.example.com/",
    "https://granted.example.com:444/",
    "https://sub.granted.example.com/",
    "http://127.0.0.1/",
    "http://[::1]/",
  ];
  for (const url of urls) {
    const answer = await appRequest(request({ url }), ["network=https://granted.example.com"]);
    assert.deepEqual(answer, { tag: "err", val: { tag: "denied" } }, url);
  }
  for (const url of ["file:///etc/passwd", "nothing", "https://me:secret@granted.example.com/"]) {
    const { val } = await appRequest(request({ url }), ["network=https://granted.example.com"]);
    assert.deepEqual(val, { tag: "invalid", val: "the URL is none of http" }, url);
  }
});
