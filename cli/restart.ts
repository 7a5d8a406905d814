/**
 * `realm restart COMPONENT`: stops every replica and starts it again.
 *
 * @module
 */
import { command } from "./command.ts";
import { namedNode, withAnyAgent } from "./connection.ts";
import { argument, optional, parseText, repeated } from "./parameters.ts";

export const restart = command({
  brief: "Restart the replicas of a component",
  description:
    "Signs the order with the owner's key, or an operator's, for every node that runs it.",
  flags: {
    nodes: repeated("Only on these nodes", "NODE", parseText),
    key: optional("Sign with this key, an operator's (default: the owner's)", "FILE", parseText),
  },
  args: [argument("Component", "COMPONENT", parseText)],
  async run(context, { nodes, key }, component) {
    const { Author } = await import("./author.ts");
    const { restartComponent } = await import("./override.ts");
    const named = namedNode(context);
    const only = nodes.length === 0 && named !== undefined ? [named] : nodes;
    const answer = await withAnyAgent(
      context,
      async (agent) =>
        await restartComponent(agent, await Author.open(context, key), component, only),
      key,
    );
    context.print(
      { component, ...answer },
      () =>
        `${component}: restarted ${answer.restarted} ${
          answer.restarted === 1 ? "replica" : "replicas"
        }`,
    );
  },
});
