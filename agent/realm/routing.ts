/**
 * Which component answers a request: host and path to a component, as the routes of a manifest
 * say.
 *
 * The longest path wins; of equal paths the one whose host matches wins over one without a host.
 * `/a/...` means `/a` and all below it, `/a` itself only. Paths are compared as they are in the
 * request line, percent signs included, after the client or the URL parser removed dot segments.
 *
 * Labels of one component share the traffic of a path by weight: those with the winner's host and
 * those without a host take part. A weight is per cent; labels without one share the rest
 * equally. Where that leaves nothing (no label without a weight), weights are relative.
 *
 * @module
 */
import { baseName, type Manifest, type Route } from "./manifest.ts";

/** What a request was matched to. */
export interface RouteMatch {
  /** The route, for people: its host, where it has one, and its path. */
  readonly route: string;
  /** `orders@blue` */
  readonly component: string;
  /** The path the component gets: without the prefix where `strip_prefix` says so. */
  readonly path: string;
  /** Other labels that take traffic here, by weight: for when `component` has no replica. */
  readonly alternatives: readonly string[];
}

/** Compiled routes; see {@link compileRoutes}. */
export interface RouteTable {
  /** By the whole path, for routes without `/...`. */
  readonly exact: ReadonlyMap<string, Choices>;
  /** By the path without `/...`. */
  readonly prefixes: ReadonlyMap<string, Choices>;
  /** Lengths of the keys of `prefixes`, longest first. */
  readonly prefixLengths: readonly number[];
}

/** Who answers one path. */
interface Choices {
  readonly byHost: ReadonlyMap<string, Split>;
  readonly anyHost: Split | undefined;
}

/** Labels in the order of their slices of [0, 1); never empty. */
type Split = readonly Share[];

interface Share {
  readonly route: string;
  readonly component: string;
  /** The upper end of its slice. */
  readonly end: number;
  readonly strip: boolean;
  readonly alternatives: readonly string[];
}

/** Compiles the routes of a manifest. */
export function compileRoutes(manifest: Pick<Manifest, "routes">): RouteTable {
  const byPath = new Map<string, Route[]>();
  for (const route of manifest.routes) {
    const there = byPath.get(route.path);
    if (there === undefined) byPath.set(route.path, [route]);
    else there.push(route);
  }
  const exact = new Map<string, Choices>();
  const prefixes = new Map<string, Choices>();
  for (const [path, routes] of byPath) {
    if (path.endsWith("/...")) prefixes.set(path.slice(0, -4), choicesOf(routes));
    else exact.set(path, choicesOf(routes));
  }
  const lengths = new Set([...prefixes.keys()].map((prefix) => prefix.length));
  return { exact, prefixes, prefixLengths: [...lengths].sort((a, b) => b - a) };
}

/**
 * The component for a request, or `undefined` when no route matches.
 *
 * `host` is the Host header or `:authority`, with or without port; `path` is without the query;
 * `pick` in [0, 1) chooses among labels.
 */
export function matchRoute(
  table: RouteTable,
  host: string,
  path: string,
  pick: number,
): RouteMatch | undefined {
  const name = hostName(host);
  const exact = table.exact.get(path);
  const share = exact && choose(exact, name, pick);
  if (share !== undefined) return matchOf(share, path, path.length);
  // At most one map look-up for each length a prefix has: a long path costs no more.
  for (const length of table.prefixLengths) {
    if (length > path.length) continue;
    if (length < path.length && path.charCodeAt(length) !== 0x2f) continue;
    const choices = table.prefixes.get(path.slice(0, length));
    const share = choices && choose(choices, name, pick);
    if (share !== undefined) return matchOf(share, path, length);
  }
  return undefined;
}

function choose(choices: Choices, host: string, pick: number): Share | undefined {
  const split = choices.byHost.get(host) ?? choices.anyHost;
  if (split === undefined) return undefined;
  for (const share of split) if (pick < share.end) return share;
  return split.at(-1); // the ends are sums of floats: the last may be just below 1
}

function matchOf(share: Share, path: string, prefixLength: number): RouteMatch {
  const { route, component, alternatives } = share;
  const rest = share.strip ? path.slice(prefixLength) || "/" : path;
  return { route, component, path: rest, alternatives };
}

/** Lower case, without port and without the dot of a fully qualified name. */
function hostName(host: string): string {
  // An IPv6 address has colons of its own; its port follows the bracket.
  const end = host.startsWith("[") ? host.indexOf("]") + 1 : host.indexOf(":");
  const name = (end > 0 ? host.slice(0, end) : host).toLowerCase();
  return name.endsWith(".") ? name.slice(0, -1) : name;
}

function choicesOf(routes: readonly Route[]): Choices {
  const byHost = new Map<string, Split>();
  for (const { host, component } of routes) {
    if (host === undefined || byHost.has(host)) continue;
    const isLabel = (route: Route) => baseName(route.component) === baseName(component);
    const sharing = routes.filter((r) => r.host === host || r.host === undefined && isLabel(r));
    const split = splitOf(sharing);
    if (split !== undefined) byHost.set(host, split);
  }
  return { byHost, anyHost: splitOf(routes.filter((route) => route.host === undefined)) };
}

/** Slices of [0, 1) by weight; `undefined` when no label takes traffic. */
function splitOf(routes: readonly Route[]): Split | undefined {
  // One label may have a route on several nodes: the manifest's checks made them agree.
  const labels = [...new Map(routes.map((route) => [route.component, route])).values()];
  labels.sort((a, b) => a.component < b.component ? -1 : 1);
  const given = labels.reduce((sum, { weight }) => sum + (weight ?? 0), 0);
  const unweighted = labels.filter(({ weight }) => weight === undefined).length;
  const rest = unweighted === 0 ? 0 : Math.max(0, 100 - given) / unweighted;
  const parts = labels.map((label) => ({ label, part: label.weight ?? rest }))
    .filter(({ part }) => part > 0);
  const total = parts.reduce((sum, { part }) => sum + part, 0);
  if (total === 0) return undefined;
  const byPart = parts.toSorted((a, b) => b.part - a.part).map(({ label }) => label.component);
  let end = 0;
  return parts.map(({ label, part }) => {
    end += part / total;
    return {
      route: `${label.host ?? ""}${label.path}`,
      component: label.component,
      end,
      strip: label.stripPrefix,
      alternatives: byPart.filter((name) => name !== label.component),
    };
  });
}
