/**
 * Where a guest's path leads on the host, without ever leaving the mount.
 *
 * Deno follows symbolic links and has no `openat`, so a path is walked here, component by
 * component, with `lstat` and `readlink`: nothing is ever given to Deno whose links are not
 * resolved. The walk may not rise above the directory that the guest named (as with
 * `RESOLVE_BENEATH`), nor follow an absolute link. A walk and the act on its result are one
 * synchronous step under the lock of the mount, so no other guest interleaves; processes of the
 * host that change the mount meanwhile are not guarded against, except that what was opened is
 * compared with what was found.
 *
 * An open directory is a path, too. It follows the renames that this instance makes, and the
 * identity taken when it was opened tells when others moved or removed it.
 *
 * Failures are thrown as {@link ErrorCode}, the codes that wasmtime gives on Linux.
 *
 * @module
 */

/** `error-code` of `wasi:filesystem/types`, those that can occur. */
export type ErrorCode =
  | "access"
  | "bad-descriptor"
  | "busy"
  | "cross-device"
  | "exist"
  | "file-too-large"
  | "illegal-byte-sequence"
  | "insufficient-memory"
  | "insufficient-space"
  | "interrupted"
  | "invalid"
  | "invalid-seek"
  | "io"
  | "is-directory"
  | "loop"
  | "name-too-long"
  | "no-entry"
  | "not-directory"
  | "not-empty"
  | "not-permitted"
  | "overflow"
  | "pipe"
  | "quota"
  | "read-only"
  | "text-file-busy"
  | "too-many-links"
  | "unsupported"
  | "would-block";

const CODE_OF_ERRNO: Readonly<Record<string, ErrorCode>> = {
  EACCES: "access",
  EAGAIN: "would-block",
  EBADF: "bad-descriptor",
  EBUSY: "busy",
  EDQUOT: "quota",
  EEXIST: "exist",
  EFBIG: "file-too-large",
  EILSEQ: "illegal-byte-sequence",
  EINTR: "interrupted",
  EINVAL: "invalid",
  EIO: "io",
  EISDIR: "is-directory",
  ELOOP: "loop",
  EMLINK: "too-many-links",
  ENAMETOOLONG: "name-too-long",
  ENOENT: "no-entry",
  ENOMEM: "insufficient-memory",
  ENOSPC: "insufficient-space",
  ENOTDIR: "not-directory",
  ENOTEMPTY: "not-empty",
  ENOTSUP: "unsupported",
  EOPNOTSUPP: "unsupported",
  EOVERFLOW: "overflow",
  EPERM: "not-permitted",
  EPIPE: "pipe",
  EROFS: "read-only",
  ESPIPE: "invalid-seek",
  ETXTBSY: "text-file-busy",
  EXDEV: "cross-device",
};

/** Deno names most errors of the system, and these only by number (equal on all Unixes). */
const CODE_OF_NUMBER: Readonly<Record<string, ErrorCode>> = {
  "26": "text-file-busy",
  "27": "file-too-large",
  "28": "insufficient-space",
  "29": "invalid-seek",
  "30": "read-only",
  "31": "too-many-links",
  "32": "pipe",
};

/** The code for an error that Deno threw. */
export function errorCodeOf(error: unknown): ErrorCode {
  if (!(error instanceof Error)) throw error;
  const errno = (error as { code?: unknown }).code;
  if (typeof errno === "string" && Object.hasOwn(CODE_OF_ERRNO, errno)) {
    return CODE_OF_ERRNO[errno]!;
  }
  const number = /\(os error (\d+)\)/.exec(error.message)?.[1];
  if (number !== undefined && Deno.build.os !== "windows" && number in CODE_OF_NUMBER) {
    return CODE_OF_NUMBER[number]!;
  }
  if (error instanceof Deno.errors.NotFound) return "no-entry";
  if (error instanceof Deno.errors.AlreadyExists) return "exist";
  if (error instanceof Deno.errors.NotCapable) return "not-permitted";
  if (error instanceof Deno.errors.PermissionDenied) return "access";
  // Text that is not UTF-8.
  if (error instanceof Deno.errors.InvalidData) return "illegal-byte-sequence";
  return "io";
}

/** Runs an act on the host's file system; what it throws becomes an {@link ErrorCode}. */
export function onHost<T>(act: () => T): T {
  try {
    return act();
  } catch (error) {
    throw errorCodeOf(error);
  }
}

/** Symbolic links that one walk follows, as on Linux. */
export const LINKS_MAX = 40;
/** Bytes of a path, as on Linux, the final zero not counted. */
export const PATH_BYTES_MAX = 4095;

/** A mounted folder as the walk needs it; `hostPath` is absolute, its own links are resolved. */
export interface MountPoint {
  readonly index: number;
  readonly hostPath: string;
  readonly writable: boolean;
}

