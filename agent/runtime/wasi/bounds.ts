/**
 * What the host gives a guest at most, beside its limits: one table of numbers, explained in
 * `docs/limits.md`, which a test compares with it.
 *
 * @module
 */
import type { EnforcedLimits, Limits } from "../../kernel/ports.ts";

/** Live handles of one kind (descriptors, pollables, streams, …) that an instance may hold. */
export const HANDLES_MAX = 1024;
/** Memory of the host that a handle counts. */
export const HANDLE_BYTES = 256;
/** Memory of the host that every instance has beside its own; more counts as memory of the guest. */
export const HOST_BYTES_FREE = 256 * 1024;
/** What V8 and realm keep for the code of an instance; more counts as memory of the guest. */
export const INSTANCE_BYTES_FREE = 1024 * 1024;
/** Files that a replica may have open on the host. */
export const OPEN_FILES_MAX = 1024;
/** Sockets and outbound connections that a replica may have. */
export const SOCKETS_MAX = 256;
/** Answers that the host owes an instance of the asynchronous ABI, also to what it let go of. */
export const PROMISES_MAX = 16_384;
/** Lines of `wasi:logging` that a replica may write in one second; more are dropped. */
export const LOG_LINES_PER_SEC_MAX = 1000;

/** Lines in one second that realm itself says about a replica: denied calls, traps of handlers. */
export const NOTICES_PER_SEC_MAX = 50;
/** Characters of such a line. */
export const NOTICE_LENGTH_MAX = 16_384;
/** Characters of the message of a trap. */
export const TRAP_MESSAGE_LENGTH_MAX = 1024;
/** Characters of the context that a line of `wasi:logging` shows. */
export const LOG_CONTEXT_LENGTH_MAX = 256;
/** Characters of the message that a line of `wasi:logging` shows. */
export const LOG_MESSAGE_LENGTH_MAX = 8192;

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
