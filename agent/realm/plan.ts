/**
 * What an `apply` would change: the difference of two manifests with their digests, as data for
 * `--json` and the terminal dashboard, and as the lines that `realm plan` prints.
 *
 * @module
 */
import { sha256HexSync } from "../kernel/canonical.ts";
import { keyOf as fileKey } from "../kernel/config.ts";
import type { Overrides } from "./desired.ts";
import {
  type ComponentSpec,
  formatTarget,
  type Manifest,
  type NodeSpec,
  type Route,
} from "./manifest.ts";

/** What opens a door to a component: who confirms a plan is to see each that is given. */
const GRANT_KEYS: readonly string[] = [
  "allowed_outbound",
  "private_outbound",
  "loopback",
  "dns",
  "listen",
  "clock",
  "random",
  "mounts",
  "secrets",
  "keyvalue",
];
const NOT_GIVEN: ReadonlySet<string | undefined> = new Set(["[]", "false"]);

/** A manifest with the sha256 of every component. */
export interface Release {
  readonly manifest: Manifest;
  readonly digests: ReadonlyMap<string, string>;
}

/** One line of a plan. */
export interface PlanChange {
  /** `cleared`: an operator's override that the new manifest ends. */
  readonly change: "added" | "removed" | "changed" | "cleared";
  readonly subject: "realm" | "node" | "component" | "route" | "secret" | "override";
  /** `auth`, `bm-01 /auth/... -> auth` */
  readonly name: string;
  /** Key by key what differs, for `changed`; what is notable, for `added`. */
  readonly details: readonly PlanDetail[];
}

/** One key that differs. Values are as a person reads them; `undefined` is not set. */
export interface PlanDetail {
  readonly key: string;
  readonly from?: string;
  readonly to?: string;
}

/**
 * The changes from `before` (nothing, for the first manifest) to `after`: realm, nodes,
 * components, routes, secrets, each sorted by name. Equal releases give none.
 */
export function planChanges(
  before: Release | undefined,
  after: Release,
  overrides: Overrides = { restarts: [], scales: [], drained: [] },
): PlanChange[] {
  const old = before?.manifest;
  const now = after.manifest;
  const realm = details(realmFields(old), realmFields(now));
  const components = compare(
    "component",
    mapValues(old?.components, (spec, name) => componentFields(spec, before!.digests.get(name))),
    mapValues(now.components, (spec, name) => componentFields(spec, after.digests.get(name))),
    ["digest", "world", "memory_max_mb", "fuel_per_sec", "epoch_timeout_ms", ...GRANT_KEYS],
  );
  return [
    ...(realm.length === 0 ? [] : [
      {
        change: old ? "changed" : "added",
        subject: "realm",
        name: now.realm.name ?? "",
        details: realm,
      } as const,
    ]),
    ...compare("node", mapValues(old?.nodes, nodeFields), mapValues(now.nodes, nodeFields)),
    ...components,
    ...compare("route", routeFields(old?.routes), routeFields(now.routes), ["replicas"]),
    // An encrypted value says nothing to a person: its digest shows that it is another one.
    ...compare(
      "secret",
      mapValues(old?.secrets, secretFields),
      mapValues(now.secrets, secretFields),
      [],
    ),
    ...cleared(components, overrides),
  ];
}

/** The plan as people read it, without a line break at its end. `name` is what is planned. */
export function formatPlan(changes: readonly PlanChange[]): string {
  if (changes.length === 0) return "No changes";
  const signs = { added: "+", removed: "-", changed: "~", cleared: "!" };
  const lines = changes.flatMap(({ change, subject, name, details }) => [
    `${signs[change]} ${subject} ${name}`.trimEnd(),
    ...columns(details.map(({ key, from, to }) => [
      key,
      change === "added" || change === "cleared"
        ? to ?? ""
        : `${from ?? "(none)"} -> ${to ?? "(none)"}`,
    ])),
  ]);
  const count = (change: PlanChange["change"]) => changes.filter((c) => c.change === change).length;
  const sum = `${count("added")} to add, ${count("changed")} to change, ${
    count("removed")
  } to remove`;
  return [...lines, "", sum].join("\n").replaceAll(/(sha256:[0-9a-f]{12})[0-9a-f]{52}/g, "$1…");
}

