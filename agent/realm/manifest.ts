/**
 * `realm.toml`: parsed, validated, with every default filled in.
 *
 * The keys one by one are in `manifest_schema.ts`; this file checks what concerns several of them
 * and makes the routes flat. `parseManifest` throws one RealmError `invalid-config` that lists
 * every problem.
 *
 * @module
 */
import { RealmError } from "../kernel/error.ts";
import {
  complain,
  parentPath,
  pathOf,
  type Position,
  quote,
  readConfig,
  type Report,
} from "../kernel/config.ts";
import {
  baseName,
  type ComponentSpec,
  type ManifestFile,
  manifestFile,
  type MountSpec,
  type NodeSpec,
  type RealmSpec,
  type RouteSpec,
} from "./manifest_schema.ts";

export {
  baseName,
  isComponentName,
  isNodeName,
  isSecretName,
  REPLICAS_MAX,
  sourceScheme,
} from "./manifest_schema.ts";
export type {
  ComponentSpec,
  HealthSpec,
  MountSpec,
  NodeSpec,
  PlacementSpec,
  QuotaSpec,
  RealmSpec,
  RouteSpec,
} from "./manifest_schema.ts";

/** Where the replicas of a route are: on one node, or in total over the nodes with a tag. */
export type Target =
  | { readonly kind: "node"; readonly name: string }
  | { readonly kind: "tag"; readonly name: string };

/** A route with the key of `[routing]` it stands under. */
export interface Route extends RouteSpec {
  readonly target: Target;
  /** Its path in the file: `routing."bm-01"[0]`. */
  readonly key: string;
}

/** Something that is allowed and probably not meant. `message` follows the path. */
export interface Warning {
  readonly path: string;
  readonly line: number;
  readonly message: string;
}

/** A valid manifest. Maps are in the order of the file. */
export interface Manifest {
  /** Text form of the owner's public key. */
  readonly owner: string;
  readonly realm: RealmSpec;
  readonly nodes: ReadonlyMap<string, NodeSpec>;
  readonly components: ReadonlyMap<string, ComponentSpec>;
  readonly routes: readonly Route[];
  /** Encrypted values by name. */
  readonly secrets: ReadonlyMap<string, string>;
  readonly warnings: readonly Warning[];
  /** Where each key was written, by its dotted path; defaults have no place. */
  readonly positions: ReadonlyMap<string, Position>;
}

/** Transports of a multiaddr that realm can dial. */
const TRANSPORTS = ["tcp", "ws", "wss"];

/** Parses and validates the text of a manifest; `file` names it in errors. */
export function parseManifest(text: string, file = "realm.toml"): Manifest {
  const { value, positions } = readConfig(text, `manifest ${quote(file)}`, manifestFile, across);
  const manifest = {
    owner: value.owner.pubkey,
    realm: value.realm,
    nodes: value.nodes,
    components: value.components,
    routes: routesOf(value),
    secrets: value.secrets,
    positions,
  };
  return { ...manifest, warnings: warningsOf(manifest) };
}

/** The text of a manifest's bytes; bytes that are not UTF-8 throw RealmError `invalid-config`. */
export function decodeManifest(bytes: Uint8Array, file = "realm.toml"): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new RealmError("invalid-config", `Cannot read manifest ${quote(file)}: not UTF-8`, {
      cause,
    });
  }
}

/** The names of the nodes that a target means. */
export function nodesOf(target: Target, nodes: ReadonlyMap<string, NodeSpec>): string[] {
  if (target.kind === "node") return nodes.has(target.name) ? [target.name] : [];
  return [...nodes].filter(([, node]) => node.tags.includes(target.name)).map(([name]) => name);
}

/** `bm-01`, or `tag:metal`: a target as the file writes it. */
export function formatTarget(target: Target): string {
  return target.kind === "node" ? target.name : `tag:${target.name}`;
}

/** The line of a dotted path, or of the nearest key above it. */
export function lineOf(manifest: Pick<Manifest, "positions">, path: string): number {
  for (let p = path; p !== ""; p = parentPath(p)) {
    const at = manifest.positions.get(p);
    if (at !== undefined) return at.line;
  }
  return 1;
}

