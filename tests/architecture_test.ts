/**
 * The architecture as a test: which way imports point, and what the pure folders may not touch.
 *
 *     main -> cli, tui, web -> agent -> topics -> member -> node -> shell folders
 *     shell folders -> apps, realm -> kernel; shell folders, apps -> wasm -> kernel
 *
 * Shell folders never import one another. Tests, what they share (`_conformance.ts`, `_fake.ts`,
 * `_vectors.ts`), and the folders `tests`, `scripts`, `bench` and `fixtures` stand outside: they
 * may import anything, and nothing of the program may import them. The graph comes from `deno info --json`.
 *
 * @module
 */
import assert from "node:assert/strict";
import * as path from "node:path";
import { pathToFileURL } from "node:url";

const ROOT = path.resolve(import.meta.dirname!, "..");

/** Folders that put parts together, each of them above the next. */
const COMPOSITION = ["topics", "member", "node"];
const PURE = ["apps", "realm", "wasm", "kernel"];
const SHELL = [
  "runtime",
  "broker",
  "net",
  "store",
  "artifact",
  "proxy",
  "control",
  "observe",
  "supervisor",
];

/** Single files of shell folders that the command line may use: they start nothing. */
const DOORS: Readonly<Record<string, string>> = {
  "agent/control/client.ts": "control client",
  "agent/control/sse.ts": "event stream",
  "agent/runtime/inspect.ts": "inspection",
};

/** What those may import. */
const COMPOSED = [...SHELL, "control client", "inspection", "apps", "realm", "wasm", "kernel"];

/** From each part to the parts that it may import beside itself. */
const ALLOWED: Readonly<Record<string, readonly string[]>> = {
  main: ["cli"],
  cli: [
    ...["tui", "web", "agent", ...COMPOSITION],
    ...["control client", "inspection", "apps", "realm", "kernel"],
  ],
  tui: ["agent", "control client", "realm", "kernel"],
  web: ["web page", "control client", "event stream", "kernel"],
  "web page": ["tui", "event stream", "kernel"],
  agent: [...COMPOSITION, ...COMPOSED],
  ...Object.fromEntries(
    COMPOSITION.map((folder, i) => [folder, [...COMPOSITION.slice(i + 1), ...COMPOSED]]),
  ),
  ...Object.fromEntries(SHELL.map((folder) => [folder, ["apps", "realm", "wasm", "kernel"]])),
  control: ["control client", "event stream", "apps", "realm", "wasm", "kernel"],
  "event stream": ["kernel"],
  "control client": ["control", "event stream", "realm", "kernel"],
  inspection: ["runtime", "apps", "wasm", "kernel"],
  apps: ["wasm", "kernel"],
  realm: ["kernel"],
  wasm: ["kernel"],
  kernel: [],
};

/** Tests, and the suites and stand-ins that several of them share. */
const FOR_TESTS = /_(?:test|conformance|fake|vectors)\.tsx?$/;

interface Import {
  /** Paths relative to the repository, or a specifier such as `node:fs`. */
  readonly from: string;
  readonly to: string;
}

/** The part that a file belongs to; `undefined` outside the program. */
function partOf(file: string): string | undefined {
  if (file === "main.ts") return "main";
  if (Object.hasOwn(DOORS, file)) return DOORS[file];
  const [top, folder, ...rest] = file.split("/");
  if (top === "cli" || top === "tui") return top;
  if (top === "web") return folder === "page" ? "web page" : "web";
  if (top !== "agent" || folder === undefined) return undefined;
  if (rest.length === 0) return "agent"; // a file right in agent/
  return [...COMPOSITION, ...SHELL, ...PURE].includes(folder) ? folder : undefined;
}

/** The imports that point outward, each with the reason. */
function violations(imports: readonly Import[]): string[] {
  return imports.flatMap(({ from, to }) => {
    const part = partOf(from);
    if (part === undefined) return [`${from} belongs to no part of the program`];
    if (to.startsWith("node:")) {
      return PURE.includes(part) ? [`${from} imports ${to}: ${part} is pure`] : [];
    }
    if (to.startsWith("npm:")) return [];
    const target = partOf(to);
    if (FOR_TESTS.test(to)) return [`${from} imports ${to}, which is for tests`];
    if (target === part || (target !== undefined && ALLOWED[part]!.includes(target))) return [];
    return [`${from} imports ${to}: ${part} may import ${ALLOWED[part]!.join(", ") || "nothing"}`];
  });
}

