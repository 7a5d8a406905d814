/**
 * The kingdom: every machine with how it fares, and how far the machines are from one another.
 *
 * @module
 */
import { fit } from "../cells.ts";
import { factLines, gridLines, type Line, NONE, type Span, textLine } from "../lines.ts";
import {
  latencyBetween,
  linksOf,
  nodeState,
  type NodeStatus,
  sortedNodes,
  toneOfLatency,
} from "../node_rows.ts";
import { formatBar, formatBytes, formatLatency, singleLine } from "../quantity.ts";
import type { Column } from "../table.ts";
import { alarmsOf, type Status } from "../view_model.ts";
import { listView, type Shown, type Size } from "./view.ts";

/** A machine of the map. */
interface MapRow extends NodeStatus {
  readonly stateText: Span;
  /** Alarms that name it. */
  readonly alarms: number;
}

const COLUMNS: readonly Column<MapRow>[] = [
  {
    title: "NODE",
    width: 10,
    widthMax: 30,
    cell: ({ name, self }) => ({ text: self ? `${name} *` : name, bold: self }),
  },
  { title: "STATE", width: 13, cell: ({ stateText }) => stateText },
  {
    title: "!",
    width: 2,
    cell: ({ alarms }) => alarms === 0 ? { text: "" } : { text: `!${alarms}`, tone: "bad" },
  },
  {
    title: "RUN",
    width: 7,
    align: "right",
    cell: ({ health }) =>
      health === null ? NONE : {
        text: `${health.running}/${health.wanted}`,
        tone: health.running === health.wanted ? "good" : "warn",
      },
  },
  {
    title: "CPU",
    width: 5,
    align: "right",
    cell: ({ health }) =>
      health === null ? NONE : {
        text: `${Math.round(health.cpuPermille / 10)}%`,
        tone: health.cpuPermille >= 900 ? "bad" : health.cpuPermille >= 700 ? "warn" : "plain",
      },
  },
  {
    title: "",
    width: 8,
    columnsMin: 100,
    cell: ({ health }) =>
      health === null ? { text: "" } : {
        text: formatBar(health.cpuPermille / 1000, 8),
        tone: health.cpuPermille >= 900 ? "bad" : health.cpuPermille >= 700 ? "warn" : "good",
      },
  },
  {
    title: "AGENT",
    width: 9,
    align: "right",
    columnsMin: 70,
    cell: ({ health }) => health === null ? NONE : { text: formatBytes(health.memoryBytes) },
  },
  {
    title: "LATENCY",
    width: 8,
    align: "right",
    cell: ({ latencyMs }) =>
      latencyMs === null
        ? { text: "" }
        : { text: formatLatency(latencyMs), tone: toneOfLatency(latencyMs) },
  },
  {
    title: "MANIFEST",
    width: 8,
    align: "right",
    columnsMin: 70,
    cell: ({ version }) => version === null ? NONE : { text: `v${version}` },
  },
  {
    title: "TAGS",
    width: 6,
    widthMax: 40,
    cell: ({ tags }) => ({ text: tags.join(" "), tone: "accent" }),
  },
  {
    title: "PROGRAM",
    width: 10,
    columnsMin: 120,
    cell: ({ program }) => program === null ? NONE : { text: program, tone: "dim" },
  },
  {
    title: "FINGERPRINT",
    width: 24,
    columnsMin: 140,
    cell: ({ fingerprint }) => ({ text: fingerprint, tone: "dim" }),
  },
];

const MATRIX_CELL = 8;

/** See the module. */
export const map = listView<MapRow>({
  keys: [
    ["Enter", "all about the node: addresses, links, what runs there"],
    ["c", "look from the selected node: its replicas and its logs"],
    ["d", "drain it: what runs there moves away; or undrain it (asks)"],
  ],
  hints: "Enter node  c look from it  d drain",
  legend: [
    ["STATE", "differs: its control log is not the one of the node that is asked"],
    ["RUN", "replicas that run, of those that it wants"],
    ["AGENT", "memory of its agent"],
    ["LATENCY", "round trip from the node that is asked, marked *"],
  ],
  rows: ({ current: { status }, nowMs }) => {
    const alarms = alarmsOf(status);
    return sortedNodes(status).map((node) => ({
      ...node,
      stateText: nodeState(node, nowMs),
      alarms: alarms.filter((alarm) => alarm.node === node.name).length,
    }));
  },
  idOf: ({ key }) => key,
  textOf: ({ name, tags }) => [name, ...tags].join(" "),
  columns: () => COLUMNS,
  empty: () => "no nodes",
  titleOf: ({ name }) => name,
  about: (node, shown, size) =>
    size.rows === Infinity ? nodeLines(node, shown, size.columns) : nearLines(node, shown, size),
});

