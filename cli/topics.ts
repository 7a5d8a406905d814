/**
 * `realm app`: taking part in topics of apps, by way of the agent of this machine.
 *
 * @module
 */
import type { ControlClient } from "../agent/control/client.ts";
import { RealmError } from "../agent/kernel/error.ts";
import { readVerified, requireHere } from "./app_install.ts";
import { command } from "./command.ts";
import { withAgent } from "./connection.ts";
import type { Context } from "./context.ts";
import { formatTable, printable } from "./output.ts";
import {
  argument,
  defaulted,
  optional,
  parseAssignment,
  parseChoice,
  parseDuration,
  parseText,
  repeated,
  required,
  toggle,
} from "./parameters.ts";

type Apps = ControlClient["apps"];
type TopicStatus = Awaited<ReturnType<Apps["topics"]>>["topics"][number];

/** How often a topic that is waited for is looked at. */
const LOOK_MS = 250;
/** Bundles that `app join` installs: whoever may upgrade the topic names them, and others wait. */
const INSTALLS_MAX = 16;

export const topicArgument = argument("Topic: its CID, or its name here", "TOPIC", parseText);
const nameFlag = optional("What to call it on this machine", "NAME", parseText);

/** Gives `use` the part of the agent that is about apps. */
export function withApps<T>(context: Context, use: (apps: Apps) => Promise<T>): Promise<T> {
  requireHere(context);
  return withAgent(context, (agent) => use(agent.apps));
}

export const topics = command({
  brief: "List the topics that this machine takes part in",
  async run(context) {
    const { topics } = await withApps(context, (apps) => apps.topics({}));
    context.print(topics, () => formatTopics(topics));
  },
});

/** Topics as a table, and what is wrong with each below. */
export function formatTopics(topics: readonly TopicStatus[]): string {
  const table = formatTable(topics, [
    { title: "NAME", text: ({ name }) => name },
    { title: "APP", text: ({ appName, app }) => appName ?? app ?? "-" },
    { title: "STATE", text: ({ state }) => state },
    { title: "ROLE", text: ({ role }) => role },
    { title: "EVENTS", text: ({ events }) => String(events), align: "right" },
    { title: "PEERS", text: ({ peers }) => String(peers.length), align: "right" },
    {
      title: "DIGEST",
      text: ({ digest, settled }) =>
        digest === null ? "-" : `${digest.slice(0, 12)}${settled ? "" : " (not settled)"}`,
    },
    { title: "TOPIC", text: ({ topic }) => topic },
  ]);
  const problems = topics.flatMap(({ name, why, alarms, behaviorProblem }) => [
    ...why === null ? [] : [`${name}: ${why}`],
    ...behaviorProblem === null ? [] : [`${name}: its behavior ended: ${behaviorProblem}`],
    ...alarms.map((alarm) => `${name}: ${alarm}`),
  ]);
  return table + problems.map((line) => `! ${printable(line)}\n`).join("");
}

function formatTopic({ name, topic, app, key, encrypted, state, why }: TopicStatus): string {
  const lines = [
    ["topic", topic],
    ["name", name],
    ["app", app ?? "not known yet"],
    ["you", key],
    ["state", why === null ? state : `${state}: ${why}`],
    ...encrypted ? [["payloads", "encrypted"]] : [],
  ] as const;
  return lines.map(([title, value]) => `${title!.padEnd(9)} ${printable(value!)}\n`).join("");
}

export const createTopic = command({
  brief: "Make a topic of an installed app",
  description: "You are its creator: invite others with realm app invite.",
  flags: {
    name: nameFlag,
    param: repeated("Parameter of the app, the same for ever", "NAME=VALUE", parseAssignment),
    encrypted: toggle("Encrypt payloads to those who take part"),
  },
  args: [argument("App: its CID, or its name", "APP", parseText)],
  async run(context, flags, app) {
    const encoder = new TextEncoder();
    const { topic } = await withApps(context, (apps) =>
      apps.create({
        app,
        ...(flags.name === undefined ? {} : { name: flags.name }),
        params: flags.param.map(([name, value]) => [name, encoder.encode(value).toBase64()]),
        encrypted: flags.encrypted,
      }));
    context.print(topic, () => formatTopic(topic));
  },
});

