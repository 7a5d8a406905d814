/**
 * Servers for whose connections the system has no descriptor left, and then has some again.
 */
import assert from "node:assert/strict";
import { STATUS } from "../agent/control/fake_api.ts";

Deno.test("proxy and control API are reached again after there was no descriptor left", async () => {
  const folder = await Deno.makeTempDir({ prefix: "realm-crowded-" });
  try {
    const script = new URL("./crowded_servers.ts", import.meta.url).pathname;
    const words = [Deno.execPath(), "run", "--quiet", "-A", "--no-check", script];
    const { stdout, stderr } = await new Deno.Command("sh", {
      args: ["-c", 'ulimit -n 256 && exec "$@"', "sh", ...words, `${folder}/control.sock`],
      signal: AbortSignal.timeout(60_000),
    }).output();
    const said = new TextDecoder().decode(stdout).trimEnd().split("\n");
    const why = new TextDecoder().decode(stderr);
    assert.match(said[0]!, /Too many open files/, why);
    assert.match(said[1]!, /^404 no route/, why);
    assert.equal(said.at(-1), STATUS.node.name, why);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
