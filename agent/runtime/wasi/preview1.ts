/**
 * `wasi_snapshot_preview1`: WASI 0.1, for core modules, on the host of WASI 0.2.
 *
 * Numbers of descriptors, codes and order of checks are wasmtime's. Memory is read and written in
 * place, and nothing lives in it: a program may take all of it for its own, as Go's runtime does,
 * which the usual adapter (a module that needs pages of that memory) does not survive.
 *
 * @see https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md
 * @module
 */
import type { createCli } from "./cli.ts";
import type { createClocks } from "./clocks.ts";
import type { WasiInstance } from "./context.ts";
import {
  type createFilesystem,
  Descriptor,
  type DescriptorFlags,
  type OpenFlags,
  sizeOfEntries,
} from "./filesystem.ts";
import type { OpenFile } from "./filesystem_file.ts";
import type { NewTimestamp } from "./filesystem_stat.ts";
import {
  type InputStream,
  isStreamClosed,
  type OutputStream,
  readBlocking,
  STREAM_BYTES_MAX,
  type StreamError,
  writeBlocking,
} from "./io.ts";
import {
  bytesOfStrings,
  checkEnum,
  checkFlags,
  encodeDirent,
  encodeText,
  ERRNO,
  type Errno,
  type Filestat,
  FILETYPE,
  GuestMemory,
  rights,
  RIGHTS_ALL,
} from "./preview1_abi.ts";
import { createPoll } from "./preview1_poll.ts";
import type { createRandom } from "./random.ts";
import { HOLD } from "./resource.ts";

/** The functions that may answer with a promise. */
export const SUSPENDING_FUNCTIONS: ReadonlySet<string> = new Set([
  "fd_read",
  "fd_write",
  "poll_oneoff",
]);

/** The parts of WASI 0.2 that WASI 0.1 is made of. */
export interface Preview1Parts {
  readonly cli: ReturnType<typeof createCli>;
  readonly clocks: ReturnType<typeof createClocks>;
  readonly random: ReturnType<typeof createRandom>;
  readonly filesystem: ReturnType<typeof createFilesystem>;
}

/** An open file, with what WASI 0.2 has no place for. */
interface File {
  readonly kind: "file";
  readonly descriptor: Descriptor;
  readonly file: OpenFile;
  position: bigint;
  append: boolean;
  nonBlocking: boolean;
}

interface Directory {
  readonly kind: "directory";
  readonly descriptor: Descriptor;
  /** Its name for the guest, if it is a preopen. */
  readonly preopen: string | undefined;
  /** What the last `fd_readdir` from the start found; kept by the descriptor. */
  entries: readonly Entry[];
}

type Standard =
  | { readonly kind: "input"; readonly stream: InputStream; readonly isTerminal: boolean }
  | { readonly kind: "output"; readonly stream: OutputStream; readonly isTerminal: boolean };

type Entry = { readonly name: string; readonly type: number };

/** What a number of the guest stands for. */
export type Open = File | Directory | Standard;

/** `fdflags`. */
const APPEND = 1, DSYNC = 2, NONBLOCK = 4, RSYNC = 8, SYNC = 16;
/** `oflags`. */
const CREAT = 1, DIRECTORY = 2, EXCL = 4, TRUNC = 8;
/** `whence`. */
const SET = 0, CUR = 1, END = 2;
const CLOCKS = 4, ADVICES = 6;
const REALTIME = 0, MONOTONIC = 1;

const RIGHTS_PREOPEN = rights(
  "path-create-directory",
  "path-create-file",
  "path-link-source",
  "path-link-target",
  "path-open",
  "fd-readdir",
  "path-readlink",
  "path-rename-source",
  "path-rename-target",
  "path-symlink",
  "path-remove-directory",
  "path-unlink-file",
  "path-filestat-get",
  "path-filestat-set-times",
  "fd-filestat-get",
  "fd-filestat-set-times",
);
const RIGHTS_INHERITED = RIGHTS_PREOPEN | rights(
  "fd-datasync",
  "fd-read",
  "fd-seek",
  "fd-fdstat-set-flags",
  "fd-sync",
  "fd-tell",
  "fd-write",
  "fd-advise",
  "fd-allocate",
  "fd-filestat-set-size",
  "poll-fd-readwrite",
);
const RIGHTS_OF_FILES_ONLY = rights(
  "fd-seek",
  "fd-filestat-set-size",
  "path-filestat-set-size",
);

