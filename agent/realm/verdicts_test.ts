import assert from "node:assert/strict";
import fc from "fast-check";
import { formatPublicKey } from "../kernel/key.ts";
import { NO_OVERRIDES } from "./desired.ts";
import { type Failure, releaseOf, type VersionedRelease } from "./effective_release.ts";
import { parseManifest } from "./manifest.ts";
import { type NodeReport, planNode } from "./node_rollout.ts";
import { SlotTries } from "./slot_tries.ts";
import {
  decide,
  type Decision,
  HEARING_MS,
  NewVerdicts,
  Tellings,
  tellVerdicts,
  VERDICTS_MAX,
  VERDICTS_OWN_MAX,
} from "./verdicts.ts";

const OWNER = formatPublicKey(new Uint8Array(32).fill(9));
const NAMES = ["a", "b", "c", "d", "e"];
const numRuns = Deno.env.get("SLOW") ? 5_000 : 150;

const set = (names = "") => new Set(names);
const RANK: Readonly<Record<Decision, number>> = { untold: 0, failed: 1, complete: 2 };

Deno.test("decide() weighs who saw a release complete against its verdicts", () => {
  const cases: readonly [
    members: string,
    gave: string,
    heard: string,
    saw: string,
    inForce: Decision,
    before: Decision,
  ][] = [
    ["abc", "", "", "", "untold", "untold"],
    ["abc", "", "", "a", "untold", "untold"],
    ["abc", "b", "b", "", "failed", "failed"],
    ["abc", "bc", "abc", "a", "failed", "failed"],
    ["abc", "c", "abc", "ab", "complete", "complete"],
    ["abcd", "c", "abcd", "ab", "failed", "complete"],
    ["ab", "b", "ab", "a", "failed", "complete"],
    ["abc", "", "a", "", "untold", "untold"], // who gave it is not heard any more
    ["abc", "", "ab", "", "failed", "failed"],
    ["abc", "b", "b", "axyz", "failed", "failed"], // others are no members
    ["", "b", "b", "", "failed", "failed"],
  ];
  for (const [members, gave, heard, saw, inForce, before] of cases) {
    const told = { gave: set(gave), heard: set(heard), saw: set(saw) };
    assert.equal(decide(told, [...members], true), inForce, JSON.stringify([members, gave, saw]));
    assert.equal(decide(told, [...members], false), before, JSON.stringify([members, gave, saw]));
  }
});

Deno.test("decide() goes on with more that is told, and with the next manifest, and never back", () => {
  const some = fc.subarray(NAMES);
  const told = fc.record({ gave: some, heard: some, saw: some });
  const union = (a: readonly string[], b: readonly string[]) => new Set([...a, ...b]);
  fc.assert(
    fc.property(some, told, told, fc.boolean(), (members, first, more, isInForce) => {
      const one = { gave: set(), heard: set(), saw: set() };
      const two = { gave: set(), heard: set(), saw: set() };
      for (const kind of ["gave", "heard", "saw"] as const) {
        one[kind] = union(first[kind], []);
        two[kind] = union(first[kind], more[kind]);
      }
      const before = RANK[decide(one, members, isInForce)];
      assert.ok(RANK[decide(two, members, isInForce)] >= before);
      assert.ok(RANK[decide(one, members, false)] >= before);
    }),
    { numRuns },
  );
});

Deno.test("Tellings counts verdicts of those only that may give one, each node for itself", () => {
  const verdict = { component: "web", version: 2, release: "r" };
  const tellings = new Tellings([
    ["a", [{ ...verdict, node: "b", wasComplete: true }]],
    ["b", [{ ...verdict, node: "b", wasComplete: false }]],
    ["c", [{ ...verdict, node: "idle", wasComplete: false }, {
      ...verdict,
      version: 1,
      node: "c",
      wasComplete: false,
    }]],
  ]);
  const { gave, heard, saw, givers } = tellings.of(verdict, (node) => node !== "idle")!;
  assert.deepEqual([gave, heard, saw, givers], [set("b"), set("ab"), set("a"), ["b"]]);
  assert.equal(tellings.of({ ...verdict, release: "other" }, () => true), undefined);
  assert.equal(tellings.of(verdict, () => false), undefined);
});

