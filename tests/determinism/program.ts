/**
 * Replays topics and tells what came of them, wherever there is WebAssembly: nothing here is Deno's or
 * Node's. Bundled, it takes what it is to do from `globalThis.realmInput` and hands the report, as JSON,
 * to `globalThis.realmDone`.
 *
 * @module
 */
import { type Guest, Replay } from "../../agent/apps/replay.ts";
import { ABI } from "../../agent/apps/guest/prices.ts";
import { StateApply } from "../../agent/apps/guest/state_apply.ts";
import { AppLog } from "../../agent/apps/topic/app_log.ts";
import { replayParts } from "../../agent/apps/topic/app_replay.ts";
import { CID, sha256HexSync } from "../../agent/kernel/canonical.ts";
import { decodeSigned } from "../../agent/kernel/event.ts";
import { nobleBackend } from "../../agent/kernel/signature_backends.ts";
import { type SyncSignatureBackend, verifierOf } from "../../agent/kernel/verify.ts";
import { MemoryStore } from "../../agent/store/memory_store.ts";

/** A topic: everything in base64. */
export interface TopicInput {
  readonly topic: string;
  /** Its state-apply component. */
  readonly component: string;
  /** Signed events, in any order. */
  readonly events: readonly string[];
}

/** What came of a topic. */
export interface TopicReport {
  readonly events: number;
  readonly digest: string;
  readonly entries: number;
  readonly fuel: number;
  /** How many were accepted, rejected, and so on. */
  readonly verdicts: Readonly<Record<string, number>>;
  /** Of the names of the events in order, with the verdict and fuel of each. */
  readonly log: string;
}

function bytesOf(base64: string): Uint8Array {
  return Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
}

/** Takes the events of a topic, signatures verified, applies them, and reports. */
export async function replayTopic({ topic, component, events }: TopicInput): Promise<TopicReport> {
  const verify = verifierOf(nobleBackend() as SyncSignatureBackend);
  const log = AppLog.open({ store: new MemoryStore(), verify, topic: CID.parse(topic) });
  const { refused } = log.offer(events.map((event) => decodeSigned(bytesOf(event))));
  if (refused[0] !== undefined) throw new Error(refused[0].problem);
  const setting = { creator: log.topic!.genesis.author, params: new Map() };
  const guest: Guest = await StateApply.load(bytesOf(component), setting, verify);
  const replay = new Replay(replayParts(log, { guestOf: () => guest })!);
  replay.update(0);
  if (!replay.isSettled) throw new Error("not all was applied", { cause: replay.illness?.cause });
  const verdicts: Record<string, number> = {};
  const lines: string[] = [];
  let fuel = 0;
  for (const event of replay.log) {
    const outcome = replay.outcomeOf(event);
    lines.push(`${event.id} ${outcome?.verdict.kind} ${outcome?.fuel}`);
    if (outcome === undefined) continue;
    fuel += outcome.fuel;
    verdicts[outcome.verdict.kind] = (verdicts[outcome.verdict.kind] ?? 0) + 1;
  }
  return {
    events: replay.log.length,
    digest: Array.from(replay.state.digest(ABI), (b) => b.toString(16).padStart(2, "0")).join(""),
    entries: replay.state.size,
    fuel,
    verdicts,
    log: sha256HexSync(new TextEncoder().encode(lines.join("\n"))),
  };
}

const { realmInput, realmDone } = globalThis as {
  realmInput?: readonly TopicInput[];
  realmDone?: (report: string) => void;
};
if (realmInput !== undefined && realmDone !== undefined) {
  Promise.all(realmInput.map(replayTopic)).then(
    (reports) => realmDone(JSON.stringify(reports)),
    (error) => realmDone(`failed: ${error?.stack ?? error}`),
  );
}
