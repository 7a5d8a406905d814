/**
 * The executable under test: what `./dev build` made, or `$REALM_EXECUTABLE`.
 *
 * @module
 */
import * as path from "node:path";

/** The repository. */
export const ROOT = path.resolve(import.meta.dirname!, "..", "..");

/** Absolute path of the executable. */
export const EXECUTABLE = path.resolve(
  Deno.env.get("REALM_EXECUTABLE") ?? path.join(ROOT, "out", "realm"),
);

/** How a run of a program ended. */
export interface Result {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A folder that is the whole world of the runs in it; gone afterwards. */
export interface Sandbox {
  readonly folder: string;
  /** Runs realm in the folder, with nothing in its environment but a home and a search path. */
  realm(...args: string[]): Promise<Result>;
}

/** Gives the test a sandbox. */
export async function withSandbox(test: (sandbox: Sandbox) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "realm-e2e-" });
  const home = path.join(folder, "home");
  const temporary = path.join(folder, "tmp");
  await Promise.all([home, temporary].map((each) => Deno.mkdir(each)));
  try {
    await test({
      folder,
      realm: (...args) =>
        run(EXECUTABLE, args, { cwd: folder, env: { HOME: home, TMPDIR: temporary } }),
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Runs a program to its end, with a clean environment. */
export async function run(
  program: string,
  args: string[],
  options: { cwd?: string; env?: Record<string, string> } = {},
): Promise<Result> {
  const { code, stdout, stderr } = await new Deno.Command(program, {
    args,
    clearEnv: true,
    env: { PATH: Deno.env.get("PATH") ?? "", ...options.env },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    stdin: "null",
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { status: code, stdout: text(stdout), stderr: text(stderr) };
}
