import assert from "node:assert/strict";
import { fingerprint, formatPublicKey } from "../agent/kernel/key.ts";
import { fakeNode } from "../tui/status_fake.ts";
import { type FakeAgent, withOwner } from "./agent_fake.ts";
import { formatNodes } from "./nodes.ts";

const keyOf = (n: number) => formatPublicKey(new Uint8Array(32).fill(n));
const printOf = (n: number) => fingerprint(new Uint8Array(32).fill(n));

function withNodes(agent: FakeAgent, ...more: ReturnType<typeof fakeNode>[]): void {
  agent.state = {
    ...agent.state,
    nodes: [
      ...agent.state.nodes,
      fakeNode("bm-02", { key: keyOf(2), fingerprint: printOf(2) }),
      fakeNode("bm-03", { key: keyOf(3), fingerprint: printOf(3), state: "pending" }),
      ...more,
    ],
  };
}

Deno.test("nodes approve signs a pending node by its name, key or fingerprint", () =>
  withOwner(async ({ agent, realm }) => {
    withNodes(
      agent,
      fakeNode("bm-04", { key: keyOf(4), fingerprint: printOf(4), state: "pending" }),
    );
    const { status, stdout, stderr } = await realm("nodes", "approve", "bm-03");
    assert.deepEqual([status, stdout], [0, "approved bm-03\n"], stderr);
    assert.ok(stderr.includes(printOf(3)), "the fingerprint is shown for comparing");
    const named = await realm("nodes", "approve", printOf(4), "--name", "spare", "--json");
    assert.deepEqual(JSON.parse(named.stdout), { approved: [{ name: "spare", key: keyOf(4) }] });
    assert.deepEqual(agent.calls, [`approve bm-03 ${keyOf(3)}`, `approve spare ${keyOf(4)}`]);
    assert.equal((await realm("nodes", "approve", "bm-03")).status, 3, "it is approved already");
    assert.equal((await realm("nodes", "approve", "none")).status, 4);
    assert.equal((await realm("nodes", "approve", keyOf(9))).status, 4, "what is its name?");
    assert.equal((await realm("nodes", "approve", keyOf(9), "--name", "later")).status, 0);
    assert.equal(agent.calls.pop(), `approve later ${keyOf(9)}`);
    assert.equal((await realm("nodes", "approve")).status, 2);
  }));

Deno.test("names that peers chose reach no terminal as they are", () =>
  withOwner(async ({ agent, realm, terminal }) => {
    const name = "bm\x1b[2J\nroot";
    withNodes(agent, fakeNode(name, { key: keyOf(4), fingerprint: printOf(4), state: "pending" }));
    const runs = [
      await realm("nodes", "ls"),
      await realm("status"),
      await terminal(["n"], "nodes", "approve", keyOf(4)),
      await realm("nodes", "approve", keyOf(4)),
    ];
    for (const { stdout, stderr } of runs) {
      assert.ok(!(stdout + stderr).includes("\x1b[2J"), JSON.stringify(stdout + stderr));
      assert.ok(!/^root/m.test(stdout + stderr), JSON.stringify(stdout + stderr));
    }
  }));

Deno.test("nodes approve asks on a terminal, and takes no for an answer", () =>
  withOwner(async ({ agent, terminal }) => {
    withNodes(agent);
    assert.equal((await terminal(["n"], "nodes", "approve", "bm-03")).status, 1);
    assert.deepEqual(agent.calls, []);
    assert.equal((await terminal(["y"], "nodes", "approve", "bm-03")).status, 0);
    assert.deepEqual(agent.calls, [`approve bm-03 ${keyOf(3)}`]);
  }));

Deno.test("nodes revoke asks on a terminal, unless it is told not to", () =>
  withOwner(async ({ agent, terminal }) => {
    withNodes(agent);
    const no = await terminal(["n"], "nodes", "revoke", "bm-02");
    assert.equal(no.status, 1);
    assert.match(no.stderr, /Revoke bm-02, for good\?/);
    assert.deepEqual(agent.calls, []);
    assert.equal((await terminal(["y"], "nodes", "revoke", "bm-02")).status, 0);
    assert.equal((await terminal([], "nodes", "revoke", "bm-03", "--yes")).status, 0);
    assert.deepEqual(agent.calls, [
      `revoke ${keyOf(2)} after null`,
      `revoke ${keyOf(3)} after null`,
    ]);
  }));

Deno.test("nodes approve never guesses between two of one name, nor gives a name twice", () =>
  withOwner(async ({ agent, realm }) => {
    withNodes(
      agent,
      fakeNode("bm-03", { key: keyOf(5), fingerprint: printOf(5), state: "pending" }),
      fakeNode("bm-02", { key: keyOf(6), fingerprint: printOf(6), state: "pending" }),
    );
    const two = await realm("nodes", "approve", "bm-03");
    assert.equal(two.status, 2);
    assert.ok(two.stderr.includes(keyOf(3)) && two.stderr.includes(keyOf(5)));
    const impostor = await realm("nodes", "approve", "bm-02");
    assert.equal(impostor.status, 3);
    assert.match(impostor.stderr, /that is the name of ed25519:.*\nhint: Run realm nodes revoke/);
    assert.deepEqual(agent.calls, []);
    assert.equal((await realm("nodes", "approve", keyOf(5))).status, 0);
  }));

