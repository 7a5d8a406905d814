/**
 * `realm history`: the manifests of the realm, or the commands that were run on its machines.
 *
 * @module
 */
import type { ControlClient } from "../agent/control/client.ts";
import { formatAge } from "../tui/quantity.ts";
import { command } from "./command.ts";
import { withAgent } from "./connection.ts";
import { type Column, formatTable } from "./output.ts";
import { toggle } from "./parameters.ts";

type Entry = Awaited<ReturnType<ControlClient["history"]>>[number];
type Exec = Awaited<ReturnType<ControlClient["execs"]>>[number];

const age = (atMs: number | null, nowMs: number) =>
  atMs === null ? "-" : `${formatAge(Math.max(0, nowMs - atMs))} ago`;

const columns = (nowMs: number): readonly Column<Entry>[] => [
  { title: "VERSION", text: ({ version }) => String(version), align: "right" },
  { title: "STATE", text: ({ state }) => state === "in-force" ? "in force" : state },
  { title: "SHA256", text: ({ sha256 }) => sha256.slice(0, 12) },
  { title: "SIGNED BY", text: ({ author }) => author },
  { title: "TAKEN", text: ({ takenAtMs }) => age(takenAtMs, nowMs) },
  { title: "", text: ({ reason }) => reason ?? "" },
];

const execColumns = (nowMs: number): readonly Column<Exec>[] => [
  { title: "NODE", text: ({ node }) => node },
  { title: "STATUS", text: ({ status }) => status === null ? "-" : String(status), align: "right" },
  { title: "SIGNED BY", text: ({ author }) => author },
  { title: "TAKEN", text: ({ takenAtMs }) => age(takenAtMs, nowMs) },
  { title: "COMMAND", text: ({ command }) => command.map(quoted).join(" ") },
];

/** A word as a shell would have it. */
function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

export const history = command({
  brief: "List the manifests of the realm, and what became of them",
  description: "With --exec: the commands that realm exec was used for, and how they ended.",
  flags: { exec: toggle("List commands in place of manifests") },
  async run(context, flags) {
    await withAgent(context, async (agent) => {
      if (flags.exec) {
        const execs = await agent.execs();
        context.print(
          execs,
          () =>
            execs.length === 0
              ? "no command was run yet\n"
              : formatTable(execs, execColumns(Date.now())),
        );
        return;
      }
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
