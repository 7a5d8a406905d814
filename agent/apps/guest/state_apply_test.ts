import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { sha256 } from "@noble/hashes/sha2.js";
import { RealmError } from "../../kernel/error.ts";
import { fixtureApp } from "../app_fixture_fake.ts";
import { State } from "../state.ts";
import { componentOf, HEAP, moduleText } from "./component_fake.ts";
import { applyByGlue } from "./glue_fake.ts";
import type { AppliedEvent, AppSetting, Writes } from "./host_imports.ts";
import { checkProfile } from "../profile.ts";
import { FUEL_MAX, MIGRATION_FUEL_MAX, PRICES } from "./prices.ts";
import { REASON_BYTES_MAX, StateApply } from "./state_apply.ts";

const bytes = (text: string) => Uint8Array.from(Buffer.from(text, "latin1"));
const text = (b: Uint8Array) => Buffer.from(b).toString("latin1");
const SETTING: AppSetting = {
  creator: new Uint8Array(32).fill(7),
  params: new Map([["color", bytes("blue")]]),
};
/** Says yes to one signature. */
const verify = (_key: Uint8Array, _message: Uint8Array, signature: Uint8Array) =>
  text(signature) === "good";

function eventOf(payload: Uint8Array | string): AppliedEvent {
  return {
    id: new Uint8Array(32).fill(1),
    author: new Uint8Array(32).fill(2),
    seq: 3,
    lamport: 2 ** 40,
    kind: bytes("vote"),
    payload: typeof payload === "string" ? bytes(payload) : payload,
  };
}

async function load(apply: string, rest?: string, realloc?: string): Promise<StateApply> {
  return await StateApply.load(
    await componentOf(moduleText(apply, rest, realloc)),
    SETTING,
    verify,
  );
}

/** Applies a payload to a state: the outcome and what would be the state. */
function run(guest: StateApply, payload: Uint8Array | string = "", state = State.EMPTY) {
  const journal = state.journal();
  const outcome = guest.apply(eventOf(payload), journal);
  return { ...outcome, state: journal.commit() };
}

const list = (state: State) =>
  state.scan(bytes(""), bytes(""), 99).map(({ key, value }) => [text(key), text(value)]);

/** Puts what is at `pointer` under a key of one letter at 0. */
const put = (letter: string, pointer: string, length: string) =>
  `(i32.store8 (i32.const 0) (i32.const ${letter.charCodeAt(0)}))
   (call $state-write.put (i32.const 0) (i32.const 1) ${pointer} ${length})`;
const word = (at: number) => `(i32.load (i32.const ${at}))`;

Deno.test("apply() accepts, or rejects with the guest's reason", async () => {
  const guest = await load(`
    (call $state-write.put (local.get $p) (local.get $n) (local.get $p) (local.get $n))
    (if (i32.eq (i32.load8_u (local.get $p)) (i32.const 33)) (then
      (i32.store8 (i32.const 16) (i32.const 1))
      (i32.store (i32.const 20) (local.get $p))
      (i32.store (i32.const 24) (local.get $n))))`);
  const accepted = run(guest, "yes");
  assert.deepEqual(accepted.verdict, { kind: "accepted" });
  assert.deepEqual(list(accepted.state), [["yes", "yes"]]);
  assert.deepEqual(run(guest, "!no").verdict, { kind: "rejected", reason: bytes("!no") });
  assert.deepEqual(run(guest, "yes"), accepted);
  assert.ok(accepted.fuel > PRICES["state-write"].put && accepted.fuel < FUEL_MAX);
});

Deno.test("of a reason, which is remembered with each event, so much is kept", async () => {
  const guest = await load(`
    (i32.store8 (i32.const 16) (i32.const 1))
    (i32.store (i32.const 20) (local.get $p))
    (i32.store (i32.const 24) (local.get $n))`);
  const reason = bytes("!".repeat(REASON_BYTES_MAX));
  for (const more of ["", "!".repeat(10_000)]) {
    const { verdict } = run(guest, "!".repeat(REASON_BYTES_MAX) + more);
    assert.deepEqual(verdict, { kind: "rejected", reason });
  }
});

