/**
 * Why a request of a guest failed, as an error of ours on its way to the guest's `error-code`.
 *
 * @see https://github.com/WebAssembly/wasi-http/blob/v0.2.12/wit/types.wit
 * @module
 */
import type { HttpFailure } from "../kernel/http_exchange.ts";

/** Carries the error code in `reason`, where `Service` looks for it. */
export class HttpError extends Error {
  readonly reason: HttpFailure;

  constructor(tag: string, val?: unknown) {
    super(`The request failed: ${tag}`);
    this.reason = val === undefined ? { tag } : { tag, val };
  }
}

/** A size as the interface has it: a u32. */
export function sizeOf(bytes: number): number {
  return Math.min(bytes, 0xffff_ffff);
}
