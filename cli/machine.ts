/**
 * What sources of artifacts may ask of this machine.
 *
 * @module
 */
import { lookup } from "node:dns/promises";
import type { Machine } from "../agent/node/component_source.ts";
import type { Shell } from "./context.ts";

/** The machine of a shell; a program that runs longer is killed. */
export function machineOf(shell: Pick<Shell, "env">, runMsMax = RUN_MS_MAX): Machine {
  return {
    variable: (name) => shell.env(name) || undefined,
    lookup: async (host) => (await lookup(host, { all: true })).map(({ address }) => address),
    run: (program, args, input) => run(program, args, input, runMsMax),
  };
}

/** What a helper may take and say before it is killed: it asks its own store, and nobody else. */
const RUN_MS_MAX = 60_000;
const OUTPUT_BYTES_MAX = 1024 * 1024;

async function run(
  program: string,
  args: readonly string[],
  input: string,
  runMsMax: number,
): Promise<string> {
  const child = new Deno.Command(program, {
    args: [...args],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  // One that does not read its input says more by how it ends.
  await writer.write(new TextEncoder().encode(input)).then(() => writer.close()).catch(() => {});
  let problem: string | undefined;
  // What it started may hold them open for longer than it lives.
  const readers = [child.stdout.getReader(), child.stderr.getReader()] as const;
  const kill = (why: string) => {
    problem ??= why;
    try {
      child.kill("SIGKILL");
    } catch {
      // it has ended
    }
    for (const reader of readers) reader.cancel().catch(() => {});
  };
  const late = setTimeout(() => kill(`it took more than ${runMsMax / 1_000} s`), runMsMax);
  const read = async (reader: typeof readers[number]) => {
    const chunks: Uint8Array<ArrayBuffer>[] = [];
    let bytes = 0;
    for (let next; !(next = await reader.read()).done;) {
      bytes += next.value.length;
      if (bytes <= OUTPUT_BYTES_MAX) chunks.push(next.value);
      else kill(`it wrote more than ${OUTPUT_BYTES_MAX} bytes`);
    }
    return new Uint8Array(await new Blob(chunks).arrayBuffer());
  };
  const [stdout, stderr, { success, code }] = await Promise.all([
    read(readers[0]),
    read(readers[1]),
    child.status,
  ]).finally(() => clearTimeout(late));
  if (problem !== undefined) throw new Error(problem);
  if (success) return new TextDecoder().decode(stdout);
  const said = new TextDecoder().decode(stderr.length > 0 ? stderr : stdout).trim();
  throw new Error(said === "" ? `it ended with status ${code}` : said.slice(0, 500));
}
