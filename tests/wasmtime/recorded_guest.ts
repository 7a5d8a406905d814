/**
 * Runs the core module of a state-apply component in wasmtime as it was run here: what its imports did
 * is recorded, and done again there at the same calls with the same arguments, or it traps.
 *
 * An import's doing is all that the module can see of it: calls of `cabi_realloc`, bytes in its memory,
 * fuel that is paid, and what is returned. So the fuel, the result and every byte of the memory are the
 * engine's own.
 *
 * @module
 */
import { print } from "../wasm_tools.ts";

/** A call of `cabi_realloc` by the host. */
interface Realloc {
  readonly args: readonly number[];
  readonly pointer: number;
}

/** A call of an import. */
interface ImportCall {
  readonly module: string;
  readonly name: string;
  readonly args: readonly (number | bigint)[];
  readonly reallocs: Realloc[];
  /** Ranges of the memory that are others afterwards. */
  writes: { readonly at: number; readonly bytes: Uint8Array }[];
  /** What was paid beside what the module itself has used in `cabi_realloc`. */
  fuel: number;
  result: number | bigint | undefined;
}

/** One event, applied. */
export interface Recording {
  readonly module: Uint8Array;
  readonly payload: Uint8Array;
  readonly calls: readonly ImportCall[];
  /** Where the payload was put, what `apply` returned, the fuel, and {@link hashOf} of the memory. */
  readonly at: number;
  readonly result: number;
  readonly fuel: number;
  readonly memory: number;
}

const APPLY = "realm:app/applier@0.1.0#apply";
type Act = (...args: (number | bigint)[]) => number | bigint | undefined;

/** FNV-1a over the words of a memory. */
function hashOf(memory: WebAssembly.Memory): number {
  let hash = 0;
  for (const word of new Int32Array(memory.buffer)) hash = Math.imul(hash ^ word, 16777619);
  return hash;
}

/** Records what a component's last part does, while it stands in the place of the engine's own. */
export class Recorder implements Disposable {
  readonly #compile = WebAssembly.compile;
  readonly #Instance = WebAssembly.Instance;
  readonly #modules = new WeakMap<WebAssembly.Module, Uint8Array>();
  #calls: ImportCall[] = [];
  #last: Omit<Recording, "module" | "payload" | "calls"> | undefined;
  #module: Uint8Array = new Uint8Array();
  #at = 0;
  #active: ImportCall | undefined;

  constructor() {
    WebAssembly.compile = async (bytes: BufferSource) => {
      const module = await this.#compile(bytes);
      this.#modules.set(module, new Uint8Array(bytes as Uint8Array));
      return module;
    };
    const instantiate = (module: WebAssembly.Module, imports: WebAssembly.Imports) =>
      this.#instantiate(module, imports);
    WebAssembly.Instance = function (module: WebAssembly.Module, imports: WebAssembly.Imports) {
      return instantiate(module, imports);
    } as unknown as typeof WebAssembly.Instance;
  }

  [Symbol.dispose](): void {
    WebAssembly.compile = this.#compile;
    WebAssembly.Instance = this.#Instance;
  }

  /** What an act applied, which applies one event; undefined where that came to no end. */
  record(payload: Uint8Array, act: () => void): Recording | undefined {
    this.#calls = [];
    this.#last = undefined;
    act();
    const last = this.#last as Omit<Recording, "module" | "payload" | "calls"> | undefined;
    return last && { module: this.#module, payload, calls: this.#calls, ...last };
  }

