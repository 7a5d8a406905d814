import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { RealmError } from "../../kernel/error.ts";
import { IMPORT, INTERFACES, type Profile, PROFILES } from "../contracts.ts";
import { AppGuest, GUEST_PAGES_MAX, guestCode } from "../guest/app_guest.ts";
import { guestComponent, type GuestModule } from "../guest/guest_component_fake.ts";
import { State } from "../state.ts";
import { type BehaviorSurroundings, type GuestRequest, hostOf, WAITING } from "./guest_host.ts";

const bytes = (text: string) => Uint8Array.from(Buffer.from(text, "latin1"));
const text = (b: Uint8Array) => Buffer.from(b).toString("latin1");
const LIMITS = { fuelMax: 1_000_000 };
const fixture = (name: string) =>
  Deno.readFile(new URL(`../../../fixtures/${name}.wasm`, import.meta.url));

function around(more: Partial<BehaviorSurroundings> = {}): BehaviorSurroundings {
  return {
    setting: { creator: new Uint8Array(32).fill(7), params: new Map([["color", bytes("blue")]]) },
    verify: () => true,
    key: new Uint8Array(32).fill(9),
    state: () => State.EMPTY,
    isGranted: () => true,
    log: () => {},
    nowMs: () => 2 ** 40,
    random: (length) => new Uint8Array(length).fill(4),
    event: () => undefined,
    propose: () => Promise.resolve({ tag: "ok", val: new Uint8Array(32) }),
    request: () => Promise.resolve({ tag: "err", val: { tag: "denied" } }),
    ...more,
  };
}

async function load(
  component: Uint8Array,
  profile: Profile,
  surroundings = around(),
  limits = LIMITS,
): Promise<AppGuest> {
  const host = hostOf(profile, surroundings);
  return new AppGuest(await guestCode(component, profile), host, limits, WAITING);
}

const fails = (code: string, words: RegExp) => (error: unknown) => {
  assert.ok(error instanceof RealmError, `${error}`);
  assert.equal(error.code, code, error.message);
  assert.match(error.message, words);
  return true;
};

Deno.test("hostOf() has exactly the functions of the matrix for each profile", () => {
  for (const profile of PROFILES) {
    const names = Object.keys(IMPORT).filter((name) =>
      // What state-apply has is of another form: `guest/host_imports.ts`.
      name !== "state-write" && IMPORT[name]!.includes(profile)
    );
    const host = hostOf(profile, around());
    assert.deepEqual(Object.keys(host).sort(), names.sort(), profile);
    for (const name of names) {
      assert.deepEqual(
        Object.keys(host[name]!).sort(),
        Object.keys(INTERFACES[name]!).sort(),
        `${profile} ${name}`,
      );
    }
  }
});

Deno.test("the fixture counter turns an intent into an event, or says why not", async () => {
  const guest = await load(await fixture("apps/counter/state-propose"), "state-propose");
  const propose = (intent: string, input: string) =>
    guest.call("propose", bytes(intent), bytes(input)) as { tag: string; val: unknown };
  assert.deepEqual(propose("add", "5"), {
    tag: "ok",
    val: [{ kind: bytes("add"), payload: Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 5) }],
  });
  assert.deepEqual(propose("sub", "5"), { tag: "err", val: bytes("only add is possible") });
});

Deno.test("the fixture poll reads the state and the key that proposes", async () => {
  const name = "ab".repeat(32);
  const key = bytes("poll/" + "\xab".repeat(32));
  const journal = State.EMPTY.journal();
  const asked = bytes("\0".repeat(9) + "\x02ok\x03yes\x02no");
  journal.put(key, Uint8Array.of(...new Uint8Array(32).fill(9), ...asked));
  const open = journal.commit();
  let state = State.EMPTY;
  const surroundings = around({ state: () => state });
  const guest = await load(await fixture("apps/poll/state-propose"), "state-propose", surroundings);
  const close = () => guest.call("propose", bytes("close"), bytes(name)) as { val: Uint8Array };
  assert.equal(text(close().val), "there is no such poll");
  state = open;
  assert.deepEqual(close().val, [{ kind: bytes("close"), payload: new Uint8Array(32).fill(0xab) }]);
  const other = await load(
    await fixture("apps/poll/state-propose"),
    "state-propose",
    around({ state: () => open, key: new Uint8Array(32) }),
  );
  assert.equal(
    text((other.call("propose", bytes("close"), bytes(name)) as { val: Uint8Array }).val),
    "only who made the poll and moderators may close it",
  );
});

