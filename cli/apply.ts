/**
 * `realm apply FILE.toml`: shows what would change, asks, signs, and hands it to the agent.
 *
 * @module
 */
import { command } from "./command.ts";
import { withAgent } from "./connection.ts";
import { argument, parseText, toggle } from "./parameters.ts";

export const apply = command({
  brief: "Sign a manifest and apply it",
  description: "Reads the manifest, fetches its components, shows what would change, asks, signs " +
    "with the owner's key, writes the signature beside the manifest, and hands all of it to the " +
    "agent. Nothing is applied but what was shown.",
  flags: { yes: toggle("Apply without asking") },
  aliases: { y: "yes" },
  args: [argument("Manifest", "FILE.toml", parseText)],
  async run(context, { yes }, file) {
    const release = await import("./release.ts");
    const read = await release.readRelease(context, file);
    return await withAgent(context, async (agent) => {
      const current = await agent.manifest();
      const signed = await release.signRelease(context, read, current);
      const plan = await release.planRelease(agent, signed, current);
      const shown = await release.formatPlan(plan);
      if (!context.json) context.print(plan, () => shown);
      release.requireAllowed(plan, file);
      // Comments may differ where nothing else does: then there is still a text to put in force.
      if (plan.changes.length === 0 && current !== null && isSame(current.manifest, read.bytes)) {
        if (context.json) {
          context.print({ file, version: current.version, changes: [], applied: false }, () => "");
        }
        return;
      }
      if (!yes && !await context.confirm(`Apply as version ${signed.version}?`, "--yes")) {
        context.note("Nothing was applied");
        return 1;
      }
      const signatureFile = `${context.resolve(file)}.sig`;
      const answer = await release.applyRelease(
        context,
        agent,
        signed,
        () => release.writeSignature(signatureFile, signed.signature),
      );
      context.print(
        { file, ...answer, applied: true, signature: signatureFile },
        () => `applied version ${answer.version}, signature in ${file}.sig\n`,
      );
    });
  },
});

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
