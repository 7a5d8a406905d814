/**
 * What is to be done to instantiate a component of the asynchronous ABI, as plain data: made once
 * from its bytes (`decode.ts`), kept with its core modules, carried out for each instance
 * (`link.ts`).
 *
 * @see https://github.com/WebAssembly/component-model/blob/main/design/mvp/CanonicalABI.md
 * @module
 */
import type { CoreSort } from "../../wasm/component_types.ts";

/** Types without parts. */
export type Primitive =
  | "bool"
  | "s8"
  | "u8"
  | "s16"
  | "u16"
  | "s32"
  | "u32"
  | "s64"
  | "u64"
  | "f32"
  | "f64"
  | "char"
  | "string";

/** A primitive, or the index of a type in {@link Plan.types}. */
export type TypeRef = Primitive | number;

/** A type; those that it refers to stand before it. */
export type TypeDef =
  | { readonly kind: "list" | "option"; readonly of: TypeRef }
  | { readonly kind: "record"; readonly fields: readonly (readonly [string, TypeRef])[] }
  | { readonly kind: "tuple"; readonly of: readonly TypeRef[] }
  | { readonly kind: "variant"; readonly cases: readonly (readonly [string, TypeRef | null])[] }
  | { readonly kind: "flags" | "enum"; readonly names: readonly string[] }
  | { readonly kind: "result"; readonly ok: TypeRef | null; readonly err: TypeRef | null }
  | { readonly kind: "own" | "borrow"; readonly resource: number }
  | { readonly kind: "stream" | "future"; readonly of: TypeRef | null };

/** A function at the border of the component. */
export interface FuncType {
  readonly params: readonly TypeRef[];
  readonly result: TypeRef | null;
  /** Whether it may wait. */
  readonly isAsync: boolean;
}

/** How values pass: indexes of core memories and functions. */
export interface CanonOptions {
  readonly memory?: number;
  readonly realloc?: number;
  readonly postReturn?: number;
  readonly callback?: number;
  readonly isAsync: boolean;
}

/** Functions of the canonical ABI that are always the same. */
export type PlainCanon =
  | "task.cancel"
  | "subtask.drop"
  | "waitable-set.new"
  | "waitable-set.drop"
  | "waitable.join"
  | "backpressure.inc"
  | "backpressure.dec"
  | "thread.yield";

/** A function that the canonical ABI gives a core module. */
export type Canon =
  | {
    readonly fn: "lower";
    /** `wasi:cli/stdout@0.3.2`. */
    readonly iface: string;
    /** As in WIT: `[method]descriptor.stat`. */
    readonly name: string;
    readonly type: FuncType;
    readonly options: CanonOptions;
  }
  | { readonly fn: "resource.drop"; readonly resource: number }
  | { readonly fn: "task.return"; readonly type: TypeRef | null; readonly options: CanonOptions }
  | { readonly fn: "context.get" | "context.set"; readonly slot: number }
  | { readonly fn: "subtask.cancel"; readonly isAsync: boolean }
  | { readonly fn: "waitable-set.wait" | "waitable-set.poll"; readonly memory: number }
  | {
    readonly fn: `${"stream" | "future"}.${"read" | "write"}`;
    readonly type: number;
    readonly options: CanonOptions;
  }
  | {
    readonly fn: `${"stream" | "future"}.${
      | "new"
      | "cancel-read"
      | "cancel-write"
      | "drop-readable"
      | "drop-writable"}`;
    readonly type: number;
  }
  | { readonly fn: PlainCanon };

export type { CoreSort };

/** Each adds one to an index space, in order: core instances, or one of {@link CoreSort}. */
export type Step =
  | {
    readonly do: "instantiate";
    /** Index of a core module. */
    readonly module: number;
    readonly args: readonly (readonly [string, number])[];
  }
  | {
    readonly do: "bundle";
    readonly exports: readonly (readonly [string, CoreSort, number])[];
  }
  | {
    readonly do: "alias";
    readonly sort: CoreSort;
    readonly instance: number;
    readonly name: string;
  }
  | { readonly do: "canon"; readonly canon: Canon };

/** An exported function. */
export interface Lift {
  /** `wasi:cli/run@0.3.2`. */
  readonly iface: string;
  readonly name: string;
  readonly core: number;
  readonly type: FuncType;
  readonly options: CanonOptions;
}

/** See the module. */
export interface Plan {
  readonly types: readonly TypeDef[];
  /** Names of imported resources, for messages. */
  readonly resources: readonly string[];
  readonly steps: readonly Step[];
  readonly exports: readonly Lift[];
}
