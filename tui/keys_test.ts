import assert from "node:assert/strict";
import type { Key } from "ink";
import { keyPresses } from "./keys.ts";

const key = (but: Partial<Key> = {}) => but as Key;

Deno.test("keyPresses() takes a text that came at once apart, and what ends it", () => {
  assert.deepEqual(keyPresses("ab\r", key()), [{ text: "a" }, { text: "b" }, "enter"]);
  assert.deepEqual(keyPresses("é\x7f\t\x1b\x00\x07", key()), [
    { text: "é" },
    "backspace",
    "tab",
    "escape",
  ]);
});

Deno.test("keyPresses() knows keys by their names, and leaves out what has none here", () => {
  assert.deepEqual(keyPresses("", key({ upArrow: true })), ["up"]);
  assert.deepEqual(keyPresses("", key({ tab: true, shift: true })), ["back-tab"]);
  assert.deepEqual(keyPresses("x", key({ ctrl: true })), []);
  assert.deepEqual(keyPresses("x", key({ meta: true })), []);
});
