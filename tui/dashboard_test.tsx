import assert from "node:assert/strict";
import { render } from "ink-testing-library";
import { RealmError } from "../agent/kernel/error.ts";
import type { Clock } from "../agent/kernel/ports.ts";
import { Dashboard } from "./dashboard.tsx";
import { type DashboardAgent, type HistoryEntry, type LogRow, Session } from "./session.ts";
import type { Status } from "./view_model.ts";
import { fakeNode, fakeStatus, historyEntry, NOW_MS } from "./status_fake.ts";

/** Real time for waiting, so that Ink's own timers run; the wall stands still. */
const clock: Clock = {
  wallMs: () => NOW_MS,
  monotonicMs: () => performance.now(),
  sleep: (ms, signal) =>
    new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const timer = setTimeout(resolve, ms);
      signal?.addEventListener("abort", () => {
        clearTimeout(timer);
        reject(signal.reason);
      });
    }),
};

function fakeAgent() {
  const agent = {
    away: false,
    calls: [] as string[],
    state: fakeStatus(),
    versions: [
      historyEntry(3, "in-force"),
      historyEntry(2, "applied"),
    ],
    async status(): Promise<Status> {
      if (agent.away) throw new RealmError("unreachable", "Cannot reach the agent");
      return agent.state;
    },
    async *logs({ component }: { component: string }, signal?: AbortSignal) {
      yield {
        kind: "line",
        replica: 0,
        wallMs: NOW_MS,
        stream: "stdout",
        text: `\x1b[2Jthis is ${component}`,
      } as LogRow;
      await new Promise((resolve) => signal?.addEventListener("abort", resolve));
    },
    history: (): Promise<HistoryEntry[]> => Promise.resolve(agent.versions),
    secrets: () => Promise.resolve([{ name: "db", state: "set", isGood: true, nodes: ["bm-01"] }]),
    plan: (version: number) => Promise.resolve([`~ component auth of version ${version}`]),
    async drain(node: string, drained: boolean) {
      agent.calls.push(`drain ${node} ${drained}`);
    },
    async restart(component: string) {
      agent.calls.push(`restart ${component}`);
      return { restarted: 1 };
    },
    async scale(component: string, replicas: number | null) {
      agent.calls.push(`scale ${component} ${replicas}`);
      return { replicas: replicas ?? 1, scaledTo: replicas };
    },
  } satisfies DashboardAgent & Record<string, unknown>;
  return agent;
}

interface Shown {
  agent: ReturnType<typeof fakeAgent>;
  /** Types keys, each when the screen has taken the one before. */
  type(...keys: string[]): Promise<void>;
  /** Resolves with the screen when it matches; fails when it does not in time. */
  until(pattern: RegExp): Promise<string>;
}

async function shown(test: (shown: Shown) => Promise<void>): Promise<void> {
  const agent = fakeAgent();
  const session = new Session(agent, { clock, pollMs: 20, notifyMs: 5, settleMs: 5, retryMs: 20 });
  const size = { columns: 80, rows: 24 };
  const screen = render(<Dashboard session={session} clock={clock} palette="none" size={size} />);
  const frame = () => screen.lastFrame() ?? "";
  try {
    await test({
      agent,
      async type(...keys) {
        for (const key of keys) {
          screen.stdin.write(key);
          await clock.sleep(40);
        }
      },
      async until(pattern) {
        const endMs = performance.now() + 30_000;
        while (!pattern.test(frame()) && performance.now() < endMs) await clock.sleep(10);
        assert.match(frame(), pattern);
        return frame();
      },
    });
  } finally {
    await session.close();
    screen.unmount();
  }
}

const DOWN = "\x1b[B";
const UP = "\x1b[A";
const ENTER = "\r";
const ESCAPE = "\x1b";

