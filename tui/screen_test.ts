import assert from "node:assert/strict";
import fc from "fast-check";
import { widthOf } from "./cells.ts";
import type { Interaction, LogMode, Mode } from "./interaction.ts";
import { screenLines } from "./screen.ts";
import type { LogRow, Snapshot } from "./session.ts";
import { fakeAlarm, fakeReplica, fakeStatus, fallenReplica, NOW_MS } from "./status_fake.ts";
import type { Status } from "./view_model.ts";
import { VIEW_NAMES, type ViewName } from "./views/view.ts";

const row = (text: string, but: Partial<LogRow> = {}): LogRow =>
  ({ kind: "line", replica: 0, wallMs: NOW_MS, stream: "stdout", text, ...but }) as LogRow;

function snapshotOf(status: Status | undefined, rows: LogRow[] = []): Snapshot {
  return {
    link: { kind: "connected" },
    current: status && { status, monotonicMs: 1_000 },
    previous: status && { status, monotonicMs: 0 },
    logs: { component: "auth", rows },
    history: { value: undefined, problem: undefined },
    secrets: { value: undefined, problem: undefined },
    plan: undefined,
  };
}

function screen(
  snapshot: Snapshot,
  {
    mode = { kind: "browse" },
    view = "components",
    selected,
    columns = 80,
    rows = 24,
    message = "",
  }: {
    mode?: Mode;
    view?: ViewName;
    selected?: string;
    columns?: number;
    rows?: number;
    message?: string;
  } = {},
): string[] {
  const interaction: Interaction = {
    mode,
    view,
    selected: selected === undefined ? {} : { [view]: selected },
    filters: {},
  };
  return screenLines(snapshot, interaction, { columns, rows }, NOW_MS, message)
    .map((line) => line.map(({ text }) => text).join("").trimEnd());
}

const LIVE: LogMode = {
  kind: "logs",
  paused: undefined,
  below: 0,
  pattern: "",
  isTyping: false,
  at: undefined,
};

/** Local time as the log shows it: tests run in any zone. */
const TIME = new Date(NOW_MS).toTimeString().slice(0, 8);

Deno.test("screenLines() at 80x24: header, alarms, table, log, keys", () => {
  const [first, second] = fakeStatus().replicas;
  const status = fakeStatus({
    replicas: [
      { ...first!, usage: { ...first!.usage!, memoryBytes: 60 * 2 ** 20 } },
      second!,
      fallenReplica("orders", 0),
    ],
    alarms: [fakeAlarm("orders/0 on bm-01 ended: epoch-timeout: ran for 100 ms")],
  });
  const log = [
    row("listening"),
    row("oops", { stream: "stderr" }),
    {
      kind: "missed",
      lines: 7,
    } as const,
  ];
  assert.deepEqual(screen(snapshotOf(status, log)), [
    " realm shop  bm-01  v3  http://127.0.0.1:8080                       ● connected",
    " 1 map  2 components  3 rollouts  4 apps  5 secrets  6 history  7 alarms 1",
    " ! orders/0 on bm-01 ended: epoch-timeout: ran for 100 ms",
    "  COMPONENT        STATE      RST MEMORY                FUEL/S        THR    AGE",
    "▸ auth             2/2          0 █████░░░ 84/128 MiB   0/10M",
    "  └ 0              running      0 ████████ 60/64 MiB    0/5M                  1m",
    "  └ 1              running      0 ███░░░░░ 24/64 MiB    0/5M                  1m",
    "  orders           0/1          3          -            -",
    "  └ 0              retry 4s     3          -            -",
    "── log of auth " + "─".repeat(65),
    `${TIME}  0 listening`,
    `${TIME}  0 err oops`,
    " … 7 lines missed",
    ...Array(10).fill(""),
    " ↑↓ select  Enter log  r restart  s scale  d drain  / find  ? help  q quit",
  ]);
});

Deno.test("screenLines() at 200 columns adds bars, peaks, digests and last exits", () => {
  const lines = screen(snapshotOf(fakeStatus({ replicas: [fallenReplica("orders", 0)] })), {
    columns: 200,
  });
  const titles = "COMPONENT STATE RST MEMORY PEAK FUEL FUEL/S THR EPOCH AGE DIGEST LAST EXIT";
  const title = lines.find((line) => line.includes("COMPONENT"))!;
  assert.equal(title.trim().split(/ +/).join(" "), titles);
  assert.ok(lines.some((line) => /└ 0 .*abababababab epoch-timeout: ran for/.test(line)));
});

