import assert from "node:assert/strict";
import { RealmError } from "../kernel/error.ts";
import {
  type Clock,
  type Exit,
  NO_USAGE,
  type Replica,
  type StartOptions,
} from "../kernel/ports.ts";
import type { DesiredReplica } from "../realm/desired.ts";
import type { RunningSlot } from "../realm/node_rollout.ts";
import { Supervisor } from "./supervisor.ts";

/** Time that passes when the test says so. */
class ManualClock implements Clock {
  now = 1000;
  #sleepers = new Set<{ at: number; wake: () => void }>();
  wallMs = () => this.now + 1e12;
  monotonicMs = () => this.now;

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const sleeper = { at: this.now + ms, wake: resolve };
      this.#sleepers.add(sleeper);
      signal?.addEventListener("abort", () => {
        this.#sleepers.delete(sleeper);
        reject(signal.reason);
      });
    });
  }

  async pass(ms: number): Promise<void> {
    this.now += ms;
    for (const sleeper of [...this.#sleepers]) {
      if (sleeper.at > this.now) continue;
      this.#sleepers.delete(sleeper);
      sleeper.wake();
    }
    await settle();
  }
}

const settle = () => new Promise((resolve) => setTimeout(resolve, 0));

class FakeReplica implements Replica {
  readonly #exit = Promise.withResolvers<Exit>();
  readonly exited = this.#exit.promise;
  usage = () => ({ ...NO_USAGE, fuelUsed: 1, memoryBytes: 2, memoryBytesPeak: 3, runningMs: 4 });
  limits = () => ({
    memoryBytesMax: 5,
    concurrencyMax: 1,
    handlesMax: 2,
    openFilesMax: 3,
    socketsMax: 4,
    logLinesPerSecMax: 6,
  });
  handle = () => Promise.reject(new Error("not asked"));
  end = (exit: Exit) => this.#exit.resolve(exit);

  stop(): Promise<void> {
    this.end({ kind: "stopped" });
    return Promise.resolve();
  }
}

function desired(component: string, options: Partial<DesiredReplica> & { restart?: string } = {}) {
  const { restart = "always", ...rest } = options;
  return {
    component,
    index: 0,
    digest: "d1",
    revision: "r1",
    world: "wasi:cli/command",
    spec: { world: "wasi:cli/command", restart } as DesiredReplica["spec"],
    ...rest,
  } as DesiredReplica;
}

function setUp() {
  const clock = new ManualClock();
  const started: { replica: DesiredReplica; fake: FakeReplica }[] = [];
  const notices: string[] = [];
  const serving: Replica[][] = [];
  let refuse: Error | undefined;
  let write: StartOptions["stdio"]["write"] | undefined;
  const drained = { promise: Promise.resolve() };
  const ended: string[] = [];
  /** Of starts whose bytes cannot be had. */
  const lacking = { digest: "", waits: () => {}, changes: 0 };
  const supervisor = new Supervisor({
    clock,
    ended: ({ component, restarts, usage }) =>
      ended.push(`${component} ${restarts} ${usage.fuelUsed}`),
    changed: () => lacking.changes++,
    start: (replica, { stdio, waits }, signal) => {
      if (refuse) return Promise.reject(refuse);
      if (replica.digest === lacking.digest) {
        lacking.waits = waits;
        const { promise, reject } = Promise.withResolvers<Replica>();
        signal.addEventListener("abort", () => reject(signal.reason));
        return promise;
      }
      write = stdio.write;
      const fake = new FakeReplica();
      started.push({ replica, fake });
      return Promise.resolve(fake);
    },
    openLog: () => ({
      write: () => {},
      log: () => {},
      notice: (text) => notices.push(text),
      close: () => {},
    }),
    serve: (_component, replicas) => {
      serving.push([...replicas]);
      return drained.promise;
    },
  });
  const setRefuse = (error: Error | undefined) => refuse = error;
  const output = (bytes: number) => write!("stdout", new Uint8Array(bytes));
  return {
    lacking,
    output,
    clock,
    started,
    ended,
    notices,
    serving,
    drained,
    supervisor,
    setRefuse,
  };
}

