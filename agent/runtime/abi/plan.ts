/**
 * What is to be done to instantiate a component of the asynchronous ABI, as plain data: made once
 * from its bytes (`decode.ts`), kept with its core modules, carried out for each instance
 * (`link.ts`).
 *
 * @see https://github.com/WebAssembly/component-model/blob/main/design/mvp/CanonicalABI.md
 * @module
 */
import type { CoreSort } from "../../wasm/component_types.ts";
import type { FuncType, TypeDef, TypeRef } from "../../wasm/value_types.ts";

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