Deno.test("tellVerdicts() leaves out those of others first", () => {
  const failure = (node: string, version: number): Failure => //
  ({ component: "web", version, release: "r", node, evidence: "much" });
  const others = Array.from({ length: VERDICTS_MAX }, (_, i) => failure("b", i + 2));
  const told = tellVerdicts("a", [failure("a", 1), ...others], (_, __, version) => version === 1);
  assert.equal(told.length, VERDICTS_MAX);
  assert.deepEqual(told.at(-1), {
    component: "web",
    version: 1,
    release: "r",
    node: "a",
    wasComplete: true,
  });
});

Deno.test("tellVerdicts() has room for what was complete and each other node's verdicts, however many one gives", () => {
  const failure = (node: string, component: string): Failure => //
  ({ component, version: 3, release: "r", node, evidence: "" });
  const many = (node: string, count: number, of: string) =>
    Array.from({ length: count }, (_, i) => failure(node, `${of}${i}`));
  const told = tellVerdicts("a", [
    ...many("b", 3, "x"),
    ...many("z", 100, "before"),
    ...many("z", 32, "w"), // complete
    ...many("z", 32, "x"),
    ...many("a", 70, "own"),
  ], (component) => component.startsWith("w"));
  assert.equal(told.length, VERDICTS_MAX);
  const count = (node: string, of: string) =>
    told.filter((each) => each.node === node && each.component.startsWith(of)).length;
  assert.equal(count("z", "w"), 32);
  assert.equal(count("b", "x"), 3);
  assert.equal(count("a", "own"), VERDICTS_OWN_MAX);
  assert.equal(told.at(-1)!.component, "own69");
});

Deno.test("Tellings counts no more of a node's own verdicts than others have room to answer", () => {
  const verdict = (component: string) => ({ component, version: 2, release: "r" });
  const all = Array.from({ length: VERDICTS_MAX }, (_, i) => verdict(`w${i}`));
  const told = all.map((each) => ({ ...each, node: "z", wasComplete: false }));
  const tellings = new Tellings([["z", told]]);
  assert.equal(all.filter((each) => tellings.has(each)).length, VERDICTS_OWN_MAX);
  assert.ok(tellings.has(all.at(-1)!));
  assert.equal(all.filter((each) => new Tellings([["a", told]]).has(each)).length, VERDICTS_MAX);
});

Deno.test("NewVerdicts takes a verdict for new for a moment", () => {
  const release = { component: "web", version: 2, release: "r" };
  const verdicts = new NewVerdicts();
  assert.equal(verdicts.dueAt(0), undefined);
  assert.equal(verdicts.isNew(release, 7), true);
  assert.equal(verdicts.isNew(release, 7 + HEARING_MS - 1), true);
  assert.equal(verdicts.dueAt(8), 7 + HEARING_MS);
  assert.equal(verdicts.isNew(release, 7 + HEARING_MS), false);
  assert.equal(verdicts.dueAt(7 + HEARING_MS), undefined);
});

/** Releases of a component with a replica for each node; the newest is in force. */
function releasesOn(names: readonly string[]): VersionedRelease[] {
  const nodes = names.map((name) => `[nodes.${name}]\ntags = ["t"]\n`).join("");
  const manifest = parseManifest(
    `[owner]\npubkey = "${OWNER}"\n${nodes}[components.web]\nsource = "file:web"\n` +
      `world = "wasi:http/proxy"\n[routing]\n` +
      `"tag:t" = [{ path = "/", component = "web", replicas = ${names.length} }]\n`,
  );
  return [1, 2, 3].map((version) => {
    const digests = new Map([["web", `${version}`.padStart(64, "0")]]);
    return { version, manifest, digests };
  });
}

/** A node as far as it tells and hears of releases. */
class Teller {
  readonly failures: Failure[] = [];
  readonly saw = new Set<string>();
  readonly heard = new Map<string, NodeReport>();
  said: NodeReport | undefined;
  goal = 0;

  constructor(
    readonly name: string,
    readonly all: readonly VersionedRelease[],
    readonly approved: ReadonlyMap<string, number>,
  ) {}

  release = (version: number) => releaseOf("web", this.all[version - 1]!)!;

  give(version: number): void {
    const release = this.release(version);
    this.failures.push({ component: "web", version, release, node: this.name, evidence: "" });
  }

