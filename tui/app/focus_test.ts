import assert from "node:assert/strict";
import type { KeyPress } from "../keys.ts";
import { APP_START, type AppState, pressKey, settled, type ViewInput } from "./focus.ts";
import { layoutOf, type ViewNode } from "./layout.ts";

const ROWS = 5;
const button = (id: string): ViewNode => ({ parent: 0, kind: "button", text: id, id });
const field = (id: string): ViewNode => ({ parent: 0, kind: "field", text: id, id });
const root: ViewNode = { parent: 0, kind: "column", text: "", id: "" };
const layout = (nodes: readonly ViewNode[], state = APP_START) =>
  layoutOf([root, ...nodes], 80, state);

/** Presses keys one after another; a text is one for each of its characters. */
function press(
  nodes: readonly ViewNode[],
  keys: readonly (KeyPress | string)[],
  start = APP_START,
) {
  let state: AppState = start;
  const inputs: ViewInput[] = [];
  let isLeaving = false;
  for (const key of keys) {
    const named = /^(up|down|left|right|tab|back-tab|enter|escape|backspace|page-.*|home|end)$/;
    const presses: KeyPress[] = typeof key !== "string" || named.test(key)
      ? [key as KeyPress]
      : [...key].map((text) => ({ text }));
    for (const each of presses) {
      const pressed = pressKey(state, each, layout(nodes, state), ROWS);
      state = pressed.state;
      if (pressed.input !== undefined) inputs.push(pressed.input);
      isLeaving ||= pressed.isLeaving === true;
    }
  }
  return { state, inputs, isLeaving };
}

Deno.test("the focus goes round, and enter and space press what has it", () => {
  const nodes = [button("a"), button("b"), button("c")];
  const pressed = (...keys: string[]) => press(nodes, [...keys, "enter"]).inputs[0]!.val;
  assert.equal(pressed(), "a");
  assert.equal(pressed("tab"), "b");
  assert.equal(pressed("down", "right"), "c");
  assert.equal(pressed("tab", "tab", "tab"), "a");
  assert.equal(pressed("up"), "c");
  assert.equal(pressed("back-tab", "left"), "b");
  assert.deepEqual(press(nodes, [" "]).inputs, [{ tag: "press", val: "a" }]);
});

Deno.test("what is typed goes into the field that has the focus, and enter submits it", () => {
  const nodes = [button("a"), field("f"), field("g")];
  const { inputs, state } = press(nodes, [
    "tab",
    "hi thérex",
    "backspace",
    "tab",
    "o",
    "up",
    "enter",
  ]);
  assert.deepEqual(inputs, [{ tag: "submit", val: ["f", "hi thére"] }]);
  assert.deepEqual([...state.drafts], [["g", "o"]], "what was submitted is gone, the rest stays");
  assert.deepEqual(press(nodes, ["tab", "enter"]).inputs, [{ tag: "submit", val: ["f", ""] }]);
  const long = press(nodes, ["tab", "x".repeat(4100)]).state.drafts.get("f")!;
  assert.equal(long.length, 4096);
});

Deno.test("keys that belong to no node go to the app", () => {
  assert.deepEqual(press([button("a")], ["+", "home", "backspace"]).inputs, [
    { tag: "key", val: "+" },
    { tag: "key", val: "home" },
    { tag: "key", val: "backspace" },
  ]);
  assert.deepEqual(press([], ["x", "enter", " "]).inputs.map(({ val }) => val), [
    "x",
    "enter",
    " ",
  ]);
});

Deno.test("escape empties a field first, then leaves", () => {
  assert.equal(press([button("a")], ["escape"]).isLeaving, true);
  const once = press([field("f")], ["x", "escape"]);
  assert.deepEqual([once.isLeaving, once.state.drafts.size], [false, 0]);
  assert.equal(press([field("f")], ["x", "escape", "escape"]).isLeaving, true);
});

Deno.test("the focus stays with what has it when the tree changes, else near it", () => {
  const { state } = press([button("a"), button("b"), button("c")], ["tab"]);
  const focused = (...nodes: ViewNode[]) => settled(state, layout(nodes), ROWS).focused;
  assert.equal(focused(button("x"), button("y"), button("b")), "b");
  assert.equal(focused(button("a"), button("c"), button("d")), "c");
  assert.equal(focused(button("a")), "a");
  assert.equal(focused(), undefined);
  // Of two with one name, the one that is nearer.
  const same = settled(
    { ...state, focus: 2 },
    layout([button("b"), button("b"), button("b")]),
    ROWS,
  );
  assert.equal(same.focus, 2);
});

Deno.test("what has the focus is in sight, and what has none can be scrolled", () => {
  const nodes = Array.from({ length: 20 }, (_, i) => button(`b${i}`));
  const top = (...keys: string[]) => press(nodes, keys).state.top;
  assert.equal(top("tab", "tab", "tab", "tab"), 0);
  assert.equal(top("tab", "tab", "tab", "tab", "tab"), 1);
  assert.equal(top("up"), 15);
  assert.equal(top("up", "down"), 0);
  assert.equal(top("page-down"), 5);
  assert.equal(top("page-down", "page-down", "page-down", "page-down"), 15);
  assert.equal(top("page-down", "page-up", "page-up"), 0);
  const text: ViewNode = { parent: 0, kind: "text", text: "line\n".repeat(9), id: "" };
  assert.equal(press([text], ["down", "down"]).state.top, 2);
  assert.equal(settled({ ...APP_START, top: 9 }, layout([button("a")]), ROWS).top, 0);
});
