/**
 * `wasi:filesystem`: preopens, descriptors, directory streams.
 *
 * Codes and order of checks are wasmtime's on Linux. A directory is a path that
 * `filesystem_paths.ts` walks from; a file is open on the host and every read and write of it
 * names its position, so descriptors and streams of one file do not disturb one another. Times
 * have the precision that Deno gives: milliseconds.
 *
 * @see https://github.com/WebAssembly/wasi-filesystem/tree/v0.2.12/wit
 * @module
 */
import { lutimesSync } from "node:fs";
import type { Datetime } from "./clocks.ts";
import type { WasiInstance } from "./context.ts";
import {
  checkLinkTarget,
  checkText,
  type ErrorCode,
  errorCodeOf,
  type Found,
  type Identity,
  identityOf,
  isSame,
  locate,
  lookUp,
  type MountPoint,
  onHost,
  OpenDirectories,
  type OpenDirectory,
  openDirectory,
  openRoot,
  type Place,
  placeOf,
  resolve,
  resolveParent,
} from "./filesystem_paths.ts";
import {
  clampLength,
  type InputSource,
  InputStream,
  IoError,
  type OutputSink,
  OutputStream,
  STREAM_BYTES_MAX,
  streamClosed,
  streamFailed,
} from "./io.ts";
import { guardResource, Resource } from "./resource.ts";
import { HANDLES_MAX } from "./context.ts";

/** `path-flags`. */
export interface PathFlags {
  readonly symlinkFollow?: boolean;
}

/** `open-flags`. */
export interface OpenFlags {
  readonly create?: boolean;
  readonly directory?: boolean;
  readonly exclusive?: boolean;
  readonly truncate?: boolean;
}

/** `descriptor-flags`. */
export interface DescriptorFlags {
  readonly read?: boolean;
  readonly write?: boolean;
  readonly fileIntegritySync?: boolean;
  readonly dataIntegritySync?: boolean;
  readonly requestedWriteSync?: boolean;
  readonly mutateDirectory?: boolean;
}

/** `new-timestamp`. */
export type NewTimestamp =
  | { readonly tag: "no-change" }
  | { readonly tag: "now" }
  | { readonly tag: "timestamp"; readonly val: Datetime };

/** `descriptor-stat`. */
export interface DescriptorStat {
  readonly type: DescriptorType;
  readonly linkCount: bigint;
  readonly size: bigint;
  readonly dataAccessTimestamp: Datetime | undefined;
  readonly dataModificationTimestamp: Datetime | undefined;
  readonly statusChangeTimestamp: Datetime | undefined;
}

/** `descriptor-type`, those that can occur. */
export type DescriptorType =
  | "unknown"
  | "block-device"
  | "character-device"
  | "directory"
  | "fifo"
  | "symbolic-link"
  | "regular-file"
  | "socket";

const OFFSET_MAX = 2n ** 63n - 1n;
/** The last second that a `Date` can say; file systems, too, take the nearest that they can. */
const SECONDS_MAX = 8_640_000_000_000n;
const NOTHING: Uint8Array = new Uint8Array();

function typeOf(info: Deno.FileInfo): DescriptorType {
  if (info.isDirectory) return "directory";
  if (info.isSymlink) return "symbolic-link";
  if (info.isFile) return "regular-file";
  if (info.isBlockDevice) return "block-device";
  if (info.isCharDevice) return "character-device";
  return "unknown";
}

function datetimeOf(date: Date | null): Datetime | undefined {
  const ms = date?.getTime();
  if (ms === undefined || Number.isNaN(ms) || ms < 0) return undefined;
  return { seconds: BigInt(Math.floor(ms / 1000)), nanoseconds: Math.trunc(ms % 1000) * 1_000_000 };
}

function statOf(info: Deno.FileInfo): DescriptorStat {
  return {
    type: typeOf(info),
    linkCount: BigInt(info.nlink ?? 1),
    size: BigInt(info.size),
    dataAccessTimestamp: datetimeOf(info.atime),
    dataModificationTimestamp: datetimeOf(info.mtime),
    statusChangeTimestamp: datetimeOf(info.birthtime ?? info.ctime),
  };
}

