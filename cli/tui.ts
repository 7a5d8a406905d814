/**
 * `realm tui`: the dashboard in the terminal.
 *
 * @module
 */
import { RealmError } from "../agent/kernel/error.ts";
import { command } from "./command.ts";
import { withAgent } from "./connection.ts";
import { optional, parseText } from "./parameters.ts";

export const tui = command({
  brief: "Show the dashboard: replicas, limits used, logs; restart and scale by key",
  flags: {
    key: optional("Sign with this key, an operator's (default: the owner's)", "FILE", parseText),
  },
  async run(context, { key }) {
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
      const { Author } = await import("./author.ts");
      const { restartComponent, scaleComponent } = await import("./override.ts");
      const dashboard = {
        status: () => agent.status(),
        logs: agent.logs.bind(agent),
        // A key that is not there is told when it is needed: to look needs none.
        restart: async (component: string) =>
          await restartComponent(agent, await Author.open(context, key), component),
        scale: async (component: string, replicas: number | null) =>
          await scaleComponent(agent, await Author.open(context, key), component, replicas),
      };
      await showDashboard(dashboard, {
        clock: systemClock,
        colour: context.colour("stdout"),
        signal: context.shell.interrupted(),
      });
    });
  },
});
