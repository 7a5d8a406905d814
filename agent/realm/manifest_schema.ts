/**
 * Every key of `realm.toml`: its type, range and default. `docs/manifest.md` is the contract.
 *
 * What concerns more than one key is in `manifest.ts`. Sizes are in MiB and times in
 * milliseconds, as the file writes them.
 *
 * @module
 */
import type { World } from "../kernel/ports.ts";
import { parseNetwork } from "../kernel/ip_address.ts";
import { publicKeyProblem } from "../kernel/key.ts";
import { parseListen, parseOutbound } from "../kernel/network_grant.ts";
import { SHA256_HEX } from "../kernel/sha256.ts";
import {
  boolean,
  byKind,
  type Check,
  exactlyOne,
  integer,
  list,
  matching,
  oneOf,
  optional,
  record,
  required,
  secretText,
  table,
  text,
  withDefault,
} from "../kernel/config.ts";

/** `[realm]` */
export interface RealmSpec {
  readonly name: string | undefined;
  /** What a minority that is cut off may start: nothing new, or whatever is missing. */
  readonly partition: "majority" | "continue";
  /** Nodes on which the owner may run host commands. */
  readonly exec: readonly string[];
  /** Public keys that may restart, scale, drain and read logs. */
  readonly operators: readonly string[];
}

/** `[nodes.NAME]` */
export interface NodeSpec {
  readonly tags: readonly string[];
  readonly addrHint: string | undefined;
  readonly key: string | undefined;
  readonly quota: QuotaSpec | undefined;
}

/** What a realm may use of a node, summed over the replicas there. */
export interface QuotaSpec {
  readonly memoryMb: number | undefined;
  readonly fuelPerSec: number | undefined;
  readonly instances: number | undefined;
}

/** One entry of `mounts`: a volume or a folder of the host, exactly one. */
export interface MountSpec {
  readonly volume: string | undefined;
  readonly host: string | undefined;
  readonly guest: string;
  readonly mode: "rw" | "ro";
}

/** `health`: a path to ask, or the component's own export, exactly one. */
export interface HealthSpec {
  readonly http: string | undefined;
  readonly export: boolean;
  readonly intervalMs: number;
  readonly timeoutMs: number;
  /** Good probes in a row that make a replica healthy. */
  readonly healthyAfter: number;
  /** Bad probes in a row that make it unhealthy. */
  readonly unhealthyAfter: number;
  /** Bad probes of one that was just started are forgiven for so long. */
  readonly graceMs: number;
}

/** `placement`, for a component that has no route. */
export interface PlacementSpec {
  /** A node needs all of them; none means any node. */
  readonly tags: readonly string[];
  /** In total over those nodes. */
  readonly replicas: number;
  readonly spread: "node";
}

/** `[components.NAME]` */
export interface ComponentSpec {
  readonly source: string;
  readonly sha256: string | undefined;
  readonly world: World;
  readonly allowedOutbound: readonly string[];
  readonly privateOutbound: readonly string[];
  readonly loopback: readonly number[];
  /** Names that may be looked up; true for any. */
  readonly dns: readonly string[] | true;
  readonly listen: readonly string[];
  readonly memoryMaxMb: number;
  readonly fuelPerSec: number;
  readonly epochTimeoutMs: number;
  readonly env: ReadonlyMap<string, string>;
  readonly vars: ReadonlyMap<string, string>;
  readonly args: readonly string[];
  readonly clock: boolean;
  readonly random: boolean;
  readonly mounts: readonly MountSpec[];
  readonly secrets: readonly string[];
  readonly keyvalue: boolean;
  readonly isolation: "worker" | "process";
  readonly restart: "always" | "on-failure" | "never";
  readonly maxConcurrency: number;
  readonly instancePerRequest: boolean;
  readonly requestTimeoutMs: number;
  readonly health: HealthSpec | undefined;
  readonly placement: PlacementSpec | undefined;
}

/** One entry of `[routing]`. */
export interface RouteSpec {
  readonly path: string;
  readonly component: string;
  readonly replicas: number;
  readonly host: string | undefined;
  /** Per cent of the traffic among the labels of one component. */
  readonly weight: number | undefined;
  readonly maxSurge: number | undefined;
  readonly maxUnavailable: number | undefined;
  readonly stripPrefix: boolean;
}

/** The file, key by key. */
export interface ManifestFile {
  readonly owner: { readonly pubkey: string };
  readonly realm: RealmSpec;
  readonly nodes: ReadonlyMap<string, NodeSpec>;
  readonly components: ReadonlyMap<string, ComponentSpec>;
  readonly routing: ReadonlyMap<string, readonly (RouteSpec | null)[]>;
  readonly secrets: ReadonlyMap<string, string>;
}

