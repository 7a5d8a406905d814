/**
 * The reference of `realm.toml` and `policy.toml`, from their schemas: the keys and defaults are
 * those of a small file that was read, and what a value may be is what the error for a wrong one
 * says was wanted. A key without a text, and a text without a key, is an error.
 *
 * @module
 */
import { keyOf, pathOf, type Problem } from "../../agent/kernel/config.ts";
import { RealmError } from "../../agent/kernel/error.ts";
import { parseManifest } from "../../agent/realm/manifest.ts";
import { parsePolicy } from "../../agent/realm/policy.ts";
import { MANIFEST_TEXTS, POLICY_TEXTS } from "./key_texts.ts";

type Texts = Readonly<Record<string, Readonly<Record<string, string>>>>;
type Tree = { readonly [key: string]: unknown };

/** A table of keys in a file. */
interface Table {
  /** Its name in the texts, and its heading. */
  readonly name: string;
  /** Where it is in the file's tree: names of tables, and places in arrays. */
  readonly at: readonly (string | number)[];
  /** What reading the file made of it. */
  readonly read: object;
}

const OWNER = "ed25519:AhH8w2pN4SgG3K9qXUYjYxCPdqnbwGu4cMfSgEXficaz";
const MANIFEST: Tree = {
  owner: { pubkey: OWNER },
  realm: {},
  nodes: { n: { quota: {} } },
  components: {
    c: {
      source: "file:c.wasm",
      world: "wasi:http/proxy",
      mounts: [{ volume: "v", guest: "/v" }],
      health: { http: "/" },
      placement: {},
    },
  },
  routing: { n: [{ path: "/", component: "c" }] },
};
const POLICY: Tree = { mounts: { allow: [{ host: "/srv" }] } };

/** Tables for the keys of `realm.toml`, as Markdown. */
export function manifestReference(): string {
  const { realm, nodes, components, routes } = parseManifest(toml(MANIFEST));
  const [node, component] = [nodes.get("n")!, components.get("c")!];
  const { key: _key, target: _target, ...route } = routes[0]!;
  const tables: Table[] = [
    { name: "[owner]", at: ["owner"], read: { pubkey: undefined } },
    { name: "[realm]", at: ["realm"], read: realm },
    { name: "[nodes.NAME]", at: ["nodes", "n"], read: node },
    { name: "quota", at: ["nodes", "n", "quota"], read: node.quota! },
    {
      name: "[components.NAME]",
      at: ["components", "c"],
      // What the sample writes because its tables are shown, too.
      read: { ...component, mounts: [], health: undefined, placement: undefined },
    },
    {
      name: "mounts",
      at: ["components", "c", "mounts", 0],
      read: { ...component.mounts[0]!, volume: undefined },
    },
    {
      name: "health",
      at: ["components", "c", "health"],
      read: { ...component.health!, http: undefined },
    },
    {
      name: "placement of a component",
      at: ["components", "c", "placement"],
      read: component.placement!,
    },
    { name: "[routing]", at: ["routing", "n", 0], read: route },
  ];
  return reference(tables, MANIFEST, MANIFEST_TEXTS, parseManifest);
}

/** Tables for the keys of `policy.toml`, as Markdown. */
export function policyReference(): string {
  const policy = parsePolicy(toml(POLICY));
  const { exec, mounts, limits, isolation, listen, loopback } = policy;
  const tables: Table[] = [
    { name: "policy", at: [], read: { exec } },
    { name: "[mounts]", at: ["mounts"], read: { allow: [] } },
    { name: "mounts.allow", at: ["mounts", "allow", 0], read: mounts.allow[0]! },
    { name: "[limits]", at: ["limits"], read: limits },
    { name: "[isolation]", at: ["isolation"], read: isolation },
    { name: "[listen]", at: ["listen"], read: listen },
    { name: "[loopback]", at: ["loopback"], read: loopback },
  ];
  return reference(tables, POLICY, POLICY_TEXTS, parsePolicy);
}

