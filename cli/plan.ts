/**
 * `realm plan FILE.toml`: what applying a manifest would change.
 *
 * @module
 */
import { RealmError } from "../agent/kernel/error.ts";
import { command } from "./command.ts";
import { withAgent } from "./connection.ts";
import { argument, parseText } from "./parameters.ts";

export const plan = command({
  brief: "Show what applying a manifest would change, and what each node would do",
  description:
    "Reads the manifest, fetches its components, and asks the agent what would change. " +
    "Without the owner's key in the data folder components are not compared by what they hold.",
  args: [argument("Manifest", "FILE.toml", parseText)],
  async run(context, _flags, file) {
    const { formatPlan, nextVersion, planRelease, readRelease, requireAllowed, signRelease } =
      await import(
        "./release.ts"
      );
    const { Author } = await import("./author.ts");
    const release = await readRelease(context, file);
    await withAgent(context, async (agent) => {
      const current = await agent.manifest();
      const author = await Author.open(context).catch((error) => {
        if (!(error instanceof RealmError) || error.code !== "not-found") throw error;
        context.note("No owner key in the data folder: digests of components are not compared");
      });
      const signed = author
        ? await signRelease(author, release, await nextVersion(agent, author, current))
        : release;
      const plan = await planRelease(agent, signed, current);
      const digests = Object.fromEntries(release.digests);
      const shown = await formatPlan(plan, {}, context.colour("stdout"));
      context.print({ file, digests, ...plan }, () => shown);
      requireAllowed(plan, file);
    });
  },
});
