import assert from "node:assert/strict";
import fc from "fast-check";
import { CID } from "../kernel/canonical.ts";
import type { SignedEvent } from "../kernel/event.ts";
import { formatPublicKey } from "../kernel/key.ts";
import { keyOf, type Topic, type TopicEvent } from "../kernel/topic.ts";
import type { ControlEvent } from "./control_event.ts";
import type { RealmLog } from "./realm_log.ts";
import {
  allOf,
  exchange,
  heir,
  manifestOf,
  nodes,
  openLog,
  operator,
  otherHeir,
  otherOperator,
  owner,
  type Person,
  proposed,
  recovery,
  stranger,
  summary,
} from "./realm_log_fake.ts";
import { type RealmView, viewDigest } from "./realm_view.ts";

const runs = Deno.env.get("SLOW") ? 3_000 : 60;
const LOGS = 3;
const people = [
  owner,
  owner,
  owner,
  heir,
  otherHeir,
  operator,
  otherOperator,
  ...nodes,
  recovery,
  stranger,
];
const manifests = await Promise.all(
  [owner, heir, otherHeir].flatMap((by) =>
    [1, 2, 3, 4].flatMap((version) => [
      manifestOf(by, version, { operators: [operator] }),
      manifestOf(by, version, { operators: [otherOperator, operator], memory: 32 }),
      manifestOf(by, version, { components: ["auth", "orders"] }),
    ])
  ),
);
const MANIFESTS_EACH = manifests.length / 3;

/** One thing that happens: somebody writes on one of the logs, or one log learns of another. */
const steps = fc.array(
  fc.record({
    log: fc.nat(LOGS - 1),
    from: fc.nat(LOGS - 1),
    who: fc.nat(people.length - 1),
    what: fc.nat(15),
    pick: fc.nat(999),
  }),
  { minLength: 1, maxLength: 40 },
);
type Step = typeof steps extends fc.Arbitrary<(infer T)[]> ? T : never;

/** What somebody says, with whatever it names chosen from what the log has. */
function said(log: RealmLog, { what, pick }: Step, by: Person): ControlEvent {
  const person = people[pick % people.length]!;
  const some = (events: readonly TopicEvent[]) => events[pick % events.length];
  const eventsOf = ({ publicKey }: Person) =>
    log.topic!.order().filter(({ author }) => keyText(author) === keyText(publicKey));
  const last = (of: Person) => pick % 4 === 0 ? null : some(eventsOf(of))?.id ?? null;
  const of = (by === heir ? 1 : by === otherHeir ? 2 : 0) * MANIFESTS_EACH;
  const component = "auth";
  switch (what) {
    case 0:
    case 1:
    case 2:
      return { kind: "approve", key: nodes[pick % 3]!.key, name: `bm-0${pick % 4}` };
    case 3: {
      const revoked = [...nodes, operator][pick % 4]!;
      return { kind: "revoke", key: revoked.key, last: last(revoked) };
    }
    case 4:
      return { kind: "restart", component, nodes: pick % 2 ? [] : ["bm-01"] };
    case 5:
      return {
        kind: "scale",
        component,
        replicas: pick % 5 || null,
        node: pick % 2 ? "bm-02" : null,
      };
    case 6:
      return { kind: "drain", node: "bm-01", drained: pick % 2 === 0 };
    case 7:
      return { kind: "publish", digest: `${pick % 7}`.repeat(64), bytes: 1, name: "x" };
    case 8:
    case 9: {
      const nonce = new Uint8Array(16);
      return { kind: "exec", node: `bm-0${pick % 4}`, command: ["id"], nonce, expiresAtMs: pick };
    }
    case 10:
    case 11: {
      const exec = some(log.topic!.order().filter(({ type }) => type === "control/exec"));
      if (exec !== undefined) return { kind: "executed", exec: exec.id, status: pick % 3 };
      return { kind: "drain", node: "bm-02", drained: true };
    }
    case 12: {
      const next = [heir, otherHeir, person][pick % 3]!;
      const before = [owner, heir, otherHeir].find(({ key }) => key === log.view!.owner) ?? owner;
      return { kind: "succession", owner: next.key, last: last(before) };
    }
    default:
      return manifests[of + pick % MANIFESTS_EACH]!;
  }
}

const keyText = (key: Uint8Array) => key.toHex();

const NOT_OWNERS = ["restart", "scale", "drain", "publish", "executed"];

/**
 * What holds of a log at any time: `digests` has what others came to, by their heads, `heirs` whom
 * anybody ever named as owner.
 */
