/**
 * Asks the agent of this machine which program it runs, telling none from one that is in trouble.
 *
 * @module
 */
import { connectControl, isNoAgent } from "../../agent/control/client.ts";
import type { RunningAgent } from "./come_up.ts";

/**
 * The agent whose control socket is at `path`; nothing where nobody listens there.
 *
 * Throws what asking throws of an agent that is there and does not answer, may not be asked by this
 * user, or answers so that it is not understood: that is not the same as none.
 */
export async function askAgent(
  path: string,
  options: { readonly timeoutMs?: number } = {},
): Promise<RunningAgent | undefined> {
  const agent = connectControl(path, options);
  try {
    const { program, startedAtMs, pid } = await agent.program();
    return { program, startedAtMs, pid };
  } catch (error) {
    if (isNoAgent(error)) return undefined;
    throw error;
  } finally {
    agent.close();
  }
}
