/**
 * The whole screen as lines: what stands where, for a size, a state and a mode.
 *
 * Pure. A screen has exactly as many lines as the terminal has rows, so that nothing scrolls and
 * nothing is left behind.
 *
 * @module
 */
import { type Interaction, type Mode, selectedOf } from "./interaction.ts";
import { cut, fit, headerLine, type Line, logLine, rowLine, ruleLine, titleLine } from "./lines.ts";
import { singleLine } from "./quantity.ts";
import type { Link, Snapshot } from "./session.ts";
import { type Alarm, alarmsOf, componentRows, type Tone, visibleRows } from "./view_model.ts";

/** Columns and rows of the terminal. */
export interface Size {
  readonly columns: number;
  readonly rows: number;
}

/** Alarms that are shown at once; the worst come first. */
const ALARMS_MAX = 3;

const HELP: readonly (readonly [keys: string, what: string])[] = [
  ["↑ ↓  k j", "select a component"],
  ["g G", "the first, the last"],
  ["r", "restart its replicas (asks)"],
  ["s", "set the number of its replicas; m gives it back to the manifest"],
  ["l  Enter", "its log on the whole screen"],
  ["space", "in the log: pause, go on; ↑ ↓ page up, page down scroll"],
  ["?", "this help"],
  ["q  ctrl-c", "quit; the agent goes on"],
];

const COLUMNS_OF_TABLE: readonly (readonly [title: string, what: string])[] = [
  ["STATE", "running/wanted replicas; set: by hand, not by the manifest"],
  ["RST", "times started again"],
  ["MEMORY", "linear memories and tables now, and their limit"],
  ["FUEL/S", "instructions per second, and their limit"],
  ["THR", "part of the time that it was made to wait for fuel"],
];

/** What `snapshot` and `interaction` look like at `nowMs`; `message` is what a key did. */
export function screenLines(
  snapshot: Snapshot,
  interaction: Interaction,
  { columns, rows }: Size,
  nowMs: number,
  message = "",
): Line[] {
  const header = headerLine(snapshot.current?.status, linkText(snapshot.link), columns);
  const footer = footerLine(interaction.mode, message, columns);
  const height = Math.max(0, rows - 2);
  const body = interaction.mode.kind === "help"
    ? helpLines(columns)
    : interaction.mode.kind === "logs"
    ? fullLogLines(snapshot, interaction.mode, columns, height)
    : dashboardLines(snapshot, interaction, { columns, rows: height }, nowMs);
  const filled = Array.from({ length: height }, (_, i) => body[i] ?? []);
  return [header, ...filled, footer].slice(0, rows).map((line) => cut(line, columns));
}

/** Lines of the log in the mode `logs` on a terminal with so many rows. */
export function logHeight(rows: number): number {
  return Math.max(1, rows - 3);
}

/** Names of the components on the screen, in its order. */
export function componentNames(snapshot: Snapshot): string[] {
  if (snapshot.current === undefined) return [];
  return componentRows(snapshot.current, undefined, 0).map(({ component }) => component.name);
}

function dashboardLines(
  snapshot: Snapshot,
  interaction: Interaction,
  { columns, rows }: Size,
  nowMs: number,
): Line[] {
  const alarms = alarmLines(snapshot, columns);
  if (snapshot.current === undefined) return alarms;
  const all = componentRows(snapshot.current, snapshot.previous, nowMs);
  const names = all.map(({ component }) => component.name);
  const selected = selectedOf(interaction.selected, names);
  const count = all.reduce((total, { replicas }) => total + 1 + replicas.length, 0);
  // Titles and the rule above the log take two; the table gets what it needs, up to three fifths.
  const room = Math.max(0, rows - alarms.length - 2);
  const tableHeight = Math.min(count, Math.max(Math.min(3, room), Math.floor(room * 0.6)));
  const shown = visibleRows(all, selected, tableHeight);
  const position = shown.length < count ? `${names.indexOf(selected ?? "") + 1}/${all.length}` : "";
  const table = all.length === 0
    ? [[{ text: "  no components", tone: "dim" } as const]]
    : shown.map((row) => rowLine(row, columns, row.component === selected));
  const logRows = Math.max(0, room - table.length);
  return [
    ...alarms,
    titleLine(columns, position),
    ...table,
    ruleLine(selected === undefined ? "log" : `log of ${selected}`, columns),
    ...(logRows === 0 ? [] : snapshot.logs.rows.slice(-logRows)).map((row) =>
      logLine(row, columns)
    ),
  ];
}

function alarmLines(snapshot: Snapshot, columns: number): Line[] {
  const alarms: Alarm[] = [
    ...(snapshot.link.kind === "reconnecting"
      ? [{ tone: "bad", text: snapshot.link.reason } as const]
      : []),
    ...(snapshot.current === undefined ? [] : alarmsOf(snapshot.current.status)),
  ];
  return alarms.slice(0, ALARMS_MAX).map(({ tone, text }) => [
    { text: fit(` ! ${singleLine(text)}`, columns).trimEnd(), tone, bold: true },
  ]);
}

function fullLogLines(
  snapshot: Snapshot,
  mode: Extract<Mode, { kind: "logs" }>,
  columns: number,
  height: number,
): Line[] {
  const rows = mode.paused ?? snapshot.logs.rows;
  const end = rows.length - mode.below;
  const lines = Math.max(0, height - 1);
  const state = mode.paused === undefined
    ? ""
    : mode.below === 0
    ? ", paused"
    : `, paused ${mode.below} lines back`;
  return [
    ruleLine(`log of ${snapshot.logs.component ?? "nothing"}${state}`, columns),
    ...rows.slice(Math.max(0, end - lines), end).map((row) => logLine(row, columns)),
  ];
}

function helpLines(columns: number): Line[] {
  const line = (left: string, right: string): Line => [
    { text: `  ${left.padEnd(12)}`, tone: "accent" },
    { text: fit(right, Math.max(0, columns - 14)).trimEnd() },
  ];
  return [
    [],
    ...HELP.map(([keys, what]) => line(keys, what)),
    [],
    ...COLUMNS_OF_TABLE.map(([title, what]) => line(title, what)),
  ];
}

function linkText(link: Link): { text: string; tone: Tone } {
  if (link.kind === "connected") return { text: "● connected", tone: "good" };
  if (link.kind === "connecting") return { text: "○ connecting", tone: "warn" };
  return { text: "○ reconnecting", tone: "bad" };
}

function footerLine(mode: Mode, message: string, columns: number): Line {
  const [text, tone] = footerText(mode, message);
  return [{ text: fit(` ${singleLine(text)}`, columns).trimEnd(), tone }];
}

function footerText(mode: Mode, message: string): [text: string, tone: Tone] {
  switch (mode.kind) {
    case "help":
      return ["any key: back   q quit", "dim"];
    case "logs":
      return ["space pause   ↑↓ scroll   l back   ? help   q quit", "dim"];
    case "confirm-restart":
      return [`Restart all replicas of ${mode.component}? y/n`, "warn"];
    case "enter-scale":
      return [
        `Replicas of ${mode.component}: ${mode.digits}▏  Enter: set   m: as in the manifest   Esc`,
        "warn",
      ];
    case "browse":
      return message === ""
        ? ["↑↓ select   r restart   s scale   l log   ? help   q quit", "dim"]
        : [message, "accent"];
  }
}
