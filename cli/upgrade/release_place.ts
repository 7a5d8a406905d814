/**
 * Where a release is: a folder, or the address of one on the web.
 *
 * @module
 */
import * as path from "node:path";
import { createHash } from "node:crypto";
import { RealmError } from "../../agent/kernel/error.ts";

/** The largest executable that is taken. */
export const EXECUTABLE_BYTES_MAX = 512 * 1024 * 1024;
const REDIRECTS_MAX = 5;

/** A release that files are read from. */
export interface ReleasePlace {
  /** For people: the folder or address. */
  readonly name: string;
  /** Name of the executable in it, where it was named. */
  readonly file: string | undefined;
  /** Opens a file of it. Throws RealmError `not-found` or `unreachable`. */
  open(file: string, signal: AbortSignal): Promise<ReadableStream<Uint8Array>>;
}

/** The names of executables by platform; a release may have others besides. */
export function executableName(target: string): string {
  return `realm-${target}${target.includes("windows") ? ".exe" : ""}`;
}

/** What `--from` names: a folder, an executable in one, or the address of either. */
export async function releasePlace(from: string, cwd: string): Promise<ReleasePlace> {
  if (/^https?:\/\//.test(from)) return webPlace(from);
  const named = path.resolve(cwd, from);
  let isFolder: boolean;
  try {
    isFolder = (await Deno.stat(named)).isDirectory;
  } catch (cause) {
    throw new RealmError("not-found", `Cannot upgrade from ${named}: it is not there`, { cause });
  }
  const folder = isFolder ? named : path.dirname(named);
  return {
    name: folder,
    file: isFolder ? undefined : path.basename(named),
    async open(file) {
      try {
        return (await Deno.open(path.join(folder, file))).readable;
      } catch (cause) {
        throw notThere(`${folder}/${file}`, cause);
      }
    },
  };
}

function webPlace(from: string): ReleasePlace {
  const url = new URL(from);
  const last = url.pathname.split("/").at(-1)!;
  const file = last.startsWith("realm") ? last : undefined;
  if (file === undefined && last !== "") url.pathname += "/";
  const base = new URL(".", url);
  return {
    name: base.href,
    file,
    open: (name, signal) => download(new URL(name, base), signal),
  };
}

/** Follows redirects, and none from https to anything else. */
async function download(url: URL, signal: AbortSignal): Promise<ReadableStream<Uint8Array>> {
  for (let at = url, redirects = 0; redirects <= REDIRECTS_MAX; redirects++) {
    let response: Response;
    try {
      response = await fetch(at, { redirect: "manual", signal });
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new RealmError("unreachable", `Cannot download ${url}: ${reason}`, { cause });
    }
    const location = response.headers.get("location");
    if (response.ok && response.body !== null) return response.body;
    await response.body?.cancel();
    if (response.status < 300 || response.status > 399 || location === null) {
      throw notThere(url.href, new Error(`HTTP ${response.status}`));
    }
    const next = new URL(location, at);
    const isKept = next.protocol === at.protocol || next.protocol === "https:";
    if (!isKept || !next.protocol.startsWith("http")) {
      throw new RealmError("refused", `Cannot download ${url}: it leads from ${at} to ${next}`);
    }
    at = next;
  }
  throw new RealmError(
    "failed",
    `Cannot download ${url}: more than ${REDIRECTS_MAX} redirects`,
  );
}

function notThere(what: string, cause: unknown): RealmError {
  const reason = cause instanceof Deno.errors.NotFound
    ? "it is not there"
    : cause instanceof Error
    ? cause.message
    : String(cause);
  return new RealmError("not-found", `Cannot read ${what}: ${reason}`, { cause });
}

/** All of a small file. Throws RealmError `limit-exceeded` past `bytesMax`. */
export async function readSmall(
  place: ReleasePlace,
  file: string,
  bytesMax: number,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  await each(place, file, bytesMax, signal, (part) => {
    parts.push(part);
    return Promise.resolve();
  });
  return new Uint8Array(await new Blob(parts as Uint8Array<ArrayBuffer>[]).arrayBuffer());
}

/** Writes a file of the release to `target`, a new file; its sha256. */
export async function saveTo(
  target: Deno.FsFile,
  place: ReleasePlace,
  file: string,
  signal: AbortSignal,
): Promise<string> {
  const hash = createHash("sha256");
  await each(place, file, EXECUTABLE_BYTES_MAX, signal, async (part) => {
    hash.update(part);
    for (let rest = part; rest.length > 0;) rest = rest.subarray(await target.write(rest));
  });
  await target.sync();
  return hash.digest("hex");
}

async function each(
  place: ReleasePlace,
  file: string,
  bytesMax: number,
  signal: AbortSignal,
  take: (part: Uint8Array) => Promise<void>,
): Promise<void> {
  let bytes = 0;
  for await (const part of await place.open(file, signal)) {
    signal.throwIfAborted();
    bytes += part.length;
    if (bytes > bytesMax) {
      throw new RealmError(
        "limit-exceeded",
        `Cannot take ${file} of ${place.name}: wanted at most ${bytesMax} bytes`,
      );
    }
    await take(part);
  }
}
