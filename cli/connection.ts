/**
 * How commands reach the agent of this machine.
 *
 * @module
 */
import * as path from "node:path";
import type { ControlClient } from "../agent/control/client.ts";
import { RealmError } from "../agent/kernel/error.ts";
import type { Context } from "./context.ts";

/** Path of the agent's control socket. */
export function controlSocketPath(dataFolder: string): string {
  return path.join(dataFolder, "control.sock");
}

/**
 * Gives `use` a client of the agent, and lets go of it afterwards.
 *
 * Throws RealmError `unsupported` when another node is asked for; `use` throws `unreachable` when
 * no agent answers.
 */
export async function withAgent<T>(
  context: Context,
  use: (agent: ControlClient) => Promise<T>,
): Promise<T> {
  if (context.node !== undefined) throw unsupportedNode("--node", context.node);
  const { connectControl } = await import("../agent/control/client.ts");
  const agent = connectControl(controlSocketPath(context.dataFolder));
  try {
    return await use(agent);
  } finally {
    agent.close();
  }
}

/** The error for a flag that names other nodes. */
export function unsupportedNode(flag: string, name: string): RealmError {
  return new RealmError(
    "unsupported",
    `Cannot ask node "${name}": ${flag} is not supported yet`,
    { hint: "Run the command on that machine" },
  );
}
