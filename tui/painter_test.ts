import assert from "node:assert/strict";
import fc from "fast-check";
import type { Line, Span } from "./lines.ts";
import { Painter, type Palette, TONES_256 } from "./painter.ts";

/** A terminal as far as the painter uses one: cells, a cursor, and what each cell looks like. */
class FakeTerminal {
  cells: string[][] = [];
  written = 0;
  frames = 0;
  #waiting: (() => void)[] = [];
  #row = 0;
  #column = 0;
  #look = "";

  constructor(readonly columns: number, readonly rows: number, readonly isBusy = false) {
    this.#clear();
  }

  write(data: string, done: () => void): void {
    this.written += data.length;
    this.frames++;
    // deno-lint-ignore no-control-regex
    for (const [part] of data.matchAll(/\x1b\[[?\d;]*[A-Za-z]|[^\x1b]/gu)) this.#take(part);
    if (this.isBusy) this.#waiting.push(done);
    else queueMicrotask(done);
  }

  /** It has taken what was written. */
  drain(): void {
    for (const done of this.#waiting.splice(0)) done();
  }

  text(): string[] {
    return this.cells.map((row) => row.map((cell) => cell.at(-1)).join("").trimEnd());
  }

  #clear(): void {
    this.cells = Array.from({ length: this.rows }, () => Array(this.columns).fill(" "));
  }

  #take(part: string): void {
    if (!part.startsWith("\x1b")) {
      assert.ok(this.#row < this.rows && this.#column < this.columns, "nothing is outside");
      this.cells[this.#row]![this.#column++] = this.#look + part;
    } else if (part.endsWith("H")) {
      const [row = "1", column = "1"] = part.slice(2, -1).split(";");
      [this.#row, this.#column] = [Number(row || 1) - 1, Number(column) - 1];
    } else if (part.endsWith("m")) {
      this.#look = part === "\x1b[0m" ? "" : this.#look + part;
    } else if (part === "\x1b[2J") this.#clear();
    else if (part === "\x1b[K") {
      this.cells[this.#row]!.fill(" ", this.#column);
    } else assert.ok(["\x1b[?2026h", "\x1b[?2026l"].includes(part), JSON.stringify(part));
  }
}

const SIZE = { columns: 20, rows: 4 };
const settle = () => new Promise((resolve) => setTimeout(resolve));

const spans: fc.Arbitrary<Span> = fc.record({
  text: fc.string({ unit: fc.constantFrom("a", "b", " "), maxLength: 4 }),
  tone: fc.constantFrom("plain", "good", "bad"),
  bold: fc.boolean(),
});
const screens: fc.Arbitrary<Line[]> = fc.array(fc.array(spans, { maxLength: 5 }), {
  minLength: 4,
  maxLength: 4,
});

Deno.test("a frame over another looks as it does on an empty screen", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(screens, { minLength: 1, maxLength: 5 }), async (frames) => {
      const [terminal, empty] = [new FakeTerminal(20, 4), new FakeTerminal(20, 4)];
      const painter = new Painter(terminal, "256");
      for (const lines of frames) {
        painter.paint(lines, SIZE);
        await settle();
      }
      new Painter(empty, "256").paint(frames.at(-1)!, SIZE);
      await settle();
      assert.deepEqual(terminal.cells, empty.cells);
    }),
    { numRuns: 60 },
  );
});

Deno.test("what did not change is not written", async () => {
  const terminal = new FakeTerminal(20, 4);
  const painter = new Painter(terminal, "none");
  const lines = (last: string): Line[] => [
    [{ text: "one" }],
    [{ text: "two " }, { text: last }],
    [],
    [],
  ];
  painter.paint(lines("2"), SIZE);
  await settle();
  const first = terminal.written;
  painter.paint(lines("2"), SIZE);
  await settle();
  assert.equal(terminal.written, first, "nothing for the same screen");
  painter.paint(lines("3"), SIZE);
  await settle();
  assert.deepEqual(terminal.text(), ["one", "two 3", "", ""]);
  assert.ok(terminal.written - first < 40, `${terminal.written - first} bytes for one character`);
});

Deno.test("a screen of another size is painted anew", async () => {
  const terminal = new FakeTerminal(20, 4);
  const painter = new Painter(terminal, "none");
  painter.paint([[{ text: "a" }], [], [], []], SIZE);
  await settle();
  terminal.cells[3]![0] = "x"; // what a terminal made of the resize
  painter.paint([[{ text: "a" }], [], [], []], { columns: 19, rows: 4 });
  await settle();
  assert.deepEqual(terminal.text(), ["a", "", "", ""]);
});

Deno.test("while the terminal is busy only the newest frame waits, and none comes after the end", async () => {
  const terminal = new FakeTerminal(20, 4, true);
  const painter = new Painter(terminal, "none");
  const frame = (text: string) => painter.paint([[{ text }], [], [], []], SIZE);
  for (const text of ["first", "second", "third"]) frame(text);
  await settle();
  assert.equal(terminal.frames, 1);
  terminal.drain();
  await settle();
  assert.deepEqual([terminal.frames, terminal.text()[0]], [2, "third"]);
  frame("fourth");
  let isClosed = false;
  const closed = painter.close().then(() => isClosed = true);
  await settle();
  assert.equal(isClosed, false, "the third is still on its way");
  terminal.drain();
  await closed;
  frame("fifth");
  await settle();
  assert.deepEqual([terminal.frames, terminal.text()[0]], [2, "third"]);
});

Deno.test("without colours there are none, and what is selected stands out all the same", async () => {
  const look = async (palette: Palette) => {
    const terminal = new FakeTerminal(20, 4);
    new Painter(terminal, palette).paint([
      [{ text: "x", tone: "bad", inverse: true }],
      [{ text: "y", tone: "dim" }],
      [],
      [],
    ], SIZE);
    await settle();
    return [terminal.cells[0]![0], terminal.cells[1]![0]];
  };
  assert.deepEqual(await look("none"), ["\x1b[7mx", "y"]);
  assert.deepEqual(await look("16"), ["\x1b[7;31mx", "y"]);
  assert.deepEqual(await look("256"), ["\x1b[7;38;5;161mx", "\x1b[38;5;243my"]);
});

Deno.test("every colour can be read on black and on white", () => {
  for (const [tone, index] of Object.entries(TONES_256)) {
    if (index === undefined) continue;
    const light = luminance(rgb(index));
    assert.ok((light + 0.05) / 0.05 >= 4, `${tone} on black`);
    assert.ok(1.05 / (light + 0.05) >= 4, `${tone} on white`);
  }
});

/** https://en.wikipedia.org/wiki/ANSI_escape_code#8-bit */
function rgb(index: number): number[] {
  if (index >= 232) return Array(3).fill(8 + (index - 232) * 10);
  const levels = [0, 95, 135, 175, 215, 255];
  const at = index - 16;
  return [Math.floor(at / 36), Math.floor(at / 6) % 6, at % 6].map((level) => levels[level]!);
}

/** https://www.w3.org/TR/WCAG22/#dfn-relative-luminance */
function luminance(colour: readonly number[]): number {
  const [r, g, b] = colour.map((value) => {
    const part = value / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  }) as [number, number, number];
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

Deno.test("a terminal that takes nothing keeps nobody from leaving", async () => {
  const terminal = new FakeTerminal(20, 4, true);
  const painter = new Painter(terminal, "none");
  painter.paint([[{ text: "first" }], [], [], []], SIZE);
  await settle();
  await painter.close(1);
  assert.equal(terminal.frames, 1);
});
