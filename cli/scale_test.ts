import assert from "node:assert/strict";
import { withFakeAgent } from "./agent_fake.ts";

Deno.test("scale sets the number of replicas, or gives it back to the manifest", () =>
  withFakeAgent(async ({ agent, realm }) => {
    const set = await realm("scale", "auth", "3");
    assert.equal(set.stdout, "auth: 3 replicas wanted, until the manifest changes it\n");
    const cleared = await realm("scale", "auth", "--clear");
    assert.equal(cleared.stdout, "auth: 1 replica wanted, as in the manifest\n");
    assert.equal((await realm("scale", "auth", "0")).status, 0);
    assert.deepEqual(agent.calls, ["scale auth 3", "scale auth null", "scale auth 0"]);
    assert.deepEqual(JSON.parse((await realm("scale", "auth", "2", "--json")).stdout), {
      component: "auth",
      replicas: 2,
      scaledTo: 2,
    });
  }));

Deno.test("scale wants a number or --clear, and a component that is there", () =>
  withFakeAgent(async ({ agent, realm }) => {
    for (const argv of [["auth"], ["auth", "2", "--clear"], ["auth", "-1"], ["auth", "1001"], []]) {
      assert.equal((await realm("scale", ...argv)).status, 2, argv.join(" "));
    }
    assert.equal((await realm("scale", "none", "2")).status, 4);
    assert.deepEqual(agent.calls, []);
  }));

Deno.test("restart restarts a component", () =>
  withFakeAgent(async ({ agent, realm }) => {
    const { status, stdout } = await realm("restart", "auth");
    assert.deepEqual([status, stdout], [0, "auth: restarted 2 replicas\n"]);
    assert.deepEqual(JSON.parse((await realm("restart", "auth", "--json")).stdout), {
      component: "auth",
      restarted: 2,
    });
    assert.deepEqual(agent.calls, ["restart auth", "restart auth"]);
    assert.equal((await realm("restart", "none")).status, 4);
  }));
