/**
 * What keeps two upgrades of one executable apart.
 *
 * @module
 */
import { RealmError } from "../../agent/kernel/error.ts";
import { createError } from "./executable.ts";

/**
 * Runs `use` while no other process upgrades the executable; throws RealmError `refused` where one
 * does.
 *
 * It is flock(2) on a file beside the executable, which goes with a process that dies. Where a file
 * system has no such lock, two upgrades at once are not found out.
 */
export async function withUpgradeLock<T>(executable: string, use: () => Promise<T>): Promise<T> {
  const path = `${executable}.lock`;
  using _ = await takeLock(path);
  try {
    return await use();
  } finally {
    // While it is held; whoever waits for the file that was here looks whether it still is.
    await Deno.remove(path).catch(() => {});
  }
}

async function takeLock(path: string): Promise<Deno.FsFile> {
  for (let attempt = 1;; attempt++) {
    const file = await Deno.open(path, { write: true, create: true, mode: 0o600 })
      .catch((cause) => Promise.reject(createError(path, cause)));
    let isOurs = true;
    try {
      isOurs = await file.tryLock(true);
    } catch {
      // there are no locks here
    }
    if (isOurs && await isAt(file, path)) return file;
    file.close();
    // One that has just ended removed its file between our opening and locking it.
    if (isOurs && attempt < ATTEMPTS_MAX) continue;
    throw new RealmError("refused", `Cannot upgrade ${path.slice(0, -5)}: another upgrade runs`, {
      hint: "Wait until it is done, then look at realm --version",
    });
  }
}

const ATTEMPTS_MAX = 100;

/** Whether the open file is the one of this name; it may have been removed meanwhile. */
async function isAt(file: Deno.FsFile, path: string): Promise<boolean> {
  const [open, named] = await Promise.all([file.stat(), Deno.stat(path).catch(() => undefined)]);
  return named !== undefined && open.ino === named.ino && open.dev === named.dev;
}
