/**
 * The metering rewriter on modules that our own generator did not make, on all instructions that it
 * takes, and the judges themselves on modules that were broken on purpose. `CORPUS` names a file of
 * more modules (see `corpus/README.md`), `SLOW=1` tries many more random ones.
 *
 * @module
 */
import assert from "node:assert/strict";
import { meter } from "../agent/wasm/meter/meter.ts";
import { assemble } from "../agent/wasm/meter/host_fake.ts";
import { IMMEDIATE, NAME } from "../agent/wasm/meter/opcodes.ts";
import { mark, opcodesOf, withMarks } from "./fuel_oracle.ts";
import { judge, type Verdict } from "./meter_judge.ts";
import { prove } from "./meter_proof.ts";
import { waysOf } from "./wasm_control_flow.ts";
import { readWasm } from "./wasm_reader.ts";
import { generate } from "./wasm_generator.ts";

const OPTIONS = { memoryPagesMax: 4096, tableElementsMax: 100_000 };
const here = (name: string) => new URL(name, import.meta.url);
const SEEDS = Deno.env.get("SLOW") ? 8500 : 60;
/** Seeds within which every instruction has to be executed. */
const COVERING_SEEDS = 2000;

/** The modules of a file of the corpus. */
function* modulesOf(file: string | URL): Generator<Uint8Array<ArrayBuffer>> {
  const all = Deno.readFileSync(file);
  const view = new DataView(all.buffer);
  for (let at = 0; at < all.length;) {
    const end = at + 4 + view.getUint32(at, true);
    yield all.slice(at + 4, end);
    at = end;
  }
}

async function judgeAll(name: string, modules: Iterable<Uint8Array<ArrayBuffer>>) {
  const verdicts: Verdict[] = [];
  let bytes = 0, index = -1;
  for (const module of modules) {
    index++;
    if (!WebAssembly.validate(module)) continue;
    bytes += module.length;
    try {
      verdicts.push(await judge(module));
    } catch (error) {
      throw new Error(`${name}, module ${index}`, { cause: error });
    }
  }
  const count = (kind: Verdict["kind"]) => verdicts.filter((v) => v.kind === kind).length;
  const sum = (key: "calls" | "priced" | "cycles") => verdicts.reduce((n, v) => n + v[key], 0);
  const summary = {
    modules: verdicts.length,
    bytes,
    compared: count("compared"),
    refused: count("refused"),
    calls: sum("calls"),
    priced: sum("priced"),
    cycles: sum("cycles"),
  };
  return summary;
}

for (const name of ["smith", "mutated"]) {
  Deno.test(`meter() keeps what modules of the corpus do and counts what they cost: ${name}`, async () => {
    const seen = await judgeAll(name, modulesOf(here(`corpus/${name}.bin`)));
    assert.ok(seen.compared > seen.modules / 2, JSON.stringify(seen));
    assert.ok(seen.priced > seen.modules && seen.cycles > 10, JSON.stringify(seen));
  });
}

Deno.test("meter() keeps what modules do that showed a bug", async () => {
  for (const { name } of Deno.readDirSync(here("corpus/"))) {
    if (!name.endsWith(".wasm")) continue;
    const { compared } = await judgeAll(name, [Deno.readFileSync(here(`corpus/${name}`))]);
    assert.equal(compared, 1, name);
  }
});

Deno.test({
  name: "meter() keeps what the modules of $CORPUS do",
  ignore: !Deno.env.has("CORPUS"),
  fn: async () => {
    const file = Deno.env.get("CORPUS")!;
    const seen = await judgeAll(file, modulesOf(file));
    console.log(JSON.stringify(seen));
    assert.ok(seen.compared > 0);
  },
});

Deno.test("meter() keeps what random modules do, and counts what they cost", async () => {
  const first = 2_000_000;
  const modules = Array.from({ length: SEEDS }, (_, i) => first + i);
  const seen = await judgeAll(
    `SEED=${first} + module`,
    modules.values().map((seed) => generate(seed).plain),
  );
  console.log(JSON.stringify(seen));
  assert.ok(seen.compared > 0.9 * SEEDS && seen.cycles > 10 * SEEDS);
});

Deno.test("random modules execute every instruction that the rewriter takes", () => {
  const wanted = new Set(IMMEDIATE.keys().filter((op) => IMMEDIATE[op] !== 0));
  for (let seed = 0; seed < COVERING_SEEDS && wanted.size > 0; seed++) {
    const { plain, calls } = generate(seed);
    const ops = opcodesOf(plain);
    if (!ops.values().some((op) => wanted.has(op))) continue;
    const module = new WebAssembly.Module(withMarks(plain));
    let exports: any;
    try {
      const imports = { env: { h: (x: number) => (x + 1) | 0 } };
      exports = new WebAssembly.Instance(module, imports).exports;
    } catch {
      // It ended in its start function: nothing is exported.
      continue;
    }
    for (const { name, args } of calls) {
      exports.budget.value = 150;
      try {
        exports[name](
          ...args.map((a) => a !== null && typeof a === "object" ? BigInt(a.i64) : a),
        );
      } catch { /* traps and exceptions are part of it */ }
    }
    for (const op of ops) if (exports[mark(op)].value === 1) wanted.delete(op);
  }
  assert.deepEqual([...wanted].map((op) => NAME[op]), []);
});