/** Two words that are equal for one file and hide its inode number a little. */
function hashOf(identity: Identity): { lower: bigint; upper: bigint } {
  let hash = BigInt(identity.dev) * 0x9e3779b97f4a7c15n + BigInt(identity.ino ?? 0);
  for (const factor of [0xbf58476d1ce4e5b9n, 0x94d049bb133111ebn]) {
    hash = BigInt.asUintN(64, hash);
    hash = (hash ^ (hash >> 30n)) * factor;
  }
  const lower = BigInt.asUintN(64, hash ^ (hash >> 31n));
  return { lower, upper: lower ^ 4614256656552045848n };
}

/** The times to set; `undefined` where nothing is to change. */
function timesOf(
  access: NewTimestamp,
  modification: NewTimestamp,
): { atime: Date | undefined; mtime: Date | undefined } {
  const now = new Date();
  // A `Date`, since Deno takes a number for seconds, in which a millisecond is not exact.
  const one = (time: NewTimestamp): Date | undefined => {
    if (time.tag === "no-change") return undefined;
    if (time.tag === "now") return now;
    const { seconds, nanoseconds } = time.val;
    if (seconds + BigInt(Math.floor(nanoseconds / 1e9)) > OFFSET_MAX) throw "overflow";
    if (seconds >= SECONDS_MAX) return new Date(Number(SECONDS_MAX) * 1000);
    return new Date(Number(seconds) * 1000 + Math.floor(nanoseconds / 1e6));
  };
  return { atime: one(access), mtime: one(modification) };
}

/** Sets times where only one is given: the other is read and put back. */
function applyTimes(
  stat: () => Deno.FileInfo,
  times: ReturnType<typeof timesOf>,
  act: (atime: Date, mtime: Date) => void,
): void {
  if (times.atime === undefined && times.mtime === undefined) return;
  const old = (date: Date | null) => date ?? new Date(0);
  onHost(() => act(times.atime ?? old(stat().atime), times.mtime ?? old(stat().mtime)));
}

/** A file that is open on the host, by a descriptor and the streams made from it. */
export class OpenFile {
  #users = 1;
  #identity: Identity | undefined;
  readonly #unclose: () => void;

  constructor(
    readonly host: WasiInstance,
    readonly mount: MountPoint,
    readonly file: Deno.FsFile,
    readonly readable: boolean,
    readonly writable: boolean,
    identity?: Identity,
  ) {
    this.#identity = identity;
    this.#unclose = host.onClose(() => file.close());
  }

  identity(): Identity {
    return this.#identity ??= identityOf(onHost(() => this.file.statSync()));
  }

  retain(): this {
    this.#users++;
    return this;
  }

