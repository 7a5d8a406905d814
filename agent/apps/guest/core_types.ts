/**
 * Whether the functions of a core module have the core types that the contract gives them.
 *
 * The module is called directly, past the component around it: an engine would make numbers fit that
 * do not, and a BigInt where a number belongs would fail in the host and not in the guest.
 *
 * @see https://github.com/WebAssembly/component-model/blob/main/design/mvp/CanonicalABI.md
 * @module
 */
import { Reader } from "../../wasm/meter/binary.ts";
import { decodeModule, SECTION } from "../../wasm/meter/module.ts";
import { FLAT_MAX } from "../../wasm/values.ts";
import type { Signature } from "./signature.ts";

/** Parameters and results, by name: `i32 i32 -> i64`. */
type CoreType = string;

const NAMES: Readonly<Record<number, string>> = {
  0x7f: "i32",
  0x7e: "i64",
  0x7d: "f32",
  0x7c: "f64",
};
const REALLOC: CoreType = "i32 i32 i32 i32 -> i32";
const POST = "cabi_post_";

/** What a core module has to do with others. */
export interface CoreBorder {
  /** The original bytes. */
  readonly bytes: Uint8Array;
  /** The same, rewritten and compiled. */
  readonly module: WebAssembly.Module;
}

/**
 * What is wrong with the type of an import or export, in words. `imported` and `exported` say how the
 * values of a function pass; what they do not know is not looked at.
 */
export function coreTypeProblem(
  { bytes, module }: CoreBorder,
  imported: (module: string, name: string) => Signature | undefined,
  exported: (name: string) => Signature | undefined,
): string | undefined {
  const m = decodeModule(bytes);
  const typeOf = (fn: number): CoreType => {
    const { paramBytes, resultBytes } = m.types[m.functions[fn]!]!;
    const names = ({ start, end }: { start: number; end: number }) =>
      [...bytes.subarray(start, end)].map((byte) => NAMES[byte] ?? "another").join(" ");
    return `${names(paramBytes)} -> ${names(resultBytes)}`;
  };
  // The rewriter puts its own imports behind these.
  const imports = WebAssembly.Module.imports(module)
    .filter(({ kind, module }) => kind === "function" && module !== "realm");
  for (const [fn, { module, name }] of imports.entries()) {
    const signature = imported(module, name);
    if (signature === undefined) continue;
    const [found, wanted] = [typeOf(fn), lowered(signature)];
    if (found !== wanted) return `it imports ${module} ${name} as ${found}, wanted ${wanted}`;
  }
  const range = m.sections.get(SECTION.EXPORT);
  if (range === undefined) return undefined;
  const r = new Reader(bytes, range.start, range.end);
  for (let left = r.count("exports"); left > 0; left--) {
    const name = r.name();
    const kind = r.u8();
    const index = r.u32();
    const isPost = name.startsWith(POST);
    const signature = exported(isPost ? name.slice(POST.length) : name);
    const wanted = name === "cabi_realloc"
      ? REALLOC
      : signature && (isPost ? `${lifted(signature).split("-> ")[1]!} -> ` : lifted(signature));
    if (wanted === undefined) continue;
    const found = kind === 0 ? typeOf(index) : "no function";
    if (found !== wanted) return `it exports ${name} as ${found}, wanted ${wanted}`;
  }
  return undefined;
}

function flatParams({ params }: Signature): readonly string[] {
  const { flat } = params;
  return flat === undefined || flat.length > FLAT_MAX ? ["i32"] : flat;
}

/** As the guest imports it: a result of several core values goes where a last parameter says. */
function lowered(signature: Signature): CoreType {
  const result = signature.result === undefined ? [] : signature.result.flat;
  const isInMemory = result === undefined || result.length > 1;
  const params = [...flatParams(signature), ...isInMemory ? ["i32"] : []];
  return `${params.join(" ")} -> ${isInMemory ? "" : result.join(" ")}`;
}

/** As the guest exports it: such a result is where its result says. */
function lifted(signature: Signature): CoreType {
  const result = signature.result === undefined ? [] : signature.result.flat;
  const isInMemory = result === undefined || result.length > 1;
  return `${flatParams(signature).join(" ")} -> ${isInMemory ? "i32" : result.join(" ")}`;
}
