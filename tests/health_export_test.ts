/**
 * The health export of components, in the real engine: called as a request is, bounded as a request
 * is, and what becomes of an instance that does not come back from it.
 *
 * @module
 */
import assert from "node:assert/strict";
import { CHECK, HEALTH_EXPORT, REASON_BYTES_MAX } from "../agent/kernel/health_check.ts";
import { inspect, requireHealth } from "../agent/runtime/inspect.ts";
import { fixture, onEachEngine, withEngine } from "./guest.ts";
import { type Handler, handlerOf } from "./handler.ts";

const MIB = 1024 * 1024;

/** Asks a handler how it is. */
async function check(
  { get }: Handler,
  signal = new AbortController().signal,
): Promise<{ status: number; text: string }> {
  const { status, body } = await get("/", { method: CHECK, signal });
  return { status, text: await new Response(body as BodyInit | null).text() };
}

onEachEngine(
  "a component says how it is by its export",
  (withEngine) =>
    withEngine(async (engine) => {
      const handler = await handlerOf(engine, await fixture("health"), { maxConcurrency: 1 });
      assert.deepEqual(await check(handler), { status: 200, text: "" });
      await handler.text("/be?ill=no%20database");
      assert.deepEqual(await check(handler), { status: 503, text: "no%20database" });
      await handler.text("/be?rude");
      const { status, text } = await check(handler);
      assert.equal(status, 503);
      assert.ok(text.startsWith("\x1b[31mred\nand long "), "whoever shows it cleans it");
      assert.ok(new TextEncoder().encode(text).length <= REASON_BYTES_MAX);
      // A check that waits holds up no request of another instance, and is one instance's affair.
      await handler.text("/be?slow=20");
      assert.equal((await check(handler)).status, 200);
      await handler.text("/be?well");
      for (let i = 0; i < 100; i++) assert.equal((await check(handler)).status, 200);
      assert.equal(await handler.text("/checks"), "104\n", "inside of one instance, each time");
    }),
);

onEachEngine(
  "a health export is under the limits of every request",
  (withEngine) =>
    withEngine(async (engine) => {
      const handler = await handlerOf(engine, await fixture("health"), {
        maxConcurrency: 1,
        limits: { memoryBytesMax: 64 * MIB, epochTimeoutMs: 100 },
      });
      const faults: [how: string, wanted: object][] = [
        ["spin", { code: "epoch-timeout" }],
        ["trap", { code: "trap" }],
        ["exit", { message: /exited with 1/ }],
      ];
      for (const [how, wanted] of faults) {
        await handler.text(`/be?${how}`);
        await assert.rejects(check(handler), wanted, how);
        // The instance is gone with what it remembered; the next one is well.
        assert.equal((await check(handler)).status, 200, how);
        assert.equal(await handler.text("/checks"), "1\n", how);
      }
      // Who asked waits no longer.
      await handler.text("/be?slow=3600000");
      const abort = new AbortController();
      const asked = check(handler, abort.signal);
      abort.abort(new Error("late"));
      await assert.rejects(asked, /late/);
      assert.equal((await check(handler)).status, 200);
    }),
);

Deno.test("what a health export computes is fuel that its component used", () =>
  withEngine(async (engine) => {
    const handler = await handlerOf(engine, await fixture("health"));
    await check(handler);
    const before = handler.replica.usage().fuelUsed;
    for (let i = 0; i < 10; i++) await check(handler);
    assert.ok(handler.replica.usage().fuelUsed > before + 1_000);
  }));

Deno.test("each check has an instance of its own where each request has", () =>
  withEngine(async (engine) => {
    const handler = await handlerOf(engine, await fixture("health"), { instancePerRequest: true });
    for (let i = 0; i < 3; i++) assert.equal((await check(handler)).status, 200);
    assert.equal(await handler.text("/checks"), "0\n");
  }));

Deno.test("a component of WASI 0.3 says how it is, too", () =>
  withEngine(async (engine) => {
    const handler = await handlerOf(engine, await fixture("http-hello-p3"), { maxConcurrency: 1 });
    assert.deepEqual(await check(handler), { status: 200, text: "" });
    assert.equal(await handler.text("/ill"), "hello, 0.3\n");
    assert.deepEqual(await check(handler), { status: 503, text: "ill, 0.3" });
    assert.equal(await handler.text("/"), "hello, 0.3\n");
  }));

Deno.test("a component without the export is told so by its name", () =>
  withEngine(async (engine) => {
    for (const name of ["greeter", "http-p3"]) {
      const handler = await handlerOf(engine, await fixture(name));
      await assert.rejects(check(handler), {
        message: /realm:health\/check@0\.1\.0: the component does not export it/,
      }, name);
      const inspection = await inspect(await fixture(name));
      assert.equal(inspection.health, undefined);
      assert.throws(() => requireHealth(inspection), { code: "unsupported" }, name);
    }
    for (const name of ["health", "http-hello-p3"]) {
      const inspection = await inspect(await fixture(name));
      assert.equal(inspection.health, true, name);
      assert.ok(inspection.exports.includes(HEALTH_EXPORT));
      requireHealth(inspection);
    }
  }));
