/**
 * `realm app`: what is in a topic, and calls that change it.
 *
 * @module
 */
import type { ControlClient } from "../agent/control/client.ts";
import { RealmError } from "../agent/kernel/error.ts";
import { command } from "./command.ts";
import { formatTable, printable } from "./output.ts";
import {
  argument,
  defaulted,
  optional,
  optionalArgument,
  parseInteger,
  parseText,
} from "./parameters.ts";
import { topicArgument, withApps } from "./topics.ts";

type Apps = ControlClient["apps"];
type CallAnswer = Awaited<ReturnType<Apps["call"]>>;
type EventVerdict = CallAnswer["events"][number];

const atFlag = optional("As it was after this event", "EVENT", parseText);
const limitFlag = defaulted("How many at most", "N", parseInteger(1, 10_000), "1000");

export const call = command({
  brief: "Do something in a topic: an intent of its app",
  description:
    "Waits until the events that it makes are durable and applied, and prints what became of " +
    "them. What the app would reject is not written. A verdict that is not final may change when " +
    "events arrive that come before. INPUT is what the app takes for the intent: text as it is, or " +
    "a string in JSON, for line feeds and the like.",
  args: [
    topicArgument,
    argument("Intent, by the name that the app gives it", "INTENT", parseText),
    optionalArgument("What the app takes for it", "INPUT", (text) => text),
  ],
  async run(context, _flags, topic, intent, input = "") {
    const bytes = new TextEncoder().encode(inputOf(input)).toBase64();
    const answer = await withApps(context, (apps) => apps.call({ topic, intent, input: bytes }));
    if (answer.refused !== null) {
      throw new RealmError(
        "refused",
        `Cannot ${intent}: the app says ${JSON.stringify(answer.refused)}`,
      );
    }
    context.print(answer, () => answer.events.map(formatVerdict).join("") || "nothing to write\n");
    return answer.events.every(({ verdict }) => verdict === "accepted") ? 0 : 1;
  },
});

/** A string in JSON stands for its text, anything else for itself. */
function inputOf(text: string): string {
  if (!text.startsWith('"')) return text;
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "string" ? value : text;
  } catch {
    return text;
  }
}

function formatVerdict({ event, type, verdict, reason, final }: EventVerdict): string {
  const why = reason === null ? "" : `: ${reason}`;
  return printable(`${verdict}${why} (${final ? "final" : "not final"})  ${type}  ${event}`) + "\n";
}

export const state = command({
  brief: "Show the state of a topic",
  description:
    "Shows at most a megabyte, and says when there is more: go on with --after and the last key.",
  flags: {
    at: atFlag,
    after: optional("Only keys behind this one: text, or 0x and hex digits", "KEY", parseText),
    limit: limitFlag,
  },
  args: [
    topicArgument,
    optionalArgument("What keys start with: text, or 0x and hexadecimal digits", "KEY", parseText),
  ],
  async run(context, flags, topic, key = "") {
    const at = flags.at === undefined ? {} : { at: flags.at };
    const after = flags.after === undefined ? {} : { after: keyOf(flags.after).toBase64() };
    const asked = { topic, prefix: keyOf(key).toBase64(), limit: flags.limit, ...at, ...after };
    const answer = await withApps(context, (apps) => apps.state(asked));
    context.print(answer, () =>
      formatTable(answer.entries, [
        { title: "KEY", text: ({ key }) => shown(key) },
        { title: "VALUE", text: ({ value }) => shown(value) },
      ]) + (answer.more ? "and more\n" : "") + `digest ${answer.digest}\n`);
  },
});

function keyOf(text: string): Uint8Array {
  if (!text.startsWith("0x")) return new TextEncoder().encode(text);
  try {
    return Uint8Array.fromHex(text.slice(2));
  } catch {
    throw new RealmError(
      "usage",
      `Cannot read key ${JSON.stringify(text)}: wanted 0x and hex digits`,
    );
  }
}

/** Bytes in base64 as text where they are some, else in hexadecimal digits. */
function shown(base64: string): string {
  const bytes = Uint8Array.fromBase64(base64);
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    if (!/\p{C}/u.test(text.replaceAll("\n", ""))) return text.replaceAll("\n", "\\n");
  } catch {
    // Bytes that are no text.
  }
  return `0x${bytes.toHex()}`;
}

export const log = command({
  brief: "Show the events of a topic, in the order in which they are applied",
  description: "Shows at most a megabyte of payloads, and says where to go on when there is more.",
  flags: { from: defaulted("The first, from 0", "N", parseInteger(), "0"), limit: limitFlag },
  args: [topicArgument],
  async run(context, flags, topic) {
    const asked = { topic, from: flags.from, limit: flags.limit };
    const answer = await withApps(context, (apps) => apps.log(asked));
    context.print(answer, () =>
      formatTable(answer.events, [
        { title: "LAMPORT", text: ({ lamport }) => String(lamport), align: "right" },
        { title: "TYPE", text: ({ type }) => type },
        { title: "VERDICT", text: ({ verdict }) => verdict === "none" ? "-" : verdict },
        { title: "FINAL", text: ({ final }) => final ? "yes" : "no" },
        { title: "AUTHOR", text: ({ author }) => author },
        { title: "EVENT", text: ({ event }) => event },
      ]) + moreOf(flags.from + answer.events.length, answer.total));
  },
});

function moreOf(next: number, total: number): string {
  return next < total ? `${total - next} more: --from ${next}\n` : "";
}

export const digest = command({
  brief: "Print the digest of a topic's state, equal for peers with equal events",
  flags: { at: atFlag },
  args: [topicArgument],
  async run(context, flags, topic) {
    const at = flags.at === undefined ? {} : { at: flags.at };
    const answer = await withApps(context, (apps) => apps.digest({ topic, ...at }));
    context.print(answer, () => `${answer.digest}${answer.settled ? "" : " (not settled)"}\n`);
  },
});

export const verify = command({
  brief: "Apply all events of a topic anew, and compare",
  flags: { at: atFlag },
  args: [topicArgument],
  async run(context, flags, topic) {
    const at = flags.at === undefined ? {} : { at: flags.at };
    const answer = await withApps(context, (apps) => apps.verify({ topic, ...at }));
    context.print(
      answer,
      () =>
        `${answer.equal ? "equal" : "DIFFERENT"}: ${answer.events} events, ${answer.fuel} fuel\n` +
        `digest ${answer.digest}\nagain  ${answer.again}\n`,
    );
    return answer.equal ? 0 : 1;
  },
});
