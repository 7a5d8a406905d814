/**
 * The kingdom drawn: its machines, how they fare, and the connections between them.
 *
 * Pure. A few machines stand in a ring with lines between those that hear each other; many stand in
 * rows by their first tag, with the round trip from the one that is asked. What state a machine is in is
 * told by its mark and in words, not by colour alone.
 *
 * @module
 */
import { formatAge } from "../../tui/quantity.ts";
import type { Status } from "../../tui/view_model.ts";
import { linkTo } from "./model.ts";
import { h, type VNode } from "./vnode.ts";

type Node = Status["nodes"][number];

/** So many stand in a ring. */
const RING_MAX = 10;
const TILE = { width: 148, height: 50, gap: 8, isSmall: false };
/** Where there are many and little room: the name and how it fares, three in a row. */
const SMALL_TILE = { width: 112, height: 32, gap: 6, isSmall: true };

/** How a machine fares, in a word; `tone` is a class of the style sheet. */
export function nodeState(node: Node, nowMs: number): { word: string; tone: string; mark: string } {
  if (node.state === "pending") return { word: "asks to join", tone: "warn", mark: "?" };
  if (node.state === "revoked") return { word: "revoked", tone: "dim", mark: "×" };
  if (!node.live) {
    const since = node.silentSinceMs === null
      ? ""
      : ` for ${formatAge(nowMs - node.silentSinceMs)}`;
    return { word: `silent${since}`, tone: "bad", mark: "!" };
  }
  if (node.drained) return { word: "drained", tone: "warn", mark: "‖" };
  const { health } = node;
  if (health !== null && health.running < health.wanted) {
    return { word: "not all run", tone: "warn", mark: "…" };
  }
  return { word: "live", tone: "good", mark: "✓" };
}

/** What is written below the name. */
function summary({ health, latencyMs, self }: Node): string {
  const parts = [
    ...(health === null
      ? []
      : [`${health.running}/${health.wanted}`, `${Math.round(health.cpuPermille / 10)} %`]),
    ...(latencyMs === null || self ? [] : [formatLatency(latencyMs)]),
  ];
  return parts.join(" · ");
}

/** A round trip. */
export function formatLatency(ms: number): string {
  return ms < 9.95 ? `${ms.toFixed(1)} ms` : `${Math.round(ms)} ms`;
}

/** Pairs of machines of which one hears the other, each pair once, with the shortest round trip. */
export function linksBetween(
  nodes: readonly Node[],
): { a: Node; b: Node; latencyMs: number | null }[] {
  const byKey = new Map(nodes.map((node) => [node.key, node]));
  const found = new Map<string, { a: Node; b: Node; latencyMs: number | null }>();
  for (const node of nodes) {
    if (!node.live) continue;
    for (const { key, latencyMs } of node.links) {
      const other = byKey.get(key);
      if (other === undefined || other === node || !other.live) continue;
      const [a, b] = node.key < other.key ? [node, other] : [other, node];
      const pair = `${a.key} ${b.key}`;
      const known = found.get(pair)?.latencyMs ?? null;
      const least = known === null
        ? latencyMs
        : latencyMs === null
        ? known
        : Math.min(known, latencyMs);
      found.set(pair, { a, b, latencyMs: least });
    }
  }
  return [...found.values()];
}

/** The map of these machines for a place of so many CSS pixels. */
export function kingdomMap(all: readonly Node[], nowMs: number, width: number): VNode {
  const nodes = all.filter(({ state }) => state !== "revoked")
    .sort((a, b) => a.name < b.name ? -1 : a.name > b.name ? 1 : a.key < b.key ? -1 : 1);
  const silent = nodes.filter(({ live, state }) => state === "approved" && !live).length;
  const label = `${nodes.length} machines, ${silent === 0 ? "none" : silent} silent`;
  return nodes.length <= RING_MAX ? ring(nodes, nowMs, label) : rows(nodes, nowMs, width, label);
}

