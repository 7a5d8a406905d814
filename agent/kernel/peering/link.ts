/**
 * One link with a peer about one log: what was said, what may be said, and what waits
 * for room.
 *
 * @module
 */
import type { CID } from "../canonical.ts";
import type { SyncSession } from "../sync/session.ts";
import { type AnyFrame, frameBytes } from "./fields.ts";

/** Frames that a peer may send in a second beside those of sessions, which have credit. */
export const FRAMES_PER_SEC = 500;
/** Bytes of them. */
export const FRAME_BYTES_PER_SEC = 4 * 1024 * 1024;
/** What an idle peer may send at once, in seconds of these rates. */
const BURST_SEC = 4;
/** Sessions that a peer may begin at once, and then in each second. */
const SESSIONS_BURST = 5;
const SESSIONS_PER_SEC = 1;
/** Bytes that wait for room; a peer that does not read so much is cut. */
const WAITING_BYTES_MAX = 4 * 1024 * 1024;

/**
 * What a peer is given. `full`: it may have what is here. `read`: events are taken from it, as they
 * are signed, and it is told nothing of ours. `none`: neither.
 */
export type Trust = "full" | "read" | "none";

/** See the module. Times are in milliseconds of the monotonic clock. */
export class Link {
  trust: Trust = "none";
  /** What the peer said first, once it did. */
  hello: object | undefined;
  /** `ready` was said, by either side. */
  saidReady = false;
  heardReady = false;
  /** A session is owed: the first, or because something was left out or is missing. */
  syncOwed = true;
  /** When the next session may start, and how long the one after it has to wait at least. */
  syncAtMs = 0;
  syncPauseMs = 0;
  /** The session that is under way. */
  session: SyncSession | undefined;
  /** Events of it whose authors had no say: it may bring what gives them one. */
  strange: CID[] = [];
  /** It has brought an event that needs what was refused before: the next one is soon. */
  isAgainOwed = false;
  /** Events of it came that are not durable yet: until they are it says nothing. */
  isGathering = false;
  /** Now they are: it is to go on. */
  isPumpOwed = false;
  /** When the last message of it came or went. */
  sessionAtMs = 0;
  heardAtMs: number;
  readonly #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  #hasRoom = true;
  #frames = FRAMES_PER_SEC * BURST_SEC;
  #bytes = FRAME_BYTES_PER_SEC * BURST_SEC;
  #sessions = SESSIONS_BURST;
  #refilledAtMs: number;

  constructor(
    readonly peer: string,
    readonly sinceMs: number,
    readonly sendBytes: (frame: Uint8Array) => boolean,
  ) {
    this.heardAtMs = sinceMs;
    this.#refilledAtMs = sinceMs;
  }

  /** Both sides trust each other. */
  get isOpen(): boolean {
    return this.saidReady && this.heardReady;
  }

  get hasRoom(): boolean {
    return this.#hasRoom;
  }

  /** Sends now or when there is room. False when too much waits: the peer does not read. */
  send(frame: AnyFrame): boolean {
    return this.sendEncoded(frameBytes(frame));
  }

  /** {@link send} of what is encoded already, for many peers. */
  sendEncoded(bytes: Uint8Array): boolean {
    if (this.#hasRoom) {
      this.#hasRoom = this.sendBytes(bytes);
      return true;
    }
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
    return this.#waitingBytes <= WAITING_BYTES_MAX;
  }

  /** There is room again. */
  drain(): void {
    this.#hasRoom = true;
    while (this.#hasRoom) {
      const bytes = this.#waiting.shift();
      if (bytes === undefined) return;
      this.#waitingBytes -= bytes.length;
      this.#hasRoom = this.sendBytes(bytes);
    }
  }

  /** Counts a frame that came; false when there were too many. */
  take(bytes: number, nowMs: number): boolean {
    this.#refill(nowMs);
    this.#frames -= 1;
    this.#bytes -= bytes;
    return this.#frames >= 0 && this.#bytes >= 0;
  }

  /** Counts a session that the peer begins; false when there were too many. */
  takeSession(nowMs: number): boolean {
    this.#refill(nowMs);
    this.#sessions -= 1;
    return this.#sessions >= 0;
  }

  #refill(nowMs: number): void {
    const seconds = (nowMs - this.#refilledAtMs) / 1000;
    this.#refilledAtMs = nowMs;
    const refilled = (there: number, perSec: number, max: number) =>
      Math.min(max, there + seconds * perSec);
    this.#frames = refilled(this.#frames, FRAMES_PER_SEC, FRAMES_PER_SEC * BURST_SEC);
    this.#bytes = refilled(this.#bytes, FRAME_BYTES_PER_SEC, FRAME_BYTES_PER_SEC * BURST_SEC);
    this.#sessions = refilled(this.#sessions, SESSIONS_PER_SEC, SESSIONS_BURST);
  }
}
