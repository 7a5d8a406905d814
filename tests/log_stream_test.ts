// From a component's output through the ring and the control socket to a reader.
import assert from "node:assert/strict";
import { connectControl } from "../agent/control/client.ts";
import { FakeApi } from "../agent/control/fake_api.ts";
import { serveControl } from "../agent/control/server.ts";
import { LogRing } from "../agent/observe/log_ring.ts";

const clock = {
  wallMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  sleep: (_ms: number) => new Promise<void>(() => {}),
};

Deno.test("a slow reader of a log is told what it missed, and slows nobody", async () => {
  const folder = await Deno.makeTempDir({ prefix: "realm-log-" });
  const ring = new LogRing(clock, { linesMax: 100, linesPerSecMax: 1_000_000 });
  const api = new FakeApi();
  api.events = (options, signal) => ring.follow(options, signal);
  const path = `${folder}/control.sock`;
  const server = await serveControl({ path, api, closeTimeoutMs: 50 });
  const client = connectControl(path);
  try {
    const out = ring.writer(0, "stdout");
    const log = client.logs({ component: "flood", follow: true });
    out.write(new TextEncoder().encode("0\n"));
    assert.deepEqual((await log.next()).value?.kind, "line");

    // The reader stops reading; the component goes on for more than all the buffers between hold.
    const padding = ".".repeat(2_000);
    let written = 1;
    let slowestMs = 0;
    for (let round = 0; round < 300; round++) {
      const startMs = performance.now();
      for (let i = 0; i < 20; i++) out.write(new TextEncoder().encode(`${written++} ${padding}\n`));
      slowestMs = Math.max(slowestMs, performance.now() - startMs);
      await new Promise((resolve) => setTimeout(resolve));
    }
    assert.ok(slowestMs < 10_000, `a write of 20 lines took ${slowestMs} ms`);
    out.write(new TextEncoder().encode("last\n"));

    let next = 1;
    let missed = 0;
    for await (const event of log) {
      if (event.kind === "missed") {
        missed += event.lines;
        next += event.lines;
      } else if (event.text === "last") break;
      else assert.equal(parseInt(event.text), next++);
    }
    assert.equal(next, written);
    assert.ok(missed > 1_000, `${missed} of ${written} lines were missed`);
  } finally {
    client.close();
    await server.close();
    await Deno.remove(folder, { recursive: true });
  }
});
