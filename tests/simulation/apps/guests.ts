/**
 * The apps that are simulated: the state-apply components of counter and poll, as they are in their
 * bundles, and what people do with them.
 *
 * A component remembers nothing from one event to the next, so all peers share one of each.
 *
 * @module
 */
import { StateApply } from "../../../agent/apps/guest/state_apply.ts";
import type { AppLog } from "../../../agent/apps/topic/app_log.ts";
import { bytesOf } from "../../../agent/kernel/byte_string.ts";
import { appComponents } from "../../app_guest.ts";
import { player, verify } from "../cast.ts";
import type { SeededRandom } from "../../../agent/kernel/seeded_random.ts";

/** The apps. */
export const APPS = ["counter", "poll"] as const;
/** One of {@link APPS}. */
export type AppName = typeof APPS[number];

/** Who makes every topic. */
export const creator = player("creator of topics");

const load = async (name: AppName) =>
  await StateApply.load(
    (await appComponents(name)).get("state-apply")!,
    { creator: creator.publicKey, params: new Map() },
    verify,
  );

/** What applies the events of each. */
export const GUESTS: Readonly<Record<AppName, StateApply>> = {
  counter: await load("counter"),
  poll: await load("poll"),
};

/** An event of the app, as its author wrote it. */
export interface Act {
  readonly type: string;
  readonly payload: Uint8Array;
}

/** Something that somebody does with an app, now and then what it refuses. */
export function actOf(app: AppName, log: AppLog, random: SeededRandom): Act {
  if (app === "counter") return { type: "add", payload: number(random.pick([1, 2, 10, 0])) };
  const polls = log.topic!.order().filter(({ type }) => type === "create").slice(-3);
  if (polls.length === 0 || random.chance(0.1)) {
    const payload = [...number(0), ...text("why"), ...text("so"), ...text("not"), ...text("else")];
    return { type: "create", payload: Uint8Array.from(payload) };
  }
  const name = bytesOf(random.pick(polls).key);
  if (random.chance(0.1)) return { type: "close", payload: name };
  return { type: "vote", payload: Uint8Array.of(...name, random.between(0, 3)) };
}

function number(value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value));
  return bytes;
}

function text(value: string): Uint8Array {
  return Uint8Array.of(value.length, ...bytesOf(value));
}
