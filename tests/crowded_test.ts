/**
 * Servers for whose connections the system has no descriptor left, and then has some again.
 */
import assert from "node:assert/strict";
import { STATUS } from "../agent/control/fake_api.ts";

const CASES = [
  { name: "", said: /Too many open files/ },
  { name: ", although clients keep their connections", kept: "kept", said: /listener had ended/ },
];

for (const { name, said, kept = "" } of CASES) {
  Deno.test(`proxy and control API are reached again after there was no descriptor left${name}`, async () => {
    const folder = await Deno.makeTempDir({ prefix: "realm-crowded-" });
    try {
      const script = new URL("./crowded_servers.ts", import.meta.url).pathname;
      const words = [Deno.execPath(), "run", "--quiet", "-A", "--no-check", script];
      const { stdout, stderr } = await new Deno.Command("sh", {
        args: ["-c", 'ulimit -n 256 && exec "$@"', "sh", ...words, `${folder}/control.sock`, kept],
        signal: AbortSignal.timeout(60_000),
      }).output();
      const lines = new TextDecoder().decode(stdout).trimEnd().split("\n");
      const why = new TextDecoder().decode(stderr);
      assert.match(lines[0]!, said, why);
      assert.match(lines[1]!, /^404 no route/, why);
      assert.deepEqual(lines.slice(-2), [STATUS.node.name, "closed"], why);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}
