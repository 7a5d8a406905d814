import assert from "node:assert/strict";
import { type FakeAgent, withOwner } from "./agent_fake.ts";
import { isProtected, readKeyFile, rewriteKeyFile } from "./key_file.ts";

const own = (agent: FakeAgent, owner: string) => {
  agent.state = { ...agent.state, node: { ...agent.state.node, owner } };
};

Deno.test("key rotate puts a new key in the old one's place, by the recovery key's word", () =>
  withOwner(async ({ agent, owner, data, realm }) => {
    own(agent, owner);
    const recovery = `${data}/recovery.key`;
    const done = await realm("key", "rotate", "--recovery", recovery, "--yes", "--json");
    assert.equal(done.status, 0, done.stderr);
    const { owner: next, before, last } = JSON.parse(done.stdout);
    assert.deepEqual([before, last], [owner, agent.log[0]!.id.toString()]);
    assert.deepEqual(agent.calls, [`succession ${next} after ${last}`]);
    assert.notEqual(agent.signers[0], owner, "it is the recovery key that signs");
    const shown = JSON.parse((await realm("key", "show", "--json")).stdout);
    assert.equal(shown.owner, next);
    const names = Array.from(Deno.readDirSync(data), ({ name }) => name);
    assert.ok(names.includes("owner.old.key") && !names.includes("owner.next.key"));
    assert.equal((await Deno.stat(`${data}/owner.key`)).mode! & 0o777, 0o600);
  }));

Deno.test("key rotate puts the new key under a passphrase where the old one was", () =>
  withOwner(async ({ agent, owner, data, withEnv }) => {
    own(agent, owner);
    const file = `${data}/owner.key`;
    await rewriteKeyFile(file, await readKeyFile(file), "old", 8);
    await Deno.writeTextFile(`${data}/passphrase`, "new", { mode: 0o600 });
    const realm = withEnv({ REALM_PASSPHRASE_FILE: `${data}/passphrase` });
    const done = await realm("key", "rotate", "--recovery", `${data}/recovery.key`, "--yes");
    assert.equal(done.status, 0, done.stderr);
    assert.ok(await isProtected(file) && await isProtected(`${data}/owner.old.key`));
  }));

Deno.test("key rotate voids what was signed after a version, and loses no key when it fails", () =>
  withOwner(async ({ agent, owner, data, realm }) => {
    own(agent, owner);
    const event = agent.log[0]!.id.toString();
    agent.versions = [{
      version: 3,
      sha256: "ab".repeat(32),
      author: owner,
      event,
      state: "applied",
      takenAtMs: null,
    }];
    const rotate = (...more: string[]) =>
      realm("key", "rotate", "--recovery", `${data}/recovery.key`, "--json", ...more);
    assert.equal((await rotate()).status, 2, "nobody can answer");
    assert.equal((await rotate("--yes", "--last-version", "9")).status, 4);
    const append = agent.append.bind(agent);
    agent.append = () => Promise.reject(new Error("a fault"));
    assert.equal((await rotate("--yes", "--last-version", "3")).status, 1);
    const kept = await Deno.readTextFile(`${data}/owner.next.key`);
    agent.append = append;
    const done = JSON.parse((await rotate("--yes", "--last-version", "3")).stdout);
    assert.ok(kept.includes(done.owner), "the key of the first try is the one");
    assert.equal(done.last, event);
    assert.equal((await realm("key", "rotate", "--yes")).status, 2, "which recovery key?");
  }));
