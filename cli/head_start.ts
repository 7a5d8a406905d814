/**
 * What is started before the command line is read, since it takes longest. Loaded before all else,
 * so it has to be small.
 *
 * @module
 */
import { type FirstWorker, startFirstWorker } from "../agent/first_worker.ts";

/** Global flags whose value is the next word. */
const VALUED = /^--(data|node)$/;
/** Words that want the services of this program, which a guest in the first thread has not. */
const SERVED = /^--(net|dns|listen|secret|keyvalue)/;
/** Words that want another Worker, or none. */
const OTHERWISE = /^(--dir|--isolation|--help|-h$)/;

/** What was begun for the words. */
export interface HeadStart {
  /** Whether they run a guest. */
  readonly runs: boolean;
  /** The Worker that `realm run` will take. */
  readonly worker?: FirstWorker | undefined;
}

/**
 * Starts the Worker that `realm run` will take, if the words say so. A wrong guess costs time, and
 * nothing else: the words are read in earnest later, and what nobody takes ends with the program.
 */
export function startAhead(words: readonly string[]): HeadStart {
  const own = wordsOfRun(words);
  if (!own) return { runs: false };
  return { runs: true, worker: wantsFirstWorker(words) ? startFirstWorker() : undefined };
}

/** Whether the words run a guest in a Worker that has no folders. */
export function wantsFirstWorker(words: readonly string[]): boolean {
  const own = wordsOfRun(words);
  return own !== undefined && own.some((word) => SERVED.test(word)) &&
    !own.some((word) => OTHERWISE.test(word));
}

/** What follows `run`, if that is the command and something does. */
export function wordsOfRun(words: readonly string[]): readonly string[] | undefined {
  let at = 0;
  while (words[at]?.startsWith("--")) at += VALUED.test(words[at]!) ? 2 : 1;
  return words[at] === "run" && at + 1 < words.length ? words.slice(at + 1) : undefined;
}
