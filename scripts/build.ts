/**
 * Makes the executable: one file that needs nothing installed.
 *
 *     ./dev build [--target TRIPLE] [--output FILE] [--release-key KEY]
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
import { sha256Hex } from "../agent/kernel/sha256.ts";
import { VERSION } from "../cli/version.ts";
import { BUNDLE, bundle, PACKAGE, WORKERS } from "./bundle.ts";
import { deno, fail, ignoreNotFound, note, ROOT } from "./task.ts";
import { V8_FLAGS_ARGUMENT } from "./v8_flags.ts";

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

/** What releases are for. */
export const TARGETS = [
  "x86_64-unknown-linux-gnu",
  "aarch64-unknown-linux-gnu",
  "x86_64-apple-darwin",
  "aarch64-apple-darwin",
  "x86_64-pc-windows-msvc",
];

interface Asked {
  readonly target: string;
  readonly output: string;
  readonly releaseKeys: readonly string[];
}

function readArguments(args: string[]): Asked {
  const options: Record<string, string> = {};
  for (let i = 0; i < args.length; i += 2) {
    const [name, value] = [args[i]!, args[i + 1]];
    if (!["--target", "--output", "--release-key"].includes(name) || value === undefined) {
      fail(
        `Cannot read the arguments: ${args.join(" ")}, ` +
          "wanted [--target TRIPLE] [--output FILE] [--release-key KEY]",
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
  return {
    target,
    output: path.resolve(options.output ?? path.join(ROOT, "out", name)),
    releaseKeys: options["release-key"] === undefined ? [] : [options["release-key"]],
  };
}

/**
 * Compiles the bundle to `output`, on the base binary that is given or else on the official one;
 * false where that cannot be downloaded.
 */
export async function compile(target: string, output: string, base?: string): Promise<boolean> {
  const names = Array.from(Deno.readDirSync(BUNDLE), (entry) => entry.name).sort();
  const included = names.filter((name) =>
    name.endsWith(".bin") || WORKERS.includes(name) || name === PACKAGE
  );
  const args = [
    "compile",
    "--quiet",
    "--no-check",
    "--no-remote",
    "--no-code-cache",
    V8_FLAGS_ARGUMENT,
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
  if (base !== undefined) {
    await deno(args, { cwd: BUNDLE, env: { DENORT_BIN: base } });
    return true;
  }
  // DENORT_BIN would be used for any target, and give an executable of another one.
  const said = await deno(args, { cwd: BUNDLE, env: { DENORT_BIN: "" }, may: "fail" });
  if (said === undefined) return true;
  if (!/base binary|denort/i.test(said)) fail(`Cannot compile:\n${said}`);
  return false;
}

/** A base binary for tests; nothing where none can be made. */
export async function testBase(target: string): Promise<string | undefined> {
  if (target !== "x86_64-unknown-linux-gnu") return undefined;
  const script = path.join(ROOT, "scripts", "denort.sh");
  const made = await new Deno.Command("sh", { args: [script], stderr: "inherit" }).output();
  return made.success ? new TextDecoder().decode(made.stdout).trim() : undefined;
}

/** Checks the size, writes the files beside the executable, and says what was made. */
async function describe(target: string, output: string, base: string): Promise<void> {
  const bytes = await Deno.readFile(output);
  const sha256 = await sha256Hex(bytes);
  await Deno.writeTextFile(`${output}.sha256`, `${sha256}  ${path.basename(output)}\n`);
  const about = { version: VERSION, target, base, bytes: bytes.length, sha256 };
  await Deno.writeTextFile(`${output}.json`, JSON.stringify(about, null, 2) + "\n");
  const megabytes = (bytes.length / 1e6).toFixed(1);
  note(`realm ${VERSION} for ${target}: ${path.relative(ROOT, output)}, ${megabytes} MB`);
  if (base === "test") note("Its base binary is not the official one: for tests, never release it");
  checkSize(output, bytes.length);
}

/** Ends the build when the executable is too large. */
export function checkSize(output: string, bytes: number): void {
  if (bytes <= SIZE_MAX_BYTES) return;
  const most = `wanted at most ${SIZE_MAX_BYTES / 1e6} MB`;
  fail(`Cannot accept ${output}: ${(bytes / 1e6).toFixed(1)} MB, ${most}`);
}

if (import.meta.main) {
  const { target, output, releaseKeys } = readArguments(Deno.args);
  await bundle(releaseKeys);
  let base = "official";
  if (!await compile(target, output)) {
    note("The official base binary cannot be downloaded; making one for tests (scripts/denort.sh)");
    const made = await testBase(target);
    if (made === undefined) {
      note("No base binary can be had: nothing was built");
      Deno.exit(NO_BASE_STATUS);
    }
    await compile(target, output, made);
    base = "test";
  }
  await describe(target, output, base);
}
