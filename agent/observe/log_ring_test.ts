import assert from "node:assert/strict";
import fc from "fast-check";
import type { Clock } from "../kernel/ports.ts";
import { CUT_MARK, LineSplitter } from "./line_splitter.ts";
import { type LogBounds, type LogEvent, LogRing } from "./log_ring.ts";

/** Time stands still until a test moves it. */
class FakeClock implements Clock {
  nowMs = 1_000_000;
  #sleepers: { atMs: number; wake: () => void }[] = [];
  wallMs = () => this.nowMs;
  monotonicMs = () => this.nowMs;
  sleep = (ms: number, signal?: AbortSignal) =>
    new Promise<void>((wake, reject) => {
      this.#sleepers.push({ atMs: this.nowMs + ms, wake });
      signal?.addEventListener("abort", () => reject(signal.reason));
    });
  async advance(ms: number): Promise<void> {
    this.nowMs += ms;
    for (const { atMs, wake } of this.#sleepers) if (atMs <= this.nowMs) wake();
    await new Promise((resolve) => setTimeout(resolve));
  }
}

const bytes = (text: string) => new TextEncoder().encode(text);

function setUp(bounds: LogBounds = {}) {
  const clock = new FakeClock();
  const ring = new LogRing(clock, bounds);
  const out = ring.writer(0, "stdout");
  return { clock, ring, out, texts: () => ring.lines().map((entry) => entry.text) };
}

const textOf = (event: LogEvent) => event.kind === "line" ? event.text : `missed ${event.lines}`;

/** The next `count` events. */
async function take(events: AsyncGenerator<LogEvent>, count: number): Promise<string[]> {
  const taken: string[] = [];
  while (taken.length < count) taken.push(textOf((await events.next()).value!));
  return taken;
}

Deno.test("LineSplitter gives the lines of the text, however it is cut", () => {
  fc.assert(
    fc.property(
      fc.array(fc.string({ unit: "binary", maxLength: 10 }), { maxLength: 6 }),
      fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1 }),
      (parts, sizes) => {
        const input = bytes(parts.join("\n"));
        const splitter = new LineSplitter(1_000);
        const lines: string[] = [];
        for (let offset = 0, turn = 0; offset < input.length; turn++) {
          const size = sizes[turn % sizes.length]!;
          const chunk = input.slice(offset, offset + size);
          splitter.push(chunk, () => true, (text) => lines.push(text));
          chunk.fill(0); // The splitter may not hold on to the chunk.
          offset += size;
        }
        splitter.end(() => true, (text) => lines.push(text));
        const wanted = new TextDecoder("utf-8", { ignoreBOM: true }).decode(input).split("\n");
        if (wanted.at(-1) === "") wanted.pop();
        assert.deepEqual(lines, wanted.map((line) => line.replace(/\r$/, "")));
      },
    ),
  );
});

Deno.test("LineSplitter cuts long lines at a character and drops their rest", () => {
  const cut = (text: string, chunkSize: number) => {
    const splitter = new LineSplitter(8);
    const lines: string[] = [];
    const input = bytes(text);
    for (let offset = 0; offset < input.length; offset += chunkSize) {
      const chunk = input.subarray(offset, offset + chunkSize);
      splitter.push(chunk, () => true, (line) => lines.push(line));
    }
    splitter.end(() => true, (line) => lines.push(line));
    return lines;
  };
  for (const chunkSize of [1, 3, 100]) {
    assert.deepEqual(cut("12345678\nabc", chunkSize), ["12345678", "abc"]);
    assert.deepEqual(cut("123456789 and so on\nabc\n", chunkSize), ["12345678" + CUT_MARK, "abc"]);
    assert.deepEqual(cut("123456é\n1234567é\n", chunkSize), ["123456é", "1234567" + CUT_MARK]);
    assert.deepEqual(cut("12345\u{1f600}\nok", chunkSize), ["12345" + CUT_MARK, "ok"]);
    assert.deepEqual(cut("x".repeat(50), chunkSize), ["x".repeat(8) + CUT_MARK]);
  }
});

Deno.test("LogRing keeps lines with their time, stream and replica", () => {
  const { clock, ring, out } = setUp();
  out.write(bytes("hel"));
  ring.writer(1, "stderr").write(bytes("oops\n"));
  clock.nowMs += 5;
  out.write(bytes("lo\nunfinished"));
  ring.notice("started");
  out.close();
  assert.deepEqual(ring.lines(), [
    { wallMs: 1_000_000, stream: "stderr", text: "oops", replica: 1 },
    { wallMs: 1_000_005, stream: "stdout", text: "hello", replica: 0 },
    { wallMs: 1_000_005, stream: "realm", text: "started", replica: null },
    { wallMs: 1_000_005, stream: "stdout", text: "unfinished", replica: 0 },
  ]);
  const read = (options: Parameters<LogRing["lines"]>[0]) => ring.lines(options).map((e) => e.text);
  assert.deepEqual(read({ sinceMs: 1_000_005 }), ["hello", "started", "unfinished"]);
  assert.deepEqual(read({ replica: 1 }), ["oops", "started"]);
  assert.deepEqual(read({ tail: 2 }), ["started", "unfinished"]);
  assert.deepEqual(read({ tail: 2, replica: 1 }), ["oops", "started"]);
  assert.deepEqual(read({ tail: 0 }), []);
});

