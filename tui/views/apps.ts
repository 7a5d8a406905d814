/**
 * The topics of apps that the person of the machine takes part in: digest, and whether all is here.
 *
 * @module
 */
import { factLines, NONE, type Span } from "../lines.ts";
import type { Column } from "../table.ts";
import type { Status, Tone } from "../view_model.ts";
import { listView } from "./view.ts";

type Topic = Status["topics"][number];

function toneOf({ state }: Topic): Tone {
  if (state === "running") return "good";
  if (state === "keeping") return "plain";
  return state === "stopped" || state === "revoked" ? "bad" : "warn";
}

/** How far its events are applied; peers with the same heads have the same digest once they are. */
function syncOf({ settled, applied, events, state }: Topic): Span {
  if (state === "keeping") return { text: "kept", tone: "plain" };
  return settled
    ? { text: "settled", tone: "good" }
    : { text: `${applied}/${events}`, tone: "warn" };
}

const COLUMNS: readonly Column<Topic>[] = [
  { title: "TOPIC", width: 10, widthMax: 30, cell: ({ name }) => ({ text: name, bold: true }) },
  {
    title: "APP",
    width: 10,
    widthMax: 24,
    cell: ({ appName, app }) => ({ text: appName ?? app ?? "-" }),
  },
  { title: "STATE", width: 12, cell: (topic) => ({ text: topic.state, tone: toneOf(topic) }) },
  { title: "ROLE", width: 7, cell: ({ role }) => ({ text: role }) },
  { title: "PEERS", width: 5, align: "right", cell: ({ peers }) => ({ text: `${peers.length}` }) },
  { title: "SYNC", width: 11, cell: syncOf },
  {
    title: "DIGEST",
    width: 12,
    cell: ({ digest }) => digest === null ? NONE : { text: digest.slice(0, 12), tone: "dim" },
  },
  {
    title: "EVENTS",
    width: 7,
    align: "right",
    columnsMin: 100,
    cell: ({ events }) => ({ text: `${events}` }),
  },
  {
    title: "CID",
    width: 16,
    widthMax: 64,
    columnsMin: 120,
    cell: ({ topic }) => ({ text: topic, tone: "dim" }),
  },
];

/** See the module. */
export const apps = listView<Topic>({
  keys: [["Enter", "all about the topic: members, peers, heads, digest"]],
  hints: "Enter topic",
  legend: [
    ["SYNC", "settled: all events are applied; else applied/there"],
    ["DIGEST", "of the state: equal on all peers that have the same events"],
  ],
  rows: ({ current: { status } }) => status.topics.toSorted((a, b) => a.name < b.name ? -1 : 1),
  idOf: ({ topic }) => topic,
  textOf: ({ name, appName }) => `${name} ${appName ?? ""}`,
  columns: () => COLUMNS,
  empty: () => "no topics: realm app create APP, or realm app join TICKET",
  titleOf: ({ name }) => name,
  about: (topic, _, { columns }) =>
    factLines([
      ...topic.alarms.map((text) => ["alarm", text, "bad"] as const),
      ...topic.why === null ? [] : [["waits", topic.why, toneOf(topic)] as const],
      ...topic.behaviorProblem === null
        ? []
        : [["behavior", `ended: ${topic.behaviorProblem}`, "warn"] as const],
      ["topic", topic.topic],
      ["digest", `${topic.digest ?? "none"}${topic.settled ? "" : " (not settled)"}`],
      ["events", `${topic.applied} applied of ${topic.events}`],
      ["heads", topic.heads.join("  ") || "none"],
      ["bundle", topic.bundle ?? "not known"],
      ["payloads", topic.encrypted ? "encrypted" : "not encrypted"],
      ["you", `${topic.key}, ${topic.role}`],
      ["members", topic.members.map(memberText).join("  ") || "none"],
      ["peers", topic.peers.join("  ") || "none connected"],
    ], columns),
});

/** A key with its role; of a behavior with whose it is. */
function memberText({ key, role, person }: Topic["members"][number]): string {
  return person === undefined ? `${key} ${role}` : `${key} ${role} (behavior of ${person})`;
}
