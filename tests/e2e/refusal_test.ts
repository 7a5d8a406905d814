/**
 * Three machines, one of which refuses a manifest by its own policy: the others roll it out, whoever
 * waits for it is told which machine refuses and why, and that one follows once its policy allows it.
 */
import assert from "node:assert/strict";
import * as path from "node:path";
import { withSandbox } from "./executable.ts";
import { isComplete, type Machine, REPLICAS, ShopRealm } from "./shop_realm.ts";

/** The most that the policy allows, and more than that. */
const ALLOWED_MB = 128;
const WANTED_MB = 256;
const WHY = /memory_max_mb is 256/;

Deno.test("three machines, one of which refuses a manifest: the others roll it out, and it follows once its policy allows it", async (t) => {
  await withSandbox((sandbox) =>
    ShopRealm.with(sandbox, ["a", "b", "c"], (realm) => play(t, realm))
  );
});

async function play(t: Deno.TestContext, realm: ShopRealm): Promise<void> {
  const [a, b, c] = realm.machines as [Machine, Machine, Machine];
  const allow = (memoryMb: number) =>
    Deno.writeTextFile(
      path.join(realm.sandbox.folder, c.name, "policy.toml"),
      `[limits]\nmemory_max_mb = ${memoryMb}\n`,
    );
  /** Each step follows on those before it. */
  const step = async (name: string, run: () => Promise<void>) => {
    if (!await t.step(name, run)) throw new Error(`Each step follows on those before it: ${name}`);
  };
  let version = 0;

  await step("whoever waits is told which machine refuses, and why", async () => {
    await allow(ALLOWED_MB);
    const labels = { blue: { release: "two", memoryMb: WANTED_MB } };
    const { status, stdout, stderr } = await realm.tryApply(labels, "--wait");
    assert.equal(status, 1, stderr);
    version = JSON.parse(stdout).version;
    assert.match(stderr, new RegExp(`shop@blue is refused by c, version ${version}: `));
    assert.match(stderr, WHY);
  });

  await step("the others run it, and the one that refuses what it ran before", async () => {
    await realm.untilAll(
      "the others are done",
      ({ state, settled }) => state === "refused" && settled === REPLICAS - 1,
    );
    for (const { control } of [a, b]) {
      const { manifest, components, replicas } = await control.status();
      assert.equal(manifest!.version, version);
      assert.deepEqual(replicas.map(({ state }) => state), ["running"]);
      const [refusal, ...more] = components[0]!.rollout!.refusedBy;
      assert.deepEqual([refusal!.node, refusal!.version, more], ["c", version, []]);
      assert.match(refusal!.why, WHY);
    }
    const kept = await c.control.status();
    assert.equal(kept.manifest!.version, version - 1);
    assert.deepEqual(kept.replicas.map(({ state }) => state), ["running"]);
    assert.deepEqual(await realm.releases(), new Set(["one", "two"]));
  });

  await step("status says so to people", async () => {
    const data = path.join(realm.sandbox.folder, a.name);
    const { status, stdout } = await realm.sandbox.realm("status", "--data", data);
    assert.equal(status, 0);
    assert.match(stdout, new RegExp(`refused by c, version ${version}: `));
    assert.match(stdout, WHY);
  });

  await step("once its policy allows it, it follows", async () => {
    await allow(WANTED_MB);
    await realm.untilAll(
      "all of it runs",
      (rollout) => rollout.version === version && isComplete(rollout),
    );
    assert.deepEqual(await realm.releases(), new Set(["two"]));
  });
}