export const join = command({
  brief: "Take part in a topic, by a ticket",
  description: "The app's bundle is fetched from peers where it is not installed, and those that " +
    "the topic was upgraded to; you are asked before each is installed.",
  flags: {
    name: nameFlag,
    yes: toggle("Install what it needs and grant what that asks for, without being asked"),
    wait: defaulted("How long to wait for peers", "DURATION", parseDuration, "30s"),
  },
  args: [argument("What realm app invite printed", "TICKET", parseText)],
  async run(context, flags, ticket) {
    const topic = await withApps(context, async (apps) => {
      const name = flags.name === undefined ? {} : { name: flags.name };
      const { topic } = await apps.join({ ticket, ...name });
      const { installNeeded } = await import("./app_install.ts");
      // The one that it starts with, then those that it was upgraded to.
      for (const installed = new Set<string>();;) {
        const found = await settled(apps, topic.topic, flags.wait);
        const { needs } = found;
        if (needs === undefined || installed.has(needs)) return found;
        if (installed.size === INSTALLS_MAX) {
          context.note(
            `It needs more bundles than the ${INSTALLS_MAX} that were installed: go on with ` +
              `realm app install ${needs}`,
          );
          return found;
        }
        installed.add(needs);
        const { bytes } = await apps.bundle({ bundle: needs });
        const isGranted = flags.yes;
        const packed = Uint8Array.fromBase64(bytes);
        await installNeeded(context, packed, [found], { isGranted, isAsked: true });
        await apps.changed({});
      }
    });
    context.print(topic, () => formatTopic(topic));
    if (topic.role === "none") {
      context.note(
        "You take no part yet: that goes on by itself when a machine that has the topic lets you in, " +
          "and realm app topics shows it",
      );
    }
  },
});

/** The topic once its events are here and the person takes part, or as it is when time is up. */
async function settled(apps: Apps, id: string, waitMs: number): Promise<TopicStatus> {
  const { systemClock } = await import("../agent/node/system_clock.ts");
  const endMs = systemClock.monotonicMs() + waitMs;
  for (;;) {
    const { topics } = await apps.topics({});
    const found = topics.find(({ topic }) => topic === id);
    if (found === undefined) {
      throw new RealmError("not-found", `Cannot find topic ${id}: it is gone`);
    }
    const isThere = found.state !== "starting" &&
      (found.role !== "none" || found.state === "needs-bundle");
    if (isThere || systemClock.monotonicMs() >= endMs) return found;
    await systemClock.sleep(LOOK_MS);
  }
}

export const keep = command({
  brief: "Store and serve a topic without running its app, by a ticket",
  flags: { name: nameFlag },
  args: [argument("What realm app invite --role keeper printed", "TICKET", parseText)],
  async run(context, flags, ticket) {
    const name = flags.name === undefined ? {} : { name: flags.name };
    const { topic } = await withApps(context, (apps) => apps.join({ ticket, ...name, keep: true }));
    context.print(topic, () => formatTopic(topic));
  },
});

export const inviteToTopic = command({
  brief: "Print a ticket by which others take part in a topic",
  description:
    "Who has the ticket can join until you take it back, by realm app remove TOPIC TICKET: " +
    "keep it as a secret.",
  flags: {
    role: defaulted(
      "member, admin, or keeper, who stores and serves and writes nothing",
      "ROLE",
      parseChoice("member", "admin", "keeper"),
      "member",
    ),
  },
  args: [topicArgument],
  async run(context, flags, topic) {
    const answer = await withApps(context, (apps) => apps.invite({ topic, role: flags.role }));
    context.print(answer, () => `${answer.ticket}\n`);
    context.note("Whoever has this word can join: realm app join TICKET");
    if (answer.nodes === 0) {
      context.note(
        "warning: it names no machine to come to: start realm agent with --listen " +
          "/ip4/0.0.0.0/tcp/4001, and invite again",
      );
    }
  },
});

