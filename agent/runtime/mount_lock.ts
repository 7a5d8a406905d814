/**
 * The locks of folders that several guests have mounted, in Workers of one process or of several.
 *
 * @module
 */

/** A word in shared memory; who takes several takes them in the order of their numbers. */
export interface LockWord {
  readonly number: number;
  readonly buffer: SharedArrayBuffer;
}

/**
 * The words of all folders that were ever mounted in this process.
 *
 * Where one folder lies within another, who has the outer one could change what the inner one's
 * guest walks on, and the other way round: so of two mounts that overlap, the one that starts later
 * takes the word of the other beside its own.
 */
export class LockWords {
  readonly #words = new Map<string, LockWord>();

  /** What a mount of this folder has to hold; `hostPath` is absolute, without links. */
  of(hostPath: string): readonly LockWord[] {
    if (!this.#words.has(hostPath)) {
      this.#words.set(hostPath, { number: this.#words.size, buffer: new SharedArrayBuffer(4) });
    }
    return [...this.#words].flatMap(([other, word]) =>
      isWithin(other, hostPath) || isWithin(hostPath, other) ? word : []
    );
  }
}

/** Whether `path` is the folder or below it. */
function isWithin(path: string, folder: string): boolean {
  if (!path.startsWith(folder)) return false;
  return path.length === folder.length || /[/\\]/.test(folder.at(-1)! + path[folder.length]!);
}

/** What a mount holds while its guest acts on it. */
export class MountLock {
  /** Opened when first needed; `null` where the folder cannot be locked. */
  #folder: Deno.FsFile | null | undefined;

  constructor(readonly words: readonly LockWord[], readonly hostPath: string) {}

  /** Waits for flock(2) on the folder. */
  lockFolder(): void {
    if (this.#folder === undefined) this.#folder = lockFolder(this.hostPath);
    else this.#folder?.lockSync(true);
  }

  unlockFolder(): void {
    this.#folder?.unlockSync();
  }

  /** Closes the folder; it is opened again when it is needed. */
  close(): void {
    this.#folder?.close();
    this.#folder = undefined;
  }
}

/**
 * Runs `act` while nobody else holds any of the locks; waits for them by blocking.
 *
 * Path resolution and what follows are one step for all who hold a lock: words in shared memory
 * among the Workers of this process, then flock(2) on the folder, which goes with a process that
 * dies. A file system without flock is refused to processes (see {@link hasFolderLock}), so that
 * there the words alone are enough. Mounts of one folder are one lock.
 */
export function holdLocks<T>(locks: readonly MountLock[], act: () => T): T {
  const [lock] = locks;
  if (locks.length === 1) return holdWords(lock!.words, () => holdFolders(locks, act));
  const words = new Map(locks.flatMap((lock) => lock.words).map((word) => [word.number, word]));
  const folders = new Map(locks.map((lock) => [lock.hostPath, lock]));
  const inOrder = [...folders].sort(([a], [b]) => a < b ? -1 : 1).map(([, lock]) => lock);
  return holdWords([...words.values()], () => holdFolders(inOrder, act));
}

function holdWords<T>(words: readonly LockWord[], act: () => T): T {
  const held: Int32Array[] = [];
  try {
    for (const { buffer } of words.toSorted((a, b) => a.number - b.number)) {
      const word = new Int32Array(buffer);
      while (Atomics.compareExchange(word, 0, 0, 1) !== 0) Atomics.wait(word, 0, 1, 10);
      held.push(word);
    }
    return act();
  } finally {
    for (const word of held) {
      Atomics.store(word, 0, 0);
      Atomics.notify(word, 0, 1);
    }
  }
}

function holdFolders<T>(locks: readonly MountLock[], act: () => T): T {
  const held: MountLock[] = [];
  try {
    for (const lock of locks) {
      lock.lockFolder();
      held.push(lock);
    }
    return act();
  } finally {
    for (const lock of held) lock.unlockFolder();
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
