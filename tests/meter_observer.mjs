/**
 * Runs a generated module and reports what can be seen from outside: results, traps, memory,
 * globals, and units of fuel. Plain JavaScript, so that the same file runs in every engine; as a
 * program it reads a JSON list of jobs from standard input and writes the list of reports.
 *
 * @module
 */

/**
 * @typedef {{ name: string, args: readonly (number | null | { i64: string })[] }} Call
 * @typedef {{ outcome: string, units: number | null, state: string, stackKept: boolean }} Step
 */

/** Calls that one function may make before every function gives up. */
const BUDGET = 150;
const STACK_BYTES = 200_000;

/** @param {unknown} value */
function show(value) {
  if (typeof value === "function") return "function";
  if (Array.isArray(value)) return `[${value.map(show).join(" ")}]`;
  return Object.is(value, -0) ? "-0" : `${typeof value} ${value}`;
}

/** FNV-1a over bytes. @param {Uint8Array} bytes */
function hash(bytes) {
  let h = 0x811c9dc5;
  const words = new Uint32Array(bytes.buffer, 0, bytes.byteLength / 4);
  for (let i = 0; i < words.length; i++) h = Math.imul(h ^ words[i], 0x01000193);
  return h >>> 0;
}

/**
 * Runs the calls one after the other, up to the first trap.
 *
 * `slice` is how much fuel the host gives at a time; a module that counts for itself (the oracle)
 * or is plain needs none. Units are `null` where nobody counts, and behind a trap.
 *
 * @param {Uint8Array} bytes
 * @param {readonly Call[]} calls
 * @param {number} slice
 * @param {number} room bytes of frames for outlined loops
 * @returns {Step[]}
 */
export function observe(bytes, calls, slice = 1_000_000_000, room = 100_000) {
  const fuel = new WebAssembly.Global({ value: "i32", mutable: true }, 0);
  const stack = new WebAssembly.Global({ value: "i32", mutable: true }, STACK_BYTES);
  const outline = new WebAssembly.Global({ value: "i32", mutable: true }, room);
  let granted = 0;
  const refuel = () => {
    while (fuel.value < 0) {
      fuel.value += slice;
      granted += slice;
    }
    return 0;
  };
  /** @type {WebAssembly.Imports} */
  const imports = {
    env: { h: (x) => (x + 1) | 0 },
    realm: { fuel, stack, outline, refuel, grow: () => 0 },
  };
  const steps = [];
  let exports;
  /** @param {() => unknown} act */
  const step = (act) => {
    let outcome, trapped = false;
    try {
      outcome = show(act());
    } catch (error) {
      trapped = !(error instanceof WebAssembly.Exception);
      if (trapped && !(error instanceof WebAssembly.RuntimeError)) throw error;
      outcome = trapped ? `trap: ${error.message}` : "exception";
    }
    const stackKept = stack.value === STACK_BYTES && outline.value === room ||
      outcome !== "" && (trapped || outcome === "exception");
    stack.value = STACK_BYTES;
    outline.value = room;
    let units = null;
    if (!trapped && exports) {
      units = exports.count ? Number(exports.count.value) : granted - fuel.value;
    }
    const state = exports
      ? [
        exports.v0.value,
        exports.v1.value,
        exports.t1.length,
        ...[exports.m0, exports.m1, exports.m2].filter(Boolean).map((m) =>
          hash(new Uint8Array(m.buffer))
        ),
      ].join(" ")
      : "";
    steps.push({ outcome, units, state, stackKept });
    return !trapped;
  };
  const module = new WebAssembly.Module(bytes);
  const ready = step(() => {
    exports = new WebAssembly.Instance(module, imports).exports;
  });
  if (!ready || !exports) return steps;
  for (const { name, args } of calls) {
    exports.budget.value = BUDGET;
    const values = args.map((a) => a !== null && typeof a === "object" ? BigInt(a.i64) : a);
    if (!step(() => exports[name](...values))) break;
  }
  return steps;
}

/** Runs the jobs on standard input. A module the engine does not know gives `null`. */
async function main() {
  const { stdin, stdout } = (await import("node:process")).default;
  const { Buffer } = await import("node:buffer");
  const chunks = [];
  for await (const chunk of stdin) chunks.push(chunk);
  const jobs = JSON.parse(Buffer.concat(chunks).toString("utf8"));
  const reports = jobs.map(({ module, calls, slice }) => {
    const bytes = new Uint8Array(Buffer.from(module, "base64"));
    return WebAssembly.validate(bytes) ? observe(bytes, calls, slice) : null;
  });
  stdout.write(JSON.stringify(reports));
}

if (globalThis.process?.argv?.[2] === "observe") await main();
