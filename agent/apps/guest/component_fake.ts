/**
 * State-apply components in the text format, for tests: the host's functions are there by their names
 * with `$` before, memory grows upwards from {@link HEAP}, and what `apply` returns is at 16.
 *
 * @module
 */
import { componentEmbed, componentNew, parse } from "../../../tests/wasm_tools.ts";

/** Where the guest puts what it is given first. */
export const HEAP = 4096;

const WIT = `package realm:app@0.1.0;
interface state-read {
  record entry { key: list<u8>, value: list<u8> }
  get: func(key: list<u8>) -> option<list<u8>>;
  scan: func(start: list<u8>, end: list<u8>, limit: u32) -> list<entry>;
}
interface state-write { put: func(key: list<u8>, value: list<u8>); delete: func(key: list<u8>); }
interface params { get: func(name: list<u8>) -> option<list<u8>>; creator: func() -> list<u8>; }
interface event {
  id: func() -> list<u8>;
  author: func() -> list<u8>;
  seq: func() -> u64;
  lamport: func() -> u64;
  kind: func() -> list<u8>;
}
interface crypto {
  sha256: func(data: list<u8>) -> list<u8>;
  verify: func(key: list<u8>, signature: list<u8>, message: list<u8>) -> result;
  check-canonical: func(data: list<u8>) -> result;
}
interface log { write: func(level: u32, message: list<u8>); }
interface applier { apply: func(payload: list<u8>) -> result<_, list<u8>>; }
world state-apply {
  import state-read;
  import state-write;
  import params;
  import event;
  import crypto;
  import log;
  export applier;
}`;

/** Parameters and result of each function, as the core module has them. */
const FUNCTIONS: Readonly<Record<string, Readonly<Record<string, readonly [number, string?]>>>> = {
  "state-read": { get: [3], scan: [6] },
  "state-write": { put: [4], delete: [2] },
  params: { get: [3], creator: [1] },
  event: { id: [1], author: [1], seq: [0, "i64"], lamport: [0, "i64"], kind: [1] },
  crypto: { sha256: [3], verify: [6, "i32"], "check-canonical": [2, "i32"] },
  log: { write: [3] },
};

/** The core module with a body of `apply`, whose payload is `$p`, `$n`; locals `$i`, `$j`. */
export function moduleText(apply: string, rest = "", realloc = "", imports = ""): string {
  return coreText(
    `(func (export "realm:app/applier@0.1.0#apply") (param $p i32) (param $n i32) (result i32)
      (local $i i32) (local $j i32)
      ${apply}
      (i32.const 16))
    ${rest}`,
    realloc,
    imports,
  );
}

/** A core module with these functions. */
export function coreText(functions: string, realloc = "", more = ""): string {
  const imports = Object.entries(FUNCTIONS).flatMap(([name, members]) =>
    Object.entries(members).map(([member, [params, result]]) =>
      `(import "realm:app/${name}@0.1.0" "${member}" (func $${name}.${member}
        (param ${"i32 ".repeat(params)}) ${result === undefined ? "" : `(result ${result})`}))`
    )
  );
  return `(module ${imports.join("\n")} ${more}
    (memory (export "memory") 2)
    (global $top (mut i32) (i32.const ${HEAP}))
    (func $realloc (export "cabi_realloc")
      (param $from i32) (param $old i32) (param $align i32) (param $size i32) (result i32)
      (local $at i32)
      ${realloc}
      (local.set $at (i32.and
        (i32.add (global.get $top) (i32.sub (local.get $align) (i32.const 1)))
        (i32.sub (i32.const 0) (local.get $align))))
      (global.set $top (i32.add (local.get $at) (local.get $size)))
      (local.get $at))
    ${functions})`;
}

/** The component of a core module in the text format; `more` is WIT with another world. */
export async function componentOf(
  wat: string,
  more = "",
  world = "state-apply",
): Promise<Uint8Array> {
  const binary = await parse(wat);
  const embedded = await componentEmbed({ binary, witSource: WIT + more, world });
  return await componentNew(embedded);
}
