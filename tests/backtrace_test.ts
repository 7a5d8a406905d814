/**
 * Backtraces of guests name functions, offsets and source lines, as wasmtime does.
 *
 * Where wasmtime is installed it is asked; everywhere else what it said when
 * `wasmtime/backtraces.json` was recorded (`UPDATE=1` records anew).
 *
 * @module
 */
import assert from "node:assert/strict";
import type { Frame } from "../agent/kernel/frame.ts";
import { sha256Hex } from "../agent/kernel/sha256.ts";
import { createEngine } from "../agent/local_engine.ts";
import { createProcessEngine } from "../agent/local_process_engine.ts";
import { main } from "../cli/app.ts";
import { testShell } from "../cli/shell_fake.ts";
import {
  CACHE_FOLDER,
  endOf,
  fixture,
  onEachEngine,
  runGuest,
  THREADS,
  withEngine,
} from "./guest.ts";
import { output, WASMTIME } from "./wasmtime/command.ts";

const GOLDEN = new URL("wasmtime/backtraces.json", import.meta.url);
const CRASH = new URL("../fixtures/crash.wasm", import.meta.url).pathname;

/** `name @ offset file:line`, without the hashes that only wasmtime shows. */
type Line = string;

function written({ function: name, offset, file, line }: Frame): Line {
  return `${name} @ ${offset.toString(16)}${file === undefined ? "" : ` ${file}:${line ?? 0}`}`;
}

const withoutHashes = (name: string) =>
  name.replace(/::h[0-9a-f]{16}$/, "").replace(/\[[0-9a-f]{8,16}\]/g, "");

/** What wasmtime says of the trap: names as the module has them, lines from another run. */
async function underWasmtime(mode: string): Promise<Line[]> {
  const ask = async (details: string) => {
    const env = ["env", `WASMTIME_BACKTRACE_DETAILS=${details}`, WASMTIME!];
    const fuel = mode === "spin" ? ["-W", "fuel=1000000"] : [];
    const { stderr } = await output(env[0]!, [...env.slice(1), "run", ...fuel, CRASH, mode]);
    return stderr;
  };
  const names = [...(await ask("0")).matchAll(/^ +\d+: +0x([0-9a-f]+) - [^!\n]*!(.*)$/gm)];
  const lines = new Map(
    [...(await ask("1")).matchAll(/^ +\d+: +0x([0-9a-f]+) - .*\n +at (.*):\d+$/gm)]
      .map(([, offset, at]) => [offset, at]),
  );
  return names.map(([, offset, name]) => {
    const at = lines.get(offset);
    return `${withoutHashes(name!)} @ ${offset}${at === undefined ? "" : ` ${at}`}`;
  });
}

const MODES = ["bounds", "memory", "trap", "spin"];

Deno.test("backtraces name functions, offsets and lines as wasmtime does", (t) =>
  withEngine(async (engine) => {
    const golden = JSON.parse(await Deno.readTextFile(GOLDEN)) as Record<string, Line[]>;
    for (const mode of MODES) {
      await t.step(mode, async () => {
        if (WASMTIME) {
          const theirs = await underWasmtime(mode);
          if (Deno.env.get("UPDATE") === "1") golden[mode] = theirs;
          assert.deepEqual(golden[mode], theirs);
        }
        const { exit } = await runGuest(engine, "crash", {
          args: [mode],
          limits: mode === "spin" ? { fuelMax: 1_000_000 } : {},
        });
        assert.equal(endOf(exit), mode === "spin" ? "out-of-fuel" : "trap");
        assert.ok(exit.kind === "trap");
        assert.deepEqual(exit.backtrace.map(written), golden[mode]);
      });
    }
    if (Deno.env.get("UPDATE") === "1") {
      await Deno.writeTextFile(GOLDEN, `${JSON.stringify(golden, null, 2)}\n`);
    }
  }));

onEachEngine("backtraces lead to the lines that the source marks", async (withEngine) => {
  const source = await Deno.readTextFile(new URL("../fixtures/crash/src/lib.rs", import.meta.url));
  const lineOf = (mark: string) =>
    source.split("\n").findIndex((line) => line.endsWith(`// here: ${mark}`)) + 1;
  await withEngine(async (engine) => {
    const { exit } = await runGuest(engine, "crash", { args: ["bounds"] });
    assert.ok(exit.kind === "trap");
    const ours = exit.backtrace.filter(({ file }) => file?.endsWith("/crash/src/lib.rs"));
    assert.deepEqual(
      ours.map(({ line }) => line),
      ["bounds", "closure", "method", "generic", "run"].map(lineOf),
    );
    assert.equal(ours[2]!.function, "crash::Machine::step");
    assert.ok(ours.every(({ module }) => module === "crash.wasm"));
  });
}, THREADS);

onEachEngine(
  "backtraces of a stripped guest have the numbers of its own functions",
  (withEngine) =>
    withEngine(async (engine) => {
      const { exit } = await runGuest(engine, "exit", { args: ["trap"] });
      assert.ok(exit.kind === "trap" && exit.backtrace.length > 1);
      const file = await fixture("exit");
      for (const { module, function: name, offset, file: path } of exit.backtrace) {
        assert.match(module, /^core\d*$/);
        assert.match(name, /^function\[\d+\]$/);
        assert.ok(offset < file.length && path === undefined);
      }
      // What trapped is the instruction itself: unreachable.
      assert.equal(file[exit.backtrace[0]!.offset], 0x00);
    }),
  THREADS,
);

Deno.test("realm run shows the backtrace behind its error, and in --json", async () => {
  const run = async (...flags: string[]) => {
    const shell = testShell();
    const status = await main(["run", "--data", CACHE_FOLDER, ...flags, CRASH, "bounds"], shell);
    assert.equal(status, 101);
    return shell.text("stderr");
  };
  const text = (await run()).split("\n");
  const first = text.findIndex((line) => line.startsWith("error[trap]: "));
  assert.match(text[first + 1]!, /^ {4}at crash\.wasm!\S+ @ 0x[0-9a-f]+ \(.*:\d+\)$/);
  assert.ok(text.some((line) => line.includes("crash::Machine::step @ 0x")), text.join("\n"));
  const { error } = JSON.parse(await run("--json"));
  assert.equal(error.code, "trap");
  const frame = error.backtrace.find((f: Frame) => f.function === "crash::generic");
  assert.deepEqual(Object.keys(frame), ["module", "function", "offset", "file", "line"]);
});

Deno.test("backtraces have names when the cache is gone, from who else has the component", async () => {
  const bytes = await fixture("crash");
  const asked: string[] = [];
  const sources = (digest: string) => {
    asked.push(digest);
    return Promise.resolve(bytes);
  };
  const folder = await Deno.makeTempDir();
  try {
    for (
      const create of [
        () => createEngine(folder, { sources }),
        () => createProcessEngine(folder, sources),
      ]
    ) {
      const engine = create();
      try {
        await engine.prepare(bytes);
        await Deno.remove(`${folder}/cache`, { recursive: true });
        const { exit } = await runGuest(engine, "crash", { args: ["bounds"] });
        assert.ok(exit.kind === "trap");
        assert.ok(exit.backtrace.some(({ file }) => file?.endsWith("/crash/src/lib.rs")));
      } finally {
        await engine.close();
      }
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
  const digest = await sha256Hex(bytes);
  assert.deepEqual(asked, [digest, digest]);
});
