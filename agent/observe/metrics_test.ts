import assert from "node:assert/strict";
import fc from "fast-check";
import { NO_USAGE, type Usage } from "../kernel/ports.ts";
import { MetricRegistry, SERIES_MAX } from "./metric_registry.ts";
import { codeOf, METRICS, type MetricSpec } from "./metric_table.ts";
import { Metrics, type Reading, type ReplicaMetrics } from "./metrics.ts";

function setUp() {
  let replicas: readonly ReplicaMetrics[] = [];
  let readings: readonly Reading[] = [];
  const metrics = new Metrics({ replicas: () => replicas, readings: () => readings });
  const show = (...shown: ReplicaMetrics[]) => replicas = shown;
  const say = (...said: Reading[]) => readings = said;
  const read = (name: string) => {
    const line = metrics.text().split("\n").find((l) => l.startsWith(`${name} `));
    return line === undefined ? undefined : Number(line.slice(name.length + 1));
  };
  return { metrics, show, say, read };
}

const replica = (instance: number, usage: Partial<Usage> = {}, restarts = 0): ReplicaMetrics => ({
  component: "auth",
  replica: 0,
  instance,
  restarts,
  usage: { ...NO_USAGE, ...usage },
});
const ENDED = 'route="/auth/...",component="auth",outcome="overloaded"';
const FUEL = 'fuel_used_total{component="auth",replica="0"}';

Deno.test("text() has every promised name with its type and labels", () => {
  const { metrics, show, say } = setUp();
  const used = { fuelUsed: 7, memoryBytes: 5, memoryBytesPeak: 6, runningMs: 1.5, preemptions: 2 };
  show({ ...replica(1, { ...used, traps: 3, throttledMs: 9 }, 4), memoryBytesMax: 8 });
  say(
    ["realm_node_cpu_percent", {}, 12.5],
    ["realm_node_memory_bytes", { kind: "used" }, 400],
    ["realm_replicas", { state: "running" }, 1],
    ["realm_alarm", { name: "disk" }, 0],
  );
  metrics.request({
    route: "/auth/...",
    component: "auth",
    status: 503,
    durationMs: 30,
    outcome: "overloaded",
  });
  const text = metrics.text();
  for (
    const line of [
      "# TYPE wasm_exec_time_ms counter",
      'wasm_exec_time_ms{component="auth",replica="0"} 1.5',
      "# TYPE wasm_restarts_total counter",
      'wasm_restarts_total{component="auth",replica="0"} 4',
      "# TYPE fuel_used_total counter",
      `${FUEL} 7`,
      "# TYPE epoch_preemptions_total counter",
      'epoch_preemptions_total{component="auth",replica="0"} 2',
      "# TYPE mem_current_bytes gauge",
      'mem_current_bytes{component="auth",replica="0"} 5',
      'mem_peak_bytes{component="auth",replica="0"} 6',
      'wasm_traps_total{component="auth",replica="0"} 3',
      'wasm_throttled_time_ms{component="auth",replica="0"} 9',
      'mem_limit_bytes{component="auth",replica="0"} 8',
      "realm_node_cpu_percent 12.5",
      'realm_node_memory_bytes{kind="used"} 400',
      'realm_replicas{state="running"} 1',
      'realm_alarm{name="disk"} 0',
      'realm_proxy_requests_total{route="/auth/...",component="auth",code="503",outcome="overloaded"} 1',
      `realm_proxy_request_duration_seconds_bucket{${ENDED},le="0.025"} 0`,
      `realm_proxy_request_duration_seconds_bucket{${ENDED},le="0.05"} 1`,
      `realm_proxy_request_duration_seconds_bucket{${ENDED},le="+Inf"} 1`,
      `realm_proxy_request_duration_seconds_sum{${ENDED}} 0.03`,
      `realm_proxy_request_duration_seconds_count{${ENDED}} 1`,
    ]
  ) {
    assert.ok(text.includes(`${line}\n`), `${line}\nnot in\n${text}`);
  }
});

Deno.test("counters go on when a replica is started again", () => {
  const { metrics, show, read } = setUp();
  show(replica(1, { fuelUsed: 100 }));
  assert.equal(read(FUEL), 100);
  metrics.record(replica(1, { fuelUsed: 130 })); // It ended.
  show(replica(2, { fuelUsed: 5 }, 1));
  assert.equal(read(FUEL), 135);
  metrics.record(replica(1, { fuelUsed: 130 })); // Told late, and twice: counted once.
  assert.equal(read(FUEL), 135);
  show({ ...replica(2, {}, 1), usage: undefined }); // Between two instances.
  assert.equal(read(FUEL), 135);
  assert.equal(read('mem_current_bytes{component="auth",replica="0"}'), 0);
});

