/**
 * Limits that the operating system keeps on a process: the shell sets them, says what is in force,
 * and lets the program take its place.
 *
 * `RLIMIT_AS` is of no use here, since V8 reserves far more addresses than it uses. `RLIMIT_DATA`
 * counts what is private and writable, touched or not (setrlimit(2)).
 *
 * @module
 */
import type { StartOptions } from "../../kernel/ports.ts";

const SHELL = "/bin/sh";
const KIB = 1024;
const MIB = 1024 * KIB;
/** An isolate maps this for its code and touches little of it (measured: 528 MiB, 15 resident). */
const ISOLATE_DATA_BYTES = 540 * MIB;
/** The program itself, the guest's Worker, the Worker that names the frames of a trap. */
const ISOLATES = 3;
/** What their heaps may hold beside the guest's memory. */
const HEAP_BYTES = 640 * MIB;
/** Stack of a suspended request. */
const STACK_BYTES = MIB;
/** Files and sockets of the guest, with those of the program itself. */
const DESCRIPTORS_MAX = 4096;

/**
 * No core files: they would hold what the guest had in memory. What cannot be set stays as it is,
 * so what is in force is printed.
 */
const SCRIPT = `for limit in "$1" "$2" "$3"; do ulimit $limit 2>/dev/null; done
shift 3
echo "$(ulimit -d) $(ulimit -n)"
exec "$@"`;

/** What the operating system enforces; a missing number is no limit. */
export interface OsLimits {
  readonly dataBytesMax?: number;
  readonly openFilesMax?: number;
}

/** The words that start `words` under limits that leave room for such a guest. */
export function limitedWords(
  words: readonly [string, ...string[]],
  { limits, maxConcurrency = 1 }: Pick<StartOptions, "limits" | "maxConcurrency">,
): readonly [string, ...string[]] {
  const dataBytes = ISOLATES * ISOLATE_DATA_BYTES + HEAP_BYTES + limits.memoryBytesMax +
    maxConcurrency * STACK_BYTES;
  const dataKib = Math.ceil(dataBytes / KIB);
  return [SHELL, "-c", SCRIPT, "sh", "-c 0", `-n ${DESCRIPTORS_MAX}`, `-d ${dataKib}`, ...words];
}

/** What the script printed. */
export function parseOsLimits(text: string): OsLimits {
  const [data, files] = /^(\S+) (\S+)\n/.exec(text)?.slice(1).map(Number) ?? [];
  return {
    ...(Number.isFinite(data) ? { dataBytesMax: data! * KIB } : {}),
    ...(Number.isFinite(files) ? { openFilesMax: files! } : {}),
  };
}
