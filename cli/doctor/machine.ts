/**
 * The doctor's look at the machine: its disk, its clock, what the system lets a process have.
 *
 * @module
 */
import { statfs } from "node:fs/promises";
import * as path from "node:path";
import { type Finding, ok, problem, warning } from "./finding.ts";
import type { Run } from "../upgrade/service.ts";

/** Free space below which components and events may soon not be written any more. */
const DISK_FREE_BYTES_LOW = 1e9;
/** Free space below which SQLite and blobs fail. */
const DISK_FREE_BYTES_MIN = 1e8;
/** Each connection, file and process takes one. */
const OPEN_FILES_LOW = 4_096;
/** No clock that is right shows less: when this version was made. */
const YEAR_MIN = 2026;

/** Free space of the file system of the folder, or of the nearest one above that is there. */
export async function lookAtDisk(folder: string): Promise<Finding> {
  for (let at = folder;; at = path.dirname(at)) {
    try {
      const { bavail, bsize } = await statfs(at);
      return disk(folder, bavail * bsize);
    } catch (error) {
      if (at !== path.dirname(at)) continue;
      return problem("disk", `the space of ${folder} is not known: ${error}`, "Look by df");
    }
  }
}

/** What so many free bytes mean. */
export function disk(folder: string, freeBytes: number): Finding {
  const free = `${(freeBytes / 1e9).toFixed(1)} GB are free for ${folder}`;
  const fix = "Make room there, or move the data folder and name it with --data";
  if (freeBytes < DISK_FREE_BYTES_MIN) return problem("disk", free, fix);
  return freeBytes < DISK_FREE_BYTES_LOW ? warning("disk", free, fix) : ok("disk", free);
}

/** Whether the clock can be right, and somebody keeps it so. */
export async function lookAtClock(wallMs: number, run: Run): Promise<Finding> {
  const now = new Date(wallMs);
  const fix = "Set it by NTP: timedatectl set-ntp true, or what this system has for it";
  if (now.getUTCFullYear() < YEAR_MIN) {
    return problem("clock", `it shows ${now.toISOString()}`, fix);
  }
  const shown = await run("timedatectl", "show", "--property=NTPSynchronized", "--value");
  if (shown?.output.trim() === "no") {
    return warning("clock", "the system does not keep it right by NTP", fix);
  }
  return ok("clock", `${now.toISOString().slice(0, 19)}Z`);
}

/**
 * How many files the agent may have open if it is started like this. Deno takes for itself all that it
 * may have, and gives it on to the shell; the system's own words (`/proc/self/limits`) it shows to
 * nobody who lacks any permission.
 */
export async function lookAtOpenFiles(run: Run): Promise<Finding[]> {
  const said = await run("sh", "-c", "ulimit -n");
  const [limit] = /^(?:\d+|unlimited)$/m.exec(said?.output ?? "") ?? [];
  if (limit === undefined) return [];
  const message = `${limit} open files are allowed`;
  if (limit === "unlimited" || Number(limit) >= OPEN_FILES_LOW) return [ok("limits", message)];
  const fix = "ulimit -n 65536 before realm agent; services of install.sh have it";
  return [warning("limits", message, fix)];
}
