/**
 * Runs any core module, imports made up by their types, and reports all that can be seen from
 * outside, call by call: results, traps, memories, globals, tables, and units of fuel.
 *
 * The same module gives the same report, and so must the module rewritten. After a trap the module is
 * instantiated anew for the calls that follow.
 *
 * @module
 */
import { COUNT } from "./fuel_oracle.ts";
import type { Wasm } from "./wasm_reader.ts";

/** How a rewritten module is run. */
export interface Observing {
  /** Fuel at a time. */
  readonly slice?: number;
  /** Bytes of frames for outlined loops. */
  readonly room?: number;
  /** Units after which the guest is stopped. */
  readonly unitsMax?: number;
  /** Suspend the guest whenever a slice is used up. */
  readonly suspend?: boolean;
}

/** What one call showed. */
export interface Seen {
  readonly name: string;
  /** `stopped` when it used up all units, `overflow` when the engine's own stack did not suffice. */
  readonly outcome: string;
  readonly state: string;
  /** undefined where nobody counts, and where it trapped. */
  readonly units: number | undefined;
}

/** Observations, and the greatest debt of fuel that the host saw when it was asked. */
export interface Observed {
  readonly seen: readonly Seen[];
  readonly debtMax: number;
}

const STACK_BYTES = 1 << 28;
const NAMES: Record<number, string> = {
  0x7f: "i32",
  0x7e: "i64",
  0x7d: "f32",
  0x7c: "f64",
  0x70: "anyfunc",
  0x6f: "externref",
};

/** A value of this type that JavaScript can make; undefined when there is none. */
function valueOf(type: string, n: number): { value: unknown } | undefined {
  switch (type.charCodeAt(0)) {
    case 0x7f:
      // Mostly small: it may be how often something is done.
      return { value: n % 4 === 0 ? Math.imul(n, 0x9e3779b1) >> (n % 29) : n % 11 };
    case 0x7e:
      return { value: BigInt.asIntN(64, BigInt(n) * 0x9e3779b97f4a7c15n) >> BigInt(n % 61) };
    case 0x7d:
    case 0x7c:
      return { value: (n % 1000 - 500) / 8 };
    case 0x70:
    case 0x6f:
      return { value: null };
    case 0x63:
      return "\x6f\x70".includes(type[1]!) ? { value: null } : undefined;
    default:
      return undefined;
  }
}

function show(value: unknown): string {
  if (typeof value === "function") return "function";
  if (Array.isArray(value)) return `[${value.map(show).join(" ")}]`;
  if (typeof value === "object" && value !== null) return "object";
  return Object.is(value, -0) ? "-0" : `${typeof value} ${value}`;
}

/** FNV-1a over words. */
function hash(buffer: ArrayBufferLike): number {
  let h = 0x811c9dc5;
  for (const word of new Uint32Array(buffer)) h = Math.imul(h ^ word, 0x01000193);
  return h >>> 0;
}

/** The imports of the guest; undefined when one cannot be made. */
function importsOf(wasm: Wasm): WebAssembly.Imports | undefined {
  const imports: Record<string, Record<string, any>> = {};
  let calls = 0;
  for (const { module, name, kind, type } of wasm.imports) {
    if (module === "realm" && ["fuel", "stack", "outline", "refuel", "grow"].includes(name)) {
      continue;
    }
    const place = imports[module] ??= {};
    const limits = (at: number) => {
      const numbers: number[] = [];
      for (let value = 0, shift = 0; at < type.length; at++) {
        value += (type[at]! & 0x7f) * 2 ** shift;
        shift += 7;
        if (type[at]! & 0x80) continue;
        numbers.push(value);
        value = shift = 0;
      }
      const [flags = 0, initial = 0, maximum] = numbers;
      return flags & 1 ? { initial, maximum: maximum! } : { initial };
    };
    switch (kind) {
      case 0: {
        let index = 0;
        for (const [i, byte] of type.entries()) index += (byte & 0x7f) * 2 ** (7 * i);
        const { results } = wasm.types[index]!;
        const make = () => results.map((result) => valueOf(result, calls++ % 16));
        if (make().includes(undefined)) return undefined;
        calls = 0;
        place[name] = () => {
          const values = make().map((made) => made!.value);
          return values.length > 1 ? values : values[0];
        };
        break;
      }
      case 1:
        if (!NAMES[type[0]!]) return undefined;
        place[name] = new WebAssembly.Table({ element: NAMES[type[0]!] as any, ...limits(1) });
        break;
      case 2:
        place[name] = new WebAssembly.Memory(limits(0));
        break;
      case 3: {
        const value = NAMES[type[0]!];
        if (!value || type.length !== 2) return undefined;
        const made = valueOf(String.fromCharCode(type[0]!), 3)!.value;
        place[name] = new WebAssembly.Global(
          { value: value as any, mutable: type[1] === 1 },
          made as any,
        );
        break;
      }
      default: {
        let index = 0;
        for (const [i, byte] of type.subarray(1).entries()) index += (byte & 0x7f) * 2 ** (7 * i);
        const parameters = wasm.types[index]!.params.map((param) => NAMES[param.charCodeAt(0)]);
        if (parameters.includes(undefined)) return undefined;
        place[name] = new (WebAssembly as any).Tag({ parameters });
      }
    }
  }
  return imports;
}

