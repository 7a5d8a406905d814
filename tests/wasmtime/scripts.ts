/**
 * Random scripts for the fixtures `descriptors` and `descriptors-p1`: calls of the file system,
 * most of which mean something in the folder of {@link prepareFolder}, and some of which do not.
 *
 * They leave out what `docs/differences.md` lists.
 *
 * @module
 */

/** Chance from a seed: mulberry32. */
class Chance {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** From 0 up to, not including, 1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  is(probability: number): boolean {
    return this.next() < probability;
  }

  below(count: number): number {
    return Math.floor(this.next() * count);
  }

  of<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }

  /** Some of the letters. */
  letters(all: string, probability = 0.4): string {
    return [...all].filter(() => this.is(probability)).join("");
  }

  /** Some of the bits. */
  bits(all: number, probability = 0.25): number {
    let bits = 0;
    for (let bit = 1; bit <= all; bit *= 2) if (all & bit && this.is(probability)) bits |= bit;
    return bits;
  }
}

/** Fills a folder with what the scripts act on. */
export function prepareFolder(folder: string): void {
  Deno.mkdirSync(`${folder}/a/b/c`, { recursive: true });
  Deno.writeTextFileSync(`${folder}/a/b/d`, "deep file");
  Deno.writeTextFileSync(`${folder}/b`, "file b");
  Deno.symlinkSync("a/b", `${folder}/l`);
  Deno.symlinkSync("b/d", `${folder}/a/m`);
  Deno.symlinkSync("nowhere", `${folder}/m`);
  for (const file of ["a/b/d", "b"]) Deno.utimeSync(`${folder}/${file}`, 1e9, 1e9);
}

const NAMES = ["a", "b", "c", "d", "l", "m", "ü🦀", "x y"];
const LONG = ["\\n255", "\\n256"];
const OFFSETS = ["0", "1", "3", "5", "10", "100", "4096", "70000"];
const OFFSETS_FAR = ["9223372036854775807", "9223372036854775808", "18446744073709551615"];
const TEXTS = ["hello", "x", "", "yy", "\\z300", "\\q4096"];

/** What both kinds of script are made of. */
class Words extends Chance {
  path(): string {
    if (this.is(0.1)) return this.of(["", "/a", "a\\0b", "/", ".", ".."]);
    const names: string[] = [];
    for (let left = this.is(0.5) ? 1 : 1 + this.below(3); left > 0; left--) {
      if (this.is(0.02)) return [...names, this.of(LONG)].join("/");
      names.push(this.is(0.08) ? this.of([".", "..", ".."]) : this.of(NAMES));
    }
    const path = names.join(this.is(0.05) ? "//" : "/");
    return this.is(0.12) ? path + this.of(["/", "//", "/.", "/.."]) : path;
  }

  /** What a link may hold; see docs/differences.md. */
  target(): string {
    return this.is(0.6) ? this.of(NAMES) : this.path().replaceAll("..", "a");
  }

  offset(): string {
    return this.is(0.04) ? this.of(OFFSETS_FAR) : this.of(OFFSETS);
  }

  text(): string {
    return this.of(TEXTS);
  }
}

function lines(count: number, calls: readonly (() => unknown[])[], chance: Chance): string {
  return Array.from({ length: count }, () => chance.of(calls)().join("\t") + "\n").join("");
}

/** A script for `descriptors`: slots 0 to 7 are descriptors, 8 to 11 streams. */
export function componentScript(seed: number, count: number): string {
  const r = new Words(seed);
  const slot = () => r.is(0.35) ? 0 : r.below(8);
  const result = () => 1 + r.below(7);
  const stream = () => 8 + r.below(4);
  const follow = () => r.letters("f", 0.6);
  const time = () =>
    r.of(["-", "now", "1000000000.123000000", "0.0", "5.5", "1234567890.999999999"]);
  const amount = () => r.of([1, 5, 100_000]);
  const setTimes = () => {
    const at = slot();
    return at === 0 ? ["get-flags", at] : ["set-times", at, time(), time()];
  };
  const openFolder = () => ["open-at", result(), slot(), follow(), r.path(), "d", "r"];
  const openFile = () => ["open-at", result(), slot(), "f", r.path(), "c", "rw"];
  return lines(count, [
    () => {
      const flags = r.letters("rwm", 0.5) + (r.is(0.05) ? r.letters("sdq") : "");
      return ["open-at", result(), slot(), follow(), r.path(), r.letters("cdxt", 0.25), flags];
    },
    openFolder,
    openFolder,
    openFile,
    openFile,
    () => ["drop", result()],
    () => ["read-via-stream", stream(), slot(), r.offset()],
    () => ["write-via-stream", stream(), slot(), r.offset()],
    () => ["append-via-stream", stream(), slot()],
    () => ["read-directory", stream(), slot()],
    () => ["stream-read", stream(), amount()],
    () => ["stream-skip", stream(), amount()],
    () => ["stream-write", stream(), r.text()],
    () => ["stream-write", stream(), r.text()],
    () => ["entries", stream()],
    () => ["read", slot(), r.of([0, 1, 5, 100, 100_000]), r.offset()],
    () => ["write", slot(), r.offset(), r.text()],
    () => ["set-size", slot(), r.offset()],
    setTimes,
    () => ["set-times-at", slot(), follow(), r.path(), time(), time()],
    () => ["stat", slot()],
    () => ["stat-at", slot(), follow(), r.path()],
    () => ["get-flags", slot()],
    () => ["get-type", slot()],
    () => ["sync", slot()],
    () => ["sync-data", slot()],
    () => ["advise", slot(), r.offset(), r.offset()],
    () => ["create-directory-at", slot(), r.path()],
    () => ["create-directory-at", slot(), r.path()],
    () => ["remove-directory-at", slot(), r.path()],
    () => ["unlink-file-at", slot(), r.path()],
    () => ["readlink-at", slot(), r.path()],
    () => ["symlink-at", slot(), r.target(), r.path()],
    () => ["rename-at", slot(), r.path(), slot(), r.path()],
    () => ["rename-at", slot(), r.path(), slot(), r.path()],
    () => ["link-at", slot(), r.letters("f", 0.1), r.path(), slot(), r.path()],
    () => ["is-same-object", slot(), slot()],
    () => ["metadata-hash", slot(), slot(), follow(), r.path()],
  ], r);
}

