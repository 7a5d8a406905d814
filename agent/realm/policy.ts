/**
 * `policy.toml`: what the machine's own administrator lets any manifest ask of it. It is read from
 * the node's data folder and never from the network. Every key is optional; without a file nothing
 * of the host is given.
 *
 * ```toml
 * exec = false                   # may the owner run host commands here (with realm agent --allow-exec)
 *
 * [mounts]                       # folders of the host that may be mounted, each with all below it
 * allow = [{ host = "/srv/shop", mode = "rw" }, { host = "/etc/shop" }]   # mode "ro" unless written
 *
 * [limits]                       # the most that a manifest may give
 * memory_max_mb = 1024           # to one replica
 * fuel_per_sec = 2_000_000_000   # to one replica
 * epoch_timeout_ms = 5_000       # to one replica
 * instances = 100                # replicas of the realm on this node
 *
 * [isolation]
 * process = true                 # may components ask for a process of their own; without it the agent
 *                                # gives up for good the permission to start any (read at its start)
 *
 * [listen]
 * ports = [5000, 8080]           # ports of the host that components may listen on
 *
 * [loopback]
 * ports = [5432]                 # ports of the host that components may connect to
 * ```
 *
 * Paths are compared as text, without following links: whoever opens a folder resolves it first
 * and asks {@link allowsMount} about the result.
 *
 * @module
 */
import { parseListen } from "../kernel/network_grant.ts";
import {
  boolean,
  integer,
  list,
  oneOf,
  optional,
  pathOf,
  quote,
  readConfig,
  required,
  table,
  withDefault,
} from "../kernel/config.ts";
import { desiredReplicas, proxiedPortOf } from "./desired.ts";
import { type ComponentSpec, lineOf, type Manifest } from "./manifest.ts";
import { absolutePath } from "./manifest_schema.ts";

/** A folder that may be mounted, with all below it. */
export interface AllowedMount {
  readonly host: string;
  /** `ro` allows reading only. */
  readonly mode: "ro" | "rw";
}

/** What one node allows. A missing limit is no limit. */
export interface Policy {
  readonly exec: boolean;
  readonly mounts: { readonly allow: readonly AllowedMount[] };
  readonly limits: {
    readonly memoryMaxMb: number | undefined;
    readonly fuelPerSec: number | undefined;
    readonly epochTimeoutMs: number | undefined;
    readonly instances: number | undefined;
  };
  readonly isolation: { readonly process: boolean };
  readonly listen: { readonly ports: readonly number[] };
  readonly loopback: { readonly ports: readonly number[] };
}

/** Something that a manifest asks of a node and its policy or quota does not allow. */
export interface Violation {
  /** The key of the manifest that asks for it, and its line. */
  readonly path: string;
  readonly line: number;
  /** Follows the path: `is 256, policy allows at most 128`. */
  readonly message: string;
}

/** The policy of a node that has no `policy.toml`. */
export const DEFAULT_POLICY: Policy = {
  exec: false,
  mounts: { allow: [] },
  limits: {
    memoryMaxMb: undefined,
    fuelPerSec: undefined,
    epochTimeoutMs: undefined,
    instances: undefined,
  },
  isolation: { process: true },
  listen: { ports: [] },
  loopback: { ports: [] },
};

const policyFile = table<Policy>({
  exec: withDefault(boolean, DEFAULT_POLICY.exec),
  mounts: withDefault(
    table<Policy["mounts"]>({
      allow: withDefault(
        list(table<AllowedMount>({
          host: required(absolutePath),
          mode: withDefault(oneOf("ro", "rw"), "ro"),
        })),
        [],
      ),
    }),
    DEFAULT_POLICY.mounts,
  ),
  limits: withDefault(
    table<Policy["limits"]>({
      memoryMaxMb: optional(integer(1, 1e9)),
      fuelPerSec: optional(integer(1, 1e15)),
      epochTimeoutMs: optional(integer(1, 1e9)),
      instances: optional(integer(0, 1e6)),
    }),
    DEFAULT_POLICY.limits,
  ),
  isolation: withDefault(
    table<Policy["isolation"]>({
      process: withDefault(boolean, DEFAULT_POLICY.isolation.process),
    }),
    DEFAULT_POLICY.isolation,
  ),
  listen: withDefault(
    table<Policy["listen"]>({
      ports: withDefault(list(integer(1, 65_535), { unique: true }), []),
    }),
    DEFAULT_POLICY.listen,
  ),
  loopback: withDefault(
    table<Policy["loopback"]>({
      ports: withDefault(list(integer(1, 65_535), { unique: true }), []),
    }),
    DEFAULT_POLICY.loopback,
  ),
});

/** Parses a policy; throws RealmError `invalid-config` that lists every problem. */
export function parsePolicy(text: string, file = "policy.toml"): Policy {
  return readConfig(text, `policy ${quote(file)}`, policyFile).value;
}

/** Whether `hostPath`, absolute and resolved, may be mounted. */
export function allowsMount(policy: Policy, hostPath: string, mode: "ro" | "rw"): boolean {
  return policy.mounts.allow.some((allowed) => {
    const isBelow = hostPath === allowed.host || allowed.host === "/" ||
      hostPath.startsWith(`${allowed.host}/`);
    return isBelow && (mode === "ro" || allowed.mode === "rw");
  });
}