Deno.test("migrate() takes over a state, with fuel of its own, and leaves one it has no say in", async () => {
  const wit = `
    interface migrator { migrate: func(before: list<u8>) -> result<_, list<u8>>; }
    world migrating { include state-apply; export migrator; }`;
  const wat = moduleText(
    "",
    `(func (export "realm:app/migrator@0.1.0#migrate") (param $p i32) (param $n i32) (result i32)
      (local $i i32)
      (if (i32.eq (i32.load8_u (local.get $p)) (i32.const 33)) (then (loop $on (br $on))))
      (call $event.kind (i32.const 32))
      (loop $more
        (i32.store (i32.const 64) (local.get $i))
        (call $state-write.put (i32.const 64) (i32.const 4) (local.get $p) (local.get $n))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $more (i32.lt_u (local.get $i) (i32.const 500))))
      (call $state-write.put
        ${word(32)} ${word(36)} (local.get $p) (local.get $n))
      (i32.const 16))`,
  );
  const component = await componentOf(wat, wit, "migrating");
  assert.deepEqual(checkProfile(component, "state-apply").profile, "state-apply");
  const guest = await StateApply.load(component, SETTING, verify);
  const journal = State.EMPTY.journal();
  const { verdict, fuel } = guest.migrate(eventOf("bafybefore"), journal);
  assert.deepEqual(verdict, { kind: "accepted" });
  assert.ok(fuel > FUEL_MAX && fuel < MIGRATION_FUEL_MAX, `${fuel}`);
  const state = journal.commit();
  assert.equal(state.size, 501);
  assert.equal(text(state.get(bytes("vote"))!), "bafybefore");
  const spent = guest.migrate(eventOf("!"), state.journal());
  assert.deepEqual(spent, { verdict: { kind: "out-of-fuel" }, fuel: MIGRATION_FUEL_MAX });
  assert.deepEqual(run(guest, "x", state).verdict, { kind: "accepted" });
  const plain = await load("");
  const untouched = state.journal();
  const taken = { verdict: { kind: "accepted" }, fuel: 0 };
  assert.deepEqual(plain.migrate(eventOf("bafybefore"), untouched), taken);
  assert.equal(untouched.commit(), state);
});

Deno.test("a migrator of other types is refused", async () => {
  const wit = `
    interface migrator { migrate: func(before: list<u8>); }
    world migrating { include state-apply; export migrator; }`;
  const migrate =
    `(func (export "realm:app/migrator@0.1.0#migrate") (param $p i32) (param $n i32))`;
  const component = await componentOf(moduleText("", migrate), wit, "migrating");
  assert.throws(() => checkProfile(component, "state-apply"), { code: "refused" });
});

/** Calls every function of the host and puts what comes of it. */
const ALL = `
  (call $state-read.get (local.get $p) (local.get $n) (i32.const 32))
  ${put("g", "(i32.const 32)", "(i32.const 1)")}
  (if (i32.load8_u (i32.const 32)) (then ${put("G", word(36), word(40))}))
  (call $params.get (i32.const 1024) (i32.const 5) (i32.const 32))
  ${put("p", word(36), word(40))}
  (call $params.get (i32.const 1024) (i32.const 4) (i32.const 32))
  ${put("q", "(i32.const 32)", "(i32.const 1)")}
  (call $params.creator (i32.const 32)) ${put("c", word(32), word(36))}
  (call $event.id (i32.const 32)) ${put("i", word(32), word(36))}
  (call $event.author (i32.const 32)) ${put("a", word(32), word(36))}
  (call $event.kind (i32.const 32)) ${put("k", word(32), word(36))}
  (i64.store (i32.const 48) (call $event.seq))
  (i64.store (i32.const 56) (call $event.lamport)) ${put("n", "(i32.const 48)", "(i32.const 16)")}
  (call $crypto.sha256 (local.get $p) (local.get $n) (i32.const 32))
  ${put("s", word(32), word(36))}
  (i32.store8 (i32.const 48) (call $crypto.verify
    (i32.const 64) (i32.const 32) (i32.const 1032) (i32.const 4) (local.get $p) (local.get $n)))
  (i32.store8 (i32.const 49) (call $crypto.verify
    (i32.const 64) (i32.const 32) (local.get $p) (local.get $n) (i32.const 1032) (i32.const 4)))
  (i32.store8 (i32.const 50) (call $crypto.check-canonical (i32.const 64) (i32.const 1)))
  (i32.store8 (i32.const 51) (call $crypto.check-canonical (local.get $p) (local.get $n)))
  ${put("v", "(i32.const 48)", "(i32.const 4)")}
  (call $log.write (i32.const 2) (local.get $p) (local.get $n))
  (call $state-write.delete (local.get $p) (local.get $n))
  (call $state-read.scan
    (i32.const 1040) (i32.const 1) (i32.const 1041) (i32.const 1) (i32.const 9) (i32.const 32))
  (local.set $i ${word(32)})
  ${put("x", "(i32.load (local.get $i))", "(i32.load offset=4 (local.get $i))")}
  ${put("y", "(i32.load offset=24 (local.get $i))", "(i32.load offset=28 (local.get $i))")}
  ${put("z", "(i32.const 36)", "(i32.const 1)")}`;
