import assert from "node:assert/strict";
import {
  COMPONENTS_MAX,
  POINTS_MAX,
  type SampledReplica,
  Samples,
  type SampleSource,
} from "./samples.ts";

const replica = (
  component: string,
  fuelUsed: number,
  but: Partial<SampledReplica> = {},
): SampledReplica => ({
  component,
  index: 0,
  startedAtMs: 1,
  usage: { fuelUsed, runningMs: fuelUsed / 100, memoryBytes: 1_000 },
  ...but,
});

const at = (seconds: number, replicas: readonly SampledReplica[] = []): SampleSource => ({
  wallMs: 1_000_000 + seconds * 1000,
  monotonicMs: seconds * 1000,
  cpuPercent: seconds,
  agentMemoryBytes: 5_000,
  replicas,
});

const last = (values: readonly number[]) => values[values.length - 1];

Deno.test("samples say rates per second since the point before, of the node and of a component", () => {
  const samples = new Samples();
  samples.take(at(0, [replica("web", 500), replica("db", 0)]));
  assert.ok(Number.isNaN(samples.series().values.fuel[0]), "nothing to compare the first with");
  for (let i = 0; i < 10; i++) samples.request("web", i === 0, 20);
  samples.request(undefined, true, 1);
  samples.take(at(5, [replica("web", 10_500), replica("db", 5_000)]));
  const node = samples.series();
  assert.deepEqual(node.atMs, [1_000_000, 1_005_000]);
  assert.equal(last(node.values.fuel), 3_000);
  assert.ok(Math.abs(last(node.values.requests)! - 2.2) < 1e-5);
  assert.equal(last(node.values.errors)!.toFixed(3), "0.400");
  assert.equal(last(node.values.cpu), 5);
  assert.equal(last(node.values.memory), 5_000);
  const web = samples.series("web");
  assert.equal(last(web.values.fuel), 2_000);
  assert.equal(last(web.values.requests), 2);
  assert.equal(last(web.values.cpu), 2, "100 ms of guest in 5 s");
  assert.equal(last(web.values.memory), 1_000);
  assert.ok(Number.isNaN(last(samples.series("nobody").values.fuel)));
  samples.take(at(10, [replica("web", 10_500), replica("db", 5_000)]));
  assert.equal(last(samples.series("web").values.requests), 0, "the stretch began anew");
  assert.ok(Number.isNaN(last(samples.series("web").values.p50)));
});

Deno.test("samples count an instance that was started again from nothing", () => {
  const samples = new Samples();
  samples.take(at(0, [replica("web", 50_000)]));
  samples.take(at(5, [replica("web", 1_000, { startedAtMs: 2 })]));
  assert.equal(last(samples.series("web").values.fuel), 200);
  samples.take(at(10, [replica("web", 0, { startedAtMs: null, usage: null })]));
  assert.equal(last(samples.series("web").values.fuel), 0);
});

Deno.test("samples know quantiles of latencies to a tenth", () => {
  const samples = new Samples();
  samples.take(at(0));
  for (let ms = 1; ms <= 1_000; ms++) samples.request("web", false, ms);
  samples.take(at(5, [replica("web", 0)]));
  const { values } = samples.series("web");
  for (const [part, wanted] of [["p50", 500], ["p95", 950], ["p99", 990]] as const) {
    const found = last(values[part])!;
    assert.ok(Math.abs(found / wanted - 1) <= 0.1, `${part} ${found}`);
  }
  samples.request("web", false, 0);
  samples.request("web", false, 1e9);
  samples.take(at(10, [replica("web", 0)]));
  assert.ok(last(samples.series("web").values.p50)! <= 0.1);
  assert.ok(last(samples.series("web").values.p99)! > 60_000);
});

Deno.test("samples keep an hour: the oldest goes for the newest, and a reader asks for what is new", () => {
  const samples = new Samples();
  for (let i = 0; i < POINTS_MAX + 10; i++) samples.take(at(5 * i, [replica("web", i)]));
  const { atMs, values } = samples.series();
  assert.equal(atMs.length, POINTS_MAX);
  assert.equal(atMs[0], 1_000_000 + 10 * 5_000);
  assert.ok(atMs.every((ms, i) => i === 0 || ms > atMs[i - 1]!), "in order");
  assert.equal(last(values.cpu), 5 * (POINTS_MAX + 9));
  assert.equal(samples.series(undefined, last(atMs)!).atMs.length, 1);
});

Deno.test("samples are bounded in components; one that is gone for an hour makes room", () => {
  const samples = new Samples();
  const many = Array.from({ length: COMPONENTS_MAX + 1 }, (_, i) => replica(`c${i}`, 0));
  samples.take(at(0, many));
  samples.take(at(5, many));
  const has = (name: string) => samples.series(name).values.memory.some((v) => !Number.isNaN(v));
  assert.ok(has("c0") && has(`c${COMPONENTS_MAX - 1}`));
  assert.ok(!has(`c${COMPONENTS_MAX}`));
  for (let i = 2; i < POINTS_MAX + 4; i++) samples.take(at(5 * i));
  samples.take(at(5 * POINTS_MAX + 50, [replica("late", 1)]));
  assert.ok(has("late") && !has("c0"));
});