Deno.test("an interaction keeps what it remembers, draws a tree and is told what a person did", async () => {
  // Draws one text of as many characters as it was told things, and hands on what it was told.
  const component = await guestComponent("interaction", ["clock.now", "random.bytes"], {
    render: `(result i32)
      (i32.store offset=4 (i32.const 0) (i32.const 1))
      (i32.store (i32.const 0) (i32.const 32))
      (i32.store8 offset=4 (i32.const 32) (i32.const 3))
      (i32.store offset=8 (i32.const 32) (i32.const 1024))
      (i32.store offset=12 (i32.const 32) (global.get $told))
      (i32.const 0)`,
    handle: `(param $case i32) (param $a i32) (param $an i32) (param $b i32) (param $bn i32)
        (result i32)
      (global.set $told (i32.add (global.get $told) (i32.const 1)))
      (i64.store (i32.const 200) (call $clock.now))
      (i32.store (i32.const 0) (i32.const 32))
      (i32.store offset=4 (i32.const 0) (i32.const 1))
      (i32.store (i32.const 32) (local.get $a))
      (i32.store offset=4 (i32.const 32) (local.get $an))
      (i32.store offset=8 (i32.const 32) (local.get $b))
      (i32.store offset=12 (i32.const 32) (local.get $bn))
      (if (i32.eqz (local.get $case))
        (then (call $random.bytes (i32.const 2) (i32.const 40))))
      (i32.const 0)`,
  }, `(global $told (mut i32) (i32.const 0)) (data (i32.const 1024) "xxxxxxxxx")`);
  const guest = await load(component, "interaction");
  const draw = () => guest.call("render") as { text: string }[];
  assert.deepEqual(draw(), [{ parent: 0, kind: "text", text: "", id: "" }]);
  assert.deepEqual(guest.call("handle", { tag: "submit", val: ["name", "Ann"] }), [
    { name: bytes("name"), input: bytes("Ann") },
  ]);
  assert.deepEqual(guest.call("handle", { tag: "press", val: "go" }), [
    { name: bytes("go"), input: Uint8Array.of(4, 4) },
  ]);
  assert.equal(draw()[0]!.text, "xx");
});

/** Proposes its argument's place, fetches, and asks to be woken at what was answered. */
const BOT = {
  wake: `(param $cause i32) (result i32)
    (call $outbox.propose (i32.const 1024) (i32.const 4) (i32.const 1028) (i32.const 3)
      (i32.const 64))
    (if (i32.load8_u (i32.const 64)) (then unreachable))
    (call $network.fetch (i32.const 1032) (i32.const 3) (i32.const 1035) (i32.const 9)
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 96))
    (i32.store8 (i32.const 0) (i32.const 1))
    (i64.store offset=8 (i32.const 0) (i64.load16_u offset=4 (i32.const 96)))
    (i32.const 0)`,
};
const BOT_DATA = '(data (i32.const 1024) "kindabc GETtls://a.b")';
const botComponent = () =>
  guestComponent("behavior", ["outbox.propose", "network.fetch"], BOT, BOT_DATA);