  plan(): void {
    const names = [...this.approved.keys()];
    const failures = this.failures.filter(({ node }) => this.approved.has(node));
    const wasComplete = (_: string, release: string) => this.saw.has(release);
    const { report, basis, rollouts } = planNode({
      node: this.name,
      inForce: this.all.at(-1)!,
      turns: 0,
      before: (version) => this.all.slice(0, version - 1).toReversed(),
      failures,
      isNew: () => false,
      approved: this.approved,
      complete: new Map(),
      wasComplete,
      overrides: NO_OVERRIDES,
      live: names,
      reported: (name) => this.heard.get(name),
      own: [],
      givenLately: () => 0,
      isBelieved: () => false,
      tries: new SlotTries(),
      nowMs: 0,
    });
    const { version, release, isComplete } = rollouts.get("web")!;
    this.goal = version;
    if (isComplete) this.saw.add(release);
    const verdicts = tellVerdicts(this.name, failures, wasComplete);
    this.said = { version: this.all.length, basis, turns: 0, slots: report, verdicts };
  }

  hear({ name, said }: Teller): void {
    if (said === undefined) return;
    this.heard.set(name, said);
    for (const { wasComplete: _, ...verdict } of said.verdicts) {
      const isKnown = this.failures.some(({ version, node }) =>
        version === verdict.version && this.approved.has(node)
      );
      if (verdict.node === name && !isKnown) this.failures.push({ ...verdict, evidence: "" });
    }
    this.plan();
  }
}

/** Who knows what at the beginning, by the places of nodes. */
interface Facts {
  readonly gave: readonly (readonly [node: number, version: number])[];
  readonly saw: readonly (readonly [node: number, version: number])[];
}

/** Who knows these facts at the beginning. */
function tellersOf(
  all: readonly VersionedRelease[],
  { gave, saw }: Facts,
  approved: ReadonlyMap<string, number>,
): readonly Teller[] {
  const names = [...all[0]!.manifest.nodes.keys()];
  const tellers = names.map((name) => new Teller(name, all, approved));
  for (const [node, version] of saw) {
    const teller = tellers[node % tellers.length]!;
    teller.saw.add(teller.release(version));
  }
  for (const [node, version] of gave) tellers[node % tellers.length]!.give(version);
  return tellers;
}

/** Every one hears every other, again and again. */
function hearAll(tellers: readonly Teller[]): readonly number[] {
  for (const teller of tellers) teller.plan();
  for (let round = 0; round < 4; round++) {
    for (const to of tellers) for (const from of tellers) if (to !== from) to.hear(from);
  }
  return tellers.map(({ goal }) => goal);
}

/** What each node goes by in the end, whoever was heard first. */
function goalsAfter(
  all: readonly VersionedRelease[],
  facts: Facts,
  order: readonly (readonly [from: number, to: number])[],
  gone?: number,
): readonly number[] {
  const approved = new Map([...all[0]!.manifest.nodes.keys()].map((name) => [name, 0]));
  const tellers = tellersOf(all, facts, approved);
  const { length } = tellers;
  for (const teller of tellers) teller.plan();
  for (const [from, to] of order) {
    if (from % length !== to % length) tellers[to % length]!.hear(tellers[from % length]!);
  }
  const left = tellers.filter((_, i) => i !== gone);
  if (gone !== undefined) { for (const teller of left) teller.heard.clear(); // they were restarted
   }
  return hearAll(left);
}

Deno.test("all nodes come to go by one release, whatever was told of it, and whoever is heard first", () => {
  const worlds = [2, 3, 4, 5].map((count) => releasesOn(NAMES.slice(0, count)));
  const fact = fc.tuple(fc.nat(4), fc.integer({ min: 1, max: 3 }));
  const order = fc.array(fc.tuple(fc.nat(4), fc.nat(4)), { maxLength: 20 });
  const facts = fc.record({
    gave: fc.array(fact, { maxLength: 5 }),
    saw: fc.array(fact, { maxLength: 8 }),
  });
  fc.assert(
    fc.property(fc.constantFrom(...worlds), facts, order, order, (all, facts, one, other) => {
      const goals = goalsAfter(all, facts, one);
      assert.equal(new Set(goals).size, 1, `they go by ${goals}`);
      assert.deepEqual(goalsAfter(all, facts, other), goals);
    }),
    { numRuns },
  );
});

