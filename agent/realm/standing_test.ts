import assert from "node:assert/strict";
import { cidOf } from "../kernel/canonical.ts";
import { encodeEvent, type Event, genesisEvent, nextEvent } from "../kernel/event.ts";
import { formatPublicKey } from "../kernel/key.ts";
import { Topic } from "../kernel/topic.ts";
import type { Said } from "./said.ts";
import { SAID_MAX, Standing } from "./standing.ts";

const [owner, operator] = [1, 2].map((byte) => new Uint8Array(32).fill(byte)) as [
  Uint8Array,
  Uint8Array,
];

/** An event as its author would sign it; neither a topic nor a standing asks for the signature. */
function made(event: Event) {
  const bytes = encodeEvent(event);
  return { id: cidOf(bytes), event, bytes, signature: new Uint8Array(64) };
}

Deno.test("Standing lets operators write so much after each event of an owner, and no more", () => {
  const genesis = made(genesisEvent(owner, { type: "control/genesis", payload: null }));
  const topic = new Topic(genesis.id, genesis.event);
  const standing = new Standing(topic, { owner, recoveryHash: new Uint8Array(32) });
  type Made = typeof genesis;
  const drain = { kind: "drain", node: "a", drained: true } as Said;
  const add = (event: Made, said: Said) => {
    const added = topic.add(event, (placed) => standing.problemOf(placed, said));
    if (added.kind === "added") standing.learn(added.event, said);
    return added;
  };
  let payload = 0;
  const write = (by: Uint8Array, heads: Made[], previous: Made | undefined, said: Said) => {
    const event = made(
      nextEvent(by, heads, previous, { type: `control/${said.kind}`, payload: payload++ }),
    );
    return { event, added: add(event, said) };
  };
  const names = { kind: "manifest", operators: [formatPublicKey(operator)] } as unknown as Said;
  const manifest = write(owner, [genesis], genesis, names).event;
  let last = write(operator, [manifest], undefined, drain).event;
  // On two branches that it joins, again and again: along one of them it wrote less.
  for (let written = 1; written < SAID_MAX; written += 3) {
    const branches = [write(operator, [last], last, drain), write(operator, [last], last, drain)];
    const heads = branches.map(({ event }) => event);
    const joined = write(operator, heads, heads[0], drain);
    assert.deepEqual([...branches, joined].map(({ added }) => added.kind), [
      "added",
      "added",
      "added",
    ]);
    last = joined.event;
  }
  const { added } = write(operator, [last], last, drain);
  assert.match(added.kind === "invalid" ? added.problem : added.kind, /wrote 10000 since/);
  // The owner's next event has seen all of it: again as much.
  const approval = { kind: "approve", key: formatPublicKey(operator), name: "b" } as Said;
  const seen = write(owner, [last], manifest, approval).event;
  assert.equal(write(operator, [seen], last, drain).added.kind, "added");
  // One who leaves that event out has no more than before.
  assert.equal(write(operator, [last], last, drain).added.kind, "invalid");
});
