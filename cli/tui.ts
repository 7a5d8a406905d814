/**
 * `realm tui`: the dashboard in the terminal.
 *
 * @module
 */
import type { ControlClient } from "../agent/control/client.ts";
import { RealmError } from "../agent/kernel/error.ts";
import type { DashboardAgent, OtherAgent } from "../tui/session.ts";
import { command } from "./command.ts";
import { withAgent } from "./connection.ts";
import type { Context } from "./context.ts";
import { fileOf } from "./key.ts";
import { optional, parseText, toggle } from "./parameters.ts";

export const tui = command({
  brief:
    "Show the dashboard: nodes, components, logs, rollouts, apps; restart, scale, drain by key",
  description:
    "Press ? for its keys. With --plain it is a conversation in lines, for screen readers and slow " +
    "terminals: it says what changes, and answers what is typed; help lists what can be asked.",
  flags: {
    plain: toggle("Lines of text, one after the other, in place of a screen"),
    key: optional("Sign with this key, an operator's (default: the owner's)", "FILE", parseText),
  },
  async run(context, { plain, key }) {
    const { terminal } = context.shell;
    if (context.json || !plain && !(terminal.stdin && terminal.stdout)) {
      throw new RealmError(
        "usage",
        "Cannot show the dashboard: there is no terminal to show it on, wanted one, or --plain",
        { hint: "Run realm status --json for programs" },
      );
    }
    const { unlock } = await import("./passphrase.ts");
    if (!plain) await unlock(context, fileOf(context, key)); // Nothing can be asked once the screen is drawn.
    await withAgent(context, async (agent) => {
      await agent.status(); // Where there is no agent, say so before the screen changes.
      const { systemClock } = await import("../agent/node/system_clock.ts");
      const options = {
        clock: systemClock,
        signal: context.shell.interrupted(),
        open: (node: string) => openNode(context, agent, node, key),
      };
      const dashboard = dashboardAgent(context, agent, key);
      if (plain) {
        const { talk } = await import("../tui/plain.ts");
        await talk(dashboard, {
          ...options,
          readLine: () => context.shell.readLine(),
          print: (text) => context.shell.write("stdout", text),
        });
        return;
      }
      // React reads it once, when it loads; its development build costs twice the time.
      Deno.env.set("NODE_ENV", "production");
      const { showDashboard } = await import("../tui/dashboard.tsx");
      await showDashboard(dashboard, { ...options, palette: context.palette });
    }, key);
  },
});

/** What the dashboard asks of an agent; a key that is not there is told when it is needed. */
function dashboardAgent(
  context: Context,
  agent: ControlClient,
  keyFile: string | undefined,
): DashboardAgent {
  const author = async () => {
    const { Author } = await import("./author.ts");
    return await Author.open(context, keyFile);
  };
  return {
    status: () => agent.status(),
    logs: agent.logs.bind(agent),
    history: () => agent.history(),
    async restart(component) {
      const { restartComponent } = await import("./override.ts");
      return await restartComponent(agent, await author(), component);
    },
    async scale(component, replicas) {
      const { scaleComponent } = await import("./override.ts");
      return await scaleComponent(agent, await author(), component, replicas);
    },
    async drain(node, drained) {
      const { drainNodes } = await import("./override.ts");
      await drainNodes(agent, await author(), [node], drained);
    },
    async secrets() {
      const { secretRows } = await import("./secrets.ts");
      return await secretRows(agent);
    },
    async plan(version) {
      const { formatPlan } = await import("./release.ts");
      const past = await agent.manifest(version);
      if (past === null) return ["its manifest is not here any more"];
      return (await formatPlan(await agent.plan(past))).trimEnd().split("\n");
    },
  };
}

/** The agent of another node, which is asked with the same key. */
async function openNode(
  context: Context,
  agent: ControlClient,
  wanted: string,
  keyFile: string | undefined,
): Promise<OtherAgent> {
  const { Author } = await import("./author.ts");
  const { remoteNode } = await import("./remote_node.ts");
  const { connectRemote } = await import("../agent/member/remote_agent.ts");
  const { keys } = await Author.open(context, keyFile);
  const remote = await connectRemote(keys, await remoteNode(wanted, () => agent.nodes()));
  return {
    agent: dashboardAgent(context, remote.client, keyFile),
    close: () => remote.close(),
  };
}
