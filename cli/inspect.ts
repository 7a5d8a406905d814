/**
 * `realm inspect FILE.wasm`: what a file is, and the grants that it would need.
 *
 * @module
 */
import { command } from "./command.ts";
import { readComponent } from "./guest_flags.ts";
import { formatTable } from "./output.ts";
import { argument, parseText } from "./parameters.ts";

export const inspect = command({
  brief: "Tell what a component is and which grants it would need",
  args: [argument("Component or module", "FILE.wasm", parseText)],
  async run(context, _flags, file) {
    const { inspect } = await import("../agent/runtime/inspect.ts");
    const inspection = await inspect(await readComponent(context, file));
    context.print({ file, ...inspection }, () => {
      const { kind, worlds, digest, bytes, imports, exports, wasi03 } = inspection;
      const what = kind === "component" ? "component" : "core module of WASI 0.1";
      return [
        `${file}: ${what}, ${bytes} bytes`,
        `sha256  ${digest}`,
        `world   ${worlds.join(", ") || "none that realm runs"}`,
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