function targetOf(key: string): Target {
  return key.startsWith("tag:") ? { kind: "tag", name: key.slice(4) } : { kind: "node", name: key };
}

function routesOf(file: ManifestFile): Route[] {
  return [...file.routing].flatMap(([key, routes]) =>
    routes.flatMap((route, i) =>
      route === null
        ? []
        : [{ ...route, target: targetOf(key), key: `${pathOf("routing", key)}[${i}]` }]
    )
  );
}

function across(file: ManifestFile, report: Report): void {
  const routes = routesOf(file);
  const say = (path: string, message: string) => complain(report, path, message);
  // A table that is there and wrong has its own problem: it is not unknown on top of it.
  const isWritten = (table: string, name: string) => report.positions.has(pathOf(table, name));
  const written = (table: "nodes" | "components") => {
    const names = [...report.positions.keys()].filter((path) => parentPath(path) === table)
      .map((path) => path.slice(table.length + 1));
    return `wanted a ${table.slice(0, -1)}: ${names.join(", ") || "there is none"}`;
  };

  file.realm.exec.forEach((name, i) => {
    if (!isWritten("nodes", name)) {
      say(`realm.exec[${i}]`, `is ${quote(name)}, ${written("nodes")}`);
    }
  });
  for (const key of file.routing.keys()) {
    const target = targetOf(key);
    const path = pathOf("routing", key);
    if (target.kind === "node" ? isWritten("nodes", key) : nodesOf(target, file.nodes).length > 0) {
      continue;
    }
    if (target.kind === "tag") say(path, `is ${quote(key)}, wanted a tag that a node has`);
    else say(path, `is ${quote(key)}, ${written("nodes")}, or tag:NAME`);
  }
  for (const route of routes) {
    const component = file.components.get(route.component);
    if (component === undefined && !isWritten("components", route.component)) {
      say(`${route.key}.component`, `is ${quote(route.component)}, ${written("components")}`);
    }
    const listens = component?.listen.some((address) => address.startsWith("tcp:"));
    if (component?.world === "wasi:cli/command" && !listens) {
      say(
        `${route.key}.component`,
        `is ${
          quote(route.component)
        }, a wasi:cli/command with a route needs listen = ["tcp://:PORT"]`,
      );
    }
    if (route.maxSurge === 0 && route.maxUnavailable === 0) {
      say(`${route.key}.max_unavailable`, "is 0 and so is max_surge, wanted one of them above 0");
    }
  }
  const hasSecret = (name: string) => isWritten("secrets", name);
  for (const [name, component] of file.components) {
    checkComponent(name, component, { file, hasSecret, say });
  }
  checkRoutes(routes, say);
}

type Say = (path: string, message: string) => void;

function checkComponent(
  name: string,
  component: ComponentSpec,
  { file, hasSecret, say }: {
    file: ManifestFile;
    hasSecret: (name: string) => boolean;
    say: Say;
  },
): void {
  const path = pathOf("components", name);
  const isHandler = component.world === "wasi:http/proxy";
  if (isHandler && component.listen.length > 0) {
    say(`${path}.listen`, "is for wasi:cli/command, requests reach wasi:http/proxy by a route");
  }
  if (isHandler && component.restart !== "always") {
    say(`${path}.restart`, `is "${component.restart}", which is for wasi:cli/command`);
  }
  if (!isHandler && component.instancePerRequest) {
    say(`${path}.instance_per_request`, "is true, which is for wasi:http/proxy");
  }
  component.secrets.forEach((secret, i) => {
    if (!hasSecret(secret)) {
      say(`${path}.secrets[${i}]`, `is ${quote(secret)}, wanted a name of [secrets]`);
    }
  });
  checkMounts(component.mounts, path, say);
  const { health, placement } = component;
  const isRouted = [...file.routing.values()].flat().some((route) => route?.component === name);
  if (health?.export === true && !isHandler) {
    say(
      `${path}.health.export`,
      "is for wasi:http/proxy, wanted http: the one instance of a command is in its run, which no other call may interrupt",
    );
  } else if (health !== undefined && !isHandler && !isRouted) {
    say(`${path}.health`, "is for what takes requests, wanted a route to it");
  }
  if (health?.http === undefined && health?.export === false) {
    say(`${path}.health.export`, "is false, wanted true or http instead");
  }
  if (placement === undefined) return;
  const isSomewhere = [...file.nodes.values()].some((node) =>
    placement.tags.every((tag) => node.tags.includes(tag))
  );
  if (placement.tags.length > 0 && !isSomewhere) {
    say(`${path}.placement.tags`, `is ${placement.tags.join(", ")}, wanted tags that a node has`);
  }
}

