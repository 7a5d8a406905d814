import assert from "node:assert/strict";
import { componentEmbed, componentNew, parse } from "../../tests/wasm_tools.ts";
import { RealmError } from "../kernel/error.ts";
import { checkAsked } from "./asked.ts";
import type { Bundle, Role } from "./bundle.ts";
import { rawCidOf } from "./car.ts";

const WIT = ["state", "context", "exports"].map((name) =>
  Deno.readTextFileSync(new URL(`../../wit/realm-app-0.1.0/${name}.wit`, import.meta.url))
    .replace(/^package .*\n/m, "")
);

/** A component that does nothing, with these imports and exports. */
async function component(...border: string[]): Promise<Uint8Array> {
  const world = `world test { ${border.map((each) => `${each};`).join(" ")} }`;
  const witSource = ["package realm:app@0.1.0;", ...WIT, world].join("\n");
  return await componentNew(await componentEmbed({ witSource, dummy: true, world: "test" }));
}

const check = (role: Role, bytes: Uint8Array, bundle: Partial<Bundle>) =>
  checkAsked({ capabilities: [], modules: new Map(), ...bundle }, new Map([[role, bytes]]));

const refused = (message: RegExp) => (error: unknown) =>
  error instanceof RealmError && error.code === "refused" && message.test(error.message) ||
  assert.fail(`${error}, wanted ${message}`);

Deno.test("checkAsked() allows what the bundle asks for, and nothing else", async () => {
  const reads = await component("import state-read", "import crypto", "export applier");
  check("state-apply", reads, { capabilities: ["clock", "crypto", "state-read"] });
  check("state-apply", await component("export applier"), {});
  assert.throws(
    () => check("state-apply", reads, { capabilities: ["state-read"] }),
    refused(/its state-apply imports crypto, which the bundle does not ask for/),
  );
});

Deno.test("checkAsked() holds components to their profiles, whatever the bundle asks for", async () => {
  const clock = await component("import clock", "export applier");
  assert.throws(
    () => check("state-apply", clock, { capabilities: ["clock"] }),
    refused(/as state-apply: it imports realm:app\/clock/),
  );
  const bot = await component("import network", "export bot");
  check("behavior", bot, { capabilities: ["network"] });
  assert.throws(() => check("behavior", bot, {}), refused(/network/));
  const plain = await component("export applier");
  assert.throws(
    () => check("state-apply", plain, { capabilities: ["floats"] }),
    refused(/"floats" is for behavior only/),
  );
});

Deno.test("checkAsked() finds modules in the component that is said to have them", async () => {
  const plain = await component("import state-read", "export applier");
  const module = await parse("(component (core module))");
  assert.ok(module.length < 128, "its length is one byte");
  const composed = Uint8Array.of(...plain, 4, module.length, ...module);
  const into: readonly Role[] = ["state-apply"];
  const modules = new Map([["permission", { component: rawCidOf(module), into }]]);
  check("state-apply", composed, { capabilities: ["state-read"], modules });
  assert.throws(
    () => check("state-apply", composed, { modules }),
    refused(/imports state-read, which/),
    "what a module asks for has to be in the bundle",
  );
  const hashing = await component("import crypto");
  const [low, high] = [hashing.length & 127 | 128, hashing.length >> 7];
  const brings = Uint8Array.of(
    ...await component("import crypto", "export applier"),
    4,
    low,
    high,
    ...hashing,
  );
  assert.throws(
    () =>
      check("state-apply", brings, {
        modules: new Map([["hashing", { component: rawCidOf(hashing), into }]]),
      }),
    refused(/imports crypto \(module hashing\), which the bundle does not ask for/),
  );
  assert.throws(
    () => check("state-apply", plain, { capabilities: ["state-read"], modules }),
    refused(/does not have module permission/),
  );
});
