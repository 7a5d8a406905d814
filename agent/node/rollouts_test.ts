import assert from "node:assert/strict";
import { type CID, decodeCanonical, encodeCanonical } from "../kernel/canonical.ts";
import { type SignedEvent, signEventSync } from "../kernel/event.ts";
import { eventAt } from "../kernel/event.ts";
import { controlContent } from "../realm/control_event.ts";
import { NO_OVERRIDES, type Overrides } from "../realm/desired.ts";
import { decodeManifest, parseManifest } from "../realm/manifest.ts";
import type { RunningSlot } from "../realm/node_rollout.ts";
import { replicaOf } from "../realm/desired.ts";
import {
  GIVEN_UP_LENGTH_MAX,
  type GivenUp,
  type HealthRecord,
} from "../realm/peering/health_record.ts";
import { BELIEVED_MS } from "../realm/given_slots.ts";
import { genesis, owner } from "../realm/realm_log_fake.ts";
import { signManifest } from "../realm/manifest_signature.ts";
import { PublishedDigests } from "../realm/published.ts";
import { EVIDENCE_LENGTH_MAX, type Failure, releaseOf } from "../realm/effective_release.ts";
import type { InForce, RealmState } from "./realm_state.ts";
import { type HeardVerdict, HEARING_MS } from "../realm/verdicts.ts";
import { releaseOf as releaseIn, Rollouts } from "./rollouts.ts";
import { MemoryStore } from "../store/memory_store.ts";

const tomlOf = (nodes: readonly string[]) =>
  `[owner]\npubkey = "${owner.key}"\n[nodes.idle]\n` +
  nodes.map((name) => `[nodes.${name}]\n`).join("") +
  `[components.web]\nsource = "file:w"\nworld = "wasi:http/proxy"\n[routing]\n` +
  nodes.map((name) => `${name} = [{ path = "/", component = "web" }]\n`).join("");
const digest = (version: number) => `${version}`.padStart(64, "0");

/** A realm whose manifests 1, 2, … differ in the bytes of `web`, which is on these nodes. */
async function setUp(versions: number, names: readonly string[] = ["a", "b"]) {
  const events = new Map<string, SignedEvent>();
  const history: unknown[] = [];
  const manifests: InForce[] = [];
  for (let version = 1; version <= versions; version++) {
    const bytes = new TextEncoder().encode(tomlOf(names));
    const digests = new Map([["web", digest(version)]]);
    const signature = await signManifest(bytes, { version, digests, signer: owner });
    const tree = new PublishedDigests(digests.values()).head;
    const said = { kind: "manifest", manifestBytes: bytes, signature, tree } as const;
    const at = {
      topic: genesis.id,
      heads: [{ id: genesis.id, lamport: version }],
      previous: { id: genesis.id, seq: version },
    };
    const event = signEventSync(eventAt(owner.publicKey, at, controlContent(said)), owner);
    const id = event.id.toString();
    events.set(id, event);
    history.push({ event: id, version, outcome: "applied" });
    const manifest = parseManifest(decodeManifest(bytes));
    manifests.push({ bytes, manifest, signature, appliedAtMs: 0, event: id });
  }
  const store = new MemoryStore();
  const records = new Map<string, HealthRecord>();
  const failed: Failure[] = [];
  const unwritten: Error[] = [];
  const nodes = new Map([...names, "idle"].map((name) => [`key of ${name}`, { name, since: 0 }]));
  const clock = { nowMs: 0 };
  const log = {
    loads: 0,
    load(id: CID) {
      log.loads++;
      return events.get(id.toString());
    },
  };
  const basisSaid = { now: "" };
  const open = () =>
    new Rollouts({
      state: {
        store,
        log,
        view: { nodes, history },
      } as unknown as RealmState,
      clock: { monotonicMs: () => clock.nowMs },
      records: () => records,
      lastLines: () => ["one", "two"],
      failed: (failure) => failed.push(failure),
      unwritten: (error) => unwritten.push(error),
    });
  const replica = (version: number) => {
    const { manifest, signature: { digests } } = manifests[version - 1]!;
    return replicaOf("web", { manifest, digests, node: "a" })!;
  };
  const plan = (
    rollouts: Rollouts,
    own: readonly RunningSlot[],
    troubles: number[] = [],
    what = "GET /: 503",
    inForce = versions,
    live: readonly string[] = ["a", "b"],
    overrides: Overrides = NO_OVERRIDES,
  ) =>
    rollouts.plan(releaseIn(manifests[inForce - 1]!), {
      node: "a",
      live,
      overrides,
      own,
      troubles: troubles.map((version) => ({ replica: replica(version), what })),
    });
  const slot = (version: number, isReady = true): RunningSlot => ({
    replica: replica(version),
    isReady,
    isServed: true,
    isAlone: isReady,
    isBroken: !isReady,
    isInVain: !isReady,
    isLate: false,
  });
  /** What `a` does that goes by one version and refuses the newest. */
  const refuse = (rollouts: Rollouts, own: readonly RunningSlot[], inForce: number) =>
    rollouts.plan(releaseIn(manifests[inForce - 1]!), {
      node: "a",
      live: ["a", "b"],
      overrides: NO_OVERRIDES,
      own,
      troubles: [],
      refusal: { release: releaseIn(manifests[versions - 1]!), overrides: NO_OVERRIDES },
    });
  /** What `b` says. */
  const say = (
    version: number,
    settled: number,
    failures: Failure[] = [],
    {
      inForce = versions,
      isComplete = false,
      isHeld = false,
      refuses = 0,
      turns = 0,
      slots = 1,
      verdicts = [] as HeardVerdict[],
    } = {},
  ) => {
    const { manifest, signature: { digests } } = manifests[version - 1]!;
    records.set("b", {
      version: inForce,
      basis: basisSaid.now,
      refusal: refuses === 0 ? null : { version: refuses, why: "policy" },
      turns,
      replicas: [{
        component: "web",
        digest: digest(version),
        wanted: 1,
        running: 1,
        revision: replicaOf("web", { manifest, digests, node: "b" })!.revision,
        slots,
        settled,
        doubled: 0,
        isComplete,
        isHeld,
        tries: 0,
      }],
      failures,
      verdicts,
    } as unknown as HealthRecord);
  };
  const failure = (version: number, more: Partial<Failure> = {}): Failure => {
    const { manifest, signature: { digests } } = manifests[version - 1]!;
    const release = releaseOf("web", { manifest, digests })!;
    return { component: "web", version, release, node: "b", evidence: "", ...more };
  };
  return {
    open,
    clock,
    plan,
    refuse,
    basisSaid,
    slot,
    say,
    failure,
    failed,
    unwritten,
    store,
    log,
    nodes,
    records,
  };
}

