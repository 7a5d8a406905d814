import assert from "node:assert/strict";
import fc from "fast-check";
import { Captured } from "./captured.ts";

Deno.test("Captured keeps what a Map would, under numbers that stay small", () => {
  const actions = fc.array(fc.oneof(fc.constant("add"), fc.nat(12)), { maxLength: 200 });
  fc.assert(fc.property(actions, (list) => {
    const captured = new Captured();
    const model = new Map<number, object>();
    let most = 0;
    for (const action of list) {
      if (action === "add") {
        const value = { size: model.size };
        const number = captured.add(value);
        assert.ok(number > 0 && !model.has(number));
        model.set(number, value);
        most = Math.max(most, model.size);
        assert.ok(number <= most);
      } else {
        captured.delete(action as number);
        model.delete(action as number);
      }
      for (let number = 0; number <= 12; number++) {
        assert.equal(captured.get(number), model.get(number));
      }
    }
  }));
});
