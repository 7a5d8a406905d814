/**
 * `realm logs COMPONENT`: what a component wrote, and what realm says about it.
 *
 * @module
 */
import type { ControlClient } from "../agent/control/client.ts";
import { RealmError } from "../agent/kernel/error.ts";
import { command } from "./command.ts";
import { withAgent } from "./connection.ts";
import type { Context } from "./context.ts";
import { printable } from "./output.ts";
import {
  argument,
  optional,
  parseDuration,
  parseInteger,
  parseText,
  toggle,
  Wanted,
} from "./parameters.ts";

type LogEvent = ControlClient extends { logs(...args: never[]): AsyncIterable<infer E> } ? E
  : never;

/** A point in time: so long ago, or as a date. */
export type Since = { readonly agoMs: number } | { readonly wallMs: number };

const DATE = /^\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?$/i;

/** `10m`, or `2026-11-22T10:00`; a date without a zone is local. */
export function parseSince(text: string): Since {
  if (DATE.test(text)) {
    // A date alone would be taken for UTC.
    const wallMs = Date.parse(text.length === 10 ? `${text}T00:00` : text);
    if (!Number.isNaN(wallMs) && wallMs >= 0) return { wallMs };
  } else if (/^[\d.]/.test(text) && /[a-z]$/.test(text)) {
    return { agoMs: parseDuration(text) };
  }
  throw new Wanted("a time ago such as 10m, or a date such as 2026-11-22T10:00");
}

export const logs = command({
  brief: "Print what a component wrote",
  description: "Prints the lines that the agent still has, oldest first: time, replica, stream " +
    "(out, err; the level of what it logged; realm for what realm says about it), text. With --json each line is one document. With --all-nodes every node is asked that the " +
    "component is placed on: lines in order of their time, with --follow as they come, and --tail of each node.",
  flags: {
    follow: toggle("Go on with new lines until interrupted"),
    since: optional("Only lines from then on: 10m, or a date", "TIME", parseSince),
    tail: optional("Only the last N of the lines that are there", "N", parseInteger(0, 100_000)),
    replica: optional("Only lines of this replica", "N", parseInteger()),
    allNodes: toggle("Of every node that it is placed on"),
    key: optional("Ask another node with this key (default: the owner's)", "FILE", parseText),
  },
  aliases: { f: "follow" },
  args: [argument("Component", "COMPONENT", parseText)],
  async run(context, { follow, since, tail, replica, allNodes, key }, component) {
    const sinceMs = since === undefined
      ? undefined
      : "wallMs" in since
      ? since.wallMs
      : Math.max(0, Date.now() - since.agoMs);
    const colour = context.colour("stdout");
    await withAgent(context, async (agent) => {
      const options = {
        component,
        follow,
        ...(tail === undefined ? {} : { tail }),
        ...(sinceMs === undefined ? {} : { sinceMs }),
        ...(replica === undefined ? {} : { replica }),
      };
      if (allNodes) return await logsOfAll(context, agent, options, key);
      let isSilent = true;
      const elsewhere = async () => {
        if (context.node === undefined) await tellWhere(context, agent, component);
      };
      if (follow) await elsewhere();
      for await (const event of agent.logs(options, context.shell.interrupted())) {
        isSilent = false;
        context.printLine(event, () => formatLogEvent(event, component, colour));
      }
      if (isSilent && !follow) await elsewhere();
    }, key);
  },
});

/** Says where a component runs that does not run here. */
async function tellWhere(
  context: Context,
  agent: ControlClient,
  component: string,
): Promise<void> {
  const { node, components } = await agent.status();
  const placed = components.find(({ name }) => name === component)?.placed ?? [];
  const names = placed.map(({ node }) => node);
  if (names.length === 0 || names.includes(node.name)) return;
  context.note(
    `${component} does not run on ${node.name}, but on ${names.join(", ")}: add --all-nodes`,
  );
}

/** Prints what a component wrote on every node that it is placed on. */
async function logsOfAll(
  context: Context,
  agent: ControlClient,
  options: Parameters<ControlClient["logs"]>[0],
  keyFile: string | undefined,
): Promise<void> {
  const { lastLines, mergeLogs } = await import("./node_logs.ts");
  const { component, follow, tail } = options;
  const { node: self, components } = await agent.status();
  const placed = components.find(({ name }) => name === component)?.placed ?? [];
  const signal = context.shell.interrupted();
  const failures: RealmError[] = [];
  const failed = (node: string, error: unknown) => {
    if (!(error instanceof RealmError)) throw error;
    failures.push(error);
    context.note(`nothing more of ${node}: ${error.message}`);
  };
  const logs = new Map([[self.name, agent.logs(options, signal)]]);
  const close: (() => Promise<void>)[] = [];
  try {
    for (const { node } of placed) {
      if (node === self.name) continue;
      try {
        const remote = await connectNode(context, node, agent, keyFile);
        close.push(() => remote.close());
        logs.set(node, remote.client.logs(options, signal));
      } catch (error) {
        failed(node, error);
      }
    }
    const colour = context.colour("stdout");
    const merged = mergeLogs(logs, { inOrder: !follow, failed });
    // Each node gives its last lines; where they come to an end, the last of all are among them.
    const shown = tail === undefined || follow ? merged : lastLines(merged, tail);
    for await (const event of shown) {
      context.printLine(event, () => formatLogEvent(event, `${event.node}:${component}`, colour));
    }
  } finally {
    for (const each of close) await each();
  }
  if (failures[0] !== undefined) throw failures[0];
}

async function connectNode(
  context: Context,
  name: string,
  agent: ControlClient,
  keyFile: string | undefined,
) {
  const [{ Author }, { remoteNode }, { connectRemote }] = await Promise.all([
    import("./author.ts"),
    import("./remote_node.ts"),
    import("../agent/member/remote_agent.ts"),
  ]);
  const { keys } = await Author.open(context, keyFile);
  return await connectRemote(keys, await remoteNode(name, () => agent.nodes()));
}

/** Foreground colours that are readable on dark and light terminals; not red, which is stderr. */
const COLOURS = [36, 32, 33, 35, 34];

/** Of levels: grey, grey, blue, yellow, red, red. */
const LEVELS = { trace: 90, debug: 90, info: 34, warn: 33, error: 31, critical: 31 } as const;

/**
 * One line of text; control characters are escaped, whoever wrote them. Colours, where wanted,
 * tell replicas and streams apart.
 */
export function formatLogEvent(event: LogEvent, component: string, colour: boolean): string {
  const paint = (code: number, text: string) => colour ? `\x1b[${code}m${text}\x1b[0m` : text;
  if (event.kind === "missed") return paint(33, `… ${event.lines} lines missed`);
  const { replica, stream, wallMs } = event;
  const who = `${component}/${replica ?? "*"}`;
  const mark = event.level !== undefined
    ? paint(LEVELS[event.level], event.level)
    : stream === "stdout"
    ? "out"
    : stream === "stderr"
    ? paint(31, "err")
    : paint(33, stream);
  const text = printable(event.text).replaceAll("\n", "\\u{a}");
  return [
    paint(90, new Date(wallMs).toISOString()),
    replica === null ? who : paint(COLOURS[replica % COLOURS.length]!, who),
    mark,
    text,
  ].join(" ");
}
