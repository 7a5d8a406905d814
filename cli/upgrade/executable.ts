/**
 * The executable on this machine: trying another one, putting it in place, and going back.
 *
 * @module
 */
import { RealmError } from "../../agent/kernel/error.ts";

/** Where the executable of before is kept. */
export function oldPath(executable: string): string {
  return `${executable}.old`;
}

/**
 * A new file beside the executable, on the same file system so that it can be moved into place;
 * `use` gets its path, and it is gone afterwards unless it was moved.
 */
export async function besides<T>(
  executable: string,
  use: (temporary: string) => Promise<T>,
): Promise<T> {
  const temporary = `${executable}.${crypto.randomUUID()}.new`;
  try {
    return await use(temporary);
  } finally {
    await Deno.remove(temporary).catch(ignoreNotFound);
  }
}

/** Opens the new file; says what to do where this user may not write there. */
export async function createBeside(temporary: string): Promise<Deno.FsFile> {
  try {
    return await Deno.open(temporary, { write: true, createNew: true, mode: 0o755 });
  } catch (cause) {
    throw createError(temporary, cause);
  }
}

/** Says what to do where this user may not make that file. */
export function createError(file: string, cause: unknown): RealmError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new RealmError("failed", `Cannot write ${file}: ${reason}`, {
    hint: "Run this as the user that installed realm",
    cause,
  });
}

/** The version that the executable says it is; throws RealmError `failed` when it does not run. */
export async function versionOf(executable: string): Promise<string> {
  const version = /^realm (\d+\.\d+\.\d+\S*)\n$/.exec(await output(executable, "--version"))?.[1];
  if (version !== undefined) return version;
  throw new RealmError("failed", `Cannot use ${executable}: it does not run on this machine`, {
    hint: "Take the release for this system and processor",
  });
}

/** What a program printed that ended well; else nothing. */
async function output(program: string, ...args: string[]): Promise<string> {
  for (let attempt = 1;; attempt++) {
    try {
      const command = new Deno.Command(program, { args, stdin: "null", stderr: "null" });
      const { success, stdout } = await command.output();
      return success ? new TextDecoder().decode(stdout) : "";
    } catch (error) {
      // ETXTBSY: a process that was started while we wrote the file has it open until it runs.
      const isBusy = error instanceof Error && error.message.includes("os error 26");
      if (!isBusy || attempt > BUSY_ATTEMPTS_MAX) return "";
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

const BUSY_ATTEMPTS_MAX = 100;

/**
 * Whether version `a` comes before `b`: by the three numbers, a pre-release before its release, and
 * pre-releases by their identifiers (Semantic Versioning 2.0.0, section 11).
 */
export function isBefore(a: string, b: string): boolean {
  const [left, right] = [a, b].map((each) => /^(\d+)\.(\d+)\.(\d+)(?:-([^+]*))?/.exec(each)!);
  for (const i of [1, 2, 3]) {
    const difference = Number(left![i]) - Number(right![i]);
    if (difference !== 0) return difference < 0;
  }
  const [pre, other] = [left![4], right![4]];
  if (pre === undefined || other === undefined) return pre !== undefined && other === undefined;
  return isBeforeIn(pre.split("."), other.split("."));
}

function isBeforeIn(left: readonly string[], right: readonly string[]): boolean {
  for (const [i, a] of left.entries()) {
    const b = right[i];
    if (b === undefined) return false;
    if (a === b) continue;
    const [isNumber, isOtherNumber] = [a, b].map((each) => /^\d+$/.test(each));
    if (isNumber && isOtherNumber) return Number(a) < Number(b);
    return isNumber === isOtherNumber ? a < b : isNumber!;
  }
  return left.length < right.length;
}

/** Puts `temporary` in the place of the executable, which is kept; at no time is there none. */
export async function putInPlace(executable: string, temporary: string): Promise<void> {
  await keepOld(executable);
  await Deno.rename(temporary, executable);
}

/** Puts the executable of before back; the one that was there is gone. */
export async function putBack(executable: string): Promise<void> {
  await Deno.rename(oldPath(executable), executable);
}

async function keepOld(executable: string): Promise<void> {
  const old = oldPath(executable);
  if (Deno.build.os === "windows") { // what runs can be moved there, not written over
    await Deno.remove(old).catch(ignoreNotFound);
    return await Deno.rename(executable, old);
  }
  await besides(old, async (copy) => {
    await linkOrCopy(executable, copy);
    await Deno.rename(copy, old);
  });
}

/** Gives the file a second name, or a copy where the file system has no links. */
export async function linkOrCopy(file: string, copy: string): Promise<void> {
  try {
    await Deno.link(file, copy);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) throw error;
    await Deno.copyFile(file, copy);
  }
}

function ignoreNotFound(error: unknown): void {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}