  #instantiate(module: WebAssembly.Module, imports: WebAssembly.Imports): WebAssembly.Instance {
    const isMain = WebAssembly.Module.exports(module).some(({ name }) => name === APPLY);
    if (!isMain) return new this.#Instance(module, imports);
    const bytes = this.#modules.get(module)!;
    const fuel = imports.realm!.fuel as WebAssembly.Global;
    // deno-lint-ignore prefer-const -- what is imported is called after it is there
    let exports: WebAssembly.Exports;
    const memory = () => exports.memory as WebAssembly.Memory;
    const wrapped: WebAssembly.Imports = {};
    for (const [from, members] of Object.entries(imports)) {
      wrapped[from] = Object.fromEntries(
        Object.entries(members).map(([name, item]) => [
          name,
          typeof item === "function"
            ? (...args: (number | bigint)[]) =>
              this.#import({ module: from, name, args }, item as Act, fuel, memory)
            : item,
        ]),
      );
    }
    exports = new this.#Instance(module, wrapped).exports;
    const realloc = exports.cabi_realloc as (...args: number[]) => number;
    const apply = exports[APPLY] as (at: number, length: number) => number;
    let start = 0;
    return {
      exports: {
        ...exports,
        cabi_realloc: (...args: number[]) => {
          const call = this.#active;
          if (call === undefined) start = fuel.value as number;
          const before = fuel.value as number;
          const pointer = realloc(...args);
          if (call === undefined) this.#at = pointer;
          else {
            call.reallocs.push({ args, pointer });
            call.fuel += (fuel.value as number) - before;
          }
          return pointer;
        },
        [APPLY]: (at: number, length: number) => {
          const result = apply(at, length);
          this.#module = bytes;
          this.#last = {
            at: this.#at,
            result,
            fuel: start - (fuel.value as number),
            memory: hashOf(memory()),
          };
          return result;
        },
      },
    } as unknown as WebAssembly.Instance;
  }

  #import(
    called: Pick<ImportCall, "module" | "name" | "args">,
    act: Act,
    fuel: WebAssembly.Global,
    memory: () => WebAssembly.Memory,
  ): number | bigint | undefined {
    const call: ImportCall = { ...called, reallocs: [], writes: [], fuel: 0, result: undefined };
    const [before, outer] = [new Uint8Array(memory().buffer).slice(), this.#active];
    const fuelBefore = fuel.value as number;
    this.#calls.push(call);
    this.#active = call;
    try {
      call.result = act(...called.args);
    } finally {
      this.#active = outer;
    }
    call.fuel += fuelBefore - (fuel.value as number);
    call.writes = changes(before, new Uint8Array(memory().buffer));
    return call.result;
  }
}

function changes(before: Uint8Array, after: Uint8Array): ImportCall["writes"] {
  const found: { at: number; bytes: Uint8Array }[] = [];
  for (let at = 0; at < after.length; at++) {
    if (after[at] === (before[at] ?? 0)) continue;
    let end = at + 1;
    while (end < after.length && after[end] !== (before[end] ?? 0)) end++;
    found.push({ at, bytes: after.slice(at, end) });
    at = end;
  }
  return found;
}

/** What wasmtime is given: files by name, in the order in which they are loaded; the last has `run`. */
export interface Program {
  readonly files: ReadonlyMap<string, string | Uint8Array>;
  /** What `run` returns where everything is as here. */
  readonly wanted: readonly number[];
}

/** A program that applies the event of a recording to a fresh instance. */
export async function programOf(
  recording: Recording,
  { fuelMax, stackBytes }: { readonly fuelMax: number; readonly stackBytes: number },
): Promise<Program> {
  const { module, payload, calls } = recording;
  const types = importTypes(await print(module));
  const shared = `(import "shared" "table" (table $table 2 funcref))
    (import "shared" "call" (global $call (mut i32)))`;
  const files = new Map<string, string | Uint8Array>([[
    "shared",
    `(module (table (export "table") 2 funcref)
      (global (export "call") (mut i32) (i32.const 0))
      (global (export "fuel") (mut i32) (i32.const ${fuelMax})))`,
  ]]);
  for (const [from, functions] of Map.groupBy(types, ({ module }) => module)) {
    const globals = from !== "realm" ? "" : `(export "fuel" (global $fuel))
      (global (export "stack") (mut i32) (i32.const ${stackBytes}))
      (global (export "outline") (mut i32) (i32.const 0))`;
    files.set(
      from,
      `(module ${shared} (import "shared" "fuel" (global $fuel (mut i32)))
        (type $store (func (param i32 i32)))
        (type $realloc (func (param i32 i32 i32 i32) (result i32)))
        ${globals} ${functions.map((each) => stub(each, calls)).join("\n")})`,
    );
  }
  files.set("guest", module);
  const stores = [...payload].map((byte, i) =>
    `(i32.store8 (i32.const ${recording.at + i}) (i32.const ${byte}))`
  );
  files.set(
    "driver",
    `(module ${shared} (import "shared" "fuel" (global $fuel (mut i32)))
      (import "guest" "memory" (memory 1))
      (import "guest" "cabi_realloc" (func $realloc (param i32 i32 i32 i32) (result i32)))
      (import "guest" "${APPLY}" (func $apply (param i32 i32) (result i32)))
      (func $store (param i32 i32) (i32.store8 (local.get 0) (local.get 1)))
      (elem (i32.const 0) $store $realloc)
      (func (export "run") (result i32 i32 i32 i32)
        (local $result i32) (local $fuel i32) (local $at i32) (local $hash i32)
        (if (i32.ne (i32.const ${recording.at}) (call $realloc
            (i32.const 0) (i32.const 0) (i32.const 1) (i32.const ${payload.length})))
          (then unreachable))
        ${stores.join(" ")}
        (local.set $result
          (call $apply (i32.const ${recording.at}) (i32.const ${payload.length})))
        (local.set $fuel (i32.sub (i32.const ${fuelMax}) (global.get $fuel)))
        (loop $next
          (local.set $hash (i32.mul
            (i32.xor (local.get $hash) (i32.load (local.get $at))) (i32.const 16777619)))
          (local.set $at (i32.add (local.get $at) (i32.const 4)))
          (br_if $next (i32.lt_u (local.get $at) (i32.mul (memory.size) (i32.const 65536)))))
        (local.get $result) (local.get $fuel) (local.get $hash) (global.get $call)))`,
  );
  const { result, fuel, memory } = recording;
  return { files, wanted: [result, fuel, memory, calls.length] };
}

