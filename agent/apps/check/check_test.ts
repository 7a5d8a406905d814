import assert from "node:assert/strict";
import { textOf } from "../../kernel/byte_string.ts";
import { fixtureApp } from "../app_fixture_fake.ts";
import { guestComponent } from "../guest/guest_component_fake.ts";
import type { Outcome } from "../guest/state_apply.ts";
import type { Guest } from "../replay.ts";
import type { Journal } from "../state.ts";
import { checkApp, type CheckOptions } from "./check.ts";
import { eventsOf, idOf, ScriptBuilder, type Step } from "./script.ts";
import { type Subject, subjectOf } from "./subject.ts";

const OPTIONS: CheckOptions = { seed: "1", histories: 6, events: 30 };
const bytes = (text: string) => new TextEncoder().encode(text);
const ACCEPTED: Outcome = { verdict: { kind: "accepted" }, fuel: 1 };

const step = (id: number, more: Partial<Step> = {}): Step => ({
  id,
  author: 0,
  unseen: 0,
  forks: false,
  kind: "add",
  payload: [],
  isProposed: false,
  ...more,
});

/** An app whose state-propose takes the intent `go`, with a number that becomes the payload. */
function subject(guest: () => Guest): Subject {
  return {
    guest,
    propose: (_person, intent, input) =>
      textOf(intent) === "go" && /^\d+$/.test(textOf(input))
        ? [{ kind: bytes("gone"), payload: input }]
        : bytes("only go with a number is possible"),
    nodes: () => [],
    intents: () => [],
    words: [],
    faults: new Map(),
  };
}

function increment(writes: Journal, key: string): number {
  const count = (writes.get(bytes(key))?.[0] ?? 0) + 1;
  writes.put(bytes(key), Uint8Array.of(count));
  return count;
}

Deno.test("checkApp() finds how counter and poll are used, and that they keep every law", async () => {
  const wanted = { counter: ["add"], poll: ["close", "create", "create-until", "vote"] };
  for (const [app, intents] of Object.entries(wanted)) {
    const tried = await subjectOf(await fixtureApp(app), () => false);
    const report = checkApp(tried, OPTIONS);
    assert.equal(report.broken, undefined, JSON.stringify(report.broken));
    for (const intent of intents) assert.ok(report.intents.includes(intent), `${app} ${intent}`);
    const { accepted, rejected, trapped } = report.verdicts;
    assert.ok(accepted > 30 && rejected > 10 && trapped === 0, JSON.stringify(report.verdicts));
    assert.equal(report.events, 180);
    const [most] = report.fuel;
    assert.ok(most!.fuel > 80_000 && most!.fuel < report.fuelMax / 10, JSON.stringify(most));
    if (app === "counter") assert.deepEqual(checkApp(tried, OPTIONS), report, "a seed is a report");
  }
});

Deno.test("checkApp() tells an app that remembers from one run to the next", () => {
  let count = 0;
  const guest: Guest = {
    apply(_event, writes) {
      writes.put(bytes("count"), Uint8Array.of(count++));
      return ACCEPTED;
    },
  };
  const { broken } = checkApp(subject(() => guest), OPTIONS);
  assert.equal(broken!.law, "twice");
  assert.equal(broken!.script.length, 1);
  assert.equal(broken!.found, 30);
  assert.match(broken!.why, /^key count is [0-9a-f]{2}, wanted: is [0-9a-f]{2}$/);
});

Deno.test("checkApp() tells an app that goes by the order of arrival, and how it arrived", () => {
  const guest = (): Guest => {
    let last = "";
    return {
      apply({ id }, writes) {
        const outcome = { ...ACCEPTED, fuel: last === "" ? 1 : last.charCodeAt(0) + 2 };
        last = textOf(id);
        writes.put(bytes("last"), id);
        return outcome;
      },
    };
  };
  const found = checkApp(subject(guest), OPTIONS).broken!;
  assert.ok(["dry", "delivery", "late"].includes(found.law), found.law);
  assert.ok(found.script.length <= 3, `${found.script.length} steps`);
  assert.match(found.why, /^event \d is accepted for \d+ units of fuel, /);

  // Without dry runs it is the order of arrival alone that shows it.
  const late = (): Guest => {
    const seen: string[] = [];
    return {
      apply({ id }, writes) {
        const isAgain = seen.includes(textOf(id));
        if (!isAgain) seen.push(textOf(id));
        const other = seen.indexOf(textOf(id)) === 0 ? "first" : "later";
        writes.put(id, bytes(other));
        return ACCEPTED;
      },
    };
  };
  const { broken } = checkApp(subject(late), { ...OPTIONS, histories: 50 });
  assert.match(broken!.law, /^(?:delivery|late)$/);
  assert.ok(broken!.script.length <= 3, `${broken!.script.length} steps`);
  const { delivery } = broken!;
  assert.deepEqual(delivery!.toSorted(), broken!.script.map((_, i) => i));
  assert.ok(broken!.script.some(({ unseen, forks }) => unseen > 0 || forks), "nobody is late");
  assert.match(broken!.why, /^key .* is [0-9a-f]+, wanted: is [0-9a-f]+$/);
});

