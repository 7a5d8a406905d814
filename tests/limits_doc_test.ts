/**
 * `docs/limits.md` says what the code does: each constant that it names has the value that it
 * gives, and no bound of a guest is left out.
 *
 * @module
 */
import assert from "node:assert/strict";
import * as bounds from "../agent/runtime/wasi/bounds.ts";
import * as keyValue from "../agent/kernel/key_value.ts";

const ROOT = new URL("../", import.meta.url);

/** Constants with their values, from the tables. */
function documented(): Map<string, number> {
  const text = Deno.readTextFileSync(new URL("docs/limits.md", ROOT));
  const rows = text.matchAll(/^\| [^|]+ \| `([A-Z_0-9]+)` \| ([\d,]+) \|/gm);
  return new Map([...rows].map(([, name, value]) => [name!, Number(value!.replaceAll(",", ""))]));
}

/** The values that a constant has wherever a file of the agent gives it one in digits. */
function* declared(name: string, folder = new URL("agent/", ROOT)): Generator<number> {
  for (const entry of Deno.readDirSync(folder)) {
    const url = new URL(entry.name + (entry.isDirectory ? "/" : ""), folder);
    if (entry.isDirectory) yield* declared(name, url);
    else if (/\.ts$/.test(entry.name) && !/_test\.ts$/.test(entry.name)) {
      const found = new RegExp(`^(?:export )?const ${name} = ([\\d_ *]+);$`, "m")
        .exec(Deno.readTextFileSync(url));
      if (!found) continue;
      yield found[1]!.split("*").reduce((all, n) => all * Number(n.replaceAll("_", "")), 1);
    }
  }
}

Deno.test("docs/limits.md has the numbers of the code", () => {
  const all = documented();
  assert.ok(all.size > 30, `${all.size}`);
  for (const [name, value] of all) {
    const values = [...declared(name)];
    assert.ok(values.length > 0, `${name} is nowhere`);
    assert.deepEqual([...new Set(values)], [value], name);
  }
});

Deno.test("docs/limits.md leaves no bound of a guest out", () => {
  const all = documented();
  for (const [name, value] of Object.entries({ ...bounds, ...keyValue })) {
    if (typeof value === "number") assert.equal(all.get(name), value, name);
  }
});
