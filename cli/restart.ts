/**
 * `realm restart COMPONENT`: stops every replica and starts it again.
 *
 * @module
 */
import { command } from "./command.ts";
import { unsupportedNode, withAgent } from "./connection.ts";
import { argument, parseText, repeated } from "./parameters.ts";

export const restart = command({
  brief: "Restart the replicas of a component",
  flags: { nodes: repeated("Only on these nodes (not supported yet)", "NODE", parseText) },
  args: [argument("Component", "COMPONENT", parseText)],
  async run(context, { nodes }, component) {
    if (nodes[0] !== undefined) throw unsupportedNode("--nodes", nodes[0]);
    const answer = await withAgent(context, (agent) => agent.restart(component));
    context.print(
      { component, ...answer },
      () =>
        `${component}: restarted ${answer.restarted} ${
          answer.restarted === 1 ? "replica" : "replicas"
        }`,
    );
  },
});