interface ImportType {
  readonly module: string;
  readonly name: string;
  readonly params: readonly string[];
  readonly result: string | undefined;
}

/** The functions that a module in text form imports. */
function importTypes(text: string): ImportType[] {
  const words = (part: string | undefined) => part?.trim().split(/\s+/).filter(Boolean) ?? [];
  const types = new Map(
    [...text.matchAll(/\(type \(;(\d+);\) \(func((?: \((?:param|result)[^)]*\))*)\)\)/g)].map(
      ([, index, signature]) => [index!, {
        params: words(/\(param([^)]*)\)/.exec(signature!)?.[1]),
        result: words(/\(result([^)]*)\)/.exec(signature!)?.[1])[0],
      }],
    ),
  );
  return [
    ...text.matchAll(/\(import "([^"]+)" "([^"]+)" \(func [^(]*(?:\(;\d+;\) )?\(type (\d+)\)/g),
  ]
    .map(([, module, name, type]) => ({ module: module!, name: name!, ...types.get(type!)! }));
}

/** An import that does what it did here, when it is called as it was. */
function stub({ module, name, params, result }: ImportType, calls: readonly ImportCall[]): string {
  const own = [...calls.entries()].filter(([, call]) =>
    call.module === module && call.name === name
  );
  const cases = own.map(([number, call]) => {
    const checks = call.args.map((arg, i) =>
      `(if (${params[i]}.ne (local.get ${i}) (${params[i]}.const ${arg})) (then unreachable))`
    );
    const reallocs = call.reallocs.map(({ args, pointer }) =>
      `(if (i32.ne (i32.const ${pointer}) (call_indirect $table (type $realloc)
        ${args.map((arg) => `(i32.const ${arg})`).join(" ")} (i32.const 1))) (then unreachable))`
    );
    const writes = call.writes.flatMap(({ at, bytes }) =>
      [...bytes].map((byte, i) =>
        `(call_indirect $table (type $store)
          (i32.const ${at + i}) (i32.const ${byte}) (i32.const 0))`
      )
    );
    return `(if (i32.eq (global.get $call) (i32.const ${number})) (then
      (global.set $call (i32.const ${number + 1}))
      ${[...checks, ...reallocs, ...writes].join(" ")}
      (global.set $fuel (i32.sub (global.get $fuel) (i32.const ${call.fuel})))
      (return ${result === undefined ? "" : `(${result}.const ${call.result})`})))`;
  });
  const given = params.length === 0 ? "" : `(param ${params.join(" ")})`;
  const gives = result === undefined ? "" : `(result ${result})`;
  return `(func (export "${name}") ${given} ${gives} ${cases.join("\n")} unreachable)`;
}
