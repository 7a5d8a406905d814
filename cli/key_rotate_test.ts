import assert from "node:assert/strict";
import { webCryptoBackend } from "../agent/kernel/signature_backends.ts";
import { keyPairOf } from "../agent/kernel/verify.ts";
import { type FakeAgent, withOwner } from "./agent_fake.ts";
import { isProtected, readKeyFile, rewriteKeyFile, writeKeyFile } from "./key_file.ts";

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

Deno.test("key rotate makes no key where it cannot tell whether the old one was under a passphrase", () =>
  withOwner(async ({ agent, owner, data, realm }) => {
    own(agent, owner);
    const rotate = () => realm("key", "rotate", "--recovery", `${data}/recovery.key`, "--yes");
    await Deno.chmod(`${data}/owner.key`, 0o644);
    const refused = await rotate();
    assert.equal(refused.status, 3);
    assert.match(refused.stderr, /owner\.key: mode is 644, wanted 600/);
    await assert.rejects(Deno.stat(`${data}/owner.next.key`), Deno.errors.NotFound);
    assert.deepEqual(agent.calls, []);
    await Deno.remove(`${data}/owner.key`);
    const done = await rotate();
    assert.equal(done.status, 0, `a lost one is replaced: ${done.stderr}`);
    assert.equal(await isProtected(`${data}/owner.key`), false);
  }));

Deno.test("key rotate refuses a key that is not the recovery key, before it makes another", () =>
  withOwner(async ({ agent, owner, data, realm }) => {
    own(agent, owner);
    const rotate = (file: string) =>
      realm("key", "rotate", "--recovery", `${data}/${file}`, "--yes");
    const another = await rotate("owner.key");
    assert.equal(another.status, 3);
    assert.match(another.stderr, /is not the recovery key .*\nhint: Name the recovery\.key/);
    const none = await rotate("none.key");
    assert.equal(none.status, 4);
    assert.match(none.stderr, /none\.key: it does not exist\nhint: Name the recovery\.key/);
    await assert.rejects(Deno.stat(`${data}/owner.next.key`), Deno.errors.NotFound);
    assert.deepEqual(agent.calls, []);
    await Deno.remove(`${data}/control.genesis`);
    assert.equal((await rotate("recovery.key")).status, 0, "a lost genesis is no reason");
  }));

Deno.test("writeKeyFile() writes a key under a passphrase at once", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const file = `${folder}/a.key`;
    const keys = await keyPairOf(new Uint8Array(32).fill(7), webCryptoBackend());
    await writeKeyFile(file, keys, "a key", "secret", 8);
    assert.ok(await isProtected(file));
    assert.deepEqual(await readKeyFile(file, () => "secret"), keys);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