  release(): void {
    if (--this.#users > 0) return;
    this.#unclose();
    this.file.close();
  }

  /** Up to `lengthMax` bytes at `offset`, none at the end. Throws an {@link ErrorCode}. */
  readAt(lengthMax: number, offset: bigint): Uint8Array {
    const bytes = lengthMax === 0 ? NOTHING : new Uint8Array(lengthMax);
    const length = this.readInto(bytes, offset);
    return length === lengthMax ? bytes : bytes.slice(0, length);
  }

  /** Reads once, at `offset`; how many bytes came, none at the end. Throws an {@link ErrorCode}. */
  readInto(bytes: Uint8Array, offset: bigint): number {
    if (offset > OFFSET_MAX) throw "invalid";
    if (!this.readable) throw "bad-descriptor";
    if (offset > OFFSET_MAX - BigInt(bytes.length)) throw "invalid";
    if (!this.#seek(offset) || bytes.length === 0) return 0;
    return onHost(() => this.file.readSync(bytes)) ?? 0;
  }

  /** Writes once, at `offset`; how many bytes went in. Throws an {@link ErrorCode}. */
  writeAt(bytes: Uint8Array, offset: bigint): number {
    if (offset > OFFSET_MAX) throw "invalid";
    if (!this.writable) throw "bad-descriptor";
    if (offset > OFFSET_MAX - BigInt(bytes.length)) throw "invalid";
    if (bytes.length === 0) return 0;
    if (!this.#seek(offset)) throw "file-too-large";
    return onHost(() => this.file.writeSync(bytes));
  }

  /** Writes once, at the end, wherever that is now. Throws an {@link ErrorCode}. */
  append(bytes: Uint8Array): number {
    if (!this.writable) throw "bad-descriptor";
    return this.host.ctx.lock(this.mount.index, () =>
      onHost(() => {
        this.file.seekSync(0, Deno.SeekMode.End);
        return this.file.writeSync(bytes);
      }));
  }

  /** Where it ends now. Throws an {@link ErrorCode}. */
  end(): bigint {
    return BigInt(onHost(() => this.file.seekSync(0, Deno.SeekMode.End)));
  }

  /** False past what the host's file system can hold. */
  #seek(offset: bigint): boolean {
    try {
      this.file.seekSync(offset, Deno.SeekMode.Start);
      return true;
    } catch (error) {
      if (errorCodeOf(error) === "invalid") return false;
      throw errorCodeOf(error);
    }
  }
}

/** A file is always ready. */
const ALWAYS = { ready: () => true, wait: () => () => {} };

function fileFailed(host: WasiInstance, code: unknown): never {
  if (typeof code !== "string") throw code;
  streamFailed(host, { message: code, filesystem: code });
}

class FileSource implements InputSource {
  readonly ready = ALWAYS.ready;
  readonly wait = ALWAYS.wait;
  #closed = false;

  constructor(readonly file: OpenFile, public offset: bigint) {}

  read(lengthMax: number): Uint8Array {
    if (this.#closed) streamClosed();
    if (lengthMax === 0) return NOTHING;
    let bytes: Uint8Array;
    try {
      bytes = this.file.readAt(lengthMax, this.offset);
    } catch (code) {
      this.#closed = true;
      fileFailed(this.file.host, code);
    }
    if (bytes.length === 0) {
      this.#closed = true;
      streamClosed();
    }
    this.offset += BigInt(bytes.length);
    return bytes;
  }

  close(): void {
    this.file.release();
  }
}

class FileSink implements OutputSink {
  readonly ready = ALWAYS.ready;
  readonly wait = ALWAYS.wait;
  #error: unknown;
  #closed = false;

  /** `offset` left out: at the end of the file. */
  constructor(readonly file: OpenFile, public offset?: bigint) {}

  permit(): number {
    this.#check();
    return STREAM_BYTES_MAX;
  }

  write(bytes: Uint8Array): void {
    this.#check();
    try {
      let rest = bytes;
      // Also nothing is written, so that a file that cannot be written says so.
      do {
        let written: number;
        if (this.offset === undefined) written = this.file.append(rest);
        else {
          written = this.file.writeAt(rest, this.offset);
          this.offset += BigInt(written);
        }
        rest = rest.subarray(written);
      } while (rest.length > 0);
    } catch (code) {
      // Told by the next call, as by a stream that writes in the background.
      this.#error = code;
      this.#closed = true;
    }
  }

  flush(): void {
    this.#check();
  }

  close(): void {
    this.file.release();
  }

  #check(): void {
    if (this.#error !== undefined) {
      const code = this.#error;
      this.#error = undefined;
      fileFailed(this.file.host, code);
    }
    if (this.#closed) streamClosed();
  }
}

type Opened =
  | { readonly kind: "file"; readonly file: OpenFile }
  | {
    readonly kind: "directory";
    readonly directory: OpenDirectory;
    readonly flags: DescriptorFlags;
  };

/** Resource `directory-entry-stream`. */
export class DirectoryEntryStream extends Resource {
  #entries: Iterator<{ type: DescriptorType; name: string }>;

  constructor(host: WasiInstance, entries: Iterable<{ type: DescriptorType; name: string }>) {
    super(host, "directory-entry-stream");
    this.#entries = entries[Symbol.iterator]();
  }

  readDirectoryEntry(): { type: DescriptorType; name: string } | undefined {
    const next = this.#entries.next();
    return next.done ? undefined : next.value;
  }
}

/** Resource `descriptor`. */
export class Descriptor extends Resource {
  readonly opened: Opened;
  readonly directories: OpenDirectories;

  constructor(host: WasiInstance, directories: OpenDirectories, opened: Opened) {
    super(host, "descriptor");
    this.directories = directories;
    this.opened = opened;
    if (opened.kind === "directory") directories.add(opened.directory);
  }

  /** What `stat` and `metadata-hash` give, in one look at the file. */
  static statWithHash(
    descriptor: Descriptor,
    at?: { readonly flags: PathFlags; readonly path: string },
  ): [DescriptorStat, { lower: bigint; upper: bigint }] {
    const info = at === undefined ? descriptor.#info() : descriptor.#infoAt(at.flags, at.path);
    return [statOf(info), hashOf(identityOf(info))];
  }

  protected override released(): void {
    if (this.opened.kind === "file") this.opened.file.release();
    else this.directories.delete(this.opened.directory);
  }

  readViaStream(offset: bigint): InputStream {
    if (this.opened.kind === "directory") throw "is-directory" satisfies ErrorCode;
    return new InputStream(this.host, new FileSource(this.opened.file.retain(), offset));
  }

  writeViaStream(offset: bigint): OutputStream {
    const file = this.#writableFile();
    return new OutputStream(this.host, new FileSink(file.retain(), offset));
  }

  appendViaStream(): OutputStream {
    const file = this.#writableFile();
    return new OutputStream(this.host, new FileSink(file.retain()));
  }

  advise(_offset: bigint, length: bigint, _advice: string): void {
    this.#file();
    if (length > OFFSET_MAX) throw "invalid" satisfies ErrorCode;
  }

  syncData(): void {
    this.#sync((file) => file.syncDataSync());
  }

  getFlags(): DescriptorFlags {
    if (this.opened.kind === "directory") return this.opened.flags;
    return { read: this.opened.file.readable, write: this.opened.file.writable };
  }

  getType(): DescriptorType {
    return this.opened.kind === "directory" ? "directory" : "regular-file";
  }

  setSize(size: bigint): void {
    const file = this.#writableFile();
    if (!file.writable || size > OFFSET_MAX) throw "invalid" satisfies ErrorCode;
    if (size > BigInt(Number.MAX_SAFE_INTEGER)) throw "file-too-large" satisfies ErrorCode;
    onHost(() => file.file.truncateSync(Number(size)));
  }

  setTimes(access: NewTimestamp, modification: NewTimestamp): void {
    const { opened } = this;
    if (!this.#mount().writable) throw "not-permitted" satisfies ErrorCode;
    const times = timesOf(access, modification);
    if (opened.kind === "file") {
      const { file } = opened.file;
      applyTimes(() => file.statSync(), times, (a, m) => file.utimeSync(a, m));
    } else if (!opened.directory.removed) {
      this.#locked(() => {
        const { hostPath, info } = locate(opened.directory);
        applyTimes(() => info, times, (a, m) => Deno.utimeSync(hostPath, a, m));
      });
    }
  }

  read(length: bigint, offset: bigint): [Uint8Array, boolean] {
    const bytes = this.#file().readAt(clampLength(length), offset);
    return [bytes, bytes.length === 0];
  }

  write(bytes: Uint8Array, offset: bigint): bigint {
    return BigInt(this.#writableFile().writeAt(bytes, offset));
  }

  readDirectory(): DirectoryEntryStream {
    const directory = this.#directory();
    const entries = directory.removed ? [] : this.#locked(() => {
      const { hostPath } = locate(directory);
      return onHost(() => [...Deno.readDirSync(hostPath)]).map((entry) => ({
        type: entryType(entry, hostPath),
        name: entry.name,
      }));
    });
    return new DirectoryEntryStream(this.host, entries);
  }

  sync(): void {
    this.#sync((file) => file.syncSync());
  }

  createDirectoryAt(path: string): void {
    const directory = this.#writableDirectory();
    this.#locked(() => {
      const { hostPath } = placeOf(resolveParent(directory, stripSlashes(path)));
      onHost(() => Deno.mkdirSync(hostPath));
    });
  }

  stat(): DescriptorStat {
    return statOf(this.#info());
  }

  statAt(flags: PathFlags, path: string): DescriptorStat {
    return statOf(this.#infoAt(flags, path));
  }

  setTimesAt(
    flags: PathFlags,
    path: string,
    access: NewTimestamp,
    modification: NewTimestamp,
  ): void {
    const directory = this.#writableDirectory();
    const times = timesOf(access, modification);
    this.#locked(() => {
      let found: Found;
      if (flags.symlinkFollow) found = resolve(directory, path, true);
      else {
        const place = placeOf(resolveParent(directory, path));
        // As on Linux: where there is nothing to change, nothing is looked for.
        if (times.atime === undefined && times.mtime === undefined) return;
        found = lookUp(place);
      }
      const { hostPath, info } = existing(found);
      applyTimes(() => info, times, (a, m) => {
        if (info.isSymlink) lutimesSync(hostPath, a, m);
        else Deno.utimeSync(hostPath, a, m);
      });
    });
  }

  linkAt(oldFlags: PathFlags, oldPath: string, newParent: Descriptor, newPath: string): void {
    const from = this.#writableDirectory();
    const to = newParent.#writableDirectory();
    if (oldFlags.symlinkFollow) throw "invalid" satisfies ErrorCode;
    this.#lockedWith(newParent, () => {
      const [parent, newParent] = [resolveParent(from, oldPath), resolveParent(to, newPath)];
      const entry = placeOf(newParent);
      const old = existing(lookUp(placeOf(parent)));
      if (newParent.name === ".") throw "exist" satisfies ErrorCode;
      checkMovedLink(old, entry);
      onHost(() => Deno.linkSync(old.hostPath, entry.hostPath));
    });
  }

  openAt(
    pathFlags: PathFlags,
    path: string,
    openFlags: OpenFlags,
    flags: DescriptorFlags,
  ): Descriptor {
    const directory = this.#directory();
    if (flags.fileIntegritySync || flags.dataIntegritySync || flags.requestedWriteSync) {
      throw "unsupported" satisfies ErrorCode;
    }
    if (openFlags.directory && (openFlags.create || openFlags.exclusive || openFlags.truncate)) {
      throw "invalid" satisfies ErrorCode;
    }
    const mode = {
      read: flags.read === true || flags.write !== true,
      write: flags.write === true || openFlags.create === true || openFlags.truncate === true,
    };
    if (mode.write && !this.#mount().writable) throw "not-permitted" satisfies ErrorCode;
    if (this.host.live("descriptor") >= HANDLES_MAX) throw "quota" satisfies ErrorCode;
    const opened = this.#locked(() =>
      openFound(this.host, directory, pathFlags, path, openFlags, mode)
    );
    return new Descriptor(this.host, this.directories, opened);
  }

  readlinkAt(path: string): string {
    const directory = this.#directory();
    return this.#locked(() => {
      const found = existing(lookUp(placeOf(resolveParent(directory, path))));
      if (!found.info.isSymlink) throw "invalid" satisfies ErrorCode;
      const target = onHost(() => Deno.readLinkSync(found.hostPath));
      if (target.startsWith("/")) throw "not-permitted" satisfies ErrorCode;
      return target;
    });
  }

  removeDirectoryAt(path: string): void {
    const directory = this.#writableDirectory();
    this.#locked(() => {
      const parent = resolveParent(directory, path);
      if (parent.name === ".") throw "invalid" satisfies ErrorCode;
      const found = existing(lookUp(placeOf(parent)));
      if (!found.info.isDirectory) throw "not-directory" satisfies ErrorCode;
      onHost(() => Deno.removeSync(found.hostPath));
      this.directories.removed(directory.mount, found.path);
    });
  }

  renameAt(oldPath: string, newParent: Descriptor, newPath: string): void {
    const from = this.#writableDirectory();
    const to = newParent.#writableDirectory();
    const requiresDirectory = oldPath.endsWith("/") || newPath.endsWith("/");
    this.#lockedWith(newParent, () => {
      const oldEntry = resolveParent(from, stripSlashes(oldPath));
      const newEntry = resolveParent(to, stripSlashes(newPath));
      const [place, entry] = [placeOf(oldEntry), placeOf(newEntry)];
      if (oldEntry.name === "." || newEntry.name === ".") throw "busy" satisfies ErrorCode;
      const old = existing(lookUp(place));
      if (requiresDirectory && !old.info.isDirectory) throw "not-directory" satisfies ErrorCode;
      checkMovedLink(old, entry);
      onHost(() => Deno.renameSync(old.hostPath, entry.hostPath));
      if (!old.info.isDirectory || old.hostPath === entry.hostPath) return;
      this.directories.removed(to.mount, entry.path);
      this.directories.moved(from.mount, old.path, to.mount, entry.path);
    });
  }

  symlinkAt(target: string, path: string): void {
    const directory = this.#writableDirectory();
    this.#locked(() => {
      if (target.startsWith("/")) throw "not-permitted" satisfies ErrorCode;
      const parent = resolveParent(directory, path);
      checkText(target);
      const found = lookUp(placeOf(parent));
      if (found.info !== null) throw "exist" satisfies ErrorCode;
      checkLinkTarget(target, found.path.length - 1);
      const { symlink } = this.host.ctx;
      onHost(() => {
        if (symlink) symlink.call(this.host.ctx, target, found.hostPath);
        else Deno.symlinkSync(target, found.hostPath);
      });
    });
  }

  unlinkFileAt(path: string): void {
    const directory = this.#writableDirectory();
    this.#locked(() => {
      const found = existing(lookUp(placeOf(resolveParent(directory, path))));
      if (found.info.isDirectory) throw "is-directory" satisfies ErrorCode;
      onHost(() => Deno.removeSync(found.hostPath));
    });
  }

  isSameObject(other: Descriptor): boolean {
    return isSame(this.#identity(), other.#identity());
  }

  metadataHash(): { lower: bigint; upper: bigint } {
    return hashOf(this.#identity());
  }

  metadataHashAt(flags: PathFlags, path: string): { lower: bigint; upper: bigint } {
    return hashOf(identityOf(this.#infoAt(flags, path)));
  }

  #mount(): MountPoint {
    const { opened } = this;
    return opened.kind === "file" ? opened.file.mount : opened.directory.mount;
  }

  #locked<T>(act: () => T): T {
    return this.host.ctx.lock(this.#mount().index, act);
  }

  /** Two mounts are locked in the order of their indexes, so that nobody waits in a circle. */
  #lockedWith<T>(other: Descriptor, act: () => T): T {
    const { lock } = this.host.ctx;
    const [a, b] = [this.#mount().index, other.#mount().index].sort((x, y) => x - y) as [
      number,
      number,
    ];
    if (a === b) return lock.call(this.host.ctx, a, act) as T;
    return lock.call(this.host.ctx, a, () => lock.call(this.host.ctx, b, act)) as T;
  }

  #file(): OpenFile {
    if (this.opened.kind === "directory") throw "bad-descriptor" satisfies ErrorCode;
    return this.opened.file;
  }

  #writableFile(): OpenFile {
    const file = this.#file();
    if (!file.mount.writable) throw "not-permitted" satisfies ErrorCode;
    return file;
  }

  #directory(): OpenDirectory {
    if (this.opened.kind === "file") throw "not-directory" satisfies ErrorCode;
    return this.opened.directory;
  }

  #writableDirectory(): OpenDirectory {
    const directory = this.#directory();
    if (!directory.mount.writable) throw "not-permitted" satisfies ErrorCode;
    return directory;
  }

  /** Also of a directory that is gone. */
  #identity(): Identity {
    const { opened } = this;
    if (opened.kind === "directory") return opened.directory.identity;
    return opened.file.identity();
  }

  #info(): Deno.FileInfo {
    const { opened } = this;
    if (opened.kind === "file") return onHost(() => opened.file.file.statSync());
    if (opened.directory.removed) return { ...opened.directory.info, nlink: 0 };
    return this.#locked(() => locate(opened.directory).info);
  }

  #infoAt(flags: PathFlags, path: string): Deno.FileInfo {
    const directory = this.#directory();
    const follow = flags.symlinkFollow === true;
    // Of a single name wasmtime takes the link itself even where a slash stands behind it.
    const wanted = follow ? path : singleName(path);
    return this.#locked(() => existing(resolve(directory, wanted, follow)).info);
  }

  #sync(act: (file: Deno.FsFile) => void): void {
    const { opened } = this;
    if (opened.kind === "file") return onHost(() => act(opened.file.file));
    if (opened.directory.removed) return;
    this.#locked(() => {
      const { hostPath } = locate(opened.directory);
      // Windows cannot open a directory; there is nothing to sync there either.
      if (Deno.build.os === "windows") return;
      onHost(() => {
        using file = Deno.openSync(hostPath, { read: true });
        act(file);
      });
    });
  }
}

