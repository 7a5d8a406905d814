import assert from "node:assert/strict";
import * as path from "node:path";
import { fixtureBundle, Machine, publisher } from "./apps_fake.ts";
import { until } from "../../tests/until.ts";
import { buildBundle, type BuiltBundle } from "./bundle_builder.ts";
import "../../tests/wasm_tools.ts";
import { nodeBackend } from "../node/crypto_node.ts";
import { MemoryHub } from "../net/memory_network.ts";

const FIXTURES = new URL("../../fixtures/apps/", import.meta.url).pathname;

/** Counter, and the version that follows it. */
async function versions(): Promise<[BuiltBundle, BuiltBundle]> {
  const first = await fixtureBundle("counter");
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeFile(path.join(folder, "counter.bundle"), first.bytes);
    for (const app of ["counter", "counter-v2"]) {
      await Deno.mkdir(path.join(folder, app));
      for (const { name, isFile } of Deno.readDirSync(path.join(FIXTURES, app))) {
        const to = path.join(folder, app, name);
        if (isFile) await Deno.copyFile(path.join(FIXTURES, app, name), to);
      }
    }
    const source = path.join(folder, "counter-v2");
    return [first, await buildBundle(source, publisher, nodeBackend())];
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

// Here, because what transpiles components reads its own files when it is loaded.
const [first, second] = await versions();

/** The numbers of an entry of the state. */
async function numbers(machine: Machine, key: string): Promise<number[]> {
  const prefix = new TextEncoder().encode(key).toBase64();
  const { entries } = await machine.host.api.state({ topic: "ours", prefix, limit: 1 });
  const bytes = Uint8Array.fromBase64(entries[0]?.value ?? "");
  const view = new DataView(bytes.buffer);
  return Array.from({ length: bytes.length / 8 }, (_, i) => Number(view.getBigUint64(8 * i)));
}

Deno.test("an upgrade migrates the state; a peer without the bundle stops there and says so", async () => {
  const hub = new MemoryHub();
  await using ann = await Machine.start(hub);
  await using ben = await Machine.start(hub);
  for (const machine of [ann, ben]) await machine.install(first);
  await ann.create("counter", { name: "ours" });
  await ben.join(await ann.invite("ours"), "ours");
  await ben.dial(ann);
  await until("ben takes part", () => ben.status("ours").role === "member");
  await ann.call("ours", "add", "5");
  await ben.call("ours", "add", "7");
  const agree = () =>
    ann.status("ours").settled && ann.status("ours").digest === ben.status("ours").digest &&
    ann.status("ours").heads.join() === ben.status("ours").heads.join();
  await until("both agree", agree);
  assert.deepEqual(await numbers(ben, "total"), [12]);

  const bundle = second.packed.id.toString();
  const upgrade = async () => await ann.host.api.upgrade({ topic: "ours", bundle });
  await assert.rejects(upgrade(), { code: "not-found", message: /is not installed here/ });
  await ann.install(second);
  await upgrade();
  await until("ann is on it", () => ann.status("ours").bundle === bundle);
  assert.deepEqual(await numbers(ann, "sum"), [12, 2]);
  assert.deepEqual(await numbers(ann, "total"), []);
  await assert.rejects(upgrade(), { code: "refused", message: /is on it already/ });
  await ann.call("ours", "add", "1");
  assert.deepEqual(await numbers(ann, "sum"), [13, 2]);

  // Ben has the events and applies none from the upgrade on.
  await until("ben stops there", () => ben.status("ours").state === "needs-bundle");
  await until("ben has it all", () => ben.status("ours").events === ann.status("ours").events);
  assert.match(ben.status("ours").why!, new RegExp(`bundle ${bundle} is not installed`));
  assert.equal(ben.status("ours").needs, bundle);
  assert.equal(ben.status("ours").settled, false);
  assert.deepEqual(await numbers(ben, "total"), [12]);
  // What is written after the upgrade is the next version's to judge.
  const { events } = ben.status("ours");
  const missing = { code: "not-found", message: new RegExp(`${bundle} is not installed`) };
  await assert.rejects(ben.call("ours", "add", "9"), missing);
  assert.equal(ben.status("ours").events, events);
  const { bytes } = await ben.host.api.bundle({ bundle }); // ann gives it
  assert.deepEqual(Uint8Array.fromBase64(bytes), second.bytes);
  await ben.install(second);
  await until("both agree again", agree);
  assert.equal(ben.status("ours").state, "running");
  assert.equal(ben.status("ours").needs, undefined);
  assert.deepEqual(await numbers(ben, "sum"), [13, 2]);
  await ben.call("ours", "add", "2");
  await until("both agree at last", agree);
  assert.deepEqual(await numbers(ann, "sum"), [15, 2]);
  // Only he lacked one, and only once.
  const lacking = ({ notices }: Machine) => notices.filter((each) => /not installed/.test(each));
  assert.deepEqual([lacking(ann).length, lacking(ben).length], [0, 1]);
});