const digestsOf = ({ desired }: ReturnType<Rollouts["plan"]>) =>
  desired.map(({ digest }) => Number(digest));

Deno.test("Rollouts gives its verdict on a release that cannot be made ready, and goes back", async () => {
  const { open, plan, slot, say, failed } = await setUp(2);
  say(2, 0);
  const rollouts = open();
  const answer = plan(rollouts, [slot(2, false)], [2]);
  assert.deepEqual(digestsOf(answer), [1]);
  assert.deepEqual(
    failed.map(({ version, node, evidence }) => [version, node, evidence]),
    [[2, "a", "GET /: 503\n  one\n  two"]],
  );
  assert.deepEqual(rollouts.failures, failed, "others are told");
  plan(rollouts, [slot(2, false)], [2]);
  assert.equal(failed.length, 1, "once");
});

Deno.test("Rollouts gives no verdict where there is nothing to go back to, nor on what was complete", async () => {
  const first = await setUp(1);
  first.say(1, 0);
  assert.deepEqual(digestsOf(first.plan(first.open(), [first.slot(1, false)], [1])), [1]);
  const { open, plan, slot, say, failed } = await setUp(2);
  say(2, 1);
  const rollouts = open();
  plan(rollouts, [slot(2)]);
  assert.equal(plan(rollouts, [slot(2)]).rollouts.get("web")!.isComplete, true);
  assert.deepEqual(digestsOf(plan(rollouts, [slot(2, false)], [2])), [2]);
  assert.deepEqual([first.failed, failed], [[], []]);
});

Deno.test("Rollouts lets what served go on where a release that was complete cannot run, and tries again", async () => {
  const { open, plan, slot, say, clock } = await setUp(3);
  say(2, 1, [], { inForce: 2 });
  const rollouts = open();
  plan(rollouts, [slot(2)], [], "", 2); // complete everywhere
  say(3, 0);
  plan(rollouts, [slot(3)]);
  const failed = plan(rollouts, [slot(3, false)], [3]);
  assert.deepEqual(digestsOf(failed), [2], "back to what was complete");
  const broken = { ...slot(2, false), served: slot(3).replica };
  const answer = plan(rollouts, [broken]);
  assert.deepEqual(digestsOf(answer), [3], "it is given up");
  assert.equal(answer.report.get("web")!.tries, 1);
  assert.equal(rollouts.dueAt(), 10_000);
  say(2, 1);
  assert.deepEqual(digestsOf(plan(rollouts, [slot(3)])), [3]);
  clock.nowMs = 9_999.5; // a timer that is early
  assert.deepEqual(digestsOf(plan(rollouts, [slot(3)])), [3]);
  clock.nowMs = 10_000;
  assert.equal(rollouts.dueAt(), 10_000, "what was planned as resting is due");
  assert.deepEqual(digestsOf(plan(rollouts, [slot(3)])), [2], "it is tried again");
  assert.equal(rollouts.dueAt(), undefined);
});

