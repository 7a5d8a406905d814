/**
 * Every manifest that the realm was given, what became of it, and what going back to it would do.
 *
 * @module
 */
import { factLines, NONE, textLine } from "../lines.ts";
import { formatAge } from "../quantity.ts";
import type { HistoryEntry, Snapshot } from "../session.ts";
import type { Tone } from "../view_model.ts";
import { listView } from "./view.ts";

function toneOf({ state }: HistoryEntry): Tone {
  if (state === "in-force") return "good";
  return state === "applied" ? "plain" : "bad";
}

const stateOf = ({ state }: HistoryEntry) => state === "in-force" ? "in force" : state;

/** See the module. */
export const history = listView<HistoryEntry>({
  keys: [["Enter", "plan: what going back to that version would change, node by node"]],
  hints: "Enter plan of going back",
  legend: [["STATE", "applied: it was in force; the others never were"]],
  rows: ({ snapshot }) => snapshot.history.value ?? [],
  idOf: ({ event }) => event,
  textOf: ({ version, state, author }) => `v${version} ${state} ${author}`,
  columns: ({ nowMs }) => [
    {
      title: "VERSION",
      width: 12,
      cell: ({ version }) => ({ text: `v${version}`, bold: true }),
    },
    { title: "STATE", width: 9, cell: (entry) => ({ text: stateOf(entry), tone: toneOf(entry) }) },
    {
      title: "TAKEN",
      width: 10,
      align: "right",
      cell: ({ takenAtMs }) =>
        takenAtMs === null
          ? NONE
          : { text: `${formatAge(Math.max(0, nowMs - takenAtMs))} ago`, tone: "dim" },
    },
    {
      title: "SHA256",
      width: 12,
      cell: ({ sha256 }) => ({ text: sha256.slice(0, 12), tone: "dim" }),
    },
    { title: "SIGNED BY", width: 14, widthMax: 52, cell: ({ author }) => ({ text: author }) },
    {
      title: "",
      width: 10,
      widthMax: 80,
      cell: ({ reason = "" }) => ({ text: reason, tone: "warn" }),
    },
  ],
  empty: ({ snapshot: { history } }) =>
    history.problem ?? (history.value === undefined ? "…" : "nothing was applied yet"),
  titleOf: ({ version }) => `version ${version}`,
  about: (entry, { snapshot }, { columns }) => [
    ...factLines([
      ["state", stateOf(entry) + (entry.reason ? `: ${entry.reason}` : ""), toneOf(entry)],
      ["sha256", entry.sha256],
      ["signed by", entry.author],
      ["event", entry.event],
    ], columns),
    [],
    ...planTexts(entry, snapshot).map((text) =>
      textLine(`  ${text}`, columns, PLAN_TONES[text[0] ?? ""] ?? "plain")
    ),
  ],
});

/** By the first character of a line of a plan. */
const PLAN_TONES: Readonly<Record<string, Tone>> = { "+": "good", "-": "bad", "~": "warn" };

function planTexts(entry: HistoryEntry, { plan }: Snapshot): readonly string[] {
  if (entry.state === "in-force") return ["this is what runs"];
  if (entry.state !== "applied") return ["it was never in force: nobody goes back to it"];
  if (plan?.version !== entry.version) return ["Enter: what going back to it would change"];
  if (plan.problem !== undefined) return [plan.problem];
  if (plan.lines === undefined) return ["…"];
  return [`realm rollback ${entry.version} would do this:`, "", ...plan.lines];
}
