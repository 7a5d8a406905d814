/**
 * Every component with its replicas: what runs, what it uses of its limits, and its log below.
 *
 * @module
 */
import { type Line, logLine, NONE, type Span, textLine } from "../lines.ts";
import { formatAge, formatBar, formatBytesOf, formatCount } from "../quantity.ts";
import { type Column, tableOf } from "../table.ts";
import { componentNames, componentWindow, type Row, type Tone } from "../view_model.ts";
import { hasText, type View } from "./view.ts";

/** A bar's colour: what is close to its maximum will soon be refused or throttled. */
function toneOfUse(fraction: number): Tone {
  return fraction >= 0.9 ? "bad" : fraction >= 0.7 ? "warn" : "good";
}

function bar(used: number | undefined, max: number | undefined, width: number): Span {
  if (used === undefined || max === undefined || max === 0) return { text: "" };
  return { text: formatBar(used / max, width), tone: toneOfUse(used / max) };
}

const COLUMNS: readonly Column<Row>[] = [
  {
    title: "COMPONENT",
    width: 8,
    widthMax: 40,
    cell: ({ kind, name }) =>
      kind === "component" ? { text: name, bold: true } : { text: `└ ${name}` },
  },
  { title: "STATE", width: 9, cell: (row) => ({ text: row.state, tone: row.tone }) },
  {
    title: "RST",
    columnsMin: 60,
    width: 4,
    align: "right",
    cell: ({ kind, restarts }) =>
      kind === "node"
        ? { text: "" }
        : restarts === 0
        ? { text: "0", tone: "dim" }
        : { text: formatCount(restarts), tone: "warn" },
  },
  {
    title: "MEMORY",
    width: 8,
    columnsMin: 70,
    cell: ({ memory }) => bar(memory?.bytes, memory?.bytesMax, 8),
  },
  {
    title: "",
    width: 12,
    cell: ({ memory }) => memory ? { text: formatBytesOf(memory.bytes, memory.bytesMax) } : NONE,
  },
  {
    title: "PEAK",
    width: 12,
    columnsMin: 120,
    cell: ({ memory }) =>
      memory ? { text: formatBytesOf(memory.bytesPeak, memory.bytesMax) } : NONE,
  },
  {
    title: "FUEL",
    width: 8,
    columnsMin: 100,
    cell: ({ fuel }) => bar(fuel?.perSec, fuel?.perSecMax, 8),
  },
  {
    title: "FUEL/S",
    width: 12,
    cell: ({ fuel }) => {
      if (fuel === undefined) return NONE;
      const rate = fuel.perSec === undefined ? "…" : formatCount(Math.round(fuel.perSec));
      const text = fuel.perSecMax === undefined ? rate : `${rate}/${formatCount(fuel.perSecMax)}`;
      return { text };
    },
  },
  {
    title: "THR",
    width: 4,
    align: "right",
    // What is throttled at all shows: 0.3 % is not nothing.
    cell: ({ throttled }) =>
      throttled === 0
        ? { text: "" }
        : { text: `${Math.min(99, Math.ceil(throttled * 100))}%`, tone: "warn" },
  },
  {
    title: "EPOCH",
    width: 7,
    align: "right",
    columnsMin: 120,
    cell: ({ epochTimeoutMs }) => ({ text: epochTimeoutMs ? `${epochTimeoutMs}ms` : "" }),
  },
  {
    title: "AGE",
    width: 6,
    align: "right",
    cell: ({ ageMs }) => ({ text: ageMs === undefined ? "" : formatAge(ageMs) }),
  },
  {
    title: "DIGEST",
    width: 12,
    columnsMin: 140,
    cell: ({ digest }) => ({ text: digest.slice(0, 12), tone: "dim" }),
  },
  {
    title: "LAST EXIT",
    width: 16,
    widthMax: 60,
    columnsMin: 160,
    cell: ({ lastExit }) => ({ text: lastExit, tone: "warn" }),
  },
];

/** See the module. */
export const components: View = {
  keys: [
    ["Enter l", "its log on the whole screen"],
    ["r", "restart its replicas, on every node (asks)"],
    ["s", "set the number of its replicas; m gives it back to the manifest"],
    ["d", "drain the node that is asked, or undrain it (asks)"],
  ],
  hints: "Enter log  r restart  s scale  d drain",
  legend: [
    ["STATE", "running/wanted in the realm; set: by hand, not by the manifest"],
    ["RST", "times started again"],
    ["MEMORY", "linear memories and tables here now, and their limit"],
    ["FUEL/S", "instructions per second, and their limit"],
    ["THR", "part of the time that it was made to wait for fuel"],
  ],
  items: ({ current: { status } }, filter) => {
    const names = componentNames(status);
    return filter === "" ? names : names.filter((name) => hasText(name, filter));
  },
  list({ current, snapshot: { previous }, nowMs }, names, selected, { columns, rows: height }) {
    if (names.length === 0) return [textLine("  no components", columns, "dim")];
    const table = tableOf(COLUMNS, columns);
    const { rows, isCut } = componentWindow(current, previous, nowMs, {
      names,
      selected,
      height: Math.max(0, height - 1),
    });
    const position = isCut ? `${names.indexOf(selected ?? "") + 1}/${names.length}` : "";
    return [
      table.title(position),
      ...rows.map((row) => {
        const isSelected = row.kind === "component" && row.component === selected;
        return table.row(row, isSelected);
      }),
    ];
  },
  panel({ current: { status }, snapshot: { logs } }, selected, { columns, rows }) {
    if (selected === undefined) return { title: "log", lines: [] };
    // The log follows the selection a moment later.
    const known = logs.component === selected ? logs.rows.slice(-Math.max(1, rows)) : [];
    const lines: Line[] = known.map((row) => logLine(row, columns));
    const placed = status.components.find(({ name }) => name === selected)?.placed ?? [];
    const isHere = placed.some(({ node, replicas }) => node === status.node.name && replicas > 0);
    if (lines.length === 0 && !isHere && placed.length > 0) {
      const text = `  not on this node: it runs on ${placed.map(({ node }) => node).join(", ")}` +
        "; look from there with c in the map";
      lines.push(textLine(text, columns, "dim"));
    }
    return { title: `log of ${selected}`, lines };
  },
};
