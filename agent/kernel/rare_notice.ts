/**
 * What would be told again and again, told once a minute.
 *
 * A disk that is full fails every second, and may be the one that the log is on.
 *
 * @module
 */

/** The same is told again after so long. */
const AGAIN_MS = 60_000;

/** See the module. */
export class RareNotice {
  #text: string | undefined;
  #toldMs = -Infinity;

  constructor(
    readonly notice: (text: string) => void,
    /** Monotonic. */
    readonly nowMs: () => number,
  ) {}

  /** Tells it, unless the same was told last, less than a minute ago. */
  tell(text: string): void {
    const nowMs = this.nowMs();
    if (text === this.#text && nowMs - this.#toldMs < AGAIN_MS) return;
    this.#text = text;
    this.#toldMs = nowMs;
    this.notice(text);
  }
}