/** The descriptors of an instance by number, numbered as wasmtime does. */
class Descriptors {
  readonly #used = new Map<number, Open>();
  readonly #free = new Set<number>();

  /** Gives the greatest number that is free again, else the next one. */
  push(open: Open): number {
    const fd = this.#free.size > 0
      ? Math.max(...this.#free)
      : this.#used.size === 0
      ? 0
      : Math.max(...this.#used.keys()) + 1;
    this.#free.delete(fd);
    this.#used.set(fd, open);
    return fd;
  }

  get(fd: number): Open {
    const open = this.#used.get(fd);
    if (open === undefined) throw "bad-descriptor" satisfies Errno;
    return open;
  }

  file(fd: number): File {
    const open = this.get(fd);
    if (open.kind !== "file") throw "bad-descriptor" satisfies Errno;
    return open;
  }

  directory(fd: number): Directory {
    const open = this.get(fd);
    if (open.kind !== "directory") throw "bad-descriptor" satisfies Errno;
    return open;
  }

  /** What has a position. */
  seekable(fd: number): File {
    const open = this.get(fd);
    if (open.kind === "input" || open.kind === "output") throw "invalid-seek" satisfies Errno;
    return this.file(fd);
  }

  fileOrDirectory(fd: number): File | Directory {
    const open = this.get(fd);
    if (open.kind !== "directory") return this.file(fd);
    return open;
  }

  close(fd: number): void {
    const open = this.get(fd);
    this.#used.delete(fd);
    this.#free.add(fd);
    if (open.kind === "file" || open.kind === "directory") open.descriptor[Symbol.dispose]();
    else open.stream[Symbol.dispose]();
  }

  renumber(from: number, to: number): void {
    const open = this.get(from);
    this.get(to);
    if (from === to) return;
    this.close(to);
    this.#used.delete(from);
    this.#free.add(from);
    this.#free.delete(to);
    this.#used.set(to, open);
  }
}

/** The number of a thrown code; whatever is none goes on and ends the guest. */
export function errnoOf(error: unknown): number {
  if (typeof error === "string" && Object.hasOwn(ERRNO, error)) return ERRNO[error as Errno];
  if (isStreamClosed(error)) return ERRNO.io;
  const failed = error as Partial<StreamError> | undefined;
  if (failed?.tag === "last-operation-failed") {
    const code = (failed as Extract<StreamError, { val: unknown }>).val.init.filesystem;
    return code === undefined ? ERRNO.io : errnoOf(code);
  }
  throw error;
}

type Act = (...args: never[]) => void | Promise<void>;

/** Turns a function that throws codes into one that answers with their numbers. */
function answering(act: Act): (...args: never[]) => number | Promise<number> {
  return (...args) => {
    try {
      const done = act(...args);
      return done instanceof Promise ? done.then(() => ERRNO.success, errnoOf) : ERRNO.success;
    } catch (error) {
      return errnoOf(error);
    }
  };
}

function newTimestamp(isSet: boolean, ns: bigint, isNow: boolean): NewTimestamp {
  if (isSet && isNow) throw "invalid" satisfies Errno;
  if (isNow) return { tag: "now" };
  if (!isSet) return { tag: "no-change" };
  const seconds = BigInt.asUintN(64, ns) / 1_000_000_000n;
  const nanoseconds = Number(BigInt.asUintN(64, ns) % 1_000_000_000n);
  return { tag: "timestamp", val: { seconds, nanoseconds } };
}

/** The two times that `fstflags` chooses. */
function newTimestamps(access: bigint, modification: bigint, flags: number) {
  checkFlags(flags, 15);
  return [
    newTimestamp((flags & 1) !== 0, access, (flags & 2) !== 0),
    newTimestamp((flags & 4) !== 0, modification, (flags & 8) !== 0),
  ] as const;
}

function lookup(flags: number) {
  checkFlags(flags, 1);
  return { symlinkFollow: (flags & 1) !== 0 };
}

/** A signed number added to an unsigned one of 64 bits. Throws `invalid`. */
function move(from: bigint, delta: bigint): bigint {
  const to = from + delta;
  if (to < 0n || to >= 2n ** 64n) throw "invalid" satisfies Errno;
  return to;
}

/** WASI 0.1 of one instance: its functions by name, and `bindMemory`, to call before any. */
export function createPreview1(host: WasiInstance, parts: () => Preview1Parts) {
  const memory = new GuestMemory();
  const { grants } = host.ctx;
  const environment = grants.env.map(([name, value]) => `${name}=${value}`);
  let opened: Descriptors | undefined;
  /** The standard streams and preopens are there when they are first asked for. */
  const fds = (): Descriptors => {
    if (opened !== undefined) return opened;
    const { cli, filesystem } = parts();
    opened = new Descriptors();
    const terminal = grants.stdio ? host.ctx.stdio.terminal : undefined;
    const output = (stream: OutputStream, isTerminal = false) =>
      opened!.push({ kind: "output", stream, isTerminal });
    const isTerminal = terminal?.stdin ?? false;
    opened.push({ kind: "input", stream: cli.stdin.getStdin(), isTerminal });
    output(cli.stdout.getStdout(), terminal?.stdout);
    output(cli.stderr.getStderr(), terminal?.stderr);
    for (const [descriptor, preopen] of filesystem.preopens.getDirectories()) {
      opened.push({ kind: "directory", descriptor, preopen, entries: [] });
    }
    return opened;
  };
  const directory = (fd: number) => fds().directory(fd).descriptor;
  const clock = (id: number): "wallClock" | "monotonicClock" => {
    checkEnum(id, CLOCKS);
    if (id === REALTIME) return "wallClock";
    if (id === MONOTONIC) return "monotonicClock";
    throw "bad-descriptor" satisfies Errno;
  };
  const nanoseconds = (time: bigint | { seconds: bigint; nanoseconds: number }) =>
    typeof time === "bigint" ? time : time.seconds * 1_000_000_000n + BigInt(time.nanoseconds);
  const filestat = (
    descriptor: Descriptor,
    at?: Parameters<typeof Descriptor.statWithHash>[1],
  ): Filestat => {
    const [stat, { lower: ino }] = Descriptor.statWithHash(descriptor, at);
    return { ...stat, dev: 1n, ino, filetype: FILETYPE[stat.type] };
  };
  const write = (fd: number, iovs: number, count: number, out: number, at?: bigint) => {
    const bytes = memory.buffer(iovs, count);
    const open = fds().get(fd);
    if (open.kind === "output") {
      if (at !== undefined) throw "invalid-seek" satisfies Errno;
      // A copy: the stream may keep what it got.
      const done = writeBlocking(host, open.stream.sink, bytes.slice());
      if (done === undefined) return memory.u32(out, bytes.length);
      const { length } = bytes;
      return done.then(() => memory.u32(out, length));
    }
    const { file, append, position } = fds().file(fd);
    const length = append ? file.append(bytes) : file.writeAt(bytes, at ?? position);
    if (at === undefined) {
      (open as File).position = append ? file.end() : position + BigInt(length);
    }
    memory.u32(out, length);
  };
  const socket = (fd: number) => {
    fds().get(fd);
    throw "not-socket" satisfies Errno;
  };

  const functions: Record<string, Act> = {
    args_get(pointers: number, buffer: number) {
      memory.strings(pointers, buffer, grants.args);
    },
    args_sizes_get(count: number, size: number) {
      memory.u32(count, grants.args.length);
      memory.u32(size, bytesOfStrings(grants.args));
    },
    environ_get(pointers: number, buffer: number) {
      memory.strings(pointers, buffer, environment);
    },
    environ_sizes_get(count: number, size: number) {
      memory.u32(count, environment.length);
      memory.u32(size, bytesOfStrings(environment));
    },
    clock_res_get(id: number, out: number) {
      memory.u64(out, nanoseconds(parts().clocks[clock(id)].resolution()));
    },
    clock_time_get(id: number, _precision: bigint, out: number) {
      memory.u64(out, nanoseconds(parts().clocks[clock(id)].now()));
    },
    fd_advise(fd: number, offset: bigint, length: bigint, advice: number) {
      checkEnum(advice, ADVICES);
      const u64 = (value: bigint) => BigInt.asUintN(64, value);
      fds().file(fd).descriptor.advise(u64(offset), u64(length), "");
    },
    fd_allocate(fd: number) {
      fds().file(fd);
      throw "unsupported" satisfies Errno;
    },
    fd_close: (fd: number) => fds().close(fd),
    fd_datasync: (fd: number) => fds().file(fd).descriptor.syncData(),
    fd_fdstat_get(fd: number, out: number) {
      const open = fds().get(fd);
      if (open.kind === "input" || open.kind === "output") {
        const type = FILETYPE[open.isTerminal ? "character-device" : "unknown"];
        return memory.fdstat(out, type, 0, rights(open.kind === "input" ? "fd-read" : "fd-write"));
      }
      if (open.kind === "directory" && open.preopen !== undefined) {
        return memory.fdstat(out, FILETYPE.directory, 0, RIGHTS_PREOPEN, RIGHTS_INHERITED);
      }
      const flags = open.descriptor.getFlags();
      let base = RIGHTS_ALL;
      if (open.kind === "directory") base &= ~RIGHTS_OF_FILES_ONLY;
      if (!flags.read) base &= ~rights("fd-read", "fd-readdir");
      if (!flags.write) base &= ~rights("fd-write");
      const isFile = open.kind === "file";
      const fdflags = (isFile && open.append ? APPEND : 0) |
        (isFile && open.nonBlocking ? NONBLOCK : 0);
      memory.fdstat(out, FILETYPE[isFile ? "regular-file" : "directory"], fdflags, base);
    },
    fd_fdstat_set_flags(fd: number, flags: number) {
      checkFlags(flags, APPEND | DSYNC | NONBLOCK | RSYNC | SYNC);
      const open = fds().file(fd);
      if ((flags & (DSYNC | SYNC | RSYNC)) !== 0) throw "invalid" satisfies Errno;
      open.append = (flags & APPEND) !== 0;
      open.nonBlocking = (flags & NONBLOCK) !== 0;
    },
    fd_fdstat_set_rights(fd: number) {
      fds().fileOrDirectory(fd);
      throw "unsupported" satisfies Errno;
    },
    fd_filestat_get(fd: number, out: number) {
      const open = fds().get(fd);
      if (open.kind === "input" || open.kind === "output") {
        const filetype = FILETYPE[open.isTerminal ? "character-device" : "unknown"];
        return memory.filestat(out, { dev: 0n, ino: 0n, filetype });
      }
      memory.filestat(out, filestat(open.descriptor));
    },
    fd_filestat_set_size(fd: number, size: bigint) {
      fds().file(fd).descriptor.setSize(BigInt.asUintN(64, size));
    },
    fd_filestat_set_times(fd: number, access: bigint, modification: bigint, flags: number) {
      const times = newTimestamps(access, modification, flags);
      fds().fileOrDirectory(fd).descriptor.setTimes(...times);
    },
    fd_read(fd: number, iovs: number, count: number, out: number) {
      const bytes = memory.buffer(iovs, count);
      const open = fds().get(fd);
      if (open.kind === "input") {
        const put = (read: Uint8Array) => {
          memory.buffer(iovs, count).set(read);
          memory.u32(out, read.length);
        };
        const ended = (error: unknown) => {
          if (!isStreamClosed(error)) throw error;
          memory.u32(out, 0);
        };
        try {
          const max = Math.min(bytes.length, STREAM_BYTES_MAX);
          const read = readBlocking(host, open.stream.source, max);
          return read instanceof Promise ? read.then(put, ended) : put(read);
        } catch (error) {
          return ended(error);
        }
      }
      const file = fds().file(fd);
      const length = file.file.readInto(bytes, file.position);
      file.position += BigInt(length);
      memory.u32(out, length);
    },
    fd_pread(fd: number, iovs: number, count: number, offset: bigint, out: number) {
      const bytes = memory.buffer(iovs, count);
      const open = fds().get(fd);
      if (open.kind === "input") throw "invalid-seek" satisfies Errno;
      memory.u32(out, fds().file(fd).file.readInto(bytes, BigInt.asUintN(64, offset)));
    },
    fd_write: (fd: number, iovs: number, count: number, out: number) => write(fd, iovs, count, out),
    fd_pwrite: (fd: number, iovs: number, count: number, offset: bigint, out: number) =>
      write(fd, iovs, count, out, BigInt.asUintN(64, offset)),
    fd_prestat_get(fd: number, out: number) {
      const open = fds().get(fd);
      if (open.kind !== "directory" || open.preopen === undefined) {
        throw "bad-descriptor" satisfies Errno;
      }
      memory.u32(out, 0);
      memory.u32(out + 4, encodeText(open.preopen).length);
    },
    fd_prestat_dir_name(fd: number, pointer: number, length: number) {
      const open = fds().get(fd);
      if (open.kind !== "directory" || open.preopen === undefined) {
        throw "not-directory" satisfies Errno;
      }
      const name = encodeText(open.preopen);
      if (name.length > length >>> 0) throw "name-too-long" satisfies Errno;
      memory.put(pointer, name);
    },
    fd_renumber: (from: number, to: number) => fds().renumber(from, to),
    fd_seek(fd: number, delta: bigint, whence: number, out: number) {
      checkEnum(whence, END + 1);
      const open = fds().seekable(fd);
      if (whence === SET && delta < 0n) throw "invalid" satisfies Errno;
      const from = whence === SET ? 0n : whence === CUR ? open.position : open.file.end();
      open.position = move(from, delta);
      memory.u64(out, open.position);
    },
    fd_sync: (fd: number) => fds().file(fd).descriptor.sync(),
    fd_tell: (fd: number, out: number) => memory.u64(out, fds().seekable(fd).position),
    fd_readdir(fd: number, buffer: number, length: number, cookie: bigint, out: number) {
      const open = fds().directory(fd);
      const from = BigInt.asUintN(64, cookie);
      if (from === 0n || open.entries.length === 0) {
        const found = entriesOf(open.descriptor);
        open.descriptor[HOLD](sizeOfEntries(found) - sizeOfEntries(open.entries));
        open.entries = found;
      }
      const { entries } = open;
      const bytes = memory.bytes(buffer, length);
      let at = 0;
      for (let i = from; i < entries.length && at < bytes.length; i++) {
        const { name, type } = entries[Number(i)]!;
        const dirent = encodeDirent(i + 1n, inodeOf(open.descriptor, name), type, name);
        // The last one may be cut off; the guest asks for it again.
        bytes.set(dirent.subarray(0, bytes.length - at), at);
        at = Math.min(bytes.length, at + dirent.length);
      }
      memory.u32(out, at);
    },
    path_create_directory: (fd: number, path: number, length: number) =>
      directory(fd).createDirectoryAt(memory.string(path, length)),
    path_filestat_get(fd: number, flags: number, path: number, length: number, out: number) {
      const at = { flags: lookup(flags), path: "" };
      const descriptor = directory(fd);
      memory.filestat(out, filestat(descriptor, { ...at, path: memory.string(path, length) }));
    },
    path_filestat_set_times(
      fd: number,
      lookupFlags: number,
      path: number,
      length: number,
      access: bigint,
      modification: bigint,
      flags: number,
    ) {
      const pathFlags = lookup(lookupFlags);
      const times = newTimestamps(access, modification, flags);
      directory(fd).setTimesAt(pathFlags, memory.string(path, length), ...times);
    },
    path_link(
      from: number,
      flags: number,
      old: number,
      oldLength: number,
      to: number,
      path: number,
      length: number,
    ) {
      const pathFlags = lookup(flags);
      const [source, target] = [directory(from), directory(to)];
      const oldPath = memory.string(old, oldLength);
      source.linkAt(pathFlags, oldPath, target, memory.string(path, length));
    },
    path_open(
      fd: number,
      dirflags: number,
      pointer: number,
      length: number,
      oflags: number,
      base: bigint,
      inheriting: bigint,
      fdflags: number,
      out: number,
    ) {
      const pathFlags = lookup(dirflags);
      checkFlags(oflags, CREAT | DIRECTORY | EXCL | TRUNC);
      checkFlags(fdflags, APPEND | DSYNC | NONBLOCK | RSYNC | SYNC);
      checkFlags(base | inheriting, RIGHTS_ALL);
      const path = memory.string(pointer, length);
      const open = fds().get(fd);
      if (open.kind === "file") throw "not-directory" satisfies Errno;
      const flags: DescriptorFlags = {
        read: (base & rights("fd-read")) !== 0n,
        write: (base & rights("fd-write")) !== 0n,
        fileIntegritySync: (fdflags & SYNC) !== 0,
        dataIntegritySync: (fdflags & DSYNC) !== 0,
        requestedWriteSync: (fdflags & RSYNC) !== 0,
      };
      const openFlags: OpenFlags = {
        create: (oflags & CREAT) !== 0,
        directory: (oflags & DIRECTORY) !== 0,
        exclusive: (oflags & EXCL) !== 0,
        truncate: (oflags & TRUNC) !== 0,
      };
      const descriptor = directory(fd).openAt(pathFlags, path, openFlags, flags);
      const made: Open = descriptor.opened.kind === "directory"
        ? { kind: "directory", descriptor, preopen: undefined, entries: [] }
        : {
          kind: "file",
          descriptor,
          file: descriptor.opened.file,
          position: 0n,
          append: (fdflags & APPEND) !== 0,
          nonBlocking: (fdflags & NONBLOCK) !== 0,
        };
      memory.u32(out, fds().push(made));
    },
    path_readlink(
      fd: number,
      path: number,
      length: number,
      buffer: number,
      size: number,
      out: number,
    ) {
      const target = encodeText(directory(fd).readlinkAt(memory.string(path, length)));
      const part = target.subarray(0, size >>> 0);
      memory.put(buffer, part);
      memory.u32(out, part.length);
    },
    path_remove_directory: (fd: number, path: number, length: number) =>
      directory(fd).removeDirectoryAt(memory.string(path, length)),
    path_rename(
      from: number,
      old: number,
      oldLength: number,
      to: number,
      path: number,
      length: number,
    ) {
      const [source, target] = [directory(from), directory(to)];
      source.renameAt(memory.string(old, oldLength), target, memory.string(path, length));
    },
    path_symlink(text: number, textLength: number, fd: number, path: number, length: number) {
      const folder = directory(fd);
      folder.symlinkAt(memory.string(text, textLength), memory.string(path, length));
    },
    path_unlink_file: (fd: number, path: number, length: number) =>
      directory(fd).unlinkFileAt(memory.string(path, length)),
    poll_oneoff: createPoll(host, memory, () => parts().clocks, (fd) => fds().get(fd)),
    proc_raise() {
      throw "unsupported" satisfies Errno;
    },
    sched_yield() {},
    random_get(buffer: number, length: number) {
      const bytes = memory.bytes(buffer, length);
      bytes.set(parts().random.random.getRandomBytes(BigInt(bytes.length)));
    },
    sock_accept: socket,
    sock_recv: socket,
    sock_send: socket,
    sock_shutdown: socket,
  };
  return {
    ...Object.fromEntries(Object.entries(functions).map(([name, act]) => [name, answering(act)])),
    // A status of a process has eight bits.
    proc_exit: (status: number): never => host.exit(status & 0xff),
    bindMemory: (bound: WebAssembly.Memory): void => memory.bind(bound),
  };
}

/** `.`, `..` and the names in a directory. */
function entriesOf(descriptor: Descriptor): Entry[] {
  using stream = descriptor.readDirectory();
  const entries: Entry[] = [".", ".."].map((name) => ({ name, type: FILETYPE.directory }));
  for (let entry; (entry = stream.readDirectoryEntry()) !== undefined;) {
    entries.push({ name: entry.name, type: FILETYPE[entry.type] });
  }
  return entries;
}

/** The number of an entry, 0 when it is gone. `..` has its directory's, as in wasmtime. */
function inodeOf(descriptor: Descriptor, name: string): bigint {
  if (name === "." || name === "..") return descriptor.metadataHash().lower;
  try {
    return descriptor.metadataHashAt({}, name).lower;
  } catch (code) {
    if (typeof code === "string") return 0n;
    throw code;
  }
}