export const leave = command({
  brief: "Take part in a topic no more",
  description: "Its events stay on this machine, since you go on from them when you join again: " +
    "others may not have all that you wrote. With --forget they are deleted, also later; join " +
    "again, and nothing is written before your last events have come back from peers.",
  flags: { forget: toggle("Tell nobody: delete it here, and nothing else") },
  args: [topicArgument],
  async run(context, flags, topic) {
    const answer = await withApps(context, (apps) => apps.leave({ topic, forget: flags.forget }));
    context.print(answer, () => `left ${answer.topic}\n`);
    if (answer.told === 0) {
      context.note(
        "Nobody heard of it, as no peer was there to take it: others count you in still",
      );
    }
    if (answer.kept !== undefined) {
      context.note(
        "Its events stay here for when you join again: " +
          `realm app leave --forget ${answer.topic} deletes them`,
      );
    }
  },
});

export const removeMember = command({
  brief: "Take a key out of a topic: nothing that it writes from now on counts",
  description:
    "Keys of members are in realm app topics --json. A ticket in place of a key takes its " +
    "invite back: nobody joins by it any more.",
  args: [topicArgument, argument("Public key, or a ticket", "KEY", parseText)],
  async run(context, _flags, topic, text) {
    const key = await keyOf(text);
    const answer = await withApps(context, (apps) => apps.remove({ topic, key }));
    context.print(
      answer,
      () =>
        `${answer.already ? "was removed already:" : "removed"} ${key}\nevent ${answer.event}\n`,
    );
  },
});

export const upgrade = command({
  brief: "Go on with another bundle of the app, from here on, everywhere",
  description: "The bundle has to be installed. Its migration is tried first; every peer then " +
    "switches at the same event, and one that lacks the bundle stops there and says so.",
  args: [topicArgument, argument("Bundle: its file, or its CID", "BUNDLE", parseText)],
  async run(context, _flags, topic, file) {
    const bundle = await bundleId(context, file);
    const answer = await withApps(context, (apps) => apps.upgrade({ topic, bundle }));
    context.print(answer, () => `upgraded to ${bundle}\nevent ${answer.event}\n`);
  },
});

export const checkpoint = command({
  brief: "Make what was said in a topic so far final",
  description: "What comes later cannot change the order or a verdict of it any more; only a " +
    "revocation can. For the creator and admins of the topic.",
  args: [topicArgument],
  async run(context, _flags, topic) {
    const answer = await withApps(context, (apps) => apps.checkpoint({ topic }));
    context.print(answer, () => `event ${answer.event}\n`);
  },
});

export const fork = command({
  brief: "Make a topic of your own that begins with the state after an event",
  description: "Who takes part in the topic that is forked can check that state when they join.",
  flags: { at: required("Event, from realm app log", "EVENT", parseText), name: nameFlag },
  args: [topicArgument],
  async run(context, flags, topic) {
    const name = flags.name === undefined ? {} : { name: flags.name };
    const answer = await withApps(context, (apps) => apps.fork({ topic, at: flags.at, ...name }));
    context.print(answer.topic, () => formatTopic(answer.topic));
  },
});

/** A public key, or that of the invite of a ticket. */
async function keyOf(text: string): Promise<string> {
  const { formatPublicKey } = await import("../agent/kernel/key.ts");
  const { parseAppTicket, TICKET_PREFIX } = await import("../agent/apps/topic/app_ticket.ts");
  const { openerOf } = await import("../agent/apps/topic/payload_keys.ts");
  if (!text.startsWith(TICKET_PREFIX)) return text;
  const { invite } = parseAppTicket(text);
  if (invite !== undefined) return formatPublicKey(openerOf(invite.seed).publicKey);
  throw new RealmError("usage", "Cannot take the ticket back: there is no invite in it");
}

/** The CID of a bundle that is named by it, or by a file. */
async function bundleId(context: Context, text: string): Promise<string> {
  if (/^bafy[a-z2-7]+$/.test(text)) return text;
  return (await readVerified(context, text)).packed.id.toString();
}