Deno.test("a behavior waits for its events and requests, and asks to be woken", async () => {
  const seen: unknown[] = [];
  const guest = await load(
    await botComponent(),
    "behavior",
    around({
      propose: async (kind, payload) => {
        await Promise.resolve();
        seen.push([text(kind), text(payload)]);
        return { tag: "ok", val: new Uint8Array(32) };
      },
      request: (request: GuestRequest) => {
        seen.push(request);
        return Promise.resolve({ tag: "ok", val: { status: 204, headers: [], body: bytes("") } });
      },
    }),
  );
  assert.equal(await guest.callAsync("wake", "time"), 204n);
  assert.deepEqual(seen, [
    ["kind", "abc"],
    { method: "GET", url: "tls://a.b", headers: [], body: new Uint8Array(0) },
  ]);
  assert.equal(await guest.callAsync("wake", "started"), 204n);
});

Deno.test("one call at a time; a guest that is ended while it waits does not go on", async () => {
  const end = Promise.withResolvers<never>();
  const guest = await load(
    await botComponent(),
    "behavior",
    around({ propose: () => end.promise }),
  );
  const waking = guest.callAsync("wake", "time");
  await assert.rejects(guest.callAsync("wake", "time"), /under way/);
  end.reject(new RealmError("refused", "The behavior was ended"));
  await assert.rejects(waking, fails("refused", /was ended/));
  assert.ok(guest.hasEnded);
  await assert.rejects(guest.callAsync("wake", "time"), fails("refused", /was ended/));
});

Deno.test("a grant that is taken back ends with the next call", async () => {
  const component = await guestComponent("interaction", ["clock.now"], {
    render: `(result i32) (i64.store (i32.const 32) (call $clock.now)) (i32.const 0)`,
    handle: `(param i32 i32 i32 i32 i32) (result i32) (i32.const 0)`,
  });
  const granted = new Set(["clock"]);
  const guest = await load(
    component,
    "interaction",
    around({ isGranted: (name) => granted.has(name) }),
  );
  assert.deepEqual(guest.call("render"), []);
  granted.clear();
  assert.throws(() => guest.call("render"), fails("refused", /now of clock, which is not granted/));
});

const propose = (body: string, rest = "", uses: readonly string[] = []) =>
  guestComponent("state-propose", uses, {
    propose: `(param i32 i32 i32 i32) (result i32) ${body}`,
  }, rest);
const call = (guest: AppGuest) => guest.call("propose", bytes("a"), bytes("b"));

Deno.test("what a component does without end is ended by its fuel, whatever it catches", async () => {
  const bodies = {
    computing: "(loop $l (br $l)) (i32.const 0)",
    catching: `(loop $again
      (block $caught (try_table (catch_all $caught) (loop $l (br $l)))) (br $again)) (i32.const 0)`,
    "catching the host": `(loop $again
      (block $caught (try_table (catch_all $caught) (call $clock-less))) (br $again)) (i32.const 0)`,
    "reading much": `(loop $l (call $crypto.sha256 (i32.const 0) (i32.const 131072) (i32.const 64))
      (br $l)) (i32.const 0)`,
  };
  const rest = `(tag $t) (func $clock-less
    (call $state-read.get (i32.const 0) (i32.const 9999999) (i32.const 32)))`;
  for (const [what, body] of Object.entries(bodies)) {
    const uses = ["crypto.sha256", "state-read.get"];
    const guest = await load(await propose(body, rest, uses), "state-propose");
    assert.throws(() => call(guest), (error) => {
      assert.ok(error instanceof RealmError && /out-of-fuel|trap/.test(error.code), what);
      return true;
    });
    assert.ok(guest.hasEnded, what);
    assert.throws(() => call(guest), RealmError);
  }
});

Deno.test("a component that breaks a rule traps, and the instance is not called again", async () => {
  const store = (at: number, value: number) => `(i32.store (i32.const ${at}) (i32.const ${value}))`;
  const bodies: Record<string, string> = {
    unreachable: "unreachable",
    "a result out of bounds": "(i32.const 131068)",
    "a result of no kind": "(i32.store8 (i32.const 0) (i32.const 2)) (i32.const 0)",
    "a list out of bounds": `${store(4, 131072)} ${store(8, 9)} (i32.const 0)`,
    "a list that is endless": `${store(8, -1)} (i32.const 0)`,
    "calls without end": "(call $deep) (i32.const 0)",
    "a place that is not aligned": "(call $identity.key (i32.const 33)) (i32.const 0)",
  };
  const rest = "(func $deep (call $deep) (drop (memory.size)))";
  for (const [what, body] of Object.entries(bodies)) {
    const guest = await load(await propose(body, rest, ["identity.key"]), "state-propose");
    assert.throws(() => call(guest), fails("trap", /state-propose component trapped/), what);
    assert.throws(() => call(guest), RealmError);
  }
});