Deno.test("a replica that is gone is not shown, and goes on when it is back", () => {
  const { show, read } = setUp();
  show(replica(1, { fuelUsed: 100 }, 2));
  assert.equal(read(FUEL), 100);
  show();
  assert.equal(read(FUEL), undefined);
  show(replica(9, { fuelUsed: 1 }));
  assert.equal(read(FUEL), 101);
  assert.equal(read('wasm_restarts_total{component="auth",replica="0"}'), 2);
});

Deno.test("no order of scrapes, ends and starts makes a counter go back", () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.record({ used: fc.nat(50), restart: fc.boolean(), scrape: fc.boolean() }),
        { maxLength: 15 },
      ),
      (turns) => {
        const { metrics, show, read } = setUp();
        let [instance, fuelUsed, total, last] = [1, 0, 0, 0];
        for (const turn of turns) {
          fuelUsed += turn.used;
          total += turn.used;
          show(replica(instance, { fuelUsed }));
          if (turn.scrape) {
            const now = read(FUEL)!;
            assert.ok(now >= last);
            assert.equal(now, total);
            last = now;
          }
          if (turn.restart) {
            metrics.record(replica(instance, { fuelUsed }));
            [instance, fuelUsed] = [instance + 1, 0];
          }
        }
      },
    ),
    { numRuns: 50 },
  );
});

Deno.test("two registries have nothing in common", () => {
  const [one, other] = [setUp(), setUp()];
  one.show(replica(1, { fuelUsed: 1 }));
  assert.equal(one.read(FUEL), 1);
  assert.equal(other.read(FUEL), undefined);
});

Deno.test("a reading that is not there any more is not shown", () => {
  const { say, read } = setUp();
  say(["realm_gossip_age_seconds", { node: "a" }, 1], ["realm_majority", {}, 1]);
  assert.equal(read('realm_gossip_age_seconds{node="a"}'), 1);
  say(["realm_majority", {}, 0]);
  assert.equal(read('realm_gossip_age_seconds{node="a"}'), undefined);
  assert.equal(read("realm_majority"), 0);
});

Deno.test("a status that a guest made up is counted by its class", () => {
  assert.deepEqual([200, 404, 418, 299, 599].map(codeOf), ["200", "404", "4xx", "2xx", "5xx"]);
  const codes = new Set(Array.from({ length: 500 }, (_, i) => codeOf(100 + i)));
  assert.ok(codes.size < 50);
});

Deno.test("MetricRegistry keeps no more series than its bound, and counts the rest together", () => {
  const registry = new MetricRegistry();
  for (let i = 0; i < SERIES_MAX + 3; i++) {
    registry.add("realm_blob_faults_total", { fault: `f${i}` });
  }
  registry.add("realm_blob_faults_total", { fault: "f7" });
  const lines = registry.text().split("\n").filter((l) => l.startsWith("realm_blob_faults_total{"));
  assert.equal(lines.length, SERIES_MAX + 1);
  assert.ok(lines.includes('realm_blob_faults_total{fault="other"} 3'));
  assert.ok(lines.includes('realm_blob_faults_total{fault="f7"} 2'), "what is there goes on");
});

Deno.test("MetricRegistry escapes what a label may not hold", () => {
  const registry = new MetricRegistry();
  registry.set("realm_info", { version: 'a"b\\c\nd' }, 1);
  assert.ok(registry.text().includes('realm_info{version="a\\"b\\\\c\\nd"} 1\n'));
});

Deno.test("MetricRegistry puts what it observes into the right bucket", () => {
  const { buckets } = METRICS.realm_sync_lag_seconds;
  const value = fc.oneof(
    fc.constantFrom(...buckets),
    fc.double({ min: 0, max: 400, noNaN: true }),
  );
  fc.assert(
    fc.property(fc.array(value), (values) => {
      const registry = new MetricRegistry();
      for (const value of values) registry.observe("realm_sync_lag_seconds", {}, value);
      const text = registry.text();
      for (const bound of buckets) {
        const below = values.filter((value) => value <= bound).length;
        const line = `realm_sync_lag_seconds_bucket{le="${bound}"} ${below}\n`;
        assert.ok(values.length === 0 || text.includes(line), line);
      }
      assert.ok(
        values.length === 0 || text.includes(`realm_sync_lag_seconds_count ${values.length}\n`),
      );
    }),
    { numRuns: 50 },
  );
});

Deno.test("the table of metrics keeps the rules of Prometheus for names, units and buckets", () => {
  for (const [name, spec] of Object.entries<MetricSpec>(METRICS)) {
    assert.match(name, /^[a-z]+(_[a-z0-9]+)+$/);
    for (const label of spec.labels) assert.match(label, /^[a-z]+$/);
    assert.match(spec.help, /^.{8,}[^.]$/);
    assert.equal(spec.buckets !== undefined, spec.type === "histogram", name);
    const buckets = spec.buckets ?? [];
    assert.deepEqual([...buckets], buckets.toSorted((a, b) => a - b));
    // The two in milliseconds were promised before this table was.
    if (spec.type === "counter") assert.match(name, /_total$|^wasm_\w+_time_ms$/);
  }
});
