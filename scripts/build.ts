/**
 * Makes the executable: one file that needs nothing installed.
 *
 *     ./dev build [--target TRIPLE] [--output FILE]
 *
 * First esbuild bundles the program and its Workers into a flat folder (a compiled program would
 * otherwise embed every package of the lock file and start five times slower), then
 * `deno compile` embeds that folder. Beside the executable comes `FILE.sha256`, in the form of
 * sha256sum, and `FILE.json`, which says what it was made of.
 *
 * `deno compile` appends to a base binary that it downloads. Where it cannot (and only for x86-64
 * Linux) `denort.sh` makes one; what comes of that is for tests and is never released.
 *
 * @module
 */
import * as path from "node:path";
import { brotliCompressSync, constants } from "node:zlib";
import * as esbuild from "esbuild";
import { VERSION } from "../cli/version.ts";

const ROOT = path.resolve(import.meta.dirname!, "..");
const WORK = path.join(ROOT, ".cache", "build");
const BUNDLE = path.join(ROOT, "out", "bundle");

/** The program, then the scripts of its Workers; in the bundle each has its own base name. */
const ENTRIES = [
  "main.ts",
  "agent/runtime/worker.ts",
  "agent/runtime/spawner_worker.ts",
  "agent/runtime/transpile_worker.ts",
  "agent/runtime/symbols_worker.ts",
  "agent/app_worker.ts",
];

/** What the commands of realm need; nobody is ever asked for more. `realm agent` revokes most. */
const PERMISSIONS = [
  "--allow-read",
  "--allow-write",
  "--allow-net",
  "--allow-env",
  "--allow-sys",
  "--allow-run",
  "--no-prompt",
];

/** The executable that everybody downloads must not grow without a reason. */
const SIZE_MAX_BYTES = 105_000_000;

/** Exit status when there is no base binary to build on; tests of the executable are skipped. */
const NO_BASE_STATUS = 75;

const TARGETS = [
  "x86_64-unknown-linux-gnu",
  "aarch64-unknown-linux-gnu",
  "x86_64-apple-darwin",
  "aarch64-apple-darwin",
  "x86_64-pc-windows-msvc",
];

function readArguments(args: string[]): { target: string; output: string } {
  const options: Record<string, string> = {};
  for (let i = 0; i < args.length; i += 2) {
    const [name, value] = [args[i]!, args[i + 1]];
    if (!["--target", "--output"].includes(name) || value === undefined) {
      fail(
        `Cannot read the arguments: ${args.join(" ")}, wanted [--target TRIPLE] [--output FILE]`,
      );
    }
    options[name.slice(2)] = value;
  }
  const target = options.target ?? Deno.build.target;
  if (!TARGETS.includes(target)) {
    fail(`Cannot build for ${target}, wanted one of ${TARGETS.join(", ")}`);
  }
  const suffix = options.target === undefined ? "" : `-${target}`;
  const name = `realm${suffix}${target.includes("windows") ? ".exe" : ""}`;
  return { target, output: path.resolve(options.output ?? path.join(ROOT, "out", name)) };
}

/**
 * Bundles {@link ENTRIES}, what they import, and the files they read, into {@link BUNDLE}.
 *
 * Each on its own: they share no chunks, which would be many small files to load at every start.
 */
async function bundle(): Promise<void> {
  await installPackages();
  await Deno.remove(BUNDLE, { recursive: true }).catch(ignoreNotFound);
  await Deno.mkdir(BUNDLE, { recursive: true });
  const urls = fileUrls();
  for (const entry of ENTRIES) await bundleEntry(entry, urls);
  await esbuild.stop();
  // Its own configuration: without one `deno compile` takes ours and embeds every package.
  await Deno.writeTextFile(
    path.join(BUNDLE, "deno.json"),
    JSON.stringify({ nodeModulesDir: "none", lock: false, unstable: ["net", "worker-options"] }),
  );
}

async function bundleEntry(entry: string, urls: esbuild.Plugin): Promise<void> {
  const name = path.basename(entry, ".ts");
  const result = await esbuild.build({
    absWorkingDir: ROOT,
    entryPoints: [entry],
    outdir: BUNDLE,
    entryNames: "[name]",
    chunkNames: "chunk-[hash]",
    bundle: true,
    splitting: true,
    format: "esm",
    platform: "node",
    target: "esnext",
    jsx: "automatic",
    tsconfigRaw: {},
    minifySyntax: true,
    minifyWhitespace: true,
    legalComments: "none",
    nodePaths: [path.join(WORK, "node_modules")],
    // React and Ink read it when they load; development builds are half as fast.
    define: { "process.env.NODE_ENV": '"production"' },
    // CommonJS packages ask for Node's modules by require(), which an ES module has not. It is made
    // when it is called, since that takes half a millisecond in each file of every start.
    banner: {
      js: 'import { createRequire as realmRequire } from "node:module";\n' +
        "let realmRequired; const require = (name) =>" +
        " (realmRequired ??= realmRequire(import.meta.url))(name);",
    },
    plugins: [replacements, urls],
    metafile: true,
    logLevel: "warning",
  });
  await Deno.writeTextFile(path.join(WORK, `${name}.meta.json`), JSON.stringify(result.metafile));
}