Deno.test("memory ends at its bound", async () => {
  const size = `(loop $l (br_if $l (i32.ne (i32.const -1) (memory.grow (i32.const 8)))))
    (i32.store8 (i32.const 0) (i32.const 1)) (i32.store (i32.const 4) (i32.const 64))
    (i32.store (i32.const 8) (i32.const 4))
    (i32.store (i32.const 64) (memory.size)) (i32.const 0)`;
  const guest = await load(await propose(size), "state-propose");
  const { val } = call(guest) as { val: Uint8Array };
  const pages = new DataView(val.slice().buffer).getUint32(0, true);
  assert.ok(pages <= GUEST_PAGES_MAX && pages > GUEST_PAGES_MAX - 8, `${pages}`);
});

Deno.test("what is of another profile does not link, though it was not checked before", async () => {
  const host = hostOf("state-propose", around());
  const component = await guestComponent("interaction", ["clock.now"], {
    render: `(result i32) (drop (call $clock.now)) (i32.const 0)`,
    handle: `(param i32 i32 i32 i32 i32) (result i32) (i32.const 0)`,
  });
  const code = await guestCode(component, "interaction");
  assert.throws(
    () => new AppGuest(code, host, LIMITS),
    fails("unknown-import", /clock@0.1.0 now/),
  );
});

/** A flag and a char in a number: what came through. */
const OTHER = `(param $a i32) (param $b f32) (param $c i32) (param $d i32) (result f64)
  (f64.add (f64.promote_f32 (local.get $b)) (f64.convert_i32_u
    (i32.add (local.get $c) (i32.add (local.get $a) (i32.shl (local.get $d) (i32.const 8))))))`;

/** A module that turns bytes round, in memory of its own, and counts; `count` may call out. */
const HELPER: GuestModule = {
  wit: `flags sides { left, right }
    round: func(bytes: list<u8>) -> list<u8>; count: func() -> string;
    other: func(a: bool, b: f32, c: char, d: sides) -> f64;`,
  types: {
    round: "(param i32 i32 i32)",
    count: "(param i32)",
    other: "(param i32 f32 i32 i32) (result f64)",
  },
  uses: ["clock.now"],
  functions: {
    round: `(param $p i32) (param $n i32) (result i32) (local $i i32)
      (loop $l (if (i32.lt_u (local.get $i) (local.get $n)) (then
        (i32.store8 (i32.add (i32.const 1024) (local.get $i)) (i32.load8_u
          (i32.sub (i32.add (local.get $p) (local.get $n)) (i32.add (local.get $i) (i32.const 1)))))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $l))))
      (i32.store (i32.const 16) (i32.const 1024)) (i32.store (i32.const 20) (local.get $n))
      (i32.const 16)`,
    count: `(result i32)
      (drop (call $clock.now))
      (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
      (i32.store8 (i32.const 0) (i32.add (global.get $calls) (i32.const 48)))
      (i32.store (i32.const 16) (i32.const 0)) (i32.store (i32.const 20) (i32.const 1))
      (i32.const 16)`,
    other: OTHER,
  },
  rest: "(global $calls (mut i32) (i32.const 0))",
};