Deno.test("Rollouts decides anew when another node is not believed any more that it has more than it was given", async () => {
  const { open, plan, slot, say, clock } = await setUp(1);
  const rollouts = open();
  say(1, 1);
  plan(rollouts, [slot(1)]);
  assert.equal(rollouts.dueAt(), undefined);
  say(1, 1, [], { slots: 3 });
  assert.deepEqual(digestsOf(plan(rollouts, [])), [], "it may have taken this one over");
  assert.equal(rollouts.dueAt(), BELIEVED_MS);
  clock.nowMs = BELIEVED_MS;
  assert.deepEqual(digestsOf(plan(rollouts, [])), [1]);
  assert.equal(rollouts.dueAt(), undefined);
});

Deno.test("Rollouts tells what it gave up of what it is to run, and why", async () => {
  const { open, plan, slot, say } = await setUp(2);
  say(2, 1);
  const rollouts = open();
  plan(rollouts, [slot(2)]);
  assert.equal(rollouts.givenUp.length, 0);
  const what = `GET /: 503 ${"\u{1f600}".repeat(GIVEN_UP_LENGTH_MAX)}`;
  plan(rollouts, [slot(2, false)], [2], what);
  const [told, ...more]: readonly GivenUp[] = [...rollouts.givenUp];
  assert.deepEqual([told!.component, told!.replicas, more], ["web", 1, []]);
  assert.match(told!.why, /^GET \/: 503 /);
  assert.ok(told!.why.length === GIVEN_UP_LENGTH_MAX && told!.why.isWellFormed());
  const drained = { ...NO_OVERRIDES, drained: ["a"] };
  plan(rollouts, [], [], "", 2, ["a", "b"], drained);
  assert.deepEqual(rollouts.givenUp, [], "it is not to run here");
  plan(rollouts, [slot(2)]);
  assert.deepEqual(rollouts.givenUp, []);
});

Deno.test("Rollouts lets what a node keeps of before take requests, also once the rollout was complete", async () => {
  const { open, plan, slot, say, records } = await setUp(3);
  say(2, 1);
  const rollouts = open();
  const digests = () => {
    const { isComplete, digests } = plan(rollouts, [slot(3)]).rollouts.get("web")!;
    return [isComplete, ...digests.map(Number)];
  };
  assert.deepEqual(digests(), [false, 3, 2]);
  say(3, 1);
  assert.deepEqual(digests(), [true, 3]);
  say(3, 0);
  assert.deepEqual(digests(), [true, 3, 2], "something else serves there");
  const { replicas, ...said } = records.get("b")!;
  records.set("b", { ...said, replicas: replicas.map((each) => ({ ...each, running: 0 })) });
  assert.deepEqual(digests(), [true, 3], "nothing does");
});

Deno.test("Rollouts remembers verdicts and what was complete over a restart", async () => {
  const { open, plan, slot, say, failure } = await setUp(3);
  say(3, 0, [failure(3), failure(2)]);
  assert.deepEqual(digestsOf(plan(open(), [slot(3, false)])), [1], "the last that did not fail");
  say(3, 0);
  assert.deepEqual(digestsOf(plan(open(), [slot(3, false)])), [1]);
  const complete = await setUp(2);
  complete.say(2, 1);
  complete.plan(complete.open(), [complete.slot(2)]);
  complete.say(2, 0);
  assert.deepEqual(digestsOf(complete.plan(complete.open(), [])), [2], "not the one before again");
});

Deno.test("Rollouts goes by what was complete by a program of before, which stored no versions", async () => {
  const { open, plan, slot, say, store, failure } = await setUp(3);
  say(2, 1, [], { inForce: 2 });
  plan(open(), [slot(2)], [], "", 2);
  const key = "realm/rollout-complete";
  const stored = decodeCanonical(store.get(key)!) as unknown as string[][];
  const value = encodeCanonical(stored.map(([component, release]) => [component!, release!]));
  store.write([{ put: key, value }]);
  say(2, 0, [failure(3), failure(2)]);
  assert.deepEqual(digestsOf(plan(open(), [slot(3, false)])), [2]);
});

