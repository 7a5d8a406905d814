import assert from "node:assert/strict";
import { lastLines, mergeLogs } from "./node_logs.ts";

interface Line {
  readonly wallMs?: number;
  readonly text: string;
}

/** A log whose lines come when a test says so; it counts what was asked for. */
class FakeLog implements AsyncIterable<Line> {
  asked = 0;
  hasReturned = false;
  #next: PromiseWithResolvers<IteratorResult<Line>> | undefined;

  [Symbol.asyncIterator](): AsyncIterator<Line> {
    return {
      next: () => {
        this.asked++;
        this.#next = Promise.withResolvers();
        return this.#next.promise;
      },
      return: () => {
        this.hasReturned = true;
        return Promise.resolve({ done: true, value: undefined });
      },
    };
  }

  say(text: string, wallMs?: number): Promise<void> {
    const line = wallMs === undefined ? { text } : { text, wallMs };
    this.#next!.resolve({ done: false, value: line });
    return new Promise((resolve) => setTimeout(resolve));
  }

  end(): void {
    this.#next!.resolve({ done: true, value: undefined });
  }

  break(error: Error): void {
    this.#next!.reject(error);
  }
}

async function* lines(...all: Line[]) {
  yield* all;
}

const ignore = () => {};

Deno.test("mergeLogs() puts lines in order of their time, and tells of what was missed first", async () => {
  const logs = new Map([
    ["a", lines({ text: "1", wallMs: 1 }, { text: "4", wallMs: 4 }, { text: "5", wallMs: 5 })],
    ["b", lines({ text: "missed" }, { text: "2", wallMs: 2 }, { text: "6", wallMs: 6 })],
    ["c", lines()],
    ["d", lines({ text: "3", wallMs: 3 })],
  ]);
  const found: string[] = [];
  for await (const { node, text } of mergeLogs(logs, { inOrder: true, failed: ignore })) {
    found.push(`${node} ${text}`);
  }
  assert.deepEqual(found, ["b missed", "a 1", "b 2", "d 3", "a 4", "a 5", "b 6"]);
});

Deno.test("mergeLogs() follows nodes of which some say nothing, and reads no more than is wanted", async () => {
  const [a, b] = [new FakeLog(), new FakeLog()];
  const merged = mergeLogs(new Map([["a", a], ["b", b]]), { inOrder: false, failed: ignore });
  const first = merged.next();
  await a.say("one");
  assert.deepEqual((await first).value, { node: "a", text: "one" });
  assert.deepEqual([a.asked, b.asked], [1, 1], "a line that nobody wants is not asked for");
  const second = merged.next();
  await a.say("two");
  assert.equal((await second).value!.text, "two");
  assert.deepEqual([a.asked, b.asked], [2, 1]);
  await merged.return();
  assert.ok(a.hasReturned && b.hasReturned);
});

Deno.test("mergeLogs() goes on when the log of a node breaks", async () => {
  const [a, b] = [new FakeLog(), new FakeLog()];
  const failures: string[] = [];
  const failed = (node: string, error: unknown) =>
    void failures.push(`${node}: ${(error as Error).message}`);
  const merged = mergeLogs(new Map([["a", a], ["b", b]]), { inOrder: true, failed });
  const first = merged.next();
  a.break(new Error("it is gone"));
  await b.say("here", 1);
  assert.equal((await first).value!.text, "here");
  const last = merged.next();
  b.end();
  assert.equal((await last).done, true);
  assert.deepEqual(failures, ["a: it is gone"]);
});

Deno.test("lastLines() gives the last of all, and what was missed among them", async () => {
  const all = [
    { text: "missed" },
    { text: "1", wallMs: 1 },
    { text: "2", wallMs: 2 },
    { text: "missed more" },
    { text: "3", wallMs: 3 },
  ];
  const last = async (count: number) => {
    const found: string[] = [];
    for await (const { text } of lastLines(lines(...all), count)) found.push(text);
    return found;
  };
  assert.deepEqual(await last(0), []);
  assert.deepEqual(await last(1), ["missed more", "3"]);
  assert.deepEqual(await last(2), ["2", "missed more", "3"]);
  assert.deepEqual(await last(9), all.map(({ text }) => text));
});
