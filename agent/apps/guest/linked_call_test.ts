import assert from "node:assert/strict";
import fc from "fast-check";
import { textOf } from "../../kernel/byte_string.ts";
import { RealmError } from "../../kernel/error.ts";
import { compose } from "../../wasm/composition.ts";
import { State } from "../state.ts";
import { componentOf, coreText, moduleText } from "./component_fake.ts";
import { applyByGlue } from "./glue_fake.ts";
import type { AppliedEvent, AppSetting } from "./host_imports.ts";
import { FUEL_MAX, LINK_PRICE } from "./prices.ts";
import { StateApply, type Verdict } from "./state_apply.ts";

const SETTING: AppSetting = { creator: new Uint8Array(32), params: new Map() };
const eventOf = (payload: Uint8Array): AppliedEvent => ({
  id: new Uint8Array(32),
  author: new Uint8Array(32),
  seq: 0,
  lamport: 1,
  kind: new Uint8Array(),
  payload,
});

const WIT = `
interface calc {
  flat: func(a: u64, b: s8) -> s64;
  echo: func(bytes: list<u8>) -> list<u8>;
  first: func(items: list<tuple<u8, u64>>) -> result<option<s16>, list<u8>>;
  count: func() -> u32;
}
world socket { include state-apply; import calc; }
world plug {
  import state-read; import state-write; import params; import event; import crypto; import log;
  export calc;
}`;
const CALC = "realm:app/calc@0.1.0";

const IMPORTS = `
  (import "${CALC}" "flat" (func $flat (param i64 i32) (result i64)))
  (import "${CALC}" "echo" (func $echo (param i32 i32 i32)))
  (import "${CALC}" "first" (func $first (param i32 i32 i32)))
  (import "${CALC}" "count" (func $count (result i32)))`;

/** What the module does, function by function; the answer of `echo` and `first` is at 16. */
const BODIES = {
  flat: "(i64.add (local.get $a) (i64.extend_i32_s (local.get $b)))",
  echo: `(i32.store (i32.const 16) (local.get $p)) (i32.store (i32.const 20) (local.get $n))
    (i32.const 16)`,
  first: `
    (i32.store8 (i32.const 16) (i32.eqz (local.get $n)))
    (i32.store (i32.const 20) (i32.const 1024)) (i32.store (i32.const 24) (i32.const 4))
    (if (local.get $n) (then
      (i32.store8 (i32.const 20) (i64.ne (i64.load offset=8 (local.get $p)) (i64.const 0)))
      (i32.store16 (i32.const 22) (i32.sub (i32.const 0) (i32.load8_u (local.get $p))))))
    (i32.const 16)`,
  count: `(global.set $count (i32.add (global.get $count) (i32.const 1))) (global.get $count)`,
};

function module(change: Partial<typeof BODIES & Record<"realloc" | "post" | "rest", string>> = {}) {
  const { flat, echo, first, count, realloc = "", post = "", rest = "" } = { ...BODIES, ...change };
  return componentOf(
    coreText(
      `(global $count (mut i32) (i32.const 0)) (data (i32.const 1024) "none")
      (func (export "${CALC}#flat") (param $a i64) (param $b i32) (result i64) ${flat})
      (func (export "${CALC}#echo") (param $p i32) (param $n i32) (result i32) ${echo})
      (func (export "${CALC}#first") (param $p i32) (param $n i32) (result i32) ${first})
      (func (export "${CALC}#count") (result i32) ${count})
      (func (export "cabi_post_${CALC}#echo") (param i32)
        (global.set $count (i32.add (global.get $count) (i32.const 100))) ${post})
      ${rest}`,
      realloc,
    ),
    WIT,
    "plug",
  );
}

async function whole(apply: string, change: Parameters<typeof module>[0] = {}, rest = "") {
  const socket = await componentOf(moduleText(apply, rest, "", IMPORTS), WIT, "socket");
  return compose(socket, [{ name: "calc", bytes: await module(change) }]);
}

const load = async (...args: Parameters<typeof whole>) =>
  StateApply.load(await whole(...args), SETTING, () => false);

function run(guest: StateApply, payload: Uint8Array): { verdict: Verdict; fuel: number } {
  return guest.apply(eventOf(payload), State.EMPTY.journal());
}

const put = (key: number, at: string, length: string) =>
  `(i32.store8 (i32.const 8) (i32.const ${key}))
   (call $state-write.put (i32.const 8) (i32.const 1) ${at} ${length})`;

