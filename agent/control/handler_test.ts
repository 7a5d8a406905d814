import assert from "node:assert/strict";
import { RealmError } from "../kernel/error.ts";
import { JSON_BYTES_MAX } from "./api.ts";
import { EXEC, FakeApi, HISTORY, PEER, PLACE, PROOF, STATUS } from "./fake_api.ts";
import { controlHandler } from "./handler.ts";

const ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

function setUp() {
  const api = new FakeApi();
  const bugs: [string, unknown][] = [];
  const handler = controlHandler(api, {
    onBug: (request, error) => bugs.push([request, error]),
    blobBytesMax: 1000,
  });
  const ask = async (path: string, init: RequestInit = {}) => {
    const response = await handler(new Request(`http://agent${path}`, init));
    const text = await response.text();
    const isJson = response.headers.get("content-type")?.includes("json");
    return { status: response.status, body: isJson ? JSON.parse(text) : text };
  };
  const post = (path: string, body: unknown) =>
    ask(path, { method: "POST", body: JSON.stringify(body) });
  return { api, bugs, ask, post };
}

Deno.test("handler answers every call with what the API says", async () => {
  const { api, ask, post } = setUp();
  assert.deepEqual(await ask("/v1/status"), { status: 200, body: STATUS });
  assert.deepEqual(await ask("/v1/manifest"), { status: 200, body: { current: null } });
  api.manifest = () => ({ version: 7, manifest: Uint8Array.of(0xff, 0), signature: "{}" });
  assert.deepEqual((await ask("/v1/manifest")).body, {
    current: { version: 7, manifest: "/wA=", signature: "{}" },
  });
  assert.equal((await post("/v1/plan", { manifest: "/wA=" })).status, 200);
  assert.deepEqual((await ask("/v1/log?author=ed25519%3Aa")).body, { place: PLACE });
  assert.equal((await post("/v1/log", { events: ["/wA="] })).body.version, 8);
  assert.deepEqual((await ask("/v1/nodes")).body, { nodes: STATUS.nodes });
  assert.deepEqual((await ask("/v1/history")).body, { versions: [HISTORY] });
  assert.deepEqual((await ask(`/v1/proofs/${"ab".repeat(32)}`)).body, { proof: PROOF });
  assert.deepEqual((await ask("/v1/execs")).body, { execs: [EXEC] });
  assert.deepEqual((await ask("/v1/peers")).body, { peers: [PEER] });
  assert.deepEqual((await post("/v1/peers", { address: "/dns/a" })).body, { key: PEER.key });
  assert.deepEqual(await ask("/metrics"), { status: 200, body: "# TYPE x counter\nx 1\n" });
  assert.deepEqual(api.calls, [
    ["plan", { manifest: Uint8Array.of(0xff, 0) }],
    ["place", "ed25519:a"],
    ["append", [Uint8Array.of(0xff, 0)]],
    ["addPeer", "/dns/a"],
  ]);
});

Deno.test("handler hands calls about apps on, checked, and knows no others", async () => {
  const { api, post } = setUp();
  api.answers.call = { refused: null, events: [] };
  const asked = { topic: "lunch", intent: "add", input: "NQ==" };
  assert.deepEqual((await post("/v1/apps/call", asked)).body, { refused: null, events: [] });
  assert.deepEqual(api.calls, [["call", asked]]);
  const wrong = [
    { ...asked, input: "not base64!" },
    { ...asked, intent: undefined },
    { ...asked, more: 1 },
    { ...asked, topic: "" },
  ];
  for (const each of wrong) assert.equal((await post("/v1/apps/call", each)).status, 400);
  assert.equal((await post("/v1/apps/constructor", {})).status, 404);
  assert.equal((await post("/v1/apps/nothing", {})).status, 404);
  assert.equal(api.calls.length, 1);
});

Deno.test("handler takes blobs under their own digest only", async () => {
  const { api, ask } = setUp();
  const head = () => ask(`/v1/blobs/${ABC}`, { method: "HEAD" });
  assert.equal((await head()).status, 404);
  const wrong = await ask(`/v1/blobs/${ABC}`, { method: "PUT", body: "abd" });
  assert.equal(wrong.status, 409);
  assert.equal(wrong.body.error.code, "digest-mismatch");
  assert.ok(wrong.body.error.message.includes(ABC));
  assert.equal(api.stored.size, 0);
  const right = await ask(`/v1/blobs/${ABC}`, { method: "PUT", body: "abc" });
  assert.deepEqual(right, { status: 201, body: { digest: ABC } });
  assert.equal((await head()).status, 200);
  assert.equal((await ask(`/v1/blobs/..%2F${ABC}`, { method: "PUT", body: "abc" })).status, 400);
});

