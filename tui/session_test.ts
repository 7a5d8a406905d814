import assert from "node:assert/strict";
import { RealmError } from "../agent/kernel/error.ts";
import type { Clock } from "../agent/kernel/ports.ts";
import { until } from "../tests/until.ts";
import { type DashboardAgent, LOG_ROWS_MAX, type LogRow, Session } from "./session.ts";
import { fakeStatus, historyEntry, NOW_MS } from "./status_fake.ts";

/** A clock that moves only when told; due sleepers wake in the order of their times. */
class FakeClock implements Clock {
  #nowMs = 0;
  #sleepers: { atMs: number; wake: () => void }[] = [];
  wallMs = () => NOW_MS + this.#nowMs;
  monotonicMs = () => this.#nowMs;
  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const sleeper = { atMs: this.#nowMs + ms, wake: resolve };
      this.#sleepers.push(sleeper);
      signal?.addEventListener("abort", () => {
        this.#sleepers = this.#sleepers.filter((each) => each !== sleeper);
        reject(signal.reason);
      });
    });
  }
  /** Time passes and wakes nobody yet. */
  advanceSoon(ms: number): void {
    this.#nowMs += ms;
  }
  async advance(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms;
    await settle();
    while (true) {
      const next = this.#sleepers.filter(({ atMs }) => atMs <= endMs)
        .sort((a, b) => a.atMs - b.atMs)[0];
      if (next === undefined) break;
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      this.#sleepers = this.#sleepers.filter((each) => each !== next);
      next.wake();
      await settle();
    }
    this.#nowMs = Math.max(this.#nowMs, endMs);
  }
}

/** Lets everything run that waits for no clock. */
async function settle(): Promise<void> {
  for (let i = 0; i < 50; i++) await Promise.resolve();
}

const line = (text: string): LogRow => ({
  kind: "line",
  replica: 0,
  wallMs: NOW_MS,
  stream: "stdout",
  text,
});

/** An agent whose logs are pushed by the test. */
class FakeAgent implements DashboardAgent {
  away = false;
  asked = 0;
  calls: string[] = [];
  readers: { component: string; events: (LogRow | Error)[]; wake?: () => void }[] = [];
  state = fakeStatus();
  /** What an answer waits for. */
  held: Promise<void> | undefined;
  /** Time passes while it answers. */
  answersIn: () => void = () => {};
  async status() {
    this.asked++;
    this.answersIn();
    await this.held;
    if (this.away) {
      throw new RealmError("unreachable", "Cannot reach the agent", { hint: "Start it" });
    }
    return this.state;
  }
  async *logs({ component }: { component: string }, signal?: AbortSignal) {
    const reader: FakeAgent["readers"][number] = { component, events: [] };
    this.readers.push(reader);
    signal?.addEventListener("abort", () => reader.wake?.());
    while (!signal?.aborted) {
      const event = reader.events.shift();
      if (event instanceof Error) throw event;
      if (event !== undefined) yield event;
      else await new Promise<void>((resolve) => reader.wake = resolve);
    }
  }
  write(...events: (LogRow | Error)[]) {
    const reader = this.readers.at(-1)!;
    reader.events.push(...events);
    reader.wake?.();
  }
  // deno-lint-ignore require-await
  async restart(component: string) {
    this.calls.push(`restart ${component}`);
    if (component === "gone") throw new RealmError("not-found", "Cannot restart gone: no such");
    return { restarted: 2 };
  }
  // deno-lint-ignore require-await
  async drain(node: string, drained: boolean) {
    this.calls.push(`drain ${node} ${drained}`);
  }
  versions = [historyEntry(1, "in-force")];
  // deno-lint-ignore require-await
  async history() {
    this.calls.push("history");
    if (this.away) throw new RealmError("unreachable", "Cannot reach the agent");
    return this.versions;
  }
  // deno-lint-ignore require-await
  async secrets(): Promise<never> {
    throw new RealmError("refused", "Cannot answer an operator");
  }
  // deno-lint-ignore require-await
  async plan(version: number) {
    return [`+ version ${version}`];
  }
  // deno-lint-ignore require-await
  async scale(component: string, replicas: number | null) {
    this.calls.push(`scale ${component} ${replicas}`);
    return { replicas: replicas ?? 2, scaledTo: replicas };
  }
}