const state = (s: Supervisor) => s.replicas().map((r) => `${r.component}#${r.index} ${r.state}`);

Deno.test("Supervisor starts what is desired and stops what no longer is", async () => {
  const { supervisor, started } = setUp();
  supervisor.set([desired("a"), desired("a", { index: 1 }), desired("b")]);
  await settle();
  assert.deepEqual(state(supervisor), ["a#0 running", "a#1 running", "b#0 running"]);
  assert.equal(supervisor.replicas()[0]!.limits?.memoryBytesMax, 5);
  supervisor.set([desired("b")]);
  await settle();
  assert.deepEqual(state(supervisor), ["b#0 running"]);
  assert.equal(started.length, 3);
  await supervisor.close();
});

Deno.test("Supervisor says that a replica is late whose bytes cannot be had, and that what was before serves", async () => {
  const { supervisor, clock, lacking, started } = setUp();
  const web = (digest: string) =>
    desired("web", {
      digest,
      revision: digest,
      world: "wasi:http/proxy",
      spec: { world: "wasi:http/proxy" } as DesiredReplica["spec"],
    });
  lacking.digest = "d2";
  supervisor.set([web("d1")]);
  await settle();
  supervisor.set([web("d2")]);
  const slot = () => {
    const [{ replica, served, isLate, isBroken, isInVain }] = supervisor.slots() as [RunningSlot];
    return [replica.digest, served?.digest, isLate, isBroken, isInVain];
  };
  lacking.waits();
  await clock.pass(29_999);
  const { changes } = lacking;
  lacking.waits();
  assert.deepEqual([slot(), lacking.changes], [["d2", "d1", false, false, false], changes]);
  await clock.pass(1);
  lacking.waits();
  lacking.waits();
  assert.deepEqual([slot(), lacking.changes], [["d2", "d1", true, true, true], changes + 1]);
  assert.deepEqual(supervisor.troubles(), [], "it says nothing of the release");
  supervisor.set([web("d1")]);
  assert.deepEqual(slot(), ["d1", "d1", false, false, false]);
  assert.equal(started.length, 1, "nothing has to be started for that");
  await supervisor.close();
});

Deno.test("Supervisor starts again after a back-off that doubles, and says when", async () => {
  const { supervisor, clock, started, ended, notices } = setUp();
  supervisor.set([desired("a")]);
  await settle();
  started[0]!.fake.end({ kind: "trap", code: "epoch-timeout", message: "slow", backtrace: [] });
  await settle();
  const [view] = supervisor.replicas();
  assert.equal(view!.state, "backoff");
  assert.equal(view!.retryAtMs, clock.wallMs() + 1000);
  assert.deepEqual(notices, ["epoch-timeout: slow"]);
  await clock.pass(999);
  assert.equal(started.length, 1);
  await clock.pass(1);
  assert.equal(started.length, 2);
  started[1]!.fake.end({ kind: "exit", status: 1 });
  await settle();
  await clock.pass(1000);
  assert.equal(started.length, 2, "the second back-off is twice as long");
  await clock.pass(1000);
  assert.equal(started.length, 3);
  assert.equal(supervisor.replicas()[0]!.restarts, 2);
  assert.deepEqual(ended, ["a 0 1", "a 1 1"]);
  await supervisor.close();
});

Deno.test("Supervisor leaves what ended and is not wanted back", async () => {
  const { supervisor, clock, started } = setUp();
  supervisor.set([desired("ok", { restart: "on-failure" }), desired("bad", { restart: "never" })]);
  await settle();
  started.find((s) => s.replica.component === "ok")!.fake.end({ kind: "exit", status: 0 });
  started.find((s) => s.replica.component === "bad")!.fake.end({ kind: "exit", status: 2 });
  await settle();
  await clock.pass(100_000);
  assert.deepEqual(state(supervisor), ["bad#0 failed", "ok#0 stopped"]);
  assert.equal(started.length, 2);
  await supervisor.close();
});

