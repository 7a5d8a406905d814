/**
 * The same log gives the same state, verdicts and fuel on every engine: here, in Node, in headless
 * Chromium, and for the core module in wasmtime. What is not installed is skipped, and the run says so.
 *
 * @module
 */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parse } from "./wasm_tools.ts";
import fc from "fast-check";
import { fixtureApp } from "../agent/apps/app_fixture_fake.ts";
import { componentOf, HEAP, moduleText } from "../agent/apps/guest/component_fake.ts";
import {
  FUEL_MAX,
  MEMORY_PAGES_MAX,
  PRICES,
  STACK_BYTES,
  TABLE_ELEMENTS_MAX,
} from "../agent/apps/guest/prices.ts";
import { type Outcome, StateApply } from "../agent/apps/guest/state_apply.ts";
import { type Guest, Replay } from "../agent/apps/replay.ts";
import { State } from "../agent/apps/state.ts";
import { AppLog } from "../agent/apps/topic/app_log.ts";
import { replayParts } from "../agent/apps/topic/app_replay.ts";
import {
  ann,
  ben,
  cem,
  createTopic,
  emptyLog,
  exchange,
  join as joins,
} from "../agent/apps/topic/topic_fake.ts";
import { CID } from "../agent/kernel/canonical.ts";
import { decodeSigned, encodeSigned } from "../agent/kernel/event.ts";
import { MemoryStore } from "../agent/store/memory_store.ts";
import { meter } from "../agent/wasm/meter/meter.ts";
import { replayTopic, type TopicInput, type TopicReport } from "./determinism/program.ts";
import { WASMTIME } from "./wasmtime/command.ts";
import { programOf, Recorder, type Recording } from "./wasmtime/recorded_guest.ts";

const COUNT = Deno.env.get("SLOW") ? 2000 : 120;

/** A test that needs a program; ignored, and said loudly, where that is not installed. */
function testWith(program: string, isThere: boolean, name: string, test: () => Promise<void>) {
  if (!isThere) {
    console.warn(`!!! SKIPPED: "${name}": ${program} is not installed`);
  }
  Deno.test({ name, ignore: !isThere, fn: test });
}

type Content = { readonly type: string; readonly payload: Uint8Array };

const number = (n: number) => {
  const payload = new Uint8Array(8);
  new DataView(payload.buffer).setBigUint64(0, BigInt(n));
  return payload;
};
const adds = fc.oneof(
  fc.nat(1_100_000).map((n): Content => ({ type: "add", payload: number(n) })),
  fc.uint8Array({ maxLength: 20 }).map((payload): Content => ({ type: "add", payload })),
);
const votes = (polls: readonly Uint8Array[]) =>
  fc.oneof(
    fc.constantFrom("\x04Tea?\x01y\x01n", "\x01?\x01A\x01B\x01C", "\x01A")
      // When it ends, which is never, and the texts.
      .map((text) => Uint8Array.of(...number(0), ...Buffer.from(text, "latin1")))
      .map((payload): Content => ({ type: "create", payload })),
    fc.tuple(fc.constantFrom(...polls), fc.nat(3))
      .map(([poll, n]): Content => ({ type: "vote", payload: Uint8Array.of(...poll, n) })),
    fc.constantFrom(...polls).map((payload): Content => ({ type: "close", payload })),
    fc.tuple(fc.constantFrom("give-role", "take-role"), fc.constantFrom(ann, ben, cem))
      .map(([type, { publicKey }]): Content => ({
        type,
        payload: Uint8Array.of(...publicKey, ...Buffer.from("moderator")),
      })),
  );

/** What three people write who hear of one another now and then. */
async function history(name: string): Promise<TopicInput> {
  const logs = [createTopic()];
  await joins(logs[0]!, ben);
  await joins(logs[0]!, cem);
  for (let i = 0; i < 2; i++) {
    logs.push(emptyLog(logs[0]!.topicId));
    exchange(logs[0]!, logs.at(-1)!);
  }
  const people = [ann, ben, cem];
  const polls: Uint8Array[] = [new Uint8Array(32)];
  const steps = fc.sample(fc.tuple(fc.nat(2), fc.nat(9), fc.nat()), { numRuns: COUNT, seed: 1 });
  for (const [who, hears, seed] of steps) {
    const said = name === "counter" ? adds : votes(polls);
    const [content] = fc.sample(said, { numRuns: 1, seed });
    const { id } = logs[who]!.append(content!, people[who]!);
    if (content!.type === "create") polls.push(id.multihash.digest);
    if (hears === 0) exchange(logs[who]!, logs[(who + 1) % 3]!);
  }
  exchange(logs[0]!, logs[1]!);
  exchange(logs[0]!, logs[2]!);
  logs[0]!.flush(0);
  const events = [...logs[0]!.stored()].map(({ id }) => encodeSigned(logs[0]!.load(id)!));
  return {
    topic: `${logs[0]!.topicId}`,
    component: Buffer.from((await fixtureApp(name)).get("state-apply")!).toString("base64"),
    events: events.map((event) => Buffer.from(event).toString("base64")),
  };
}