Deno.test("nodes revoke, drain and undrain name what they are about", () =>
  withOwner(async ({ agent, realm }) => {
    withNodes(agent, fakeNode("old", { key: keyOf(7), state: "revoked" }));
    assert.equal((await realm("nodes", "revoke", "bm-03", "bm-02")).status, 0);
    assert.equal((await realm("nodes", "drain", "bm-02")).stdout, "drained bm-02\n");
    assert.equal((await realm("nodes", "undrain", keyOf(2))).stdout, "undrained bm-02\n");
    assert.equal((await realm("nodes", "drain", "bm-03")).status, 3, "it is pending");
    assert.equal((await realm("nodes", "revoke", "old")).status, 3, "it is revoked already");
    assert.deepEqual(agent.calls, [
      `revoke ${keyOf(3)} after null`,
      `revoke ${keyOf(2)} after null`,
      "drain bm-02 true",
      "drain bm-02 false",
    ]);
  }));

Deno.test("nodes drain says when the manifest does not name the node", () =>
  withOwner(async ({ agent, realm }) => {
    withNodes(agent);
    agent.unwritten = "bm-02";
    const { status, stderr } = await realm("nodes", "drain", "bm-02");
    assert.deepEqual([status, /not in the manifest in force/.test(stderr)], [4, true]);
  }));

Deno.test("nodes revoke names the last event of the key that it revokes", () =>
  withOwner(async ({ agent, owner, realm }) => {
    withNodes(agent, fakeNode("me", { key: owner }));
    await realm("nodes", "revoke", "me");
    assert.deepEqual(agent.calls, [`revoke ${owner} after ${agent.log[0]!.id}`]);
  }));

Deno.test("nodes ls does not tell a machine that waits to approve itself", () => {
  const self = fakeNode("new", { key: keyOf(8), self: true, state: "pending" });
  const text = formatNodes([self], 0);
  assert.match(text, /^This machine waits for its owner: /m);
  assert.doesNotMatch(text, /asks to join/);
  const other = fakeNode("bm-03", { key: keyOf(3), state: "pending" });
  assert.match(formatNodes([self, other], 0), /^1 asks to join: /m);
});

Deno.test("nodes ls shows who lives, who asks to join and whose log differs", () =>
  withOwner(async ({ agent, realm }) => {
    withNodes(agent);
    const { stdout } = await realm("nodes", "ls");
    assert.match(stdout, /^bm-01 \* +live +3 +3\/3 +- +same +3f2a-/m);
    assert.match(stdout, /^bm-03 +pending .*\n\n1 asks to join: /m);
    const json = JSON.parse((await realm("nodes", "ls", "--json")).stdout);
    assert.deepEqual(json, agent.state.nodes);
    const text = formatNodes([
      fakeNode("a", {
        live: false,
        silentSinceMs: 1_000,
        drained: true,
        view: null,
        drift: true,
        latencyMs: 2,
      }),
      fakeNode("b", { live: false, version: null, heads: null, health: null }),
    ], 61_000);
    assert.match(text, /^a +silent for 1m, drained +3 +3\/3 +2\.0 ms +differs/m);
    assert.match(text, /^b +silent +- +- +- +-/m);
  }));

Deno.test("history and peer print what the agent says", () =>
  withOwner(async ({ agent, realm }) => {
    assert.equal((await realm("history")).stdout, "nothing was applied yet\n");
    agent.versions = [{
      version: 3,
      sha256: "ab".repeat(32),
      author: keyOf(1),
      event: "bafy",
      state: "refused",
      reason: "stale: version 3 was in force",
      takenAtMs: Date.now() - 60_500,
    }];
    assert.match(
      (await realm("history")).stdout,
      /^ +3 +refused +abababababab +ed25519:\w+ +1m ago +stale: version 3 was in force$/m,
    );
    assert.deepEqual(JSON.parse((await realm("history", "--json")).stdout), agent.versions);
    assert.equal((await realm("history", "--exec")).stdout, "no command was run yet\n");
    agent.commands = [{
      event: "bafy",
      author: keyOf(1),
      node: "bm-01",
      key: keyOf(2),
      command: ["sh", "-c", "echo it's \x1b[31m"],
      status: null,
      expiresAtMs: 0,
      takenAtMs: Date.now() - 60_500,
    }];
    const { stdout } = await realm("history", "--exec");
    assert.match(stdout, /^bm-01 +- +ed25519:\w+ +1m ago +sh -c 'echo it'\\''s /m);
    assert.ok(!stdout.includes("\x1b"), "text of others reaches no terminal as it is");
    assert.deepEqual(
      JSON.parse((await realm("history", "--exec", "--json")).stdout),
      agent.commands,
    );
    agent.known = [{
      key: keyOf(2),
      name: "bm-02",
      connected: true,
      direction: "inbound",
      relayed: true,
      latencyMs: 3,
      addresses: ["/ip4/127.0.0.1/tcp/4001"],
    }];
    const peers = await realm("peer", "ls");
    assert.match(
      peers.stdout,
      /^bm-02 +inbound, relayed +3\.0 ms +\/ip4\/127\.0\.0\.1\/tcp\/4001$/m,
    );
    assert.equal(
      (await realm("peer", "add", "/ip4/127.0.0.1/tcp/1")).stdout,
      "connected to ed25519:peer\n",
    );
    assert.deepEqual(agent.calls, ["peer /ip4/127.0.0.1/tcp/1"]);
  }));
