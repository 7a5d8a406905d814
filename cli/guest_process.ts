/**
 * `realm __guest SOCKET`: the process of a component with `isolation = "process"`. The agent starts
 * it; nobody else has a use for it.
 *
 * @module
 */
import { command } from "./command.ts";
import { argument, parseText } from "./parameters.ts";

export const guestProcess = command({
  brief: "Run a component for an agent, in a process of its own",
  args: [argument("Socket of the agent", "SOCKET", parseText)],
  async run({ shell }, _flags, socket) {
    const { runGuestProcess } = await import("../agent/guest_process.ts");
    await runGuestProcess(socket, (kinds) => shell.keepPermissions(kinds));
  },
});