Deno.test("Supervisor keeps trying what cannot be started, and tells why", async () => {
  const { supervisor, clock, started, notices, setRefuse } = setUp();
  setRefuse(new RealmError("memory-limit", "Cannot start it"));
  supervisor.set([desired("a")]);
  await settle();
  assert.deepEqual(state(supervisor), ["a#0 backoff"]);
  assert.deepEqual(notices, ["memory-limit: Cannot start it"]);
  setRefuse(undefined);
  await clock.pass(1000);
  assert.equal(started.length, 1);
  await supervisor.close();
});

Deno.test("Supervisor replaces a command by stopping it first", async () => {
  const { supervisor, started } = setUp();
  supervisor.set([desired("a")]);
  await settle();
  supervisor.set([desired("a", { revision: "r2" })]);
  await settle();
  assert.deepEqual(await started[0]!.fake.exited, { kind: "stopped" });
  assert.equal(started[1]!.replica.revision, "r2");
  assert.equal(supervisor.replicas()[0]!.restarts, 1);
  assert.deepEqual(state(supervisor), ["a#0 running"]);
  await supervisor.close();
});

Deno.test("Supervisor starts a changed command whose old one has ended", async () => {
  const { supervisor, started } = setUp();
  supervisor.set([desired("a", { restart: "never" })]);
  await settle();
  started[0]!.fake.end({ kind: "exit", status: 0 });
  await settle();
  assert.deepEqual(state(supervisor), ["a#0 stopped"]);
  supervisor.set([desired("a", { restart: "never", revision: "r2" })]);
  await settle();
  assert.deepEqual(state(supervisor), ["a#0 running"]);
  assert.equal(started.length, 2);
});

Deno.test("Supervisor treats a routed command like a handler", async () => {
  const { supervisor, started, serving } = setUp();
  const routed = (revision: string) => desired("a", { proxiedPort: 80, revision });
  supervisor.set([routed("r1")]);
  await settle();
  assert.deepEqual(serving.at(-1), [started[0]!.fake]);
  supervisor.set([routed("r2")]);
  await settle();
  assert.deepEqual(
    serving.at(-1),
    [started[1]!.fake],
    "the new one serves before the old one ends",
  );
});

Deno.test("Supervisor lets an old handler serve until the new one does, then finish", async () => {
  const { supervisor, started, serving, drained } = setUp();
  const handler = (revision: string) => desired("web", { revision, world: "wasi:http/proxy" });
  supervisor.set([handler("r1")]);
  await settle();
  const finish = Promise.withResolvers<void>();
  drained.promise = finish.promise;
  supervisor.set([handler("r2")]);
  await settle();
  assert.deepEqual(serving.at(-1), [started[1]!.fake], "only the new one takes requests");
  let stopped = false;
  started[0]!.fake.exited.then(() => stopped = true);
  await settle();
  assert.equal(stopped, false, "the old one finishes what it has");
  finish.resolve();
  await settle();
  assert.equal(stopped, true);
  await supervisor.close();
});

Deno.test("Supervisor makes a replica wait that writes without end", async () => {
  const { supervisor, clock, output } = setUp();
  supervisor.set([desired("a")]);
  await settle();
  const mib = 1024 * 1024;
  assert.equal(output(4 * mib), undefined, "a burst is taken at once");
  let taken = false;
  output(mib)!.then(() => taken = true);
  await clock.pass(990);
  assert.equal(taken, false);
  await clock.pass(11);
  assert.equal(taken, true);
  await supervisor.close();
});