/** Lays the locked packages out as a folder, which is where esbuild looks for them. */
async function installPackages(): Promise<void> {
  await Deno.mkdir(WORK, { recursive: true });
  const config = JSON.parse(await Deno.readTextFile(path.join(ROOT, "deno.json")));
  await Deno.writeTextFile(
    path.join(WORK, "deno.json"),
    JSON.stringify({ nodeModulesDir: "auto", imports: config.imports }),
  );
  await Deno.copyFile(path.join(ROOT, "deno.lock"), path.join(WORK, "deno.lock"));
  await deno(["install", "--quiet", ...(Deno.env.get("CI") ? ["--frozen"] : [])], { cwd: WORK });
}

/** Modules in place of which the bundle has others. */
const replacements: esbuild.Plugin = {
  name: "replacements",
  setup(build) {
    // Ink asks for React's developer tools in a branch that is never taken.
    build.onResolve({ filter: /^react-devtools-core$/ }, () => ({
      path: "react-devtools-core",
      namespace: "empty",
    }));
    build.onLoad({ filter: /.*/, namespace: "empty" }, () => ({ contents: "export default {};" }));
    // jco's own components compute and touch nothing; the form of their host that is made for
    // browsers starts no Worker and reads no environment.
    build.onResolve({ filter: /^@bytecodealliance\/preview2-shim\/\w+$/ }, async (asked) => {
      if (asked.pluginData === "asked") return undefined;
      const { path: file, errors } = await build.resolve(asked.path, {
        kind: asked.kind,
        resolveDir: asked.resolveDir,
        pluginData: "asked",
      });
      return { path: file.replace("/dist/nodejs/", "/dist/browser/"), errors };
    });
  },
};

/**
 * Carries over what code names by `new URL("./file", import.meta.url)`.
 *
 * In the bundle everything lies in one folder, so a Worker's script becomes `./NAME.js` and any
 * other file is copied to `./NAME`. `.wasm` becomes `.bin`: Deno would take an embedded `.wasm`
 * for a module.
 */
function fileUrls(): esbuild.Plugin {
  const copied = new Map<string, string>();
  return {
    name: "file-urls",
    setup(build) {
      build.onLoad({ filter: /\.([mc]?js|tsx?)$/ }, async ({ path: file }) => {
        const source = await Deno.readTextFile(file);
        if (!source.includes("import.meta.url")) return undefined;
        const warnings: esbuild.PartialMessage[] = [];
        let contents = "";
        let at = 0;
        let unpack = false;
        for (const match of source.matchAll(FILE_URL)) {
          const name = match[2]!;
          const target = path.resolve(path.dirname(file), name);
          const stat = await Deno.stat(target).catch(() => undefined);
          // Packages name Workers that only run where realm does not let them.
          if (MODULE.test(name) && file.includes("node_modules")) continue;
          if (stat?.isFile !== true) {
            warnings.push({ text: `Cannot bundle ${file}: it names ${name}, which is not a file` });
            continue;
          }
          const packed = name.endsWith(".wasm") && file.includes("node_modules");
          const url = await place(target, copied, packed);
          contents += source.slice(at, match.index) + `new URL("./${url}", import.meta.url)`;
          at = match.index + match[0].length;
          unpack ||= packed;
        }
        contents += source.slice(at);
        if (unpack) contents = unpacking(contents, file);
        const loader = /\.tsx$/.test(file) ? "tsx" : /\.ts$/.test(file) ? "ts" : "js";
        return { contents, loader, warnings };
      });
    },
  };
}

