import { parse } from "../../tests/wasm_tools.ts";
import assert from "node:assert/strict";
import type { RealmError } from "../kernel/error.ts";
import { type Capability, GRANTED, IMPORT, type Profile, PROFILES } from "./contracts.ts";
import { checkProfile, parseCapabilities, profilesOf } from "./profile.ts";

const BYTES = "(list u8)";
const NODE =
  `(record (field "parent" u32) (field "kind" (enum "column" "row" "heading" "text" "button"
  "field" "gap")) (field "text" string) (field "id" string))`;
const PROPOSAL = `(record (field "kind" ${BYTES}) (field "payload" ${BYTES}))`;
const INTENT = `(record (field "name" ${BYTES}) (field "input" ${BYTES}))`;

/** Functions of the interface that each profile exports. */
const EXPORTS: Readonly<Record<Profile, readonly [string, Readonly<Record<string, string>>]>> = {
  "state-apply": ["applier", {
    apply: `(param "payload" ${BYTES}) (result (result (error ${BYTES})))`,
  }],
  "state-propose": ["proposer", {
    propose: `(param "intent" ${BYTES}) (param "input" ${BYTES})
      (result (result (list ${PROPOSAL}) (error ${BYTES})))`,
  }],
  "interaction": ["view", {
    render: `(result (list ${NODE}))`,
    handle: `(param "input" (variant (case "press" string) (case "submit" (tuple string string))
      (case "key" string))) (result (list ${INTENT}))`,
  }],
  "behavior": ["bot", {
    wake: `(param "cause" (enum "started" "event" "time")) (result (option u64))`,
  }],
};

interface Parts {
  /** Declarations in front of everything else. */
  readonly before?: string;
  /** What else is in the core module. */
  readonly core?: string;
  /** The type of a function of the export, by its name. */
  readonly types?: Readonly<Record<string, string>>;
  readonly leaveOut?: string;
}

/** A component of a profile, with something in it. */
async function component(profile: Profile, parts: Parts = {}): Promise<Uint8Array> {
  const [name, functions] = EXPORTS[profile];
  const lifted = Object.entries({ ...functions, ...parts.types })
    .filter(([fn]) => fn !== parts.leaveOut);
  return await parse(`(component
    ${parts.before ?? ""}
    (core module $main
      (memory (export "memory") 1)
      (func (export "f"))
      ${parts.core ?? ""})
    (core instance $i (instantiate $main))
    ${
    lifted.map(([fn, type]) =>
      `(func $${fn} ${type} (canon lift (core func $i "f") (memory (core memory $i "memory"))))`
    ).join("\n")
  }
    (instance $out ${lifted.map(([fn]) => `(export "${fn}" (func $${fn}))`).join(" ")})
    (export "realm:app/${name}@0.1.0" (instance $out)))`);
}

const imports = (name: string, functions = "") => `(import "${name}" (instance ${functions}))`;

/** What refuses the component. */
function refusal(bytes: Uint8Array, profile: Profile, granted: Capability[] = []): RealmError {
  try {
    checkProfile(bytes, profile, granted);
  } catch (error) {
    return error as RealmError;
  }
  assert.fail("it was accepted");
}

Deno.test("checkProfile() of imports: every cell of the matrix, with and without a grant", async () => {
  for (const profile of PROFILES) {
    for (const [name, owners] of Object.entries(IMPORT)) {
      const full = `realm:app/${name}@0.1.0`;
      const bytes = await component(profile, { before: imports(full) });
      const capability = GRANTED[name];
      const grants = capability ? [capability] : [];
      if (owners.includes(profile)) {
        assert.deepEqual(checkProfile(bytes, profile, grants).imports, [name]);
        assert.deepEqual(checkProfile(bytes, profile, grants).capabilities, grants);
      }
      if (!owners.includes(profile) || capability) {
        const error = refusal(bytes, profile, owners.includes(profile) ? [] : grants);
        assert.equal(error.code, "refused");
        assert.ok(error.message.includes(`imports ${full} (byte `), error.message);
      }
    }
  }
});

Deno.test("checkProfile() of imports: nothing else, in no profile", async () => {
  for (const profile of PROFILES) {
    for (
      const before of [
        imports("wasi:clocks/monotonic-clock@0.2.3"),
        imports("wasi:sockets/tcp@0.2.3"),
        imports("wasi:filesystem/types@0.2.3"),
        imports("wasi:io/poll@0.2.3"),
        imports("realm:app/state-read@0.1.1"),
        imports("realm:app/state-read"),
        imports("realm:app/applier@0.1.0"),
        imports("realm:app/constructor@0.1.0"),
        imports("state-read"),
        '(import "now" (func (result u64)))',
      ]
    ) {
      const bytes = await component(profile, { before });
      assert.equal(refusal(bytes, profile, ["network"]).code, "refused", before);
    }
  }
});

