/**
 * What the scripts of the build have in common: where things are, running Deno, and giving up.
 *
 * @module
 */
import * as path from "node:path";

/** The repository. */
export const ROOT = path.resolve(import.meta.dirname!, "..");

/** What is made on the way to a build; may be deleted at any time. */
export const WORK = path.join(ROOT, ".cache", "build");

/** Runs this Deno. With `may: "fail"` gives what it said when it failed, else ends the build. */
export async function deno(
  args: string[],
  options: { cwd: string; env?: Record<string, string>; may?: "fail" },
): Promise<string | undefined> {
  const env: Record<string, string> = { ...Deno.env.toObject(), NO_COLOR: "1", ...options.env };
  if (env.DENORT_BIN === "") delete env.DENORT_BIN;
  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
    args,
    cwd: options.cwd,
    clearEnv: true,
    env,
    stdout: "inherit",
    stderr: "piped",
  }).output();
  if (success) return undefined;
  const text = new TextDecoder().decode(stderr);
  if (options.may !== "fail") fail(`Cannot run deno ${args[0]}:\n${text}`);
  return text;
}

/** For `catch`: what is not there need not be removed. */
export function ignoreNotFound(error: unknown): void {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}

/** Tells whoever builds. */
export function note(text: string): void {
  console.error(text);
}

/** Ends the build. */
export function fail(message: string): never {
  console.error(`error: ${message}`);
  Deno.exit(1);
}
