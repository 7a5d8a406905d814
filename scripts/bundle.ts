/**
 * Puts the program and its Workers, with all that they import, into one flat folder.
 *
 * A compiled program that was not bundled embeds every package of the lock file and starts five
 * times slower. Code of packages gets short names, which is a sixth of the bundle; our own keeps
 * its names, since they are what the stack of a bug is read by.
 *
 * @module
 */
import * as path from "node:path";
import { brotliCompressSync, constants } from "node:zlib";
import * as esbuild from "esbuild";
import { bundlePage } from "../web/bundle.ts";
import { deno, fail, ignoreNotFound, ROOT, WORK } from "./task.ts";

/** The folder of the bundle. */
export const BUNDLE = path.join(ROOT, "out", "bundle");

/**
 * The program, what it loads for `realm run`, and the scripts of its Workers; in the bundle each has
 * its own base name. What stands together shares its code, in many small files; what is loaded at
 * every start of a guest, or of an app, stands alone, in as few files as may be.
 */
const ENTRIES = [
  [
    "main.ts",
    "agent/runtime/transpile_worker.ts",
    "agent/runtime/symbols_worker.ts",
    "agent/topics/signature_worker.ts",
  ],
  ["cli/run_only.ts"],
  ["agent/runtime/worker.ts"],
  ["agent/runtime/spawner_worker.ts"],
  ["agent/topics/app_worker.ts"],
];

/** The script of the web page, one file for browsers; in the bundle it is no module of the program. */
const PAGE = { entry: "web/page/page.ts", name: "page.bin" };

/** Says of what kind the files of the bundle are; embedded with them. */
export const PACKAGE = "package.json";

/** When the files of the bundle say that they were written. */
const WRITTEN_AT = new Date("1980-01-01T00:00:00Z");

/** Names in the bundle of the scripts of Workers, which nothing imports. */
export const WORKERS = ENTRIES.flat().map((entry) => scriptName(path.basename(entry)))
  .filter((name) => name.endsWith("worker.js"));

function scriptName(name: string): string {
  return name.replace(/\.ts$/, ".js");
}

/**
 * Bundles {@link ENTRIES}, what they import, and the files they read, into {@link BUNDLE}.
 *
 * `releaseKeys` are what `realm upgrade` will trust. Gives the names of all sources.
 */
export async function bundle(releaseKeys: readonly string[] = []): Promise<Set<string>> {
  await installPackages();
  await Deno.remove(BUNDLE, { recursive: true }).catch(ignoreNotFound);
  await Deno.mkdir(BUNDLE, { recursive: true });
  const sources = rewritten();
  const inputs = new Set<string>();
  for (const entries of ENTRIES) {
    for (const input of await bundleEntries(entries, sources, releaseKeys)) inputs.add(input);
  }
  await Deno.writeFile(path.join(BUNDLE, PAGE.name), await bundlePage(path.join(ROOT, PAGE.entry)));
  await esbuild.stop();
  // Its own configuration: without one `deno compile` takes ours and embeds every package.
  await Deno.writeTextFile(
    path.join(BUNDLE, "deno.json"),
    JSON.stringify({ nodeModulesDir: "none", lock: false, unstable: ["net", "worker-options"] }),
  );
  // Else Deno looks for one in every folder above, up to those that anybody may write to, before it
  // takes each file for a module.
  await Deno.writeTextFile(path.join(BUNDLE, PACKAGE), '{"type":"module"}');
  // `deno compile` embeds when each was written; two builds are to be the same to the byte.
  for (const { name } of Deno.readDirSync(BUNDLE)) {
    await Deno.utime(path.join(BUNDLE, name), WRITTEN_AT, WRITTEN_AT);
  }
  return inputs;
}

