/**
 * The lock of a folder that several guests have mounted, in Workers of one process or of several.
 *
 * @module
 */

/**
 * Path resolution and what follows are one step for all who hold it: a word in shared memory among
 * the Workers of this process, then flock(2) on the folder, which goes with a process that dies. A
 * file system without flock is refused to processes (see {@link hasFolderLock}), so that there the
 * word alone is enough.
 */
export class MountLock {
  readonly #word: Int32Array;
  /** Opened when first needed; `null` where the folder cannot be locked. */
  #folder: Deno.FsFile | null | undefined;

  constructor(buffer: SharedArrayBuffer, readonly hostPath: string) {
    this.#word = new Int32Array(buffer);
  }

  /** Runs `act` while nobody else holds the lock; waits for it by blocking. */
  hold<T>(act: () => T): T {
    while (Atomics.compareExchange(this.#word, 0, 0, 1) !== 0) Atomics.wait(this.#word, 0, 1, 10);
    try {
      this.#folder = this.#folder === undefined ? lockFolder(this.hostPath) : relock(this.#folder);
      try {
        return act();
      } finally {
        this.#folder?.unlockSync();
      }
    } finally {
      Atomics.store(this.#word, 0, 0);
      Atomics.notify(this.#word, 0, 1);
    }
  }
}

/** Whether the folder can be locked against other processes. */
export function hasFolderLock(hostPath: string): boolean {
  const folder = lockFolder(hostPath);
  folder?.close();
  return folder !== null;
}

function lockFolder(hostPath: string): Deno.FsFile | null {
  let folder: Deno.FsFile | undefined;
  try {
    folder = Deno.openSync(hostPath, { read: true });
    folder.lockSync(true);
    return folder;
  } catch {
    folder?.close();
    return null;
  }
}

function relock(folder: Deno.FsFile | null): Deno.FsFile | null {
  folder?.lockSync(true);
  return folder;
}
