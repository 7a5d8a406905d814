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
    const release = await import("./release.ts");
    const { Author } = await import("./author.ts");
    const read = await release.readRelease(context, file);
    await withAgent(context, async (agent) => {
      const current = await agent.manifest();
      const author = await Author.open(context).catch((error) => {
        if (!(error instanceof RealmError) || error.code !== "not-found") throw error;
        context.note("No owner key in the data folder: digests of components are not compared");
      });
      const signed = author
        ? await release.signRelease(author, read, await release.nextVersion(agent, author, current))
        : read;
      const plan = await release.planRelease(agent, signed, current);
      const beginning = author
        ? await release.beginningOf(context, agent, author, read.manifest, plan)
        : undefined;
      const digests = Object.fromEntries(read.digests);
      const shown = await release.formatPlan(plan, beginning, context.colour("stdout"));
      const retries = beginning?.retries ?? [];
      context.print({ file, digests, ...plan, retries }, () => shown);
      release.requireAllowed(plan, file);
    });
  },
});
