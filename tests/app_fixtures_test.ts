/**
 * The parts of apps in `fixtures/`: of which profile they are, what refuses those that try what
 * is forbidden, and what counter and poll do with their events.
 *
 * @module
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import { StateApply } from "../agent/apps/guest/state_apply.ts";
import { checkProfile, profilesOf } from "../agent/apps/profile.ts";
import * as kernel from "../agent/apps/state.ts";
import { inspect } from "../agent/runtime/inspect.ts";
import { appComponents, bytes32, type Context, fixture, guest, State } from "./app_guest.ts";

const BYTES_MAX = 20 * 1024;

Deno.test("apps build, and their parts are of the profiles that their names say, and small", async () => {
  const expected = {
    "apps/counter/interaction.wasm": ["identity", "state-read", "ui"],
    "apps/counter/state-apply.wasm": ["event", "state-read", "state-write"],
    "apps/counter/state-propose.wasm": [],
    "apps/errand/behavior.wasm": ["identity", "network", "outbox", "state-read"],
    "apps/errand/state-apply.wasm": ["event", "state-read", "state-write"],
    "apps/errand/state-propose.wasm": [],
    "apps/poll/behavior.wasm": ["clock", "outbox", "state-read"],
    "apps/poll/interaction.wasm": ["clock", "identity", "state-read", "ui"],
    "apps/poll/state-apply.wasm": ["event", "params", "state-read", "state-write"],
    "apps/poll/state-propose.wasm": ["identity", "params", "state-read"],
  };
  const roles: string[] = [];
  for (const app of ["counter", "errand", "poll"]) {
    for (const [role, bytes] of await appComponents(app)) {
      const file = `apps/${app}/${role}.wasm`;
      roles.push(file);
      assert.deepEqual(profilesOf(bytes), [role], file);
      const { imports } = checkProfile(bytes, role, role === "behavior" ? ["network"] : []);
      assert.deepEqual(imports, expected[file as keyof typeof expected], file);
      assert.ok(bytes.length <= BYTES_MAX, `${file} has ${bytes.length} bytes`);
    }
  }
  assert.deepEqual(roles.sort(), Object.keys(expected));
  const migrating = "apps/counter-v2/state-apply.wasm";
  const next = fixture(migrating.slice(0, -".wasm".length));
  assert.deepEqual(checkProfile(next, "state-apply").imports, [
    "event",
    "state-read",
    "state-write",
  ]);
  assert.ok(next.length <= BYTES_MAX, `${migrating} has ${next.length} bytes`);
  assert.deepEqual(profilesOf(fixture("spy-apply")), ["state-apply"], "spy-apply.wasm");
});

Deno.test("parts of apps that try what is forbidden are refused, by name and byte", () => {
  const expected: Record<string, RegExp> = {
    "mean-apply.wasm": /has the .*f64.* in function \d+ of core module 0 \(byte \d+\), and floats/,
    "clock-apply.wasm": /imports realm:app\/clock@0\.1\.0 \(byte \d+\), which is for interaction/,
    "socket-apply.wasm": /imports wasi:sockets\/\S+ \(byte \d+\), which no app may have/,
  };
  for (const [file, message] of Object.entries(expected)) {
    const bytes = fixture(file.slice(0, -".wasm".length));
    assert.deepEqual(profilesOf(bytes), ["state-apply"]);
    assert.throws(() => checkProfile(bytes, "state-apply"), { code: "refused", message }, file);
  }
});

Deno.test("inspect() tells the profile of a part of an app, or why it has none", async () => {
  const counter = await inspect(fixture("apps/counter/state-apply"));
  assert.deepEqual(counter.profiles, [{ profile: "state-apply", capabilities: [] }]);
  assert.ok(counter.imports.every(({ provided }) => provided));
  const [mean] = (await inspect(fixture("mean-apply"))).profiles!;
  assert.equal(mean!.refused!.code, "refused");
  assert.match(mean!.refused!.message, /f64/);
  assert.equal((await inspect(fixture("hello"))).profiles, undefined);
});

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const context = (): Context => ({ author: bytes32("ann"), kind: "", id: bytes32("e0") });
const number = (n: bigint) => {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, n);
  return bytes;
};

/** The reason of an error of a guest, as glue throws it. */
function reason(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    const payload = (error as { payload?: Uint8Array }).payload;
    if (payload === undefined) throw error;
    return text(payload);
  }
  return "accepted";
}