Deno.test("Supervisor lets replaced handlers serve until theirs does, and stops each of them", async () => {
  const starts = new Map<string, () => FakeReplica>();
  let serving: readonly Replica[] = [];
  const supervisor = new Supervisor({
    clock: new ManualClock(),
    ended: () => {},
    start: ({ digest, index }) =>
      new Promise((resolve) =>
        starts.set(`${digest}#${index}`, () => {
          const fake = new FakeReplica();
          resolve(fake);
          return fake;
        })
      ),
    openLog: () => ({ write: () => {}, log: () => {}, notice: () => {}, close: () => {} }),
    serve: (_component, replicas) => {
      serving = replicas;
      return Promise.resolve();
    },
  });
  const world = "wasi:http/proxy";
  const set = async (digest: string) => {
    const version = (index: number) => desired("a", { world, index, digest, revision: digest });
    supervisor.set([version(0), version(1)]);
    await settle();
  };
  const ready = async (key: string) => {
    const fake = starts.get(key)!();
    await settle();
    return fake;
  };
  const stopped: FakeReplica[] = [];
  const watch = (fake: FakeReplica) => {
    fake.exited.then(() => stopped.push(fake));
    return fake;
  };
  await set("v1");
  const old = [watch(await ready("v1#0")), watch(await ready("v1#1"))];
  await set("v2");
  const second = watch(await ready("v2#0"));
  assert.deepEqual(serving, [second, old[1]], "the other one serves on while its next one starts");
  assert.deepEqual(stopped, [old[0]]);
  await set("v3"); // before v2#1 is there
  assert.deepEqual(stopped, [old[0]]);
  const late = watch(await ready("v2#1"));
  const third = [await ready("v3#0"), await ready("v3#1")];
  assert.deepEqual(serving, third);
  await settle();
  assert.deepEqual(new Set(stopped), new Set([...old, second, late]));
  await supervisor.close();
});

Deno.test("Supervisor starts and replaces nothing while it may not, and keeps what runs", async () => {
  const { supervisor, clock, started } = setUp();
  supervisor.set([desired("a")]);
  await settle();
  supervisor.set(
    [desired("a", { digest: "d2", revision: "r2" }), desired("b")],
    { mayStart: false },
  );
  await settle();
  assert.deepEqual(state(supervisor), ["a#0 running"]);
  assert.equal(supervisor.replicas()[0]!.digest, "d1");

  // What ended by itself comes back as it was, once it is wanted as it was.
  supervisor.set([desired("a"), desired("b")], { mayStart: false });
  started[0]!.fake.end({ kind: "exit", status: 1 });
  await settle();
  await clock.pass(1_000);
  assert.deepEqual(state(supervisor), ["a#0 running"]);
  supervisor.set([desired("b")], { mayStart: false });
  await settle();
  assert.deepEqual(state(supervisor), [], "what is wanted no more is stopped all the same");
  supervisor.set([desired("b")]);
  await settle();
  assert.deepEqual(state(supervisor), ["b#0 running"]);
  await supervisor.close();
});

Deno.test("Supervisor ends starts that are under way, and waits for them when it closes", async () => {
  const begun: { signal: AbortSignal; done: PromiseWithResolvers<Replica> }[] = [];
  const notices: string[] = [];
  const supervisor = new Supervisor({
    clock: new ManualClock(),
    ended: () => {},
    start: (_replica, _io, signal) => {
      const done = Promise.withResolvers<Replica>();
      begun.push({ signal, done });
      return done.promise;
    },
    openLog: () => ({
      write: () => {},
      log: () => {},
      notice: (text) => notices.push(text),
      close: () => {},
    }),
    serve: () => Promise.resolve(),
  });
  supervisor.set([desired("a"), desired("b"), desired("c")]);
  assert.deepEqual(begun.map(({ signal }) => signal.aborted), [false, false, false]);
  supervisor.set([desired("b"), desired("c")]);
  assert.deepEqual(begun.map(({ signal }) => signal.aborted), [true, false, false], "stopped");
  supervisor.set([desired("b", { digest: "d2" }), desired("c")]);
  assert.deepEqual(begun.map(({ signal }) => signal.aborted), [true, true, false, false]);
  assert.match(`${begun[1]!.signal.reason}`, /Cannot start b: not wanted any more/);

  let isClosed = false;
  const closed = supervisor.close().then(() => isClosed = true);
  assert.ok(begun.every(({ signal }) => signal.aborted));
  for (const { signal, done } of begun.slice(0, 3)) done.reject(signal.reason);
  await settle();
  assert.equal(isClosed, false, "one has not heard of it yet");
  const late = new FakeReplica();
  begun[3]!.done.resolve(late);
  await closed;
  assert.deepEqual(await late.exited, { kind: "stopped" });
  assert.deepEqual(notices, [], "nobody is told of what was not wanted");
});
