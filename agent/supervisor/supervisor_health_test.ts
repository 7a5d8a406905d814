import assert from "node:assert/strict";
import {
  type Clock,
  type Exit,
  type HandlerRequest,
  type HandlerResponse,
  NO_USAGE,
  type Replica,
} from "../kernel/ports.ts";
import { CHECK } from "../kernel/health_check.ts";
import type { DesiredReplica } from "../realm/desired.ts";
import { Supervisor } from "./supervisor.ts";

/** Time that passes when the test says so. */
class ManualClock implements Clock {
  now = 1_000;
  readonly #sleepers = new Set<{ at: number; wake: () => void }>();
  wallMs = () => this.now + 1e12;
  monotonicMs = () => this.now;

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const sleeper = { at: this.now + ms, wake: resolve };
      this.#sleepers.add(sleeper);
      signal?.addEventListener("abort", () => {
        this.#sleepers.delete(sleeper);
        reject(signal.reason);
      });
    });
  }

  async pass(ms: number): Promise<void> {
    for (const end = this.now + ms; this.now < end;) {
      this.now += 50;
      for (const sleeper of [...this.#sleepers]) {
        if (sleeper.at > this.now) continue;
        this.#sleepers.delete(sleeper);
        sleeper.wake();
      }
      await settle();
    }
  }
}

const settle = () => new Promise((resolve) => setTimeout(resolve, 0));

/** A handler that answers probes with the status that the test sets. */
class Handler implements Replica {
  status = 200;
  text = "no database";
  readonly #exit = Promise.withResolvers<Exit>();
  readonly exited = this.#exit.promise;
  isStopped = false;
  usage = () => NO_USAGE;
  limits = () => ({
    memoryBytesMax: 1,
    concurrencyMax: 1,
    handlesMax: 1,
    openFilesMax: 1,
    socketsMax: 1,
    logLinesPerSecMax: 1,
  });

  constructor(readonly revision: string) {}

  /** How it was asked. */
  readonly asked: string[] = [];

  handle({ method, url }: HandlerRequest): Promise<HandlerResponse> {
    this.asked.push(`${method} ${url}`);
    const body = new TextEncoder().encode(this.text);
    return Promise.resolve({ status: this.status, headers: [], body });
  }

  stop(): Promise<void> {
    this.isStopped = true;
    this.#exit.resolve({ kind: "stopped" });
    return Promise.resolve();
  }
}

const HEALTH = {
  http: "/healthz",
  export: false,
  intervalMs: 100,
  timeoutMs: 50,
  healthyAfter: 2,
  unhealthyAfter: 3,
  graceMs: 0,
};

const web = (revision: string, more: Partial<DesiredReplica> = {}) =>
  ({
    component: "web",
    index: 0,
    digest: revision,
    revision,
    world: "wasi:http/proxy",
    spec: { world: "wasi:http/proxy", restart: "always", health: HEALTH, requestTimeoutMs: 1_000 },
    ...more,
  }) as DesiredReplica;

function setUp(statusOf: (revision: string) => number = () => 200) {
  const clock = new ManualClock();
  const started: Handler[] = [];
  const serving: string[] = [];
  /** While nothing served: whether requests were to wait. */
  const awaited: boolean[] = [];
  let finished = Promise.resolve();
  const supervisor = new Supervisor({
    clock,
    ended: () => {},
    start: ({ revision }) => {
      const handler = new Handler(revision);
      handler.status = statusOf(revision);
      started.push(handler);
      return Promise.resolve(handler);
    },
    openLog: () => ({ write: () => {}, log: () => {}, notice: () => {}, close: () => {} }),
    serve: (_component, replicas, isAwaited) => {
      if (replicas.length === 0) awaited.push(isAwaited);
      serving.push(replicas.map((replica) => (replica as Handler).revision).join());
      return finished;
    },
  });
  const slot = () => {
    const [slot] = supervisor.slots();
    return slot &&
      [slot.replica.revision, slot.served?.revision, slot.isReady, slot.isAlone, slot.isBroken];
  };
  const holdRequests = (until: Promise<void>) => finished = until;
  return { supervisor, clock, started, serving, awaited, slot, holdRequests };
}

Deno.test("Supervisor lets the old one serve until probes of the new one are good", async () => {
  const { supervisor, clock, started, serving, slot } = setUp();
  supervisor.set([web("v1")]);
  await settle();
  assert.deepEqual(slot(), ["v1", undefined, false, true, false], "it has not answered twice yet");
  await clock.pass(200);
  assert.deepEqual(slot(), ["v1", "v1", true, true, false]);
  supervisor.set([web("v2")]);
  await settle();
  assert.deepEqual(slot(), ["v2", "v1", false, false, false]);
  assert.equal(serving.at(-1), "v1");
  await clock.pass(200);
  assert.deepEqual(slot(), ["v2", "v2", true, true, false]);
  assert.deepEqual([serving.at(-1), started[0]!.isStopped], ["v2", true]);
  await supervisor.close();
});

