/**
 * `file:` sources: a path as it is written, relative to the folder of the manifest, or a `file://`
 * URL (RFC 8089).
 *
 * @module
 */
import { isAbsolute, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { RealmError } from "../kernel/error.ts";
import type { SourceContext } from "./source.ts";
import { tooLarge } from "./too_large.ts";

/**
 * The path that `file:PATH` or `file:///PATH` names. Throws RealmError `invalid-config` for a URL
 * that names a host, or nothing at all.
 */
export function filePath(source: string, manifestFolder: string): string {
  const rest = source.slice("file:".length);
  const wrong = (wanted: string, cause?: unknown) =>
    new RealmError("invalid-config", `Cannot fetch "${source}": ${wanted}`, {
      hint: "Write file:./path relative to the manifest, or file:/absolute/path",
      cause,
    });
  if (rest === "" || rest.includes("\0")) throw wrong("wanted a path behind file:");
  if (!rest.startsWith("//")) return isAbsolute(rest) ? rest : resolve(manifestFolder, rest);
  try {
    return fileURLToPath(source);
  } catch (cause) {
    throw wrong("not a file URL of this machine", cause);
  }
}

/**
 * The bytes of a regular file.
 *
 * Throws RealmError `not-found`, `limit-exceeded`, or `failed` for what is not a regular file (to
 * open a named pipe would wait for ever) or cannot be read.
 */
export async function fetchFile(
  source: string,
  options: SourceContext,
): Promise<Uint8Array> {
  const path = filePath(source, options.manifestFolder);
  const failed = (code: "failed" | "not-found", reason: string, cause?: unknown) =>
    new RealmError(code, `Cannot fetch "${source}": ${reason}`, { cause });
  try {
    const info = await Deno.stat(path);
    if (!info.isFile) throw failed("failed", `"${path}" is not a regular file`);
    if (info.size > options.bytesMax) throw tooLarge(source, options.bytesMax);
    const bytes = await Deno.readFile(path, { signal: options.signal });
    // It may have grown in between.
    if (bytes.length > options.bytesMax) throw tooLarge(source, options.bytesMax);
    return bytes;
  } catch (error) {
    if (error instanceof RealmError || options.signal.aborted) throw error;
    if (error instanceof Deno.errors.NotFound) {
      throw failed("not-found", `there is no file "${path}"`, error);
    }
    throw failed("failed", error instanceof Error ? error.message : String(error), error);
  }
}
