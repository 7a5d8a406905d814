import assert from "node:assert/strict";
import fc from "fast-check";
import { Slots } from "./slots.ts";

Deno.test("Slots holds what a Map would, and numbers of the past mean nothing", () => {
  const step = fc.record({ add: fc.boolean(), pick: fc.nat(40) });
  fc.assert(fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
    const slots = new Slots<string>();
    const model = new Map<number, string>();
    const given: number[] = [];
    for (const [i, { add, pick }] of steps.entries()) {
      if (add || given.length === 0) {
        const id = slots.add(`${i}`);
        assert.ok(!model.has(id));
        model.set(id, `${i}`);
        given.push(id);
      } else {
        const id = given[pick % given.length]!;
        assert.equal(slots.delete(id), model.get(id));
        model.delete(id);
      }
      for (const id of given) assert.equal(slots.get(id), model.get(id));
      assert.equal(slots.size, model.size);
    }
    const all = new Map<number, string>();
    slots.forEach((value, id) => all.set(id, value));
    assert.deepEqual([...all].sort(), [...model].sort());
    slots.clear();
    assert.equal(slots.size, 0);
  }));
});

Deno.test("Slots gives a place again and again without its numbers leaving 31 bits", () => {
  const slots = new Slots<number>();
  for (let i = 0; i < 10_000; i++) {
    const id = slots.add(i);
    assert.ok(id >= 0 && id <= 0x7fff_ffff, `${id}`);
    assert.equal(slots.delete(id), i);
    assert.equal(slots.get(id), undefined);
  }
});