/** What tells two files apart. */
export interface Identity {
  readonly dev: number;
  readonly ino: number | null;
  readonly birthMs: number | undefined;
}

/** The identity of what `lstat` or `fstat` described. */
export function identityOf(info: Deno.FileInfo): Identity {
  return { dev: info.dev, ino: info.ino, birthMs: info.birthtime?.getTime() };
}

/** Whether two identities are one file; inode numbers are used again, so births count. */
export function isSame(a: Identity, b: Identity): boolean {
  return a.dev === b.dev && a.ino === b.ino && a.birthMs === b.birthMs;
}

/** A directory that a guest holds a descriptor of. */
export interface OpenDirectory {
  readonly mount: MountPoint;
  /** Names from the root of the mount. */
  path: readonly string[];
  readonly identity: Identity;
  /** What it was when it was opened. */
  readonly info: Deno.FileInfo;
  /** This instance removed it: it is empty, and nothing can be made in it. */
  removed: boolean;
}

/** A place in a mount. */
export interface Place {
  /** Names from the root of the mount, no link among them but perhaps the last. */
  readonly path: readonly string[];
  readonly hostPath: string;
}

/** Where a path led. */
export interface Found extends Place {
  /** `lstat` of it; `null`: only its parent is there. */
  readonly info: Deno.FileInfo | null;
}

/** Where an entry is or would be: the directory that holds it, and its name there. */
export interface Parent {
  readonly mount: MountPoint;
  /** Names from the root of the mount, no link among them. */
  readonly path: readonly string[];
  /** `.` for a path that is nothing but a directory (`.`, `a/`, `a/..`), which `path` is then. */
  readonly name: string;
}

function joinHost(mount: MountPoint, path: readonly string[]): string {
  if (path.length === 0) return mount.hostPath;
  return `${mount.hostPath.replace(/[/\\]$/, "")}/${path.join("/")}`;
}

/** `lstat`, `null` when nothing is there. */
function lstat(hostPath: string): Deno.FileInfo | null {
  try {
    return Deno.lstatSync(hostPath);
  } catch (error) {
    const code = errorCodeOf(error);
    if (code === "no-entry") return null;
    throw code;
  }
}

