/**
 * Which lines of a log are new.
 *
 * @module
 */
import type { LogRow } from "./session.ts";

/**
 * The rows of `now` that come after those of `told`.
 *
 * After a break the log is read anew, and may be there in part only: the same lines are other
 * objects then, so that they are compared by what they say, those that were missed left aside. The
 * end of `told` is looked for in `now`, from its end on. All rows are new where nothing fits.
 */
export function rowsAfter(told: readonly LogRow[], now: readonly LogRow[]): readonly LogRow[] {
  const at = told.length === 0 ? -1 : now.lastIndexOf(told.at(-1)!);
  if (at >= 0) return now.slice(at + 1); // there was no break
  const before = keysOf(told).map(([key]) => key);
  const rows = keysOf(now);
  if (before.length === 0) return now;
  for (let end = rows.length; end > 0; end--) {
    const length = Math.min(end, before.length);
    const isTold = range(length).every((i) => rows[end - 1 - i]![0] === before.at(-1 - i));
    if (isTold) return now.slice(rows[end - 1]![1] + 1);
  }
  const starts = range(Math.max(0, before.length - rows.length));
  const isPart = starts.some((start) => rows.every(([key], i) => key === before[start + i]));
  return isPart ? [] : now;
}

/** What each line says, with its place; without those that tell of missed ones. */
function keysOf(rows: readonly LogRow[]): [key: string, index: number][] {
  return rows.flatMap((row, i): [string, number][] => {
    if (row.kind !== "line") return [];
    return [[JSON.stringify([row.replica, row.wallMs, row.stream, row.level, row.text]), i]];
  });
}

function range(length: number): number[] {
  return Array.from({ length }, (_, i) => i);
}
