/**
 * `realm nodes`: the machines of the realm, and who of them takes part.
 *
 * @module
 */
import type { ControlClient } from "../agent/control/client.ts";
import { RealmError } from "../agent/kernel/error.ts";
import { command, commands } from "./command.ts";
import { withAgent } from "./connection.ts";
import type { Context } from "./context.ts";
import { type Column, formatTable, printableLine } from "./output.ts";
import { argument, optional, parseText, toggle } from "./parameters.ts";
import { manifestInForce } from "./secrets.ts";
import { formatAge } from "../tui/quantity.ts";

/** One machine as an agent tells of it. */
export type NodeStatus = Awaited<ReturnType<ControlClient["nodes"]>>[number];

const NODES = argument("Its name, key or fingerprint", "NODE", parseText);
const KEY = optional("Sign with this key, an operator's (default: the owner's)", "FILE", parseText);

const ls = command({
  brief: "List the machines of the realm, and those that ask to join",
  async run(context) {
    await withAgent(context, async (agent) => {
      const nodes = await agent.nodes();
      context.print(nodes, () => formatNodes(nodes, Date.now()));
    });
  },
});

const approve = command({
  brief: "Let machines take part",
  description: "Signs, with the owner's key, that these machines belong to the realm under the " +
    "names that they gave themselves. Compare the fingerprint with what realm agent printed there.",
  flags: {
    name: optional("What the realm calls it (default: its own name)", "NODE", parseText),
    yes: toggle("Approve without asking"),
  },
  aliases: { y: "yes" },
  rest: NODES,
  async run(context, { name, yes }, ...wanted) {
    requireSome("approve", wanted);
    if (name !== undefined && wanted.length > 1) {
      throw new RealmError(
        "usage",
        `Cannot approve ${wanted.length} nodes as ${name}: wanted one`,
        { hint: "Approve them one by one" },
      );
    }
    return await withAgent(context, async (agent) => {
      const { Author } = await import("./author.ts");
      const { controlContent } = await import("../agent/realm/control_event.ts");
      const { fingerprint, parsePublicKey, publicKeyProblem } = await import(
        "../agent/kernel/key.ts"
      );
      const author = await Author.open(context);
      const nodes = await agent.nodes();
      const find = (each: string) => {
        // A key that nobody has seen yet: who has it is in when it comes.
        const isNew = publicKeyProblem(each) === undefined &&
          !nodes.some(({ key }) => key === each);
        return isNew && name !== undefined
          ? { name, key: each, fingerprint: fingerprint(parsePublicKey(each)) }
          : nodeOf(nodes, each, "approve");
      };
      const found = distinct(wanted.map(find)).map((node) => ({
        ...node,
        name: name ?? node.name,
      }));
      for (const node of found) requireNameFree(nodes, node);
      for (const { name, key, fingerprint } of found) {
        context.note(
          printableLine(`${name}  ${key}  fingerprint ${fingerprint}`),
        );
      }
      if (!yes && !await isMeant(context, `Approve ${namesOf(found)}?`)) return 1;
      const approvals = found.map(({ key, name }) =>
        controlContent({ kind: "approve", key, name })
      );
      const { sealsOwed } = await import("./secrets.ts");
      const owed = await sealsOwed(context, agent, author, await manifestInForce(agent), found);
      await author.append(agent, [...approvals, ...owed.map(({ content }) => content)]);
      context.print(
        { approved: found.map(({ name, key }) => ({ name, key })) },
        () => found.map(({ name }) => `approved ${printableLine(name)}\n`).join(""),
      );
    });
  },
});

const revoke = command({
  brief: "Take machines out of the realm, for good",
  description: "Signs, with the owner's key, that these keys count no more. Every node cuts them " +
    "off as soon as it hears of it. A machine comes back with a new key only.",
  flags: { yes: toggle("Revoke without asking") },
  aliases: { y: "yes" },
  rest: NODES,
  async run(context, { yes }, ...wanted) {
    requireSome("revoke", wanted);
    return await withAgent(context, async (agent) => {
      const { Author } = await import("./author.ts");
      const { controlContent } = await import("../agent/realm/control_event.ts");
      const { CID } = await import("../agent/kernel/canonical.ts");
      const author = await Author.open(context);
      const nodes = await agent.nodes();
      const found = distinct(wanted.map((each) => nodeOf(nodes, each, "revoke")));
      if (!yes && !await isMeant(context, `Revoke ${namesOf(found)}, for good?`)) return 1;
      const contents = await Promise.all(found.map(async ({ key }) => {
        const last = (await agent.place(key))?.previous ?? null;
        return controlContent({ kind: "revoke", key, last: last && CID.parse(last.id) });
      }));
      await author.append(agent, contents);
      const { exposedSecrets } = await import("./secrets.ts");
      const exposed = await exposedSecrets(agent);
      if (exposed.length > 0) {
        context.note(
          `warning: could be read there, and want new values: ${exposed.join(", ")} ` +
            "(realm secrets set NAME)",
        );
      }
      context.print(
        { revoked: found.map(({ name, key }) => ({ name, key })) },
        () => found.map(({ name, key }) => `revoked ${printableLine(name)} ${key}\n`).join(""),
      );
    });
  },
});

const namesOf = (nodes: readonly { readonly name: string }[]) =>
  nodes.map(({ name }) => printableLine(name)).join(", ");

/** Asks on a terminal; programs mean what they say. */
async function isMeant(context: Context, question: string): Promise<boolean> {
  return context.json || !context.shell.terminal.stdin || await context.confirm(question, "--yes");
}

