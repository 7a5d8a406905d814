/**
 * `realm push COMPONENT FILE.wasm`: the manifest in force, with other bytes for one component.
 *
 * @module
 */
import { RealmError } from "../agent/kernel/error.ts";
import { command } from "./command.ts";
import { withAgent } from "./connection.ts";
import { readComponent } from "./guest_flags.ts";
import { argument, parseText } from "./parameters.ts";

export const push = command({
  brief: "Replace the bytes of one component",
  description: "Signs the manifest in force again, as a new version in which the component has " +
    "the digest of the file, uploads the file to one agent, and applies; the nodes that run the " +
    "component get it from one another. The next apply of the manifest resolves the component's " +
    "source again.",
  args: [
    argument("Component", "COMPONENT", parseText),
    argument("Its new bytes", "FILE.wasm", parseText),
  ],
  async run(context, _flags, component, file) {
    const {
      applyRelease,
      decodeText,
      formatPlan,
      nextVersion,
      planRelease,
      requireAllowed,
      signRelease,
    } = await import("./release.ts");
    const { parseManifest } = await import("../agent/realm/manifest.ts");
    const { parseManifestSignature } = await import("../agent/realm/manifest_signature.ts");
    const { checkComponent } = await import("../agent/node/component_source.ts");
    const { Author } = await import("./author.ts");
    const bytes = await readComponent(context, file);
    const author = await Author.open(context);
    await withAgent(context, async (agent) => {
      const current = await agent.manifest();
      if (current === null) {
        throw new RealmError(
          "not-found",
          `Cannot push ${component}: no manifest is in force, wanted one that has it`,
          { hint: "Run realm apply realm.toml" },
        );
      }
      const name = `version ${current.version}`;
      const manifest = parseManifest(decodeText(current.manifest, name), name);
      const spec = manifest.components.get(component);
      if (spec === undefined) {
        const known = [...manifest.components.keys()].join(", ") || "there is none";
        throw new RealmError(
          "not-found",
          `Cannot push ${component}: not in the manifest in force, wanted a component: ${known}`,
        );
      }
      const digest = await checkComponent(component, bytes, spec);
      if (spec.sha256 !== undefined && spec.sha256 !== digest) {
        throw new RealmError(
          "digest-mismatch",
          `Cannot push ${component}: the manifest pins sha256 ${spec.sha256}, ${file} has ${digest}`,
          { hint: `Change or remove components.${component}.sha256, then run realm apply` },
        );
      }
      const { digests } = parseManifestSignature(current.signature);
      const before = digests.get(component);
      if (before === digest) {
        context.print(
          { component, digest, version: current.version, applied: false },
          () => `${component} has these bytes already, in version ${current.version}\n`,
        );
        return;
      }
      const signed = await signRelease(author, {
        name,
        bytes: current.manifest,
        manifest,
        digests: new Map([...digests, [component, digest]]),
        blobs: new Map([[digest, bytes]]),
      }, await nextVersion(agent, author, current));
      const plan = await planRelease(agent, signed, current);
      if (!context.json) context.note(await formatPlan(plan));
      requireAllowed(plan, name);
      const { version } = signed;
      const { changes } = await applyRelease(context, agent, author, signed, {
        plan,
        current,
        isConfirmed: false,
      });
      context.print(
        { component, digest, version, changes, applied: true },
        () => `pushed ${component} as version ${version}\n`,
      );
    });
  },
});
