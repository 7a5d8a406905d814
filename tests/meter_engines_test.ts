/**
 * The same rewritten modules, results and fuel in every engine that is there.
 *
 * @module
 */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { execFile, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { meter } from "../agent/wasm/meter/meter.ts";
import { observe } from "./meter_observer.mjs";
import { generate, type Generated } from "./wasm_generator.ts";

const OPTIONS = { memoryPagesMax: 64, tableElementsMax: 1000 };
const COUNT = Deno.env.get("SLOW") ? 600 : 100;
/** So small that every loop is outlined at once, and larger than most calls take. */
const SLICES = [1, 10_000] as const;
const SEEDS = Array.from({ length: COUNT }, (_, i) => 1000 + i);

/** Whether a program can be started. */
function present(program: string): boolean {
  return spawnSync(program, ["--version"]).status === 0;
}

function skip(test: string, why: string): void {
  console.log(`${test}: skipped, ${why}`);
}

/** Messages of traps differ between engines, and so may what is left behind one. */
function comparable(steps: ReturnType<typeof observe>) {
  return steps.map((s) => s.outcome.startsWith("trap") ? "trap" : s);
}

Deno.test("metered modules behave and cost alike in Node", async () => {
  if (!present("node")) return skip("Node", "there is no node on the path");
  const jobs = SEEDS.map((seed, i) => {
    const { plain, calls } = generate(seed);
    const { bytes } = meter(plain, OPTIONS);
    return { module: Buffer.from(bytes).toString("base64"), calls, slice: SLICES[i % 2]! };
  });
  const script = fileURLToPath(new URL("./meter_observer.mjs", import.meta.url));
  const output = await new Promise<string>((resolve, reject) => {
    const child = execFile(
      "node",
      [script, "observe"],
      { maxBuffer: 1 << 28 },
      (error, stdout) => error ? reject(error) : resolve(stdout),
    );
    child.stdin!.end(JSON.stringify(jobs));
  });
  const reports = JSON.parse(output) as (ReturnType<typeof observe> | null)[];
  let compared = 0;
  for (const [i, report] of reports.entries()) {
    if (report === null) continue;
    compared++;
    const { module, calls } = jobs[i]!;
    const here = observe(new Uint8Array(Buffer.from(module, "base64")), calls);
    assert.deepEqual(comparable(report), comparable(here), `SEED=${SEEDS[i]}`);
  }
  const unknown = reports.length - compared;
  if (unknown > 0) {
    skip("Node", `${unknown} of ${COUNT} modules use instructions that this node does not know`);
  }
  assert.ok(compared > COUNT / 4);
});

/** What the host provides, as modules for an engine without a host of ours. */
const realm = (slice: number) =>
  `(module
  (global $fuel (export "fuel") (mut i32) (i32.const 0))
  (global $granted (export "granted") (mut i32) (i32.const 0))
  (global (export "stack") (mut i32) (i32.const 200000))
  (global (export "outline") (mut i32) (i32.const 100000))
  (func (export "refuel") (result i32)
    (loop
      (global.set $fuel (i32.add (global.get $fuel) (i32.const ${slice})))
      (global.set $granted (i32.add (global.get $granted) (i32.const ${slice})))
      (br_if 0 (i32.lt_s (global.get $fuel) (i32.const 0))))
    (i32.const 0))
  (func (export "grow") (param i32 i32) (result i32) (i32.const 0)))`;
const ENV = `(module (func (export "h") (param i32) (result i32)
  (i32.add (local.get 0) (i32.const 1))))`;

/** A program that makes the calls and gives the fuel that it took. */
function driver({ calls }: Generated): string {
  const imports: string[] = [];
  const code: string[] = [];
  for (const [i, { name, args, params, results }] of calls.entries()) {
    imports.push(
      `(import "m" "${name}" (func $${i} (param ${params.join(" ")}) (result ${
        results.join(" ")
      })))`,
    );
    code.push(`(global.set $budget (i32.const 150))`);
    for (const [j, arg] of args.entries()) {
      if (arg === null) code.push(`(ref.null ${params[j]!.replace("ref", "")})`);
      else code.push(`(${params[j]}.const ${typeof arg === "object" ? arg.i64 : arg})`);
    }
    code.push(`(call $${i})`, ...results.map(() => "drop"));
  }
  return `(module (import "realm" "fuel" (global $fuel (mut i32)))
    (import "realm" "granted" (global $granted (mut i32)))
    (import "m" "budget" (global $budget (mut i32))) ${imports.join("\n")}
    (func (export "run") (result i32)
      ${code.join("\n")} (i32.sub (global.get $granted) (global.get $fuel))))`;
}

Deno.test("metered modules cost alike in wasmtime", () => {
  const home = join(Deno.env.get("HOME") ?? "", ".cargo", "bin", "wasmtime");
  const wasmtime = ["wasmtime", home].find(present);
  if (!wasmtime) return skip("wasmtime", "there is no wasmtime on the path");
  const folder = mkdtempSync(join(tmpdir(), "meter-"));
  try {
    const at = (name: string) => join(folder, name);
    writeFileSync(at("env.wat"), ENV);
    let compared = 0, ended = 0;
    for (const seed of SEEDS) {
      if (compared === COUNT / 4) break;
      const generated = generate(seed);
      // The other encoding of exceptions is not in wasmtime.
      if (generated.features.exceptions === "legacy") continue;
      const { bytes } = meter(generated.plain, OPTIONS);
      const steps = observe(bytes, generated.calls);
      if (steps.some((s) => s.outcome === "exception" || s.outcome.startsWith("trap"))) {
        ended++;
        continue;
      }
      writeFileSync(at("realm.wat"), realm(SLICES[compared % 2]!));
      writeFileSync(at("m.wasm"), bytes);
      writeFileSync(at("driver.wat"), driver(generated));
      const args: string[] = [
        "run",
        "-Wexceptions=y,gc=y,function-references=y,tail-call=y,multi-memory=y",
        ...["realm", "env", "m"].map((name) =>
          `--preload=${name}=${at(name === "m" ? "m.wasm" : `${name}.wat`)}`
        ),
        "--invoke=run",
        at("driver.wat"),
      ];
      const ran: { stdout: string; stderr: string } = spawnSync(wasmtime, args, {
        encoding: "utf8",
      });
      assert.equal(ran.stdout.trim(), String(steps.at(-1)!.units), `SEED=${seed} ${ran.stderr}`);
      compared++;
    }
    assert.ok(compared > 10, `only ${compared} modules were compared, ${ended} ended early`);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
