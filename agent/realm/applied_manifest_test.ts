import assert from "node:assert/strict";
import { followManifest } from "./applied_manifest.ts";
import type { ManifestRecord } from "./realm_view.ts";

function record(version: number, outcome: ManifestRecord["outcome"] = "applied"): ManifestRecord {
  const [event, sha256] = [`event-${version}-${outcome}`, `${version}`.repeat(64)];
  return { event, version, sha256, author: "owner", lamport: version, outcome };
}

const view = (inForce: ManifestRecord | undefined, ...others: ManifestRecord[]) => ({
  inForce,
  history: [...inForce === undefined ? [] : [inForce], ...others],
  owner: "owner",
});

Deno.test("followManifest() obeys what is in force", () => {
  const [one, two] = [record(1), record(2)];
  assert.equal(followManifest(undefined, view(undefined)), undefined);
  assert.equal(followManifest(undefined, view(one)), one);
  assert.equal(followManifest(one, view(one)), one);
  assert.equal(followManifest(one, view(two, one)), two);
});

Deno.test("followManifest() keeps what it obeys while the owner's branches are not joined", () => {
  const [one, two] = [record(1), record(2, "conflict")];
  assert.equal(followManifest(two, view(one, two)), two);
  assert.equal(followManifest(two, view(record(3), two))?.version, 3);
});

Deno.test("followManifest() leaves what was taken away, was settled otherwise, or is of another owner", () => {
  const one = record(1);
  assert.equal(followManifest(record(2), view(one)), one);
  assert.equal(followManifest(record(2), view(undefined)), undefined);
  for (const outcome of ["void", "stale", "refused"] as const) {
    assert.equal(followManifest(record(2, outcome), view(one, record(2, outcome))), one);
  }
  const two = record(2, "conflict");
  assert.equal(followManifest(two, { ...view(one, two), owner: "another" }), one);
});
