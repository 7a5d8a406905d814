import assert from "node:assert/strict";
import * as fc from "fast-check";
import { fakeNode, fakeReplica, fakeStatus } from "../../tui/status_fake.ts";
import type { Status } from "../../tui/view_model.ts";
import { DeltaReader, DeltaWriter } from "./live.ts";

const component = (name: string, replicas: number) => ({
  ...fakeStatus().components[0]!,
  name,
  replicas,
});

/** Lists have an order of their own at the reader's end. */
const sorted = (status: Status) =>
  Object.fromEntries(
    Object.entries(status).map(([key, value]) => [
      key,
      ["nodes", "components", "replicas", "topics"].includes(key)
        ? (value as unknown[]).map((each) => JSON.stringify(each)).sort()
        : value,
    ]),
  );

Deno.test("what a DeltaReader puts together is the status that the DeltaWriter was given", () => {
  const names = fc.uniqueArray(fc.constantFrom("a", "b", "c/d", "nodes", "e"), { maxLength: 4 });
  const status = fc.record({ names, majority: fc.boolean(), count: fc.nat(2) }).map((made) =>
    fakeStatus({
      majority: made.majority,
      nodes: made.names.map((name) => fakeNode(name, { live: made.count > 0 })),
      components: made.names.map((name) => component(name, made.count)),
      replicas: made.names.map((name) => fakeReplica(name, made.count)),
    })
  );
  fc.assert(fc.property(fc.array(status, { maxLength: 6 }), (states) => {
    const writer = new DeltaWriter();
    const reader = new DeltaReader();
    for (const each of states) {
      const delta = JSON.parse(JSON.stringify(writer.next(each)));
      assert.deepEqual(sorted(reader.next(delta)), sorted(each));
    }
  }));
});

Deno.test("a DeltaWriter tells what changed only, and a DeltaReader keeps the rest as it is", () => {
  const writer = new DeltaWriter();
  const reader = new DeltaReader();
  const before = fakeStatus({ components: [component("a", 1), component("b", 1)] });
  const first = reader.next(writer.next(before));
  assert.deepEqual(writer.next(structuredClone(before)), { set: [], gone: [] });
  const delta = writer.next({ ...before, components: [component("b", 2)] });
  assert.deepEqual(delta.set.map(([part]) => part), ["components/b"]);
  assert.deepEqual(delta.gone, ["components/a"]);
  const second = reader.next(delta);
  assert.equal(second.nodes[0], first.nodes[0]);
  assert.deepEqual(second.components.map(({ name, replicas }) => [name, replicas]), [["b", 2]]);
});
