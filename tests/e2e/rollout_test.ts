/**
 * Rollouts over three machines, each of which is asked all the time: a new release comes, a bad one
 * goes back by itself, blue becomes green, a machine is drained and another dies, and no request
 * fails.
 */
import assert from "node:assert/strict";
import { Load } from "../../cli/demo/load.ts";
import { succeeded, until } from "./agent_process.ts";
import { withSandbox } from "./executable.ts";
import { isComplete, type Label, type Machine, REPLICAS, ShopRealm } from "./shop_realm.ts";

Deno.test("three machines under load: releases roll out, a bad one goes back, blue becomes green, a machine drains", async (t) => {
  await withSandbox((sandbox) =>
    ShopRealm.with(sandbox, ["a", "b", "c"], (realm) => play(t, realm))
  );
});

async function play(t: Deno.TestContext, realm: ShopRealm): Promise<void> {
  const [a, b, c] = realm.machines as [Machine, Machine, Machine];
  const check = (body: string) => body.trim() === "ok" ? undefined : `body ${body}`;
  const loads = realm.machines.map(({ name, proxy }) =>
    new Load([{ name, url: `${proxy}/healthz`, check }])
  );

  await t.step("a new release comes to every machine", async () => {
    await until("there is load", () => loads.every(({ answered }) => answered > 50));
    await realm.untilComplete(await realm.apply({ blue: { release: "two" } }));
    assert.deepEqual(await realm.releases(), new Set(["two"]));
  });

  await t.step("a bad release goes back by itself, and says why", async () => {
    const version = await realm.apply({ blue: { release: "bad", code: 503 } });
    await realm.untilReturned(version);
    assert.deepEqual(await realm.releases(), new Set(["two"]));
    const { evidence } = (await a.control.status()).components[0]!.rollout!.failure!;
    assert.match(evidence, /^GET \/status\?code=503: 503/);
  });

  await t.step("blue is followed by green", async () => {
    const apply = async (labels: Readonly<Record<string, Label>>) =>
      await realm.untilComplete(await realm.apply(labels, "--wait"));
    const blue = { release: "two" };
    const green = { release: "three" };
    await apply({ blue: { ...blue, weight: 90 }, green: { ...green, weight: 10 } });
    await apply({ blue: { ...blue, weight: 0 }, green: { ...green, weight: 100 } });
    assert.deepEqual(await realm.releases(), new Set(["three"]));
    await apply({ green });
    assert.deepEqual(await realm.releases(), new Set(["three"]));
  });

  await t.step("a version of before comes again", async () => {
    const { failed } = succeeded(await realm.realm("rollback", "2", "--yes", "--wait"));
    assert.deepEqual(failed, []);
    await realm.untilAll("the second release is there again", isComplete);
    assert.deepEqual(await realm.releases(), new Set(["two"]));
  });

  await t.step("a machine that is drained gives its replica away first", async () => {
    succeeded(await realm.realm("nodes", "drain", c.name));
    await realm.untilIdle(c);
    await realm.untilAll("the others run all of it", ({ settled }) => settled === REPLICAS);
  });

  await t.step("a machine that dies is replaced by those that are left", async () => {
    succeeded(await realm.realm("nodes", "undrain", c.name));
    await realm.untilSpread();
    await realm.untilAll("all of it runs again", isComplete);
    await loads[1]!.stop(); // it asks the machine that dies
    await realm.kill(b);
  });

  await t.step("no request failed", async () => {
    for (const load of loads) await load.stop();
    const sums = loads.map(({ answered, lost }) => ({ answered, lost }));
    assert.ok(
      sums.every(({ answered, lost }) => answered > 100 && lost.length === 0),
      JSON.stringify(sums),
    );
  });
}
