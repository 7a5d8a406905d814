import assert from "node:assert/strict";
import { parseManifest } from "./manifest.ts";
import { readersOf, resealOf, secretStates } from "./secrets.ts";

const KEY = "ed25519:6MTQsfExBkWNEPpyXUtqoEAJTLYaqtaz3ckf5imj9Lya";
const nodes = ["a", "b", "c", "d"].map((name) => ({ name, key: `key-${name}` }));
const manifest = parseManifest(`
[owner]
pubkey = "${KEY}"
[nodes.a]
tags = ["t"]
[nodes.b]
tags = ["t"]
[nodes.c]
[nodes.e]
tags = ["t"]
[components.tagged]
source = "file:x.wasm"
world = "wasi:http/proxy"
secrets = ["one"]
[components.named]
source = "file:x.wasm"
world = "wasi:http/proxy"
secrets = ["one", "two"]
[components.anywhere]
source = "file:x.wasm"
world = "wasi:cli/command"
secrets = ["three"]
[components.nowhere]
source = "file:x.wasm"
world = "wasi:http/proxy"
secrets = ["four"]
[routing]
"tag:t" = [{ path = "/t", component = "tagged" }]
c = [{ path = "/n", component = "named" }]
[secrets]
one = ""
two = ""
three = ""
four = ""
`);

Deno.test("readersOf() is every approved node on which placement could put a reader", () => {
  const names = (secret: string) => readersOf(secret, manifest, nodes).map(({ name }) => name);
  assert.deepEqual(names("one"), ["a", "b", "c"]);
  assert.deepEqual(names("two"), ["c"]);
  assert.deepEqual(names("three"), ["a", "b", "c"]);
  assert.deepEqual(names("four"), []);
  assert.deepEqual(names("none"), []);
});

Deno.test("secretStates() says who lacks a value, and who knows one but takes part no more", () => {
  const records = new Map([
    ["one", { event: "e1", author: "owner-1", nodes: ["key-a", "key-gone"] }],
    ["old", { event: "e2", author: "owner-2", nodes: [] }],
  ]);
  const states = secretStates(manifest, nodes, records, "owner-2");
  assert.deepEqual(
    states.map(({ name, record, isDeclared, lacking, exposed }) => [
      name,
      record?.event,
      isDeclared,
      lacking.map((node) => node.name).join(),
      exposed.join(),
    ]),
    [
      ["four", undefined, true, "", ""],
      ["old", "e2", false, "", ""],
      ["one", "e1", true, "b,c", "key-gone,owner-1"],
      ["three", undefined, true, "a,b,c", ""],
      ["two", undefined, true, "c", ""],
    ],
  );
  assert.deepEqual(secretStates(undefined, nodes, new Map(), null), []);
});

Deno.test("resealOf() keeps naming who knows the value, and seals nothing to who was revoked", () => {
  const readers = nodes.slice(0, 2);
  const record = { event: "e1", author: "owner", nodes: ["key-a", "key-d", "key-gone"] };
  const again = resealOf(readers, nodes, record);
  assert.deepEqual(again, {
    nodes: ["key-a", "key-b", "key-d", "key-gone"],
    sealedTo: ["key-a", "key-b", "key-d"],
  });
  const records = new Map([["one", { event: "e2", author: "owner", nodes: again.nodes }]]);
  const [state] = secretStates(undefined, nodes, records, "owner");
  assert.deepEqual(state!.exposed, ["key-gone"], "a new seal is no new value");
  assert.deepEqual(resealOf(readers, nodes, undefined).nodes, ["key-a", "key-b"]);
});
