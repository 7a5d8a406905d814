/**
 * Types of the component model, as plain data: in a list, in which each refers only to those before it.
 *
 * @see https://github.com/WebAssembly/component-model/blob/main/design/mvp/Explainer.md
 * @module
 */

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

/** A primitive, or the index of a type in a list of {@link TypeDef}s. */
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
