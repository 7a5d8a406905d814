/**
 * `realm rollback VERSION`: a manifest of before, signed again under a new version.
 *
 * @module
 */
import { RealmError } from "../agent/kernel/error.ts";
import { command } from "./command.ts";
import { withAgent } from "./connection.ts";
import { argument, parseInteger, toggle } from "./parameters.ts";
import { waitFlags } from "./rollout.ts";

export const rollback = command({
  brief: "Go back to a manifest of before",
  description: "Signs a manifest that was in force again, with the digests that it had, under a " +
    "new version, and applies it after showing what would change. Versions are in realm history; " +
    "realm.toml on the disk stays as it is.",
  flags: { yes: toggle("Apply without asking"), ...waitFlags },
  aliases: { y: "yes" },
  args: [argument("Version to go back to", "VERSION", parseInteger(1))],
  async run(context, { yes, wait, timeout }, version) {
    const release = await import("./release.ts");
    const { parseManifest } = await import("../agent/realm/manifest.ts");
    const { parseManifestSignature } = await import("../agent/realm/manifest_signature.ts");
    const { Author } = await import("./author.ts");
    const author = await Author.open(context);
    return await withAgent(context, async (agent) => {
      const [current, past] = [await agent.manifest(), await agent.manifest(version)];
      if (past === null) {
        throw new RealmError(
          "not-found",
          `Cannot go back to version ${version}: no manifest of it was in force`,
          { hint: "Run realm history" },
        );
      }
      const name = `version ${version}`;
      const manifest = parseManifest(release.decodeText(past.manifest, name), name);
      const signed = await release.signRelease(author, {
        name,
        bytes: past.manifest,
        manifest,
        digests: parseManifestSignature(past.signature).digests,
        blobs: new Map(), // the nodes have them
      }, await release.nextVersion(agent, author, current));
      const plan = await release.planRelease(agent, signed, current);
      const shown = await release.formatPlan(plan, {}, context.colour("stdout"));
      if (!context.json) context.print(plan, () => shown);
      release.requireAllowed(plan, name);
      if (version === current?.version) {
        if (context.json) context.print({ version, from: version, applied: false }, () => "");
        return;
      }
      const question = `Apply version ${version} again, as version ${signed.version}?`;
      if (!yes && !await context.confirm(question, "--yes")) {
        context.note("Nothing was applied");
        return 1;
      }
      const { changes } = await release.applyRelease(context, agent, author, signed, {
        plan,
        current,
        isConfirmed: !yes,
      });
      const { awaitRollouts } = await import("./rollout.ts");
      const rollouts = wait
        ? await awaitRollouts(context, agent, signed.version, timeout)
        : undefined;
      context.print(
        {
          version: signed.version,
          from: version,
          changes,
          applied: true,
          ...(rollouts === undefined ? {} : { failed: rollouts.failed }),
        },
        () => `applied version ${version} again, as version ${signed.version}\n`,
      );
      return rollouts?.status;
    });
  },
});
