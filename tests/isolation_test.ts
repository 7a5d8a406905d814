/**
 * Replicas in processes of their own: what becomes of the process is the end of the replica and of
 * nothing else, whatever the process does.
 *
 * @module
 */
import assert from "node:assert/strict";
import { createProcessEngine } from "../agent/local_process_engine.ts";
import type { Exit, Replica, StartOptions } from "../agent/kernel/ports.ts";
import { ProcessEngine } from "../agent/runtime/isolation/process_engine.ts";
import { DiskCache } from "../agent/store/disk_cache.ts";
import { CACHE_FOLDER, fixture, NO_GRANTS } from "./guest.ts";

const MIB = 1024 * 1024;
const HOSTILE = new URL("./isolation/hostile_process.ts", import.meta.url).pathname;

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** An engine whose processes are a hostile program of this kind. */
function hostileEngine(kind: string, silentMs?: number): ProcessEngine {
  return new ProcessEngine({
    cache: new DiskCache(`${CACHE_FOLDER}/cache`),
    folder: `${CACHE_FOLDER}/processes`,
    program: {
      words: [Deno.execPath(), "run", "--quiet", "-A", HOSTILE, kind],
      inheritsEnvironment: true,
    },
    ...(silentMs === undefined ? {} : { silentMs }),
  });
}

interface Seen {
  notices: number;
  outputBytes: number;
}

async function start(
  engine: ProcessEngine,
  name: string,
  options: Partial<StartOptions> = {},
): Promise<{ replica: Replica; seen: Seen }> {
  const seen: Seen = { notices: 0, outputBytes: 0 };
  const replica = await engine.start(await engine.prepare(await fixture(name)), {
    world: "wasi:cli/command",
    grants: { ...NO_GRANTS, args: [name] },
    limits: { memoryBytesMax: 64 * MIB },
    stdio: {
      terminal: { stdin: false, stdout: false, stderr: false },
      read: () => new Promise(() => {}),
      write: (_stream, bytes) => {
        seen.outputBytes += bytes.length;
        return new Promise(() => {}); // Nobody takes it.
      },
    },
    notice: () => seen.notices++,
    ...options,
  });
  return { replica, seen };
}

/** Whether a process with this id is there. */
function lives(pid: number): boolean {
  try {
    const state = /^State:\s+(\w)/m.exec(Deno.readTextFileSync(`/proc/${pid}/status`))?.[1];
    return state !== undefined && state !== "Z";
  } catch {
    return false;
  }
}

async function gone(pid: number): Promise<void> {
  for (let i = 0; i < 100 && lives(pid); i++) await sleep(100);
  assert.ok(!lives(pid), `process ${pid} is still there`);
}

/** Processor time of this thread: other tests run in others of the same process. */
function cpuMs(): number {
  return Number(Deno.readTextFileSync("/proc/thread-self/schedstat").split(" ")[0]) / 1e6;
}

const message = (exit: Exit) => exit.kind === "trap" ? `${exit.code}: ${exit.message}` : exit.kind;

const HANDLER: Partial<StartOptions> = { world: "wasi:http/proxy" };
const request = (path: string) => ({
  method: "GET",
  url: `http://realm.test${path}`,
  headers: [],
  body: null,
  signal: new AbortController().signal,
});

Deno.test("a process has no permission, a limit of the system, and nothing of its parent", async () => {
  const engine = createProcessEngine(CACHE_FOLDER);
  try {
    const { replica } = await start(engine, "http-counter", HANDLER);
    const own = replica.process!()!;
    // From source the guest's Worker is read from a file.
    assert.deepEqual(own.permissions, ["read"]);
    assert.ok(own.dataBytesMax! > 64 * MIB && own.dataBytesMax! < 8192 * MIB);
    const limits = await Deno.readTextFile(`/proc/${own.pid}/limits`);
    assert.match(limits, new RegExp(`^Max data size +${own.dataBytesMax} `, "m"));
    assert.match(limits, new RegExp(`^Max open files +${own.openFilesMax} `, "m"));
    assert.match(limits, /^Max core file size +0 /m);
    assert.ok(own.residentBytes > 10 * MIB, `${own.residentBytes}`);
    assert.equal(replica.limits().memoryBytesMax, 64 * MIB);
    await replica.stop();
    assert.ok(!lives(own.pid), "when stop() resolves the process is gone");
  } finally {
    await engine.close();
  }
});

Deno.test("a process that is killed ends its replica with one line, and its requests", async () => {
  const engine = createProcessEngine(CACHE_FOLDER);
  try {
    const { replica } = await start(engine, "http-counter", HANDLER);
    const neighbour = await start(engine, "http-counter", HANDLER);
    const slow = replica.handle(request("/slow?ms=10000"));
    const refused = assert.rejects(slow, { code: "failed" });
    await sleep(100);
    Deno.kill(replica.process!()!.pid, "SIGKILL");
    await refused;
    assert.equal(message(await replica.exited), "failed: its process was ended by SIGKILL");
    await assert.rejects(replica.handle(request("/healthz")), { code: "failed" });
    assert.equal((await neighbour.replica.handle(request("/healthz"))).status, 200);
  } finally {
    await engine.close();
  }
});

