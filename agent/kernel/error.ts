/**
 * The one error an operator sees, and the table of its codes.
 *
 * Wording as in the standard library: the action, a colon, the value, what was wanted; no final
 * period. The hint is a command or an edit. Errors meant for a component are WIT results and live
 * in `runtime/wasi/`; a broken assumption of ours is an assertion and is never wrapped.
 *
 * @module
 */
import type { Frame } from "./frame.ts";

/** Every code with the exit status that the command line gives it (`docs/cli.md`). */
export const EXIT_STATUS = {
  /** Something the operator asked for could not be done. */
  failed: 1,
  /** A manifest, policy or other configuration is wrong. */
  "invalid-config": 1,
  /** Bytes that are not a WebAssembly module or component that realm accepts. */
  "invalid-module": 1,
  /** Valid, and not supported by this version. */
  unsupported: 1,
  /** A bound on a resource of the host was reached. */
  "limit-exceeded": 1,
  /** Stored bytes do not match what was recorded about them. */
  corrupt: 1,
  /** Wrong arguments on the command line. */
  usage: 2,
  /** Refused without a more precise reason. */
  refused: 3,
  /** A signature is missing or does not verify. */
  "bad-signature": 3,
  /** Signed by a key that is not the owner of this node. */
  "wrong-owner": 3,
  /** The version of a manifest is not higher than the one that is there. */
  stale: 3,
  /** Bytes do not have the digest that was promised. */
  "digest-mismatch": 3,
  /** The node's own policy does not allow what a manifest asks. */
  policy: 3,
  /** The agent has no owner yet and obeys nothing. */
  unclaimed: 3,
  /** A name, a version or a file that is not there. */
  "not-found": 4,
  /** The agent or node does not answer. */
  unreachable: 5,
  /** The guest trapped. */
  trap: 101,
  /** The guest used all of its fuel. */
  "out-of-fuel": 102,
  /** The guest ran longer between two returns to the host than it may. */
  "epoch-timeout": 103,
  /** The guest's memory and tables do not fit its limit. */
  "memory-limit": 104,
  /** The guest did not end in the time it was given. */
  timeout: 105,
  /** The guest imports something that realm does not provide. */
  "unknown-import": 106,
} as const;

/** A code of {@link EXIT_STATUS}. */
export type ErrorCode = keyof typeof EXIT_STATUS;

/** What failed, with which value, what was wanted, and what helps. */
export class RealmError extends Error {
  override readonly name = "RealmError";
  /** The command or edit that helps. */
  readonly hint: string | undefined;
  /** Where the guest trapped, if one did. */
  readonly backtrace: readonly Frame[] | undefined;

  constructor(
    readonly code: ErrorCode,
    message: string,
    options: { hint?: string; cause?: unknown; backtrace?: readonly Frame[] } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.hint = options.hint;
    this.backtrace = options.backtrace;
  }

  /** The exit status of a command that fails with this error. */
  get exitStatus(): number {
    return EXIT_STATUS[this.code];
  }

  /** The form of `--json` and of the control API. */
  toJSON(): { code: ErrorCode; message: string; hint?: string; backtrace?: readonly Frame[] } {
    return {
      code: this.code,
      message: this.message,
      ...(this.hint === undefined ? {} : { hint: this.hint }),
      ...(this.backtrace === undefined ? {} : { backtrace: this.backtrace }),
    };
  }

  /** The error that {@link toJSON} described; an unknown code becomes `failed`. */
  static fromJSON(value: unknown): RealmError {
    const v = (typeof value === "object" && value !== null ? value : {}) as Record<string, unknown>;
    const code = typeof v.code === "string" && Object.hasOwn(EXIT_STATUS, v.code)
      ? v.code as ErrorCode
      : "failed";
    const message = typeof v.message === "string" ? v.message : "The other side gave no reason";
    return new RealmError(code, message, typeof v.hint === "string" ? { hint: v.hint } : {});
  }
}
