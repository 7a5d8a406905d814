import assert from "node:assert/strict";
import fc from "fast-check";
import { NO_USAGE, type Usage } from "../kernel/ports.ts";
import { Metrics, type MetricsSource, type ReplicaMetrics } from "./metrics.ts";

function setUp() {
  let replicas: ReplicaMetrics[] = [];
  const source: MetricsSource = {
    replicas: () => replicas,
    node: () => ({
      cpuPercent: 12.5,
      memoryTotalBytes: 1000,
      memoryUsedBytes: 400,
      diskTotalBytes: 9000,
      diskUsedBytes: 100,
      agentMemoryBytes: 50,
      p2pLinks: 0,
    }),
    replicasByState: () => ({ running: replicas.length }),
    components: () => 3,
  };
  const metrics = new Metrics(source);
  const show = (...shown: ReplicaMetrics[]) => replicas = shown;
  const read = async (name: string) => {
    const line = (await metrics.text()).split("\n").find((l) => l.startsWith(`${name} `));
    return line === undefined ? undefined : Number(line.slice(name.length + 1));
  };
  return { metrics, show, read };
}

const replica = (instance: number, usage: Partial<Usage> = {}, restarts = 0): ReplicaMetrics => ({
  component: "auth",
  replica: 0,
  instance,
  restarts,
  usage: { ...NO_USAGE, ...usage },
});
const FUEL = 'fuel_used_total{component="auth",replica="0"}';

Deno.test("text() has every promised name with its type and labels", async () => {
  const { metrics, show } = setUp();
  const used = { fuelUsed: 7, memoryBytes: 5, memoryBytesPeak: 6, runningMs: 1.5, preemptions: 2 };
  show(replica(1, used, 4));
  metrics.request({
    route: "/auth/...",
    component: "auth",
    status: 503,
    durationMs: 30,
    outcome: "overloaded",
  });
  const text = await metrics.text();
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
      "realm_node_cpu_percent 12.5",
      'realm_node_memory_bytes{kind="used"} 400',
      'realm_node_disk_bytes{kind="total"} 9000',
      "realm_node_p2p_links 0",
      "realm_components 3",
      'realm_replicas{state="running"} 1',
      'realm_proxy_requests_total{route="/auth/...",component="auth",code="503",outcome="overloaded"} 1',
      'realm_proxy_request_duration_seconds_bucket{le="0.025",component="auth"} 0',
      'realm_proxy_request_duration_seconds_bucket{le="0.05",component="auth"} 1',
    ]
  ) {
    assert.ok(text.includes(`${line}\n`), `${line}\nnot in\n${text}`);
  }
});

Deno.test("counters go on when a replica is started again", async () => {
  const { metrics, show, read } = setUp();
  show(replica(1, { fuelUsed: 100 }));
  assert.equal(await read(FUEL), 100);
  metrics.record(replica(1, { fuelUsed: 130 })); // It ended.
  show(replica(2, { fuelUsed: 5 }, 1));
  assert.equal(await read(FUEL), 135);
  metrics.record(replica(1, { fuelUsed: 130 })); // Told late, and twice: counted once.
  assert.equal(await read(FUEL), 135);
  show({ ...replica(2, {}, 1), usage: undefined }); // Between two instances.
  assert.equal(await read(FUEL), 135);
  assert.equal(await read('mem_current_bytes{component="auth",replica="0"}'), 0);
});

Deno.test("a replica that is gone is not shown, and goes on when it is back", async () => {
  const { show, read } = setUp();
  show(replica(1, { fuelUsed: 100 }, 2));
  assert.equal(await read(FUEL), 100);
  show();
  assert.equal(await read(FUEL), undefined);
  show(replica(9, { fuelUsed: 1 }));
  assert.equal(await read(FUEL), 101);
  assert.equal(await read('wasm_restarts_total{component="auth",replica="0"}'), 2);
});

Deno.test("no order of scrapes, ends and starts makes a counter go back", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.record({ used: fc.nat(50), restart: fc.boolean(), scrape: fc.boolean() }),
        { maxLength: 15 },
      ),
      async (turns) => {
        const { metrics, show, read } = setUp();
        let [instance, fuelUsed, total, last] = [1, 0, 0, 0];
        for (const turn of turns) {
          fuelUsed += turn.used;
          total += turn.used;
          show(replica(instance, { fuelUsed }));
          if (turn.scrape) {
            const now = (await read(FUEL))!;
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

Deno.test("two registries have nothing in common", async () => {
  const [one, other] = [setUp(), setUp()];
  one.show(replica(1, { fuelUsed: 1 }));
  assert.equal(await one.read(FUEL), 1);
  assert.equal(await other.read(FUEL), undefined);
});