Deno.test("a process without memory is the end of its replica only", async () => {
  const engine = hostileEngine("memory", 600_000); // it takes its time, and says nothing
  try {
    const { replica } = await start(engine, "http-counter", HANDLER);
    await assert.rejects(replica.handle(request("/")));
    assert.equal(message(await replica.exited), "memory-limit: its process ran out of memory");
  } finally {
    await engine.close();
  }
});

Deno.test("a process that exits says with which status", async () => {
  const engine = hostileEngine("exit");
  try {
    const { replica } = await start(engine, "http-counter", HANDLER);
    await assert.rejects(replica.handle(request("/")));
    assert.equal(message(await replica.exited), "failed: its process ended with status 7");
  } finally {
    await engine.close();
  }
});

for (const kind of ["silence", "deaf"]) {
  Deno.test(`a process is killed for ${kind}`, async () => {
    const engine = hostileEngine(kind, 3_000);
    try {
      const { replica } = await start(engine, "http-counter", HANDLER);
      const { pid } = replica.process!()!;
      assert.match(message(await replica.exited), /^failed: .*it said nothing for 3 s$/);
      assert.ok(!lives(pid));
    } finally {
      await engine.close();
    }
  });
}

Deno.test("a process that is stopped and does not listen is killed", async () => {
  const engine = hostileEngine("silence");
  try {
    const { replica } = await start(engine, "hello");
    const from = performance.now();
    await replica.stop();
    assert.deepEqual(await replica.exited, { kind: "stopped" });
    assert.ok(performance.now() - from < 10_000);
    assert.ok(!lives(replica.process!()!.pid));
  } finally {
    await engine.close();
  }
});

const BROKEN: Readonly<Record<string, RegExp>> = {
  garbage: /it sent a packet of \d+ bytes$/,
  size: /it sent a packet of \d+ bytes$/,
  output: /it sent more output than was taken$/,
  stdin: /it sent two wishes for input$/,
  responses: /it sent two answers to one request$/,
  body: /it sent a body that nobody reads$/,
  calls: /it sent a wrong id$/,
  depth: /it sent a wrong value$/,
};
for (const [kind, reason] of Object.entries(BROKEN)) {
  Deno.test(`a process that breaks the protocol is killed: ${kind}`, async () => {
    const engine = hostileEngine(kind);
    try {
      const { replica, seen } = await start(engine, "http-counter", HANDLER);
      const answer = replica.handle(request("/")).then(() => {}, () => {});
      const exit = await replica.exited;
      assert.match(message(exit), reason);
      await answer;
      assert.ok(seen.outputBytes <= 8 * MIB, `${seen.outputBytes}`);
    } finally {
      await engine.close();
    }
  });
}

for (const kind of ["notices", "usage"]) {
  Deno.test(`a process that floods the agent with ${kind} gets no more than its share`, async () => {
    const engine = hostileEngine(kind);
    try {
      const began = performance.now();
      const { replica, seen } = await start(engine, "hello");
      await sleep(500);
      const [cpu, from] = [cpuMs(), performance.now()];
      await sleep(2_000);
      const share = (cpuMs() - cpu) / (performance.now() - from);
      const seconds = Math.ceil((performance.now() - began) / 1_000);
      // A hundred in each, and that there were more.
      assert.ok(seen.notices <= 101 * (seconds + 1), `${seen.notices} lines in ${seconds} s`);
      assert.ok(share < 0.7, `the agent was busy ${share} of the time`);
      await replica.stop();
    } finally {
      await engine.close();
    }
  });
}

Deno.test("no process outlives its agent, even one that was killed", async () => {
  const script = `
    import { createProcessEngine } from "./agent/local_process_engine.ts";
    import { fixture, NO_GRANTS } from "./tests/guest.ts";
    const engine = createProcessEngine(${JSON.stringify(CACHE_FOLDER)});
    const replica = await engine.start(await engine.prepare(await fixture("spin")), {
      world: "wasi:cli/command",
      grants: NO_GRANTS,
      limits: { memoryBytesMax: ${64 * MIB} },
      stdio: {
        terminal: { stdin: false, stdout: false, stderr: false },
        read: () => Promise.resolve(null),
        write: () => {},
      },
      notice: () => {},
    });
    console.log(replica.process().pid);
  `;
  const agent = new Deno.Command(Deno.execPath(), {
    args: ["eval", "--quiet", "--ext=ts", script],
    cwd: new URL("..", import.meta.url),
    stdout: "piped",
  }).spawn();
  const reader = agent.stdout.getReader();
  const pid = Number(new TextDecoder().decode((await reader.read()).value));
  assert.ok(pid > 0 && lives(pid));
  agent.kill("SIGKILL");
  await agent.status;
  await reader.cancel();
  await gone(pid);
});
