/**
 * What the transpiler makes of a component, and its form in the cache.
 *
 * @module
 */
import { decode, encode } from "@ipld/dag-cbor";
import type { World } from "../kernel/ports.ts";

/**
 * Names everything that shapes an artifact besides the component: raise it with each change of
 * the transpiler, its options, the glue or the rewriter.
 */
export const TOOLCHAIN = "realm-12 glue-4 jco-transpile-0.12.1";

/**
 * How modules are metered: the last page count and table size that V8 accepts; budgets are enforced
 * when they grow. A backtrace is named by metering its modules once more, in the same way.
 */
export const CEILING = { memoryPagesMax: 65_536, tableElementsMax: 10_000_000 };

/** A component, ready to be compiled and instantiated. */
export interface Artifact {
  readonly worlds: readonly World[];
  /** What jco's glue was reduced to, or that of a module; see `glue.ts`. */
  readonly glue: string;
  /** Metered core modules by the name that the glue asks for. */
  readonly modules: Readonly<Record<string, Uint8Array>>;
  /** What all core modules have before they run. */
  readonly memoryPagesMin: number;
  readonly tableElementsMin: number;
  /**
   * Where the core modules that name their functions stand in the component, as they were before
   * they were metered: `[start, end)` by the keys of `modules`.
   */
  readonly origins: Readonly<Record<string, readonly [number, number]>>;
}

export function encodeArtifact(artifact: Artifact): Uint8Array {
  return encode(artifact);
}

/** Inverse of {@link encodeArtifact}; for bytes whose digest was checked. */
export function decodeArtifact(bytes: Uint8Array): Artifact {
  return decode(bytes);
}