Deno.test("Rollouts believes no verdict on what there never was, or by nobody", async () => {
  const { open, plan, slot, say, failure, failed } = await setUp(2);
  say(2, 0, [
    failure(2, { release: "0123456789abcdef" }),
    failure(2, { component: "other" }),
    failure(2, { node: "c" }),
    failure(2, { node: "a" }),
    failure(2, { node: "idle" }),
    failure(2, { version: 1 }),
    failure(2, { version: 3 }),
  ]);
  assert.deepEqual(digestsOf(plan(open(), [slot(2)])), [2]);
  assert.deepEqual(failed, []);
});

Deno.test("Rollouts believes no verdict of a node to which the component cannot come", async () => {
  const { open, plan, slot, say, failure, failed, records } = await setUp(2);
  say(2, 0);
  records.set("idle", { ...records.get("b")!, failures: [failure(2, { node: "idle" })] });
  assert.deepEqual(digestsOf(plan(open(), [slot(2)])), [2]);
  assert.deepEqual(failed, []);
});

Deno.test("Rollouts forgets verdicts of a node that is revoked, those that it stored too", async () => {
  const { open, plan, slot, say, failure, nodes, records } = await setUp(2);
  say(2, 0, [failure(2)]);
  const rollouts = open();
  assert.deepEqual(digestsOf(plan(rollouts, [slot(2, false)])), [1]);
  nodes.delete("key of b");
  records.delete("b");
  for (const each of [rollouts, open()]) {
    const { desired, rollouts: status } = plan(each, [slot(2)]);
    assert.deepEqual(desired.map(({ digest }) => Number(digest)), [2]);
    assert.equal(status.get("web")!.failure, undefined);
  }
});

Deno.test("Rollouts forgets verdicts of a node that is revoked, though its name is given to another", async () => {
  const { open, plan, slot, say, failure, nodes, records } = await setUp(2);
  say(2, 0, [failure(2)]);
  const rollouts = open();
  assert.deepEqual(digestsOf(plan(rollouts, [slot(2, false)])), [1]);
  const { since } = nodes.get("key of b")!;
  nodes.delete("key of b");
  nodes.set("new key of b", { name: "b", since });
  records.delete("b");
  for (const each of [rollouts, open()]) {
    assert.equal(plan(each, [slot(2)]).rollouts.get("web")!.version, 2);
    assert.deepEqual(each.verdicts, []);
  }
  say(2, 0, [failure(2)]);
  assert.equal(plan(rollouts, [slot(2)]).rollouts.get("web")!.version, 1, "the new one's own word");
});

Deno.test("Rollouts is sent back by one node no further than to the last release that was complete", async () => {
  const { open, plan, slot, say, failure } = await setUp(4);
  const rollouts = open();
  for (const version of [1, 2, 3]) {
    say(version, 1, [], { inForce: version });
    const { rollouts: status } = plan(rollouts, [slot(version)], [], "", version);
    assert.equal(status.get("web")!.isComplete, true);
  }
  const chain = [failure(4), failure(3), failure(2), failure(1)];
  say(4, 0, chain);
  assert.deepEqual(digestsOf(plan(rollouts, [slot(4, false)])), [3]);
  say(3, 0, chain);
  assert.deepEqual(digestsOf(plan(open(), [slot(4, false)])), [3], "after a restart too");
});

Deno.test("Rollouts judges what fails here, whoever says that it was complete", async () => {
  const { open, plan, slot, say, failed } = await setUp(2);
  say(2, 1, [], { isComplete: true });
  assert.deepEqual(digestsOf(plan(open(), [slot(2, false)], [2])), [1]);
  assert.deepEqual(failed.map(({ node }) => node), ["a"]);
});

Deno.test("Rollouts gives no verdict on an earlier release that was complete while this node was away", async () => {
  const { open, plan, slot, say, failure, failed } = await setUp(3);
  say(2, 1, [failure(3)], { isComplete: true });
  const rollouts = open();
  const answer = plan(rollouts, [{ ...slot(2, false), served: slot(1).replica }], [2]);
  assert.equal(answer.rollouts.get("web")!.isComplete, true);
  assert.equal(answer.rollouts.get("web")!.version, 2);
  assert.deepEqual(digestsOf(answer), [1], "it is given up, what serves goes on");
  assert.deepEqual(failed.map(({ version }) => version), [3]);
});

