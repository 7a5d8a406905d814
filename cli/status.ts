/**
 * `realm status`: what the agent runs, how it fares, and what it refused.
 *
 * @module
 */
import type { ControlClient } from "../agent/control/client.ts";
import { RealmError } from "../agent/kernel/error.ts";
import { formatAge, formatBytesOf, formatCount } from "../tui/quantity.ts";
import { componentRows, type Row, type Sample, type Status } from "../tui/view_model.ts";
import { command } from "./command.ts";
import { withAgent } from "./connection.ts";
import type { Context } from "./context.ts";
import { formatNodes } from "./nodes.ts";
import { type Column, formatTable, printable } from "./output.ts";
import { formatGivenUp, formatRefusals } from "./rollout.ts";
import { optional, parseText, toggle } from "./parameters.ts";
import { formatTopics } from "./topics.ts";

/** Between two looks of `--watch`. */
const WATCH_MS = 1_000;
/** Refused manifests that are listed; `--json` has all that the agent remembers. */
const REFUSED_MAX = 3;
/** Alarms that are shown, the worst. */
const ALARMS_MAX = 20;

export const status = command({
  brief: "Show the machines of the realm, what the agent runs, and how it fares",
  description:
    "Machines are those that the agent knows of; replicas are its own. With --watch it is kept fresh until the command is interrupted, and shows fuel " +
    "per second; with --watch and --json there is one line for each look.",
  flags: {
    watch: toggle("Keep showing it"),
    key: optional("Ask another node with this key (default: the owner's)", "FILE", parseText),
  },
  aliases: { w: "watch" },
  async run(context, flags) {
    await withAgent(context, async (agent) => {
      if (flags.watch) return await watch(context, agent);
      const status = await agent.status();
      const sample = { status, monotonicMs: performance.now() };
      context.print(status, () => formatStatus(sample, undefined, Date.now()));
    }, flags.key);
  },
});

async function watch(context: Context, agent: ControlClient): Promise<void> {
  const { shell } = context;
  if (!context.json && !shell.terminal.stdout) {
    throw new RealmError(
      "usage",
      "Cannot watch: standard output is not a terminal, wanted one, or --json",
      { hint: "Run realm status without --watch, or add --json for a line each second" },
    );
  }
  const { systemClock } = await import("../agent/node/system_clock.ts");
  const interrupted = shell.interrupted();
  let previous: Sample | undefined;
  if (!context.json) shell.write("stdout", "\x1b[2J");
  while (!interrupted.aborted) {
    const current = { status: await agent.status(), monotonicMs: systemClock.monotonicMs() };
    if (context.json) context.printLine(current.status, () => "");
    else shell.write("stdout", repaint(formatStatus(current, previous, systemClock.wallMs())));
    previous = current;
    try {
      await systemClock.sleep(WATCH_MS, interrupted);
    } catch (error) {
      if (!interrupted.aborted) throw error;
    }
  }
}

/** `text` over what is on the terminal: nothing is cleared first, so that nothing flickers. */
function repaint(text: string): string {
  return `\x1b[H${text.replaceAll("\n", "\x1b[K\n")}\x1b[J`;
}

/** The status as people read it; `previous` gives rates, `nowMs` is wall time. */
export function formatStatus(
  current: Sample,
  previous: Sample | undefined,
  nowMs: number,
): string {
  const { status } = current;
  const rows = componentRows(current, previous, nowMs)
    .flatMap(({ component, replicas }) => replicas.length === 0 ? [component] : replicas);
  const parts = [formatAgent(status, nowMs)];
  if (status.alarms.length > 0) parts.push(formatAlarms(status, nowMs));
  if (status.refused.length > 0) parts.push(formatRefused(status, nowMs));
  // Most realms have no process beside the agent, and no traps.
  const columns = COLUMNS.filter(({ title }) =>
    title === "PROCESS"
      ? rows.some(({ pid }) => pid !== undefined)
      : title !== "TRAPS" || rows.some(({ traps }) => traps > 0)
  );
  if (status.nodes.length > 1) parts.push(formatNodes(status.nodes, nowMs));
  parts.push(rows.length === 0 ? "no components\n" : formatTable(rows, columns));
  const rollouts = formatRollouts(status);
  if (rollouts !== "") parts.push(rollouts);
  if (status.topics.length > 0) parts.push(formatTopics(status.topics));
  return parts.join("\n");
}

