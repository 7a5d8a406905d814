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
import { bytes32, type Context, fixture, guest, State } from "./app_guest.ts";

const BYTES_MAX = 12 * 1024;

Deno.test("parts of apps are of the profile that their names say, and small", () => {
  const expected = {
    "counter-apply.wasm": ["event", "state-read", "state-write"],
    "counter-propose.wasm": [],
    "poll-apply.wasm": ["event", "state-read", "state-write"],
    "poll-propose.wasm": ["identity", "state-read"],
    "spy-apply.wasm": ["state-read", "state-write"],
  };
  for (const [file, imports] of Object.entries(expected)) {
    const bytes = fixture(file.slice(0, -".wasm".length));
    const profile = file.includes("-apply") ? "state-apply" : "state-propose";
    assert.deepEqual(profilesOf(bytes), [profile], file);
    assert.deepEqual(checkProfile(bytes, profile).imports, imports, file);
    assert.ok(bytes.length <= BYTES_MAX, `${file} has ${bytes.length} bytes`);
  }
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
  const counter = await inspect(fixture("counter-apply"));
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
  const { apply } = await guest("counter-apply", state, event);
  const { propose } = await guest("counter-propose", state, event);
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
  const { apply } = await guest("poll-apply", state, event);
  const { propose } = await guest("poll-propose", state, event);
  const enc = new TextEncoder();
  const intend = (author: string, intent: string, input: string) => {
    event.author = bytes32(author);
    return propose!(enc.encode(intent), enc.encode(input)).map(({ kind, payload }) => {
      event.kind = text(kind);
      apply!(payload);
    });
  };
  const id = event.id;
  const name = [...id].map((byte) => byte.toString(16).padStart(2, "0")).join("");
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
    ["bob", "burn", name, /^create, vote and close/],
  ];
  for (const [author, intent, input, why] of refused) {
    assert.match(reason(() => intend(author, intent, input)), why);
  }
  // What the state-apply part is sent past its state-propose part.
  event.author = bytes32("bob");
  event.kind = "close";
  assert.match(reason(() => apply!(id)), /^only who made the poll/);
  event.kind = "create";
  for (const payload of [[], [4, 1], [0, 1, 65, 1, 65], [1, 65, 1, 65]]) {
    assert.match(reason(() => apply!(Uint8Array.from(payload))), /^a question and/);
  }
  intend("ann", "close", name);
  assert.match(reason(() => intend("bob", "vote", `${name} 0`)), /^the poll is closed/);
  event.kind = "vote";
  assert.match(reason(() => apply!(Uint8Array.of(...id, 0))), /^the poll is closed/);
  assert.deepEqual(tally(), counted);
});

Deno.test("spy sees all of the state that it is linked with, key by key and by scans", async () => {
  const state = new State();
  const { apply } = await guest("spy-apply", state, context());
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
  const payloads: Record<string, fc.Arbitrary<Uint8Array>> = {
    create: fc.constantFrom(...texts).map((text) => Uint8Array.from(text)),
    vote: fc.tuple(fc.constantFrom(...polls), fc.nat(4)).map(([poll, n]) =>
      Uint8Array.of(...poll, n)
    ),
    close: fc.constantFrom(...polls),
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
  const seen = new Set<string>();
  for (
    const [name, kinds] of [
      ["counter-apply", ["add", "add", "other"]],
      ["poll-apply", ["create", "vote", "vote", "vote", "close", "other"]],
    ] as const
  ) {
    const [plain, event] = [new State(), context()];
    const glue = await guest(name, plain, event);
    const direct = await StateApply.load(fixture(name), SETTING, () => false);
    let state = kernel.State.EMPTY;
    for (const [seq, each] of fc.sample(events([...kinds]), 120).entries()) {
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
  for (const kind of ["add", "create", "vote"]) {
    assert.ok(seen.has(`${kind} accepted`) && seen.has(`${kind} rejected`), kind);
  }
});

Deno.test("what is refused by its profile does not get into the kernel by itself either", async () => {
  for (const name of ["clock-apply", "socket-apply"]) {
    await assert.rejects(StateApply.load(fixture(name), SETTING, () => false), name);
  }
});