/** Bundles what stands together; the sources of which something is in it. */
async function bundleEntries(
  entries: string[],
  sources: esbuild.Plugin,
  releaseKeys: readonly string[],
): Promise<string[]> {
  const name = path.basename(entries[0]!, ".ts");
  const result = await esbuild.build({
    absWorkingDir: ROOT,
    entryPoints: entries,
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
    define: {
      "process.env.NODE_ENV": '"production"',
      REALM_RELEASE_KEYS: JSON.stringify(releaseKeys.join(" ")),
    },
    // CommonJS packages ask for Node's modules by require(), which an ES module has not. It is made
    // when it is called, since that takes half a millisecond in each file of every start.
    banner: {
      js: 'import { createRequire as realmRequire } from "node:module";\n' +
        "let realmRequired; const require = (name) =>" +
        " (realmRequired ??= realmRequire(import.meta.url))(name);",
    },
    plugins: [alone, replacements, sources],
    metafile: true,
    logLevel: "warning",
  });
  await Deno.writeTextFile(path.join(WORK, `${name}.meta.json`), JSON.stringify(result.metafile));
  return Object.values(result.metafile.outputs).flatMap(({ inputs }) =>
    Object.entries(inputs).filter(([, { bytesInOutput }]) => bytesInOutput > 0).map(([file]) =>
      file
    )
  );
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

/** What stands alone is not bundled with what loads it. */
const alone: esbuild.Plugin = {
  name: "alone",
  setup(build) {
    build.onResolve({ filter: /^\.{1,2}\// }, ({ kind, resolveDir, path: asked }) => {
      const file = path.relative(ROOT, path.resolve(resolveDir, asked));
      const isAlone = ENTRIES.some((entries) => entries.length === 1 && entries[0] === file);
      if (kind !== "dynamic-import" || !isAlone) return undefined;
      return { path: `./${scriptName(path.basename(file))}`, external: true };
    });
  },
};

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
    build.onLoad({ filter: /kad-dht\/.*\/generated-prefix-list\.js$/ }, () => ({
      contents: 'export { default } from "./kad_prefixes.ts";',
      resolveDir: import.meta.dirname!,
    }));
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

/** What is changed in sources before they are bundled. */
function rewritten(): esbuild.Plugin {
  const copied = new Map<string, string>();
  return {
    name: "rewritten",
    setup(build) {
      build.onLoad({ filter: /\.([mc]?js|tsx?)$/ }, async ({ path: file }) => {
        const isPackage = file.includes("node_modules");
        const source = await Deno.readTextFile(file);
        const { contents, warnings } = await withFileUrls(source, file, copied);
        const loader = /\.tsx$/.test(file) ? "tsx" : /\.ts$/.test(file) ? "ts" : "js";
        return { contents: isPackage ? await shortened(contents) : contents, loader, warnings };
      });
    },
  };
}

/**
 * The source with short names for what is local. The rest is left to the bundler: whitespace has
 * the marks by which it finds what nobody calls, and simpler syntax would lose them.
 */
async function shortened(source: string): Promise<string> {
  const { code } = await esbuild.transform(source, {
    minifyIdentifiers: true,
    target: "esnext",
    legalComments: "none",
  });
  return code;
}

/**
 * Carries over what code names by `new URL("./file", import.meta.url)`.
 *
 * In the bundle everything lies in one folder, so a Worker's script becomes `./NAME.js` and any
 * other file is copied to `./NAME`. `.wasm` becomes `.bin`: Deno would take an embedded `.wasm`
 * for a module.
 */
async function withFileUrls(
  source: string,
  file: string,
  copied: Map<string, string>,
): Promise<{ contents: string; warnings: esbuild.PartialMessage[] }> {
  const warnings: esbuild.PartialMessage[] = [];
  const isPackage = file.includes("node_modules");
  let contents = "";
  let at = 0;
  let unpack = false;
  for (const match of source.matchAll(FILE_URL)) {
    const name = match[2]!;
    const target = path.resolve(path.dirname(file), name);
    const stat = await Deno.stat(target).catch(() => undefined);
    // Packages name Workers that only run where realm does not let them.
    if (MODULE.test(name) && isPackage) continue;
    if (stat?.isFile !== true) {
      warnings.push({ text: `Cannot bundle ${file}: it names ${name}, which is not a file` });
      continue;
    }
    const packed = name.endsWith(".wasm") && isPackage;
    const url = await place(target, copied, packed);
    contents += source.slice(at, match.index) + `new URL("./${url}", import.meta.url)`;
    at = match.index + match[0].length;
    unpack ||= packed;
  }
  contents += source.slice(at);
  return { contents: unpack ? unpacking(contents, file) : contents, warnings };
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
  if (path.relative(ROOT, file) === PAGE.entry) return PAGE.name;
  if (MODULE.test(name)) {
    if (!ENTRIES.flat().includes(path.relative(ROOT, file))) {
      fail(`Cannot bundle the Worker ${file}: it is not in ENTRIES of scripts/bundle.ts`);
    }
    return scriptName(name);
  }
  const target = name.replace(/\.wasm$|(?<=\.(html|css|svg))$/, ".bin");
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
