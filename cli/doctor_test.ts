import assert from "node:assert/strict";
import { main } from "./app.ts";
import { testShell } from "./shell_fake.ts";

Deno.test("realm doctor tells each finding with a fix, and fails where something fails", async () => {
  const folder = await Deno.makeTempDir();
  const doctor = async (...flags: string[]) => {
    const shell = testShell();
    const status = await main(["doctor", "--data", folder, ...flags], shell);
    return { status, text: shell.text("stdout") };
  };
  try {
    await Deno.writeTextFile(`${folder}/owner.key`, "x", { mode: 0o600 });
    const { ok, findings } = JSON.parse((await doctor("--json")).text);
    const checks = new Set(findings.map(({ check }: { check: string }) => check));
    for (const check of ["folder", "keys", "socket", "policy", "ports", "disk", "clock"]) {
      assert.ok(checks.has(check), check);
    }
    assert.equal(ok, !findings.some(({ level }: { level: string }) => level === "problem"));

    await Deno.chmod(`${folder}/owner.key`, 0o644);
    const { status, text } = await doctor("--quiet");
    assert.equal(status, 1);
    assert.match(text, /^FAIL {2}keys .*owner\.key is open to others: 644\n +fix: chmod 600 /m);
    assert.doesNotMatch(text, /^ok/m);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
