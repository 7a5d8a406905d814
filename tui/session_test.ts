import assert from "node:assert/strict";
import { RealmError } from "../agent/kernel/error.ts";
import type { Clock } from "../agent/kernel/ports.ts";
import { type DashboardAgent, LOG_ROWS_MAX, type LogRow, Session } from "./session.ts";
import { fakeStatus, NOW_MS } from "./status_fake.ts";

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
  async advance(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms;
    await settle();
    while (true) {
      const next = this.#sleepers.filter(({ atMs }) => atMs <= endMs)
        .sort((a, b) => a.atMs - b.atMs)[0];
      if (next === undefined) break;
      this.#nowMs = next.atMs;
      this.#sleepers = this.#sleepers.filter((each) => each !== next);
      next.wake();
      await settle();
    }
    this.#nowMs = endMs;
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
  // deno-lint-ignore require-await
  async status() {
    this.asked++;
    if (this.away) {
      throw new RealmError("unreachable", "Cannot reach the agent", { hint: "Start it" });
    }
    return fakeStatus();
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
    session.close();
  }
}

Deno.test("a session keeps the last two states", () =>
  withSession(async ({ session, clock }) => {
    assert.equal(session.snapshot().link.kind, "connecting");
    await clock.advance(500);
    assert.equal(session.snapshot().current?.monotonicMs, 0);
    assert.equal(session.snapshot().previous, undefined);
    await clock.advance(2_000);
    assert.equal(session.snapshot().current?.monotonicMs, 2_000);
    assert.equal(session.snapshot().previous?.monotonicMs, 1_000);
  }));

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
      while (agent.readers[0]!.events.length > 0) await settle();
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
    await clock.advance(100);
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
    await clock.advance(100);
    session.close();
    await clock.advance(10_000);
    assert.equal(agent.asked, 1);
  }));