Deno.test("checkApp() tells an app of which dry runs leave something behind", () => {
  const guest = (): Guest => {
    let calls = 0;
    return {
      apply: (_event, writes) => {
        increment(writes, "count");
        return { ...ACCEPTED, fuel: ++calls };
      },
    };
  };
  const { broken } = checkApp(subject(guest), OPTIONS);
  assert.equal(broken!.law, "dry");
  assert.equal(broken!.script.length, 1);
});

Deno.test("checkApp() tells proposals that trap or take too much, in few events", () => {
  for (const kind of ["trapped", "out-of-fuel"] as const) {
    const guest: Guest = {
      apply({ kind: type }, writes) {
        if (textOf(type) !== "gone" || increment(writes, "gone") < 3) return ACCEPTED;
        return kind === "trapped"
          ? { verdict: { kind, why: "unreachable" }, fuel: 9 }
          : { verdict: { kind }, fuel: 9 };
      },
    };
    const { broken } = checkApp(subject(() => guest), OPTIONS);
    assert.equal(broken!.law, "proposed");
    assert.equal(
      broken!.why,
      `event 3 ${kind === "trapped" ? "traps (unreachable)" : "uses up its fuel"}`,
    );
    assert.deepEqual(
      broken!.script.map(({ kind, author, unseen, forks }) => [kind, author, unseen, forks]),
      Array(3).fill(["gone", 0, 0, false]),
    );
  }
});

Deno.test("checkApp() tells when the host fails", () => {
  const guest: Guest = {
    apply({ payload }) {
      if (payload.length > 3) throw new RangeError("out of memory");
      return ACCEPTED;
    },
  };
  const { broken } = checkApp(subject(() => guest), OPTIONS);
  assert.deepEqual([broken!.law, broken!.why], ["host", "RangeError: out of memory"]);
  assert.equal(broken!.script.length, 1);
});

Deno.test("checkApp() tells at what a component traps that proposes", async () => {
  const components = new Map(await fixtureApp("counter"));
  // Traps at an input of seven bytes.
  components.set(
    "state-propose",
    await guestComponent("state-propose", [], {
      propose: `(param $i i32) (param $in i32) (param $p i32) (param $n i32) (result i32)
        (if (i32.eq (local.get $n) (i32.const 7)) (then unreachable))
        (i32.store8 (i32.const 16) (i32.const 1))
        (i32.store offset=4 (i32.const 16) (i32.const 0))
        (i32.store offset=8 (i32.const 16) (i32.const 0))
        (i32.const 16)`,
    }),
  );
  const report = checkApp(await subjectOf(components, () => false), OPTIONS);
  assert.equal(report.broken, undefined);
  assert.equal(report.faults.length, 1);
  assert.match(
    report.faults[0]!,
    /^propose\(".*", "[^]{7,}"\): The state-propose component trapped/,
  );
});

Deno.test("a script names events by their steps, and goes on without those that are gone", () => {
  const builder = new ScriptBuilder();
  const first = builder.add(step(0, { payload: [bytes("one")] }))!;
  const id = idOf(first.signed);
  assert.deepEqual(builder.partsOf(Uint8Array.of(7, ...id, ...id, 9)), [
    Uint8Array.of(7),
    { of: 0 },
    Uint8Array.of(...id, 9),
  ]);
  const naming = step(1, { author: 1, payload: [{ of: 0 }, Uint8Array.of(1)] });
  assert.deepEqual(builder.payloadOf(naming), Uint8Array.of(...id, 1));
  const [alone] = eventsOf([naming]);
  assert.deepEqual(alone!.signed.event.payload, Uint8Array.of(...new Uint8Array(32), 1));
});

Deno.test("a script says who has seen what, and who forks", () => {
  const script = [
    step(0),
    step(1, { author: 1 }),
    step(2, { author: 2, unseen: 1 }),
    step(3, { author: 1, forks: true, kind: "other" }),
    step(4, { author: 0 }),
  ];
  const events = eventsOf(script).map(({ signed }) => signed);
  const parents = events.map(({ event }) =>
    event.parents.map((parent) => events.findIndex(({ id }) => id.equals(parent))).sort()
  );
  assert.deepEqual(parents, [[-1], [0], [0], [2], [1, 3]]);
  assert.deepEqual(events.map(({ event: { seq } }) => seq), [1, 0, 0, 0, 2]);
  assert.equal(eventsOf([step(0), step(1, { forks: true })]).length, 1, "not two of the same");
});