const MODULE = /\.[mc]?[jt]sx?$/;
const FILE_URL = /new URL\(\s*(["'`])(\.{1,2}\/[^"'`$]+)\1,\s*import\.meta\.url,?\s*\)/g;

/** Puts a file that is not a module into the bundle; its name there. */
async function place(
  file: string,
  copied: Map<string, string>,
  packed: boolean,
): Promise<string> {
  const name = path.basename(file);
  if (MODULE.test(name)) {
    if (!ENTRIES.includes(path.relative(ROOT, file))) {
      fail(`Cannot bundle the Worker ${file}: it is not in ENTRIES of scripts/build.ts`);
    }
    return name.replace(/\.ts$/, ".js");
  }
  const target = name.replace(/\.wasm$/, ".bin");
  const from = copied.get(target);
  if (from !== undefined && from !== file) {
    fail(`Cannot bundle ${file}: ${from} has the same name, wanted another`);
  }
  if (from === undefined) {
    const bytes = await Deno.readFile(file);
    await Deno.writeFile(
      path.join(BUNDLE, target),
      packed ? brotliCompressSync(bytes, PACKING) : bytes,
    );
    copied.set(target, file);
  }
  return target;
}

/** The best quality takes 15 s for a tenth less. */
const PACKING = {
  params: { [constants.BROTLI_PARAM_QUALITY]: 9, [constants.BROTLI_PARAM_LGWIN]: 24 },
};

/** How jco loads its own WebAssembly. */
const JCO_LOAD = "WebAssembly.compile(await _fs.readFile(url))";

/**
 * jco's own WebAssembly is 6 MB and packs to a quarter; unpacking takes 30 ms, once, in a Worker
 * whose work takes longer.
 */
function unpacking(source: string, file: string): string {
  if (source.split(JCO_LOAD).length !== 2) {
    fail(`Cannot bundle ${file}: it does not load its WebAssembly as expected: ${JCO_LOAD}`);
  }
  return source.replace(
    JCO_LOAD,
    "WebAssembly.compile((await import('node:zlib'))" +
      ".brotliDecompressSync(await _fs.readFile(url)))",
  );
}

/** Compiles the bundle to `output`; whether the base binary was the official one. */
async function compile(target: string, output: string): Promise<"official" | "test"> {
  const names = Array.from(Deno.readDirSync(BUNDLE), (entry) => entry.name).sort();
  const scripts = ENTRIES.slice(1).map((entry) => path.basename(entry).replace(/\.ts$/, ".js"));
  const included = names.filter((name) => name.endsWith(".bin") || scripts.includes(name));
  const args = [
    "compile",
    "--quiet",
    "--no-check",
    "--no-remote",
    "--no-code-cache",
    // Else V8 collects garbage for every 64 MiB of declared memory, touched or not: with an instance
    // for each request that is most of what an instance costs.
    "--v8-flags=--external-memory-accounted-in-global-limit",
    ...PERMISSIONS,
    ...included.flatMap((name) => ["--include", name]),
    "--target",
    target,
    "--output",
    output,
    "main.js",
  ];
  await Deno.mkdir(path.dirname(output), { recursive: true });
  await Deno.remove(output).catch(ignoreNotFound);
  // DENORT_BIN would be used for any target, and give an executable of another one.
  const official = await deno(args, { cwd: BUNDLE, env: { DENORT_BIN: "" }, may: "fail" });
  if (official === undefined) return "official";
  if (!/base binary|denort/i.test(official)) fail(`Cannot compile:\n${official}`);
  if (target !== "x86_64-unknown-linux-gnu") {
    fail(`Cannot compile for ${target}: its base binary cannot be downloaded\n${official}`);
  }
  note("The official base binary cannot be downloaded; making one for tests (scripts/denort.sh)");
  const script = path.join(ROOT, "scripts", "denort.sh");
  const made = await new Deno.Command("sh", { args: [script], stderr: "inherit" }).output();
  if (!made.success) {
    note("No base binary can be had: nothing was built");
    Deno.exit(NO_BASE_STATUS);
  }
  const DENORT_BIN = new TextDecoder().decode(made.stdout).trim();
  await deno(args, { cwd: BUNDLE, env: { DENORT_BIN } });
  return "test";
}

/** Checks the size, writes the files beside the executable, and says what was made. */
async function describe(target: string, output: string, base: string): Promise<void> {
  const bytes = await Deno.readFile(output);
  const sha256 = Array.from(
    new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)),
    (byte) => byte.toString(16).padStart(2, "0"),
  ).join("");
  await Deno.writeTextFile(`${output}.sha256`, `${sha256}  ${path.basename(output)}\n`);
  const about = { version: VERSION, target, base, bytes: bytes.length, sha256 };
  await Deno.writeTextFile(`${output}.json`, JSON.stringify(about, null, 2) + "\n");
  const megabytes = (bytes.length / 1e6).toFixed(1);
  note(`realm ${VERSION} for ${target}: ${path.relative(ROOT, output)}, ${megabytes} MB`);
  if (base === "test") note("Its base binary is not the official one: for tests, never release it");
  if (bytes.length > SIZE_MAX_BYTES) {
    fail(`Cannot accept ${output}: ${megabytes} MB, wanted at most ${SIZE_MAX_BYTES / 1e6} MB`);
  }
}

/** Runs this Deno. With `may: "fail"` gives what it said when it failed, else ends the build. */
async function deno(
  args: string[],
  options: { cwd: string; env?: Record<string, string>; may?: "fail" },
): Promise<string | undefined> {
  const env: Record<string, string> = { ...Deno.env.toObject(), NO_COLOR: "1", ...options.env };
  if (env.DENORT_BIN === "") delete env.DENORT_BIN;
  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
    args,
    cwd: options.cwd,
    clearEnv: true,
    env,
    stdout: "inherit",
    stderr: "piped",
  }).output();
  if (success) return undefined;
  const text = new TextDecoder().decode(stderr);
  if (options.may !== "fail") fail(`Cannot run deno ${args[0]}:\n${text}`);
  return text;
}

function ignoreNotFound(error: unknown): void {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}

function note(text: string): void {
  console.error(text);
}

function fail(message: string): never {
  console.error(`error: ${message}`);
  Deno.exit(1);
}

if (import.meta.main) {
  const { target, output } = readArguments(Deno.args);
  await bundle();
  const base = await compile(target, output);
  await describe(target, output, base);
}
