/**
 * The secrets by name: which are set, and who can open them. Values are never here.
 *
 * @module
 */
import { factLines } from "../lines.ts";
import type { SecretRow } from "../session.ts";
import { listView } from "./view.ts";

/** See the module. */
export const secrets = listView<SecretRow>({
  keys: [],
  hints: "",
  legend: [["SEALED TO", "nodes that can open it, beside the owner"]],
  rows: ({ snapshot }) => snapshot.secrets.value ?? [],
  idOf: ({ name }) => name,
  textOf: ({ name }) => name,
  columns: () => [
    { title: "SECRET", width: 16, widthMax: 40, cell: ({ name }) => ({ text: name, bold: true }) },
    {
      title: "STATE",
      width: 30,
      widthMax: 70,
      cell: ({ state, isGood }) => ({ text: state, tone: isGood ? "good" : "warn" }),
    },
    {
      title: "SEALED TO",
      width: 20,
      widthMax: 90,
      cell: ({ nodes }) => ({ text: nodes.join(", ") }),
    },
  ],
  empty: ({ snapshot: { secrets } }) =>
    secrets.problem ?? (secrets.value === undefined ? "…" : "no secrets: realm secrets set NAME"),
  titleOf: ({ name }) => name,
  about: ({ state, isGood, nodes }, _, { columns }) =>
    factLines([
      ["state", state, isGood ? "good" : "warn"],
      ["sealed to", nodes.join(", ") || "nobody"],
    ], columns),
});
