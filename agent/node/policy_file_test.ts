import assert from "node:assert/strict";
import { DEFAULT_POLICY } from "../realm/policy.ts";
import { policyPath, readPolicy } from "./policy_file.ts";

Deno.test("readPolicy() gives what holds without a policy only where there is none", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const path = policyPath(folder);
    assert.equal(await readPolicy(folder), DEFAULT_POLICY);
    await Deno.writeTextFile(path, "exec = 1\n");
    await assert.rejects(readPolicy(folder), { code: "invalid-config" });
    await Deno.remove(path);
    await Deno.mkdir(path);
    await assert.rejects(readPolicy(folder), {
      code: "failed",
      message: /^Cannot read policy ".*\/policy\.toml": /,
      hint: /realm doctor/,
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