Deno.test("checkProfile() wants the types of the contract", async () => {
  const before = (functions: string) => imports("realm:app/state-read@0.1.0", functions);
  const get = (type: string) => before(`(export "get" (func ${type}))`);
  const good = get('(param "key" (list u8)) (result (option (list u8)))');
  checkProfile(await component("state-apply", { before: good }), "state-apply");
  for (
    const bad of [
      get('(param "key" (list u8)) (result (list u8))'),
      get('(param "key" (list s8)) (result (option (list u8)))'),
      get('(param "key" u32) (result (option (list u8)))'),
      get("(result (option (list u8)))"),
      before('(export "reset" (func))'),
      before('(export "constructor" (func))'),
    ]
  ) {
    const error = refusal(await component("state-apply", { before: bad }), "state-apply");
    assert.equal(error.code, "refused", bad);
    assert.match(error.message, /realm:app\/state-read@0\.1\.0 \(byte \d+\)/);
  }
});

Deno.test("checkProfile() wants the export of the profile, whole and with its types", async () => {
  for (const profile of PROFILES) {
    const bytes = await component(profile);
    assert.equal(checkProfile(bytes, profile).coreModules.length, 1);
    assert.deepEqual(profilesOf(bytes), [profile]);
    for (const fn of Object.keys(EXPORTS[profile][1])) {
      const leftOut = await component(profile, { leaveOut: fn });
      assert.match(refusal(leftOut, profile).message, /does not export/);
      const other = await component(profile, { types: { [fn]: '(param "x" u32)' } });
      assert.match(refusal(other, profile).message, new RegExp(`${fn}\\(u32\\)`));
    }
    for (const other of PROFILES) {
      if (other !== profile) assert.match(refusal(bytes, other).message, /does not export/);
    }
  }
});

Deno.test("checkProfile() of floats, SIMD and exceptions: every cell, with and without a grant", async () => {
  const parts: [string, Capability | "exceptions"][] = [
    ["(func f32.const 0 drop)", "floats"],
    ["(func i32.const 0 i32x4.splat drop)", "simd"],
    ["(tag)", "exceptions"],
  ];
  const rights: Readonly<Record<Profile, readonly string[]>> = {
    "state-apply": ["no", "no", "no"],
    "state-propose": ["no", "no", "yes"],
    "interaction": ["yes", "no", "yes"],
    "behavior": ["granted", "granted", "yes"],
  };
  for (const profile of PROFILES) {
    for (const [i, [core, part]] of parts.entries()) {
      const bytes = await component(profile, { core });
      const right = rights[profile][i];
      const grants: Capability[] = part === "exceptions" ? [] : [part];
      if (right === "yes") checkProfile(bytes, profile);
      else assert.equal(refusal(bytes, profile).code, "refused", `${part} of ${profile}`);
      if (right === "no") refusal(bytes, profile, grants);
      if (right === "granted") {
        assert.deepEqual(checkProfile(bytes, profile, grants).capabilities, grants);
      }
    }
  }
});

Deno.test("checkProfile() refuses threads and shared memory in every profile", async () => {
  for (const profile of PROFILES) {
    for (const core of ["(func atomic.fence)", "(memory 1 1 shared)"]) {
      const error = refusal(await component(profile, { core }), profile, ["floats", "simd"]);
      assert.equal(error.code, "unsupported");
      assert.match(error.message, /core module 0 .*threads and atomics/);
    }
  }
});

Deno.test("checkProfile() names the function and the byte of the file", async () => {
  const core = "(func) (func $mean (param i32) i32.const 5 drop f64.const 3 drop)";
  const bytes = await component("state-apply", { core });
  const { message } = refusal(bytes, "state-apply");
  const [, at] = /instruction f64\.const in function 2 \(mean\) of core module 0 \(byte (\d+)\)/
    .exec(message)!;
  // An f64.const of 3.
  assert.deepEqual([...bytes.subarray(Number(at), Number(at) + 9)], [
    0x44,
    0,
    0,
    0,
    0,
    0,
    0,
    8,
    64,
  ]);
});

Deno.test("checkProfile() reads the modules and components inside, which nothing instantiates too", async () => {
  const float = "(core module (func $hidden (local f32)))";
  const deep = (inner: string, n: number): string =>
    n === 0 ? inner : `(component ${deep(inner, n - 1)})`;
  for (const before of [float, deep(float, 1), deep(float, 15)]) {
    const error = refusal(await component("state-apply", { before }), "state-apply");
    assert.match(error.message, /type f32 in function 0 \(hidden\)/);
  }
  const tooDeep = await component("behavior", { before: deep(float, 30) });
  assert.equal(refusal(tooDeep, "behavior").code, "unsupported");
});