Deno.test("counter adds up what it is given, in total and for each author", async () => {
  const [state, event] = [new State(), context()];
  const parts = await appComponents("counter");
  const { apply } = await guest(parts.get("state-apply")!, state, event);
  const { propose } = await guest(parts.get("state-propose")!, state, event);
  const enc = new TextEncoder();
  const sums = new Map<string, bigint>();
  const one = fc.tuple(
    fc.constantFrom("ann", "bob", "cat"),
    fc.integer({ min: 1, max: 1_000_000 }),
  );
  for (const [author, n] of fc.sample(one, 50)) {
    event.author = bytes32(author);
    const [{ kind, payload } = assert.fail()] = propose!(enc.encode("add"), enc.encode(`${n}`));
    event.kind = text(kind);
    apply!(payload);
    for (const key of ["total", `author/${State.key(event.author)}`]) {
      sums.set(key, (sums.get(key) ?? 0n) + BigInt(n));
    }
  }
  const want = new Map([...sums].map(([key, sum]) => [key, number(sum)]));
  assert.deepEqual(new Map([...state.map].sort()), new Map([...want].sort()));

  for (const payload of [number(0n), number(1_000_001n), new Uint8Array(7), new Uint8Array(9)]) {
    assert.match(reason(() => apply!(payload)), /^a number from 1/);
  }
  for (const input of ["", "0", "-1", "1.5", "1000001", "99999999999999999999", "1 "]) {
    assert.match(reason(() => propose!(enc.encode("add"), enc.encode(input))), /^a number/, input);
  }
  event.kind = "take";
  assert.equal(reason(() => apply!(number(1n))), "unknown event");
  event.kind = "add";
  state.map.set("total", number(2n ** 64n - 1n));
  assert.equal(reason(() => apply!(number(1n))), "the sum is too large");
});