Deno.test("screenLines() has every row of the terminal, none too long, whatever the state", () => {
  const kinds = fc.constantFrom<Mode["kind"]>("browse", "help", "logs", "detail");
  const views = fc.constantFrom(...VIEW_NAMES);
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 60 }),
      fc.integer({ min: 1, max: 220 }),
      fc.nat(30),
      fc.array(fc.string({ unit: "binary", maxLength: 100 }), { maxLength: 20 }),
      kinds,
      views,
      (rows, columns, count, texts, kind, view) => {
        const components = Array.from({ length: count }, (_, i) => ({
          ...fakeStatus().components[0]!,
          name: `c${i}`,
        }));
        const replicas = components.map(({ name }) => fakeReplica(name, 0));
        const snapshot = snapshotOf(
          fakeStatus({ components, replicas, manifest: null }),
          texts.map((text) => row(text)),
        );
        const mode: Mode = kind === "logs" ? LIVE : { kind, top: 0 } as Mode;
        const lines = screen(snapshot, { mode, view, columns, rows });
        assert.equal(lines.length, rows);
        for (const line of lines) {
          assert.ok(widthOf(line) <= columns, `${widthOf(line)} of ${columns}: ${line}`);
          assert.doesNotMatch(line, /\p{Cc}/u);
        }
      },
    ),
    { numRuns: Deno.env.has("SLOW") ? 2_000 : 50 },
  );
});

Deno.test("screenLines() says what is wrong with the agent above all", () => {
  const { node } = fakeStatus();
  const alarms = [fakeAlarm("unclaimed: this agent has no owner and obeys nothing")];
  const away = screen({
    ...snapshotOf(fakeStatus({ node: { ...node, owner: null, realm: null }, alarms })),
    link: { kind: "reconnecting", reason: "Cannot reach the agent" },
  });
  assert.match(away[0]!, /^ realm \(no name\) .*○ reconnecting$/);
  assert.equal(away[2], " ! Cannot reach the agent");
  assert.match(away[3]!, /^ ! unclaimed: /);
  const first = screen({ ...snapshotOf(undefined), link: { kind: "connecting" } });
  assert.match(first[0]!, /○ connecting$/);
});

Deno.test("screenLines() shows the mode in its last line", () => {
  const last = (mode: Mode, message?: string) =>
    screen(snapshotOf(fakeStatus()), { mode, ...(message ? { message } : {}) }).at(-1)!;
  assert.equal(
    last({ kind: "confirm", action: { kind: "restart", component: "auth" } }),
    " Restart all replicas of auth? y/n",
  );
  assert.match(
    last({ kind: "enter-scale", component: "auth", digits: "12" }),
    /^ Replicas of auth: 12▏/,
  );
  assert.equal(
    last({ kind: "browse" }, "auth: restarted 2 replicas"),
    " auth: restarted 2 replicas",
  );
});

Deno.test("screenLines() shows the log alone, where it was paused", () => {
  const rows = Array.from({ length: 100 }, (_, i) => row(`line ${i}`));
  const live = screen(snapshotOf(fakeStatus(), rows), { mode: LIVE });
  assert.match(live[2]!, /^── log of auth ─/);
  assert.match(live[3]!, /line 80$/);
  assert.match(live[22]!, /line 99$/);
  const paused = screen(snapshotOf(fakeStatus(), []), {
    mode: { ...LIVE, paused: rows, below: 80, pattern: "E 1", at: 19 },
  });
  assert.match(paused[2]!, /paused 80 lines back/);
  assert.match(paused[3]!, /line 0$/);
  assert.match(paused[22]!, /line 19$/);
  assert.match(paused[23]!, /"E 1" 11 of 11 /);
});

Deno.test("screenLines() folds a table that is too long and says where it is", () => {
  const components = Array.from({ length: 20 }, (_, i) => ({
    ...fakeStatus().components[0]!,
    name: `c${String(i).padStart(2, "0")}`,
  }));
  const replicas = components.flatMap(({ name }) => [fakeReplica(name, 0), fakeReplica(name, 1)]);
  const lines = screen(snapshotOf(fakeStatus({ components, replicas })), { selected: "c10" });
  assert.ok(lines.some((line) => /COMPONENT 11\/20/.test(line)));
  const at = lines.findIndex((line) => line.startsWith("▸ c10"));
  assert.match(lines[at + 1]!, /└ 0/);
  assert.match(lines[at + 2]!, /└ 1/);
  assert.match(lines[at + 3]!, / {2}c11/);
});
