import assert from "node:assert/strict";
import { type Interaction, press, type Scene, selectedOf } from "./interaction.ts";
import type { KeyPress } from "./keys.ts";
import type { LogRow } from "./session.ts";

const rows = Array.from({ length: 30 }, (_, i): LogRow => ({
  kind: "line",
  replica: 0,
  wallMs: i,
  stream: "stdout",
  text: `line ${i}`,
}));
const scene: Scene = { components: ["auth", "mail", "orders"], logRows: rows, logHeight: 10 };

/** Presses keys in order; single characters are typed. */
function after(keys: string[], at: Scene = scene, from?: Interaction) {
  let state: Interaction = from ?? { mode: { kind: "browse" }, selected: undefined };
  const effects: unknown[] = [];
  for (const key of keys) {
    const result = press(state, key.length === 1 ? { text: key } : key as KeyPress, at);
    state = result.state;
    if (result.effect !== undefined) effects.push(result.effect);
  }
  return { ...state, effects };
}

Deno.test("press() selects up and down, and stops at both ends", () => {
  assert.equal(after(["down"]).selected, "mail");
  assert.equal(after(["j", "j", "j", "j"]).selected, "orders");
  assert.equal(after(["G", "k"]).selected, "mail");
  assert.equal(after(["end", "home", "up"]).selected, "auth");
  assert.equal(after(["page-down"]).selected, "orders");
  assert.equal(after(["down"], { ...scene, components: [] }).selected, undefined);
});

Deno.test("press() restarts only after a yes", () => {
  assert.deepEqual(after(["j", "r", "y"]).effects, [{ kind: "restart", component: "mail" }]);
  assert.equal(after(["j", "r", "y"]).mode.kind, "browse");
  for (const no of ["n", "q", "escape", "enter", " "]) {
    const { effects, mode } = after(["r", no]);
    assert.deepEqual([effects, mode.kind], [[], "browse"], no);
  }
  assert.equal(after(["r"], { ...scene, components: [] }).mode.kind, "browse");
});

Deno.test("press() reads a number of replicas", () => {
  const scale = (...keys: string[]) => after(["s", ...keys]).effects;
  assert.deepEqual(scale("1", "2", "enter"), [{ kind: "scale", component: "auth", replicas: 12 }]);
  assert.deepEqual(scale("0", "enter"), [{ kind: "scale", component: "auth", replicas: 0 }]);
  assert.deepEqual(scale("1", "x", "backspace", "3", "enter"), [
    { kind: "scale", component: "auth", replicas: 3 },
  ]);
  assert.deepEqual(scale("m"), [{ kind: "scale", component: "auth", replicas: null }]);
  assert.deepEqual(scale("enter"), []);
  assert.deepEqual(scale("5", "escape"), []);
  assert.deepEqual(scale("5", "q"), [], "q leaves the entry, not the program");
  assert.deepEqual(scale("9", "9", "9", "9", "9", "enter"), [
    { kind: "scale", component: "auth", replicas: 9999 },
  ]);
});

Deno.test("press() pauses and scrolls the log, and goes on at its end", () => {
  const log = (...keys: string[]) => {
    const { mode } = after(["l", ...keys]);
    assert.equal(mode.kind, "logs");
    return mode.kind === "logs" ? [mode.paused !== undefined, mode.below] : [];
  };
  assert.deepEqual(log(), [false, 0]);
  assert.deepEqual(log(" "), [true, 0]);
  assert.deepEqual(log(" ", " "), [false, 0]);
  assert.deepEqual(log("up"), [true, 1]);
  assert.deepEqual(log("page-up", "page-up", "page-up"), [true, 20], "the first line is on top");
  assert.deepEqual(log("g"), [true, 20]);
  assert.deepEqual(log("page-up", "down"), [true, 9]);
  assert.deepEqual(log("up", "down"), [true, 0]);
  assert.deepEqual(log("up", "down", "down"), [false, 0]);
  assert.deepEqual(log("g", "G"), [false, 0]);
  assert.deepEqual(log("down"), [false, 0]);
  assert.equal(after(["l", "l"]).mode.kind, "browse");
  assert.equal(after(["enter", "escape"]).mode.kind, "browse");
});

Deno.test("press() keeps the lines that were there when it was paused", () => {
  const paused = after(["l", " "]);
  const later = after(["up"], { ...scene, logRows: [...rows, rows[0]!] }, paused);
  assert.equal(later.mode.kind === "logs" && later.mode.paused?.length, 30);
});

Deno.test("press() quits and helps from every mode that has no text", () => {
  for (const keys of [["q"], ["?", "q"], ["l", "q"]]) {
    assert.deepEqual(after(keys).effects, [{ kind: "quit" }], keys.join(" "));
  }
  assert.equal(after(["?"]).mode.kind, "help");
  assert.equal(after(["l", "?"]).mode.kind, "help");
  assert.equal(after(["?", "x"]).mode.kind, "browse");
});

Deno.test("selectedOf() stays near a component that went away", () => {
  assert.equal(selectedOf(undefined, ["a", "b"]), "a");
  assert.equal(selectedOf("b", ["a", "b"]), "b");
  assert.equal(selectedOf("b", ["a", "c"]), "a");
  assert.equal(selectedOf("a", ["b", "c"]), "b");
  assert.equal(selectedOf("a", []), undefined);
});
