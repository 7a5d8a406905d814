/**
 * What the doctor finds.
 *
 * @module
 */

/** `problem`: something does not work, or is open to others; `warning`: it may come to that. */
export type Level = "ok" | "warning" | "problem";

/** One thing that was looked at. */
export interface Finding {
  /** What was looked at: `ports`, `clock`, `keys`, … */
  readonly check: string;
  readonly level: Level;
  /** What was found; no final period. */
  readonly message: string;
  /** The command or edit that helps; of all but `ok`. */
  readonly fix: string | null;
}

/** All is well. */
export function ok(check: string, message: string): Finding {
  return { check, level: "ok", message, fix: null };
}

/** It works, and may not for long. */
export function warning(check: string, message: string, fix: string): Finding {
  return { check, level: "warning", message, fix };
}

/** It does not work, or is open to others. */
export function problem(check: string, message: string, fix: string): Finding {
  return { check, level: "problem", message, fix };
}
