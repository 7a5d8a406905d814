import assert from "node:assert/strict";
import { type Interaction, press, type Scene, selectedOf, START } from "./interaction.ts";
import type { KeyPress } from "./keys.ts";
import type { LogRow } from "./session.ts";

const rows = Array.from({ length: 30 }, (_, i): LogRow => ({
  kind: "line",
  replica: 0,
  wallMs: i,
  stream: "stdout",
  text: `line ${i}`,
}));
const scene: Scene = {
  view: "components",
  items: ["auth", "mail", "orders"],
  drains: { node: "bm-01", isDrained: false },
  logRows: rows,
  height: 10,
  detailLines: 25,
};

/** Presses keys in order; single characters are typed. */
function after(keys: string[], at: Scene = scene, from?: Interaction) {
  let state: Interaction = from ?? START;
  const effects: unknown[] = [];
  for (const key of keys) {
    const result = press(state, key.length === 1 ? { text: key } : key as KeyPress, at);
    state = result.state;
    if (result.effect !== undefined) effects.push(result.effect);
  }
  return { ...state, selected: state.selected[at.view], all: state, effects };
}

Deno.test("press() selects up and down, and stops at both ends", () => {
  assert.equal(after(["down"]).selected, "mail");
  assert.equal(after(["j", "j", "j", "j"]).selected, "orders");
  assert.equal(after(["G", "k"]).selected, "mail");
  assert.equal(after(["end", "home", "up"]).selected, "auth");
  assert.equal(after(["page-down"]).selected, "orders");
  assert.equal(after(["down"], { ...scene, items: [] }).selected, undefined);
});

Deno.test("press() restarts only after a yes", () => {
  assert.deepEqual(after(["j", "r", "y"]).effects, [{ kind: "restart", component: "mail" }]);
  assert.equal(after(["j", "r", "y"]).mode.kind, "browse");
  for (const no of ["n", "q", "escape", "enter", " "]) {
    const { effects, mode } = after(["r", no]);
    assert.deepEqual([effects, mode.kind], [[], "browse"], no);
  }
  assert.equal(after(["r"], { ...scene, items: [] }).mode.kind, "browse");
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
  const later = after(["up"], { ...scene, logRows: [...rows, rows[0]!] }, paused.all);
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

Deno.test("press() goes through the views, and remembers what is selected in each", () => {
  assert.equal(after(["3"]).view, "rollouts");
  assert.equal(after(["9"]).view, undefined, "there are not so many");
  assert.equal(after(["tab"]).view, "rollouts");
  assert.equal(after(["back-tab"]).view, "map");
  assert.equal(after(["tab"], { ...scene, view: "alarms" }).view, "map");
  const moved = after(["j"]);
  const { all } = after(["j", "j"], { ...scene, view: "map", items: ["a", "b", "c"] }, moved.all);
  assert.deepEqual(all.selected, { components: "mail", map: "c" });
});

Deno.test("press() filters as one types; Enter keeps the filter, escape brings back what was", () => {
  const filter = (...keys: string[]) => after(["/", ...keys]).all;
  assert.equal(filter("o", "r").filters.components, "or");
  assert.equal(filter("o", "r", "backspace").filters.components, "o");
  assert.deepEqual(filter("o", "q", "enter").mode, { kind: "browse" }, "q is a letter here");
  assert.equal(filter("o", "escape").filters.components, "");
  const kept = filter("o", "enter");
  assert.equal(after(["/", "x", "escape"], scene, kept).all.filters.components, "o");
  assert.equal(after(["escape"], scene, kept).all.filters.components, "");
  assert.equal(filter(..."x".repeat(200)).filters.components!.length, 60);
});

Deno.test("press() drains after a yes, and gives back what is drained", () => {
  const drain = { kind: "drain", node: "bm-01", drained: true };
  assert.deepEqual(after(["d", "y"]).effects, [drain]);
  assert.deepEqual(after(["d", "n"]).effects, []);
  const drained = { ...scene, drains: { node: "bm-01", isDrained: true } };
  assert.deepEqual(after(["d", "y"], drained).effects, [{ ...drain, drained: false }]);
  assert.equal(after(["d"], { ...scene, drains: undefined }).mode.kind, "browse");
  assert.equal(after(["d"], { ...scene, view: "secrets" }).mode.kind, "browse");
});

Deno.test("press() looks from another node, and at all about one", () => {
  const map: Scene = { ...scene, view: "map", items: ["k1", "k2"] };
  assert.deepEqual(after(["j", "c"], map).effects, [{ kind: "ask", node: "k2" }]);
  const top = (...keys: string[]) => {
    const { mode } = after(["enter", ...keys], map);
    return mode.kind === "detail" ? mode.top : mode.kind;
  };
  assert.equal(top(), 0);
  assert.equal(top("down", "j"), 2);
  assert.equal(top("page-down", "page-down"), 15, "25 lines, of which 10 are seen");
  assert.equal(top("G", "k"), 14);
  assert.equal(top("up"), 0);
  assert.equal(top("escape"), "browse");
  assert.equal(top("?"), "help");
  assert.deepEqual(after(["enter", "d"], map).mode.kind, "confirm");
  assert.equal(after(["enter", "3"], map).view, "rollouts");
});

Deno.test("press() searches the log back and forth, and pauses it", () => {
  const log = (...keys: string[]) => {
    const { mode } = after(["l", "/", ...keys]);
    assert.equal(mode.kind, "logs");
    return mode.kind === "logs" ? mode : undefined!;
  };
  assert.deepEqual([log("L", "q").pattern, log("L").isTyping], ["Lq", true]);
  const ends = log(..."E 2", "enter"); // line 2, line 20 to line 29
  assert.deepEqual([ends.at, ends.paused?.length, ends.isTyping], [29, 30, false]);
  assert.equal(log(..."E 2", "enter", "n").at, 28);
  assert.equal(log(..."E 2", "enter", "n", "N").at, 29);
  const first = log(..."E 2", "enter", ..."nnnnnnnnnn");
  assert.equal(first.at, 2);
  assert.equal(first.below, 20, "it is in sight");
  assert.equal(log(..."E 2", "enter", ..."nnnnnnnnnnnnn").at, 2, "there is none before");
  assert.equal(log(..."(", "enter").at, undefined, "what is no regular expression");
  assert.equal(log("x", "escape").pattern, "");
  const gone = after(["l", "/", "2", "enter", "escape"]).mode;
  assert.ok(gone.kind === "logs" && gone.pattern === "" && gone.paused !== undefined);
  assert.equal(after(["l", "/", "2", "enter", "escape", "escape"]).mode.kind, "browse");
});