function reference(
  tables: readonly Table[],
  sample: Tree,
  texts: Texts,
  parse: (text: string) => unknown,
): string {
  const names = tables.map(({ name }) => name);
  for (const name of Object.keys(texts)) {
    if (!names.includes(name)) throw new Error(`there is a text of ${name}, which is no table`);
  }
  return tables.map(({ name, at, read }) => {
    const keys = Object.keys(read).map(keyOf);
    for (const key of Object.keys(texts[name]!)) {
      if (!keys.includes(key)) throw new Error(`there is a text of ${key} of ${name}, no such key`);
    }
    const rows = Object.entries(read).map(([field, value]) => {
      const key = keyOf(field);
      const text = texts[name]?.[key];
      if (text === undefined) throw new Error(`there is no text for ${key} of ${name}`);
      const without = parses(put(sample, [...at, key], undefined), parse);
      const fallback = without ? shown(value) : "must be there";
      const place = [...at, key];
      const wanted = WANTED[key] ?? wantedBy((wrong) => {
        const found = problems(put(sample, place, wrong), parse);
        return found.filter(({ path }) => path.startsWith(pathTo(place)));
      }, key);
      return `| \`${key}\` | ${text} | ${grouped(wanted)} | ${fallback} |`;
    });
    const heading = name === "policy" ? [] : [`### ${/^\[/.test(name) ? `\`${name}\`` : name}`, ""];
    return [
      ...heading,
      "| key | what it is for | value | when it is not written |",
      "| --- | --- | --- | --- |",
      ...rows,
    ].join("\n");
  }).join("\n\n");
}

/** A default as the file would write it. */
function shown(value: unknown): string {
  if (value === undefined) return "none";
  if (value instanceof Map) return "`{}`";
  return `\`${grouped(JSON.stringify(value))}\``;
}

/** Long numbers in groups of three digits, as the files may write them. */
function grouped(text: string): string {
  return text.replace(/\b\d{5,}\b/g, (digits) => digits.replace(/\B(?=(\d{3})+$)/g, "_"));
}

/** Where what was wanted of a wrong value says too little. */
const WANTED: Readonly<Record<string, string>> = {
  env: "a table of strings",
  vars: "a table of strings",
  args: "an array of strings",
};

/** What a value may be, from what errors say of wrong ones. */
function wantedBy(complaints: (wrong: unknown) => readonly Problem[], key: string): string {
  const of = (wrong: unknown) =>
    complaints(wrong).flatMap(({ message }) => /.*wanted (.*)$/.exec(message)?.[1] ?? []).at(0);
  const kind = of(WRONG);
  if (kind === undefined) throw new Error(`nothing is wrong with ${key} = ${WRONG}`);
  if (kind.startsWith("an array")) {
    const item = of([WRONG]) ?? "";
    const items = item === "a string" ? of(["\0"]) ?? item : item;
    return `an array of: ${items}${kind.replace(/^an array( of names)?/, "")}`;
  }
  return kind === "a string" ? of("\0") ?? kind : kind;
}

/** A date: nothing in these files is one. */
const WRONG = new Date(0);

/** `nodes.n.quota`, `routing.n[0].path`: a place as problems name it. */
function pathTo(place: readonly (string | number)[]): string {
  return place.reduce<string>(
    (path, part) => typeof part === "number" ? `${path}[${part}]` : pathOf(path, part),
    "",
  );
}

function problems(file: Tree, parse: (text: string) => unknown): readonly Problem[] {
  try {
    parse(toml(file));
    return [];
  } catch (error) {
    if (!(error instanceof RealmError)) throw error;
    return error.cause as readonly Problem[];
  }
}

function parses(file: Tree, parse: (text: string) => unknown): boolean {
  return problems(file, parse).every(({ message }) => message !== "is missing");
}

/** The tree with another value at a place; `undefined` takes the key away. */
function put(tree: unknown, at: readonly (string | number)[], value: unknown): Tree {
  const [key, ...rest] = at;
  if (key === undefined) return value as Tree;
  const copy = Array.isArray(tree) ? [...tree] : { ...tree as object };
  Object.assign(copy, { [key]: put((tree as Tree | undefined)?.[key], rest, value) });
  return copy as Tree;
}

/** A tree as TOML, in inline tables. */
function toml(value: unknown, top = true): string {
  if (value instanceof Date) return value.toISOString();
  if (Array.isArray(value)) return `[${value.map((each) => toml(each, false)).join(", ")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const pairs = Object.entries(value).filter(([, each]) => each !== undefined)
    .map(([key, each]) => `${JSON.stringify(key)} = ${toml(each, false)}`);
  return top ? `${pairs.join("\n")}\n` : `{ ${pairs.join(", ")} }`;
}
