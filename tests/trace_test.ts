/**
 * `--trace` tells of every call into the host and of nothing that may be a secret; `--stats` of what
 * was used.
 *
 * @module
 */
import assert from "node:assert/strict";
import { parse } from "./wasm_tools.ts";
import { main } from "../cli/app.ts";
import { testShell } from "../cli/shell_fake.ts";
import { CACHE_FOLDER, endOf, onEachEngine, runGuest, THREADS } from "./guest.ts";

async function realm(...args: string[]) {
  const shell = testShell();
  const status = await main([args[0]!, "--data", CACHE_FOLDER, ...args.slice(1)], shell);
  return { status, lines: shell.text("stderr").split("\n") };
}

const file = (name: string) => new URL(`../fixtures/${name}.wasm`, import.meta.url).pathname;

Deno.test("realm run --trace prints a line for each call, with its grant", async () => {
  const { lines } = await realm("run", "--trace", file("open-all"));
  const traces = lines.filter((line) => line.startsWith("trace: "));
  for (
    const wanted of [
      /^trace: wasi:cli\/stdout#get-stdout\(\) = output-stream, [\d.]+ ms, granted: no --deny stdio$/,
      /^trace: wasi:io\/streams#\[method\]output-stream\.check-write\(\) = \d+, [\d.]+ ms, always there$/,
      /^trace: wasi:http\/types#\[constructor\]fields\(\) = fields, /,
      /^trace: wasi:http\/outgoing-handler#handle\(outgoing-request, none\) = err HTTP-request-denied, [\d.]+ ms, denied: needs --net /,
    ]
  ) assert.ok(traces.some((line) => wanted.test(line)), `${wanted}\n${traces.join("\n")}`);
});

onEachEngine(
  "nothing is traced that nobody asked for",
  (withEngine) =>
    withEngine(async (engine) => {
      const { traces, exit } = await runGuest(engine, "hello");
      assert.equal(endOf(exit), "exit 0");
      assert.deepEqual(traces, []);
    }),
  THREADS,
);

onEachEngine(
  "a trace shows no values of variables and no data, and its lines are bounded",
  (withEngine) =>
    withEngine(async (engine) => {
      const secret = "hunter2".repeat(100);
      const { traces, stdout } = await runGuest(engine, "env", {
        trace: true,
        args: [secret],
        grants: { env: [["TOKEN", secret]] },
      });
      assert.ok(stdout.includes(secret));
      assert.ok(
        traces.some((line) => /#get-environment\(\) = list\(1\), /.test(line)),
        traces.join("\n"),
      );
      assert.ok(traces.some((line) => /output-stream\.\S*write\S*\(bytes\(\d+\)\)/.test(line)));
      for (const line of traces) assert.ok(!line.includes("hunter2") && line.length < 400, line);
    }),
  THREADS,
);

onEachEngine(
  "no call is missing from a trace, however fast the guest makes them",
  (withEngine) =>
    withEngine(async (engine) => {
      const calls = 20_000;
      const component = new Uint8Array(
        await parse(`(module
        (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))
        (memory (export "memory") 1)
        (func (export "_start") (local i32)
          (loop $again
            (drop (call $yield))
            (br_if $again (i32.ne
              (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const ${calls}))))))`),
      );
      const { exit, traces } = await runGuest(engine, "yield", { component, trace: true });
      assert.equal(endOf(exit), "exit 0");
      assert.equal(traces.length, calls);
      assert.match(traces[0]!, /^wasi_snapshot_preview1#sched_yield\(\) = 0, /);
    }),
  THREADS,
);

onEachEngine(
  "a guest that is held up by its trace can be stopped",
  (withEngine) =>
    withEngine(async (engine) => {
      const { exit, traces } = await runGuest(engine, "spin", {
        args: ["60000"],
        trace: true,
        stopAfterMs: 300,
      });
      assert.equal(endOf(exit), "stopped");
      assert.ok(traces.some((line) => line.startsWith("wasi:clocks/monotonic-clock#now() = ")));
    }),
  THREADS,
);

Deno.test("realm run --stats prints what was used, behind everything else", async () => {
  const { status, lines } = await realm("run", "--stats", file("hello"));
  assert.equal(status, 0);
  const stats = lines.filter((line) => line !== "");
  assert.match(stats[0]!, /^fuel {7}[1-9]\d+$/);
  assert.match(stats[1]!, /^memory {5}[1-9][\d.]* MiB at most$/);
  assert.match(stats[2]!, /^running {4}\d+ ms$/);
  assert.match(stats[3]!, /^throttled {2}\d+ ms$/);
});

Deno.test("realm run --stats tells of growths that were refused", async () => {
  const { lines } = await realm("run", "--stats", "--memory-max-mb", "4", file("grow"));
  assert.ok(
    lines.some((line) => /^refused {4}[1-9]\d* growths of memory$/.test(line)),
    lines.join(),
  );
});

Deno.test("realm run --stats tells how long a guest was throttled, also when it trapped", async () => {
  const flags = ["--stats", "--fuel", "3000000", "--fuel-per-sec", "2000000"];
  const { status, lines } = await realm("run", ...flags, file("spin"));
  assert.equal(status, 102);
  const throttled = lines.find((line) => line.startsWith("throttled"));
  assert.ok(Number(/(\d+) ms/.exec(throttled!)![1]) > 100, throttled!);
  assert.ok(lines.some((line) => line.startsWith("error[out-of-fuel]")));
});