/** `drain` and `undrain`, which differ in one word. */
function draining(verb: "drain" | "undrain", brief: string) {
  return command({
    brief,
    flags: { key: KEY },
    rest: NODES,
    async run(context, { key }, ...wanted) {
      requireSome(verb, wanted);
      await withAgent(context, async (agent) => {
        const { Author } = await import("./author.ts");
        const { drainNodes } = await import("./override.ts");
        const drained = verb === "drain";
        const names = await drainNodes(agent, await Author.open(context, key), wanted, drained);
        context.print(
          { nodes: names, drained },
          () => names.map((name) => `${verb}ed ${name}\n`).join(""),
        );
      }, key);
    },
  });
}

export const nodes = commands("List, approve, revoke and drain the machines of the realm", {
  ls,
  approve,
  revoke,
  drain: draining("drain", "Let machines run nothing for now"),
  undrain: draining("undrain", "Let machines run their share again"),
});

const COLUMNS: readonly Column<NodeStatus & { readonly silentMs: number | undefined }>[] = [
  { title: "NODE", text: ({ name, self }) => self ? `${name} *` : name },
  {
    title: "STATE",
    text: ({ state, live, silentMs, drained }) =>
      (state !== "approved"
        ? state
        : live
        ? "live"
        : silentMs === undefined
        ? "silent"
        : `silent for ${formatAge(silentMs)}`) + (drained ? ", drained" : ""),
  },
  {
    title: "MANIFEST",
    text: ({ version }) => version === null ? "-" : String(version),
    align: "right",
  },
  {
    title: "REPLICAS",
    text: ({ health }) => health === null ? "-" : `${health.running}/${health.wanted}`,
    align: "right",
  },
  {
    title: "LATENCY",
    text: ({ latencyMs }) => latencyMs === null ? "-" : `${latencyMs.toFixed(1)} ms`,
    align: "right",
  },
  { title: "LOG", text: ({ heads, drift }) => heads === null ? "-" : drift ? "differs" : "same" },
  { title: "FINGERPRINT", text: ({ fingerprint }) => fingerprint },
];

/** The machines as people read them. */
export function formatNodes(nodes: readonly NodeStatus[], nowMs: number): string {
  const rows = nodes.map((node) => ({
    ...node,
    silentMs: node.silentSinceMs === null ? undefined : Math.max(0, nowMs - node.silentSinceMs),
  }));
  const pending = nodes.filter(({ state, self }) => state === "pending" && !self);
  const isWaiting = nodes.some(({ state, self }) => state === "pending" && self);
  return formatTable(rows, COLUMNS) +
    (isWaiting
      ? "\nThis machine waits for its owner: realm nodes approve where the realm runs; " +
        "the owner's realm apply here approves it, too\n"
      : "") +
    (pending.length === 0
      ? ""
      : `\n${pending.length} ${pending.length === 1 ? "asks" : "ask"} to join: ` +
        "compare the fingerprint, then run realm nodes approve NODE\n");
}

/**
 * The machine that the operator means, by name, key or fingerprint. Of two with one name those that
 * the verb could be about are preferred; where that leaves two, the key has to tell.
 */
export function nodeOf(
  nodes: readonly NodeStatus[],
  wanted: string,
  verb: "approve" | "revoke" | "drain" | "undrain" | "restart" | "scale" | "ask",
): NodeStatus {
  const named = nodes.filter(({ name, key, fingerprint }) =>
    [name, key, fingerprint].includes(wanted)
  );
  const states = { approve: ["pending"], revoke: ["approved", "pending"] } as const;
  const fitting = named.filter(({ state }) =>
    ((verb === "approve" || verb === "revoke" ? states[verb] : ["approved"]) as readonly string[])
      .includes(state)
  );
  if (fitting.length === 1) return fitting[0]!;
  if (fitting.length > 1) {
    throw new RealmError(
      "usage",
      `Cannot ${verb} "${wanted}": ${fitting.length} nodes have this name, wanted one key:` +
        fitting.map(({ key, fingerprint }) => `\n  ${key}  ${fingerprint}`).join(""),
      { hint: `Run realm nodes ${verb} KEY, of the one whose fingerprint is right` },
    );
  }
  if (named[0] !== undefined) {
    throw new RealmError(
      "refused",
      `Cannot ${verb} "${wanted}": it is ${named[0].state}`,
      named[0].state === "revoked"
        ? { hint: "Start its agent on a new data folder, which gives it a new key" }
        : {},
    );
  }
  const known = nodes.map(({ name }) => name).join(", ") || "none";
  throw new RealmError(
    "not-found",
    `Cannot find node "${wanted}": wanted the name, key or fingerprint of one of ${known}`,
    {
      hint: verb === "approve"
        ? "Run realm nodes ls, or realm nodes approve KEY --name NODE for one that comes later"
        : "Run realm nodes ls",
    },
  );
}

/**
 * Throws RealmError `refused` when the name is that of another key: that is how somebody would
 * pass for a known machine.
 */
export function requireNameFree(
  nodes: readonly NodeStatus[],
  { name, key }: Pick<NodeStatus, "name" | "key">,
): void {
  const other = nodes.find((node) =>
    node.state === "approved" && node.name === name && node.key !== key
  );
  if (other === undefined) return;
  throw new RealmError(
    "refused",
    `Cannot approve ${key} as ${name}: that is the name of ${other.key}`,
    { hint: `Run realm nodes revoke ${other.key} first, or approve it with --name OTHER` },
  );
}

function requireSome(verb: string, wanted: readonly string[]): void {
  if (wanted.length > 0) return;
  throw new RealmError("usage", `Cannot ${verb}: no node was named, wanted NODE…`, {
    hint: "Run realm nodes ls",
  });
}

/** Each machine once. */
export function distinct<T extends { readonly key: string }>(nodes: readonly T[]): T[] {
  return [...new Map(nodes.map((node) => [node.key, node])).values()];
}