Deno.test("Rollouts goes by no verdict on an earlier release that half of the nodes saw complete, and goes on telling of it", async () => {
  const { open, plan, slot, say, failure, failed, nodes, records } = await setUp(3);
  say(2, 0, [failure(3)]);
  const rollouts = open();
  assert.deepEqual(digestsOf(plan(rollouts, [slot(2, false)], [2])), [1]);
  const told = () => rollouts.verdicts.map((each) => [each.version, each.node, each.wasComplete]);
  assert.deepEqual(told(), [[3, "b", false], [2, "a", false]]);
  say(2, 1, [failure(3)], { isComplete: true });
  assert.equal(plan(rollouts, [slot(1)]).rollouts.get("web")!.version, 2, "one of two");
  assert.deepEqual(told(), [[3, "b", false], [2, "a", true]], "it says so from then on");
  const saw = failure(2, { node: "a" });
  say(1, 1, [failure(3)], { verdicts: [{ ...saw, wasComplete: true }] });
  const again = open();
  assert.equal(plan(again, [slot(2)]).rollouts.get("web")!.version, 2, "after a restart too");
  // What nodes say counts as far as the component could come to them, and while they are approved.
  records.set("idle", { ...records.get("b")!, failures: [], replicas: [], verdicts: [] });
  assert.equal(plan(again, [slot(2)]).rollouts.get("web")!.version, 2);
  nodes.delete("key of b");
  records.delete("b");
  assert.equal(plan(again, [slot(2)]).rollouts.get("web")!.failure, undefined, "nor do verdicts");
  assert.deepEqual(failed.map(({ version }) => version), [3, 2]);
});

Deno.test("Rollouts goes by no verdict on the release in force that more than half of the nodes saw complete", async () => {
  const { open, plan, slot, say, clock, failure, failed } = await setUp(2);
  say(2, 1);
  const rollouts = open();
  assert.ok(plan(rollouts, [slot(2)]).rollouts.get("web")!.isComplete);
  clock.nowMs = BELIEVED_MS;
  const verdict = failure(2);
  say(2, 0, [verdict]);
  assert.deepEqual(digestsOf(plan(rollouts, [slot(2)])), [2], "b may be about to say so");
  assert.equal(rollouts.dueAt(), BELIEVED_MS + HEARING_MS);
  clock.nowMs += HEARING_MS;
  assert.equal(plan(rollouts, [slot(2)]).rollouts.get("web")!.version, 1, "one of two");
  const again = open();
  assert.deepEqual(digestsOf(plan(again, [])), [2], "after a restart it may not have heard b yet");
  clock.nowMs += HEARING_MS;
  assert.equal(plan(again, [slot(2)]).rollouts.get("web")!.version, 1);
  say(2, 0, [verdict], { verdicts: [{ ...verdict, wasComplete: true }] });
  const answer = plan(rollouts, [slot(2)]);
  assert.equal(answer.rollouts.get("web")!.failure, undefined);
  assert.deepEqual(digestsOf(answer), [2]);
  assert.equal(failed.length, 1);
});

Deno.test("Rollouts of nodes that saw a release complete do not go back when machines are approved", async () => {
  const { open, plan, slot, say, clock, failure, nodes, records } = await setUp(2, [
    "a",
    "b",
    "c",
    "d",
  ]);
  say(2, 1);
  records.set("c", { ...records.get("b")!, replicas: [] });
  nodes.delete("key of d");
  const rollouts = open();
  const live = ["a", "b"];
  const version = () => plan(rollouts, [slot(2)], [], "", 2, live).rollouts.get("web")!.version;
  assert.equal(version(), 2);
  /** What it goes by once all was heard. */
  const later = () => {
    version();
    clock.nowMs += HEARING_MS;
    return version();
  };
  // It cannot run there, and was complete on the others.
  const verdict = { ...failure(2, { node: "c" }), wasComplete: false };
  records.set("c", { ...records.get("c")!, verdicts: [verdict] });
  say(2, 1, [], { isComplete: true, verdicts: [{ ...verdict, wasComplete: true }] });
  assert.equal(later(), 2, "two of three");
  nodes.set("key of d", { name: "d", since: 2 });
  assert.equal(later(), 2, "not two of four");
  nodes.set("key of d", { name: "d", since: 1 });
  assert.equal(later(), 1, "it was there");
  for (const [key, { name }] of nodes) nodes.set(key, { name, since: 2 });
  assert.equal(later(), 1, "where none was there, all are asked");
  nodes.delete("key of d");
  assert.equal(later(), 2);
});

