/**
 * `realm app open`: the user interface of an app, in the terminal.
 *
 * @module
 */
import { RealmError } from "../agent/kernel/error.ts";
import { command } from "./command.ts";
import { topicArgument, withApps } from "./topics.ts";

export const openApp = command({
  brief: "Show the user interface of a topic's app in the terminal",
  description:
    "Tab and arrows move, enter presses a button or sends a field, esc leaves. What you " +
    "do is done as by realm app call.",
  args: [topicArgument],
  async run(context, _flags, topic) {
    const { terminal } = context.shell;
    if (context.json || !terminal.stdin || !terminal.stdout) {
      throw new RealmError(
        "usage",
        "Cannot show the app: there is no terminal to show it on, wanted one",
        { hint: "Use realm app state and realm app call for programs" },
      );
    }
    await withApps(context, async (agent) => {
      const { topics } = await agent.topics({});
      const found = topics.find((each) => each.name === topic || each.topic === topic);
      const title = found === undefined ? topic : `${found.appName ?? "app"}: ${found.name}`;
      // React reads it once, when it loads; its development build costs twice the time.
      Deno.env.set("NODE_ENV", "production");
      const { TopicSession } = await import("../tui/app/topic_session.ts");
      const { showApp } = await import("../tui/app/app_screen.tsx");
      const { systemClock } = await import("../agent/node/system_clock.ts");
      const session = await TopicSession.open({ agent, topic, title, clock: systemClock });
      try {
        await showApp(session, {
          palette: context.palette,
          signal: context.shell.interrupted(),
        });
      } finally {
        await session.close();
      }
    });
  },
});
