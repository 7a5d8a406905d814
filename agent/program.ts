/**
 * How this program is started again: by the demo, and for components in processes of their own.
 *
 * @module
 */
import { fileURLToPath } from "node:url";

/** The command that is the process of a component: see `cli/guest_process.ts`. */
export const GUEST_COMMAND = "__guest";

/** The words that start this program: the executable, or Deno with its script. */
export function programWords(): readonly [string, ...string[]] {
  const deno = Deno.execPath();
  if (Deno.build.standalone) return [deno];
  return [deno, "run", "--quiet", "-A", fileURLToPath(import.meta.resolve("../main.ts"))];
}
