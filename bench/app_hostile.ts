/**
 * What members who mean harm cost a peer that applies: events that come late, one by one, each of which
 * would have everything behind it applied again.
 *
 * @module
 */
import * as process from "node:process";
import { componentOf, moduleText } from "../agent/apps/guest/component_fake.ts";
import { StateApply } from "../agent/apps/guest/state_apply.ts";
import { Replay } from "../agent/apps/replay.ts";
import { replayParts } from "../agent/apps/topic/app_replay.ts";
import { inviteTo, joinBy } from "../agent/apps/topic/authoring.ts";
import { eventAt, type SignedEvent, signEventSync } from "../agent/kernel/event.ts";
import { keyPairOf, signerOf } from "../agent/kernel/verify.ts";
import { nodeBackend } from "../agent/node/crypto_node.ts";
import { MemoryStore } from "../agent/store/memory_store.ts";
import type { Sample } from "./app_peers.ts";
import { createLog, payloadOf, signerFrom, verify, write } from "./apps.ts";

const LATE = 1_000;
/** How long there is between two of them; their time is not the machine's. */
const EVERY_MS = 5;

/** A component that looks at the state before it sets a key, so that no result of before is taken. */
const SCANS = moduleText(
  `(call $state-read.scan (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1)
     (i32.const 32))
   (call $state-write.put (local.get $p) (i32.const 4) (local.get $p) (local.get $n))`,
);

/**
 * What a thousand events of a member take that come late, by themselves, to a topic of so many: taken,
 * and in the end applied. Each is before all that is there.
 */
export async function hostileLate(count: number): Promise<Sample> {
  const [ann, ben] = await Promise.all([1, 2].map(signerFrom));
  const log = createLog(new MemoryStore(), ann!);
  const random = { bytes: (n: number) => crypto.getRandomValues(new Uint8Array(n)) };
  const { said, seed } = inviteTo(log, "member", random);
  log.write(said, ann!);
  const invite = signerOf(await keyPairOf(seed, nodeBackend()), nodeBackend());
  let last = log.write(joinBy(log, invite, ben!.publicKey), ben!);
  const late: SignedEvent[] = [];
  for (let i = 0; i < LATE; i++) {
    const { id, event: { seq, lamport } } = last;
    const place = { topic: log.topicId, heads: [{ id, lamport }], previous: { id, seq } };
    const content = { type: "note", payload: payloadOf(i) };
    late.push(last = signEventSync(eventAt(ben!.publicKey, place, content), ben!));
  }
  for (let i = 0; i < count; i++) write(log, i, ann!);
  log.flush(0);
  const setting = { creator: ann!.publicKey, params: new Map() };
  const guest = await StateApply.load(await componentOf(SCANS), setting, verify);
  const replay = new Replay(replayParts(log, { guestOf: () => guest })!);
  for (const event of log.topic!.order()) if (event !== log.topic!.genesis) replay.added(event);
  log.follow(replay);
  let nowMs = 0;
  replay.update(nowMs);
  const from = performance.now(), before = process.cpuUsage();
  for (const signed of late) {
    log.offer([signed]);
    log.flush(0);
    replay.update(nowMs += EVERY_MS);
  }
  while (!replay.isSettled) replay.update(nowMs = Math.max(nowMs + 1, replay.dueMs(nowMs)!));
  const { user, system } = process.cpuUsage(before);
  const ms = performance.now() - from;
  if (replay.log.length !== log.topic!.size - 1) throw new Error("some were not applied");
  return { rate: LATE / ms * 1000, cpu: (user + system) / LATE, ms };
}