async function withSession(
  test: (parts: { session: Session; agent: FakeAgent; clock: FakeClock }) => Promise<void>,
): Promise<void> {
  const [agent, clock] = [new FakeAgent(), new FakeClock()];
  const session = new Session(agent, { clock });
  try {
    await test({ session, agent, clock });
  } finally {
    await session.close();
  }
}

Deno.test("a session asks often, and compares states that are a second apart", () =>
  withSession(async ({ session, agent, clock }) => {
    assert.equal(session.snapshot().link.kind, "connecting");
    await clock.advance(50);
    assert.equal(session.snapshot().current?.monotonicMs, 0);
    assert.equal(session.snapshot().previous, undefined);
    await clock.advance(450);
    assert.equal(session.snapshot().previous?.monotonicMs, 0);
    await clock.advance(2_000);
    assert.equal(agent.asked, 26, "ten times a second");
    assert.equal(session.snapshot().current?.monotonicMs, 2_500);
    assert.equal(session.snapshot().previous?.monotonicMs, 1_500);
  }));

Deno.test("a session asks less often where answers take long, and never rarer than each second", () =>
  withSession(async ({ agent, clock }) => {
    agent.answersIn = () => clock.advanceSoon(20);
    await clock.advance(2_100);
    assert.ok(
      agent.asked >= 5 && agent.asked <= 6,
      `${agent.asked} questions in 2 s, of 20 ms each`,
    );
    agent.answersIn = () => clock.advanceSoon(200);
    const before = agent.asked;
    await clock.advance(6_000);
    assert.ok(agent.asked - before >= 4, `${agent.asked - before} questions in 6 s`);
  }));

Deno.test("a session asks for what a view wants, as long as it does", () =>
  withSession(async ({ session, agent, clock }) => {
    session.want({ kind: "history" });
    await clock.advance(100);
    assert.deepEqual(session.snapshot().history.value, agent.versions);
    agent.away = true;
    await clock.advance(2_000);
    const { value, problem } = session.snapshot().history;
    assert.deepEqual([value, problem], [agent.versions, "Cannot reach the agent"], "kept");
    session.want({ kind: "secrets" });
    await clock.advance(100);
    assert.equal(session.snapshot().secrets.problem, "Cannot answer an operator");
    const asked = agent.calls.length;
    await clock.advance(5_000);
    assert.equal(agent.calls.length, asked, "history is not asked for any more");
    session.want({ kind: "plan", version: 7 });
    await clock.advance(100);
    assert.deepEqual(session.snapshot().plan, { version: 7, lines: ["+ version 7"] });
  }));

Deno.test("a session goes on with another node, and with its own again", async () => {
  const [own, other, clock] = [new FakeAgent(), new FakeAgent(), new FakeClock()];
  const { node } = fakeStatus();
  other.state = fakeStatus({ node: { ...node, name: "bm-02", key: "other" } });
  const closed: string[] = [];
  const session = new Session(own, {
    clock,
    open(key) {
      if (key !== "other") throw new RealmError("unreachable", "Cannot ask bm-03");
      return Promise.resolve({
        agent: other,
        close: () => Promise.resolve(void closed.push(key)),
      });
    },
  });
  session.follow("auth");
  await clock.advance(200);
  assert.equal(await session.ask({ key: "other", name: "bm-02" }), "bm-02 is asked from now on");
  await clock.advance(300);
  assert.equal(session.snapshot().current?.status.node.name, "bm-02");
  assert.deepEqual(other.readers.map(({ component }) => component), ["auth"]);
  assert.equal(await session.ask({ key: "gone", name: "bm-03" }), "Cannot ask bm-03");
  await clock.advance(300);
  assert.equal(session.snapshot().current?.status.node.name, "bm-02", "as before");
  const held = Promise.withResolvers<void>();
  other.held = held.promise;
  await clock.advance(1_000);
  await session.ask({ key: node.key, name: "bm-01" });
  await clock.advance(300);
  assert.equal(
    session.snapshot().current?.status.node.name,
    "bm-01",
    "who is slow holds up nobody",
  );
  held.resolve();
  await clock.advance(0);
  assert.equal(session.snapshot().current?.status.node.name, "bm-01");
  assert.deepEqual(closed, ["other"]);
  await session.ask({ key: "other", name: "bm-02" });
  await session.close();
  assert.deepEqual(closed, ["other", "other"]);
});

