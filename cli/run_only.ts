/**
 * The command line of `realm run` alone, which starts in the time that loading all commands takes.
 *
 * @module
 */
import "../agent/local_engine.ts"; // it will be needed: loaded with the rest, not after it
import { type FirstWorker, handOverFirstWorker } from "../agent/first_worker.ts";
import { commands } from "./command.ts";
import type { Shell } from "./context.ts";
import { BRIEF, dispatch } from "./dispatch.ts";
import { run } from "./run.ts";

export { systemShell } from "./context.ts";

const COMMANDS = commands(BRIEF, { run });

/**
 * As `main()` of `app.ts`, for words that begin with `run` and ask for no help; `first` is the
 * Worker that was started ahead.
 */
export function main(
  argv: readonly string[],
  shell: Shell,
  first?: FirstWorker,
): Promise<number> {
  if (first) handOverFirstWorker(first);
  return dispatch(COMMANDS, argv, shell);
}
