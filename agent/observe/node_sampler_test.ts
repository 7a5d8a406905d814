import assert from "node:assert/strict";
import { NodeSampler } from "./node_sampler.ts";

Deno.test("NodeSampler reads what the machine has and uses", async () => {
  const sampler = new NodeSampler(".");
  await sampler.sample();
  const until = performance.now() + 120;
  while (performance.now() < until); // One core busy.
  const sample = await sampler.sample();
  assert.ok(sample.cpuPercent > 0 && sample.cpuPercent <= 100, `${sample.cpuPercent} %`);
  for (const part of ["memory", "disk"] as const) {
    const [used, total] = [sample[`${part}UsedBytes`], sample[`${part}TotalBytes`]];
    assert.ok(used > 0 && used < total && total > 1e8, `${part}: ${used} of ${total}`);
  }
  assert.ok(sample.agentMemoryBytes > 1e7);
});