Deno.test("a proof is given for every module that is started in tests", () => {
  for (const { name } of Deno.readDirSync(here("../fixtures/"))) {
    if (!name.endsWith(".wasm")) continue;
    const bytes = Deno.readFileSync(here(`../fixtures/${name}`));
    // Components are judged by their parts elsewhere.
    if (bytes[6] !== 0) continue;
    assert.ok(prove(meter(bytes, OPTIONS).bytes).checks > 0, name);
  }
  const kernels = Deno.readFileSync(here("../bench/kernels/kernels.wasm"));
  assert.ok(prove(meter(kernels, OPTIONS).bytes).cycles > 20);
});

/** A module of which every check is needed: it calls itself, and has one loop. */
const LEAN = `(module (func $f (export "f") (param $n i32) (local $i i32)
  (loop
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (call $g)
    (br_if 0 (i32.lt_u (local.get $i) (local.get $n))))
  (call $f (local.get $n)))
  (func $g))`;

Deno.test("a proof is refused for a module of which one check is never true", async () => {
  const { bytes } = meter(await assemble(LEAN), OPTIONS);
  prove(bytes);
  const shapes = [
    // i32.const 0; i32.lt_s; if; local.get; global.set
    [0x41, 0x48, 0x04, 0x20, 0x24],
    // … of the functions that checks call.
    [0x23, 0x41, 0x48, 0x04],
  ];
  let broken = 0;
  for (const { instructions } of readWasm(bytes).codes) {
    for (let i = 0; i < instructions.length; i++) {
      const shape = shapes.find((ops) => ops.every((op, j) => instructions[i + j]?.op === op));
      if (!shape) continue;
      const changed = bytes.slice();
      changed[instructions[i + shape.indexOf(0x48)]!.start] = 0x49;
      assert.ok(WebAssembly.validate(changed));
      assert.throws(() => prove(changed), /without a check|unknown way/, `instruction ${i}`);
      broken++;
    }
  }
  // At the entry, at the head of the loop and of its copy, and in what they call.
  assert.ok(broken >= 5, `${broken}`);
});

/** Changes that take something away from metering, by the instructions that they are found at. */
const BREAKS: { what: string; ops: number[]; at: number; to: number; every?: number }[] = [
  // … i32.const n; i32.sub; local.tee: fuel is added.
  { what: "a charge that gives", ops: [0x41, 0x6b, 0x22], at: 1, to: 0x6a },
  // call; global.get; local.set; end: what the host gave is not seen.
  { what: "fuel that is not read again", ops: [0x10, 0x23, 0x21, 0x0b], at: 2, to: 0x1a },
  // local.get; global.set in front of a call: what was used is not told.
  { what: "fuel that is not stored", ops: [0x04, 0x20, 0x24, 0x10], at: 2, to: 0x1a },
  // … i32.const n; i32.add; global.set: what is paid ahead is taken once more.
  {
    what: "fuel paid ahead and told",
    ops: [0x04, 0x20, 0x41, 0x6a, 0x24],
    at: 3,
    to: 0x6b,
    every: 1,
  },
];

Deno.test("a proof is refused for a rewritten module from which metering was taken", () => {
  for (const { what, ops, at, to, every = 7 } of BREAKS) {
    let broken = 0;
    for (let seed = 0; seed < 24; seed++) {
      const { bytes } = meter(generate(seed).plain, OPTIONS);
      for (const { instructions } of readWasm(bytes).codes) {
        // Behind a `try_table` in which nothing throws there may be code that nothing is proved of.
        const { reached } = waysOf(instructions);
        for (let i = 0; i + ops.length <= instructions.length; i += every) {
          if (!reached[i] || !ops.every((op, j) => instructions[i + j]!.op === op)) continue;
          const changed = bytes.slice();
          const { start, end } = instructions[i + at]!;
          changed.fill(0x01, start, end);
          changed[start] = to;
          if (!WebAssembly.validate(changed)) continue;
          broken++;
          assert.throws(() => prove(changed), `${what}: SEED=${seed} at ${start}`);
        }
      }
    }
    assert.ok(broken > 3, `${what}: ${broken} times`);
  }
});

Deno.test("a proof is refused where a loop in a function of its own begins with more fuel than it pays", () => {
  const [GLOBAL_GET, CONST, ADD, LOCAL_SET] = [0x23, 0x41, 0x6a, 0x21];
  let broken = 0;
  for (let seed = 0; seed < 40; seed++) {
    const { bytes } = meter(generate(seed).plain, OPTIONS);
    for (const { instructions } of readWasm(bytes).codes) {
      const begins = [GLOBAL_GET, CONST, ADD, LOCAL_SET];
      if (!begins.every((op, i) => instructions[i]?.op === op)) continue;
      const { start, end, a } = instructions[1]!;
      if (end - start !== 2 || a >= 63) continue;
      const changed = bytes.slice();
      changed[start + 1]! += 1;
      broken++;
      assert.throws(() => prove(changed), /added that is not taken/, `SEED=${seed} at ${start}`);
    }
  }
  assert.ok(broken > 3, `${broken} times`);
});