Deno.test("Rollouts gives a verdict on what it saw complete and gave up thrice, unless more than half say that it was", async () => {
  for (const isComplete of [true, false]) {
    const { open, plan, slot, say, clock } = await setUp(2);
    say(2, 1);
    const rollouts = open();
    assert.ok(plan(rollouts, [slot(2)]).rollouts.get("web")!.isComplete);
    say(2, 0, [], { isComplete });
    const again = (forMs: number) => {
      clock.nowMs += forMs;
      return plan(rollouts, [slot(2, false)], [2]);
    };
    for (let tries = 1; tries <= 3; tries++) {
      assert.equal(again(60_000).report.get("web")!.tries, tries);
      assert.deepEqual(rollouts.failures, []);
    }
    again(60_000);
    assert.deepEqual(rollouts.failures.map(({ version }) => version), isComplete ? [] : [2]);
    assert.equal(again(HEARING_MS).rollouts.get("web")!.version, isComplete ? 2 : 1);
  }
});

Deno.test("Rollouts gives a verdict on what it saw complete and gave up thrice where it has all slots", async () => {
  const { open, plan, slot, say, clock } = await setUp(2, ["a", "b", "c"]);
  say(2, 1);
  const rollouts = open();
  const drained = { ...NO_OVERRIDES, drained: ["a", "c"] };
  assert.ok(plan(rollouts, [], [], "", 2, ["a", "b"], drained).rollouts.get("web")!.isComplete);
  say(2, 0);
  for (let tries = 0; tries <= 3; tries++) {
    assert.deepEqual(rollouts.failures, []);
    clock.nowMs += 60_000;
    plan(rollouts, [slot(2, false)], [2], "GET /: 503", 2, ["a"]);
  }
  assert.deepEqual(rollouts.failures.map(({ version }) => version), [2]);
});

Deno.test("Rollouts forgets with a node that is revoked what was complete by its word only", async () => {
  const { open, plan, slot, say, nodes, records } = await setUp(2, ["a", "b", "c"]);
  const drained = { ...NO_OVERRIDES, drained: ["a", "c"] };
  say(2, 1);
  records.set("c", { ...records.get("b")!, replicas: [] });
  let rollouts = open();
  const seen = () => plan(rollouts, [], [], "", 2, ["a", "b", "c"], drained).rollouts.get("web")!;
  assert.deepEqual([seen().isComplete, seen().settledOn], [true, ["b"]]);
  say(2, 0);
  assert.ok(seen().isComplete, "as long as it is approved");
  rollouts = open();
  assert.ok(seen().isComplete, "over a restart");
  nodes.delete("key of b");
  records.delete("b");
  const isComplete = (own: RunningSlot[] = []) =>
    plan(rollouts, own, [], "", 2, ["a", "c"]).rollouts.get("web")!.isComplete;
  // One that has not heard of it yet.
  const { revision } = plan(rollouts, [], [], "", 2, ["a", "c"]).rollouts.get("web")!;
  const replica = {
    component: "web",
    digest: digest(2),
    wanted: 1,
    running: 0,
    revision,
    slots: 1,
  };
  const said = { ...replica, settled: 0, doubled: 0, isComplete: true, isHeld: false, tries: 0 };
  records.set("c", { ...records.get("c")!, replicas: [said] });
  assert.equal(isComplete(), false);
  rollouts = open();
  assert.equal(isComplete(), false);
  // What it saw itself it goes on to believe.
  records.set("c", { ...records.get("c")!, replicas: [{ ...said, settled: 1 }] });
  assert.ok(isComplete([slot(2)]));
  nodes.delete("key of c");
  records.delete("c");
  assert.ok(isComplete());
});

Deno.test("Rollouts goes by a verdict that half of the nodes heard, though who gave it says nothing any more", async () => {
  const { open, plan, slot, say, failure, failed, records } = await setUp(2);
  const verdict = { ...failure(2), wasComplete: false };
  say(2, 0, [], { verdicts: [{ ...verdict, node: "a" }] });
  const answer = plan(open(), [slot(2, false)]);
  assert.equal(answer.rollouts.get("web")!.version, 1, "its own, that it lost");
  assert.deepEqual(failed.map(({ node }) => node), ["a"]);
  say(2, 0, [], { verdicts: [{ ...verdict, node: "idle" }] });
  assert.equal(plan(open(), [slot(2)]).rollouts.get("web")!.version, 2, "it may give none");
  records.set("idle", { ...records.get("b")!, verdicts: [verdict] });
  records.delete("b");
  assert.equal(plan(open(), [slot(2)]).rollouts.get("web")!.version, 2, "who may have none");
});

