/**
 * What the transpiler makes of a component, and its form in the cache.
 *
 * @module
 */
import type { World } from "../kernel/ports.ts";

/**
 * Names everything that shapes an artifact besides the component: raise it with each change of
 * the transpiler, its options, the glue or the rewriter.
 */
export const TOOLCHAIN = "realm-16 form-3 glue-10 jco-transpile-0.12.1";

/**
 * How modules are metered: the last page count and table size that V8 accepts; budgets are enforced
 * when they grow. A backtrace is named by metering its modules once more, in the same way.
 */
export const CEILING = { memoryPagesMax: 65_536, tableElementsMax: 10_000_000 };

/** A component, ready to be compiled and instantiated. */
export interface Artifact {
  readonly worlds: readonly World[];
  /**
   * What jco's glue was reduced to, or that of a module; see `glue.ts`. Of the asynchronous ABI a
   * plan in JSON; see `abi/plan.ts`.
   */
  readonly glue: string;
  /** Metered core modules by the name that the glue asks for. */
  readonly modules: Readonly<Record<string, Uint8Array>>;
  /**
   * Where the core modules that name their functions stand in the component, as they were before
   * they were metered: `[start, end)` by the keys of `modules`.
   */
  readonly origins: Readonly<Record<string, readonly [number, number]>>;
}

/**
 * The form in the cache: the length of a head as 32 bits, little-endian; the head, in JSON, with
 * names and lengths in place of modules; the modules. It is read at every start of `realm run`,
 * which would take longer with a format that has to be loaded first.
 */
export function encodeArtifact({ modules, ...rest }: Artifact): Uint8Array {
  const cores = Object.entries(modules);
  const head = new TextEncoder().encode(
    JSON.stringify({ ...rest, modules: cores.map(([name, core]) => [name, core.length]) }),
  );
  const length = cores.reduce((sum, [, core]) => sum + core.length, HEAD_AT + head.length);
  const bytes = new Uint8Array(length);
  new DataView(bytes.buffer).setUint32(0, head.length, true);
  bytes.set(head, HEAD_AT);
  let at = HEAD_AT + head.length;
  for (const [, core] of cores) {
    bytes.set(core, at);
    at += core.length;
  }
  return bytes;
}

/** Inverse of {@link encodeArtifact}; for bytes whose digest was checked. */
export function decodeArtifact(bytes: Uint8Array): Artifact {
  const { buffer, byteOffset, byteLength } = bytes;
  let at = HEAD_AT + new DataView(buffer, byteOffset, byteLength).getUint32(0, true);
  const { modules: cores, ...rest } = JSON.parse(
    new TextDecoder().decode(bytes.subarray(HEAD_AT, at)),
  ) as Omit<Artifact, "modules"> & { readonly modules: readonly (readonly [string, number])[] };
  const modules: Record<string, Uint8Array> = {};
  for (const [name, length] of cores) modules[name] = bytes.subarray(at, at += length);
  return { ...rest, modules };
}

const HEAD_AT = 4;
