import assert from "node:assert/strict";
import { encodeSpans, OtlpExporter, QUEUE_MAX, SPANS_EACH_MAX } from "./otlp_exporter.ts";
import { type FinishedSpan, SpanRecorder } from "./tracer.ts";

const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT = `00-${TRACE}-00f067aa0ba902b7-01`;
const AT_MS = 1_764_000_000_000;

function recorder(ratio = 1, callersPerSecond = 100) {
  const ended: FinishedSpan[] = [];
  const clock = { nowMs: 0, wallMs: () => AT_MS, monotonicMs: () => clock.nowMs };
  let next = 0;
  const tracer = new SpanRecorder({
    clock,
    ratio,
    callersPerSecond,
    ended: (span) => ended.push(span),
    random: (bytes) => bytes.fill(++next),
  });
  return { tracer, ended, clock };
}

const server = { kind: "server", service: "realm-proxy" } as const;

Deno.test("SpanRecorder goes on with the trace of who calls, and hands its own span on", () => {
  const { tracer, ended, clock } = recorder();
  const span = tracer.start("GET /", { ...server, parent: PARENT })!;
  assert.equal(span.traceparent, `00-${TRACE}-${"01".repeat(8)}-01`);
  const child = tracer.start("orders", {
    kind: "internal",
    service: "orders",
    parent: span.traceparent,
  })!;
  clock.nowMs = 12.5;
  child.end({ "http.response.status_code": 500 }, "it trapped");
  clock.nowMs = 20;
  span.end();
  span.end(); // told twice, counted once
  assert.deepEqual(ended.map(({ name, parentId, endAtMs }) => [name, parentId, endAtMs]), [
    ["orders", "01".repeat(8), AT_MS + 12.5],
    ["GET /", "00f067aa0ba902b7", AT_MS + 20],
  ]);
  assert.ok(ended.every(({ traceId }) => traceId === TRACE));
});

Deno.test("SpanRecorder records what who calls wants recorded, and of its own traces a part", () => {
  const { tracer } = recorder(0);
  assert.equal(tracer.start("x", server), undefined);
  assert.ok(tracer.start("x", { ...server, parent: PARENT }));
  const all = recorder(1).tracer;
  assert.equal(all.start("x", { ...server, parent: PARENT.replace(/01$/, "00") }), undefined);
  assert.equal(all.start("x", { kind: "client", service: "x" }), undefined, "of nothing");
  let id = 0;
  const quarter = new SpanRecorder({
    clock: { wallMs: () => 0, monotonicMs: () => 0 },
    ratio: 0.25,
    callersPerSecond: 0,
    ended: () => {},
    random: (bytes) => new DataView(bytes.buffer).setUint32(0, (id++ % 1_000) * 4_294_967),
  });
  const taken = Array.from({ length: 1_000 }, () => quarter.start("x", server)).filter(Boolean);
  assert.ok(Math.abs(taken.length - 250) < 60, `${taken.length}`);
});

Deno.test("SpanRecorder records for callers so many a second, and of more a part that they do not choose", () => {
  let draw = 0xff;
  const clock = { nowMs: 0, wallMs: () => AT_MS, monotonicMs: () => clock.nowMs };
  const tracer = new SpanRecorder({
    clock,
    ratio: 0.1,
    callersPerSecond: 3,
    ended: () => {},
    random: (bytes) => bytes.fill(draw),
  });
  const taken = (parent: string, count: number) =>
    Array.from({ length: count }, () => tracer.start("x", { ...server, parent }))
      .filter(Boolean).length;
  const low = `00-${"0".repeat(31)}1-00f067aa0ba902b7-01`;
  assert.equal(taken(low, 10), 3, "the lowest id there is does no more than any other");
  assert.equal(taken(PARENT, 10), 0, "they share what there is");
  draw = 0x01;
  assert.equal(taken(PARENT, 10), 10, "these are of the part");
  assert.ok(tracer.start("x", { ...server, parent: PARENT })!.traceparent.includes(TRACE));
  draw = 0xff;
  clock.nowMs += 500;
  assert.equal(taken(PARENT, 10), 1);
  clock.nowMs += 60_000;
  assert.equal(taken(PARENT.replace(/01$/, "00"), 10), 0, "nobody wants these");
  assert.equal(taken(PARENT, 10), 3, "what was not used does not add up");
  // What is recorded goes on, however much is asked.
  const inside = { kind: "internal", service: "x", parent: PARENT } as const;
  assert.ok(Array.from({ length: 10 }, () => tracer.start("x", inside)).every(Boolean));
  assert.equal(recorder(0, 0).tracer.start("x", { ...server, parent: low }), undefined);
});

Deno.test("SpanRecorder records of callers whose wish counts for none the part of all", () => {
  let id = 0;
  const quarter = new SpanRecorder({
    clock: { wallMs: () => 0, monotonicMs: () => 0 },
    ratio: 0.25,
    callersPerSecond: 0,
    ended: () => {},
    random: (bytes) => bytes.fill(bytes.length === 16 ? id++ : 1),
  });
  for (const first of ["0", "f"]) {
    const parent = PARENT.replace(TRACE, first + TRACE.slice(1));
    const taken = Array.from({ length: 256 }, () => quarter.start("x", { ...server, parent }));
    assert.equal(taken.filter(Boolean).length, 64, first);
  }
});

Deno.test("SpanRecorder passes on that a wanted trace is not recorded, and nothing else", () => {
  const { tracer } = recorder(0, 0);
  assert.equal(tracer.unrecorded(PARENT), `00-${TRACE}-${"01".repeat(8)}-00`);
  for (const parent of [undefined, "x", PARENT.replace(/01$/, "00")]) {
    assert.equal(tracer.unrecorded(parent), parent);
  }
});

