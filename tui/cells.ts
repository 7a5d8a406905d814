/**
 * Texts by the cells that they take on a terminal: most characters one, those of East Asia and most
 * emoji two, marks above others none.
 *
 * @module
 */
import stringWidth from "string-width";

/** Each of these takes one cell: what nearly all lines are made of. */
const NARROW = /^[\x20-\x7e\xa1-\xac\xae-\u02ff\u2010-\u2027\u2190-\u21ff\u2500-\u25ff]*$/;
const graphemes = new Intl.Segmenter(undefined, { granularity: "grapheme" });

/** Cells of a text that has no control characters. */
export function widthOf(text: string): number {
  return NARROW.test(text) ? text.length : stringWidth(text);
}

/** The characters as a person counts them. */
export function charactersOf(text: string): string[] {
  return Array.from(graphemes.segment(text), ({ segment }) => segment);
}

/** The start of a text in at most `width` cells, with `…` where something was cut off. */
export function cutText(text: string, width: number): string {
  if (NARROW.test(text)) {
    if (text.length <= width) return text;
    return width < 1 ? "" : `${text.slice(0, width - 1)}…`;
  }
  // A character may have many units and no cell: what can never be seen is not measured.
  const start = text.slice(0, 32 * Math.max(0, width) + 32);
  if (start === text && stringWidth(text) <= width) return text;
  if (width < 1) return "";
  let kept = "";
  let cells = 0;
  for (const character of charactersOf(start)) {
    const next = cells + widthOf(character);
    if (next > width - 1) break;
    kept += character;
    cells = next;
  }
  return `${kept}…`;
}

/** A text in exactly `width` cells, cut or filled with spaces. */
export function fit(text: string, width: number, align?: "right"): string {
  const kept = cutText(text, width);
  const space = " ".repeat(Math.max(0, width - widthOf(kept)));
  return align === "right" ? space + kept : kept + space;
}

/** A text in lines of at most `width` cells, broken between words where that is possible. */
export function wrapText(text: string, width: number): string[] {
  return text.split("\n").flatMap((paragraph) => {
    const lines = [""];
    let used = 0;
    const add = (piece: string) => {
      const cells = widthOf(piece);
      if (used > 0 && used + cells > width) {
        lines.push("");
        used = 0;
        if (piece === " ") return;
      }
      lines[lines.length - 1] += piece;
      used += cells;
    };
    for (const word of paragraph.split(/( )/)) {
      if (widthOf(word) <= width) add(word);
      else for (const character of charactersOf(word)) add(character);
    }
    return lines.map((each) => each.trimEnd());
  });
}
