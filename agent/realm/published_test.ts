import assert from "node:assert/strict";
import fc from "fast-check";
import type { EventPlace, SignedEvent } from "../kernel/event.ts";
import { inclusionOf, isPublished, PublishedDigests } from "./published.ts";
import {
  allOf,
  exchange,
  genesis,
  manifestOf,
  openLog,
  owner,
  proposed,
  signed,
} from "./realm_log_fake.ts";
import { RealmLog } from "./realm_log.ts";
import { verifyConsistency } from "./tree.ts";

const digest = (number: number) => number.toString(16).padStart(2, "0").repeat(32);

/** The next manifest of a log, after all that was published there. */
const next = async (log: RealmLog, version: number, of = version) =>
  proposed(
    log,
    owner,
    await manifestOf(owner, version, { digest: digest(of), published: log.published() }),
  );

Deno.test("a manifest event appends the digests that are new, and proves those of before", async () => {
  const log = openLog();
  for (const [version, of] of [[1, 7], [2, 3], [3, 7], [4, 9]] as const) {
    assert.equal(log.offer([await next(log, version, of)]).accepted.length, 1);
    assert.equal(log.view!.inForce!.version, version);
  }
  assert.deepEqual(log.published().digests, [digest(7), digest(3), digest(9)]);
  const inForce = log.manifest()!.event;
  for (const  of of[7, 3, 9]) assert.ok(log.inclusionOf(digest(of), inForce));
  assert.equal(log.inclusionOf(digest(8), inForce), undefined);
  const [, , second] = allOf(log);
  assert.equal(log.inclusionOf(digest(9), second!.id), undefined, "later than this one");
  assert.deepEqual(log.consistencyOf(inForce, second!.id), undefined);
  const steps = log.consistencyOf(second!.id, inForce)!;
  const from = new PublishedDigests([digest(7), digest(3)]).head;
  assert.ok(verifyConsistency({ from, to: log.published().head, proof: steps }));
});

Deno.test("a manifest whose tree leaves out what was published is refused, and says why", async () => {
  const log = openLog();
  log.offer([await next(log, 1)]);
  const forgets = await manifestOf(owner, 2, { digest: digest(2) });
  log.offer([proposed(log, owner, forgets)]);
  const other = await manifestOf(owner, 3, {
    digest: digest(3),
    published: new PublishedDigests([digest(2), digest(1)]), // another order
  });
  log.offer([proposed(log, owner, other)]);
  assert.equal(log.view!.inForce!.version, 1);
  const [, second, third] = log.view!.history;
  assert.equal(second!.outcome, "refused");
  assert.match(second!.why!, /its log of digests has 1 with the root \w+, wanted 2 with/);
  assert.equal(third!.outcome, "refused");
  // What they named was published all the same.
  assert.deepEqual(log.published().digests, [1, 2, 3].map(digest));
  log.offer([await next(log, 4)]);
  assert.equal(log.view!.inForce!.version, 4);
  // Read back it is the same.
  log.flush(0);
  const again = RealmLog.open({ store: log.store, verify: log.verify, trust: {} });
  assert.deepEqual(again.view, log.view);
});

Deno.test("two manifests that do not know of each other are an equivocation until the owner joins them", async () => {
  const [log, elsewhere] = [openLog(), openLog()];
  const first = await next(log, 1);
  log.offer([first]);
  elsewhere.offer([first]);
  const [a, b] = [await next(log, 2), await next(elsewhere, 2, 3)];
  log.offer([a]);
  elsewhere.offer([b]);
  assert.deepEqual(log.view!.alarms, [], "nobody can tell yet");
  exchange(log, elsewhere);
  for (const each of [log, elsewhere]) {
    const alarm = each.view!.alarms.find(({ kind }) => kind === "equivocation");
    assert.ok(alarm?.kind === "equivocation" && alarm.author === owner.key);
    assert.deepEqual([...alarm.events].sort(), [a, b].map(({ id }) => id.toString()).sort());
  }
  log.offer([await next(log, 3, 4)]);
  assert.deepEqual(log.view!.alarms, []);
  assert.equal(log.view!.inForce!.version, 3);
  assert.deepEqual(new Set(log.published().digests), new Set([1, 2, 3, 4].map(digest)));
});

Deno.test("what was published follows from an event and its past, in whatever order it came", async () => {
  /** A history with branches: each manifest names some of those before as its parents. */
  const history = fc.array(
    fc.record({ digests: fc.integer({ min: 0, max: 5 }), parents: fc.tuple(fc.nat(), fc.nat()) }),
    { minLength: 2, maxLength: 7 },
  );
  await fc.assert(
    fc.asyncProperty(history, fc.nat(), async (made, at) => {
      const events: SignedEvent[] = [genesis];
      for (const [i, { digests, parents }] of made.entries()) {
        const heads = [...new Set(parents.map((parent) => events[parent % events.length]!))]
          .map(({ id, event }) => ({ id, lamport: event.lamport }));
        const probe = openLog();
        probe.offer(pastOf(events, heads));
        const previous = probe.topic!.newestOf(owner.publicKey)!;
        const place: EventPlace = {
          topic: genesis.id,
          heads,
          previous: { id: previous.id, seq: previous.seq },
        };
        const said = await manifestOf(owner, i + 1, {
          digest: digest(digests),
          published: probe.published(),
        });
        events.push(signed(owner, place, said));
      }
      const logs = [events, events.toReversed()].map((order) => {
        const log = openLog();
        for (const event of order) log.offer([event]);
        log.offer(events);
        return log;
      });
      for (const log of logs) {
        assert.equal(log.topic!.size, events.length);
        assert.ok(log.view!.history.every(({ outcome }) => outcome !== "refused"));
      }
      const { id } = events[1 + at % made.length]!;
      const named = digest(made[at % made.length]!.digests);
      const [here, there] = logs.map((log) => log.inclusionOf(named, id));
      assert.ok(here !== undefined);
      assert.deepEqual(here, there);
      assert.deepEqual(logs[0]!.published().digests, logs[1]!.published().digests);
    }),
    { numRuns: Deno.env.get("SLOW") ? 500 : 20 },
  );
});

/** The events that some heads have in their past, and themselves. */
function pastOf(
  events: readonly SignedEvent[],
  heads: readonly { readonly id: SignedEvent["id"] }[],
): SignedEvent[] {
  const wanted = new Set(heads.map(({ id }) => id.toString()));
  return events.toReversed().filter(({ id, event }) => {
    if (!wanted.has(id.toString())) return false;
    for (const parent of event.parents) wanted.add(parent.toString());
    return true;
  }).reverse();
}

Deno.test("isPublished() takes no proof of another place or digest", () => {
  const all = new PublishedDigests([1, 2, 3, 4, 5].map(digest));
  const at = { all, size: 5, count: 1, named: [], event: undefined! };
  const found = inclusionOf(digest(3), at)!;
  assert.ok(isPublished(digest(3), found, all.head));
  assert.ok(!isPublished(digest(4), found, all.head));
  assert.ok(!isPublished(digest(3), { ...found, index: 3 }, all.head));
  assert.ok(!isPublished(digest(3), found, new PublishedDigests([1, 2, 3].map(digest)).head));
});
