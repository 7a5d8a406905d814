import assert from "node:assert/strict";
import { sha256HexSync } from "../agent/kernel/canonical.ts";
import { encodeSigned, type SignedEvent } from "../agent/kernel/event.ts";
import { PublishedDigests } from "../agent/realm/published.ts";
import { webCryptoBackend } from "../agent/kernel/signature_backends.ts";
import { keyPairOf } from "../agent/kernel/verify.ts";
import { createControlGenesis } from "../agent/realm/control_event.ts";
import {
  genesis,
  heir,
  manifestOf,
  openLog,
  owner,
  proposed,
  recovery,
  stranger,
} from "../agent/realm/realm_log_fake.ts";
import { MemoryStore } from "../agent/store/memory_store.ts";
import { type CommandTest, withFakeAgent } from "./agent_fake.ts";
import { writeKeyFile } from "./key_file.ts";

const bytes = Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0);
const digest = sha256HexSync(bytes);
const encoded = (event: SignedEvent) => encodeSigned(event).toBase64();

/** Where the realm was made: the folder knows which one it is. */
const withRealm = (test: (parts: CommandTest) => Promise<void>) =>
  withFakeAgent(async (parts) => {
    await Deno.writeFile(`${parts.data}/control.genesis`, encodeSigned(genesis));
    await Deno.writeFile(`${parts.folder}/a.wasm`, bytes);
    await test(parts);
  });

/** Two manifests: the second one publishes the bytes. */
async function published() {
  const log = openLog();
  const first = proposed(log, owner, await manifestOf(owner, 1));
  log.offer([first]);
  const said = await manifestOf(owner, 2, { digest, published: log.published() });
  const second = proposed(log, owner, said);
  log.offer([second]);
  const { index, path } = log.inclusionOf(digest, second.id)!;
  const proof = log.consistencyOf(first.id, second.id)!;
  return {
    event: encoded(second),
    index,
    path: path.map((hash) => hash.toHex()),
    before: { event: encoded(first), proof: proof.map((hash) => hash.toHex()) },
  };
}

Deno.test("inspect --proof shows that the owner published a file, and checks it here", () =>
  withRealm(async ({ agent, realm }) => {
    agent.publication = await published();
    const { status, stdout } = await realm("inspect", "--proof", "a.wasm");
    assert.equal(status, 0);
    assert.match(stdout, new RegExp(`^sha256 +${digest}\nleaf +1 of 2$`, "m"));
    assert.match(stdout, new RegExp(`^signed by ${owner.key}\nin +version 2, event baf\\w+$`, "m"));
    assert.match(stdout, /^before +version 1 had 1, which are the first of these$/m);
    const json = JSON.parse((await realm("inspect", "--proof", "a.wasm", "--json")).stdout);
    const { root, size } = new PublishedDigests(["ab".repeat(32), digest]).head;
    assert.deepEqual([json.size, json.root], [size, root.toHex()]);
    assert.deepEqual([json.index, json.path], [1, agent.publication.path]);
    assert.deepEqual([json.signed, json.before], [
      agent.publication.event,
      agent.publication.before,
    ]);
  }));

Deno.test("inspect --proof takes no wrong proof, and says where there is none", () =>
  withRealm(async ({ agent, realm }) => {
    const none = await realm("inspect", "--proof", "a.wasm");
    assert.equal(none.status, 4);
    assert.match(
      none.stderr,
      /Cannot prove that "a.wasm" was published: no manifest until now has/,
    );
    const good = await published();
    const zeros = "00".repeat(32);
    const cases: [typeof good, RegExp][] = [
      [{ ...good, index: 0 }, /is not at 0 of the tree that was signed/],
      [{ ...good, path: [zeros] }, /is not at 1 of the tree/],
      [{ ...good, event: good.before.event }, /is not at 1 of the tree/],
      [{ ...good, before: { ...good.before, proof: [zeros] } }, /does not begin with that of 1/],
      [{ ...good, before: { event: good.event, proof: [] } }, /version 2 is not before this one/],
    ];
    for (const [wrong, message] of cases) {
      agent.publication = wrong;
      const { status, stderr } = await realm("inspect", "--proof", "a.wasm");
      assert.equal(status, 3, stderr);
      assert.match(stderr, message);
    }
    const forged = Uint8Array.fromBase64(good.event);
    forged[forged.length - 1]! ^= 1;
    agent.publication = { ...good, event: forged.toBase64() };
    assert.equal((await realm("inspect", "--proof", "a.wasm")).status, 3);
  }));

Deno.test("inspect --proof takes no manifest of another realm or of somebody else", () =>
  withRealm(async ({ agent, data, realm }) => {
    const inspect = (...more: string[]) => realm("inspect", "--proof", "a.wasm", ...more);
    const log = openLog();
    const forged = proposed(log, stranger, await manifestOf(stranger, 1, { digest }));
    agent.publication = { event: encoded(forged), index: 0, path: [], before: null };
    const refused = await inspect();
    assert.equal(refused.status, 3);
    assert.match(
      refused.stderr,
      new RegExp(`${stranger.key} signed it, wanted the owner ${owner.key}`),
    );
    assert.match(refused.stderr, /hint: .*--owner KEY/);
    assert.equal((await inspect("--owner", stranger.key)).status, 0);

    const other = await createControlGenesis(owner, heir.publicKey);
    const otherLog = openLog(new MemoryStore(), { owner: owner.key });
    otherLog.offer([other]);
    const elsewhere = proposed(otherLog, owner, await manifestOf(owner, 1, { digest }));
    agent.publication = { event: encoded(elsewhere), index: 0, path: [], before: null };
    for (const more of [[], ["--owner", owner.key]]) {
      const { status, stderr } = await inspect(...more);
      assert.equal(status, 3);
      assert.match(stderr, /is of another realm/);
    }

    agent.publication = await published();
    const keys = await keyPairOf(new Uint8Array(32).fill(3), webCryptoBackend());
    await writeKeyFile(`${data}/owner.key`, keys, "after a rotation");
    assert.match((await inspect()).stderr, new RegExp(`wanted the owner ${heir.key}`));
    assert.equal((await inspect("--owner", owner.key)).status, 0);
    assert.notEqual((await inspect("--owner", "nonsense")).status, 0);
  }));

Deno.test("inspect --proof needs to know whose realm it is, and says what it did not check", () =>
  withRealm(async ({ agent, data, realm }) => {
    const inspect = (...more: string[]) => realm("inspect", "--proof", "a.wasm", ...more);
    const good = await published();
    agent.publication = { ...good, before: null };
    assert.match((await inspect()).stdout, /^before +not checked: the agent shows no version/m);

    const log = openLog();
    const first = proposed(log, stranger, await manifestOf(stranger, 1));
    agent.publication = { ...good, before: { ...good.before, event: encoded(first) } };
    assert.match((await inspect()).stdout, /^before +not checked: /m);
    assert.equal(JSON.parse((await inspect("--json")).stdout).before, null);

    agent.publication = good;
    await Deno.remove(`${data}/control.genesis`);
    const unknown = await inspect();
    assert.equal(unknown.status, 3);
    assert.match(unknown.stderr, /whose realm it is is not known here\nhint: .*--owner KEY/);
    assert.equal((await inspect("--owner", owner.key)).status, 0);
    assert.equal((await inspect("--owner", recovery.key)).status, 3);
  }));