/** A path without the slashes at its end. */
function stripSlashes(path: string): string {
  let end = path.length;
  while (end > 1 && path[end - 1] === "/") end--;
  return path.slice(0, end);
}

/** A path of one name without the slashes and dots behind it. */
function singleName(path: string): string {
  const end = path.indexOf("/");
  if (end <= 0 || /^\.\.?\//.test(path)) return path;
  const isSingle = path.slice(end).split("/").every((name) => name === "" || name === ".");
  return isSingle ? path.slice(0, end) : path;
}

function existing<T extends Found>(found: T): T & { readonly info: Deno.FileInfo } {
  if (found.info === null) throw "no-entry" satisfies ErrorCode;
  return found as T & { readonly info: Deno.FileInfo };
}

/** A link that moves to where it would lead out stays where it is. */
function checkMovedLink(old: Found, entry: Place): void {
  if (!old.info?.isSymlink || entry.path.length >= old.path.length) return;
  const target = onHost(() => Deno.readLinkSync(old.hostPath));
  // An absolute one is not the guest's work and leads nowhere for it.
  if (!target.startsWith("/")) checkLinkTarget(target, entry.path.length - 1);
}

function entryType(entry: Deno.DirEntry, parent: string): DescriptorType {
  if (entry.isDirectory) return "directory";
  if (entry.isSymlink) return "symbolic-link";
  if (entry.isFile) return "regular-file";
  try {
    return typeOf(Deno.lstatSync(`${parent}/${entry.name}`));
  } catch {
    return "unknown";
  }
}

function openFound(
  host: WasiInstance,
  directory: OpenDirectory,
  pathFlags: PathFlags,
  path: string,
  openFlags: OpenFlags,
  mode: { read: boolean; write: boolean },
): Opened {
  const createNew = openFlags.create === true && openFlags.exclusive === true;
  if (openFlags.create && path.endsWith("/")) {
    const { name } = resolveParent(directory, stripSlashes(path));
    throw (name === "." && createNew ? "exist" : "is-directory") satisfies ErrorCode;
  }
  const follow = pathFlags.symlinkFollow === true && !createNew;
  const found = resolve(directory, path, follow, openFlags.create === true);
  const { mount } = directory;
  const { info, hostPath } = found;
  if (info === null) {
    if (!openFlags.create) throw "no-entry" satisfies ErrorCode;
    // Never through a link: `createNew` fails where anything is.
    const file = onHost(() => Deno.openSync(hostPath, { ...mode, createNew: true }));
    return { kind: "file", file: new OpenFile(host, mount, file, mode.read, mode.write) };
  }
  if (createNew) throw "exist" satisfies ErrorCode;
  if (info.isSymlink) throw "loop" satisfies ErrorCode;
  if (info.isDirectory) {
    if (mode.write) throw "is-directory" satisfies ErrorCode;
    return {
      kind: "directory",
      directory: openDirectory(mount, found.path, info),
      flags: { read: true },
    };
  }
  // Opening a FIFO blocks, opening a device acts: only plain files are files here.
  if (!info.isFile) throw "not-permitted" satisfies ErrorCode;
  if (openFlags.directory) throw "not-directory" satisfies ErrorCode;
  const file = onHost(() => Deno.openSync(hostPath, mode));
  const identity = identityOf(info);
  try {
    if (!isSame(identityOf(file.statSync()), identity)) {
      throw "not-permitted" satisfies ErrorCode;
    }
    if (openFlags.truncate) onHost(() => file.truncateSync(0));
  } catch (error) {
    file.close();
    throw typeof error === "string" ? error : errorCodeOf(error);
  }
  return { kind: "file", file: new OpenFile(host, mount, file, mode.read, mode.write, identity) };
}

guardResource("wasi:filesystem/types", "directory-entry-stream", DirectoryEntryStream);
guardResource("wasi:filesystem/types", "descriptor", Descriptor);

/** The functions of `wasi:filesystem`, by interface. */
export function createFilesystem(host: WasiInstance) {
  const directories = new OpenDirectories();
  const mounts = host.ctx.grants.mounts.map((mount, index) => ({ ...mount, index }));
  return {
    preopens: {
      getDirectories: (): [Descriptor, string][] =>
        mounts.flatMap((mount) => {
          let directory: OpenDirectory;
          try {
            directory = host.ctx.lock(mount.index, () => openRoot(mount));
          } catch (code) {
            if (typeof code !== "string") throw code;
            host.trap(`Cannot open mount "${mount.guestPath}": ${code}, wanted a folder`);
          }
          const flags = mount.writable ? { read: true, mutateDirectory: true } : { read: true };
          const opened = { kind: "directory", directory, flags } as const;
          return [[new Descriptor(host, directories, opened), mount.guestPath]];
        }),
    },
    types: {
      filesystemErrorCode: (error: IoError): string | undefined => error.init.filesystem,
    },
  };
}
