/**
 * `realm doctor`: what on this machine keeps realm from working, and what to do about it.
 *
 * @module
 */
import { RealmError } from "../agent/kernel/error.ts";
import type { Status } from "../tui/view_model.ts";
import { command } from "./command.ts";
import { controlSocketPath } from "./connection.ts";
import type { Context } from "./context.ts";
import type { Finding, Level } from "./doctor/finding.ts";
import { printable } from "./output.ts";
import { VERSION } from "./version.ts";

const MARKS: Readonly<Record<Level, string>> = { ok: "ok", warning: "WARN", problem: "FAIL" };

export const doctor = command({
  brief: "Look for what keeps realm from working on this machine",
  description:
    "Looks at the data folder and its keys, the agent and its socket, ports, how others " +
    "reach it, disk, clock, versions and policy, and says of each finding what helps. Changes " +
    "nothing. The exit status is 1 where something fails.",
  async run(context) {
    const findings = await examine(context);
    const failed = findings.some(({ level }) => level === "problem");
    context.print(
      { ok: !failed, findings },
      () =>
        findings.filter(({ level }) => level !== "ok" || !context.flags.quiet).flatMap((each) => [
          `${MARKS[each.level].padEnd(4)}  ${each.check.padEnd(8)}  ${line(each.message)}`,
          ...(each.fix === null ? [] : [`${" ".repeat(16)}fix: ${line(each.fix)}`]),
        ]).join("\n"),
    );
    return failed ? 1 : 0;
  },
});

async function examine(context: Context): Promise<Finding[]> {
  const { lookAtFolder } = await import("./doctor/folder.ts");
  const { lookAtClock, lookAtDisk, lookAtOpenFiles } = await import("./doctor/machine.ts");
  const network = await import("./doctor/network.ts");
  const { runHere } = await import("./upgrade/service.ts");
  const folder = context.dataFolder;
  const status = await statusOf(folder);
  const self = status?.nodes.find((each) => each.self);
  const others = status?.nodes.filter((each) => each.live && !each.self).length ?? 0;
  return [
    ...await lookAtFolder(folder, { uid: Deno.uid(), isAnswering: status !== undefined }),
    ...(status === undefined ? [] : network.lookAtAgent(status, VERSION)),
    ...await network.lookAtPorts(status),
    ...(self === undefined ? [] : [network.lookAtAddresses(self.addresses, others)]),
    await lookAtDisk(folder),
    await lookAtClock(Date.now(), runHere()),
    ...await lookAtOpenFiles(runHere()),
  ];
}

/** What the agent of the data folder says, if one answers. */
async function statusOf(folder: string): Promise<Status | undefined> {
  const { connectControl } = await import("../agent/control/client.ts");
  const agent = connectControl(controlSocketPath(folder));
  try {
    return await agent.status();
  } catch (error) {
    if (error instanceof RealmError) return undefined;
    throw error;
  } finally {
    agent.close();
  }
}

/** One line, whatever others have put into it. */
function line(text: string): string {
  return printable(text.replaceAll("\n", " "));
}
