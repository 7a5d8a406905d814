/**
 * Histories in which anybody writes anything on any branch, delivered in any order, beside a second
 * writing of the rules that goes by sets of events.
 *
 * @module
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import { bytesOf } from "../../kernel/byte_string.ts";
import {
  type EventContent,
  nextEvent,
  type SignedEvent,
  signEventSync,
} from "../../kernel/event.ts";
import { APP_ROLES, appContent, joinBytes, type KernelEvent } from "./app_event.ts";
import { behaviorOf } from "./authoring.ts";
import {
  allOf,
  ann,
  ben,
  cem,
  createTopic,
  dan,
  emptyLog,
  eva,
  type Person,
  personOf,
  someCid,
  summary,
} from "./topic_fake.ts";

/** eva joins by no invite: she acts for others. */
const people = [ann, ben, cem, dan, eva];
const invites = await Promise.all(
  [90, 91, 92, 93].map((n) => personOf(new Uint8Array(32).fill(n))),
);
const log = createTopic();
const [genesis] = allOf(log) as [SignedEvent];

interface Written {
  readonly signed: SignedEvent;
  readonly by: Person;
  readonly said: KernelEvent | undefined;
  /** What is in its past. */
  readonly past: ReadonlySet<Written>;
}

const STEP = fc.record({
  by: fc.nat(people.length - 1),
  // Mostly the newest: else everybody is on a branch of its own.
  sees: fc.array(fc.nat(11).map((n) => Math.max(0, n - 6)), { minLength: 1, maxLength: 4 }),
  kind: fc.constantFrom(
    ...["invite", "invite", "join", "join", "join", "join", "revoke", "leave"] as const,
    ...["behavior", "behavior"] as const,
    ...["event", "event", "event", "upgrade", "checkpoint"] as const,
  ),
  pick: fc.nat(),
  other: fc.nat(),
});
const HISTORY = fc.array(STEP, { minLength: 5, maxLength: 50 });

const signatures = new Map<string, SignedEvent>();
function sign(
  by: Person,
  heads: SignedEvent[],
  previous: Written | undefined,
  content: EventContent,
) {
  const event = nextEvent(by.publicKey, heads, previous?.signed, content);
  const memo = JSON.stringify([
    by.key,
    heads.map(({ id }) => `${id}`),
    `${previous?.signed.id}`,
    content,
  ]);
  let signed = signatures.get(memo);
  if (signed === undefined) signatures.set(memo, signed = signEventSync(event, by));
  return signed;
}

/** What the steps come to: nobody asks whether any of it may be. */
function write(
  steps: readonly (typeof STEP extends fc.Arbitrary<infer T> ? T : never)[],
): Written[] {
  const all: Written[] = [{ signed: genesis, by: ann, said: undefined, past: new Set() }];
  for (const { by: who, sees, kind, pick, other } of steps) {
    // An invite by who may not write one leads to nothing.
    const by = people[kind === "invite" && other % 3 > 0 ? 0 : who]!;
    const seen = [...new Set(sees.map((n) => all[Math.max(0, all.length - 1 - n)]!))];
    // An event's own ancestors beside it would be heads that are none.
    const heads = seen.filter((each) => !seen.some(({ past }) => past.has(each)));
    const past = new Set(heads.flatMap((head) => [head, ...head.past]));
    const own = [...past].filter((each) => each.by === by)
      .sort((a, b) => a.signed.event.seq - b.signed.event.seq);
    const said = saidBy(by, by === eva && kind === "join" ? "behavior" : kind, past, pick, other);
    if (kind !== "event" && said === undefined) continue;
    const content = said === undefined
      ? { type: "app/say", payload: bytesOf(`${pick % 50}`) }
      : appContent(said);
    const signed = sign(by, heads.map(({ signed }) => signed), own.at(-1), content);
    if (all.some((each) => each.signed.id.equals(signed.id))) continue;
    all.push({ signed, by, said, past });
  }
  return all;
}

