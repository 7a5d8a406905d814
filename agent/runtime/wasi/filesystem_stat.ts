/**
 * What `wasi:filesystem` says about a file: type, sizes, times, identity; and how times are set.
 *
 * Times have the precision that Deno gives: milliseconds.
 *
 * @see https://github.com/WebAssembly/wasi-filesystem/tree/v0.2.12/wit
 * @module
 */
import type { Datetime } from "./clocks.ts";
import { type Identity, onHost } from "./filesystem_paths.ts";

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
/** The greatest offset and the greatest second that the interface can say. */
export const OFFSET_MAX = 2n ** 63n - 1n;
/** The last second that a `Date` can say; file systems, too, take the nearest that they can. */
const SECONDS_MAX = 8_640_000_000_000n;

/** `descriptor-type` of what the host says. */
export function typeOf(info: Deno.FileInfo): DescriptorType {
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

/** `descriptor-stat` of what the host says. */
export function statOf(info: Deno.FileInfo): DescriptorStat {
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
export function hashOf(identity: Identity): { lower: bigint; upper: bigint } {
  let hash = BigInt(identity.dev) * 0x9e3779b97f4a7c15n + BigInt(identity.ino ?? 0);
  for (const factor of [0xbf58476d1ce4e5b9n, 0x94d049bb133111ebn]) {
    hash = BigInt.asUintN(64, hash);
    hash = (hash ^ (hash >> 30n)) * factor;
  }
  const lower = BigInt.asUintN(64, hash ^ (hash >> 31n));
  return { lower, upper: lower ^ 4614256656552045848n };
}

/** The times to set; `undefined` where nothing is to change. */
export function timesOf(
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
export function applyTimes(
  stat: () => Deno.FileInfo,
  times: ReturnType<typeof timesOf>,
  act: (atime: Date, mtime: Date) => void,
): void {
  if (times.atime === undefined && times.mtime === undefined) return;
  const old = (date: Date | null) => date ?? new Date(0);
  onHost(() => act(times.atime ?? old(stat().atime), times.mtime ?? old(stat().mtime)));
}
