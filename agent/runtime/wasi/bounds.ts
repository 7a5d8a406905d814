/**
 * What the host gives a guest at most, beside its limits: one table of numbers, explained in
 * `docs/limits.md`, which a test compares with it.
 *
 * @module
 */
import type { EnforcedLimits, Limits } from "../../kernel/ports.ts";

/** Live handles of one kind (descriptors, pollables, streams, …) that an instance may hold. */
export const HANDLES_MAX = 1024;
/** Files that a replica may have open on the host. */
export const OPEN_FILES_MAX = 1024;
/** Sockets and outbound connections that a replica may have. */
export const SOCKETS_MAX = 256;
/** Lines of `wasi:logging` that a replica may write in one second; more are dropped. */
export const LOG_LINES_PER_SEC_MAX = 1000;

/** What is enforced on a replica with these limits. */
export function enforced(limits: Limits, concurrencyMax: number): EnforcedLimits {
  return {
    ...limits,
    concurrencyMax,
    handlesMax: HANDLES_MAX,
    openFilesMax: OPEN_FILES_MAX,
    socketsMax: SOCKETS_MAX,
    logLinesPerSecMax: LOG_LINES_PER_SEC_MAX,
  };
}