function saidBy(
  by: Person,
  kind: KernelEvent["kind"] | "event",
  past: ReadonlySet<Written>,
  pick: number,
  other: number,
): KernelEvent | undefined {
  switch (kind) {
    case "invite":
      return {
        kind,
        key: invites[pick % invites.length]!.key,
        role: APP_ROLES[other % 5] ?? "admin",
        sealed: undefined,
      };
    case "join": {
      const there = [...past].filter(({ said }) => said?.kind === "invite");
      const invite = there[pick % (there.length || 1)];
      if (invite?.said?.kind !== "invite") return undefined;
      const { key } = invite.said;
      const signer = invites.find((each) => each.key === key)!;
      const proof = signer.sign(joinBytes(genesis.id, by.publicKey));
      return { kind, invite: invite.signed.id, proof };
    }
    case "revoke": {
      if (other % 4 === 0) return { kind, key: invites[pick % invites.length]!.key, last: null };
      const whom = people[1 + pick % 4]!;
      if (whom === by) return undefined;
      const theirs = [...past].filter((each) => each.by === whom);
      const last = theirs[(other >> 2) % (theirs.length + 1)];
      return { kind, key: whom.key, last: last?.signed.id ?? null };
    }
    case "behavior": {
      const person = people[pick % people.length]!;
      if (by === ann || person === by) return undefined;
      return behaviorOf(genesis.id, person, by.publicKey);
    }
    case "leave":
      return by === ann ? undefined : { kind };
    case "upgrade":
      return { kind, bundle: someCid("next") };
    case "checkpoint":
      return { kind, digest: null };
    default:
      return undefined;
  }
}

const RANKS = { keeper: 1, member: 2, admin: 3 };

/** The rules once more: which events are not void. */
function rule(all: readonly Written[]): Set<Written> {
  const at = new Map(all.map((each) => [each.signed.id.toString(), each]));
  const revokes = all.filter(({ said }) => said?.kind === "revoke");

  /** Voidness where these revocations act, of which those by admins spare `spared`. */
  function judge(byAdmins: readonly Written[], spared: ReadonlySet<Person>) {
    const memo = new Map<Written, boolean>();
    const acting = (key: string, isSpared: boolean) =>
      revokes.filter((r) => r.said!.kind === "revoke" && r.said!.key === key)
        .filter((r) => r.by === ann || (!isSpared && byAdmins.includes(r)));
    const isLeft = (each: Written, isSpared: boolean) =>
      acting(each.by.key, isSpared || spared.has(each.by)).every(({ said }) => {
        const last = said!.kind === "revoke" && said!.last && at.get(said!.last.toString());
        return last && (last === each || last.past.has(each));
      });
    const inviteOf = ({ said }: Written) => {
      const invite = said!.kind === "join" ? at.get(said!.invite.toString())! : undefined;
      return invite?.said?.kind === "invite" ? { invite, ...invite.said } : undefined;
    };
    /** By its own joins alone, of which no leave has ended. */
    const rankOf = (by: Person, past: ReadonlySet<Written>) => {
      const own = [...past].filter((each) => each.by === by);
      const leaves = own.filter(({ said }) => said?.kind === "leave");
      const ranks = own.filter((join) => join.said?.kind === "join" && !isVoid(join))
        .filter((join) => !leaves.some(({ past }) => past.has(join)))
        .map((join) => RANKS[inviteOf(join)!.role]);
      return Math.max(0, ...ranks);
    };
    /** What a behavior may by its person, at an event. */
    const rankBy = (key: string, at: Written) => {
      const person = people.find((each) => each.key === key)!;
      if (person === ann) return 2;
      const isLeft = acting(key, spared.has(person)).every(({ past }) => past.has(at));
      return isLeft ? Math.min(2, rankOf(person, at.past)) : 0;
    };
    function isVoid(each: Written): boolean {
      if (each.by === ann) return false;
      let known = memo.get(each);
      if (known === undefined) memo.set(each, known = judged(each));
      return known;
    }
    function judged(each: Written): boolean {
      if (each.said?.kind === "join") {
        const { invite, key, role } = inviteOf(each)!;
        return isVoid(invite) || !isLeft(each, role === "admin") ||
          !acting(key, role === "admin").every(({ past }) => past.has(each));
      }
      if (each.said?.kind === "behavior") {
        return !isLeft(each, false) || rankBy(each.said.person, each) === 0;
      }
      const wanted = each.said === undefined ? 2 : each.said.kind === "leave" ? 1 : 3;
      const own = [...each.past].filter(({ by }) => by === each.by);
      const leaves = own.filter(({ said }) => said?.kind === "leave");
      const acts = own.filter((acts) =>
        !isVoid(acts) && !leaves.some(({ past }) => past.has(acts))
      );
      const persons = new Set(
        acts.flatMap(({ said }) => said?.kind === "behavior" ? [said.person] : []),
      );
      // Who acts for several acts for none.
      const rank = persons.size === 1 ? rankBy([...persons][0]!, each) : 0;
      return !isLeft(each, false) || Math.max(rankOf(each.by, each.past), rank) < wanted;
    }
    const joinedAsAdmin = (each: Written) =>
      each.said?.kind === "join" && inviteOf(each)!.role === "admin" && !isVoid(each);
    return { isVoid, joinedAsAdmin };
  }

  const first = judge([], new Set());
  const admins = new Set(all.filter(first.joinedAsAdmin).map(({ by }) => by));
  const byAdmins = revokes.filter((each) => each.by !== ann && !first.isVoid(each));
  const { isVoid } = judge(byAdmins, admins);
  return new Set(all.filter((each) => !isVoid(each)));
}