Deno.test("nodes that are left come to go by one release, though only some heard the verdict of one that is gone", () => {
  const all = releasesOn(NAMES.slice(0, 4));
  const fact = fc.tuple(fc.nat(3), fc.integer({ min: 1, max: 3 }));
  const order = fc.array(fc.tuple(fc.nat(3), fc.nat(3)), { maxLength: 8 });
  const facts = fc.record({
    gave: fc.array(fact, { maxLength: 2 }).map((more) => [[0, 3] as const, ...more]),
    saw: fc.array(fact, { maxLength: 4 }),
  });
  fc.assert(
    fc.property(facts, order, (facts, order) => {
      const goals = goalsAfter(all, facts, order, 0);
      assert.equal(new Set(goals).size, 1, `they go by ${goals}`);
    }),
    { numRuns },
  );
});

Deno.test("of three nodes of which one saw a release complete all go by the verdict of the others", () => {
  const all = releasesOn(["a", "b", "c"]).slice(0, 2);
  const facts = { saw: [[0, 2]], gave: [[1, 2], [2, 2]] } as const;
  const [a, b, c] = [0, 1, 2];
  for (const order of [[a, b, c], [c, b, a], [b, a, c], [b, c, a], [c, a, b], [a, c, b]]) {
    const heard = order.flatMap((from) => order.map((to) => [from, to] as const));
    assert.deepEqual(goalsAfter(all, facts, heard), [1, 1, 1]);
  }
});

/** What happens to a realm of `a`, `b` and `c` in which `d` and `e` may be approved. */
type Change = readonly [what: "hear" | "restart" | "revoke" | "approve", node: number, of: number];

/** What those that are approved in the end go by then. */
function goalsAfterChanges(
  all: readonly VersionedRelease[],
  facts: Facts,
  changes: readonly Change[],
): readonly number[] {
  const approved = new Map([["a", 0], ["b", 0], ["c", 1]]);
  const gone = new Set<string>();
  const tellers = tellersOf(all, facts, approved);
  for (const [what, node, of] of changes) {
    const teller = tellers[node]!;
    const { name } = teller;
    const isThere = approved.has(name);
    if (what === "approve" && !isThere && !gone.has(name)) approved.set(name, all.length);
    if (!isThere) continue;
    if (what === "restart") teller.heard.clear();
    if (what === "hear" && node !== of && approved.has(NAMES[of]!)) teller.hear(tellers[of]!);
    if (what !== "revoke" || approved.size === 1) continue;
    approved.delete(name);
    gone.add(name);
    for (const other of tellers) other.heard.delete(name);
  }
  return hearAll(tellers.filter(({ name }) => approved.has(name)));
}

const changesOf = (...kinds: readonly Change[0][]) =>
  fc.array(fc.tuple(fc.constantFrom(...kinds), fc.nat(4), fc.nat(4)), { maxLength: 30 });

Deno.test("nodes come to go by one release, whoever is approved, revoked or restarted meanwhile", () => {
  const all = releasesOn(NAMES);
  const fact = fc.tuple(fc.nat(4), fc.integer({ min: 1, max: 3 }));
  const facts = fc.record({
    gave: fc.array(fact, { maxLength: 5 }),
    saw: fc.array(fact, { maxLength: 8 }),
  });
  const changes = changesOf("hear", "hear", "restart", "revoke", "approve");
  fc.assert(
    fc.property(facts, changes, (facts, changes) => {
      const goals = goalsAfterChanges(all, facts, changes);
      assert.equal(new Set(goals).size, 1, `they go by ${goals}`);
    }),
    { numRuns },
  );
});

Deno.test("approvals and restarts change nothing of what nodes go by", () => {
  const all = releasesOn(NAMES);
  const fact = fc.tuple(fc.nat(2), fc.integer({ min: 1, max: 3 })); // of those that were there
  const facts = fc.record({
    gave: fc.array(fact, { maxLength: 5 }),
    saw: fc.array(fact, { maxLength: 8 }),
  });
  fc.assert(
    fc.property(facts, changesOf("hear", "restart", "approve"), (facts, changes) => {
      const before = goalsAfterChanges(all, facts, []);
      const after = goalsAfterChanges(all, facts, changes);
      assert.deepEqual(new Set(after), new Set(before));
    }),
    { numRuns },
  );
});