function assertSound(
  log: RealmLog,
  digests: Map<string, string>,
  heirs: ReadonlySet<string>,
): void {
  const { topic, view } = log as { topic: Topic; view: RealmView };
  const heads = topic.heads.map(({ id }) => id.toString()).join();
  const digest = viewDigest(view);
  assert.equal(digests.get(heads) ?? digest, digest, "equal heads, and another view");
  digests.set(heads, digest);
  const byId = (id: string) => topic.get(CID.parse(id))!;
  const isBy = (id: string, keys: readonly string[]) =>
    keys.includes(formatPublicKey(byId(id).author)) && topic.counts(byId(id));
  let version = 0;
  for (const { outcome, event, version: next, author } of view.history) {
    if (outcome !== "applied") continue;
    assert.ok(next > version && isBy(event, view.owners) && isBy(event, [author]));
    version = next;
  }
  assert.equal(view.inForce?.version ?? 0, version);
  for (const { key, event } of view.nodes.values()) {
    assert.ok(isBy(event, view.owners) && !view.revoked.includes(key));
  }
  for (const { event } of view.execs) assert.ok(isBy(event, view.owners));
  assert.ok(view.operators.every((key) => !view.revoked.includes(key)));
  assert.equal(view.nodes.size, new Set([...view.nodes.values()].map(({ name }) => name)).size);
  for (const event of topic.order()) {
    if (topic.isVoid(event)) continue;
    const kind = event.type.slice("control/".length);
    const author = formatPublicKey(event.author);
    if (author === recovery.key) assert.equal(kind, "succession");
    else if (!heirs.has(author)) assert.ok(NOT_OWNERS.includes(kind), `${kind} by ${author}`);
  }
}

/** What happened, as every event that somebody signed, whether a log took it or not. */
function play(list: readonly Step[]): { logs: RealmLog[]; events: SignedEvent[] } {
  const logs = Array.from({ length: LOGS }, () => openLog());
  const events = new Map<string, SignedEvent>();
  const digests = new Map<string, string>();
  const heirs = new Set([owner.key]);
  for (const step of list) {
    const log = logs[step.log]!;
    if (step.what === 15) {
      log.offer(allOf(logs[step.from]!));
      assertSound(log, digests, heirs);
      continue;
    }
    // The recovery key is used for what it is there for, and everyone else for anything.
    const by = step.what === 12 && step.pick % 5 > 0 ? recovery : people[step.who]!;
    const content = said(log, step, by);
    if (content.kind === "succession") heirs.add(content.owner);
    const event = proposed(log, by, content);
    events.set(keyOf(event.id), event);
    log.offer([event]);
    if (step.pick % 3 > 0) assertSound(log, digests, heirs); // else it folds several at once
  }
  return { logs, events: [...events.values()] };
}

/** In another order, some twice, in batches. */
function* batches(events: readonly SignedEvent[], seeds: readonly number[]) {
  const mixed = [...events, ...events.slice(0, events.length >> 1)]
    .map((event, i) => ({ event, at: seeds[i % seeds.length]! * (i + 1) % 1009 }))
    .sort((a, b) => a.at - b.at).map(({ event }) => event);
  for (let at = 0, i = 0; at < mixed.length; i++) {
    const size = 1 + seeds[i % seeds.length]! % 5;
    yield mixed.slice(at, at += size);
  }
}
const seeds = fc.array(fc.nat(1000), { minLength: 1, maxLength: 40 });

Deno.test("logs that exchange what they keep agree, whoever wrote what where", () => {
  fc.assert(
    fc.property(steps, (list) => {
      const [a, b, c] = play(list).logs as [RealmLog, RealmLog, RealmLog];
      exchange(a, b);
      exchange(b, c);
      exchange(a, c);
      exchange(a, b);
      assert.deepEqual(summary(a), summary(b));
      assert.deepEqual(summary(a), summary(c));
      assert.equal(viewDigest(a.view!), viewDigest(c.view!));
      // A newcomer gets the same from what they keep, and so does a node that starts again.
      const newcomer = openLog();
      newcomer.offer(allOf(a));
      assert.deepEqual(summary(newcomer), summary(a));
      assert.deepEqual(summary(openLog(a.store)), summary(a));
    }),
    { numRuns: runs },
  );
});

Deno.test("a log comes to the same whatever the order, the batches and the repetitions", () => {
  fc.assert(
    fc.property(steps, seeds, seeds, (list, first, second) => {
      const { events } = play(list);
      const logs = [first, second].map((order) => {
        const log = openLog();
        for (const batch of batches(events, order)) {
          log.offer(batch);
          if (order[0]! % 2 === 0) void log.view;
        }
        return log;
      });
      const atOnce = openLog();
      atOnce.offer(events);
      for (const log of logs) assert.deepEqual(summary(log), summary(atOnce));
    }),
    { numRuns: runs },
  );
});
