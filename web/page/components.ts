/**
 * Components: the table of all of them, and the page of one.
 *
 * @module
 */
import { formatAge } from "../../tui/quantity.ts";
import { type ComponentRows, componentRows, type Row, type Status } from "../../tui/view_model.ts";
import { type Actions, linkTo, type Model } from "./model.ts";
import {
  badge,
  cell,
  charts,
  digest,
  facts,
  fuelOf,
  memoryOf,
  more,
  panel,
  ROWS_MAX,
  table,
} from "./parts.ts";
import { type Children, h, type VNode } from "./vnode.ts";

type Spec = Status["components"][number];

/** What runs and should run of a component in the whole realm. */
export function runningOf({ placed }: Spec): { running: number; wanted: number } {
  return {
    running: placed.reduce((sum, each) => sum + (each.running ?? 0), 0),
    wanted: placed.reduce((sum, each) => sum + each.replicas, 0),
  };
}

/** How a component fares, in a word. */
export function componentState(spec: Spec, row: Row | undefined): { word: string; tone: string } {
  const { running, wanted } = runningOf(spec);
  const { rollout, unplaced } = spec;
  if (rollout?.failure) return { word: rollout.state, tone: "bad" };
  if (row?.tone === "bad") return { word: "failed", tone: "bad" };
  if (unplaced.length > 0) return { word: "not placed", tone: "warn" };
  if (rollout?.state === "rolling") return { word: "rolling out", tone: "accent" };
  if (running < wanted) return { word: "not all run", tone: "warn" };
  return wanted === 0 ? { word: "none wanted", tone: "dim" } : { word: "running", tone: "good" };
}

const SICKNESS = ["bad", "warn", "accent", "good", "dim"];

/** The components to show, those that are ill first. */
export function listed(model: Model): { spec: Spec; rows: ComponentRows | undefined }[] {
  const { current, previous, filter, illOnly, nowMs } = model;
  if (current === undefined) return [];
  const rows = new Map(
    componentRows(current, previous, nowMs).map((each) => [each.component.name, each]),
  );
  const wanted = filter.trim().toLowerCase();
  return current.status.components
    .filter(({ name, placed }) =>
      wanted === "" || name.toLowerCase().includes(wanted) ||
      placed.some(({ node }) => node.toLowerCase() === wanted)
    )
    .map((spec) => {
      const own = rows.get(spec.name);
      const { tone } = componentState(spec, own?.component);
      return {
        spec,
        rows: own,
        rank: SICKNESS.indexOf(tone),
        isIll: ["bad", "warn"].includes(tone),
      };
    })
    .filter(({ isIll }) => !illOnly || isIll)
    .sort((a, b) => a.rank - b.rank || (a.spec.name < b.spec.name ? -1 : 1));
}

/** Restart, scale and the log of a component, on a node or everywhere. */
export function buttons(component: string, node: string | null, actions: Actions): VNode {
  const where = node === null ? component : `${component} on ${node}`;
  return h(
    "span",
    { class: "buttons" },
    h("a", {
      class: "button",
      href: linkTo("logs", component),
      // Its own node has the log.
      onclick: node === null ? null : () => actions.seeFrom(node),
      "aria-label": `Log of ${where}`,
    }, "Log"),
    h("button", {
      onclick: () => actions.ask({ kind: "restart", component, node }),
      "aria-label": `Restart ${where}`,
    }, "Restart"),
    h("button", {
      onclick: () => actions.ask({ kind: "scale", component, node, replicas: "" }),
      "aria-label": `Scale ${where}`,
    }, "Scale"),
  );
}

const COLUMNS = ["Component", "State", "Replicas", "Memory here", "Fuel here", "Nodes", ""];

/** The table of all components. */
export function components(model: Model, actions: Actions): Children {
  const all = listed(model);
  const shown = model.showAll ? all : all.slice(0, ROWS_MAX);
  return panel(
    "Components",
    h(
      "div",
      { class: "filters" },
      h(
        "label",
        null,
        "Filter ",
        h("input", {
          type: "search",
          value: model.filter,
          placeholder: "part of a name, or a node",
          oninput: (event: { target: { value: string } }) =>
            actions.change({ filter: event.target.value }),
        }),
      ),
      h(
        "label",
        null,
        h("input", {
          type: "checkbox",
          checked: model.illOnly,
          onchange: (event: { target: { checked: boolean } }) =>
            actions.change({ illOnly: event.target.checked }),
        }),
        " only what is ill",
      ),
      h("span", { class: "dim", role: "status" }, `${all.length} found`),
    ),
    table(
      "Components",
      COLUMNS,
      shown.map(({ spec, rows }) => componentRow(spec, rows?.component, actions)),
    ),
    more(shown.length, all.length, actions),
  );
}