Deno.test("Rollouts tells what was complete, of a component that went back, where it has none of it too", async () => {
  const { open, plan, slot, say, failure } = await setUp(3);
  const rollouts = open();
  say(2, 1, [], { inForce: 2 });
  assert.ok(plan(rollouts, [slot(2)], [], "", 2).rollouts.get("web")!.isComplete);
  const drained = { ...NO_OVERRIDES, drained: ["a"] };
  say(3, 0);
  assert.equal(plan(rollouts, [], [], "", 3, ["a", "b"], drained).report.get("web"), undefined);
  say(2, 0, [failure(3)]);
  const { report } = plan(rollouts, [], [], "", 3, ["a", "b"], drained);
  assert.equal(report.get("web")!.isComplete, true);
  assert.equal(report.get("web")!.slots, 0);
});

Deno.test("Rollouts counts how often it refused a manifest, and goes by what it never went by before", async () => {
  const { open, plan, refuse, slot, say, basisSaid } = await setUp(2);
  say(1, 1);
  const rollouts = open();
  const before = plan(rollouts, [slot(1)]).basis;
  const during = refuse(rollouts, [slot(1)], 1).basis;
  assert.equal(rollouts.turns, 1);
  assert.equal(refuse(rollouts, [slot(1)], 1).basis, during);
  const after = plan(rollouts, [slot(1)]).basis;
  assert.equal(rollouts.turns, 2);
  assert.equal(new Set([before, during, after]).size, 3);
  const again = open();
  assert.equal(plan(again, [slot(1)]).basis, after, "over a restart");
  assert.equal(again.turns, 2);
  basisSaid.now = before;
  say(2, 0);
  assert.deepEqual(plan(again, [slot(1)]).rollouts.get("web")!.waitsFor, ["b"], "an old word");
  say(2, 0, [], { turns: 2 });
  assert.notEqual(plan(again, [slot(1)]).basis, after, "another node did");
});

Deno.test("Rollouts goes by what cannot be stored, tells of that once, and stores it once there is room", async () => {
  const { open, plan, refuse, slot, say, failed, unwritten, store } = await setUp(2);
  say(1, 1, [], { inForce: 1 });
  const rollouts = open();
  const write = store.write.bind(store);
  store.write = () => {
    throw new Error("no room");
  };
  assert.ok(plan(rollouts, [slot(1)], [], "", 1).rollouts.get("web")!.isComplete);
  const during = refuse(rollouts, [slot(1)], 1).basis;
  assert.equal(rollouts.turns, 1);
  say(2, 0);
  const answer = plan(rollouts, [slot(2, false)], [2]);
  assert.deepEqual(digestsOf(answer), [1]);
  assert.notEqual(answer.basis, during);
  assert.equal(plan(rollouts, [slot(1)]).rollouts.get("web")!.version, 1);
  assert.deepEqual([rollouts.failures, rollouts.turns], [failed, 2]);
  assert.deepEqual(unwritten.map(({ message }) => message), ["no room"], "once");
  const before = open();
  assert.deepEqual([before.turns, before.verdicts], [0, []], "nothing is stored");
  store.write = write;
  plan(rollouts, [slot(1)]);
  const after = open();
  assert.equal(after.turns, 2);
  assert.deepEqual(after.verdicts.map(({ version, node }) => [version, node]), [[2, "a"]]);
  say(2, 0);
  assert.ok(plan(after, []).rollouts.get("web")!.isComplete, "of the release before");
  store.write = () => {
    throw new Error("no room again");
  };
  refuse(rollouts, [slot(1)], 1);
  assert.equal(unwritten.length, 2);
});

Deno.test("Rollouts tells its own verdicts only", async () => {
  const { open, plan, slot, say, failure } = await setUp(2);
  say(2, 0, [failure(2)]);
  const rollouts = open();
  assert.deepEqual(digestsOf(plan(rollouts, [slot(2, false)], [2])), [1]);
  assert.deepEqual(rollouts.failures, []);
});

Deno.test("Rollouts gives evidence that can be sent, wherever it is cut", async () => {
  const { open, plan, slot, say, failed, store } = await setUp(2);
  say(2, 0);
  const rollouts = open();
  const what = "x".repeat(EVIDENCE_LENGTH_MAX - 1) + "\u{1f600}";
  assert.deepEqual(digestsOf(plan(rollouts, [slot(2, false)], [2], what)), [1]);
  assert.equal(failed[0]!.evidence, "x".repeat(EVIDENCE_LENGTH_MAX - 1) + "\ufffd");
  assert.doesNotThrow(() => encodeCanonical(rollouts.failures.map((each) => ({ ...each }))));
  assert.ok(store.get("realm/rollout-failures"));
});

