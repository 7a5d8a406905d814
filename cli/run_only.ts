/**
 * The command line of `realm run` alone, which starts in the time that loading all commands takes.
 *
 * @module
 */
import "../agent/local_engine.ts"; // it will be needed: loaded with the rest, not after it
import { commands } from "./command.ts";
import type { Shell } from "./context.ts";
import { BRIEF, dispatch } from "./dispatch.ts";
import { run } from "./run.ts";

const COMMANDS = commands(BRIEF, { run });

/** As `main()` of `app.ts`, for words that begin with `run` and ask for no help. */
export function main(argv: readonly string[], shell: Shell): Promise<number> {
  return dispatch(COMMANDS, argv, shell);
}
