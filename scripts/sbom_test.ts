import assert from "node:assert/strict";
import { billOfMaterials, bundledPackages, type LockFile } from "./sbom.ts";

const LOCK: LockFile = JSON.parse(
  await Deno.readTextFile(new URL("../deno.lock", import.meta.url)),
);

Deno.test("the bill of materials has every package of the lock file, once", () => {
  const bundled = new Set(["zod@4.6.7", "@noble/ed25519@3.2.0"]);
  const of = { version: "1.0.0", deno: "2.7.11", bundled };
  const text = billOfMaterials(LOCK, of);
  assert.equal(text, billOfMaterials(LOCK, of), "the same bytes");
  const bill = JSON.parse(text);
  assert.deepEqual([bill.bomFormat, bill.specVersion], ["CycloneDX", "1.6"]);
  assert.match(
    bill.serialNumber,
    /^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}$/,
  );
  const refs: string[] = bill.components.map((each: { "bom-ref": string }) => each["bom-ref"]);
  assert.equal(new Set(refs).size, refs.length);
  assert.equal(refs.length, Object.keys(LOCK.npm).length + 1, "and Deno");
  const byRef = new Map(
    bill.components.map((each: { "bom-ref": string }) => [each["bom-ref"], each]),
  );
  // deno-lint-ignore no-explicit-any
  const noble = byRef.get("pkg:npm/%40noble/ed25519@3.2.0") as any;
  assert.equal(noble.scope, "required");
  assert.match(noble.hashes[0].content, /^[0-9a-f]{128}$/);
  assert.equal(
    bill.components.filter(({ scope }: { scope: string }) => scope === "required").length,
    3,
  );
  const all = new Set([...refs, "realm@1.0.0"]);
  for (const { ref, dependsOn } of bill.dependencies) {
    for (const each of [ref, ...dependsOn]) assert.ok(all.has(each), each);
  }
});

Deno.test("bundledPackages() reads what the bundler took", () => {
  const inputs = [
    ".cache/build/node_modules/.deno/@noble+curves@2.4.0/node_modules/@noble/curves/utils.js",
    ".cache/build/node_modules/.deno/ink@8.0.0_react@19.3.1/node_modules/ink/build/index.js",
    "agent/agent.ts",
  ];
  assert.deepEqual([...bundledPackages(inputs)], ["@noble/curves@2.4.0", "ink@8.0.0"]);
});