/** Calls everything with what the payload says, and stores what it is told. */
const ALL = `
  (i64.store (i32.const 64)
    (call $flat (i64.load (local.get $p)) (i32.load8_s offset=8 (local.get $p))))
  ${put(1, "(i32.const 64)", "(i32.const 8)")}
  (call $echo (local.get $p) (local.get $n) (i32.const 72))
  ${put(2, "(i32.load (i32.const 72))", "(i32.load (i32.const 76))")}
  (call $first (i32.and (i32.add (local.get $p) (i32.const 7)) (i32.const -8))
    (i32.and (local.get $n) (i32.const 1)) (i32.const 80))
  (if (i32.load8_u (i32.const 80))
    (then ${put(3, "(i32.load (i32.const 84))", "(i32.load (i32.const 88))")})
    (else ${put(4, "(i32.const 84)", "(i32.const 4)")}))
  (i32.store (i32.const 96) (call $count))
  ${put(5, "(i32.const 96)", "(i32.const 4)")}`;

Deno.test("parts call one another as they do under the ordinary glue", async () => {
  const component = await whole(ALL);
  const guest = await StateApply.load(component, SETTING, () => false);
  const payloads = fc.uint8Array({ minLength: 24, maxLength: 64 });
  for (const payload of [new Uint8Array(25), ...fc.sample(payloads, 2)]) {
    const journal = State.EMPTY.journal();
    const { verdict, fuel } = guest.apply(eventOf(payload), journal);
    assert.deepEqual(verdict, { kind: "accepted" });
    assert.equal(run(guest, payload).fuel, fuel, "fuel is a function of the event");
    const glue = await applyByGlue(component, eventOf(payload), State.EMPTY, SETTING, () => false);
    const list = (state: State) => state.scan(new Uint8Array(), new Uint8Array(), 99);
    const state = journal.commit();
    assert.deepEqual(list(state), list(glue.state));
    // What was done behind the answer of echo is seen, and nothing of other events.
    const count = state.get(Uint8Array.of(5))!;
    assert.deepEqual(count, Uint8Array.of(101, 0, 0, 0));
  }
});

Deno.test("a call to another part is paid for, with the bytes that pass", async () => {
  const fuelOf = async (apply: string, payload = new Uint8Array()) => {
    const { verdict, fuel } = run(await load(apply), payload);
    assert.equal(verdict.kind, "accepted");
    return fuel;
  };
  const echo = (n: number) => `(call $echo (i32.const 0) (i32.const ${n}) (i32.const 72))`;
  const none = await fuelOf("");
  const empty = await fuelOf(echo(0));
  assert.ok(empty - none >= LINK_PRICE && empty - none < LINK_PRICE + 200, `${empty - none}`);
  // Read and put down, both ways.
  assert.equal(await fuelOf(echo(1000)) - empty, 4000);
  const forever = run(await load(`(loop $l ${echo(0)} (br $l))`), new Uint8Array());
  assert.deepEqual(forever, { verdict: { kind: "out-of-fuel" }, fuel: FUEL_MAX });
});

Deno.test("whichever part breaks a rule, the event is rejected, with the same fuel each time", async () => {
  const far = "(i32.const 0x7ffffff0)";
  const echo = "(call $echo (i32.const 0) (i32.const 4) (i32.const 72))";
  const first = "(call $first (i32.const 64) (i32.const 1) (i32.const 80))";
  const cases: Record<string, [apply: string, change?: Parameters<typeof module>[0]]> = {
    "an argument out of bounds": [`(call $echo (i32.const 131070) (i32.const 4) (i32.const 72))`],
    "a list that wraps around": [`(call $echo (i32.const -1) (i32.const 4) (i32.const 72))`],
    "a list that is not aligned": [`(call $first (i32.const 65) (i32.const 1) (i32.const 80))`],
    "an endless list": [`(call $first (i32.const 64) (i32.const -1) (i32.const 80))`],
    "a place for the result out of bounds": [`(call $echo (i32.const 0) (i32.const 4) ${far})`],
    "one that is not aligned": [`(call $echo (i32.const 0) (i32.const 4) (i32.const 73))`],
    "a result out of bounds": [echo, { echo: far }],
    "a result that is not aligned": [echo, { echo: "(i32.const 17)" }],
    "a list in it out of bounds": [echo, {
      echo: `(i32.store (i32.const 20) ${far}) (i32.const 16)`,
    }],
    "a result of no kind": [first, {
      first: `(i32.store8 (i32.const 16) (i32.const 2)) (i32.const 16)`,
    }],
    "an option of no kind": [first, {
      first: `(i32.store8 (i32.const 20) (i32.const 2)) (i32.const 16)`,
    }],
    "a trap": [echo, { echo: "unreachable" }],
    "a trap behind the answer": [echo, { post: "unreachable" }],
    "a call while it makes room": [echo, { realloc: "(drop (call $event.seq))" }],
    "a call behind the answer": [echo, { post: "(drop (call $event.seq))" }],
    "room that is not there": [echo, { realloc: `(return ${far})` }],
  };
  for (const [what, [apply, change]] of Object.entries(cases)) {
    const guest = await load(apply, change);
    const { verdict, fuel } = run(guest, new Uint8Array());
    assert.equal(verdict.kind, "trapped", what);
    assert.equal(run(guest, new Uint8Array()).fuel, fuel, what);
  }
});