Deno.test("LogRing is bounded in lines and in bytes", () => {
  const few = setUp({ linesMax: 3 });
  few.out.write(bytes("a\nb\nc\nd\ne\n"));
  assert.deepEqual(few.texts(), ["c", "d", "e"]);

  const small = setUp({ bytesMax: 1_000 });
  for (let i = 0; i < 50; i++) small.out.write(bytes(`${i}`.padEnd(100, ".") + "\n"));
  assert.deepEqual(small.texts().map((text) => parseInt(text)), [47, 48, 49]);
  small.out.write(bytes("x".repeat(2_000) + "\n"));
  assert.deepEqual(small.texts().map((text) => text.length), [2_000]);
});

Deno.test("LogRing drops lines that come too fast, and says how many", async () => {
  const { clock, ring, out, texts } = setUp({ linesPerSecMax: 3 });
  out.write(bytes("a\nb\nc\nd\ne\n"));
  ring.notice("not counted");
  assert.deepEqual(texts(), ["a", "b", "c", "not counted"]);
  await clock.advance(999);
  out.write(bytes("f\n"));
  assert.equal(texts().length, 4);
  // The component stays silent: the count is told all the same.
  await clock.advance(1);
  assert.equal(texts().at(-1), "3 lines dropped: more than 3 lines in one second");
  out.write(bytes("g\n"));
  assert.equal(texts().at(-1), "g");
  assert.equal(ring.droppedLines, 3);
  out.write(bytes("h\ni\nj\nk\n"));
  ring.close();
  assert.equal(texts().at(-1), "2 lines dropped: more than 3 lines in one second");
});

Deno.test("follow() gives what is there, then what comes, and ends with its signal", async () => {
  const { ring, out } = setUp();
  out.write(bytes("a\nb\n"));
  const stop = new AbortController();
  const events = ring.follow({ tail: 1 }, stop.signal);
  assert.deepEqual(await take(events, 1), ["b"]);
  const next = take(events, 2);
  out.write(bytes("c\nd\n"));
  assert.deepEqual(await next, ["c", "d"]);
  const last = events.next();
  stop.abort();
  assert.equal((await last).done, true);
});

Deno.test("follow() tells a slow reader exactly what it missed", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ write: fc.nat(12), read: fc.nat(6) }), { maxLength: 20 }),
      async (turns) => {
        const { ring, out } = setUp({ linesMax: 5, linesPerSecMax: 1_000 });
        const events = ring.follow();
        let written = 0;
        let seen = 0; // Read or told of: the number of the next line.
        const read = async () => {
          const event = (await events.next()).value!;
          if (event.kind === "missed") seen += event.lines;
          else assert.equal(event.text, `${seen++}`);
        };
        for (const turn of turns) {
          for (let i = 0; i < turn.write; i++) out.write(bytes(`${written++}\n`));
          for (let i = 0; i < turn.read && seen < written; i++) await read();
        }
        while (seen < written) await read();
        ring.close();
        assert.equal((await events.next()).done, true);
      },
    ),
  );
});

Deno.test("follow() ends when the ring is closed, after the last line", async () => {
  const { ring, out } = setUp();
  const all = Array.fromAsync(ring.follow(), textOf);
  const left = ring.follow();
  out.write(bytes("a\nb"));
  out.close();
  ring.close();
  out.write(bytes("too late\n"));
  assert.deepEqual(await all, ["a", "b"]);
  assert.deepEqual(await Array.fromAsync(left, textOf), ["a", "b"]);
});

Deno.test("a flood through the ring stays in its bounds", () => {
  const { ring, out } = setUp();
  const chunk = bytes("a line of a component that has gone mad\n".repeat(1_600)); // 64 kB
  for (let i = 0; i < 160; i++) out.write(chunk); // 10 MB
  assert.equal(ring.lines().length, 1_000);
  assert.equal(ring.droppedLines, 160 * 1_600 - 1_000);
});

Deno.test("LogRing tells apart what two instances of one replica write, whatever the clock says", () => {
  const { clock, ring, out } = setUp();
  const next = ring.writer(0, "stdout", "next");
  next.write(bytes("one\ntw"));
  out.write(bytes("of before\n"));
  clock.nowMs -= 60_000;
  next.write(bytes("o\n"));
  ring.log("info", "three", 0, "next");
  ring.notice("of all");
  ring.notice("four", 0, "next");
  const texts = (tail: number) => ring.lines({ tail, of: "next" }).map(({ text }) => text);
  assert.deepEqual(texts(10), ["one", "two", "three", "four"]);
  assert.deepEqual(texts(3), ["two", "three", "four"]);
  assert.deepEqual(Object.keys(ring.lines({ tail: 1 })[0]!).sort(), [
    "replica",
    "stream",
    "text",
    "wallMs",
  ], "whoever reads the log is not told of whom it is");
});
