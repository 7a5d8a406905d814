import assert from "node:assert/strict";
import { type Artifact, decodeArtifact, encodeArtifact } from "./artifact.ts";

Deno.test("decodeArtifact() gives what encodeArtifact() was given, wherever the bytes lie", () => {
  const artifact: Artifact = {
    worlds: ["wasi:cli/command"],
    glue: 'return "ä \u2028 \ud83d\ude00";',
    modules: {
      core: new Uint8Array([0, 97, 115, 109]),
      core2: new Uint8Array(),
      ä: new Uint8Array(3),
    },
    origins: { core: [8, 12] },
  };
  const encoded = encodeArtifact(artifact);
  assert.deepEqual(decodeArtifact(encoded), artifact);
  const moved = new Uint8Array(encoded.length + 5);
  moved.set(encoded, 5);
  assert.deepEqual(decodeArtifact(moved.subarray(5)), artifact);
});
