/**
 * `realm inspect FILE.wasm`: what a file is, in realms and in apps, and the grants that it would
 * need.
 *
 * @module
 */
import { command } from "./command.ts";
import { readComponent } from "./guest_flags.ts";
import type { InspectedProfile } from "../agent/runtime/inspect.ts";
import { formatTable } from "./output.ts";
import { argument, parseText } from "./parameters.ts";

function describeProfile({ profile, capabilities, refused }: InspectedProfile): string {
  if (refused) return `profile none: ${refused.message}`;
  const asks = capabilities.length > 0 ? `, if the bundle asks for ${capabilities.join(", ")}` : "";
  return `profile ${profile} of an app${asks}`;
}

export const inspect = command({
  brief: "Tell what a component is and which grants it would need",
  args: [argument("Component or module", "FILE.wasm", parseText)],
  async run(context, _flags, file) {
    const { inspect } = await import("../agent/runtime/inspect.ts");
    const inspection = await inspect(await readComponent(context, file));
    context.print({ file, ...inspection }, () => {
      const { kind, worlds, digest, bytes, imports, exports, wasi03, profiles } = inspection;
      const what = kind === "component" ? "component" : "core module of WASI 0.1";
      return [
        `${file}: ${what}, ${bytes} bytes`,
        `sha256  ${digest}`,
        ...(profiles && worlds.length === 0
          ? []
          : [`world   ${worlds.join(", ") || "none that realm runs"}`]),
        ...(profiles ?? []).map(describeProfile),
        ...(wasi03 ? [`wasi    0.3${wasi03.isAsync ? ", asynchronous ABI" : ""}`] : []),
        `exports ${exports.join(", ") || "nothing"}`,
        "",
        formatTable(imports, [
          { title: "IMPORT", text: (i) => i.version ? `${i.interface}@${i.version}` : i.interface },
          {
            title: "NEEDS",
            text: (i) =>
              !i.provided ? "not provided: it will not link" : i.grant?.flag ?? "nothing",
          },
          { title: "IN realm.toml", text: (i) => i.grant?.manifest ?? "" },
        ]),
      ].join("\n");
    });
  },
});
