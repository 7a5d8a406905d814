/**
 * The command line of `realm run` alone, which starts in the time that loading all commands takes.
 * In the executable it is bundled by itself, in few files; whether it shares one with the rest of the
 * program is left to the bundler.
 *
 * @module
 */
import "../agent/local_engine.ts"; // it will be needed: loaded with the rest, not after it
import { type FirstWorker, handOverFirstWorker } from "../agent/first_worker.ts";
import { carryOut, errorFormOf, exitStatus } from "./command_spec.ts";
import { type Shell, systemShell } from "./context.ts";
import { readPlain } from "./plain_words.ts";
import { run } from "./run.ts";

/**
 * Runs what the words say in the Worker that was started ahead, if one was: the exit status of the program, or
 * undefined where they are not the plain words of `realm run`, and nothing was done.
 */
export async function main(
  argv: readonly string[],
  first: FirstWorker | undefined,
  shell: Shell = systemShell(),
): Promise<number | undefined> {
  const read = readPlain("run", run, argv);
  if (!read) return undefined;
  if (first) handOverFirstWorker(first);
  const { values, words } = read;
  const form = errorFormOf(shell, values.json === true);
  return exitStatus(await carryOut(run, shell, values, words), shell, form);
}