Deno.test("poll counts the last vote of each key until its creator closes it", async () => {
  const [state, event] = [new State(), context()];
  const parts = await appComponents("poll");
  const { apply } = await guest(parts.get("state-apply")!, state, event);
  const { propose } = await guest(parts.get("state-propose")!, state, event);
  const enc = new TextEncoder();
  const intend = (author: string, intent: string, input: string) => {
    event.author = bytes32(author);
    return propose!(enc.encode(intent), enc.encode(input)).map(({ kind, payload }) => {
      event.kind = text(kind);
      apply!(payload);
    });
  };
  const id = event.id;
  const name = hex(id);
  const tally = () =>
    [0, 1, 2].map((option) => {
      const votes = state.map.get(`tally/${State.key(id)}/${String.fromCharCode(option)}`);
      return votes === undefined ? 0 : Number(new DataView(votes.buffer).getBigUint64(0));
    });
  intend("ann", "create", "Tea?\nyes\nno\nlater");
  const votes = new Map<string, number>();
  const one = fc.tuple(fc.constantFrom("ann", "bob", "cat", "dan"), fc.integer({ min: 0, max: 2 }));
  for (const [author, option] of fc.sample(one, 40)) {
    intend(author, "vote", `${name} ${option}`);
    votes.set(author, option);
    const want = [0, 1, 2].map((n) => [...votes.values()].filter((v) => v === n).length);
    assert.deepEqual(tally(), want);
  }
  const counted = tally();
  const refused: [string, string, string, RegExp][] = [
    ["bob", "vote", `${name} 3`, /^there is no such option/],
    ["bob", "vote", `${name} 300`, /^the number of an option/],
    ["bob", "vote", name, /^an option was wanted/],
    ["bob", "vote", `${"00".repeat(32)} 0`, /^there is no such poll/],
    ["bob", "close", name, /^only who made the poll/],
    ["bob", "create", "Alone?\nyes", /^a question and 2 to 16 options/],
    ["bob", "create", "x".repeat(256), /longer than 255/],
    ["bob", "create-until", "Tea?\nyes\nno", /^the time of its end/],
    ["bob", "burn", name, /^create, create-until, vote, close and moderator/],
  ];
  for (const [author, intent, input, why] of refused) {
    assert.match(reason(() => intend(author, intent, input)), why);
  }
  // What the state-apply part is sent past its state-propose part.
  event.author = bytes32("bob");
  event.kind = "close";
  assert.match(reason(() => apply!(id)), /^only who made the poll/);
  event.kind = "create";
  for (const payload of [[], [4, 1], [0, 1, 65, 1, 65], [1, 65, 1, 65], [1, 65, 1, 65, 1]]) {
    const sent = Uint8Array.of(...number(0n), ...payload);
    assert.match(reason(() => apply!(sent)), /^a question and/);
    assert.match(reason(() => apply!(sent.subarray(1))), /^a question and/);
  }
  // Moderators may close it, and those who are none any more may not.
  event.creator = bytes32("eve");
  const moderator = State.bytes(State.key(bytes32("bob")) + "moderator");
  event.author = bytes32("ann");
  event.kind = "give-role";
  assert.equal(reason(() => apply!(moderator)), "only an admin may change roles");
  intend("eve", "moderator", hex(bytes32("bob")));
  const open = new Map(state.map);
  intend("bob", "close", name);
  for (const [key, value] of open) state.map.set(key, value);
  event.author = bytes32("eve");
  event.kind = "take-role";
  apply!(moderator);
  assert.match(
    reason(() => intend("bob", "close", name)),
    /^only who made the poll and moderators/,
  );
  intend("ann", "close", name);
  assert.match(reason(() => intend("bob", "vote", `${name} 0`)), /^the poll is closed/);
  event.kind = "vote";
  assert.match(reason(() => apply!(Uint8Array.of(...id, 0))), /^the poll is closed/);
  assert.deepEqual(tally(), counted);
});