const ALL_DATA = '(data (i32.const 1024) "colorxxxgoodxxxxaj")';

Deno.test("every function of the host gives the guest what it should", async () => {
  const journal = State.EMPTY.journal();
  journal.put(bytes("\x1b"), bytes("old"));
  const { verdict, state } = run(await load(ALL, ALL_DATA), "\x1b", journal.commit());
  assert.deepEqual(verdict, { kind: "accepted" });
  const numbers = new DataView(new ArrayBuffer(16));
  numbers.setBigUint64(0, 3n, true);
  numbers.setBigUint64(8, 2n ** 40n, true);
  assert.deepEqual(list(state), [
    ["G", "old"],
    ["a", text(new Uint8Array(32).fill(2))],
    ["c", text(new Uint8Array(32).fill(7))],
    ["g", "\x01"],
    ["i", text(new Uint8Array(32).fill(1))],
    ["k", "vote"],
    ["n", text(new Uint8Array(numbers.buffer))],
    ["p", "blue"],
    ["q", "\0"],
    ["s", text(sha256(bytes("\x1b")))],
    ["v", "\0\x01\0\x01"],
    ["x", "a"],
    ["y", text(new Uint8Array(32).fill(7))],
    ["z", "\x04"],
  ]);
});

Deno.test("a guest remembers nothing, whatever it changes", async () => {
  const count = `
    (i32.store8 (i32.const 40000) (i32.add (i32.load8_u (i32.const 40000)) (i32.const 1)))
    (global.set $count (i32.add (global.get $count) (i32.const 1)))
    (i32.store8 (i32.const 1024) (i32.add (i32.load8_u (i32.const 1024)) (global.get $count)))
    ${put("m", "(i32.const 40000)", "(i32.const 1)")}
    ${put("d", "(i32.const 1024)", "(i32.const 2)")}
    (i32.store (i32.const 48) (memory.size)) ${put("s", "(i32.const 48)", "(i32.const 1)")}`;
  const rest = '(global $count (mut i32) (i32.const 0)) (data (i32.const 1024) "AB")';
  const changes: Record<string, [string, string]> = {
    nothing: ["", ""],
    memory: ["(drop (memory.grow (i32.const 1)))", ""],
    table: [
      "(table.set $t (i32.const 0) (ref.null func))",
      "(table $t 1 funcref) (elem (i32.const 0) func $realloc)",
    ],
    segment: ["(data.drop $d)", '(data $d "x")'],
  };
  for (const [what, [change, more]] of Object.entries(changes)) {
    const guest = await load(count + change, rest + more);
    const first = run(guest);
    assert.deepEqual(list(first.state), [["d", "BB"], ["m", "\x01"], ["s", "\x02"]], what);
    for (let i = 0; i < 3; i++) assert.deepEqual(run(guest), first, what);
  }
});

Deno.test("a guest may grow its memory while it makes room for what it is given", async () => {
  const size = `(i32.store (i32.const 48) (memory.size)) ${
    put("s", "(i32.const 48)", "(i32.const 1)")
  }`;
  const guest = await load(size, "", "(drop (memory.grow (i32.const 3)))");
  const first = run(guest, "payload");
  assert.deepEqual(first.verdict, { kind: "accepted" });
  assert.deepEqual(list(first.state), [["s", "\x05"]]);
  assert.deepEqual(run(guest, "payload"), first);
});

