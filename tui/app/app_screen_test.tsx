import { render } from "ink-testing-library";
import assert from "node:assert/strict";
import { AppScreen, type AppSession, type AppSnapshot } from "./app_screen.tsx";
import type { ViewInput } from "./focus.ts";
import type { ViewNode } from "./layout.ts";

const node = (parent: number, kind: ViewNode["kind"], text = "", id = ""): ViewNode => ({
  parent,
  kind,
  text,
  id,
});

/** A list to which one can add, and which is told apart by what was pressed. */
class FakeSession implements AppSession {
  readonly inputs: ViewInput[] = [];
  readonly #listeners = new Set<() => void>();
  #snapshot: AppSnapshot;

  constructor(nodes: readonly ViewNode[]) {
    this.#snapshot = { title: "list \x1b[2J", nodes };
  }

  snapshot = () => this.#snapshot;

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  input(input: ViewInput): void {
    this.inputs.push(input);
    const { nodes } = this.#snapshot;
    if (input.tag === "submit") this.change({ nodes: [...nodes, node(0, "text", input.val[1])] });
    else this.change({ message: { text: `pressed ${input.val}`, tone: "good" } });
  }

  change(changes: Partial<AppSnapshot>): void {
    this.#snapshot = { ...this.#snapshot, ...changes };
    for (const listener of this.#listeners) listener();
  }
}

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function shown(
  nodes: readonly ViewNode[],
  test: (screen: {
    session: FakeSession;
    type(...keys: string[]): Promise<void>;
    until(pattern: RegExp): Promise<string>;
  }) => Promise<void>,
): Promise<void> {
  const session = new FakeSession(nodes);
  const size = { columns: 80, rows: 24 };
  const screen = render(<AppScreen session={session} size={size} palette="none" />);
  const frame = () => screen.lastFrame() ?? "";
  try {
    await test({
      session,
      async type(...keys) {
        for (const key of keys) {
          screen.stdin.write(key);
          await sleep(40);
        }
      },
      async until(pattern) {
        const endMs = performance.now() + 10_000;
        while (!pattern.test(frame()) && performance.now() < endMs) await sleep(10);
        assert.match(frame(), pattern);
        return frame();
      },
    });
  } finally {
    screen.unmount();
  }
}

const [TAB, ENTER] = ["\t", "\r"];

Deno.test("an app is shown on a terminal of 80 by 24, and does what its person does", async () => {
  const nodes = [
    node(0, "column"),
    node(0, "heading", "Things"),
    node(0, "row"),
    node(2, "button", "one", "1"),
    node(2, "button", "two", "2"),
    node(0, "field", "New", "new"),
  ];
  await shown(nodes, async ({ session, type, until }) => {
    const first = (await until(/\[ one \] {2}\[ two \]/)).split("\n");
    assert.equal(first.length, 24);
    assert.match(first[0]!, /^ list \\u\{1b\}\[2J/);
    assert.match(first[1]!, /^Things/);
    assert.match(first[3]!, /^New: _{40}|^New: {2}_{39}/);
    assert.match(first[23]!, /^ tab moves/);
    for (const line of first) assert.ok(line.length <= 80, line);

    await type(TAB, ENTER);
    await until(/pressed 2\s*$/);
    await type(TAB, "m", "ilk", ENTER);
    await until(/\nmilk/);
    assert.deepEqual(session.inputs, [
      { tag: "press", val: "2" },
      { tag: "submit", val: ["new", "milk"] },
    ]);
    // What others do is seen at once, and the focus stays in the field.
    session.change({ nodes: [...nodes, node(0, "text", "bread")], message: undefined! });
    await until(/\nbread/);
    await type("x");
    await until(/New: x/);
  });
});

Deno.test("an interface that is higher than the screen is scrolled to what has the focus", async () => {
  const many = Array.from({ length: 60 }, (_, i) => node(0, "button", `b${i}`, `b${i}`));
  await shown([node(0, "column"), ...many], async ({ type, until }) => {
    const frame = await until(/\[ b0 \][^]*\[ b21 \]/);
    assert.doesNotMatch(frame, /b22/);
    assert.match(frame, /↓38\s*$/);
    await type("\x1b[A"); // up: from the first to the last
    const last = await until(/\[ b59 \]/);
    assert.match(last, /↑38\s*$/);
    assert.doesNotMatch(last, /b37 /);
  });
});
