import assert from "node:assert/strict";
import { sha256HexSync } from "../agent/kernel/canonical.ts";
import { encodeSigned, type SignedEvent } from "../agent/kernel/event.ts";
import { PublishedDigests } from "../agent/realm/published.ts";
import { manifestOf, openLog, owner, proposed } from "../agent/realm/realm_log_fake.ts";
import { withFakeAgent } from "./agent_fake.ts";

const bytes = Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0);
const digest = sha256HexSync(bytes);
const encoded = (event: SignedEvent) => encodeSigned(event).toBase64();

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
  withFakeAgent(async ({ agent, folder, realm }) => {
    await Deno.writeFile(`${folder}/a.wasm`, bytes);
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
  withFakeAgent(async ({ agent, folder, realm }) => {
    await Deno.writeFile(`${folder}/a.wasm`, bytes);
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
