/**
 * From the bytes of a component to what an instance is made of: metered core modules and the glue
 * between them. Pure computation, about 0.2 s for a small component; `engine.ts` runs it in a
 * Worker of its own and keeps the result.
 *
 * @module
 */
import { $init, generate } from "@bytecodealliance/jco-transpile/component";
import { RealmError } from "../kernel/error.ts";
import { type Artifact, CEILING } from "./artifact.ts";
import { decodePlan } from "./abi/decode.ts";
import type { Plan } from "./abi/plan.ts";
import {
  coreNames,
  identify,
  type Identity,
  refuseCandidates,
  written,
} from "../wasm/component.ts";
import { MODULE_GLUE, reduceGlue } from "./glue.ts";
import { STRING_COPY } from "./glue_parts.ts";
import { bypassShims } from "./glue_shims.ts";
import { meter, METERED_BYTES_MAX } from "../wasm/meter/meter.ts";
import { TYPES_MAX } from "../wasm/meter/module.ts";
import { findOrigins } from "./symbols/symbolize.ts";
import {
  functionNames,
  functionNames3,
  hostName,
  isProvided,
  isResource,
  jsName,
} from "./wasi/host.ts";

/** Refuses what realm does not provide, before anything runs. */
export function checkImports(identity: Identity): void {
  if (identity.kind === "module") {
    const foreign = identity.imports.find((i) => i.name !== "wasi_snapshot_preview1");
    if (foreign) {
      throw new RealmError(
        "unknown-import",
        `Cannot link the module: it imports from "${foreign.name}", wanted only "wasi_snapshot_preview1"`,
        { hint: "Build it for wasm32-wasip2, or GOOS=wasip1" },
      );
    }
    if (identity.worlds.length === 0) {
      throw new RealmError(
        "unsupported",
        'Cannot run the module: it does not export "_start", wanted a WASI 0.1 command',
        { hint: "Build a command, not a library" },
      );
    }
    return;
  }
  refuseCandidates(identity.wasi03);
  for (const imported of identity.imports) {
    if (!isProvided(imported.name, imported.version)) {
      throw new RealmError(
        "unknown-import",
        `Cannot link the component: it imports "${
          written(imported)
        }", which realm does not provide`,
        { hint: "realm inspect lists what a component imports" },
      );
    }
  }
  if (identity.worlds.length === 0) {
    const exports = identity.exports.map(written).join(", ") || "nothing";
    throw new RealmError(
      "unsupported",
      `Cannot run the component: it exports ${exports}, wanted wasi:cli/run, wasi:http/incoming-handler of WASI 0.2 or wasi:http/handler of WASI 0.3`,
      { hint: "realm inspect tells what a component is" },
    );
  }
}

function toolError(action: string, error: unknown): RealmError {
  const payload = (error as { payload?: unknown })?.payload;
  const reason = typeof payload === "string"
    ? payload
    : error instanceof Error
    ? error.message
    : String(error);
  return new RealmError(
    "invalid-module",
    `Cannot ${action}: ${reason.replace(/\s*\n\s*/g, "; ")}`,
    {
      cause: error,
    },
  );
}

/**
 * The glue of a large program has 1 MB. A type of few bytes can make a hundred times as much of it,
 * and to work on text of that size would fill the heap of the Worker, which is the end of the whole
 * agent: Deno contains no such end.
 */
const GLUE_BYTES_MAX = 16 * 1024 * 1024;

/** Refuses too much glue before it is handled as text. */
function checkGlue(files: readonly (readonly [string, Uint8Array])[]): void {
  const bytes = files.filter(([file]) => file.endsWith(".js"))
    .reduce((sum, [, content]) => sum + content.length, 0);
  if (bytes <= GLUE_BYTES_MAX) return;
  throw new RealmError(
    "invalid-module",
    `Cannot transpile the component: its types need ${bytes} bytes of glue, wanted at most ${GLUE_BYTES_MAX}`,
    { hint: "Use lists in place of large tuples, records and variants" },
  );
}

/** Names of core modules that cannot end a string of JavaScript, nor look like a call in the glue. */
const PLAIN_NAME = /^[\w$.:/@#[\]|+*=~<>%&^-]*$/;

/**
 * The transpiler writes names of core modules into the glue as they are: one with a quote would be
 * code of the guest in the host. Refuses every other name that stands in the glue, which breaks
 * and indents lines as it likes.
 */
function checkNames(files: readonly (readonly [string, Uint8Array])[]): void {
  const glue = files.filter(([file]) => file.endsWith(".js"))
    .map(([, content]) => new TextDecoder().decode(content).replace(/\s+/g, "")).join();
  for (const [file, content] of files) {
    if (!file.endsWith(".wasm")) continue;
    for (const name of coreNames(content)) {
      if (
        PLAIN_NAME.test(name) || STRING_COPY.test(name) || !glue.includes(name.replace(/\s+/g, ""))
      ) continue;
      throw new RealmError(
        "unsupported",
        `Cannot transpile the component: a core module has the name ${
          JSON.stringify(name.slice(0, 80))
        }, wanted letters, digits and plain punctuation`,
      );
    }
  }
}

/** Refuses what an interface of ours does not have; the names come from the transpiler's output. */
function checkFunctions(source: string): void {
  const names = functionNames();
  for (const [, found] of source.matchAll(/^ *_trampoline\d+\.fnName = '([^'\n]*)';$/gm)) {
    const name = hostName(found!);
    if (names.has(name)) continue;
    throw notProvided("function", found!);
  }
}