Deno.test("a guest that breaks the rules of the canonical ABI traps", async () => {
  const far = "(i32.const 0x7ffffff0)";
  const zero = "(i32.const 0)";
  const bad: Record<string, string> = {
    unreachable: "unreachable",
    "a list out of bounds": `(call $state-write.delete (i32.const 131071) (i32.const 2))`,
    "a list that wraps around": `(call $state-write.delete (i32.const -1) (i32.const 2))`,
    "a place for a result out of bounds": `(call $event.id ${far})`,
    "one that is not aligned": "(call $event.id (i32.const 33))",
    "one for an option": `(call $params.get ${zero} ${zero} (i32.const 131064))`,
    "one for entries": `(call $state-read.scan ${zero} ${zero} ${zero} ${zero} ${zero} ${far})`,
    "a result out of bounds": "(return (i32.const 131068))",
    "a result that is not aligned": "(return (i32.const 17))",
    "a result of no kind": "(i32.store8 (i32.const 16) (i32.const 2))",
    "a reason out of bounds":
      "(i32.store8 (i32.const 16) (i32.const 1)) (i32.store (i32.const 24) (i32.const -1))",
    "a key that is too long": `(call $state-write.put ${zero} (i32.const 257) ${zero} ${zero})`,
  };
  for (const [what, body] of Object.entries(bad)) {
    const guest = await load(body);
    const { verdict, fuel } = run(guest);
    assert.equal(verdict.kind, "trapped", what);
    assert.deepEqual(run(guest).fuel, fuel, what);
  }
  const realloc: Record<string, string> = {
    "memory that is not there": "(return (i32.const 131072))",
    "memory that is not aligned": "(return (i32.add (local.get $align) (i32.const -1)))",
    "a call out": "(call $event.id (i32.const 32))",
    "a trap": "unreachable",
  };
  for (const [what, body] of Object.entries(realloc)) {
    const when = `(if (i32.eq (local.get $align) (i32.const 4)) (then ${body}))`;
    const guest = await load(
      `(call $state-read.scan ${zero} ${zero} ${zero} ${zero} ${zero} (i32.const 32))`,
      "",
      when,
    );
    const state = State.EMPTY.journal();
    state.put(bytes("k"), bytes("v"));
    const scanning = what.includes("not there") ? await load("", "", body) : guest;
    assert.equal(run(scanning, "payload", state.commit()).verdict.kind, "trapped", what);
  }
});

Deno.test("a guest that uses up its fuel is told so, with all of it used", async () => {
  const spent = { verdict: { kind: "out-of-fuel" }, fuel: FUEL_MAX } as const;
  const bodies = {
    computing: "(loop $l (br $l))",
    calling: "(loop $l (drop (call $event.seq)) (br $l))",
    "a list that is endless": "(call $state-write.delete (i32.const 0) (i32.const 0x10000000))",
    writing: `(loop $l ${put("k", "(i32.const 0)", "(i32.const 1)")} (br $l))`,
    verifying: `(loop $l (drop (call $crypto.verify (i32.const 0) (i32.const 0) (i32.const 0)
      (i32.const 0) (i32.const 0) (i32.const 0))) (br $l))`,
  };
  for (const [what, body] of Object.entries(bodies)) {
    const { verdict, fuel } = run(await load(body));
    assert.deepEqual({ verdict, fuel }, spent, what);
  }
});

Deno.test("a guest that calls itself without end traps, and the host's stack is not used up", async () => {
  const locals = "(local i64)".repeat(500);
  for (const many of ["", locals]) {
    const guest = await load(
      "(call $deep)",
      `(func $deep ${many} (call $deep) (drop (i32.load (i32.const 0))))`,
    );
    const { verdict, fuel } = run(guest);
    assert.equal(verdict.kind, "trapped");
    assert.equal(run(guest).fuel, fuel);
  }
});

Deno.test("a guest that catches what ended it does not get away with it", async () => {
  const guest = await load(`
    (block $caught (try_table (catch_all $caught) (call $event.id (i32.const 33))))
    (block $again (try_table (catch_all $again)
      ${put("k", "(i32.const 0)", "(i32.const 1)")}))`);
  const { verdict, state } = run(guest);
  assert.equal(verdict.kind, "trapped");
  assert.equal(state.size, 0);
});

Deno.test("a failure of the host is thrown, never a verdict", async () => {
  const failing: Writes = {
    ...State.EMPTY.journal(),
    get: () => {
      throw new RangeError("Array buffer allocation failed");
    },
    put: () => {},
    delete: () => {},
    scan: () => [],
  };
  const call = "(call $state-read.get (i32.const 0) (i32.const 0) (i32.const 32))";
  for (
    const body of [
      call,
      `(block $caught (try_table (catch_all $caught) ${call}))`,
      call + "unreachable",
    ]
  ) {
    const guest = await load(body);
    assert.throws(() => guest.apply(eventOf(""), failing), RangeError);
    // The host can try again.
    assert.equal(run(guest).verdict.kind, body.endsWith("unreachable") ? "trapped" : "accepted");
  }
});

