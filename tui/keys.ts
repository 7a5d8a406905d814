/**
 * Keys by their names, as Ink tells them.
 *
 * @module
 */
import type { Key } from "ink";

/** A key by its name, or the text that was typed or pasted. */
export type KeyPress =
  | "up"
  | "down"
  | "left"
  | "right"
  | "page-up"
  | "page-down"
  | "home"
  | "end"
  | "tab"
  | "back-tab"
  | "enter"
  | "escape"
  | "backspace"
  | { readonly text: string };

/** Ink's key as ours. What is typed fast, or pasted, comes as one text: a press each. */
export function keyPresses(input: string, key: Key): KeyPress[] {
  if (key.upArrow) return ["up"];
  if (key.downArrow) return ["down"];
  if (key.leftArrow) return ["left"];
  if (key.rightArrow) return ["right"];
  if (key.pageUp) return ["page-up"];
  if (key.pageDown) return ["page-down"];
  if (key.home) return ["home"];
  if (key.end) return ["end"];
  if (key.tab) return [key.shift ? "back-tab" : "tab"];
  if (key.return) return ["enter"];
  if (key.escape) return ["escape"];
  if (key.backspace || key.delete) return ["backspace"];
  if (key.ctrl || key.meta) return [];
  return [...input].flatMap((text): KeyPress[] => {
    const control = CONTROLS[text];
    if (control !== undefined) return [control];
    return /\p{Cc}/u.test(text) ? [] : [{ text }];
  });
}

/** What comes in the middle of a text is not told by name. */
const CONTROLS: Readonly<Record<string, KeyPress>> = {
  "\r": "enter",
  "\n": "enter",
  "\t": "tab",
  "\x1b": "escape",
  "\x7f": "backspace",
  "\b": "backspace",
};
