/**
 * `realm scale COMPONENT N`: how many replicas there are, whatever the manifest says.
 *
 * @module
 */
import { RealmError } from "../agent/kernel/error.ts";
import { command } from "./command.ts";
import { namedNode, withAnyAgent } from "./connection.ts";
import {
  argument,
  optional,
  optionalArgument,
  parseInteger,
  parseText,
  toggle,
} from "./parameters.ts";

export const scale = command({
  brief: "Set the number of replicas of a component",
  description:
    "The number holds on every node, until the next apply that touches the component, or --clear, " +
    "which gives it back to the manifest. With --node it is that of one node.",
  usage: ["COMPONENT N", "COMPONENT --clear"],
  flags: {
    clear: toggle("As many as the manifest says"),
    key: optional("Sign with this key, an operator's (default: the owner's)", "FILE", parseText),
  },
  args: [
    argument("Component", "COMPONENT", parseText),
    optionalArgument("Replicas", "N", parseInteger(0, 1_000)),
  ],
  async run(context, { clear, key }, component, replicas) {
    if (clear === (replicas !== undefined)) {
      throw new RealmError(
        "usage",
        `Cannot scale ${component}: ${
          clear ? "a number and --clear, wanted one of them" : "no number, wanted N or --clear"
        }`,
        { hint: `Run realm scale ${component} 2, or realm scale ${component} --clear` },
      );
    }
    const { Author } = await import("./author.ts");
    const { scaleComponent } = await import("./override.ts");
    const node = namedNode(context) ?? null;
    const answer = await withAnyAgent(
      context,
      async (agent) => {
        const author = await Author.open(context, key);
        return await scaleComponent(agent, author, component, replicas ?? null, node);
      },
      key,
    );
    context.print(
      { component, ...answer },
      () =>
        `${component}: ${answer.replicas} ${
          answer.replicas === 1 ? "replica" : "replicas"
        } wanted, ` +
        (answer.scaledTo === null ? "as in the manifest" : "until the manifest changes it"),
    );
  },
});
