/**
 * `realm apply FILE.toml`: shows what would change, asks, signs, and hands it to the agent.
 *
 * @module
 */
import { command } from "./command.ts";
import { withAgent } from "./connection.ts";
import { argument, parseText, toggle } from "./parameters.ts";
import { waitFlags } from "./rollout.ts";

export const apply = command({
  brief: "Sign a manifest and apply it",
  description: "Reads the manifest, fetches its components, shows what would change, asks, signs " +
    "with the owner's key, writes the signature beside the manifest, and hands all of it to the " +
    "agent. What was confirmed is what is done: where nodes would do something else by then, it " +
    "is refused. With --yes it is planned again.",
  flags: { yes: toggle("Apply without asking"), ...waitFlags },
  aliases: { y: "yes" },
  args: [argument("Manifest", "FILE.toml", parseText)],
  async run(context, { yes, wait, timeout }, file) {
    const release = await import("./release.ts");
    const { Author } = await import("./author.ts");
    const read = await release.readRelease(context, file);
    const author = await Author.open(context);
    return await withAgent(context, async (agent) => {
      const current = await agent.manifest();
      const version = await release.nextVersion(agent, author, current);
      const signed = await release.signRelease(author, read, version);
      const plan = await release.planRelease(agent, signed, current);
      const beginning = await release.beginningOf(context, agent, author, read.manifest, plan);
      const { genesis, approves, joins, retries } = beginning;
      const shown = await release.formatPlan(plan, beginning, context.colour("stdout"));
      if (!context.json) context.print(plan, () => shown);
      release.requireAllowed(plan, file);
      // Comments may differ where nothing else does: then there is still a text to put in force.
      const isInForce = plan.changes.length === 0 && current !== null &&
        isSame(current.manifest, read.bytes) && genesis === undefined && !joins &&
        retries.length === 0;
      const { awaitRollouts } = await import("./rollout.ts");
      const awaited = async (version: number) =>
        wait ? await awaitRollouts(context, agent, version, timeout) : undefined;
      const approved = approves === undefined ? {} : { approved: approves };
      const unchanged = async ({ version }: { readonly version: number }) => {
        const rollouts = await awaited(version); // those of an apply before may go on
        const failed = rollouts === undefined ? {} : { failed: rollouts.failed };
        const said = {
          file,
          version,
          changes: [],
          applied: false,
          retries,
          ...approved,
          ...failed,
        };
        context.print(said, () => approves === undefined ? "" : `approved ${approves.name}\n`);
        return rollouts?.status;
      };
      // Their digests were signed for; the disk of the node may have lost them since.
      if (isInForce) await release.sendMissing(context, agent, read);
      if (isInForce && approves === undefined) return await unchanged(current);
      const question = isInForce ? "Approve this node?" : `Apply as version ${signed.version}?`;
      if (!yes && !await context.confirm(question, "--yes")) {
        context.note("Nothing was applied");
        return 1;
      }
      if (isInForce) {
        await author.append(agent, [
          ...await release.approvals(beginning),
          ...await release.seals(context, agent, author, read.manifest, beginning),
        ]);
        return await unchanged(current);
      }
      const signatureFile = `${context.resolve(file)}.sig`;
      const { changes } = await release.applyRelease(
        context,
        agent,
        author,
        signed,
        {
          beginning,
          plan,
          current,
          isConfirmed: !yes,
          beforeApply: () => release.writeSignature(signatureFile, signed.signature),
        },
      );
      const rollouts = await awaited(version);
      const failed = rollouts === undefined ? {} : { failed: rollouts.failed };
      context.print(
        {
          file,
          version,
          changes,
          applied: true,
          signature: signatureFile,
          retries,
          ...approved,
          ...failed,
        },
        () => `applied version ${version}, signature in ${file}.sig\n`,
      );
      return rollouts?.status;
    });
  },
});

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