const WINDOWS_NAME = /[\\:*?"<>|]|[. ]$|^(con|prn|aux|nul|com\d|lpt\d)(\.|$)/i;

/** Refuses a name that the host would not read as one plain name. */
export function checkName(name: string): void {
  if (name.includes("\0")) throw "invalid";
  if (Deno.build.os === "windows" && WINDOWS_NAME.test(name)) throw "not-permitted";
}

function isAbsolute(path: string): boolean {
  return path.startsWith("/") || (Deno.build.os === "windows" && /^([a-z]:|\\)/i.test(path));
}

const encoder = new TextEncoder();

/** Refuses what no call of the system takes as a path or as the text of a link. */
export function checkText(path: string): void {
  if (path === "") throw "no-entry";
  if (path.includes("\0")) throw "invalid";
  // A character of UTF-16 is at most three bytes of UTF-8.
  if (path.length * 3 > PATH_BYTES_MAX && encoder.encode(path).length > PATH_BYTES_MAX) {
    throw "name-too-long";
  }
}

function checkPath(path: string): void {
  checkText(path);
  if (isAbsolute(path)) throw "not-permitted";
}

function componentsOf(path: string): string[] {
  return path.split("/").filter((name) => name !== "");
}

/** The host path and `lstat` of an open directory. Throws `no-entry` when it is gone. */
export function locate(directory: OpenDirectory): { hostPath: string; info: Deno.FileInfo } {
  if (directory.removed) throw "no-entry";
  const hostPath = joinHost(directory.mount, directory.path);
  const info = lstat(hostPath);
  if (info === null || !info.isDirectory || !isSame(identityOf(info), directory.identity)) {
    throw "no-entry";
  }
  return { hostPath, info };
}

/** Opens the directory that a walk found. */
export function openDirectory(
  mount: MountPoint,
  path: readonly string[],
  info: Deno.FileInfo,
): OpenDirectory {
  return { mount, path, identity: identityOf(info), info, removed: false };
}

/** Opens the root of a mount. Throws `no-entry`, `not-directory`. */
export function openRoot(mount: MountPoint): OpenDirectory {
  const info = lstat(mount.hostPath);
  if (info === null) throw "no-entry";
  if (!info.isDirectory) throw "not-directory";
  return openDirectory(mount, [], info);
}

/**
 * Walks `path` from an open directory.
 *
 * `follow`: whether a link in last place is followed; one before a slash always is. `create`: the
 * path is that of a file to be made, which a slash behind its name forbids.
 */
export function resolve(
  directory: OpenDirectory,
  path: string,
  follow: boolean,
  create = false,
): Found {
  checkPath(path);
  const { mount } = directory;
  if (directory.removed && /^(\.\/+)*\.\.(\/|$)/.test(path)) throw "not-permitted";
  const start = locate(directory);
  const pending = componentsOf(path).reverse();
  let requiresDirectory = path.endsWith("/");
  let links = 0;
  const names = [...directory.path];
  /** The directory itself and what is below it, one for each name past the directory's own. */
  const infos: (Deno.FileInfo | null)[] = [start.info];
  while (pending.length > 0) {
    const name = pending.pop()!;
    const here = infos.at(-1)!;
    if (here === null) throw "no-entry";
    if (!here.isDirectory) throw "not-directory";
    if (name === ".") continue;
    if (name === "..") {
      if (infos.length === 1) throw "not-permitted";
      names.pop();
      infos.pop();
      continue;
    }
    checkName(name);
    names.push(name);
    const hostPath = joinHost(mount, names);
    const info = lstat(hostPath);
    const isLast = pending.length === 0;
    if (info?.isSymlink && (!isLast || follow || requiresDirectory)) {
      names.pop();
      if (++links > LINKS_MAX) throw "loop";
      const target = onHost(() => Deno.readLinkSync(hostPath));
      checkPath(target);
      if (isLast && target.endsWith("/")) requiresDirectory = true;
      pending.push(...componentsOf(target).reverse());
      continue;
    }
    infos.push(info);
  }
  const info = infos.at(-1)!;
  if (requiresDirectory && create) throw "is-directory";
  if (requiresDirectory && info !== null && !info.isDirectory) throw "not-directory";
  return { path: names, hostPath: joinHost(mount, names), info };
}

/**
 * Walks to the directory that holds the last name of `path`, as what acts on an entry and not on
 * the file does: make, remove, rename, link. What is there under that name is asked later, by
 * {@link lookUp}: a call with two paths walks to both directories first.
 */
export function resolveParent(directory: OpenDirectory, path: string): Parent {
  const { mount } = directory;
  const end = path.lastIndexOf("/");
  const name = path.slice(end + 1);
  const isDot = end === -1 ? name === "." : name === "" || name === ".";
  if (path === "" || isDot || name === "..") {
    return { mount, path: resolveDirectory(directory, path), name: "." };
  }
  const parent = path.slice(0, end + 1);
  if (parent !== "") return { mount, path: resolveDirectory(directory, parent), name };
  locate(directory);
  return { mount, path: directory.path, name };
}

/** Where the entry is or would be, without asking what is there. */
export function placeOf({ mount, path, name }: Parent): Place {
  checkName(name);
  const entry = name === "." ? path : [...path, name];
  return { path: entry, hostPath: joinHost(mount, entry) };
}

/** What is there, without following it when it is a link. */
export function lookUp(place: Place): Found {
  return { ...place, info: lstat(place.hostPath) };
}

function resolveDirectory(directory: OpenDirectory, path: string): readonly string[] {
  const found = resolve(directory, path, true);
  if (found.info === null) throw "no-entry";
  if (!found.info.isDirectory) throw "not-directory";
  return found.path;
}

/**
 * Refuses a link target that is absolute or leads out of the mount from `depth` names below its
 * root.
 *
 * `..` is taken only in front: after a name it would depend on what that name is some day.
 */
export function checkLinkTarget(target: string, depth: number): void {
  if (isAbsolute(target)) throw "not-permitted";
  const names = componentsOf(target).filter((name) => name !== ".");
  const up = names.findIndex((name) => name !== "..");
  const ups = up === -1 ? names.length : up;
  if (ups > depth || names.indexOf("..", ups) !== -1) throw "not-permitted";
}

function startsWith(path: readonly string[], prefix: readonly string[]): boolean {
  return path.length >= prefix.length && prefix.every((name, index) => path[index] === name);
}

/** The directories that an instance has open. */
export class OpenDirectories {
  #open = new Set<OpenDirectory>();

  add(directory: OpenDirectory): OpenDirectory {
    this.#open.add(directory);
    return directory;
  }

  delete(directory: OpenDirectory): void {
    this.#open.delete(directory);
  }

  /** A directory was renamed: it and those below it have a new path. */
  moved(from: MountPoint, old: readonly string[], to: MountPoint, path: readonly string[]): void {
    for (const directory of [...this.#open]) {
      if (directory.mount !== from || !startsWith(directory.path, old)) continue;
      const moved = [...path, ...directory.path.slice(old.length)];
      Object.assign(directory, { mount: to, path: moved });
    }
  }

  /** A directory was removed, or replaced by a rename. */
  removed(mount: MountPoint, path: readonly string[]): void {
    for (const directory of this.#open) {
      if (directory.mount === mount && startsWith(directory.path, path)) directory.removed = true;
    }
  }
}
