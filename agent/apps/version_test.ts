import assert from "node:assert/strict";
import { isVersion } from "./bundle.ts";
import { compareVersions } from "./version.ts";

Deno.test("compareVersions has the order of semantic versions", () => {
  const ordered = [
    ...["0.1.0", "0.2.0", "0.10.0", "1.0.0-1", "1.0.0-2", "1.0.0-10", "1.0.0-alpha"],
    ...["1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta-2", "1.0.0", "1.0.1"],
  ];
  assert(ordered.every(isVersion));
  for (const [i, a] of ordered.entries()) {
    for (const [j, b] of ordered.entries()) {
      assert.equal(Math.sign(compareVersions(a, b)), Math.sign(i - j), `${a} and ${b}`);
    }
  }
});
