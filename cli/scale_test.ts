import assert from "node:assert/strict";
import { fakeNode } from "../tui/status_fake.ts";
import { withOwner } from "./agent_fake.ts";

Deno.test("scale sets the number of replicas, or gives it back to the manifest", () =>
  withOwner(async ({ agent, realm }) => {
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
  withOwner(async ({ agent, realm }) => {
    for (const argv of [["auth"], ["auth", "2", "--clear"], ["auth", "-1"], ["auth", "1001"], []]) {
      assert.equal((await realm("scale", ...argv)).status, 2, argv.join(" "));
    }
    assert.equal((await realm("scale", "none", "2")).status, 4);
    assert.deepEqual(agent.calls, []);
  }));

Deno.test("restart restarts a component", () =>
  withOwner(async ({ agent, realm }) => {
    const { status, stdout } = await realm("restart", "auth");
    assert.deepEqual([status, stdout], [0, "auth: restarted 2 replicas\n"]);
    assert.deepEqual(JSON.parse((await realm("restart", "auth", "--json")).stdout), {
      component: "auth",
      restarted: 2,
    });
    assert.deepEqual(agent.calls, ["restart auth", "restart auth"]);
    assert.equal((await realm("restart", "none")).status, 4);
  }));

Deno.test("restart and scale take nodes by name, key or fingerprint, and none that are not there", () =>
  withOwner(async ({ agent, realm }) => {
    const [{ name, key }] = agent.state.nodes as [typeof agent.state.nodes[number]];
    assert.equal((await realm("restart", "auth", "--nodes", key)).status, 0);
    assert.equal((await realm("scale", "auth", "2", "--node", key)).status, 0);
    assert.deepEqual(agent.calls, [`restart auth ${name}`, `scale auth 2 ${name}`]);
    for (const words of [["restart", "auth", "--nodes"], ["scale", "auth", "2", "--node"]]) {
      const { status, stderr } = await realm(...words, "none");
      assert.equal(status, 4);
      assert.match(
        stderr,
        /Cannot find node "none": wanted .* one of bm-01\nhint: Run realm nodes ls/,
      );
    }
    assert.equal(agent.calls.length, 2);
  }));

Deno.test("restart and scale are signed by the owner, or by the key that --key names", () =>
  withOwner(async ({ agent, owner, folder, realm }) => {
    agent.state = { ...agent.state, nodes: [...agent.state.nodes, fakeNode("bm-02")] };
    await realm("restart", "auth", "--nodes", "bm-01", "--nodes", "bm-02");
    const operator = await realm("init", "--data", `${folder}/operator`, "--json");
    const key = JSON.parse(operator.stdout).owner;
    await realm("restart", "auth", "--key", `${folder}/operator/owner.key`);
    const signed = await realm("scale", "auth", "2", "--key", `${folder}/operator/owner.key`);
    assert.equal(signed.status, 0, signed.stderr);
    assert.deepEqual(agent.signers, [owner, key, key]);
    assert.equal(agent.calls[0], "restart auth bm-01 bm-02");
    const [, first, second, third] = agent.log;
    assert.equal(first!.event.seq, 1);
    assert.deepEqual([second!.event.seq, third!.event.seq], [0, 1]);
    assert.equal(third!.event.prev?.toString(), second!.id.toString());
  }));

Deno.test("restart says which key is missing, and that a realm begins with its first apply", () =>
  withOwner(async ({ agent, folder, realm }) => {
    const missing = await realm("restart", "auth", "--key", `${folder}/none.key`);
    assert.equal(missing.status, 4);
    assert.match(missing.stderr, /Cannot sign: there is no key in .*none\.key.*\nhint: .*--key/);
    agent.log.length = 0;
    const early = await realm("restart", "auth");
    assert.equal(early.status, 4);
    assert.match(early.stderr, /no control log yet.*\nhint: Run realm apply/);
  }));