Deno.test("parts share fuel, depth of calls and memory", async () => {
  const call = "(drop (call $count))";
  const nothing = new Uint8Array();
  const loop = await load(call, { count: "(loop $l (br $l)) (i32.const 0)" });
  assert.deepEqual(run(loop, nothing), { verdict: { kind: "out-of-fuel" }, fuel: FUEL_MAX });

  // Each is allowed half of the depth by itself, with the frames of `deep`.
  const deep = (what: string) =>
    `(func $deep (param $n i32) ${"(local i64)".repeat(100)}
      (if (local.get $n) (then (call $deep (i32.sub (local.get $n) (i32.const 1))))
        (else ${what})))`;
  const reach = async (outer: number, inner: number) => {
    const guest = await load(
      `(call $deep (i32.const ${outer}))`,
      { count: `(call $deep (i32.const ${inner})) (i32.const 0)`, rest: deep("") },
      deep(call),
    );
    return run(guest, nothing).verdict.kind;
  };
  const most = async (kind: (n: number) => Promise<string>) => {
    let [low, high] = [0, 1000];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (await kind(middle) === "accepted") low = middle;
      else high = middle;
    }
    return low;
  };
  const alone = await most((n) => reach(n, 0));
  assert.ok(alone > 50, `${alone} frames`);
  const half = alone >> 1;
  assert.ok(Math.abs(await most((n) => reach(half, n)) + half - alone) < 4);

  // Both have two pages at first, of 32.
  const grow = (pages: number) => `(drop (memory.grow (i32.const ${pages})))`;
  const size = `(i32.store (i32.const 48) (call $count)) ${
    put(1, "(i32.const 48)", "(i32.const 4)")
  }`;
  for (
    const [outer, inner, wanted] of [[8, 20, 22], [8, 21, 2], [20, 8, 10], [28, 1, 2]] as const
  ) {
    const guest = await load(grow(outer) + size, { count: `${grow(inner)} (memory.size)` });
    const journal = State.EMPTY.journal();
    assert.equal(guest.apply(eventOf(nothing), journal).verdict.kind, "accepted");
    assert.equal(journal.commit().get(Uint8Array.of(1))![0], wanted, `${outer} and ${inner}`);
  }
});

Deno.test("load() refuses a component that gives a part something else than it asks for", async () => {
  const component = (await whole("")).slice();
  const text = textOf(component);
  // The last time that names are in it is where they are given to the last part.
  const at = (name: string) => {
    const full = `realm:app/${name}@0.1.0\x05`; // then the instance
    return text.lastIndexOf(full) + full.length;
  };
  component[at("state-read")] = component[at("params")]!;
  await assert.rejects(
    StateApply.load(component, SETTING, () => false),
    (error) =>
      error instanceof RealmError && error.code === "unsupported" &&
      /gives a part realm:app\/params@0.1.0 for realm:app\/state-read@0.1.0/.test(error.message),
  );
});

Deno.test("load() refuses parts that do not fit", async () => {
  const big = async (pages: number) => {
    const [start, end] = moduleText("", "", "", IMPORTS).split('(memory (export "memory") 2)');
    const text = `${start}(memory (export "memory") ${pages})${end!}`;
    return compose(await componentOf(text, WIT, "socket"), [
      { name: "calc", bytes: await module() },
    ]);
  };
  await StateApply.load(await big(30), SETTING, () => false);
  await assert.rejects(
    StateApply.load(await big(31), SETTING, () => false),
    (error) => error instanceof RealmError && /33 pages, wanted at most 32/.test(error.message),
  );
  const other = WIT.replace("count: func() -> u32", "count: func() -> s32");
  const plug = await componentOf(
    coreText(`(func (export "${CALC}#count") (result i32) (i32.const 0))`),
    other.replace(/ {2}(flat|echo|first): .*\n/g, ""),
    "plug",
  );
  const uses = moduleText("(drop (call $count))", "", "", IMPORTS.split("\n").at(-1));
  const misfit = compose(await componentOf(uses, WIT, "socket"), [{ name: "calc", bytes: plug }]);
  await assert.rejects(
    StateApply.load(misfit, SETTING, () => false),
    (error) => error instanceof RealmError && /do not agree on count/.test(error.message),
  );
});
