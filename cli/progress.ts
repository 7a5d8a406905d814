/**
 * One line that tells how far transfers are, on a terminal and nowhere else.
 *
 * @module
 */
import type { Context } from "./context.ts";

/** Milliseconds between two drawings of the line. */
const REDRAW_MS = 100;
/** Clears the line, and goes to its start. */
const CLEAR = "\r\x1b[K";

/** See the module. */
export class ProgressLine {
  readonly #transfers = new Map<string, { done: number; total: number | undefined }>();
  readonly #isShown: boolean;
  #drawnMs = -Infinity;

  constructor(readonly context: Context, readonly now: () => number = Date.now) {
    const { shell: { terminal }, flags: { quiet, json } } = context;
    this.#isShown = terminal.stderr && !quiet && !json;
  }

  /** Tells of one transfer; `total` in bytes where it is known. */
  update(name: string, done: number, total: number | undefined): void {
    this.#transfers.set(name, { done, total });
    const nowMs = this.now();
    if (!this.#isShown || nowMs - this.#drawnMs < REDRAW_MS) return;
    this.#drawnMs = nowMs;
    this.#write(CLEAR + this.#text());
  }

  /** Takes the line away. */
  end(): void {
    if (this.#drawnMs > -Infinity) this.#write(CLEAR);
    this.#drawnMs = -Infinity;
  }

  #write(text: string): void {
    this.context.shell.write("stderr", text);
  }

  #text(): string {
    const all = [...this.#transfers.values()];
    const done = all.reduce((sum, each) => sum + each.done, 0);
    const isKnown = all.every(({ total }) => total !== undefined);
    const total = all.reduce((sum, each) => sum + (each.total ?? 0), 0);
    const names = [...this.#transfers.keys()];
    const what = names.length === 1 ? names[0] : `${names.length} components`;
    const of = isKnown && total > 0
      ? ` of ${megabytes(total)}  ${Math.floor(100 * done / total)} %`
      : "";
    return `fetching ${what}  ${megabytes(done)}${of}`.slice(0, this.context.shell.columns - 1);
  }
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