/**
 * What the manifest asks of `node` beyond its policy, and beyond the quota that the manifest
 * itself sets, in the order of the file. Counts are for when every node lives.
 */
export function checkPolicy(manifest: Manifest, node: string, policy: Policy): Violation[] {
  const violations: Violation[] = [];
  const add = (path: string, message: string) =>
    violations.push({ path, line: lineOf(manifest, path), message });
  const withoutQuotas = new Map(
    [...manifest.nodes].map(([name, spec]) => [name, { ...spec, quota: undefined }]),
  );
  const replicas = desiredReplicas({
    manifest: { ...manifest, nodes: withoutQuotas },
    digests: new Map([...manifest.components.keys()].map((name) => [name, ""])),
    node,
    live: manifest.nodes.keys(),
  });
  if (manifest.realm.exec.includes(node) && !policy.exec) {
    add("realm.exec", `has ${node}, whose policy does not allow host commands`);
  }
  for (const component of possibleOn(node, manifest)) {
    checkComponent(component, { manifest, policy, add });
  }
  const { instances } = policy.limits;
  if (instances !== undefined && replicas.length > instances) {
    add("routing", `puts ${replicas.length} replicas on ${node}, policy allows ${instances}`);
  }
  const quota = manifest.nodes.get(node)?.quota;
  const used = {
    instances: replicas.length,
    memoryMb: replicas.reduce((sum, { spec }) => sum + spec.memoryMaxMb, 0),
    fuelPerSec: replicas.reduce((sum, { spec }) => sum + spec.fuelPerSec, 0),
  };
  const quotaPath = `${pathOf("nodes", node)}.quota`;
  const keys = { instances: "instances", memoryMb: "memory_mb", fuelPerSec: "fuel_per_sec" };
  for (const key of ["memoryMb", "fuelPerSec", "instances"] as const) {
    const allowed = quota?.[key];
    if (allowed !== undefined && used[key] > allowed) {
      add(`${quotaPath}.${keys[key]}`, `is ${allowed}, the replicas there need ${used[key]}`);
    }
  }
  return violations.sort((a, b) => a.line - b.line);
}

function checkComponent(
  name: string,
  { manifest, policy, add }: {
    manifest: Manifest;
    policy: Policy;
    add: (path: string, message: string) => void;
  },
): void {
  const spec = manifest.components.get(name)!;
  const path = pathOf("components", name);
  const ceilings = [
    ["memory_max_mb", spec.memoryMaxMb, policy.limits.memoryMaxMb],
    ["fuel_per_sec", spec.fuelPerSec, policy.limits.fuelPerSec],
    ["epoch_timeout_ms", spec.epochTimeoutMs, policy.limits.epochTimeoutMs],
  ] as const;
  for (const [key, asked, ceiling] of ceilings) {
    if (ceiling !== undefined && asked > ceiling) {
      add(`${path}.${key}`, `is ${asked}, policy allows at most ${ceiling}`);
    }
  }
  spec.mounts.forEach(({ host, mode }, i) => {
    if (host !== undefined && !allowsMount(policy, host, mode)) {
      add(`${path}.mounts[${i}].host`, `is ${quote(host)} (${mode}), policy does not allow it`);
    }
  });
  if (spec.isolation === "process" && !policy.isolation.process) {
    add(`${path}.isolation`, "is process, policy does not allow processes");
  }
  const proxiedPort = proxiedPortOf(name, manifest);
  for (const { key, message } of portViolations({ spec, proxiedPort }, policy)) {
    add(`${path}.${key}`, message);
  }
}

/** What a component asks of the host's ports beyond the policy. */
export function portViolations(
  { spec, proxiedPort }: {
    readonly spec: Pick<ComponentSpec, "loopback" | "listen">;
    readonly proxiedPort?: number | undefined;
  },
  policy: Policy,
): { readonly key: string; readonly message: string }[] {
  const violations: { key: string; message: string }[] = [];
  spec.loopback.forEach((port, i) => {
    if (policy.loopback.ports.includes(port)) return;
    violations.push({ key: `loopback[${i}]`, message: `is ${port}, policy does not allow it` });
  });
  spec.listen.forEach((address, i) => {
    const { transport, port } = parseListen(address)!;
    // Behind the proxy: no port of the host.
    if (transport === "tcp" && port === proxiedPort) return;
    if (policy.listen.ports.includes(port)) return;
    const message = `is ${quote(address)}, policy does not allow port ${port}`;
    violations.push({ key: `listen[${i}]`, message });
  });
  return violations;
}

/** Components that could run on a node, now or when others die. */
function possibleOn(node: string, manifest: Manifest): string[] {
  return [...manifest.components.keys()].filter((component) =>
    desiredReplicas({
      manifest: {
        ...manifest,
        components: new Map([[component, manifest.components.get(component)!]]),
      },
      digests: new Map([[component, ""]]),
      node,
      live: [node],
    }).length > 0
  );
}