function checkMounts(mounts: readonly MountSpec[], path: string, say: Say): void {
  mounts.forEach((mount, i) => {
    if (mounts.findIndex((other) => other.guest === mount.guest) < i) {
      say(`${path}.mounts[${i}].guest`, `is ${quote(mount.guest)}, which is mounted already`);
    }
  });
}

/** Routes of one host and path must be labels of one component and agree with each other. */
function checkRoutes(routes: readonly Route[], say: Say): void {
  const reported = new Set<string>();
  routes.forEach((route, i) => {
    for (const other of routes.slice(0, i)) {
      if (other.path !== route.path || other.host !== route.host) continue;
      const where = `${route.host ?? ""}${route.path}`;
      if (baseName(other.component) !== baseName(route.component)) {
        say(
          route.key,
          `routes ${where} to ${quote(route.component)}, as ${other.key} does to ` +
            `${quote(other.component)}, wanted labels of one component`,
        );
        return;
      }
      if (other.component !== route.component) continue;
      if (formatTarget(other.target) === formatTarget(route.target)) {
        say(route.key, `routes ${where} to ${quote(route.component)} a second time`);
        return;
      }
      if (other.weight !== route.weight || other.stripPrefix !== route.stripPrefix) {
        say(route.key, `has another weight or strip_prefix than ${other.key}, the same route`);
        return;
      }
    }
    // Those that share the traffic of this route's host: with its host, or with none.
    const weights = new Map<string, number>();
    for (const other of routes) {
      const isSameHost = other.host === route.host || other.host === undefined;
      const isLabel = baseName(other.component) === baseName(route.component);
      if (isSameHost && isLabel && other.path === route.path) {
        weights.set(other.component, other.weight ?? 0);
      }
    }
    const sum = [...weights.values()].reduce((a, b) => a + b, 0);
    const group = `${route.host ?? ""} ${route.path}`;
    if (sum > 100 && !reported.has(group)) {
      reported.add(group);
      say(`${route.key}.weight`, `makes ${sum} per cent for ${route.path}, wanted at most 100`);
    }
  });
}

function warningsOf(manifest: Omit<Manifest, "warnings">): Warning[] {
  const warnings: Warning[] = [];
  const warn = (path: string, message: string) =>
    warnings.push({ path, line: lineOf(manifest, path), message });
  for (const [name, node] of manifest.nodes) {
    const transport = node.addrHint?.split("/").filter((part) =>
      ["udp", "quic", "quic-v1", "webrtc-direct", "webtransport"].includes(part)
    ).at(-1);
    if (transport !== undefined) {
      warn(
        `${pathOf("nodes", name)}.addr_hint`,
        `uses ${transport}, which realm cannot dial yet, wanted one of ${TRANSPORTS.join(", ")}`,
      );
    }
  }
  const routed = new Set(manifest.routes.map((route) => route.component));
  for (const [name, component] of manifest.components) {
    const isIdle = component.world === "wasi:http/proxy" && component.placement === undefined;
    if (isIdle && !routed.has(name)) {
      warn(pathOf("components", name), "has neither a route nor a placement and will not run");
    }
    if (component.placement !== undefined && routed.has(name)) {
      const path = `${pathOf("components", name)}.placement`;
      warn(path, "is for components without a route, the replicas of its routes count");
    }
  }
  return warnings;
}