Deno.test("handler refuses bodies and queries of the wrong shape with a usage error", async () => {
  const { api, ask } = setUp();
  const cases: [string, string, string | undefined, RegExp][] = [
    ["POST", "/v1/plan", undefined, /not JSON/],
    ["POST", "/v1/plan", "{", /not JSON/],
    ["POST", "/v1/plan", "\xff", /not JSON/],
    ["POST", "/v1/plan", "[]", /expected object/],
    ["POST", "/v1/plan", "{}", /manifest: /],
    ["POST", "/v1/plan", '{"manifest":"%%"}', /manifest: .*base64/],
    ["POST", "/v1/plan", '{"manifest":"","sig":"x"}', /sig/],
    ["POST", "/v1/log", '{"events":[]}', /events: /],
    ["POST", "/v1/log", '{"events":["%%"]}', /events.0: .*base64/],
    ["POST", "/v1/log", JSON.stringify({ events: Array(65).fill("") }), /events: /],
    ["POST", "/v1/peers", '{"address":""}', /address: /],
    ["POST", "/v1/peers", JSON.stringify({ address: "a".repeat(1025) }), /address: /],
    ["GET", "/v1/log", undefined, /author: /],
    ["GET", "/v1/log?author=a&topic=b", undefined, /topic/],
    ["GET", "/v1/components/a/logs?tail=many", undefined, /tail: wanted a whole number/],
    ["GET", "/v1/components/a/logs?lines=3", undefined, /lines/],
  ];
  for (const [method, path, body, message] of cases) {
    const answer = await ask(path, body === undefined ? { method } : { method, body });
    assert.equal(answer.status, 400, `${method} ${path} ${body}`);
    assert.equal(answer.body.error.code, "usage");
    assert.match(answer.body.error.message, message);
  }
  assert.deepEqual(api.calls, []);
});

Deno.test("handler bounds bodies, with and without a content-length", async () => {
  const { ask } = setUp();
  const put = (body: BodyInit) => ask(`/v1/blobs/${ABC}`, { method: "PUT", body });
  const limit = (answer: { status: number; body: any }) =>
    assert.deepEqual([answer.status, answer.body.error.code], [413, "limit-exceeded"]);
  limit(await put("x".repeat(1001)));
  let pulled = 0;
  limit(
    await put(
      new ReadableStream({
        pull(controller) {
          pulled++;
          controller.enqueue(new Uint8Array(400));
        },
      }),
    ),
  );
  assert.ok(pulled < 10, `${pulled} chunks were read`);
  limit(await ask("/v1/plan", { method: "POST", body: " ".repeat(JSON_BYTES_MAX + 1) }));
});

Deno.test("handler answers unknown paths and methods with a JSON 404", async () => {
  const { ask } = setUp();
  for (const [method, path] of [["GET", "/"], ["GET", "/v2/status"], ["DELETE", "/v1/status"]]) {
    const answer = await ask(path!, { method: method! });
    assert.deepEqual([answer.status, answer.body.error.code], [404, "not-found"], `${path}`);
  }
});

Deno.test("handler passes errors on and reports those that are bugs", async () => {
  const { api, bugs, ask, post } = setUp();
  const codes: [ConstructorParameters<typeof RealmError>[0], number][] = [
    ["not-found", 404],
    ["stale", 409],
    ["wrong-owner", 403],
    ["corrupt", 500],
  ];
  for (const [code, status] of codes) {
    api.failure = new RealmError(code, "Cannot x: y", { hint: "Do z" });
    const error = { code, message: "Cannot x: y", hint: "Do z" };
    assert.deepEqual(await post("/v1/log", { events: [""] }), { status, body: { error } });
  }
  assert.deepEqual((await ask("/v1/components/a/logs")).status, 500);
  assert.deepEqual(bugs, []);
  api.failure = new TypeError("x is undefined");
  const answer = await post("/v1/log", { events: [""] });
  assert.equal(answer.status, 500);
  assert.equal(answer.body.error.code, "failed");
  assert.match(answer.body.error.message, /log: x is undefined$/);
  assert.deepEqual(bugs, [["POST /v1/log", api.failure]]);
});