const NAME = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
const NAME_WANTED = "1 to 63 of a-z, 0-9 and - (not first or last)";
const HOST_NAME =
  /^(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*$/;
const TAG = /^[a-z0-9][a-z0-9_.-]{0,62}$/;
const TAG_WANTED = "1 to 63 of a-z, 0-9, _, . and -";
/** Replicas of one component, by a route, a placement or `realm scale`. */
export const REPLICAS_MAX = 1_000;
const COUNT_MAX = 1_000_000;
const DAY_MS = 86_400_000;

const name = matching(NAME, NAME_WANTED);
const tag = matching(TAG, TAG_WANTED);
const hostName = matching(HOST_NAME, "a host name in lower case, without port");
const publicKey = secretText(publicKeyProblem);
const noNul = text((value) => value.includes("\0") ? "no NUL character" : undefined);
const named = (pattern: RegExp, wanted: string) => (value: string) =>
  pattern.test(value) ? undefined : wanted;
const variables = record(
  (key) => /^[^=\0]+$/.test(key) ? undefined : "a name without = and NUL",
  noNul,
);

/** Whether text is the name of a node. */
export function isNodeName(value: string): boolean {
  return NAME.test(value);
}

const SECRET_NAME = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;

/** Whether text is the name of a secret. */
export function isSecretName(value: string): boolean {
  return SECRET_NAME.test(value);
}

/** Whether text is the name of a component: `orders`, or `orders@blue`. */
export function isComponentName(value: string): boolean {
  const [base, label, more] = value.split("@");
  return NAME.test(base!) && (label === undefined || NAME.test(label)) && more === undefined;
}

/** `orders@blue` is a label of `orders`: what is left of the `@`. */
export function baseName(component: string): string {
  return component.split("@", 1)[0]!;
}

/** The part of `source` before its first colon. */
export function sourceScheme(source: string): string {
  return source.slice(0, source.indexOf(":"));
}

const SOURCES: Readonly<Record<string, { pattern: RegExp; wanted: string }>> = {
  registry: {
    pattern:
      /^registry:[a-z0-9.-]+(?::\d+)?(?:\/[a-z0-9._-]+)+(?::[\w.-]+)?(?:@sha256:[0-9a-f]{64})?$/,
    wanted: "registry:HOST/NAME@sha256:HEX or registry:HOST/NAME:TAG",
  },
  file: { pattern: /^file:[^\0]+$/, wanted: "file:PATH" },
  s3: { pattern: /^s3:\/\/[a-z0-9.-]+\/.+$/, wanted: "s3://BUCKET/KEY" },
  ipfs: { pattern: /^ipfs:(?:\/\/)?[a-zA-Z0-9]+(?:\/.*)?$/, wanted: "ipfs:CID" },
  p2p: { pattern: /^p2p:[0-9a-f]{64}$/, wanted: "p2p:SHA256" },
  http: { pattern: /^http:\/\/[^\s@]+$/, wanted: "a URL without credentials" },
  https: { pattern: /^https:\/\/[^\s@]+$/, wanted: "a URL without credentials" },
};

const source = text((value) => {
  const scheme = sourceScheme(value);
  const form = Object.hasOwn(SOURCES, scheme) ? SOURCES[scheme]! : undefined;
  if (form === undefined) {
    return `one of ${Object.keys(SOURCES).map((s) => `${s}:`).join(" ")}`;
  }
  const isUrl = !scheme.startsWith("http") || URL.canParse(value);
  return form.pattern.test(value) && isUrl ? undefined : form.wanted;
});

/** Absolute, no empty, `.` or `..` parts, no NUL: one spelling for each path. */
function isPlainAbsolutePath(value: string): boolean {
  if (value === "/") return true;
  return value.startsWith("/") && !value.includes("\0") &&
    value.slice(1).split("/").every((part) => part !== "" && part !== "." && part !== "..");
}

/** An absolute path in its one spelling. */
export const absolutePath = text((value) =>
  isPlainAbsolutePath(value) ? undefined : "an absolute path without ., .., // and a last /"
);

const cidr = text((value) =>
  value.includes("/") && parseNetwork(value) ? undefined : "a network such as 10.0.0.0/8"
);

const outbound = text((value) =>
  parseOutbound(value)
    ? undefined
    : "SCHEME://HOST:PORT, where http, https and schemes of well-known databases need no port"
);

const listen = text((value) => {
  const isUrl = /^(?:tcp|udp):/.test(value) && (parseListen(value)?.port ?? 0) > 0;
  return isUrl ? undefined : "tcp://:PORT or udp://:PORT";
});

/** A path of a route: `/a/b` exactly, or `/a/b/...` with all below it. */
const routePath = text((value) => {
  const exact = value.endsWith("/...") ? value.slice(0, -4) : value;
  const parts = exact.split("/").slice(1);
  const isPath = value.startsWith("/") && /^[\x21-\x7e]*$/.test(exact) && !/[?#\\]/.test(exact) &&
    !exact.includes("//") && !parts.some((part) => /^\.+$/.test(part));
  return isPath ? undefined : "/PATH or /PATH/... without ., .., // and ?";
});

const multiaddr = matching(/^(?:\/[^\s/]+)+$/, "a multiaddr such as /dns/host/tcp/4001");

const mount = exactlyOne(
  ["volume", "host"],
  table<MountSpec>({
    volume: optional(name),
    host: optional(absolutePath),
    guest: required(absolutePath),
    mode: withDefault(oneOf("rw", "ro"), "rw"),
  }),
);

const health = exactlyOne(
  ["http", "export"],
  table<HealthSpec>({
    http: optional(matching(/^\/[\x21-\x7e]*$/, "a path such as /healthz")),
    export: withDefault(boolean, false),
    intervalMs: withDefault(integer(10, DAY_MS), 2_000),
    timeoutMs: withDefault(integer(1, DAY_MS), 500),
    healthyAfter: withDefault(integer(1, 1_000), 2),
    unhealthyAfter: withDefault(integer(1, 1_000), 3),
    graceMs: withDefault(integer(0, DAY_MS), 10_000),
  }),
);

const placement = table<PlacementSpec>({
  tags: withDefault(list(tag, { unique: true }), []),
  replicas: withDefault(integer(1, REPLICAS_MAX), 1),
  spread: withDefault(oneOf("node"), "node"),
});

const dns: Check<readonly string[] | true> = (node, path, report) => {
  const check = byKind<readonly string[] | boolean>(
    { array: list(hostName, { unique: true }), boolean },
    "an array of names, or true for any",
  );
  const value = check(node, path, report);
  return value === false ? [] : value;
};

const component = table<ComponentSpec>({
  source: required(source),
  sha256: optional(matching(SHA256_HEX, "64 digits of lower-case hex")),
  world: required(oneOf("wasi:cli/command", "wasi:http/proxy")),
  allowedOutbound: withDefault(list(outbound, { unique: true }), []),
  privateOutbound: withDefault(list(cidr, { unique: true }), []),
  loopback: withDefault(list(integer(1, 65_535), { unique: true }), []),
  dns: withDefault(dns, []),
  listen: withDefault(list(listen, { unique: true }), []),
  memoryMaxMb: withDefault(integer(1, 65_536), 128),
  fuelPerSec: withDefault(integer(1, 1e12), 1_000_000_000),
  epochTimeoutMs: withDefault(integer(1, 3_600_000), 1_000),
  env: withDefault(variables, new Map()),
  vars: withDefault(variables, new Map()),
  args: withDefault(list(noNul), []),
  clock: withDefault(boolean, false),
  random: withDefault(boolean, false),
  mounts: withDefault(list(mount), []),
  secrets: withDefault(list(text(), { unique: true }), []),
  keyvalue: withDefault(boolean, false),
  isolation: withDefault(oneOf("worker", "process"), "worker"),
  restart: withDefault(oneOf("always", "on-failure", "never"), "always"),
  maxConcurrency: withDefault(integer(1, 65_536), 64),
  instancePerRequest: withDefault(boolean, false),
  requestTimeoutMs: withDefault(integer(1, DAY_MS), 30_000),
  health: optional(health),
  placement: optional(placement),
});

const route = table<RouteSpec>({
  path: required(routePath),
  component: required(text()),
  replicas: withDefault(integer(1, REPLICAS_MAX), 1),
  host: optional(hostName),
  weight: optional(integer(0, 100)),
  maxSurge: optional(integer(0, REPLICAS_MAX)),
  maxUnavailable: optional(integer(0, REPLICAS_MAX)),
  stripPrefix: withDefault(boolean, false),
});

/** A wrong route keeps its place in the array, so that paths of the others stay right. */
const routeOrNull: Check<RouteSpec | null> = (node, path, report) =>
  route(node, path, report) ?? null;

const node = table<NodeSpec>({
  tags: withDefault(list(tag, { unique: true }), []),
  addrHint: optional(multiaddr),
  key: optional(publicKey),
  quota: optional(table<QuotaSpec>({
    memoryMb: optional(integer(1, 1e9)),
    fuelPerSec: optional(integer(1, 1e15)),
    instances: optional(integer(1, COUNT_MAX)),
  })),
});

const DEFAULT_REALM: RealmSpec = {
  name: undefined,
  partition: "majority",
  exec: [],
  operators: [],
};

/** The check of the whole file. */
export const manifestFile: Check<ManifestFile> = table<ManifestFile>({
  owner: required(table({ pubkey: required(publicKey) })),
  realm: withDefault(
    table<RealmSpec>({
      name: optional(name),
      partition: withDefault(oneOf("majority", "continue"), "majority"),
      exec: withDefault(list(name, { unique: true }), []),
      operators: withDefault(list(publicKey, { unique: true }), []),
    }),
    DEFAULT_REALM,
  ),
  nodes: withDefault(record(named(NAME, NAME_WANTED), node), new Map()),
  components: withDefault(
    record(
      (key) => isComponentName(key) ? undefined : `${NAME_WANTED}, or NAME@LABEL`,
      component,
    ),
    new Map(),
  ),
  routing: withDefault(record(() => undefined, list(routeOrNull)), new Map()),
  secrets: withDefault(
    record(
      named(SECRET_NAME, "1 to 128 of letters, digits, _, . and -"),
      secretText((value) =>
        value === "" || /^age-encrypted:[\s\S]+$/.test(value)
          ? undefined
          : "wanted age-encrypted: and the encrypted value, or nothing where realm secrets set gives it"
      ),
    ),
    new Map(),
  ),
});
