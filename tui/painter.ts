/**
 * Lines on a terminal: only what changed is written, in one piece, and never faster than the terminal
 * takes it.
 *
 * Ink lays out and compares every cell of every frame, which takes a tenth of a second for a large
 * terminal: lines that are as wide as the screen need none of that. A frame is between the marks of
 * a synchronized update, so that terminals that know them (https://gist.github.com/christianparpart/d8a62cc1ab659194337d73e399004036)
 * show all of it at once.
 *
 * @module
 */
import { widthOf } from "./cells.ts";
import type { Line, Span } from "./lines.ts";
import type { Tone } from "./view_model.ts";

/** What colours a terminal has, and its user wants. */
export type Palette = "none" | "16" | "256";

/**
 * Colours of 256 that can be read on black and on white: each has a contrast of at least 4 to both.
 * Of 16 nobody knows what they look like; gray is left out, since it may be the background.
 */
export const TONES_256: Readonly<Record<Tone, number | undefined>> = {
  plain: undefined,
  dim: 243,
  good: 28,
  warn: 130,
  bad: 161,
  accent: 31,
};
const TONES_16: Readonly<Record<Tone, number | undefined>> = {
  plain: undefined,
  dim: undefined,
  good: 32,
  warn: 33,
  bad: 31,
  accent: 36,
};

const BEGIN = "\x1b[?2026h";
const END = "\x1b[?2026l";
const HOME = "\x1b[H";
const CLEAR = "\x1b[0m\x1b[2J";
const ERASE_LINE = "\x1b[K";

/** Where frames go: a stream of Node. */
export interface Terminal {
  write(data: string, done: () => void): unknown;
}

/** Columns and rows. */
export interface PainterSize {
  readonly columns: number;
  readonly rows: number;
}

/** Paints one frame after another on a screen that nobody else writes to. */
export class Painter {
  readonly #terminal: Terminal;
  readonly #palette: Palette;
  /** What the terminal shows; `undefined`: nobody knows. */
  #there: { readonly lines: readonly Line[]; readonly size: PainterSize } | undefined;
  #next: { readonly lines: readonly Line[]; readonly size: PainterSize } | undefined;
  #writing: Promise<void> | undefined;

  constructor(terminal: Terminal, palette: Palette) {
    this.#terminal = terminal;
    this.#palette = palette;
  }

  /** Shows these lines; while the terminal is busy, only the newest frame waits. */
  paint(lines: readonly Line[], size: PainterSize): void {
    this.#next = { lines, size };
    this.#go();
  }

  #go(): void {
    this.#writing ??= this.#write().finally(() => {
      this.#writing = undefined;
      if (this.#next !== undefined) this.#go(); // it came after the last look
    });
  }

  /**
   * Shows nothing more; resolves when the terminal has taken what is on its way, or took nothing
   * for `waitMs`: one that was stopped, or whose connection hangs, keeps nobody from leaving.
   */
  async close(waitMs = 2_000): Promise<void> {
    this.#next = undefined;
    this.paint = () => {};
    const late = Promise.withResolvers<void>();
    const timer = setTimeout(late.resolve, waitMs);
    await Promise.race([this.#writing, late.promise]);
    clearTimeout(timer);
  }

  async #write(): Promise<void> {
    while (this.#next !== undefined) {
      const frame = this.#next;
      this.#next = undefined;
      const text = frameText(this.#there, frame, this.#palette);
      this.#there = frame;
      if (text === "") continue;
      await new Promise<void>((resolve) => this.#terminal.write(text, resolve));
    }
  }
}

/** What turns a screen into another; empty where they are the same. */
function frameText(
  before: { readonly lines: readonly Line[]; readonly size: PainterSize } | undefined,
  { lines, size }: { readonly lines: readonly Line[]; readonly size: PainterSize },
  palette: Palette,
): string {
  const isKnown = before?.size.columns === size.columns && before.size.rows === size.rows;
  const changes = lines.map((line, row) =>
    lineText(isKnown ? before.lines[row] ?? [] : [], line, row, palette)
  ).join("");
  if (isKnown && changes === "") return "";
  return `${BEGIN}${isKnown ? "" : CLEAR}${changes}${HOME}${END}`;
}

/** What turns a line of the screen into another: from the first piece on that is not the same. */
function lineText(before: Line, after: Line, row: number, palette: Palette): string {
  let same = 0;
  let column = 0;
  while (same < after.length && before[same] !== undefined && isSame(before[same]!, after[same]!)) {
    column += widthOf(after[same]!.text);
    same++;
  }
  if (same === after.length && same === before.length) return "";
  const rest = after.slice(same).map((span) => spanText(span, palette)).join("");
  const width = (line: Line) => line.reduce((sum, { text }) => sum + widthOf(text), 0);
  const erase = width(before) > width(after) ? ERASE_LINE : "";
  return `\x1b[${row + 1};${column + 1}H${rest}${erase}`;
}

function isSame(a: Span, b: Span): boolean {
  return a === b ||
    a.text === b.text && a.tone === b.tone && a.bold === b.bold && a.inverse === b.inverse;
}

/** A piece with the codes that make it look so, and back to plain. */
function spanText({ text, tone = "plain", bold, inverse }: Span, palette: Palette): string {
  const codes: (string | number)[] = [];
  if (bold) codes.push(1);
  if (inverse) codes.push(7);
  if (palette === "256" && TONES_256[tone] !== undefined) codes.push(`38;5;${TONES_256[tone]}`);
  if (palette === "16" && TONES_16[tone] !== undefined) codes.push(TONES_16[tone]);
  return codes.length === 0 ? text : `\x1b[${codes.join(";")}m${text}\x1b[0m`;
}