/** How far the machines are from one another, or the selected one from all others. */
function nearLines(
  node: NodeStatus,
  { current: { status } }: Shown,
  size: Size,
): readonly Line[] {
  const approved = sortedNodes(status).filter(({ state }) => state === "approved");
  const fits = approved.length > 1 && approved.length < size.rows &&
    14 + approved.length * MATRIX_CELL <= size.columns;
  if (fits) return matrixLines(approved, node);
  return [
    ...markLines(approved, node, size.columns),
    textLine(`  round trips of ${node.name}, the nearest first`, size.columns, "dim"),
    ...linkLines(node, status, size.columns),
  ];
}

function matrixLines(nodes: readonly NodeStatus[], selected: NodeStatus): Line[] {
  const name = (node: NodeStatus, width: number, align?: "right"): Span => ({
    text: fit(singleLine(node.name), width, align),
    tone: node.key === selected.key ? "accent" : "dim",
    bold: node.key === selected.key,
  });
  const cell = (a: NodeStatus, b: NodeStatus): Span => {
    const ms = a.key === b.key ? undefined : latencyBetween(a, b);
    const text = a.key === b.key ? "·" : ms === undefined ? "-" : formatLatency(ms);
    return {
      text: fit(text, MATRIX_CELL, "right"),
      tone: ms === undefined ? "dim" : toneOfLatency(ms),
    };
  };
  return [
    [
      { text: fit("  round trip", 14), tone: "dim" },
      ...nodes.map((node) => name(node, MATRIX_CELL - 1, "right"))
        .flatMap((span) => [{ text: " " }, span]),
    ],
    ...nodes.map((a) => [{ text: "  " }, name(a, 12), ...nodes.map((b) => cell(a, b))]),
  ];
}

/** The whole realm at a look: a mark for each machine. */
function markLines(
  nodes: readonly NodeStatus[],
  selected: NodeStatus,
  columns: number,
): Line[] {
  const perLine = Math.max(1, columns - 4);
  const mark = (node: NodeStatus): Span => {
    const [text, tone] = !node.live
      ? ["○", "bad"] as const
      : node.drained
      ? ["◌", "warn"] as const
      : node.drift
      ? ["◐", "warn"] as const
      : ["●", "good"] as const;
    return { text, tone, inverse: node.key === selected.key };
  };
  const count = (has: (node: NodeStatus) => boolean) => nodes.filter(has).length;
  const words = [
    `${count(({ live }) => live)} live ●`,
    `${count(({ live }) => !live)} silent ○`,
    `${count(({ live, drained }) => live && drained)} drained ◌`,
    `${count(({ live, drained, drift }) => live && !drained && drift)} differ ◐`,
  ].filter((each) => !each.startsWith("0 "));
  return [
    textLine(`  ${words.join("  ")}`, columns, "dim"),
    ...Array.from({ length: Math.ceil(nodes.length / perLine) }, (_, line): Line => [
      { text: "  " },
      ...nodes.slice(line * perLine, (line + 1) * perLine).map(mark),
    ]),
  ];
}

function linkLines(node: NodeStatus, status: Status, columns: number): Line[] {
  const links = linksOf(node, status);
  if (links.length === 0) return [textLine("  it is connected with no node", columns, "dim")];
  return gridLines(
    links.map(({ name, latencyMs }) => ({
      text: `${singleLine(name)} ${latencyMs === undefined ? "-" : formatLatency(latencyMs)}`,
      tone: latencyMs === undefined ? "dim" : toneOfLatency(latencyMs),
    })),
    columns,
  );
}

/** All about a machine. */
function nodeLines(node: NodeStatus, { current: { status }, nowMs }: Shown, columns: number) {
  const { health } = node;
  const { text, tone } = nodeState(node, nowMs);
  const there = status.components.flatMap(({ name, placed }) =>
    placed.filter((each) => each.node === node.name)
      .map(({ replicas, running }): Span => ({
        text: `${singleLine(name)} ${running ?? "?"}/${replicas}`,
        tone: running === replicas ? "good" : "warn",
      }))
  );
  return [
    ...factLines([
      ["state", node.drained ? `${text}, drained: it runs nothing` : text, tone],
      ["key", node.key],
      ["fingerprint", node.fingerprint],
      ["tags", node.tags.join(" ") || "none"],
      ["program", node.program ?? "not known"],
      [
        "manifest",
        (node.version === null ? "none" : `version ${node.version}`) +
        (node.heads === null ? "" : node.drift ? ", another control log" : ", same control log"),
      ],
      [
        "uses",
        health === null
          ? "not known"
          : `${Math.round(health.cpuPermille / 10)}% of its processors, ` +
            `${formatBytes(health.memoryBytes)} for its agent`,
      ],
      ["replicas", health === null ? "not known" : `${health.running} of ${health.wanted} run`],
      ["addresses", node.addresses.join("  ") || "none known here"],
    ], columns),
    [],
    textLine("  round trips", columns, "dim"),
    ...linkLines(node, status, columns),
    [],
    textLine(there.length === 0 ? "  nothing is placed there" : "  runs", columns, "dim"),
    ...gridLines(there, columns),
  ];
}