Deno.test("Supervisor keeps the old one while the new one fails, and goes back to it", async () => {
  const { supervisor, clock, started, serving, slot } = setUp((v) => v === "v2" ? 503 : 200);
  supervisor.set([web("v1")]);
  await clock.pass(200);
  supervisor.set([web("v2")]);
  await clock.pass(5_000);
  assert.ok(started.length > 2, "it is tried again");
  assert.ok(serving.slice(2).every((which) => which === "v1"));
  assert.equal(supervisor.troubles()[0]!.what, 'GET /healthz: 503 "no database"');
  const before = started.length;
  supervisor.set([web("v1")]);
  await settle();
  assert.deepEqual(slot(), ["v1", "v1", true, true, false]);
  assert.equal(started.length, before, "nothing has to be started for that");
  assert.ok(!started[0]!.isStopped && started.at(-1)!.isStopped);
  await supervisor.close();
});

Deno.test("Supervisor takes an unhealthy replica out of the route first, and restarts it second", async () => {
  const { supervisor, clock, started, serving } = setUp();
  supervisor.set([web("v1")]);
  await clock.pass(200);
  assert.equal(serving.at(-1), "v1");
  started[0]!.status = 500;
  await clock.pass(300);
  assert.deepEqual([serving.at(-1), started[0]!.isStopped], ["", false]);
  assert.equal(supervisor.replicas()[0]!.state, "unhealthy");
  started[0]!.status = 200;
  await clock.pass(300);
  assert.deepEqual([serving.at(-1), started.length], ["v1", 1], "it came back by itself");
  started[0]!.status = 500;
  await clock.pass(800);
  assert.deepEqual([serving.at(-1), started[0]!.isStopped], ["", true]);
  const { state, lastExit } = supervisor.replicas()[0]!;
  assert.equal(state, "backoff");
  assert.match(JSON.stringify(lastExit), /web#0 is unhealthy: GET \/healthz: 500/);
  await clock.pass(1_500);
  assert.deepEqual([serving.at(-1), started.length], ["v1", 2]);
  await supervisor.close();
});

Deno.test("Supervisor asks a component by its export as it asks by HTTP, and shows its reason", async () => {
  const { supervisor, clock, started, serving } = setUp();
  const spec = { ...web("v1").spec, health: { ...HEALTH, http: undefined, export: true } };
  supervisor.set([web("v1", { spec })]);
  await clock.pass(200);
  assert.equal(serving.at(-1), "v1");
  assert.deepEqual(new Set(started[0]!.asked), new Set([`${CHECK} http://localhost/`]));
  assert.equal(supervisor.replicas()[0]!.health, undefined);
  started[0]!.status = 503;
  started[0]!.text = `\x1b[31mno\r\ndatabase\u202e \u2028${"long ".repeat(100)}`;
  await clock.pass(300);
  assert.deepEqual([serving.at(-1), started[0]!.isStopped], ["", false]);
  const { state, health } = supervisor.replicas()[0]!;
  assert.equal(state, "unhealthy");
  assert.match(health!, /^realm:health\/check@0\.1\.0: " ?\[31mno database +(long )+l?o?n?g?"$/);
  assert.doesNotMatch(health!, /[\p{Cc}\p{Cf}\p{Zl}]/u);
  assert.ok(health!.length < 340, "it is bounded");
  await clock.pass(500);
  assert.deepEqual([serving.at(-1), started[0]!.isStopped], ["", true]);
  assert.match(JSON.stringify(supervisor.replicas()[0]!.lastExit), /check@0\.1\.0: .*no database/);
  await clock.pass(1_500);
  assert.deepEqual([serving.at(-1), started.length], ["v1", 2]);
  assert.equal(supervisor.replicas()[0]!.health, undefined, "the new one is healthy");
  await supervisor.close();
});

Deno.test("Supervisor lets a replica that has to stop first finish what it has", async () => {
  const { supervisor, clock, started, serving, awaited, slot, holdRequests } = setUp();
  supervisor.set([web("v1")]);
  await clock.pass(200);
  const finish = Promise.withResolvers<void>();
  holdRequests(finish.promise);
  supervisor.set([web("v2", { stopsFirst: true })]);
  await settle();
  assert.deepEqual([serving.at(-1), started.length, started[0]!.isStopped], ["", 1, false]);
  assert.deepEqual(slot(), ["v1", undefined, false, true, false], "its slot has it until then");
  finish.resolve();
  await clock.pass(300);
  assert.deepEqual([serving.at(-1), started[0]!.isStopped], ["v2", true]);
  assert.ok(
    awaited.length > 1 && awaited.slice(1).every(Boolean),
    "requests wait for v2 all the time",
  );
  await supervisor.close();
});

Deno.test("Supervisor lets nobody wait for a replica that is unhealthy", async () => {
  const { supervisor, clock, started, awaited, serving } = setUp();
  supervisor.set([web("v1")]);
  await clock.pass(200);
  assert.equal(serving.at(-1), "v1");
  for (const handler of started) handler.status = 500;
  for (let i = 0; i < 20 && serving.at(-1) !== ""; i++) await clock.pass(100);
  assert.deepEqual([serving.at(-1), awaited.at(-1)], ["", false]);
  await supervisor.close();
});
