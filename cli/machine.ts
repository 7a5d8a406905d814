/**
 * What sources of artifacts may ask of this machine.
 *
 * @module
 */
import { lookup } from "node:dns/promises";
import type { Machine } from "../agent/node/component_source.ts";
import type { Shell } from "./context.ts";

/** The machine of a shell. */
export function machineOf(shell: Pick<Shell, "env">): Machine {
  return {
    variable: (name) => shell.env(name) || undefined,
    lookup: async (host) => (await lookup(host, { all: true })).map(({ address }) => address),
    run,
  };
}

async function run(program: string, args: readonly string[], input: string): Promise<string> {
  const child = new Deno.Command(program, {
    args: [...args],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  // One that does not read its input says more by how it ends.
  await writer.write(new TextEncoder().encode(input)).then(() => writer.close()).catch(() => {});
  const { success, code, stdout, stderr } = await child.output();
  if (success) return new TextDecoder().decode(stdout);
  const said = new TextDecoder().decode(stderr.length > 0 ? stderr : stdout).trim();
  throw new Error(said === "" ? `it ended with status ${code}` : said.slice(0, 500));
}