function formatAgent({ node, manifest, proxy }: Status, nowMs: number): string {
  const age = (atMs: number) => formatAge(nowMs - atMs);
  const lines = [
    ["node", `${node.name}, realm ${node.program}, up ${age(node.startedAtMs)}`],
    ["key", node.key],
    ["owner", node.owner ?? "none: unclaimed, obeys nothing"],
    ["realm", node.realm ?? "no name"],
    [
      "manifest",
      manifest === null ? "none" : `version ${manifest.version}, sha256 ` +
        `${manifest.sha256.slice(0, 12)}…, applied ${age(manifest.appliedAtMs)} ago`,
    ],
    ["proxy", proxy ?? "none"],
  ] as const;
  return lines.map(([name, value]) => `${name.padEnd(9)} ${printable(value)}\n`).join("");
}

/** What is wrong, since when, and what to do; what this agent refused itself is shown in full below. */
function formatAlarms({ alarms, node: { name } }: Status, nowMs: number): string {
  const others = alarms.filter(({ code, node }) => code !== "refused" || node !== name);
  const shown = others.slice(0, ALARMS_MAX).map(({ message, sinceAtMs, hint }) =>
    `! ${printable(message)}, since ${formatAge(nowMs - sinceAtMs)}\n  ${printable(hint)}\n`
  );
  const more = others.length - shown.length;
  if (more > 0) shown.push(`! and ${more} more, see realm status --json\n`);
  return shown.join("");
}

/** Components on their way to another release, and why others are not there. */
function formatRollouts({ components }: Status): string {
  return components.flatMap(({ name, rollout }) => {
    if (rollout === null || rollout.state === "complete") return [];
    const { state, version, settled, wanted, waitsFor, refusedBy, failure } = rollout;
    const refused = refusedBy.length === 0 && state !== "refused"
      ? ""
      : `\n  ${formatRefusals(refusedBy)}`;
    const givenUp = formatGivenUp(rollout);
    const gone = givenUp === "" ? "" : `\n  ${givenUp}`;
    const waits = waitsFor.length === 0 ? "" : `, waits for ${waitsFor.join(", ")}`;
    const why = failure === null
      ? ""
      : `\n  version ${failure.version} failed on ${failure.node}: ` +
        failure.evidence.replaceAll("\n", "\n  ");
    return [
      printable(
        `rollout ${name}: ${state}, ${settled} of ${wanted} run version ${version}${waits}${why}${refused}${gone}`,
      ) +
      "\n",
    ];
  }).join("");
}

function formatRefused({ refused }: Status, nowMs: number): string {
  const lines = refused.slice(0, REFUSED_MAX).map(({ atMs, version, code, message }) => {
    const which = version === null ? "a manifest" : `version ${version}`;
    return `refused ${which} ${formatAge(nowMs - atMs)} ago: ${code}: ${message}`;
  });
  const more = refused.length - lines.length;
  if (more > 0) lines.push(`and ${more} more before, see realm status --json`);
  return lines.map((line) => `! ${printable(line)}\n`).join("");
}

const COLUMNS: readonly Column<Row>[] = [
  { title: "COMPONENT", text: (row) => row.component },
  { title: "REPLICA", text: (row) => row.kind === "replica" ? row.name : "-", align: "right" },
  { title: "STATE", text: (row) => row.state },
  { title: "PROCESS", text: ({ pid }) => pid === undefined ? "-" : String(pid), align: "right" },
  { title: "RESTARTS", text: (row) => String(row.restarts), align: "right" },
  { title: "TRAPS", text: (row) => String(row.traps), align: "right" },
  {
    title: "MEMORY",
    text: ({ memory }) => memory ? formatBytesOf(memory.bytes, memory.bytesMax) : "-",
  },
  {
    title: "FUEL/S",
    text: ({ fuel }) => {
      if (fuel === undefined) return "-";
      const max = fuel.perSecMax === undefined ? "no limit" : formatCount(fuel.perSecMax);
      return fuel.perSec === undefined ? max : `${formatCount(Math.round(fuel.perSec))}/${max}`;
    },
  },
  { title: "AGE", text: ({ ageMs }) => ageMs === undefined ? "-" : formatAge(ageMs) },
  { title: "LAST EXIT", text: (row) => row.lastExit },
];
