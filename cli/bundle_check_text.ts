/**
 * What came of checking an app against the laws, for people and as JSON.
 *
 * @module
 */
import { bytesToHex as toHex } from "@noble/hashes/utils.js";
import type { BrokenLaw, CheckReport } from "../agent/apps/check/check.ts";
import { type Law, LAWS } from "../agent/apps/check/laws.ts";
import { AUTHORS, type Step } from "../agent/apps/check/script.ts";
import { formatTable, printable } from "./output.ts";

/** An event of a history that breaks a law. */
export interface EventDescription {
  readonly author: string;
  readonly kind: string;
  /** Hexadecimal; `<N>` stands for the id of event N. */
  readonly payload: string;
  /** Events of others, the last ones, that its author had not seen. */
  readonly unseen: number;
  /** Whether it stands beside its author's last one. */
  readonly forks: boolean;
}

/** What `app check` tells. */
export interface CheckDescription extends Omit<CheckReport, "broken"> {
  readonly broken?: {
    readonly law: Law;
    readonly why: string;
    readonly events: readonly EventDescription[];
    /** The order in which they were delivered, from 1; null for theirs. */
    readonly delivery: readonly number[] | null;
    /** Events of the history in which it was found. */
    readonly found: number;
  };
}

/** As JSON. */
export function describeCheck({ broken, ...report }: CheckReport): CheckDescription {
  return { ...report, ...broken && { broken: describeBroken(broken) } };
}

function describeBroken(broken: BrokenLaw): NonNullable<CheckDescription["broken"]> {
  const { law, why, script, delivery, found } = broken;
  return {
    law,
    why,
    events: script.map((step) => ({
      author: AUTHORS[step.author]!,
      kind: step.kind,
      payload: payloadOf(step, script),
      unseen: step.unseen,
      forks: step.forks,
    })),
    delivery: delivery?.map((place) => place + 1) ?? null,
    found,
  };
}

function payloadOf({ payload }: Step, script: readonly Step[]): string {
  return payload.map((part) => {
    if (part instanceof Uint8Array) return toHex(part);
    const place = script.findIndex(({ id }) => id === part.of);
    return place < 0 ? "00".repeat(32) : `<${place + 1}>`;
  }).join("");
}

/** The text of a description. */
export function formatCheck(
  { seed, histories, events, verdicts, fuel, fuelMax, intents, faults, broken }: CheckDescription,
): string {
  const most = fuel.map(({ kind, fuel }) => `${printable(kind)} ${fuel}`).join(", ");
  const lines = [
    `histories  ${histories}, of ${events} events in all, seed ${printable(seed)}`,
    `verdicts   ${Object.entries(verdicts).map(([kind, n]) => `${n} ${kind}`).join(", ")}`,
    `most fuel  ${most === "" ? "none" : most}; an event has ${fuelMax}`,
    `intents    ${printable(intents.join(", ")) || "none found"}`,
    ...faults.map((fault) => `fault      ${printable(fault).replaceAll("\n", " ")}`),
  ];
  if (broken === undefined) return `${lines.join("\n")}\nlaws       every one holds\n`;
  const rows = broken.events.map((event, i) => ({ ...event, place: i + 1 }));
  return [
    ...lines,
    `broken     ${LAWS[broken.law]}`,
    "",
    printable(broken.why),
    `${rows.length} of ${broken.found} events are enough:`,
    "",
    formatTable(rows, [
      { title: "EVENT", text: ({ place }) => `${place}`, align: "right" },
      { title: "AUTHOR", text: ({ author }) => author },
      { title: "KIND", text: ({ kind }) => printable(kind) },
      { title: "PAYLOAD", text: ({ payload }) => payload === "" ? "-" : payload },
      {
        title: "PLACE",
        text: ({ unseen, forks }) =>
          [
            ...unseen > 0 ? [`without the last ${unseen} of others`] : [],
            ...forks ? ["beside its author's last"] : [],
          ].join(", "),
      },
    ]) + (broken.delivery === null ? "" : `\ndelivered as ${broken.delivery.join(" ")}\n`),
  ].join("\n");
}