Deno.test("a session says that the agent is away, keeps what it knew, and recovers", () =>
  withSession(async ({ session, agent, clock }) => {
    await clock.advance(100);
    agent.away = true;
    await clock.advance(1_000);
    assert.deepEqual(session.snapshot().link, {
      kind: "reconnecting",
      reason: "Cannot reach the agent; Start it",
    });
    assert.ok(session.snapshot().current);
    agent.away = false;
    await clock.advance(1_000);
    assert.equal(session.snapshot().link.kind, "connected");
  }));

Deno.test("a session follows one log, and only when the selection has settled", () =>
  withSession(async ({ session, agent, clock }) => {
    session.follow("auth");
    session.follow("mail");
    session.follow("orders");
    await clock.advance(200);
    assert.deepEqual(agent.readers.map(({ component }) => component), ["orders"]);
    agent.write(line("a"), line("b"));
    await clock.advance(100);
    assert.equal(session.snapshot().logs.rows.length, 2);
    session.follow("auth");
    assert.deepEqual(session.snapshot().logs, { component: "auth", rows: [] });
    await clock.advance(200);
    agent.readers[0]!.events.push(line("late"));
    agent.readers[0]!.wake?.();
    await clock.advance(200);
    assert.deepEqual(session.snapshot().logs.rows, [], "of the log before");
  }));

Deno.test("a session reads a log again that broke off, without lines twice", () =>
  withSession(async ({ session, agent, clock }) => {
    session.follow("auth");
    await clock.advance(200);
    agent.write(line("a"), line("b"), new RealmError("unreachable", "gone"));
    await clock.advance(500);
    assert.equal(session.snapshot().logs.rows.length, 2, "shown until there is more");
    await clock.advance(1_000);
    assert.equal(agent.readers.length, 2);
    agent.write(line("b"), line("c"));
    await clock.advance(100);
    const texts = session.snapshot().logs.rows.map((row) => row.kind === "line" ? row.text : "");
    assert.deepEqual(texts, ["b", "c"]);
  }));

Deno.test("a session keeps a bounded tail and tells subscribers rarely", () =>
  withSession(async ({ session, agent, clock }) => {
    await clock.advance(10);
    session.follow("auth");
    await clock.advance(200);
    let notices = 0;
    session.subscribe(() => notices++);
    for (let i = 0; i < 20; i++) {
      agent.write(...Array.from({ length: 100 }, (_, k) => line(`${i}.${k}`)));
      await until("all are read", () => agent.readers[0]!.events.length === 0);
      await clock.advance(1);
    }
    await clock.advance(100);
    const { rows } = session.snapshot().logs;
    assert.equal(rows.length, LOG_ROWS_MAX);
    assert.deepEqual(rows.at(-1), line("19.99"));
    assert.ok(notices >= 1 && notices <= 3, `${notices} notices`);
  }));

Deno.test("a session acts, tells what came of it, and asks for the new state at once", () =>
  withSession(async ({ session, agent, clock }) => {
    await clock.advance(50);
    assert.equal(await session.restart("auth"), "auth: restarted 2 replicas");
    await settle();
    assert.equal(agent.asked, 2);
    assert.equal(
      await session.scale("auth", 5),
      "auth: 5 wanted, until the manifest changes it",
    );
    assert.equal(await session.scale("auth", null), "auth: 2 wanted, as in the manifest");
    assert.equal(await session.restart("gone"), "Cannot restart gone: no such");
    assert.deepEqual(agent.calls, [
      "restart auth",
      "scale auth 5",
      "scale auth null",
      "restart gone",
    ]);
  }));

Deno.test("a closed session asks no more", () =>
  withSession(async ({ session, agent, clock }) => {
    await clock.advance(50);
    session.close();
    await clock.advance(10_000);
    assert.equal(agent.asked, 1);
  }));
