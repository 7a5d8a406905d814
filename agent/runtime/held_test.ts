import assert from "node:assert/strict";
import { Held } from "./held.ts";

Deno.test("Held tells both sides what the other said, before or after they ask", async () => {
  const agent = new Held();
  const worker = new Held(agent.buffer);
  // Deno takes a wait for shared memory for nothing to wait for, where there is nothing else.
  const alive = setInterval(() => {}, 5);
  const said: string[] = [];
  const gone = worker.gone().then(() => said.push("gone"));
  const running = agent.running().then(() => said.push("runs"));
  await new Promise((resolve) => setTimeout(resolve));
  assert.deepEqual(said, []);
  agent.go();
  await gone;
  assert.deepEqual(said, ["gone"]);
  worker.runs();
  await running;
  assert.deepEqual(said, ["gone", "runs"]);
  await worker.gone();
  await agent.running();
  clearInterval(alive);
});