/** A script for `descriptors-p1`: 3 is the preopen, what is opened gets the next numbers. */
export function moduleScript(seed: number, count: number): string {
  const r = new Words(seed);
  const fd = () => r.is(0.4) ? 3 : r.is(0.05) ? r.of([0, 1, 2, 99]) : 4 + r.below(6);
  /** Never a standard stream, which the script and its answers go through. */
  const opened = () => 4 + r.below(6);
  const follow = () => r.bits(1, 0.6);
  const time = () => r.of(["0", "1000000000123000000", "5500000000", "1234567890999999999"]);
  const times = () => [time(), time(), r.bits(15, 0.4)];
  const rights = () => r.of([0, 2, 64, 66, 66, 66, 0x1fff_ffff]);
  const sized = () => [r.of([0, 1, 5, 100, 65_536]), r.of([0, 0, 3])];
  const open = () => ["path_open", fd(), follow(), r.path(), r.bits(15, 0.2), rights(), 0, 0];
  const openFile = () => ["path_open", 3, 1, r.path(), 1, 66, 0, r.of([0, 0, 1, 4, 5])];
  return lines(count, [
    open,
    open,
    openFile,
    openFile,
    () => ["path_open", fd(), follow(), r.path(), 2, 2, 0, 0],
    () => ["path_open", fd(), follow(), r.path(), r.bits(15, 0.2), 66, 0, r.bits(31, 0.1)],
    () => ["fd_close", opened()],
    () => ["fd_renumber", opened(), opened()],
    () => ["fd_advise", fd(), r.offset(), r.offset(), r.below(6)],
    () => ["fd_allocate", fd(), r.offset(), r.offset()],
    () => ["fd_datasync", fd()],
    () => ["fd_sync", fd()],
    () => ["fd_fdstat_get", fd()],
    () => ["fd_fdstat_set_flags", fd(), r.bits(31, 0.15)],
    () => ["fd_fdstat_set_rights", fd(), 0, 0],
    () => ["fd_filestat_get", fd()],
    () => ["fd_filestat_set_size", fd(), r.offset()],
    () => ["fd_filestat_set_times", opened(), ...times()],
    () => ["fd_read", r.is(0.1) ? r.of([1, 2, 99]) : 3 + r.below(7), ...sized()],
    () => ["fd_pread", fd(), ...sized(), r.offset()],
    () => ["fd_write", opened(), r.text(), r.of([0, 2])],
    () => ["fd_write", opened(), r.text(), r.of([0, 2])],
    () => ["fd_pwrite", fd(), r.text(), r.of([0, 2]), r.offset()],
    () => ["fd_prestat_get", fd()],
    () => ["fd_prestat_dir_name", fd(), r.of([0, 4, 5, 9])],
    () => ["fd_readdir", fd(), r.of([100, 4096, 65_536]), 0],
    () => ["fd_seek", fd(), r.of(["0", "3", "-2", "100", "-100", r.offset()]), r.below(3)],
    () => ["fd_tell", fd()],
    () => ["path_create_directory", fd(), r.path()],
    () => ["path_filestat_get", fd(), follow(), r.path()],
    () => ["path_filestat_set_times", fd(), follow(), r.path(), ...times()],
    () => ["path_link", fd(), r.bits(1, 0.1), r.path(), fd(), r.path()],
    () => ["path_readlink", fd(), r.path(), r.of([0, 2, 100])],
    () => ["path_remove_directory", fd(), r.path()],
    () => ["path_rename", fd(), r.path(), fd(), r.path()],
    () => ["path_symlink", r.target(), fd(), r.path()],
    () => ["path_unlink_file", fd(), r.path()],
    () => ["sock_shutdown", fd(), 1],
  ], r);
}
