/**
 * The messages between the engine and the Worker that hosts one replica.
 *
 * Both sides send arrays of messages: a turn of the event loop is one `postMessage`. Bodies and
 * standard streams flow against credit, so that neither side buffers without bound.
 *
 * @module
 */
import type { RealmError } from "../kernel/error.ts";
import type { Grants, Limits, LogLevel, World } from "../kernel/ports.ts";
import type { Rings } from "./exchange.ts";
import type { LockWord } from "./mount_lock.ts";
import type { RawExit } from "./trap.ts";
import type { ErrorCode } from "./wasi/filesystem_paths.ts";

/** What the Worker starts from. */
export interface Start {
  readonly type: "start";
  readonly world: World;
  readonly grants: Grants;
  readonly limits: Limits;
  readonly ledger: SharedArrayBuffer;
  /** What each mount has to hold, shared with the Workers that have the same or overlapping folders. */
  readonly locks: readonly (readonly LockWord[])[];
  readonly terminal: {
    readonly stdin: boolean;
    readonly stdout: boolean;
    readonly stderr: boolean;
  };
  readonly maxConcurrency: number;
  readonly instancePerRequest: boolean;
  /** Makes everything ready, and waits until it may run; of `Held`. */
  readonly held?: SharedArrayBuffer;
  readonly glue: string;
  readonly modules: Readonly<Record<string, WebAssembly.Module>>;
  /** Two words for {@link FromWorker} `symlink`: 0 pending, else an index of SYMLINK_RESULTS. */
  readonly answer: SharedArrayBuffer;
  /** Whether calls are traced: two words, the first is the characters that were sent and not shown. */
  readonly traced?: SharedArrayBuffer;
  /** Of a request handler. */
  readonly rings?: Rings;
}

/** What came of a `symlink`; the Worker throws the code. */
export const SYMLINK_RESULTS = [
  "pending",
  "ok",
  "access",
  "exist",
  "insufficient-space",
  "io",
  "name-too-long",
  "no-entry",
  "not-directory",
  "not-permitted",
  "quota",
  "read-only",
] as const satisfies readonly (ErrorCode | "pending" | "ok")[];

/** Bytes that one side of a pipe holds for the other at most, in each direction. */
export const PIPE_BYTES_MAX = 256 * 1024;
/** What a chunk counts beside its bytes, so that many small ones are bounded too. */
export const CHUNK_OVERHEAD_BYTES = 64;

/** What a chunk counts against the credit of a pipe. */
export function costOf(chunk: Uint8Array): number {
  return chunk.length + CHUNK_OVERHEAD_BYTES;
}

/** A chunk of a pipe, in either direction. `null` bytes end it; `failed` says that it broke. */
interface PipeChunk {
  readonly type: "pipe-chunk";
  readonly id: number;
  readonly bytes: Uint8Array | null;
  readonly failed?: unknown;
}

/** The other side may send so many bytes more, by {@link costOf}. */
interface PipeCredit {
  readonly type: "pipe-credit";
  readonly id: number;
  readonly bytes: number;
}

/** Nothing more is read of what the other side writes. */
interface PipeStop {
  readonly type: "pipe-stop";
  readonly id: number;
}

/** From the Worker to a service of the agent: see `agent_calls.ts`. */
export type CallMessage =
  | {
    readonly type: "call";
    readonly id: number;
    readonly service: string;
    readonly request: unknown;
  }
  | PipeChunk
  | PipeCredit
  | PipeStop
  /** The guest needs neither answer nor pipe any more. */
  | { readonly type: "drop"; readonly id: number };

/** From a service of the agent: see `service_calls.ts`. */
export type ServiceMessage =
  | {
    readonly type: "answer";
    readonly id: number;
    readonly value?: unknown;
    readonly error?: unknown;
  }
  | PipeChunk
  | PipeCredit
  | PipeStop;

/** From the engine. */
export type ToWorker =
  | ServiceMessage
  | Start
  /** `null` bytes are its end; `failed` says why it could not be read. */
  | { readonly type: "stdin"; readonly bytes: Uint8Array | null; readonly failed?: string }
  /** Bytes of standard output that were taken. */
  | { readonly type: "taken"; readonly bytes: number }
  | {
    readonly type: "request";
    readonly id: number;
    /** Of `packHead()`, each character a byte. */
    readonly head: Uint8Array;
    readonly hasBody: boolean;
  }
  | {
    readonly type: "request-body";
    readonly id: number;
    readonly bytes: Uint8Array | null;
    readonly failed?: boolean;
  }
  /** The reader of a response wants more. */
  | { readonly type: "pull"; readonly id: number }
  | { readonly type: "cancel"; readonly id: number }
  /** The ledger's flag is set: wake what sleeps. */
  | { readonly type: "end" };

/** From the Worker. */
export type FromWorker =
  | CallMessage
  /** The guest that is held needs nothing more to run. */
  | { readonly type: "ready" }
  | { readonly type: "started" }
  | { readonly type: "read-stdin" }
  | { readonly type: "output"; readonly stream: "stdout" | "stderr"; readonly bytes: Uint8Array }
  | { readonly type: "notice"; readonly text: string }
  /** Calls of the guest, for `--trace`. */
  | { readonly type: "trace"; readonly line: string }
  /** A line of `wasi:logging`. */
  | { readonly type: "log"; readonly level: LogLevel; readonly text: string }
  /**
   * Make a symbolic link, which Deno allows nobody with a narrowed permission. The path was
   * resolved; the Worker blocks until the answer is in shared memory.
   */
  | { readonly type: "symlink"; readonly target: string; readonly hostPath: string }
  | { readonly type: "want-body"; readonly id: number }
  | {
    readonly type: "response";
    readonly id: number;
    readonly status: number;
    /** Packed. */
    readonly headers: string;
    /** What of the body is there already; `end` when that is all. */
    readonly body: Uint8Array | null;
    readonly end: boolean;
  }
  | {
    readonly type: "response-body";
    readonly id: number;
    readonly bytes: Uint8Array | null;
  }
  /** Instead of a response, or of the rest of one. */
  | {
    readonly type: "failed";
    readonly id: number;
    readonly error: ReturnType<RealmError["toJSON"]>;
  }
  /** An instance of a handler trapped. */
  | { readonly type: "trapped"; readonly exit: Extract<RawExit, { kind: "trap" }> }
  /** The last message; `reusable` when nothing of the guest remains in the Worker. */
  | { readonly type: "exit"; readonly exit: RawExit; readonly reusable: boolean };
