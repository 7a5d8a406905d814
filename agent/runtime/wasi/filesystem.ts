/**
 * `wasi:filesystem`: preopens, descriptors, directory streams.
 *
 * Codes and order of checks are wasmtime's on Linux. A directory is a path that
 * `filesystem_paths.ts` walks from, a file is open on the host (`filesystem_file.ts`).
 *
 * @see https://github.com/WebAssembly/wasi-filesystem/tree/v0.2.12/wit
 * @module
 */
import { lutimesSync } from "node:fs";
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
import { FileSink, FileSource, OpenFile } from "./filesystem_file.ts";
import {
  applyTimes,
  type DescriptorStat,
  type DescriptorType,
  hashOf,
  type NewTimestamp,
  OFFSET_MAX,
  statOf,
  timesOf,
  typeOf,
} from "./filesystem_stat.ts";
import { clampLength, InputStream, type IoError, OutputStream } from "./io.ts";
import { guardResource, HOLD, Resource } from "./resource.ts";
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
type Opened =
  | { readonly kind: "file"; readonly file: OpenFile }
  | {
    readonly kind: "directory";
    readonly directory: OpenDirectory;
    readonly flags: DescriptorFlags;
  };

/** Memory of the host that an entry of a directory counts beside its name. */
const ENTRY_BYTES = 128;

/** What a list of entries counts. */
export function sizeOfEntries(entries: readonly { readonly name: string }[]): number {
  return entries.reduce((sum, { name }) => sum + ENTRY_BYTES + 2 * name.length, 0);
}

/** Resource `directory-entry-stream`. */
export class DirectoryEntryStream extends Resource {
  #entries: Iterator<{ type: DescriptorType; name: string }>;

  constructor(host: WasiInstance, entries: readonly { type: DescriptorType; name: string }[]) {
    super(host, "directory-entry-stream");
    this.#entries = entries[Symbol.iterator]();
    this[HOLD](sizeOfEntries(entries));
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
    if (this.host.live("descriptor") >= HANDLES_MAX || !this.host.memory.hasRoom("openFiles")) {
      throw "quota" satisfies ErrorCode;
    }
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
    return this.host.ctx.lock([this.#mount().index], act);
  }

  #lockedWith<T>(other: Descriptor, act: () => T): T {
    const indexes = new Set([this.#mount().index, other.#mount().index]);
    return this.host.ctx.lock([...indexes], act);
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
    // A directory that not everybody may read: only the system knows whether we may.
    if (info.mode !== null && (~info.mode & 0o444) !== 0) {
      onHost(() => Deno.openSync(hostPath, { read: true }).close());
    }
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
            directory = host.ctx.lock([mount.index], () => openRoot(mount));
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