/** The same for a plan. */
function checkPlan({ steps, resources }: Plan): void {
  const names = functionNames();
  const names3 = functionNames3();
  for (const step of steps) {
    if (step.do !== "canon" || step.canon.fn !== "lower") continue;
    const { iface, name } = step.canon;
    const of = iface.includes("@0.3.") ? names3 : names;
    if (!of.has(`${iface.replace(/@.*/, "")}#${jsName(name)}`)) {
      throw notProvided("function", `${iface}#${name}`);
    }
  }
  for (const name of resources) if (!isResource(name)) throw notProvided("resource", name);
}

function notProvided(what: string, name: string): RealmError {
  return new RealmError(
    "unknown-import",
    `Cannot link the component: it imports the ${what} "${name}", which realm does not provide`,
    { hint: "realm inspect lists what a component imports" },
  );
}

/**
 * What jco made of a component, which it checked. Throws RealmError `invalid-module`.
 */
async function generated(bytes: Uint8Array): Promise<[string, Uint8Array][]> {
  await $init;
  try {
    return generate(bytes, {
      name: "component",
      instantiation: { tag: "async" },
      asyncMode: { tag: "sync" },
      noTypescript: true,
      noNodejsCompat: true,
      multiMemory: true,
      bindgenEnableWasmExnref: true,
    }).files;
  } catch (error) {
    throw toolError("transpile the component", error);
  }
}

/** A component of the asynchronous ABI: jco checks it, what it makes of it is not used. */
async function plan(bytes: Uint8Array, worlds: Artifact["worlds"]): Promise<Artifact> {
  await generated(bytes);
  const { plan, modules } = decodePlan(bytes);
  checkPlan(plan);
  const sources = modules.map(({ start, end }, i) =>
    [`component.core${i}.wasm`, bytes.subarray(start, end)] as [string, Uint8Array]
  );
  return {
    worlds,
    glue: JSON.stringify(plan),
    modules: metered(sources),
    origins: findOrigins(bytes, sources),
  };
}

/** Core modules by name, metered. */
function metered(files: readonly (readonly [string, Uint8Array])[]): Artifact["modules"] {
  const modules: Record<string, Uint8Array> = {};
  const refused = (what: string) =>
    new RealmError("unsupported", `Cannot transpile the component: its core modules have ${what}`);
  let types = 0;
  let left = METERED_BYTES_MAX;
  for (const [name, content] of files) {
    const made = meter(content, { ...CEILING, name, bytesMax: left });
    modules[name] = made.bytes;
    types += made.types;
    left -= made.bytes.length;
    if (types > TYPES_MAX) throw refused(`more than ${TYPES_MAX} types`);
    if (left < 0) {
      throw refused(`more than ${METERED_BYTES_MAX} bytes with what meters them`);
    }
  }
  return modules;
}

/**
 * Checks, transpiles and meters. A core module of WASI 0.1 needs no transpiling.
 *
 * Throws RealmError `invalid-module`, `unsupported` or `unknown-import`.
 */
export async function transpile(bytes: Uint8Array): Promise<Artifact> {
  const identity = identify(bytes);
  checkImports(identity);
  const { worlds } = identity;
  if (identity.kind === "module") {
    const modules = metered([["core", bytes]]);
    return { worlds, glue: MODULE_GLUE, modules, origins: { core: [0, bytes.length] } };
  }
  if (identity.wasi03) return await plan(bytes, worlds);
  const files = await generated(bytes);
  checkGlue(files);
  checkNames(files);
  const scripts = files.filter(([name]) => name.endsWith(".js"));
  const cores = files.filter(([name]) => name.endsWith(".wasm"));
  let glue: string | undefined;
  for (const [, content] of scripts) {
    const source = new TextDecoder().decode(content);
    checkFunctions(source);
    glue = reduceGlue(source);
  }
  if (glue === undefined) {
    throw new RealmError("failed", "Cannot use the output of the transpiler: it has no glue");
  }
  const direct = bypassShims(glue, cores);
  return {
    worlds,
    glue: direct.glue,
    modules: metered(direct.cores),
    origins: findOrigins(bytes, direct.cores),
  };
}
