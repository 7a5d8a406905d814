/**
 * The whole page from its state: head, the view of the route, and what is asked.
 *
 * @module
 */
import { alarmsOf } from "../../tui/view_model.ts";
import { apps } from "./apps.ts";
import { component, components } from "./components.ts";
import { history } from "./history.ts";
import { logs } from "./logs.ts";
import { type Actions, linkTo, type Model, type Order, type Route, selfOf } from "./model.ts";
import { node } from "./node.ts";
import { overview } from "./overview.ts";
import { type Children, h, type VNode } from "./vnode.ts";

const VIEWS = [
  ["overview", "Overview"],
  ["components", "Components"],
  ["apps", "Apps"],
  ["history", "History"],
] as const;

/** The children of the body. */
export function screen(model: Model, actions: Actions): VNode[] {
  if (model.session === null) return [loggedOut(model)];
  return [
    h("a", { class: "skip", href: "#main", onclick: toMain, key: "skip" }, "To the content"),
    head(model, actions),
    h("main", { id: "main", key: "main", tabindex: -1 }, view(model, actions)),
    dialog(model, actions),
  ];
}

/** The fragment is the route, so the link only moves the focus. */
function toMain(event: { preventDefault(): void; target: { ownerDocument: FocusableDocument } }) {
  event.preventDefault();
  event.target.ownerDocument.getElementById("main")?.focus();
}

interface FocusableDocument {
  getElementById(id: string): { focus(): void } | null;
}

function loggedOut({ refused }: Model): VNode {
  return h(
    "main",
    { key: "out", class: "out" },
    h("h1", null, "realm"),
    h("p", { role: "alert" }, refused ?? "This page is not logged in."),
    h(
      "p",
      null,
      "Run ",
      h("code", null, "realm ui"),
      ", or press Enter where it runs, and open the link that it prints. Each link is good once.",
    ),
  );
}

function head(model: Model, actions: Actions): VNode {
  const { current, gone, route } = model;
  const status = current?.status;
  const found = status === undefined ? [] : alarmsOf(status);
  const isBad = found.some(({ tone }) => tone === "bad");
  const approved = status?.nodes.filter(({ state }) => state === "approved") ?? [];
  const self = status && selfOf(status);
  return h(
    "header",
    { key: "head" },
    h(
      "div",
      { class: "bar" },
      h("h1", null, status?.node.realm ?? "realm"),
      h(
        "label",
        { class: "from" },
        "seen from ",
        h(
          "select",
          {
            value: self?.name ?? "",
            onchange: (event: { target: { value: string } }) => actions.seeFrom(event.target.value),
          },
          approved.length === 0 && h("option", { value: self?.name ?? "" }, self?.name ?? "…"),
          approved.map(({ name, key }) => h("option", { value: name, key }, name))
            .sort((a, b) => String(a.attributes.value) < String(b.attributes.value) ? -1 : 1),
        ),
      ),
      h(
        "span",
        { class: "link-state", role: "status" },
        gone !== undefined
          ? h("span", { class: "badge bad" }, "no answer")
          : current === undefined
          ? h("span", { class: "badge accent" }, "connecting")
          : h("span", { class: "badge good" }, "live"),
      ),
      found.length > 0 &&
        h(
          "a",
          { href: linkTo("overview"), class: `badge ${isBad ? "bad" : "warn"}` },
          `${found.length} ${found.length === 1 ? "alarm" : "alarms"}`,
        ),
    ),
    h(
      "nav",
      { "aria-label": "Views" },
      VIEWS.map(([name, title]) =>
        h("a", {
          key: name,
          href: linkTo(name),
          "aria-current": tabOf(route) === name ? "page" : undefined,
        }, title)
      ),
    ),
    gone !== undefined && h("p", { class: "banner bad", role: "alert", key: "gone" }, gone),
    model.notice !== undefined && h(
      "p",
      {
        class: `banner ${model.notice.isBad ? "bad" : "good"}`,
        role: model.notice.isBad ? "alert" : "status",
        key: "notice",
      },
      model.notice.text,
      " ",
      h("button", {
        onclick: () => actions.change({ notice: undefined }),
        "aria-label": "Close this notice",
      }, "×"),
    ),
  );
}

/** The tab under which a view is. */
function tabOf({ view }: Route): string {
  if (view === "node") return "overview";
  return view === "component" || view === "logs" ? "components" : view;
}

function view(model: Model, actions: Actions): Children {
  const { route } = model;
  switch (route.view) {
    case "overview":
      return overview(model, actions);
    case "components":
      return components(model, actions);
    case "apps":
      return apps(model);
    case "history":
      return history(model, actions);
    case "node":
      return node(model, route.name, actions);
    case "component":
      return component(model, route.name, actions);
    case "logs":
      return logs(model, route.name, actions);
  }
}

function dialog(model: Model, actions: Actions): VNode {
  const { order } = model;
  const close = () => actions.change({ order: undefined });
  return h(
    "dialog",
    { key: "dialog", "aria-labelledby": "asked", oncancel: close, onclose: close },
    order !== undefined && h(
      "form",
      {
        method: "dialog",
        onsubmit: (event: { preventDefault(): void }) => {
          event.preventDefault();
          actions.confirm();
        },
      },
      h("h2", { id: "asked" }, question(order)),
      order.kind === "scale" && h(
        "label",
        null,
        "Replicas (empty: as in the manifest) ",
        h("input", {
          type: "number",
          min: 0,
          max: 1000,
          value: order.replicas,
          oninput: (event: { target: { value: string } }) =>
            actions.change({ order: { ...order, replicas: event.target.value } }),
        }),
      ),
      h("p", { class: "dim" }, consequence(order)),
      model.signer === null
        ? h("p", { class: "bad" }, model.signerProblem ?? "Nobody can sign here.")
        : h("p", { class: "dim" }, "Signed by ", h("code", null, shortKey(model.signer))),
      h(
        "div",
        { class: "buttons" },
        h("button", {
          type: "submit",
          class: "primary",
          disabled: model.signer === null || model.isBusy,
        }, model.isBusy ? "Signing…" : verbOf(order)),
        h("button", { type: "button", onclick: close }, "Cancel"),
      ),
    ),
  );
}

function shortKey(key: string): string {
  return key.length > 28 ? `${key.slice(0, 18)}…${key.slice(-6)}` : key;
}

function verbOf(order: Order): string {
  if (order.kind === "drain") return order.drained ? "Drain" : "Undrain";
  return order.kind === "restart" ? "Restart" : "Scale";
}

function question(order: Order): string {
  if (order.kind === "drain") return `${verbOf(order)} ${order.node}?`;
  const where = order.node === null ? "on every node" : `on ${order.node}`;
  return `${verbOf(order)} ${order.component} ${where}?`;
}

function consequence(order: Order): string {
  if (order.kind === "restart") {
    return "Every replica is stopped, after what it is serving, and started anew.";
  }
  if (order.kind === "scale") {
    return "The number holds until the next apply that touches the component.";
  }
  return order.drained
    ? "It runs nothing until it is undrained; what it ran is started elsewhere where it may be."
    : "It runs its share again.";
}