/** What is exported besides functions, and was imported, as text. */
function stateOf(exports: WebAssembly.Exports, imports: WebAssembly.Imports): string {
  const parts: string[] = [];
  const add = (name: string, item: unknown) => {
    if (name === COUNT || name.startsWith("realm ")) return;
    if (item instanceof WebAssembly.Memory) parts.push(`${name}=${hash(item.buffer)}`);
    else if (item instanceof WebAssembly.Global) {
      try {
        parts.push(`${name}=${show(item.value)}`);
      } catch { /* of a type that JavaScript cannot have */ }
    } else if (item instanceof WebAssembly.Table) {
      let nulls = 0;
      try {
        for (let i = 0; i < item.length; i++) if (item.get(i) === null) nulls += i + 1;
      } catch { /* likewise */ }
      parts.push(`${name}=${item.length}/${nulls}`);
    }
  };
  for (const [name, item] of Object.entries(exports)) add(name, item);
  for (const [module, items] of Object.entries(imports)) {
    if (module === "realm") continue;
    for (const [name, item] of Object.entries(items)) add(`${module}.${name}`, item);
  }
  return parts.join(" ");
}

/**
 * Calls every exported function once, but for those to be skipped. `wasm` is the module as it was, of which types are read; the
 * bytes may be rewritten, or be instrumented to count for themselves. undefined when the module has
 * imports that cannot be made.
 */
export async function observeModule(
  bytes: Uint8Array<ArrayBuffer>,
  wasm: Wasm,
  { slice = 1_000_000_000, room = 100_000, unitsMax = Infinity, suspend = false }: Observing = {},
  skipped: ReadonlySet<string> = new Set(),
): Promise<Observed | undefined> {
  const module = new WebAssembly.Module(bytes);
  const seen: Seen[] = [];
  let debtMax = 0;
  let exports: any, imports: WebAssembly.Imports | undefined;
  let granted = 0, limit = 0, stopped = false, maySuspend = false;
  const number = (value: number) => new WebAssembly.Global({ value: "i32", mutable: true }, value);
  const fuel = number(0), stack = number(0), outline = number(0);
  const refuel = () => {
    debtMax = Math.max(debtMax, -fuel.value);
    stopped = granted - fuel.value > limit;
    if (stopped) return 1;
    const missing = Math.ceil(-fuel.value / slice) * slice;
    fuel.value += missing;
    granted += missing;
    return maySuspend ? Promise.resolve(0) : 0;
  };
  const used = () => exports?.[COUNT] ? Number(exports[COUNT].value) : granted - fuel.value;
  const counts = bytes !== wasm.bytes;
  const step = async (name: string, act: () => unknown, isStart = false) => {
    const before = used();
    limit = granted - fuel.value + unitsMax;
    stack.value = STACK_BYTES;
    outline.value = room;
    let outcome: string, units: number | undefined;
    try {
      outcome = show(await act());
      if (stack.value !== STACK_BYTES || outline.value !== room) outcome += " stack not given back";
    } catch (error) {
      if (error instanceof (WebAssembly as any).Exception) outcome = "exception";
      else if (error instanceof RangeError && /call stack/.test(error.message)) {
        outcome = "overflow";
      } else if (error instanceof Error) outcome = stopped ? "stopped" : `trap: ${error.message}`;
      else outcome = `thrown ${error}`;
    }
    const ended = /^(trap|overflow|stopped|thrown)/.test(outcome);
    if (counts && !ended && exports) units = used() - (isStart && exports?.[COUNT] ? 0 : before);
    seen.push({ name, outcome, state: exports ? stateOf(exports, imports!) : "", units });
    return !ended;
  };
  const start = async () => {
    imports = importsOf(wasm);
    if (!imports) return false;
    const realm = {
      fuel,
      stack,
      outline,
      refuel: suspend ? new (WebAssembly as any).Suspending(refuel) : refuel,
      grow: () => 0,
    };
    exports = undefined;
    maySuspend = false;
    // A start function cannot be suspended, so it is given enough from the outset.
    const ahead = suspend ? 1 << 29 : 0;
    fuel.value += ahead;
    granted += ahead;
    const ready = await step("(start)", () => {
      exports = new WebAssembly.Instance(module, { ...imports, realm }).exports;
    }, true);
    fuel.value -= ahead;
    granted -= ahead;
    return ready && exports !== undefined;
  };
  if (!await start()) return imports ? { seen, debtMax } : undefined;
  for (const [i, name] of callable(wasm).entries()) {
    if (skipped.has(name)) continue;
    if (!exports && !await start()) break;
    const index = wasm.exports.find((item) => item.name === name)!.index;
    const { params } = wasm.types[wasm.functions[index]!]!;
    const args = params.map((type, j) => valueOf(type, i * 7 + j * 3 + 1)!.value);
    maySuspend = suspend;
    const call = suspend ? (WebAssembly as any).promising(exports[name]) : exports[name];
    if (!await step(name, () => call(...args))) exports = undefined;
    maySuspend = false;
  }
  return { seen, debtMax };
}

/** Names of the exported functions that JavaScript can call. */
export function callable(wasm: Wasm): string[] {
  return wasm.exports.filter(({ kind, index }) => {
    if (kind !== 0) return false;
    const { params, results } = wasm.types[wasm.functions[index]!]!;
    return [...params, ...results].every((type) => valueOf(type, 0) !== undefined);
  }).map(({ name }) => name);
}