Deno.test(
  "the dashboard fills 80x24 and follows the selection with the log",
  () =>
    shown(async ({ type, until }) => {
      const first = await until(/▸ auth[^]*log of auth[^]*0 \\u\{1b\}\[2Jthis is auth/);
      const lines = first.split("\n");
      assert.equal(lines.length, 24);
      assert.ok(lines.every((line) => [...line].length <= 80));
      assert.match(lines[0]!, /realm shop {2}bm-01 {2}v3/);
      await type(DOWN);
      await until(/▸ orders[^]*log of orders[^]*this is orders/);
      await type(UP);
      await until(/▸ auth[^]*this is auth/);
    }),
);

Deno.test(
  "the dashboard restarts after a yes, and tells what came of it",
  () =>
    shown(async ({ agent, type, until }) => {
      await until(/▸ auth/);
      await type("j", "r");
      await until(/Restart all replicas of orders\? y\/n/);
      await type("n");
      await until(/↑↓ select {2}Enter log/);
      assert.deepEqual(agent.calls, []);
      await type("r", "y");
      await until(/orders: restarted 1 replica\b/);
      assert.deepEqual(agent.calls, ["restart orders"]);
    }),
);

Deno.test(
  "the dashboard scales to a number that is typed, however fast",
  () =>
    shown(async ({ agent, type, until }) => {
      await until(/▸ auth/);
      await type("s", "12");
      await until(/Replicas of auth: 12▏/);
      await type(ENTER);
      await until(/auth: 12 wanted/);
      await type("sm");
      await until(/as in the manifest/);
      assert.deepEqual(agent.calls, ["scale auth 12", "scale auth null"]);
    }),
);

Deno.test(
  "the dashboard shows the log alone, paused, and the help",
  () =>
    shown(async ({ type, until }) => {
      await until(/▸ auth/);
      await type("l");
      assert.doesNotMatch(await until(/\/ search {2}space pause[^]*/), /COMPONENT/);
      await type(" ");
      await until(/log of auth, paused/);
      await type("?");
      await until(/restart its replicas/);
      await type("x");
      await until(/COMPONENT/);
      await type("l", ESCAPE);
      await until(/COMPONENT/);
    }),
);

Deno.test(
  "the dashboard says that it reconnects, and does",
  () =>
    shown(async ({ agent, until }) => {
      await until(/● connected/);
      agent.away = true;
      const away = await until(/○ reconnecting\n.*\n ! Cannot reach the agent/);
      assert.match(away, /▸ auth/, "what was known stays");
      agent.away = false;
      await until(/● connected/);
    }),
);

Deno.test(
  "the dashboard shows the map first where there are several nodes, and drains the selected one",
  () =>
    shown(async ({ agent, type, until }) => {
      await until(/▸ auth/);
      agent.state = fakeStatus({
        nodes: [
          fakeNode("bm-01", { key: fakeStatus().node.key, self: true }),
          fakeNode("bm-02", { tags: ["metal"] }),
        ],
      });
      await until(/▸ bm-01 \*[^]*bm-02 +live .*metal/);
      await type(DOWN, "d");
      await until(/Drain bm-02, so that .*\? y\/n/);
      await type("y");
      await until(/bm-02: drained; what it runs moves away/);
      assert.deepEqual(agent.calls, ["drain bm-02 true"]);
      await type(ENTER);
      await until(/── bm-02 ─+[^]*key +ed25519:bm-02[^]*replicas +3 of 3 run/);
      await type(ESCAPE, "2");
      await until(/▸ auth[^]*log of auth/);
    }),
);

Deno.test(
  "the dashboard shows secrets by name, history, and the plan of going back",
  () =>
    shown(async ({ type, until }) => {
      await until(/▸ auth/);
      await type("5");
      await until(/▸ db +set +bm-01/);
      await type("\t");
      await until(/▸ v3 +in force[^]* v2 +applied/);
      await type(DOWN, ENTER);
      await until(/realm rollback 2 would do this:[^]*~ component auth of version 2/);
    }),
);

Deno.test(
  "the dashboard finds a component by a part of its name, and a line of a log by what is in it",
  () =>
    shown(async ({ type, until }) => {
      await until(/▸ auth/);
      await type("/", "ord");
      const found = await until(/▸ orders[^]*\/ord▏/);
      assert.doesNotMatch(found, /auth/);
      await type(ENTER);
      await until(/log of orders[^]*this is orders/);
      await type("l", "/", "IS ORD", ENTER);
      await until(/log of orders, paused[^]*this is orders[^]*"IS ORD" 1 of 1/);
      await type(ESCAPE, ESCAPE);
      await until(/only "ord"/);
      await type(ESCAPE);
      await until(/ auth /);
    }),
);
