/**
 * Makes the executable: one file that needs nothing installed.
 *
 *     ./dev build [--target TRIPLE] [--output FILE]
 *
 * First `bundle.ts` puts the program and its Workers into a flat folder, then `deno compile` embeds
 * that folder. Beside the executable comes `FILE.sha256`, in the form of
 * sha256sum, and `FILE.json`, which says what it was made of.
 *
 * `deno compile` appends to a base binary that it downloads. Where it cannot (and only for x86-64
 * Linux) `denort.sh` makes one; what comes of that is for tests and is never released.
 *
 * @module
 */
import * as path from "node:path";
import { VERSION } from "../cli/version.ts";
import { BUNDLE, bundle, WORKERS } from "./bundle.ts";
import { deno, fail, ignoreNotFound, note, ROOT } from "./task.ts";

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

/** Compiles the bundle to `output`; whether the base binary was the official one. */
async function compile(target: string, output: string): Promise<"official" | "test"> {
  const names = Array.from(Deno.readDirSync(BUNDLE), (entry) => entry.name).sort();
  const included = names.filter((name) => name.endsWith(".bin") || WORKERS.includes(name));
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

if (import.meta.main) {
  const { target, output } = readArguments(Deno.args);
  await bundle();
  const base = await compile(target, output);
  await describe(target, output, base);
}
