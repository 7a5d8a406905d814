/**
 * wasmtime as it is installed on this machine, for tests that compare with it.
 *
 * @module
 */

/** A command of this machine with all its output. */
export async function output(command: string, args: readonly string[], stdin = "") {
  const child = new Deno.Command(command, {
    args: [...args],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writing = (async () => {
    const writer = child.stdin.getWriter();
    await writer.write(new TextEncoder().encode(stdin));
    await writer.close();
  })().catch(() => {}); // it need not read all
  const { code, stdout, stderr } = await child.output();
  await writing;
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, stdout: text(stdout), stderr: text(stderr) };
}

function findWasmtime(): string | undefined {
  const home = Deno.env.get("CARGO_HOME") ?? `${Deno.env.get("HOME")}/.cargo`;
  for (const command of ["wasmtime", `${home}/bin/wasmtime`]) {
    try {
      const { success } = new Deno.Command(command, { args: ["--version"] }).outputSync();
      if (success) return command;
    } catch {
      // not there
    }
  }
}

/** The command, where there is one. */
export const WASMTIME = findWasmtime();