Deno.test("SpanRecorder takes no context that is none", () => {
  const { tracer } = recorder(1);
  const wrong = [
    "",
    "x".repeat(10_000),
    PARENT.toUpperCase(),
    PARENT.replace("00-", "ff-"),
    `${PARENT}-more`,
    `00-${"0".repeat(32)}-00f067aa0ba902b7-01`,
    `00-${TRACE}-${"0".repeat(16)}-01`,
  ];
  for (const parent of wrong) {
    const { traceparent } = tracer.start("x", { ...server, parent })!;
    assert.ok(!traceparent.includes(TRACE), `a trace of its own, not that of ${parent}`);
  }
  const later = tracer.start("x", { ...server, parent: `01${PARENT.slice(2)}-more` });
  assert.ok(later!.traceparent.startsWith(`00-${TRACE}-`), "a later version");
});

const span = (name: string, but: Partial<FinishedSpan> = {}): FinishedSpan => ({
  name,
  kind: "server",
  service: "realm-proxy",
  traceId: TRACE,
  spanId: "ab".repeat(8),
  parentId: undefined,
  startAtMs: AT_MS + 0.25,
  endAtMs: AT_MS + 10,
  attributes: {},
  problem: undefined,
  ...but,
});

Deno.test("encodeSpans() gives the JSON of OTLP", () => {
  const spans = [
    span("GET /...", { attributes: { "http.route": "/...", "http.response.status_code": 200 } }),
    span("orders", { service: "orders", kind: "internal", parentId: "cd", problem: "it trapped" }),
  ];
  const { resourceSpans: [proxy, orders] } = encodeSpans(spans, { node: "bm-01", program: "1" });
  assert.deepEqual(proxy, {
    resource: {
      attributes: [
        { key: "service.name", value: { stringValue: "realm-proxy" } },
        { key: "host.name", value: { stringValue: "bm-01" } },
      ],
    },
    scopeSpans: [{
      scope: { name: "realm", version: "1" },
      spans: [{
        traceId: TRACE,
        spanId: "ab".repeat(8),
        name: "GET /...",
        kind: 2,
        startTimeUnixNano: "1764000000000250000",
        endTimeUnixNano: "1764000000010000000",
        attributes: [
          { key: "http.route", value: { stringValue: "/..." } },
          { key: "http.response.status_code", value: { intValue: "200" } },
        ],
        status: {},
      }],
    }],
  });
  const [{ parentSpanId, kind, status }] = orders!.scopeSpans[0]!.spans as never as [
    Record<string, unknown>,
  ];
  assert.deepEqual([parentSpanId, kind, status], ["cd", 1, { code: 2, message: "it trapped" }]);
});

/** An exporter whose collector answers when a test says so. */
function exporter() {
  const counts: Record<string, number> = { sent: 0, dropped: 0, failed: 0 };
  const asked: { url: string; spans: number; answer: (status: number | Error) => void }[] = [];
  const otlp = new OtlpExporter({
    url: "http://127.0.0.1:4318/v1/traces",
    node: () => "a",
    program: "1",
    pauseMs: 1,
    counted: (outcome, spans) => counts[outcome]! += spans,
    fetch: ((url: string, { body }: { body: string }) => {
      const { promise, resolve, reject } = Promise.withResolvers<Response>();
      asked.push({
        url,
        spans: JSON.parse(body).resourceSpans[0].scopeSpans[0].spans.length,
        answer: (status) =>
          status instanceof Error ? reject(status) : resolve(new Response("", { status })),
      });
      return promise;
    }) as unknown as typeof fetch,
  });
  const until = async (holds: () => boolean) => {
    for (let i = 0; i < 3_000 && !holds(); i++) await new Promise((r) => setTimeout(r, 10));
    assert.ok(holds());
  };
  return { otlp, counts, asked, until };
}

Deno.test("OtlpExporter sends together what waits, and counts what was taken and what was not", async () => {
  const { otlp, counts, asked, until } = exporter();
  for (let i = 0; i < 3; i++) otlp.add(span("x"));
  await until(() => asked.length === 1);
  assert.deepEqual([asked[0]!.url, asked[0]!.spans], ["http://127.0.0.1:4318/v1/traces", 3]);
  asked[0]!.answer(200);
  await until(() => counts.sent === 3);
  otlp.add(span("x"));
  await until(() => asked.length === 2);
  asked[1]!.answer(503);
  await until(() => counts.failed === 1);
  otlp.add(span("x"));
  await until(() => asked.length === 3);
  asked[2]!.answer(new TypeError("nobody there"));
  await until(() => counts.failed === 2);
  await otlp.close();
});

Deno.test("OtlpExporter keeps no more spans than its bound while the collector is slow", async () => {
  const { otlp, counts, asked, until } = exporter();
  for (let i = 0; i < SPANS_EACH_MAX + QUEUE_MAX + 7; i++) otlp.add(span("x"));
  assert.deepEqual([asked.length, asked[0]!.spans, counts.dropped], [1, SPANS_EACH_MAX, 7]);
  asked[0]!.answer(200);
  await until(() => asked.length === 2);
  const closed = otlp.close();
  otlp.add(span("late"));
  asked[1]!.answer(200);
  await until(() => asked.length === 3);
  asked[2]!.answer(200);
  await closed;
  assert.equal(counts.sent, 3 * SPANS_EACH_MAX);
  assert.equal(counts.sent! + counts.dropped!, SPANS_EACH_MAX + QUEUE_MAX + 8);
});
