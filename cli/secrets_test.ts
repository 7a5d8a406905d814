import assert from "node:assert/strict";
import { withOwner } from "./agent_fake.ts";

Deno.test("secrets rm takes no value away that the next apply would set again", () =>
  withOwner(async ({ agent, owner, realm }) => {
    agent.sealed = [{ name: "jwt", event: "baf", author: owner, nodes: [], sealed: "AA==" }];
    const inForce = (first: string) => {
      const text = `[owner]\npubkey = "${owner}"\n[components.a]\nsource = "file:a.wasm"\n` +
        `world = "wasi:http/proxy"\nsecrets = ["jwt"]\n[secrets]\njwt = "${first}"\n`;
      agent.current = { version: 1, manifest: new TextEncoder().encode(text), signature: "{}" };
    };
    const events = agent.log.length;
    inForce("age-encrypted:AAAA");
    const { status, stderr } = await realm("secrets", "rm", "jwt");
    assert.equal(status, 3, stderr);
    assert.match(stderr, /the manifest in force has its first value/);
    assert.match(stderr, /^hint: Write jwt = "" in \[secrets\] of realm\.toml/m);
    assert.equal(agent.log.length, events);
    inForce("");
    const removed = await realm("secrets", "rm", "jwt");
    assert.equal(removed.status, 0, removed.stderr);
    assert.equal(agent.log.at(-1)?.event.type, "control/secret");
  }));

Deno.test("secrets set says in a few words that a file cannot be read", () =>
  withOwner(async ({ realm }) => {
    const { status, stderr } = await realm("secrets", "set", "jwt", "--file", "none");
    assert.equal(status, 4);
    assert.match(stderr, /^error\[not-found\]: Cannot set secret jwt: cannot read none: [^:]*\n/m);
  }));
