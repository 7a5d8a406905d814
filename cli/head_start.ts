/**
 * What is started before the command line is read, since it takes longest. Loaded before all else,
 * so it has to be small.
 *
 * @module
 */
import { type FirstWorker, startFirstWorker } from "../agent/first_worker.ts";

/** Global flags whose value is the next word. */
const VALUED = /^--(data|node)$/;
/** Words that want another Worker, or none. */
const OTHERWISE = /^(--dir|--isolation|--help|-h$)/;

/**
 * Starts the Worker that `realm run` will take, if the words say so. A wrong guess costs time, and
 * nothing else: the words are read in earnest later, and what nobody takes ends with the program.
 */
export function startAhead(words: readonly string[]): FirstWorker | undefined {
  return wantsFirstWorker(words) ? startFirstWorker() : undefined;
}

/** Whether the words run a guest in a Worker that has no folders. */
export function wantsFirstWorker(words: readonly string[]): boolean {
  let at = 0;
  while (words[at]?.startsWith("--")) at += VALUED.test(words[at]!) ? 2 : 1;
  const own = words.slice(at + 1);
  return words[at] === "run" && own.length > 0 && !words.some((word) => OTHERWISE.test(word));
}
