import assert from "node:assert/strict";
import fc from "fast-check";
import { RealmError } from "../kernel/error.ts";
import { parseBundleToml } from "./bundle_toml.ts";

const FULL = `name = "poll"
version = "1.2.3-rc.1"
publisher = "ed25519:4zvwRjXUKGfvwnParsHAS3HuSVzV5cA4McphgmoCtajS"
abi = 1
state_digest = 1
follows = "poll-1.0.0.bundle"
capabilities = ["state-write", "network", "clock"]
network = ["https://b.example", "https://a.example:8443"]

[components.behavior]
file = "bot.wasm"

[components.state-apply]
file = "apply.wat"
wit = "app.wit"
sha256 = "${"ab".repeat(32)}"

[modules.permission]
file = "permission.wasm"
into = ["behavior", "state-apply"]
`;

Deno.test("parseBundleToml() reads every key, and sorts what has one order", () => {
  const file = parseBundleToml(FULL);
  assert.deepEqual([...file.components.keys()], ["state-apply", "behavior"]);
  assert.deepEqual(file.components.get("state-apply"), {
    file: "apply.wat",
    wit: "app.wit",
    sha256: "ab".repeat(32),
  });
  assert.deepEqual(file.capabilities, ["clock", "network", "state-write"]);
  assert.deepEqual(file.network, ["https://a.example:8443", "https://b.example"]);
  assert.deepEqual(file.modules.get("permission")!.into, ["state-apply", "behavior"]);
  assert.equal(file.follows, "poll-1.0.0.bundle");
  const least = 'name = "a"\nversion = "0.1.0"\n[components.state-apply]\nfile = "a.wasm"\n';
  const { abi, stateDigest, capabilities, modules } = parseBundleToml(least);
  assert.deepEqual([abi, stateDigest, capabilities, modules.size], [1, 1, [], 0]);
});

Deno.test("parseBundleToml() says what is wrong, where, and the nearest known key", () => {
  const cases: [string, string, RegExp][] = [
    ['name = "poll"', 'nam = "poll"', /1:1: nam is not a known key, nearest is name/],
    ['name = "poll"', 'name = "Poll"', /1:8: name is "Poll", wanted 1 to 63 of a-z/],
    ["1.2.3-rc.1", "1.2", /2:11: version is "1.2", wanted a version such as 1\.2\.3/],
    ["abi = 1", "abi = 2", /4:7: abi is 2, wanted 1 to 1/],
    [
      "[components.behavior]",
      "[components.behaviour]",
      /10:\d+: components\.behaviour is not a known key, nearest is behavior/,
    ],
    ["[components.state-apply]", "[components.interaction]", /components\.state-apply is missing/],
    ['"clock"]', '"clocks"]', /capabilities\[2\] is "clocks", wanted one of clock, crypto,/],
    ['"clock"]', '"allow-floats"]', /capabilities\[2\] is "allow-floats", wanted .* reserved/],
    ['"network", ', "", /network needs "network" among the capabilities/],
    ["https://b.example", "b.example", /network\[0\] is "b\.example", wanted SCHEME/],
    [
      '["behavior", "state-apply"]',
      '["interaction"]',
      /into has "interaction", which is not among/,
    ],
    ['["behavior", "state-apply"]', "[]", /into is empty/],
    ["ed25519:", "ed25519-secret:", /publisher is wrong: it is a secret key/],
  ];
  for (const [from, to, message] of cases) {
    assert.ok(FULL.includes(from), from);
    assert.throws(
      () => parseBundleToml(FULL.replace(from, to)),
      (error) =>
        error instanceof RealmError && error.code === "invalid-config" &&
          message.test(error.message) || assert.fail(`${error}, wanted ${message}`),
    );
  }
});

Deno.test("parseBundleToml() answers a changed file with a bundle or RealmError", () => {
  const change = fc.tuple(fc.nat(FULL.length), fc.nat(8), fc.string({ maxLength: 8 }));
  fc.assert(
    fc.property(change, ([at, cut, put]) => {
      try {
        parseBundleToml(FULL.slice(0, at) + put + FULL.slice(at + cut));
      } catch (error) {
        assert.ok(error instanceof RealmError, String(error));
      }
    }),
    { numRuns: 200 },
  );
});
