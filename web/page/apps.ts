/**
 * Topics of apps that the person of the machine takes part in.
 *
 * @module
 */
import type { Status } from "../../tui/view_model.ts";
import type { Model } from "./model.ts";
import { badge, cell, digest, panel, table } from "./parts.ts";
import { type Children, h } from "./vnode.ts";

type Topic = Status["topics"][number];

/** How far a topic is in step with its peers, in words. */
export function syncOf({ events, applied, settled, peers, state }: Topic): string {
  const people = peers.length === 1 ? "1 peer" : `${peers.length} peers`;
  if (state !== "running") return `${events} kept, ${people}`;
  return `${applied} of ${events} applied, ${settled ? "settled" : "not settled"}, ${people}`;
}

function toneOf(state: Topic["state"]): string {
  if (state === "running" || state === "keeping") return "good";
  return state === "starting" ? "accent" : state === "stopped" ? "bad" : "warn";
}

/** See the module. */
export function apps(model: Model): Children {
  const topics = model.current?.status.topics ?? [];
  return panel(
    "Apps",
    topics.length === 0
      ? h(
        "p",
        { class: "dim" },
        "No topics. Apps belong to the person of a machine: only its own page shows them. Begin with ",
        h("code", null, "realm app create"),
        " or ",
        h("code", null, "realm app join"),
        ".",
      )
      : table(
        "Topics of apps",
        ["Topic", "App", "Role", "State", "Sync", "Digest", "Bundle"],
        topics.map((topic) =>
          h(
            "tr",
            { key: topic.topic },
            h("th", { scope: "row", title: topic.topic }, topic.name),
            cell("App", topic.appName ?? "–"),
            cell("Role", topic.role),
            cell(
              "State",
              badge(topic.state, toneOf(topic.state)),
              topic.why === null ? "" : ` ${topic.why}`,
              topic.alarms.map((text) => h("p", { class: "bad", key: text }, text)),
            ),
            cell("Sync", syncOf(topic)),
            cell("Digest", topic.digest === null ? "–" : digest(topic.digest)),
            cell("Bundle", topic.bundle === null ? "–" : digest(topic.bundle)),
          )
        ),
      ),
  );
}
