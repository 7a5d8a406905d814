/**
 * Everything that an operator should see to, the worst first, and what to do.
 *
 * @module
 */
import { factLines } from "../lines.ts";
import { formatAge } from "../quantity.ts";
import { type Alarm, alarmsOf } from "../view_model.ts";
import { listView } from "./view.ts";

const ageOf = ({ sinceAtMs }: Alarm, nowMs: number) =>
  sinceAtMs === undefined ? "" : formatAge(Math.max(0, nowMs - sinceAtMs));

/** See the module. */
export const alarms = listView<Alarm>({
  keys: [["Enter", "all of it, and what to do"]],
  hints: "Enter what to do",
  rows: ({ current: { status } }) => alarmsOf(status),
  idOf: ({ id }) => id,
  textOf: ({ text, node }) => `${text} ${node ?? ""}`,
  columns: ({ nowMs }) => [
    {
      title: "ALARM",
      width: 20,
      widthMax: 400,
      cell: ({ text, tone }) => ({ text: `! ${text}`, tone }),
    },
    {
      title: "SINCE",
      width: 6,
      align: "right",
      cell: (alarm) => ({ text: ageOf(alarm, nowMs), tone: "dim" }),
    },
  ],
  empty: () => "all is well",
  titleOf: () => "what to do",
  about: (alarm, { nowMs }, { columns }) =>
    factLines([
      ["alarm", alarm.text, alarm.tone],
      ...alarm.hint === undefined ? [] : [["do", alarm.hint, "accent"] as const],
      ...alarm.node === undefined ? [] : [["node", alarm.node] as const],
      ...alarm.sinceAtMs === undefined ? [] : [["since", `${ageOf(alarm, nowMs)} ago`] as const],
    ], columns),
});
