import assert from "node:assert/strict";
import { InstalledApps } from "./installed_apps.ts";

Deno.test("InstalledApps says which file could not be written", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/apps`, "in the way");
    const installed = new InstalledApps(`${folder}/apps`);
    await assert.rejects(installed.keepRevocation("bafy", new Uint8Array(1)), {
      code: "failed",
      message: /^Cannot write .*\/apps\/bafy\.revoked: /,
      hint: /realm doctor/,
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
