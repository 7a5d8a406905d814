/**
 * The page of one machine.
 *
 * @module
 */
import { formatBytes } from "../../tui/quantity.ts";
import { componentRows, type Status } from "../../tui/view_model.ts";
import { buttons, replicaTable } from "./components.ts";
import { formatLatency, nodeState } from "./map.ts";
import { type Actions, type Model } from "./model.ts";
import { ago, badge, cell, charts, digest, facts, panel, table } from "./parts.ts";
import { type Children, h, type VNode } from "./vnode.ts";

type Node = Status["nodes"][number];

/** See the module; `key` names it, since names may be taken twice. */
export function node(model: Model, key: string, actions: Actions): Children {
  const { current, nowMs } = model;
  if (current === undefined) return h("p", null, "Waiting for the agent…");
  const found = current.status.nodes.find((each) => each.key === key);
  if (found === undefined) return panel("Machine", h("p", null, "No such machine is known here."));
  return [
    panel(found.name || "Machine", orders(found, actions), about(found, current.status, nowMs)),
    panel("Components", placedHere(found, current.status, actions)),
    ...(found.self
      ? [
        panel(
          "Replicas",
          replicaTable(
            componentRows(current, model.previous, nowMs).flatMap(({ replicas }) => replicas),
          ),
        ),
        panel("The last hour", charts(model, actions)),
      ]
      : []),
  ];
}

function orders(found: Node, actions: Actions): Children {
  if (found.state !== "approved") {
    return found.state === "pending" &&
      h(
        "p",
        null,
        "It asks to join. Compare the fingerprint with what it printed, then run ",
        // Not by its name, which is a stranger's text.
        h("code", null, `realm nodes approve ${found.fingerprint}`),
        ".",
      );
  }
  const { name, drained } = found;
  return h(
    "p",
    { class: "buttons" },
    h("button", {
      onclick: () => actions.ask({ kind: "drain", node: name, drained: !drained }),
      "aria-label": `${drained ? "Undrain" : "Drain"} ${name}`,
    }, drained ? "Undrain" : "Drain"),
    !found.self &&
      h("button", { onclick: () => actions.seeFrom(name) }, `See the realm from ${name}`),
  );
}

function about(found: Node, status: Status, nowMs: number): VNode {
  const { word, tone } = nodeState(found, nowMs);
  const { health } = found;
  const nameOf = (key: string) => status.nodes.find((each) => each.key === key)?.name ?? key;
  return facts([
    ["State", [badge(word, tone), found.self ? " the one that is asked" : ""]],
    ["Fingerprint", h("code", null, found.fingerprint)],
    ["Tags", found.tags.join(", ") || "none"],
    ["Program", found.program ?? "–"],
    ["Manifest", found.version === null ? "none" : `version ${found.version}`],
    [
      "Control log",
      found.heads === null ? "–" : found.drift ? "differs from here" : "same as here",
    ],
    ...(health === null ? [] : [
      ["Replicas", `${health.running} of ${health.wanted} run`],
      ["Processors", `${(health.cpuPermille / 10).toFixed(1)} %`],
      ["Memory of the agent", formatBytes(health.memoryBytes)],
    ] as const),
    ...(found.silentSinceMs === null ? [] : [["Heard", ago(found.silentSinceMs, nowMs)] as const]),
    [
      "Hears",
      found.links.map(({ key, latencyMs }) =>
        nameOf(key) + (latencyMs === null ? "" : ` (${formatLatency(latencyMs)})`)
      ).join(", ") || "nobody",
    ],
    ["Addresses", found.addresses.map((each) => h("code", { class: "block", key: each }, each))],
    ["Key", digest(found.key)],
  ]);
}

function placedHere({ name }: Node, { components }: Status, actions: Actions): VNode {
  const here = components.flatMap((component) =>
    component.placed.filter((each) => each.node === name).map((each) => ({ component, ...each }))
  );
  if (here.length === 0) return h("p", { class: "dim" }, "Nothing is placed on it.");
  return table(
    `Components on ${name}`,
    ["Component", "Replicas", ""],
    here.map(({ component, replicas, running }) =>
      h(
        "tr",
        { key: component.name },
        h("th", { scope: "row" }, component.name),
        cell("Replicas", `${running ?? "?"}/${replicas}`),
        cell("", buttons(component.name, name, actions)),
      )
    ),
  );
}