/** Both apps, and what comes of them here. */
let prepared: Promise<{ input: TopicInput[]; here: TopicReport[] }> | undefined;
const prepare = () =>
  prepared ??= (async () => {
    const input = await Promise.all(["counter", "poll"].map(history));
    const here: TopicReport[] = [];
    for (const topic of input) here.push(await replayTopic(topic));
    return { input, here };
  })();

let bundled: string | undefined;

/** The program for engines that are not Deno: one script. */
function bundle(): string {
  if (bundled !== undefined) return bundled;
  const folder = mkdtempSync(join(tmpdir(), "determinism-"));
  try {
    const output = join(folder, "program.js");
    const program = fileURLToPath(new URL("./determinism/program.ts", import.meta.url));
    // A browser has nothing of `node:`, so a module of it anywhere makes this fail.
    const { success, stderr } = new Deno.Command(Deno.execPath(), {
      args: [
        "bundle",
        "--quiet",
        "--platform=browser",
        "--format=iife",
        `--output=${output}`,
        program,
      ],
      stderr: "piped",
    }).outputSync();
    assert.ok(success, new TextDecoder().decode(stderr));
    return bundled = readFileSync(output, "utf8");
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Runs a file with a program, which prints the report somewhere between the marks. */
async function compare(
  file: string,
  text: (program: string, input: string) => string,
  run: (path: string) => string,
): Promise<void> {
  const { input, here } = await prepare();
  const folder = mkdtempSync(join(tmpdir(), "determinism-"));
  try {
    const path = join(folder, file);
    writeFileSync(path, text(bundle(), JSON.stringify(input)));
    const printed = run(path);
    const report = /REPORT(.*?)END/s.exec(printed)?.[1];
    assert.ok(report !== undefined && report.startsWith("["), printed.slice(0, 2000));
    assert.deepEqual(JSON.parse(report), here);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

Deno.test("logs of both apps have accepted and rejected events, on branches too", async () => {
  const { here } = await prepare();
  for (const { events, entries, verdicts } of here) {
    assert.ok(events > COUNT && entries > 2, JSON.stringify(here));
    assert.ok(verdicts.accepted! > COUNT / 10 && verdicts.rejected! > COUNT / 20);
  }
});

const NODE = spawnSync("node", ["--version"]).status === 0;

testWith("Node", NODE, "the same log gives the same state, verdicts and fuel in Node", async () => {
  await compare(
    "program.cjs",
    (program, input) =>
      `globalThis.realmInput = ${input};
      globalThis.realmDone = (report) => console.log("REPORT" + report + "END");
      ${program}`,
    (path) => execFileSync("node", [path], { encoding: "utf8", maxBuffer: 1 << 28 }),
  );
});

/** Names under which browsers are installed that are Chromium. */
const CHROMIUM = ["chromium", "chromium-browser", "google-chrome", "chrome"].find((name) =>
  spawnSync(name, ["--version"]).status === 0
);

const IN_CHROMIUM = "the same log gives the same state, verdicts and fuel in headless Chromium";
testWith("Chromium", CHROMIUM !== undefined, IN_CHROMIUM, async () => {
  const inScript = (text: string) => text.replaceAll("</script", "<\\/script");
  const profile = mkdtempSync(join(tmpdir(), "chromium-"));
  try {
    await compare(
      "page.html",
      (program, input) =>
        `<!doctype html><meta charset="utf-8"><pre id="report"></pre>
        <script>
          globalThis.realmInput = ${inScript(input)};
          globalThis.realmDone = (report) => {
            document.getElementById("report").textContent = "REPORT" + report + "END";
          };
        </script><script>${inScript(program)}</script>`,
      (path) =>
        execFileSync(CHROMIUM!, [
          "--headless",
          "--no-sandbox",
          "--disable-gpu",
          "--disable-background-networking",
          "--disable-dev-shm-usage",
          "--no-first-run",
          `--user-data-dir=${profile}`,
          // The page is told so much time passes; what it computes takes what it takes.
          "--virtual-time-budget=600000",
          "--dump-dom",
          `file://${path}`,
        ], { encoding: "utf8", maxBuffer: 1 << 28, stdio: ["ignore", "pipe", "ignore"] })
          .replace(/<script>.*<\/script>/s, ""),
    );
  } finally {
    rmSync(profile, { recursive: true, force: true });
  }
});

const IN_WASMTIME =
  "a core module of state-apply takes the same fuel, and does the same, in wasmtime";
testWith("wasmtime", WASMTIME !== undefined, IN_WASMTIME, async () => {
  // A hash over the payload and the event's lamport, in as many rounds as the payload says, left at 32.
  const wat = moduleText(`
    (local.set $j (i32.wrap_i64 (call $event.lamport)))
    (local.set $i (i32.const 0))
    (loop $next
      (local.set $j (i32.mul
        (i32.xor (local.get $j)
          (i32.load8_u (i32.add (local.get $p) (i32.rem_u (local.get $i) (local.get $n)))))
        (i32.const 16777619)))
      (i32.store (i32.const 32) (local.get $j))
      (br_if $next (i32.lt_u
        (local.tee $i (i32.add (local.get $i) (i32.const 1)))
        (i32.mul (local.get $n) (i32.load8_u (local.get $p))))))
    (call $state-write.put (local.get $p) (local.get $n) (i32.const 32) (i32.const 4))`);
  const component = await componentOf(wat);
  const guest = await StateApply.load(
    component,
    { creator: ann.publicKey, params: new Map() },
    () => true,
  );
  const payload = Uint8Array.from({ length: 50 }, (_, i) => 200 + i);
  const lamport = 77;
  const journal = State.EMPTY.journal();
  const event = { id: payload, author: payload, seq: 0, lamport, kind: payload, payload };
  const { verdict, fuel } = guest.apply(event, journal);
  assert.equal(verdict.kind, "accepted");
  const hash = new DataView(journal.get(payload)!.buffer).getInt32(0, true);

  const { bytes } = meter(await parse(wat), {
    memoryPagesMax: MEMORY_PAGES_MAX,
    tableElementsMax: TABLE_ELEMENTS_MAX,
  });
  const folder = mkdtempSync(join(tmpdir(), "determinism-"));
  try {
    const at = (name: string, content: string | Uint8Array) => {
      writeFileSync(join(folder, name), content);
      return join(folder, name);
    };
    const realm = at(
      "realm.wat",
      `(module (global (export "fuel") (mut i32) (i32.const ${FUEL_MAX}))
        (global (export "stack") (mut i32) (i32.const ${STACK_BYTES}))
        (global (export "outline") (mut i32) (i32.const 0))
        (func (export "refuel") (result i32) unreachable)
        (func (export "grow") (param i32 i32) (result i32) (i32.const 1)))`,
    );
    const pay = (units: number) =>
      `(global.set $fuel (i32.sub (global.get $fuel) (i32.const ${units})))`;
    const host = (functions: string) =>
      `(module (import "realm" "fuel" (global $fuel (mut i32))) ${functions})`;
    const put = PRICES["state-write"].put + payload.length + 4;
    const stubs: Record<string, string> = {
      "state-read": `(func (export "get") (param i32 i32 i32))
        (func (export "scan") (param i32 i32 i32 i32 i32 i32))`,
      "state-write": `(func (export "put") (param i32 i32 i32 i32) ${pay(put)})
        (func (export "delete") (param i32 i32))`,
      params: `(func (export "get") (param i32 i32 i32)) (func (export "creator") (param i32))`,
      event: `(func (export "id") (param i32)) (func (export "author") (param i32))
        (func (export "seq") (result i64) (i64.const 0)) (func (export "kind") (param i32))
        (func (export "lamport") (result i64) ${pay(PRICES.event.lamport)} (i64.const ${lamport}))`,
      crypto: `(func (export "sha256") (param i32 i32 i32))
        (func (export "verify") (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 0))
        (func (export "check-canonical") (param i32 i32) (result i32) (i32.const 0))`,
      log: `(func (export "write") (param i32 i32 i32))`,
    };
    const preloads = [`realm=${realm}`];
    for (const [name, functions] of Object.entries(stubs)) {
      preloads.push(`realm:app/${name}@0.1.0=${at(`${name}.wat`, host(functions))}`);
    }
    preloads.push(`guest=${at("guest.wasm", bytes)}`);
    const driver = at(
      "driver.wat",
      `(module (import "realm" "fuel" (global $fuel (mut i32)))
        (import "guest" "memory" (memory 1))
        (import "guest" "cabi_realloc" (func $realloc (param i32 i32 i32 i32) (result i32)))
        (import "guest" "realm:app/applier@0.1.0#apply"
          (func $apply (param i32 i32) (result i32)))
        (func (export "run") (result i32 i32)
          (drop (call $realloc
            (i32.const 0) (i32.const 0) (i32.const 1) (i32.const ${payload.length})))
          ${
        [...payload].map((b, i) => `(i32.store8 (i32.const ${HEAP + i}) (i32.const ${b}))`).join(
          " ",
        )
      }
          (drop (call $apply (i32.const ${HEAP}) (i32.const ${payload.length})))
          (i32.sub (i32.const ${FUEL_MAX}) (global.get $fuel))
          (i32.load (i32.const 32))))`,
    );
    const args = preloads.flatMap((preload) => ["--preload", preload]);
    const { stdout, stderr } = spawnSync(
      WASMTIME!,
      ["run", ...args, "--invoke", "run", driver],
      { encoding: "utf8" },
    );
    assert.deepEqual(stdout.trim().split("\n").map(Number), [fuel, hash], stderr);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

/** One event of each kind and outcome of a topic, as its core module applied it here. */
async function recordings({ topic, component, events }: TopicInput): Promise<Recording[]> {
  using recorder = new Recorder();
  const verify = () => true;
  const log = AppLog.open({ store: new MemoryStore(), verify, topic: CID.parse(topic) });
  log.offer(events.map((event) => decodeSigned(Buffer.from(event, "base64"))));
  const setting = { creator: log.topic!.genesis.author, params: new Map() };
  const guest = await StateApply.load(Buffer.from(component, "base64"), setting, verify);
  const seen = new Map<string, number>();
  const found: Recording[] = [];
  const recorded: Guest = {
    apply(event, writes) {
      let outcome: Outcome | undefined;
      const recording = recorder.record(event.payload, () => {
        outcome = guest.apply(event, writes);
      });
      const { verdict, fuel } = outcome!;
      const reason = verdict.kind === "rejected" ? Buffer.from(verdict.reason) : "";
      const name = `${Buffer.from(event.kind)} ${verdict.kind} ${reason}`;
      const count = seen.get(name) ?? 0;
      seen.set(name, count + 1);
      if (recording === undefined || count >= 1) return outcome!;
      assert.equal(recording.fuel, fuel, name);
      found.push(recording);
      return outcome!;
    },
  };
  const replay = new Replay(replayParts(log, { guestOf: () => recorded })!);
  replay.update(0);
  assert.ok(replay.isSettled, `${replay.illness?.cause}`);
  return found;
}

const APPS_IN_WASMTIME =
  "the core modules of both apps take the same fuel, and leave the same memory, in wasmtime";
testWith("wasmtime", WASMTIME !== undefined, APPS_IN_WASMTIME, async () => {
  const { input } = await prepare();
  const folder = mkdtempSync(join(tmpdir(), "determinism-"));
  try {
    for (const topic of input) {
      const made = await recordings(topic);
      assert.ok(made.length >= 2 && made.some(({ calls }) => calls.length > 4), `${made.length}`);
      for (const [i, recording] of made.entries()) {
        const limits = { fuelMax: FUEL_MAX, stackBytes: STACK_BYTES };
        const { files, wanted } = await programOf(recording, limits);
        const paths = [...files].map(([name, content], n) => {
          const file = join(folder, `${i}-${n}.${typeof content === "string" ? "wat" : "wasm"}`);
          writeFileSync(file, content);
          return [name, file] as const;
        });
        const [, driver] = paths.pop()!;
        const args = paths.flatMap(([name, file]) => ["--preload", `${name}=${file}`]);
        const { stdout, stderr } = spawnSync(
          WASMTIME!,
          ["run", ...args, "--invoke", "run", driver],
          { encoding: "utf8" },
        );
        assert.deepEqual(stdout.trim().split("\n").map(Number), wanted, stderr);
      }
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});