Deno.test("Rollouts does not wait for a node that refuses the manifest, and tells who it is", async () => {
  const { open, plan, slot, say, basisSaid } = await setUp(2);
  say(1, 0, [], { inForce: 1 });
  const waiting = plan(open(), [slot(1)]);
  assert.deepEqual(digestsOf(waiting), [1], "it may just be deciding");
  assert.deepEqual(waiting.rollouts.get("web")!.waitsFor, ["b"]);
  say(1, 0, [], { inForce: 1, refuses: 2, isHeld: true });
  assert.deepEqual(digestsOf(plan(open(), [slot(1)])), [1], "it does not say that it keeps that");
  basisSaid.now = waiting.basis;
  say(1, 0, [], { inForce: 1, refuses: 2 });
  const { basis } = plan(open(), [slot(1)]);
  assert.notEqual(basis, "");
  basisSaid.now = basis;
  say(1, 0, [], { inForce: 1, refuses: 2 });
  assert.deepEqual(digestsOf(plan(open(), [slot(1)])), [1], "not held, it may start something");
  say(1, 0, [], { inForce: 1, refuses: 2, isHeld: true });
  const rollouts = open();
  assert.deepEqual(digestsOf(plan(rollouts, [slot(1)])), [2]);
  const { waitsFor, refusedBy, wanted, settled, isComplete, digests } = plan(rollouts, [slot(2)])
    .rollouts.get("web")!;
  assert.deepEqual([waitsFor, refusedBy, wanted, settled], [[], ["b"], 2, 1]);
  assert.equal(isComplete, true, "on all that do not refuse");
  assert.deepEqual(digests.map(Number), [2, 1], "what it keeps takes requests");
  say(1, 0, [], { inForce: 1, refuses: 1, isHeld: true });
  assert.deepEqual(digestsOf(plan(open(), [slot(1)])), [1], "of another version it is no word");
});

Deno.test("Rollouts of a node that refuses replaces nothing, and starts only what is its own", async () => {
  const { open, refuse, slot, say, basisSaid } = await setUp(3);
  say(3, 0);
  const kept = refuse(open(), [slot(1)], 2);
  assert.deepEqual(digestsOf(kept), [1], "not even what it goes by itself");
  assert.equal(kept.report.get("web")!.isHeld, true);
  basisSaid.now = refuse(open(), [], 2).basis;
  say(3, 0);
  assert.deepEqual(digestsOf(refuse(open(), [], 2)), [1], "as far as it was itself");
});

Deno.test("Rollouts writes what it learns of others at once, and what it knows not again", async () => {
  const { open, plan, slot, say, failure, store } = await setUp(30);
  let writes = 0;
  const write = store.write.bind(store);
  store.write = (changes) => {
    writes++;
    write(changes);
  };
  const rollouts = open();
  const verdicts = Array.from(
    { length: 20 },
    (_, i) => ({ ...failure(i + 9), wasComplete: false }),
  );
  say(30, 0, [failure(29)], { verdicts });
  plan(rollouts, [slot(30, false)]);
  assert.equal(rollouts.verdicts.length, 21);
  assert.equal(writes, 1);
  say(30, 0, [failure(29)], { verdicts: verdicts.toReversed() });
  plan(rollouts, [slot(30, false)]);
  assert.equal(writes, 1);
});

Deno.test("Rollouts reads no manifest for a verdict but the one that it is on", async () => {
  const { open, plan, slot, say, failure, log } = await setUp(30);
  const rollouts = open();
  say(30, 0);
  plan(rollouts, [slot(30)]);
  const { loads } = log;
  say(30, 0, [failure(30, { release: "0123456789abcdef" }), failure(30, { component: "other" })]);
  plan(rollouts, [slot(30)]);
  assert.equal(log.loads, loads);
  say(30, 0, [failure(3, { release: "0123456789abcdef" }), failure(3)]);
  plan(rollouts, [slot(30)]);
  plan(rollouts, [slot(30)]);
  assert.equal(log.loads, loads + 1);
  assert.deepEqual(rollouts.verdicts.map(({ version }) => version), [3]);
});

Deno.test("Rollouts holds so many manifests of before, and believes nobody on older releases", async () => {
  const { open, plan, slot, say, failure, log } = await setUp(260);
  const rollouts = open();
  say(260, 0, [failure(1)]);
  plan(rollouts, [slot(260, false)]);
  assert.deepEqual(rollouts.verdicts, []);
  // One after the other failed, so all are looked at.
  const heard = Array.from({ length: 259 }, (_, i) => failure(i + 2, { node: "a" }));
  say(260, 0, [], { verdicts: heard.map((each) => ({ ...each, wasComplete: false })) });
  assert.deepEqual(digestsOf(plan(rollouts, [slot(260, false)])), [1]);
  const { loads } = log;
  plan(rollouts, [slot(260, false)]);
  const again = log.loads - loads;
  assert.ok(again > 0 && again < 20, `${again}`);
});