function ring(nodes: readonly Node[], nowMs: number, label: string): VNode {
  // The one that is asked stands in the middle where there are enough to stand around it.
  const middle = nodes.length === 1 || nodes.length > 4
    ? nodes.find(({ self }) => self) ?? nodes[0]!
    : undefined;
  const around = nodes.filter((node) => node !== middle);
  const [width, height] = [460, around.length < 3 ? 170 : around.length === 3 ? 330 : 390];
  const places = new Map(around.map((node, i) => {
    // The first stands at the top; two stand side by side.
    const angle = 2 * Math.PI * i / around.length - (around.length === 2 ? Math.PI : Math.PI / 2);
    return [node.key, {
      x: width / 2 + Math.cos(angle) * 170,
      y: height / 2 - 14 + Math.sin(angle) * (height / 2 - 52),
    }];
  }));
  if (middle !== undefined) places.set(middle.key, { x: width / 2, y: height / 2 - 14 });
  // No more than what is drawn: the circles, and two lines of text below them.
  const heights = [...places.values()].map(({ y }) => y);
  const [top, bottom] = [Math.min(...heights) - 26, Math.max(...heights) + 60];
  const links = linksBetween(nodes);
  return h(
    "svg",
    {
      class: "map",
      viewBox: `0 ${top} ${width} ${bottom - top}`,
      role: "group",
      "aria-label": label,
    },
    links.map(({ a, b }) => {
      const [from, to] = [places.get(a.key)!, places.get(b.key)!];
      return h("line", {
        key: `l ${a.key} ${b.key}`,
        class: "link",
        x1: from.x.toFixed(1),
        y1: from.y.toFixed(1),
        x2: to.x.toFixed(1),
        y2: to.y.toFixed(1),
      });
    }),
    links.map(({ a, b, latencyMs }) => {
      // Of many only those of the middle: the others would lie over one another.
      if (latencyMs === null || middle !== undefined && a !== middle && b !== middle) return null;
      const [from, to] = [places.get(a.key)!, places.get(b.key)!];
      return h("text", {
        key: `t ${a.key} ${b.key}`,
        class: "latency",
        x: ((from.x + to.x) / 2).toFixed(1),
        y: ((from.y + to.y) / 2 + 4).toFixed(1),
      }, formatLatency(latencyMs));
    }),
    nodes.map((node) => {
      const { x, y } = places.get(node.key)!;
      const { word, tone, mark } = nodeState(node, nowMs);
      const text = summary(node);
      return h(
        "a",
        {
          key: node.key,
          href: linkTo("node", node.key),
          class: `node ${tone}`,
          "aria-label": `${node.name}: ${word}, ${text}`,
          transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})`,
        },
        h("circle", { r: 19, class: node.self ? "self" : undefined }),
        h("text", { class: "mark", y: 6 }, mark),
        h("text", { class: "name", y: 37 }, clip(node.name, 18)),
        h("text", { class: "about", y: 51 }, word === "live" ? text : word),
      );
    }),
  );
}

function rows(nodes: readonly Node[], nowMs: number, width: number, label: string): VNode {
  const tile = width < 600 && nodes.length > 24 ? SMALL_TILE : TILE;
  const perRow = Math.max(
    tile.isSmall ? 3 : 2,
    Math.min(10, Math.floor((width + tile.gap) / (tile.width + tile.gap))),
  );
  const groups = new Map<string, Node[]>();
  for (const node of nodes) {
    const group = node.state === "pending" ? "ask to join" : node.tags[0] ?? "no tag";
    groups.set(group, [...groups.get(group) ?? [], node]);
  }
  let top = 0;
  const drawn: VNode[] = [];
  for (const [group, members] of [...groups].sort(([a], [b]) => a < b ? -1 : 1)) {
    drawn.push(
      h(
        "text",
        { key: `g ${group}`, class: "group", x: 0, y: top + 14 },
        `${group} · ${members.length}`,
      ),
    );
    top += 22;
    members.forEach((node, i) => {
      const { word, tone, mark } = nodeState(node, nowMs);
      const x = i % perRow * (tile.width + tile.gap);
      const y = top + Math.floor(i / perRow) * (tile.height + tile.gap);
      const text = summary(node);
      drawn.push(h(
        "a",
        {
          key: node.key,
          href: linkTo("node", node.key),
          class: `node ${tone}`,
          "aria-label": `${node.name}: ${word}, ${text}`,
          transform: `translate(${x} ${y})`,
        },
        h("rect", {
          width: tile.width,
          height: tile.height,
          rx: 6,
          class: node.self ? "self" : undefined,
        }),
        h("text", { class: "mark small", x: 14, y: 21 }, mark),
        h("text", { class: "name start", x: 26, y: 21 }, clip(node.name, tile.isSmall ? 11 : 14)),
        !tile.isSmall &&
          h("text", { class: "about start", x: 8, y: 40 }, word === "live" ? text : word),
      ));
    });
    top += Math.ceil(members.length / perRow) * (tile.height + tile.gap) + 8;
  }
  const across = perRow * (tile.width + tile.gap) - tile.gap;
  return h(
    "svg",
    { class: "map many", viewBox: `-2 0 ${across + 4} ${top}`, role: "group", "aria-label": label },
    drawn,
  );
}

function clip(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length - 1)}…`;
}