Deno.test("where the host has no stack left, it fails; it gives no other verdict", async () => {
  const guest = await load("(call $f)", "(func $f (call $g)) (func $g (drop (memory.size)))");
  const seen = new Set<string>();
  let trials = 0;
  const descend = (): void => {
    try {
      descend();
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
    }
    if (trials++ > 200) return;
    try {
      seen.add(run(guest).verdict.kind);
    } catch (error) {
      assert.ok(error instanceof RangeError, `${error}`);
      seen.add("failed");
    }
  };
  descend();
  assert.deepEqual([...seen].sort(), ["accepted", "failed"]);
});

Deno.test("load() refuses components that it cannot put back or that are not of the form", async () => {
  const isRefused = async (component: Uint8Array | Promise<Uint8Array>, what: string) => {
    await assert.rejects(
      StateApply.load(await component, SETTING, verify),
      (error) => error instanceof RealmError && /unsupported|invalid-module/.test(error.code),
      what,
    );
  };
  const withRest = (rest: string) => componentOf(moduleText("", rest));
  await isRefused(withRest("(func $f) (start $f)"), "a start function");
  await isRefused(withRest("(memory 1)"), "two memories");
  await isRefused(withRest("(tag)"), "exceptions");
  await isRefused(withRest('(data (i32.const 131070) "xyz")'), "a segment that does not fit");
  await isRefused(Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0), "a core module");
  await isRefused(Uint8Array.of(0, 0x61, 0x73, 0x6d, 13, 0, 1, 0), "an empty component");
  await isRefused(bytes("not wasm"), "no component");
});

/** Applies an event by our code and by the ordinary glue, and compares; gives the state after. */
async function both(component: Uint8Array, event: AppliedEvent, state: State): Promise<State> {
  const journal = state.journal();
  const guest = await StateApply.load(component, SETTING, verify);
  const { verdict } = guest.apply(event, journal);
  const glue = await applyByGlue(component, event, state, SETTING, verify);
  assert.deepEqual({ ...verdict, why: undefined }, { ...glue.verdict, why: undefined });
  if (verdict.kind !== "accepted") return state;
  assert.deepEqual(list(journal.commit()), list(glue.state));
  return glue.state;
}

Deno.test("apply() does what the ordinary glue does", async () => {
  const component = await componentOf(moduleText(
    `${ALL}
    (if (i32.gt_u (local.get $n) (i32.const 1)) (then
      (i32.store8 (i32.const 16) (i32.const 1))
      (i32.store (i32.const 20) (local.get $p))
      (i32.store (i32.const 24) (local.get $n))))
    (if (i32.gt_u (local.get $n) (i32.const 9)) (then unreachable))`,
    ALL_DATA,
  ));
  const journal = State.EMPTY.journal();
  journal.put(bytes("\x1b"), bytes("old"));
  const state = journal.commit();
  for (const payload of ["\x1b", "", "no good", "much too long"]) {
    await both(component, eventOf(payload), state);
  }
  assert.ok(HEAP > 1042, "the data is below what the guest is given");
});

Deno.test("counter and poll come to the same by our code and by the ordinary glue", async () => {
  const name = text(new Uint8Array(32).fill(1));
  const apps: Record<string, [kind: string, payload: string][]> = {
    counter: [["add", "\0".repeat(7) + "\x05"], ["add", "\0".repeat(7) + "\x07"], ["add", ""], [
      "x",
      "",
    ]],
    poll: [
      ["create", "\0".repeat(8) + "\x02ok\x03yes\x02no"],
      ["create", "\0".repeat(8) + "\x02ok"],
      ["vote", name + "\x01"],
      ["vote", name + "\0"],
      ["vote", name + "\x09"],
      ["give-role", "\x09".repeat(32) + "moderator"],
      ["give-role", "\x09".repeat(32)],
      ["take-role", "\x09".repeat(32) + "moderator"],
      ["close", name],
      ["vote", name + "\x01"],
    ],
  };
  for (const [app, events] of Object.entries(apps)) {
    const component = (await fixtureApp(app)).get("state-apply")!;
    let state = State.EMPTY;
    for (const [kind, payload] of events) {
      state = await both(component, { ...eventOf(payload), kind: bytes(kind) }, state);
    }
    assert.ok(state.size >= 2, app);
  }
});