/** Draws how often it was drawn, and hands on what it is told the other way round. */
const composed = (module: GuestModule) =>
  guestComponent(
    "interaction",
    [],
    {
      render: `(result i32)
      (if (f64.ne (f64.const 613.5)
        (call $helper.other (i32.const 1) (f32.const 0.5) (i32.const 100) (i32.const 2)))
        (then unreachable))
      (call $helper.count (i32.const 40))
      (i32.store (i32.const 0) (i32.const 32)) (i32.store offset=4 (i32.const 0) (i32.const 1))
      (i32.store (i32.const 32) (i32.const 0)) (i32.store8 offset=4 (i32.const 32) (i32.const 3))
      (i32.store (i32.const 48) (i32.const 0)) (i32.store (i32.const 52) (i32.const 0))
      (i32.const 0)`,
      handle: `(param $case i32) (param $a i32) (param $an i32) (param $b i32) (param $bn i32)
        (result i32)
      (call $helper.round (local.get $a) (local.get $an) (i32.const 32))
      (i32.store (i32.const 0) (i32.const 32)) (i32.store offset=4 (i32.const 0) (i32.const 1))
      (i64.store (i32.const 40) (i64.const 0))
      (i32.const 0)`,
    },
    "",
    module,
  );

Deno.test("a module that is composed in is called, and may call what it was granted", async () => {
  const guest = await load(await composed(HELPER), "interaction");
  const draw = () => guest.call("render") as { text: string }[];
  assert.equal(draw()[0]!.text, "1");
  assert.deepEqual(guest.call("handle", { tag: "press", val: "abc" }), [
    { name: bytes("cba"), input: bytes("") },
  ]);
  assert.equal(draw()[0]!.text, "2", "it remembers, as the whole does");
  const used = guest.fuelUsed;
  assert.ok(used > 2 * 1000, `${used} for two calls`);

  let isGranted = true;
  const surroundings = around({ isGranted: () => isGranted });
  const asked = await load(await composed(HELPER), "interaction", surroundings);
  asked.call("render");
  isGranted = false;
  assert.throws(() => asked.call("render"), fails("refused", /now of clock, which is not granted/));
});

Deno.test("a module that breaks a rule, or does not end, ends the whole", async () => {
  const count = (body: string) =>
    composed({ ...HELPER, functions: { ...HELPER.functions, count: body } });
  const bodies: [string, string, RegExp][] = [
    ["(result i32) unreachable", "trap", /unreachable/],
    ["(result i32) (loop $l (br $l)) (i32.const 0)", "out-of-fuel", /used up its fuel/],
    ["(result i32) (i32.const 131068)", "trap", /out of bounds/],
    ["(result i32) (i32.const 17)", "trap", /aligned/],
  ];
  for (const [body, code, message] of bodies) {
    const guest = await load(await count(body), "interaction");
    assert.throws(() => guest.call("render"), fails(code, message), body);
    assert.ok(guest.hasEnded);
  }
  const calls = "(drop (call $clock.now))";
  const late = `(func (export "cabi_post_realm:app/helper@0.1.0#count") (param i32) ${calls})`;
  const behind = await composed({ ...HELPER, rest: HELPER.rest + late });
  const called = await load(behind, "interaction");
  assert.throws(() => called.call("render"), fails("trap", /calls out while it may not/));
  const grow = `(result i32)
    (i32.store (i32.const 0) (memory.grow (i32.const 251))) (i32.store (i32.const 4) (memory.size))
    (if (i32.eq (memory.size) (i32.const 2)) (then unreachable)) (i32.const 16)`;
  (await load(await count(grow), "interaction")).call("render");
  const more = await load(await count(grow.replace("251", "253")), "interaction");
  assert.throws(
    () => more.call("render"),
    fails("trap", /unreachable/),
    "both have 256 pages in all",
  );
});

Deno.test("a module that would have to wait is refused", async () => {
  const component = await guestComponent(
    "behavior",
    [],
    {
      wake: "(param i32) (result i32) (call $helper.ask) (i32.const 0)",
    },
    "",
    {
      wit: "ask: func();",
      types: { ask: "" },
      uses: ["outbox.propose"],
      functions: {
        ask: `(call $outbox.propose (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
        (i32.const 0))`,
      },
    },
  );
  await assert.rejects(
    load(component, "behavior"),
    fails("unsupported", /imports outbox, which waits/),
  );
});
