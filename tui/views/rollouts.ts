/**
 * Components on their way from one release to the next.
 *
 * @module
 */
import { factLines, type Line, type Span, textLine } from "../lines.ts";
import { formatBar } from "../quantity.ts";
import type { Column } from "../table.ts";
import type { Status, Tone } from "../view_model.ts";
import { listView } from "./view.ts";

type Component = Status["components"][number];
type Rollout = NonNullable<Component["rollout"]>;

interface RolloutRow extends Rollout {
  readonly name: string;
  readonly unplaced: Component["unplaced"];
}

const TONES: Readonly<Record<Rollout["state"], Tone>> = {
  complete: "good",
  rolling: "accent",
  returning: "bad",
  returned: "bad",
  refused: "bad",
};
/** What is under way comes first. */
const ORDER: readonly Rollout["state"][] = [
  "refused",
  "returning",
  "rolling",
  "returned",
  "complete",
];

const progress = ({ settled, wanted, state }: RolloutRow, width: number): Span => ({
  text: formatBar(wanted === 0 ? 1 : settled / wanted, width),
  tone: TONES[state],
});

const COLUMNS: readonly Column<RolloutRow>[] = [
  {
    title: "COMPONENT",
    width: 12,
    widthMax: 40,
    cell: ({ name }) => ({ text: name, bold: true }),
  },
  { title: "STATE", width: 9, cell: ({ state }) => ({ text: state, tone: TONES[state] }) },
  { title: "PROGRESS", width: 16, cell: (row) => progress(row, 16) },
  {
    title: "",
    width: 9,
    align: "right",
    cell: ({ settled, wanted }) => ({ text: `${settled}/${wanted}` }),
  },
  {
    title: "RELEASE",
    width: 7,
    align: "right",
    cell: ({ version }) => ({ text: `v${version}` }),
  },
  {
    title: "WAITS FOR",
    width: 14,
    widthMax: 80,
    cell: ({ waitsFor }) => ({ text: waitsFor.join(", "), tone: "warn" }),
  },
];

/** See the module. */
export const rollouts = listView<RolloutRow>({
  keys: [["Enter", "why a release failed: the probe, or its last lines"]],
  hints: "Enter more",
  legend: [
    ["STATE", "returned: the manifest's release failed, the one before runs"],
    ["PROGRESS", "replicas that run the release and are ready, on all nodes"],
    ["WAITS FOR", "nodes that do not say yet that they go by it"],
  ],
  rows: ({ current: { status } }) =>
    status.components.flatMap(({ name, rollout, unplaced }) =>
      rollout === null ? [] : [{ name, unplaced, ...rollout }]
    ).sort((a, b) => ORDER.indexOf(a.state) - ORDER.indexOf(b.state) || (a.name < b.name ? -1 : 1)),
  idOf: ({ name }) => name,
  textOf: ({ name, state }) => `${name} ${state}`,
  columns: () => COLUMNS,
  empty: () => "no releases: nothing was applied yet",
  titleOf: ({ name }) => name,
  about: (
    { version, failure, unplaced, waitsFor, refusedBy, givenUpBy = [], settled, wanted },
    _,
    { columns },
  ) => [
    ...factLines([
      ["release", `${settled} of ${wanted} replicas run that of version ${version}`],
      ...waitsFor.length === 0 ? [] : [["waits for", waitsFor.join(", "), "warn"] as const],
      ...refusedBy.map(({ node, why }) => ["refused", `by ${node}: ${why}`, "bad"] as const),
      ...givenUpBy.map(({ node, replicas, why }) =>
        ["given up", `by ${node} (${replicas}), tried again: ${why}`, "warn"] as const
      ),
      ...unplaced.map(({ replicas, why }) =>
        [
          "no place",
          `for ${replicas} ${replicas === 1 ? "replica" : "replicas"}: ${why}`,
          "warn",
        ] as const
      ),
      ...failure === null
        ? []
        : [["failed", `version ${failure.version} on ${failure.node}`, "bad"] as const],
    ], columns),
    ...(failure?.evidence.split("\n") ?? []).map((text): Line => textLine(`    ${text}`, columns)),
  ],
});
