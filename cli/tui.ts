/**
 * `realm tui`: the dashboard in the terminal.
 *
 * @module
 */
import { RealmError } from "../agent/kernel/error.ts";
import { command } from "./command.ts";
import { withAgent } from "./connection.ts";

export const tui = command({
  brief: "Show the dashboard: replicas, limits used, logs; restart and scale by key",
  async run(context) {
    const { terminal } = context.shell;
    if (context.json || !terminal.stdin || !terminal.stdout) {
      throw new RealmError(
        "usage",
        "Cannot show the dashboard: there is no terminal to show it on, wanted one",
        { hint: "Run realm status --json for programs" },
      );
    }
    await withAgent(context, async (agent) => {
      await agent.status(); // Where there is no agent, say so before the screen changes.
      // React reads it once, when it loads; its development build costs twice the time.
      Deno.env.set("NODE_ENV", "production");
      const { showDashboard } = await import("../tui/dashboard.tsx");
      const { systemClock } = await import("../agent/system_clock.ts");
      await showDashboard(agent, {
        clock: systemClock,
        colour: context.colour("stdout"),
        signal: context.shell.interrupted(),
      });
    });
  },
});
