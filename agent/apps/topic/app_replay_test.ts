import assert from "node:assert/strict";
import { bytesOf, textOf } from "../../kernel/byte_string.ts";
import { Replay } from "../replay.ts";
import { replayParts } from "./app_replay.ts";
import { nextEpoch } from "./authoring.ts";
import {
  allOf,
  ann,
  ben,
  cem,
  createTopic,
  emptyLog,
  exchange,
  guestOf,
  join,
  randomFrom,
  someCid,
  stranger,
} from "./topic_fake.ts";

const digest = (replay: Replay) => replay.state.digest(1).toHex();

Deno.test("an app of an encrypted topic sees plain payloads, and waits for the key it lacks", async () => {
  const log = createTopic({ isEncrypted: true });
  await join(log, ben);
  const init = { guestOf };
  const bens = emptyLog(log.topicId, [ben.opener]);
  log.append({ type: "app/say", payload: bytesOf("one") }, ann);
  log.append({ type: "app/say", payload: bytesOf("two") }, ben);
  bens.offer(allOf(log));
  const here = new Replay(replayParts(log, init)!);
  const there = new Replay(replayParts(bens, init)!);
  log.follow(here);
  bens.follow(there);
  here.update(0);
  there.update(0);
  assert.equal(textOf(here.state.get(ann.publicKey)!), "app/sayone");
  assert.equal(there.needs?.kind, "key");
  assert.deepEqual([there.isSettled, there.state.size], [false, 0]);
  log.write(nextEpoch(log, randomFrom(8)), ann);
  log.append({ type: "app/say", payload: bytesOf("three") }, ann);
  exchange(log, bens);
  here.update(0);
  there.update(0);
  assert.equal(there.needs, undefined);
  assert.equal(textOf(there.state.get(ann.publicKey)!), "app/saythree");
  assert.equal(digest(there), digest(here));
});

Deno.test("an upgrade is made at its place by who may, and awaited where the bundle is not", async () => {
  const log = createTopic();
  await join(log, ben, "admin");
  await join(log, cem);
  const [one, two] = [someCid("one"), someCid("two")];
  assert.throws(() => log.write({ kind: "upgrade", bundle: one }, cem), /has no say/);
  const has = new Set([log.view!.bundle, one.toString()]);
  const away = emptyLog(log.topicId);
  away.offer(allOf(log));
  const late = away.append({ type: "app/say", payload: bytesOf("late") }, cem);
  log.append({ type: "app/say", payload: bytesOf("first") }, ann);
  log.write({ kind: "upgrade", bundle: one }, ben);
  log.append({ type: "app/say", payload: bytesOf("second") }, ann);
  log.write({ kind: "upgrade", bundle: two }, ann);
  log.append({ type: "app/say", payload: bytesOf("third") }, ann);
  const full = new Replay(replayParts(log, { guestOf })!);
  const lacking = new Replay(
    replayParts(log, { guestOf: (name) => has.has(name) ? guestOf(name) : undefined })!,
  );
  log.follow(full);
  log.follow(lacking);
  full.update(0);
  lacking.update(0);
  assert.equal(full.bundle, two.toString());
  assert.equal(textOf(full.state.get(bytesOf("from"))!), one.toString());
  assert.deepEqual([lacking.needs?.kind, lacking.needs?.name], ["bundle", two.toString()]);
  assert.equal(lacking.bundle, one.toString());
  assert.equal(textOf(lacking.state.get(ann.publicKey)!), "app/saysecond");
  // A late event goes before the first upgrade, on both.
  log.offer([late]);
  full.update(0);
  lacking.update(0);
  assert.deepEqual(lacking.log.map(({ key }) => key), full.log.map(({ key }) => key).slice(0, -2));
  has.add(two.toString());
  lacking.update(0);
  assert.equal(digest(lacking), digest(full));
  assert.ok(lacking.isSettled);
  const views = [log.view!.upgrades.map(({ bundle, by }) => [bundle, by])];
  assert.deepEqual(views, [[[one.toString(), ben.key], [two.toString(), ann.key]]]);
  assert.equal(emptyLog(log.topicId).view, undefined);
});

Deno.test("checkpoints are the creator's and admins', and nobody else's", async () => {
  const log = createTopic();
  await join(log, ben, "admin");
  await join(log, cem);
  const away = emptyLog(log.topicId);
  away.offer(allOf(log));
  const late = away.append({ type: "app/say", payload: bytesOf("late") }, cem);
  const said = log.append({ type: "app/say", payload: bytesOf("now") }, ann);
  log.write({ kind: "checkpoint", digest: null }, ben);
  log.offer([late]);
  const replay = new Replay(replayParts(log, { guestOf })!);
  replay.update(0);
  const at = (id: typeof late.id) => replay.log.indexOf(log.topic!.get(id)!);
  assert.ok(at(late.id) > at(said.id));
  assert.ok(replay.isFinal(log.topic!.get(said.id)!) && !replay.isFinal(log.topic!.get(late.id)!));
  assert.throws(() => log.write({ kind: "checkpoint", digest: null }, cem), /has no say/);
  assert.throws(() => log.write({ kind: "checkpoint", digest: null }, stranger), /has no say/);
});
