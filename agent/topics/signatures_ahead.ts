/**
 * Verifies the signatures of events that peers send in another thread, while those that came before are
 * taken here: an Ed25519 verification takes as long as all the rest of an event.
 *
 * Neither `crypto.subtle.verify` nor `verify` of node:crypto with a callback would do: in Deno both run
 * on the thread that calls them. So it is a Worker, which there is only while much comes; until it is
 * ready, and when it fails, signatures are verified where they always were.
 *
 * @module
 */
import { unpacked } from "../apps/peering/frame_signatures.ts";
import { type SignedMessage, VerifiedAhead } from "../kernel/verified_ahead.ts";
import type { VerifySync } from "../kernel/verify.ts";
import { FROM_SOURCE, NOTHING, onFailure, spawn } from "../runtime/spawn.ts";

/** Smaller frames are taken sooner than they are handed over. */
const FRAME_BYTES_MIN = 8 * 1024;
/** The Worker is worth its start after so many bytes of such frames, of which none came a second late. */
const START_BYTES = 128 * 1024;
const START_GAP_MS = 1_000;
/** It ends when nothing has come for so long. */
const IDLE_MS = 30_000;

// In the bundle of a compiled program the entry files stand beside this one, as JavaScript.
const WORKER = new URL(`./signature_worker.${FROM_SOURCE ? "ts" : "js"}`, import.meta.url);

/** What verifies ahead; {@link SignaturesAhead} is one. */
export interface LooksAhead {
  /** What of a frame is well signed; undefined where that is not looked at ahead. Never fails. */
  look(frame: Uint8Array): Promise<readonly SignedMessage[]> | undefined;
  /** See {@link VerifiedAhead.during}. */
  during<T>(verified: readonly SignedMessage[], act: () => T): T;
}

/** See the module. */
export class SignaturesAhead implements LooksAhead {
  readonly #ahead: VerifiedAhead;
  readonly #processors: number;
  #worker: Worker | undefined;
  #isReady = false;
  #isBroken = false;
  /** Who waits for an answer; the first is answered first. */
  #asked: ((verified: readonly SignedMessage[]) => void)[] = [];
  #seenBytes = 0;
  #seenAtMs = -Infinity;
  #idle: ReturnType<typeof setTimeout> | undefined;

  constructor(verify: VerifySync, processors = navigator.hardwareConcurrency) {
    this.#ahead = new VerifiedAhead(verify);
    this.#processors = processors;
  }

  /** What logs and peers are to verify by. */
  get verify(): VerifySync {
    return this.#ahead.verify;
  }

  look(frame: Uint8Array): Promise<readonly SignedMessage[]> | undefined {
    if (frame.length < FRAME_BYTES_MIN || this.#isBroken || this.#processors < 2) return undefined;
    const nowMs = performance.now();
    if (nowMs - this.#seenAtMs > START_GAP_MS) this.#seenBytes = 0;
    this.#seenAtMs = nowMs;
    this.#seenBytes += frame.length;
    if (this.#worker === undefined && this.#seenBytes >= START_BYTES) this.#start();
    if (!this.#isReady) return undefined;
    const { promise, resolve } = Promise.withResolvers<readonly SignedMessage[]>();
    this.#asked.push(resolve);
    this.#worker!.postMessage(frame);
    return promise;
  }

  during<T>(verified: readonly SignedMessage[], act: () => T): T {
    return this.#ahead.during(verified, act);
  }

  close(): void {
    clearTimeout(this.#idle);
    this.#worker?.terminate();
    this.#worker = undefined;
    this.#isReady = false;
    this.#seenBytes = 0;
    // They are verified where they are taken.
    for (const resolve of this.#asked.splice(0)) resolve([]);
  }

  #start(): void {
    const worker = this.#worker = spawn(WORKER, NOTHING);
    worker.onmessage = ({ data }: MessageEvent<"ready" | Uint8Array>) => {
      if (this.#worker !== worker) return;
      if (data === "ready") this.#isReady = true;
      else this.#asked.shift()?.(unpacked(data));
    };
    onFailure(worker, () => {
      if (this.#worker !== worker) return;
      this.#isBroken = true;
      this.close();
    });
    this.#endWhenIdle();
  }

  #endWhenIdle(): void {
    this.#idle = setTimeout(() => {
      if (performance.now() - this.#seenAtMs < IDLE_MS) this.#endWhenIdle();
      else this.close();
    }, IDLE_MS);
    Deno.unrefTimer(this.#idle as unknown as number);
  }
}
