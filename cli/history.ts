/**
 * `realm history`: the manifests of the realm.
 *
 * @module
 */
import type { ControlClient } from "../agent/control/client.ts";
import { formatAge } from "../tui/quantity.ts";
import { command } from "./command.ts";
import { withAgent } from "./connection.ts";
import { type Column, formatTable } from "./output.ts";

type Entry = Awaited<ReturnType<ControlClient["history"]>>[number];

const columns = (nowMs: number): readonly Column<Entry>[] => [
  { title: "VERSION", text: ({ version }) => String(version), align: "right" },
  { title: "STATE", text: ({ state }) => state === "in-force" ? "in force" : state },
  { title: "SHA256", text: ({ sha256 }) => sha256.slice(0, 12) },
  { title: "SIGNED BY", text: ({ author }) => author },
  {
    title: "TAKEN",
    text: ({ takenAtMs }) =>
      takenAtMs === null ? "-" : `${formatAge(Math.max(0, nowMs - takenAtMs))} ago`,
  },
  { title: "", text: ({ reason }) => reason ?? "" },
];

export const history = command({
  brief: "List the manifests of the realm, and what became of them",
  async run(context) {
    await withAgent(context, async (agent) => {
      const versions = await agent.history();
      context.print(
        versions,
        () =>
          versions.length === 0
            ? "nothing was applied yet\n"
            : formatTable(versions, columns(Date.now())),
      );
    });
  },
});
