/**
 * What was applied, and what a manifest would do.
 *
 * @module
 */
import type { Actions, Model, Plan } from "./model.ts";
import { ago, badge, cell, digest, panel, table } from "./parts.ts";
import { type Children, h, type VNode } from "./vnode.ts";

/** See the module. */
export function history(model: Model, actions: Actions): Children {
  const { versions } = model;
  return [
    model.plan !== undefined && plan(model.plan, actions),
    panel(
      "History",
      versions === undefined
        ? h("p", null, "Waiting for the agent…")
        : versions.length === 0
        ? h("p", { class: "dim" }, "Nothing was applied yet.")
        : table(
          "Manifests",
          ["Version", "State", "Taken", "Signed by", "Sha256", ""],
          versions.map((each) =>
            h(
              "tr",
              { key: each.event },
              h("th", { scope: "row" }, each.version),
              cell(
                "State",
                badge(each.state === "in-force" ? "in force" : each.state, toneOf(each.state)),
                each.reason === undefined ? "" : ` ${each.reason}`,
              ),
              cell("Taken", ago(each.takenAtMs, model.nowMs)),
              cell("Signed by", digest(each.author)),
              cell("Sha256", digest(each.sha256)),
              cell(
                "",
                (each.state === "applied" || each.state === "in-force") &&
                  h("button", {
                    onclick: () => actions.plan({ version: each.version }),
                    "aria-label": `Plan version ${each.version}`,
                  }, "Plan"),
              ),
            )
          ),
        ),
    ),
    panel(
      "Plan a manifest",
      h(
        "p",
        { class: "dim" },
        "Shows what a realm.toml would change. Nothing is applied: that is what ",
        h("code", null, "realm apply"),
        " does.",
      ),
      h(
        "label",
        null,
        "A realm.toml of this machine ",
        h("input", {
          type: "file",
          accept: ".toml",
          onchange: (event: FileEvent) => {
            const [file] = event.target.files;
            file?.text().then((manifest) => actions.plan({ manifest, title: file.name }));
          },
        }),
      ),
    ),
  ];
}

interface FileEvent {
  readonly target: {
    readonly files: readonly { readonly name: string; text(): Promise<string> }[];
  };
}

function toneOf(state: string): string {
  return state === "in-force" ? "good" : state === "applied" ? "dim" : "warn";
}

const MARK: Readonly<Record<string, string>> = {
  added: "+",
  removed: "−",
  changed: "~",
  cleared: "×",
};

function plan(of: Plan, actions: Actions): VNode {
  const isNothing = of.changes.length === 0 && of.steps.length === 0;
  return panel(
    `Plan: ${of.title}`,
    of.violations.map((text) => h("p", { class: "bad", key: text }, `Policy: ${text}`)),
    of.missing.length > 0 &&
      h("p", { class: "warn" }, `${of.missing.length} components would have to be fetched first.`),
    isNothing && h("p", null, "Nothing would change."),
    of.changes.length > 0 && h(
      "ul",
      { class: "changes", role: "list" },
      of.changes.map(({ change, subject, name, details }) =>
        h(
          "li",
          { key: `${subject} ${name} ${change}`, class: change },
          `${MARK[change] ?? ""} ${subject} ${name} ${change}`,
          details.length > 0 && h(
            "ul",
            null,
            details.map(({ key, from, to }) =>
              h("li", { key }, `${key}: ${from ?? "not set"} → ${to ?? "not set"}`)
            ),
          ),
        )
      ),
    ),
    of.steps.length > 0 && table(
      "Steps",
      ["Node", "Does", "Component", "Replicas"],
      of.steps.map(({ node, action, component, replicas, from = "" }) =>
        h(
          "tr",
          { key: `${node} ${action} ${component} ${from}` },
          h("th", { scope: "row" }, node),
          cell("Does", action),
          cell("Component", component),
          cell("Replicas", replicas),
        )
      ),
    ),
    of.unplaced.map(({ component, replicas, why }) =>
      h("p", { class: "warn", key: component }, `${replicas} of ${component} have no place: ${why}`)
    ),
    (of.refusing ?? []).map(({ node, version, why }) =>
      h(
        "p",
        { class: "warn", key: node },
        `${node} refuses version ${version}, and may refuse this one: ${why}`,
      )
    ),
    h("button", { onclick: () => actions.change({ plan: undefined }) }, "Close the plan"),
  );
}