/** A log that was given all events in an order that `pick` chooses, until nothing more is taken. */
function delivered(events: readonly SignedEvent[], pick: () => number) {
  const to = emptyLog(genesis.id);
  to.offer([genesis]);
  for (let isNew = true; isNew;) {
    isNew = false;
    const open = [...events];
    while (open.length > 0) {
      const batch = Array.from(
        { length: 1 + pick() % 3 },
        () => open.splice(pick() % open.length, 1),
      )
        .flat();
      isNew = to.offer(batch).accepted.length > 0 || isNew;
      if (pick() % 5 === 0) to.flush(0);
    }
  }
  to.flush(0);
  return to;
}

function picker(picks: readonly number[]): () => number {
  let i = 0;
  return () => picks[i++ % picks.length]!;
}

const PICKS = fc.array(fc.nat(1000), { minLength: 1, maxLength: 40 });
const numRuns = Deno.env.get("SLOW") ? 5000 : 250;

Deno.test("any order of delivery gives the same view, and the one that the rules say", () => {
  const seen = new Map<string, number>();
  fc.assert(
    fc.property(HISTORY, PICKS, PICKS, (steps, one, two) => {
      const all = write(steps);
      const events = all.map(({ signed }) => signed);
      const a = delivered(events, picker(one));
      const b = delivered(events, picker(two));
      assert.deepEqual(summary(a), summary(b));

      const left = rule(all);
      const kept = new Set([...left].flatMap((each) => [each, ...each.past]));
      const topic = a.topic!;
      assert.deepEqual(
        topic.order().map(({ id }) => id.toString()).sort(),
        [...kept].map(({ signed }) => signed.id.toString()).sort(),
      );
      for (const each of all) {
        const event = topic.get(each.signed.id);
        const tips = [...left].filter(({ by }) => by === each.by)
          .filter((tip, _, own) => !own.some(({ past }) => past.has(tip)));
        const counts = left.has(each) && tips.every((tip) => tip === each || tip.past.has(each));
        assert.equal(event !== undefined && topic.counts(event), counts, each.signed.event.type);
        const name = `${each.said?.kind ?? "event"} ${counts}`;
        seen.set(name, (seen.get(name) ?? 0) + 1);
      }
      // Who is a member has a join that is left.
      for (const { key, role } of a.view!.members.values()) {
        const has = [...left].some(({ by, said }) =>
          by.key === key && (said?.kind === "join" || said?.kind === "behavior")
        );
        assert.ok(has || role === "creator");
      }
    }),
    { numRuns },
  );
  // Each kind was seen to count, and not to.
  for (
    const kind of [
      "invite",
      "join",
      "behavior",
      "revoke",
      "leave",
      "event",
      "upgrade",
      "checkpoint",
    ]
  ) {
    for (const counts of [true, false]) {
      assert.ok(seen.has(`${kind} ${counts}`), `${kind} ${counts}`);
    }
  }
});

Deno.test("a void event leaves no trace", () => {
  fc.assert(
    fc.property(HISTORY, PICKS, (steps, picks) => {
      const all = write(steps);
      const left = rule(all);
      const kept = new Set([...left].flatMap((each) => [each, ...each.past]));
      const all_ = delivered(all.map(({ signed }) => signed), picker(picks));
      const without = delivered([...kept].map(({ signed }) => signed), picker(picks));
      assert.deepEqual(summary(all_), summary(without));
      // Nor in what is read again.
      const again = emptyLog(genesis.id);
      again.offer(allOf(all_));
      assert.deepEqual(summary(again), summary(all_));
    }),
    { numRuns: numRuns / 2 },
  );
});
