/**
 * Components of an app in the text format, of any profile, for tests: the host's functions are there
 * by their names with `$` before, and memory grows upwards from 4096.
 *
 * @module
 */
import { componentEmbed, componentNew, parse } from "../../../tests/wasm_tools.ts";
import { compose } from "../../wasm/composition.ts";
import { EXPORT, type Profile } from "../contracts.ts";

const FOLDER = new URL("../../../wit/realm-app-0.1.0/", import.meta.url);

/** Parameters and result of each function, as a core module has them. */
const FUNCTIONS: Readonly<Record<string, string>> = {
  "state-read.get": "(param i32 i32 i32)",
  "state-read.scan": "(param i32 i32 i32 i32 i32 i32)",
  "state-write.put": "(param i32 i32 i32 i32)",
  "params.get": "(param i32 i32 i32)",
  "params.creator": "(param i32)",
  "event.id": "(param i32)",
  "event.author": "(param i32)",
  "event.seq": "(result i64)",
  "event.lamport": "(result i64)",
  "event.kind": "(param i32)",
  "identity.key": "(param i32)",
  "crypto.sha256": "(param i32 i32 i32)",
  "crypto.verify": "(param i32 i32 i32 i32 i32 i32) (result i32)",
  "crypto.check-canonical": "(param i32 i32) (result i32)",
  "log.write": "(param i32 i32 i32)",
  "clock.now": "(result i64)",
  "random.bytes": "(param i32 i32)",
  "outbox.propose": "(param i32 i32 i32 i32 i32)",
  "network.fetch": "(param i32 i32 i32 i32 i32 i32 i32 i32 i32)",
};

/**
 * A component that imports what `uses` names (`state-read.get`) and has the core functions `bodies`,
 * by the names of its profile's interface, each with its parameters and result: `(result i32) …`.
 */
export async function guestComponent(
  profile: Profile,
  uses: readonly string[],
  bodies: Readonly<Record<string, string>>,
  rest = "",
  module?: GuestModule,
): Promise<Uint8Array> {
  const socket = { name: EXPORT[profile], world: profile };
  if (module === undefined) return await made(socket, uses, bodies, rest, "", "");
  const { functions, wit, types } = module;
  const used = new Set(module.uses.map((use) => use.split(".")[0]));
  const plugImports = [...used].map((of) => `import ${of};`).join(" ");
  const all = `interface helper { ${wit} }
    world socket { include ${profile}; import helper; }
    world plug { ${plugImports} export helper; }`;
  const imports = Object.entries(types).map(([name, type]) =>
    `(import "realm:app/helper@0.1.0" "${name}" (func $helper.${name} ${type}))`
  ).join("\n");
  const whole = await made({ ...socket, world: "socket" }, uses, bodies, rest, imports, all);
  const plug = await made(
    { name: "helper", world: "plug" },
    module.uses,
    functions,
    module.rest ?? "",
    "",
    all,
  );
  return compose(whole, [{ name: "helper", bytes: plug }]);
}

/** A module that is composed in; it is called as `$helper.NAME`. */
export interface GuestModule {
  /** Its functions in WIT. */
  readonly wit: string;
  /** Parameters and result of each, as a core module has them that calls it. */
  readonly types: Readonly<Record<string, string>>;
  readonly uses: readonly string[];
  /** As the bodies of {@link guestComponent}. */
  readonly functions: Readonly<Record<string, string>>;
  readonly rest?: string;
}

async function made(
  { name, world }: { readonly name: string; readonly world: string },
  uses: readonly string[],
  bodies: Readonly<Record<string, string>>,
  rest: string,
  more: string,
  wit: string,
): Promise<Uint8Array> {
  const imports = uses.map((name) => {
    const [of, fn] = name.split(".");
    return `(import "realm:app/${of}@0.1.0" "${fn}" (func $${name} ${FUNCTIONS[name]}))`;
  });
  const exports = Object.entries(bodies).map(([fn, body]) =>
    `(func (export "realm:app/${name}@0.1.0#${fn}") ${body})`
  );
  const binary = await parse(`(module ${imports.join("\n")} ${more}
    (memory (export "memory") 2)
    (global $top (mut i32) (i32.const 4096))
    (func (export "cabi_realloc") (param i32 i32) (param $align i32) (param $size i32) (result i32)
      (local $at i32)
      (local.set $at (i32.and
        (i32.add (global.get $top) (i32.sub (local.get $align) (i32.const 1)))
        (i32.sub (i32.const 0) (local.get $align))))
      (global.set $top (i32.add (local.get $at) (local.get $size)))
      (local.get $at))
    ${exports.join("\n")} ${rest})`);
  const witSource = (await Promise.all(
    ["context", "exports", "state", "worlds"].map(async (name) =>
      (await Deno.readTextFile(new URL(`${name}.wit`, FOLDER))).replace(/^package .*$/m, "")
    ),
  )).join("\n");
  const embedded = await componentEmbed({
    binary,
    witSource: `package realm:app@0.1.0;\n${witSource}\n${wit}`,
    world,
  });
  return await componentNew(embedded);
}
