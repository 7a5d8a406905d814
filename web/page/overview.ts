/**
 * What a person sees first: what is wrong, the map, the last hour.
 *
 * @module
 */
import { formatBytes } from "../../tui/quantity.ts";
import { alarmsOf } from "../../tui/view_model.ts";
import { kingdomMap } from "./map.ts";
import { type Actions, linkTo, type Model, selfOf } from "./model.ts";
import { ago, charts, facts, panel } from "./parts.ts";
import { type Children, h, type VNode } from "./vnode.ts";

/** What is not as it should be. */
export function alarms(model: Model): VNode {
  const found = model.current === undefined ? [] : alarmsOf(model.current.status);
  return panel(
    found.length === 0 ? "Alarms" : `Alarms (${found.length})`,
    found.length === 0 ? h("p", { class: "good" }, "✓ Nothing is wrong") : h(
      "ul",
      { class: "alarms", role: "list" },
      found.map(({ id, tone, text, hint, node, sinceAtMs }) =>
        h(
          "li",
          { class: tone, key: id },
          h("p", null, h("b", null, tone === "bad" ? "! " : "… "), text),
          h(
            "p",
            { class: "what-to-do" },
            [
              ...(sinceAtMs === undefined ? [] : [`since ${ago(sinceAtMs, model.nowMs)}`]),
              ...(node === undefined ? [] : [`on ${node}`]),
              ...(hint === undefined ? [] : [hint]),
            ].join(" · "),
          ),
        )
      ),
    ),
  );
}

/** Machines, components and what serves, in numbers. */
function numbers(model: Model): VNode {
  const { nodes, components, replicas, manifest, proxy } = model.current!.status;
  const approved = nodes.filter(({ state }) => state === "approved");
  const live = approved.filter((node) => node.live).length;
  const placed = components.flatMap((component) => component.placed);
  const wanted = placed.reduce((sum, each) => sum + each.replicas, 0);
  const running = placed.reduce((sum, each) => sum + (each.running ?? 0), 0);
  const memory = replicas.reduce((sum, { usage }) => sum + (usage?.memoryBytes ?? 0), 0);
  return facts([
    ["Machines", `${live} of ${approved.length} live`],
    ["Components", String(components.length)],
    ["Replicas", `${running} of ${wanted} run`],
    ["Memory of guests here", formatBytes(memory)],
    ["Manifest", manifest === null ? "none yet" : `version ${manifest.version}`],
    ["Proxy", proxy ?? "none"],
  ]);
}

/** See the module. */
export function overview(model: Model, actions: Actions): Children {
  if (model.current === undefined) return h("p", null, "Waiting for the agent…");
  const { status } = model.current;
  const self = selfOf(status);
  // The panel's padding, and on wide screens the charts beside it.
  const width = (model.width > 900 ? Math.min(model.width, 1500) : model.width) - 64;
  return [
    alarms(model),
    panel("Kingdom", numbers(model), kingdomMap(status.nodes, model.nowMs, width)),
    panel(
      `The last hour of ${self?.name ?? "this node"}`,
      charts(model, actions),
      h(
        "p",
        { class: "dim" },
        "Charts of a component are on its own page: ",
        h("a", { href: linkTo("components") }, "components"),
      ),
    ),
  ];
}