type Values = ReadonlyMap<string, string | undefined>;

function compare(
  subject: PlanChange["subject"],
  before: ReadonlyMap<string, Values>,
  after: ReadonlyMap<string, Values>,
  shownWhenAdded?: readonly string[],
): PlanChange[] {
  const names = [...new Set([...before.keys(), ...after.keys()])].sort();
  return names.flatMap((name): PlanChange[] => {
    const old = before.get(name);
    const now = after.get(name);
    if (now === undefined) return [{ change: "removed", subject, name, details: [] }];
    const found = details(old ?? new Map(), now);
    if (old !== undefined) {
      return found.length === 0 ? [] : [{ change: "changed", subject, name, details: found }];
    }
    const shown = found.filter(({ key, to }) =>
      (shownWhenAdded?.includes(key) ?? true) && !(GRANT_KEYS.includes(key) && NOT_GIVEN.has(to))
    );
    return [{ change: "added", subject, name, details: shown }];
  });
}

function details(before: Values, after: Values): PlanDetail[] {
  const keys = [...new Set([...before.keys(), ...after.keys()])];
  return keys.flatMap((key) => {
    const from = before.get(key);
    const to = after.get(key);
    if (from === to) return [];
    return [{ key, ...(from === undefined ? {} : { from }), ...(to === undefined ? {} : { to }) }];
  });
}

/** Overrides of components that the plan touches end with the apply. */
function cleared(components: readonly PlanChange[], overrides: Overrides): PlanChange[] {
  const touched = new Set(components.map(({ name }) => name));
  return overrides.scales.filter(({ component }) => touched.has(component)).map((scale) => ({
    change: "cleared",
    subject: "override",
    name: scale.node === undefined ? scale.component : `${scale.component} on ${scale.node}`,
    details: [{ key: "replicas", to: `${scale.replicas}, set by realm scale` }],
  }));
}

function realmFields(manifest: Manifest | undefined): Values {
  if (manifest === undefined) return new Map();
  return new Map([["owner", manifest.owner], ...fields(manifest.realm)]);
}

function nodeFields(node: NodeSpec): Values {
  return new Map(fields(node));
}

function componentFields(spec: ComponentSpec, digest: string | undefined): Values {
  const { sha256: _pin, ...rest } = spec;
  return new Map([["digest", digest && `sha256:${digest}`], ...fields(rest)]);
}

function secretFields(value: string): Values {
  return new Map([["value", `sha256:${sha256HexSync(new TextEncoder().encode(value))}`]]);
}

/** A route is the same one while its target, host, path and component are. */
function routeFields(routes: readonly Route[] = []): ReadonlyMap<string, Values> {
  return new Map(routes.map(({ target, host, path, component, key: _key, ...rest }) => [
    `${formatTarget(target)} ${host ?? ""}${path} -> ${component}`,
    new Map(fields(rest)),
  ]));
}

/** Every field of a table, by its key in the file, as text. */
function fields(table: object): [string, string | undefined][] {
  return Object.entries(table).map(([name, value]) => [fileKey(name), textOf(value)]);
}

function textOf(value: unknown): string | undefined {
  if (value === undefined) return undefined;
  if (typeof value === "string") return value;
  if (value instanceof Map) return textOf(Object.fromEntries([...value].sort()));
  return JSON.stringify(value);
}

function mapValues<V, R>(
  map: ReadonlyMap<string, V> | undefined,
  convert: (value: V, key: string) => R,
): ReadonlyMap<string, R> {
  return new Map([...map ?? []].map(([key, value]) => [key, convert(value, key)]));
}

/** Rows indented, with the second column aligned. */
function columns(rows: readonly (readonly [string, string])[]): string[] {
  const width = Math.max(0, ...rows.map(([key]) => key.length));
  return rows.map(([key, value]) => `    ${key.padEnd(width)}  ${value}`);
}