Deno.test("checkProfile() of state-apply wants integers and bytes between its parts too", async () => {
  for (
    const type of [
      "string",
      "char",
      "bool",
      "f32",
      "(list f64)",
      "(option string)",
      '(flags "a")',
      '(record (field "a" bool))',
      '(func (param "a" string))',
      "(instance (type (option char)))",
    ]
  ) {
    for (const before of [`(type ${type})`, `(component (type ${type}))`]) {
      const error = refusal(await component("state-apply", { before }), "state-apply");
      assert.equal(error.code, "refused", before);
      assert.match(error.message, /wanted integers and list<u8> only/);
      checkProfile(await component("interaction", { before }), "interaction");
    }
  }
  const before = `(type (record (field "a" (list u8)) (field "b" (tuple s64 (option u16)))))
    (type (enum "x" "y")) (type (variant (case "a" (result u8 (error s8))) (case "b")))`;
  checkProfile(await component("state-apply", { before }), "state-apply");
});

Deno.test("checkProfile() refuses core modules, and what is no WebAssembly", async () => {
  const core = await parse('(module (func (export "apply")))');
  assert.equal(refusal(core, "state-apply").code, "invalid-module");
  assert.deepEqual(profilesOf(core), []);
  assert.equal(refusal(new Uint8Array([1, 2, 3]), "behavior").code, "invalid-module");
});

Deno.test("checkProfile() of damaged components refuses or accepts, and never throws anything else", async () => {
  const bytes = await component("state-apply", {
    before: imports("realm:app/state-read@0.1.0", '(export "get" (func (param "key" u8)))'),
  });
  for (let at = 8; at < bytes.length; at++) {
    for (const flip of [0x01, 0x40, 0xff]) {
      const damaged = bytes.slice();
      damaged[at]! ^= flip;
      const { name, code } = refusalOrNone(damaged);
      assert.ok(name === "RealmError" || code === "none", `byte ${at}: ${name}`);
    }
    const { name } = refusalOrNone(bytes.subarray(0, at));
    assert.equal(name, "RealmError", `cut at ${at}`);
  }
});

function refusalOrNone(bytes: Uint8Array): { name: string; code: string; message?: string } {
  try {
    checkProfile(bytes, "state-apply");
    return { name: "", code: "none" };
  } catch (error) {
    return error as RealmError;
  }
}

Deno.test("parseCapabilities() knows three, each for its profiles, and keeps one for later", () => {
  assert.deepEqual(parseCapabilities(["network", "simd"], ["behavior"]), ["network", "simd"]);
  assert.throws(() => parseCapabilities(["allow-floats"]), { message: /is reserved/ });
  assert.throws(() => parseCapabilities(["files"]), { message: /"files" is not known/ });
  assert.throws(() => parseCapabilities(["toString"]), { message: /is not known/ });
  assert.throws(() => parseCapabilities(["network"], ["state-apply"]), {
    message: /for behavior only/,
  });
});

Deno.test("checkProfile() of types and parts that multiply is bounded", async () => {
  const chain = (first: string, next: (i: number) => string, n: number) =>
    `(type $t0 ${first}) ` +
    Array.from({ length: n }, (_, i) => `(type $t${i + 1} ${next(i)})`).join(" ");
  const doubling = chain("(list u8)", (i) => `(tuple $t${i} $t${i})`, 40);
  const wide = "(type $t0 (tuple " + "u8 ".repeat(900) + ")) " +
    "(type (option $t0)) ".repeat(1500);
  // Each makes ten instances of the one before it.
  const many = "(component $c0 (type u8) (type u8))" +
    Array.from(
      { length: 12 },
      (_, i) =>
        `(component $c${i + 1} (alias outer 1 $c${i} (component $c))` +
        "(instance (instantiate $c))".repeat(10) + ")",
    ).join("") + "(instance (instantiate $c12))";
  for (const before of [doubling, wide, many]) {
    const error = refusal(await component("state-apply", { before }), "state-apply");
    assert.equal(error.code, "unsupported", before.slice(0, 40));
    assert.match(error.message, /too large|too many/);
  }
  const before = imports(`realm:app/${"x".repeat(10_000)}@0.1.0`);
  const { message } = refusal(await component("state-apply", { before }), "state-apply");
  assert.ok(message.length < 600, `${message.length} characters`);
});