const hex = (bytes: Uint8Array) =>
  [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");

Deno.test("counter shows the sums, and its buttons and field mean to add", async () => {
  const [state, event] = [new State(), context()];
  const { render, handle } = await guest(
    (await appComponents("counter")).get("interaction")!,
    state,
    event,
  );
  assert.equal(render!()[2]!.text, "total 0, of which you added 0");
  state.map.set("total", number(2n ** 64n - 1n));
  state.map.set(`author/${State.key(event.author)}`, number(1207n));
  const tree = render!();
  assert.equal(tree[2]!.text, "total 18446744073709551615, of which you added 1207");
  const intents = [
    handle!({ tag: "press", val: tree.find(({ text }) => text === "+10")!.id }),
    handle!({ tag: "submit", val: [tree.find(({ kind }) => kind === "field")!.id, " 42 "] }),
    handle!({ tag: "key", val: "+" }),
  ];
  assert.deepEqual(
    intents.map(([{ name, input } = assert.fail()]) => [text(name), text(input)]),
    [["add", "10"], ["add", "42"], ["add", "1"]],
  );
  assert.deepEqual(handle!({ tag: "key", val: "x" }), []);
});

/** A state with polls by name: creator, whether closed, time of the end, question and options. */
function withPolls(polls: Record<string, [string, boolean, bigint, ...string[]]>): State {
  const state = new State();
  for (const [name, [creator, isClosed, until, ...texts]] of Object.entries(polls)) {
    const said = texts.flatMap((text) => [text.length, ...State.bytes(text)]);
    state.map.set(
      `poll/${State.key(bytes32(name))}`,
      Uint8Array.of(...bytes32(creator), isClosed ? 1 : 0, ...number(until), ...said),
    );
  }
  return state;
}

Deno.test("poll shows the polls with their votes, and what may be done with each", async () => {
  const state = withPolls({
    a: ["ann", false, 0n, "Tea?", "yes", "no"],
    b: ["bob", false, 0n, "Cake?", "yes", "no", "\xff"],
    c: ["ann", true, 0n, "Milk?", "yes", "no"],
  });
  for (const [poll, option, votes] of [["a", 1, 3n], ["c", 0, 12n]] as const) {
    const name = State.key(bytes32(poll));
    state.map.set(`tally/${name}/${String.fromCharCode(option)}`, number(votes));
    state.map.set(`vote/${name}/${State.key(bytes32("ann"))}`, Uint8Array.of(option));
  }
  const event = { ...context(), now: 1000 };
  const { render, handle } = await guest(
    (await appComponents("poll")).get("interaction")!,
    state,
    event,
  );
  const tree = render!();
  const texts = (kind: string) => tree.filter((n) => n.kind === kind).map((n) => n.text).sort();
  assert.deepEqual(texts("heading"), ["Polls"]);
  assert.deepEqual(texts("text"), ["Cake?", "Milk? (closed)", "Tea?", "no: 0", "yes: 12 (yours)"]);
  assert.deepEqual(texts("button"), [
    "close",
    "no: 0",
    "no: 3 (yours)",
    "yes: 0",
    "yes: 0",
    "\ufffd: 0",
  ]);
  for (const [i, { parent }] of tree.entries()) assert.ok(parent < i || i === 0);

  const said = (input: Parameters<NonNullable<typeof handle>>[0]) =>
    handle!(input).map(({ name, input }) => [text(name), text(input)]);
  const button = (label: string) => tree.find((node) => node.text === label)!.id;
  const name = hex(bytes32("a"));
  assert.deepEqual(said({ tag: "press", val: button("no: 3 (yours)") }), [["vote", `${name} 1`]]);
  assert.deepEqual(said({ tag: "press", val: button("close") }), [["close", name]]);
  assert.deepEqual(said({ tag: "press", val: "burn all" }), []);
  const asked = "Tea? ; yes; no";
  assert.deepEqual(said({ tag: "submit", val: ["ask", asked] }), [["create", "Tea?\nyes\nno"]]);
  assert.deepEqual(
    said({ tag: "submit", val: ["ask-10", asked] }),
    [["create-until", "601000\nTea?\nyes\nno"]],
  );
});

Deno.test("poll's behavior closes polls whose time has come, and asks for the next time", async () => {
  const state = withPolls({
    never: ["ann", false, 0n, "1?", "yes", "no"],
    past: ["ann", false, 900n, "2?", "yes", "no"],
    now: ["bob", false, 1000n, "3?", "yes", "no"],
    done: ["ann", true, 500n, "4?", "yes", "no"],
    soon: ["ann", false, 2000n, "5?", "yes", "no"],
    later: ["ann", false, 3000n, "6?", "yes", "no"],
  });
  const closed: string[] = [];
  const event: Context = {
    ...context(),
    now: 1000,
    propose(kind, payload) {
      closed.push(`${text(kind)} ${hex(payload)}`);
      // One of them it may not close: the others are closed all the same.
      if (closed.length === 1) throw Object.assign(new Error(), { payload: State.bytes("no") });
      return bytes32("event");
    },
  };
  const { wake } = await guest((await appComponents("poll")).get("behavior")!, state, event);
  assert.equal(wake!("event"), 2000n);
  assert.deepEqual(closed.sort(), ["now", "past"].map((n) => `close ${hex(bytes32(n))}`).sort());
  state.map.clear();
  assert.equal(wake!("time"), undefined);
});

Deno.test("spy sees all of the state that it is linked with, key by key and by scans", async () => {
  const state = new State();
  const { apply } = await guest(fixture("spy-apply"), state, context());
  for (let n = 0; n < 150; n++) state.map.set(`k${n}`, State.bytes("v"));
  apply!(State.bytes("k7\nnothing"));
  const lines = text(state.map.get("saw")!).trim().split("\n");
  assert.equal(lines[0], "k7=v");
  assert.equal(lines.length, 151);
});

const SETTING = { creator: bytes32("ann"), params: new Map() };

Deno.test("counter and poll give the kernel the verdicts and the state that they give ordinary glue", async () => {
  const polls = ["p0", "p1"].map(bytes32);
  const texts = [[4, 84, 101, 97, 63, 1, 121, 1, 110], [1, 63, 1, 65, 1, 66, 1, 67], [1, 65]];
  const keys = fc.constantFrom(...["ann", "bob", "cat"].map(bytes32), new Uint8Array(3));
  const roles = fc.constantFrom("moderator", "moderator", "admin", "", "x".repeat(33));
  const payloads: Record<string, fc.Arbitrary<Uint8Array>> = {
    create: fc.constantFrom(...texts).map((text) => Uint8Array.of(...number(0n), ...text)),
    vote: fc.tuple(fc.constantFrom(...polls), fc.nat(4)).map(([poll, n]) =>
      Uint8Array.of(...poll, n)
    ),
    close: fc.constantFrom(...polls),
    "give-role": fc.tuple(keys, roles).map(([key, role]) => State.bytes(State.key(key) + role)),
    "take-role": fc.tuple(keys, roles).map(([key, role]) => State.bytes(State.key(key) + role)),
    add: fc.oneof(
      fc.bigInt({ min: 0n, max: 1_100_000n }).map(number),
      fc.uint8Array({ maxLength: 9 }),
    ),
    other: fc.uint8Array({ maxLength: 40 }),
  };
  const events = (kinds: string[]) =>
    fc.oneof(...kinds.map((kind) =>
      fc.record({
        kind: fc.constant(kind),
        payload: payloads[kind]!,
        author: fc.constantFrom("ann", "bob", "cat").map(bytes32),
        id: fc.constantFrom(...polls),
      })
    ));
  const roleKinds = ["give-role", "give-role", "take-role"];
  const seen = new Set<string>();
  for (
    const [name, kinds] of [
      ["counter", ["add", "add", "other"]],
      ["poll", ["create", "vote", "vote", "vote", "close", "close", ...roleKinds, "other"]],
    ] as const
  ) {
    const [plain, event] = [new State(), { ...context(), creator: SETTING.creator }];
    const component = (await appComponents(name)).get("state-apply")!;
    const glue = await guest(component, plain, event);
    const direct = await StateApply.load(component, SETTING, () => false);
    let state = kernel.State.EMPTY;
    for (const [seq, each] of fc.sample(events([...kinds]), 200).entries()) {
      const before = new Map(plain.map);
      Object.assign(event, each);
      const why = reason(() => glue.apply!(each.payload));
      if (why !== "accepted") {
        plain.map.clear();
        for (const [key, value] of before) plain.map.set(key, value);
      }
      const journal = state.journal();
      const applied = { ...each, kind: State.bytes(each.kind), seq, lamport: seq };
      const { verdict } = direct.apply(applied, journal);
      const said = verdict.kind === "rejected" ? text(verdict.reason) : verdict.kind;
      assert.equal(said, why, `${name} ${each.kind}`);
      if (verdict.kind === "accepted") state = journal.commit();
      seen.add(`${each.kind} ${verdict.kind}`);
      const entries = state.scan(new Uint8Array(), new Uint8Array(), 1000)
        .map(({ key, value }) => [State.key(key), value]);
      assert.deepEqual(entries, [...plain.map].sort(([a], [b]) => a < b ? -1 : 1));
    }
  }
  for (const kind of ["add", "create", "vote", "close", "give-role", "take-role"]) {
    assert.ok(seen.has(`${kind} accepted`) && seen.has(`${kind} rejected`), kind);
  }
});

Deno.test("what is refused by its profile does not get into the kernel by itself either", async () => {
  for (const name of ["clock-apply", "socket-apply"]) {
    await assert.rejects(StateApply.load(fixture(name), SETTING, () => false), name);
  }
});