/** The files of the program, relative to the repository. */
function programFiles(): string[] {
  return ["main.ts", ...filesIn(["agent", "cli", "tui", "web"], (name) => !FOR_TESTS.test(name))];
}

/** The files of code in these folders whose names are taken, sorted. */
function filesIn(folders: readonly string[], takes: (name: string) => boolean): string[] {
  const walk = (folder: string): string[] =>
    [...Deno.readDirSync(path.join(ROOT, folder))].flatMap(({ name, isDirectory }) =>
      isDirectory
        ? walk(`${folder}/${name}`)
        : /\.tsx?$/.test(name) && takes(name)
        ? [`${folder}/${name}`]
        : []
    );
  return folders.flatMap(walk).sort();
}

/** Every import, dynamic and type-only ones too, of the files. */
async function importsOf(files: readonly string[]): Promise<Import[]> {
  const folder = await Deno.makeTempDir({ prefix: "realm-graph-" });
  try {
    // Not every file is reached from main.ts: Workers are roots of their own.
    const all = path.join(folder, "all.ts");
    const urls = files.map((file) => pathToFileURL(path.join(ROOT, file)).href);
    await Deno.writeTextFile(all, urls.map((url) => `import ${JSON.stringify(url)};\n`).join(""));
    const { stdout, stderr, success } = await new Deno.Command(Deno.execPath(), {
      args: ["info", "--json", "--config", path.join(ROOT, "deno.json"), "--no-lock", all],
      env: { NO_COLOR: "1" },
    }).output();
    assert.ok(success, new TextDecoder().decode(stderr));
    const { modules } = JSON.parse(new TextDecoder().decode(stdout)) as { modules: Module[] };
    const root = pathToFileURL(ROOT).href + "/";
    const name = (url: string) => url.startsWith(root) ? url.slice(root.length) : url;
    return modules.filter((module) => module.specifier.startsWith(root)).flatMap((module) =>
      (module.dependencies ?? []).map((dependency) => ({
        from: name(module.specifier),
        to: name(
          dependency.code?.specifier ?? dependency.type?.specifier ?? dependency.specifier,
        ),
      }))
    );
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

interface Module {
  readonly specifier: string;
  readonly dependencies?: readonly {
    readonly specifier: string;
    readonly code?: { readonly specifier?: string };
    readonly type?: { readonly specifier?: string };
  }[];
}

/** Ways to reach time, chance and the world that pure code has to be given instead. */
const IMPURE =
  /\bDeno\b|\bprocess\.|\bDate\.now\b|\bnew Date\(\)|\bMath\.random\b|\bperformance\.|\bset(?:Timeout|Interval)\b|\bfetch\(|\bgetRandomValues\b|\brandomUUID\b/;

/** The lines of code that touch the world; comments do not count. */
function impureLines(source: string): string[] {
  const withoutBlocks = source.replace(/\/\*[^]*?\*\//g, (block) => block.replace(/[^\n]/g, ""));
  return withoutBlocks.split("\n").flatMap((line, i) => {
    const code = line.replace(/(^|\s)\/\/.*$/, "");
    return IMPURE.test(code) ? [`${i + 1}: ${line.trim()}`] : [];
  });
}

Deno.test("violations() finds imports that point outward", () => {
  const edge = (from: string, to: string) => violations([{ from, to }]).length;
  const allowed: [string, string][] = [
    ["main.ts", "cli/app.ts"],
    ["cli/run.ts", "agent/agent.ts"],
    ["cli/logs.ts", "agent/control/client.ts"],
    ["cli/ui.ts", "tui/app.tsx"],
    ["cli/ui.ts", "web/server.ts"],
    ["web/server.ts", "web/page/live.ts"],
    ["web/page/page.ts", "agent/control/sse.ts"],
    ["cli/apps.ts", "agent/apps/bundle.ts"],
    ["agent/agent.ts", "agent/store/sqlite_store.ts"],
    ["agent/runtime/wasi/io.ts", "agent/runtime/ledger.ts"],
    ["agent/runtime/transpile.ts", "agent/wasm/component.ts"],
    ["agent/apps/profile.ts", "agent/wasm/component.ts"],
    ["agent/proxy/proxy.ts", "agent/realm/routing.ts"],
    ["agent/realm/manifest.ts", "agent/kernel/error.ts"],
    ["agent/store/disk_blobs.ts", "node:fs"],
    ["agent/kernel/cbor.ts", "npm:/multiformats@14.0.5/"],
  ];
  for (const [from, to] of allowed) assert.equal(edge(from, to), 0, `${from} -> ${to}`);
  const refused: [string, string][] = [
    ["agent/kernel/event.ts", "agent/realm/manifest.ts"],
    ["agent/kernel/event.ts", "node:crypto"],
    ["agent/apps/bundle.ts", "node:fs"],
    ["agent/realm/plan.ts", "agent/apps/bundle.ts"],
    ["agent/wasm/component.ts", "agent/runtime/artifact.ts"],
    ["agent/wasm/component.ts", "node:fs"],
    ["cli/run.ts", "agent/wasm/component.ts"],
    ["agent/proxy/proxy.ts", "agent/runtime/engine.ts"],
    ["agent/observe/metrics.ts", "agent/control/server.ts"],
    ["agent/store/disk_blobs.ts", "agent/agent.ts"],
    ["agent/agent.ts", "cli/run.ts"],
    ["cli/run.ts", "agent/runtime/engine.ts"],
    ["cli/run.ts", "agent/control/server.ts"],
    ["tui/app.tsx", "cli/context.ts"],
    ["web/page/page.ts", "agent/control/client.ts"],
    ["web/page/page.ts", "web/server.ts"],
    ["tui/app.tsx", "web/server.ts"],
    ["main.ts", "agent/agent.ts"],
    ["agent/kernel/event.ts", "tests/vectors.ts"],
    ["cli/bench.ts", "bench/bench.ts"],
    ["cli/app.ts", "cli/shell_fake.ts"],
    ["agent/store/sqlite_store.ts", "agent/store/store_conformance.ts"],
    ["agent/misplaced/file.ts", "agent/kernel/error.ts"],
  ];
  for (const [from, to] of refused) assert.equal(edge(from, to), 1, `${from} -> ${to}`);
});

Deno.test("impureLines() finds what touches the world, and not what speaks of it", () => {
  const source = [
    "/** Not Deno.cwd(). */",
    "const a = now; // not Date.now()",
    "const b = Date.now();",
    "/* Math.random() */ const c = Math.random();",
    'const url = "https://x"; Deno.exit();',
    "const DenoLike = 1;",
  ].join("\n");
  assert.deepEqual(impureLines(source).map((line) => line.split(":")[0]), ["3", "4", "5"]);
});

Deno.test("imports point one way: main, cli, agent, shell folders, realm and apps, wasm, kernel", async () => {
  const files = programFiles();
  const imports = await importsOf(files);
  assert.ok(imports.some(({ from }) => from === "main.ts"), "the graph was read");
  for (const file of files) assert.notEqual(partOf(file), undefined, `${file} has no part`);
  assert.deepEqual(violations(imports), []);
});

Deno.test("kernel, wasm, realm and apps do no I/O: time and chance are arguments", () => {
  const found = programFiles().filter((file) => PURE.includes(partOf(file)!)).flatMap((file) =>
    impureLines(Deno.readTextFileSync(path.join(ROOT, file))).map((line) => `${file}:${line}`)
  );
  assert.deepEqual(found, []);
});

Deno.test("the environment is read in two places", () => {
  const readers = programFiles().filter((file) =>
    /\bDeno\.env\.(?!set\()|\bprocess\.env\b/.test(Deno.readTextFileSync(path.join(ROOT, file)))
  );
  const allowed = ["agent/agent.ts", "cli/context.ts"];
  assert.deepEqual(readers.filter((file) => !allowed.includes(file)), []);
});

Deno.test("every module says what it is for, under a name that says it too", () => {
  for (const file of programFiles()) {
    const source = Deno.readTextFileSync(path.join(ROOT, file));
    assert.match(source, /^(?:#!.*\n)?\/\*\*[^]*?@module\b[^]*?\*\//, `${file} has no @module`);
    assert.match(path.basename(file), /^[a-z0-9_]+\.tsx?$/, `${file} is not in snake_case`);
    assert.doesNotMatch(path.basename(file), /util|helper|manager|misc|common/, file);
  }
});

Deno.test("tests take jco's tools from where they are ready before a test begins", () => {
  const tests = [
    ...filesIn(["agent", "cli", "tui", "web", "bench"], (name) => FOR_TESTS.test(name)),
    ...filesIn(["tests"], () => true),
  ];
  const takers = tests.filter((file) =>
    /from "@bytecodealliance\/jco-transpile/.test(Deno.readTextFileSync(path.join(ROOT, file)))
  );
  assert.deepEqual(takers, ["tests/wasm_glue.ts", "tests/wasm_tools.ts"]);
});