function componentRow(spec: Spec, row: Row | undefined, actions: Actions): VNode {
  const { word, tone } = componentState(spec, row);
  const { running, wanted } = runningOf(spec);
  const nodes = spec.placed.map(({ node }) => node);
  return h(
    "tr",
    { key: spec.name },
    h(
      "th",
      { scope: "row", key: "name" },
      h("a", { href: linkTo("component", spec.name) }, spec.name),
    ),
    cell("State", badge(word, tone)),
    cell("Replicas", `${running}/${wanted}`, spec.scaledTo === null ? "" : " set by hand"),
    cell("Memory here", row === undefined ? "–" : memoryOf(row)),
    cell("Fuel here", row === undefined ? "–" : fuelOf(row)),
    cell(
      "Nodes",
      h(
        "span",
        { title: nodes.join(", ") },
        nodes.length <= 2 ? nodes.join(", ") : `${nodes[0]} and ${nodes.length - 1} more`,
      ),
    ),
    cell("", buttons(spec.name, null, actions)),
  );
}

/** The page of one component. */
export function component(model: Model, name: string, actions: Actions): Children {
  const { current, previous, nowMs } = model;
  if (current === undefined) return h("p", null, "Waiting for the agent…");
  const spec = current.status.components.find((each) => each.name === name);
  if (spec === undefined) {
    return panel(name, h("p", null, "The manifest in force has no component of this name."));
  }
  const rows = componentRows(current, previous, nowMs).find((each) => each.component.name === name);
  const { word, tone } = componentState(spec, rows?.component);
  const { running, wanted } = runningOf(spec);
  const routes = current.status.routes.filter((route) => route.component === name);
  const { rollout } = spec;
  return [
    panel(
      name,
      buttons(name, null, actions),
      facts([
        ["State", badge(word, tone)],
        ["Replicas", `${running} of ${wanted} run${spec.scaledTo === null ? "" : ", set by hand"}`],
        ["World", spec.world],
        ["Digest", digest(spec.digest)],
        ["Routes", routes.map((route) => `${route.host ?? ""}${route.path}`).join(", ") || "none"],
        ...(rollout === null ? [] : [
          [
            "Rollout",
            `${rollout.state}: ${rollout.settled} of ${rollout.wanted} run version ` +
            `${rollout.version}` +
            (rollout.waitsFor.length === 0 ? "" : `, waits for ${rollout.waitsFor.join(", ")}`) +
            rollout.refusedBy.map(({ node, why }) => `; refused by ${node}: ${why}`).join("") +
            (rollout.givenUpBy ?? [])
              .map(({ node, replicas, why }) =>
                `; given up by ${node} (${replicas}), tried again: ${why}`
              ).join(""),
          ] as const,
        ]),
        ...spec.unplaced.map(({ replicas, why }) => ["Not placed", `${replicas}: ${why}`] as const),
      ]),
      rollout?.failure &&
        h(
          "div",
          { class: "evidence" },
          h("h3", null, `Version ${rollout.failure.version} failed on ${rollout.failure.node}`),
          h("pre", { tabindex: 0 }, rollout.failure.evidence),
        ),
    ),
    panel(
      "On each node",
      table(
        `${name} on each node`,
        ["Node", "Replicas", ""],
        spec.placed.map(({ node, replicas, running }) =>
          h(
            "tr",
            { key: node },
            h("th", { scope: "row" }, node),
            cell("Replicas", `${running ?? "?"}/${replicas}`),
            cell("", buttons(name, node, actions)),
          )
        ),
      ),
    ),
    panel(
      "Replicas here",
      rows === undefined || rows.replicas.length === 0
        ? h("p", { class: "dim" }, "None runs on the node that is asked.")
        : replicaTable(rows.replicas),
    ),
    panel("The last hour here", charts(model, actions)),
  ];
}

/** Replicas with what they use. */
export function replicaTable(rows: readonly Row[]): VNode {
  return table(
    "Replicas",
    ["Replica", "State", "Memory", "Fuel", "Restarts", "Age", "Last exit"],
    rows.map((row) =>
      h(
        "tr",
        { key: `${row.component} ${row.name}` },
        h("th", { scope: "row" }, `${row.component}/${row.name}`),
        cell("State", badge(row.state, row.tone)),
        cell("Memory", memoryOf(row)),
        cell("Fuel", fuelOf(row)),
        cell("Restarts", row.restarts),
        cell("Age", row.ageMs === undefined ? "–" : formatAge(row.ageMs)),
        cell("Last exit", row.lastExit || "–"),
      )
    ),
  );
}
