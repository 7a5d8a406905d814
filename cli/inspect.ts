/**
 * `realm inspect FILE`: what a component, module or bundle is, in realms and in apps, and the grants
 * that it would need.
 *
 * @module
 */
import { command } from "./command.ts";
import type { Context } from "./context.ts";
import { readComponent } from "./guest_flags.ts";
import { HEALTH_EXPORT } from "../agent/kernel/health_check.ts";
import type { InspectedProfile } from "../agent/runtime/inspect.ts";
import { formatTable } from "./output.ts";
import { argument, optional, parseText, toggle } from "./parameters.ts";

function describeProfile({ profile, capabilities, refused }: InspectedProfile): string {
  if (refused) return `profile none: ${refused.message}`;
  const asks = capabilities.length > 0 ? `, if the bundle asks for ${capabilities.join(", ")}` : "";
  return `profile ${profile} of an app${asks}`;
}

export const inspect = command({
  brief: "Tell what a component is and which grants it would need",
  description:
    "With --proof: checks that the realm's owner published these bytes, by what the agent has of the " +
    "realm's log, and shows the proof, which needs nobody to be trusted but the owner's key: that of " +
    "the data folder, or --owner.",
  flags: {
    proof: toggle("Prove that the owner published it"),
    owner: optional("The owner's public key (default: of the data folder)", "KEY", parseText),
  },
  args: [argument("Component, module or bundle", "FILE.wasm|BUNDLE", parseText)],
  async run(context, { proof, owner }, file) {
    const bytes = await readComponent(context, file);
    if (proof) {
      const { showProof } = await import("./proof.ts");
      return await showProof(context, file, bytes, owner);
    }
    if (isArchive(bytes)) return await inspectBundle(context, file, bytes);
    const { inspect } = await import("../agent/runtime/inspect.ts");
    const inspection = await inspect(bytes);
    context.print({ file, ...inspection }, () => {
      const { kind, worlds, digest, bytes, imports, exports, health, wasi03, profiles } =
        inspection;
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
        ...(health ? [`health  by ${HEALTH_EXPORT}, for health = { export = true }`] : []),
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

/** How the header of an archive goes on after its length, which is one byte. */
function isArchive(bytes: Uint8Array): boolean {
  return new TextDecoder("latin1").decode(bytes.subarray(1, 8)) === "\xa2eroots";
}

/** A bundle is told about only as what its publisher signed. */
async function inspectBundle(context: Context, file: string, bytes: Uint8Array): Promise<void> {
  const { unpackBundle, verifyBundle } = await import("../agent/apps/bundle.ts");
  const { webCryptoBackend } = await import("../agent/kernel/signature_backends.ts");
  const { describeBundle, formatBundle } = await import("./bundle_text.ts");
  const packed = unpackBundle(bytes);
  await verifyBundle(packed, webCryptoBackend());
  const described = { file, ...await describeBundle(packed, bytes.length) };
  context.print(described, () => formatBundle(file, described));
}
