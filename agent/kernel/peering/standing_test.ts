import assert from "node:assert/strict";
import { CUT_AT, FAULTS, PEERS_MAX, Standing } from "./standing.ts";

Deno.test("Standing cuts a peer for what proves ill will, each time for longer", () => {
  const standing = new Standing();
  const bans = [0, 20_000, 60_000].map((nowMs) => standing.fault("a", "garbage", nowMs));
  assert.deepEqual(bans, [10_000, 20_000, 40_000]);
  assert.ok(standing.isBanned("a", 99_999));
  assert.ok(!standing.isBanned("a", 100_000));
  assert.ok(!standing.isBanned("b", 0));
  let longest = 0;
  for (let i = 1; i < 20; i++) longest = standing.fault("a", "forged", 100_000 * i)!;
  assert.equal(longest, 600_000);
});

Deno.test("Standing bears with small faults that come slowly", () => {
  const standing = new Standing();
  const atOnce = Math.ceil(CUT_AT / FAULTS.unauthorised);
  for (let i = 0; i < 200; i++) {
    assert.equal(standing.fault("slow", "unauthorised", i * FAULTS.unauthorised * 1000), undefined);
  }
  const bans = Array.from({ length: atOnce }, () => standing.fault("fast", "unauthorised", 0));
  assert.deepEqual(bans.filter((ban) => ban !== undefined), [10_000]);
  assert.equal(bans.at(-1), 10_000);
});

Deno.test("Standing forgets after a day, and the oldest of very many peers", () => {
  const standing = new Standing();
  standing.fault("a", "garbage", 0);
  assert.equal(standing.fault("a", "garbage", 86_400_001), 10_000);
  for (let i = 0; i < PEERS_MAX; i++) standing.fault(`p${i}`, "garbage", 86_400_001);
  assert.ok(!standing.isBanned("a", 86_400_002));
  assert.ok(standing.isBanned("p1", 86_400_002));
});
