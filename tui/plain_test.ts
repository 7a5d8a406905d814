import assert from "node:assert/strict";
import { RealmError } from "../agent/kernel/error.ts";
import { systemClock } from "../agent/node/system_clock.ts";
import { talk } from "./plain.ts";
import { changeLines, componentLines, nodeLines, rolloutLines } from "./plain_text.ts";
import type { DashboardAgent, LogRow, Snapshot } from "./session.ts";
import {
  fakeAlarm,
  fakeNode,
  fakeReplica,
  fakeStatus,
  fallenReplica,
  historyEntry,
  NOW_MS,
} from "./status_fake.ts";
import type { Status } from "./view_model.ts";

const twoNodes = (but: Parameters<typeof fakeNode>[1] = {}) =>
  fakeStatus({
    nodes: [
      fakeNode("bm-01", { key: fakeStatus().node.key, self: true, tags: ["metal"] }),
      fakeNode("bm-02", { latencyMs: 1.25, ...but }),
    ],
  });

/** Types lines, each when what is wanted of the one before was said; all that was said in the end. */
async function said(
  script: readonly (readonly [line: string, answer: RegExp])[],
  but: Partial<DashboardAgent> = {},
  /** Called with each line when it is typed. */
  typing: (line: string | undefined) => void = () => {},
): Promise<{ text: string; calls: string[] }> {
  const calls: string[] = [];
  let text = "";
  let heard = 0;
  /** Where the answer to each line begins. */
  const starts: number[] = [];
  let waiting = () => {};
  const agent: DashboardAgent = {
    status: () => Promise.resolve(twoNodes()),
    async *logs({ component }, signal) {
      yield {
        kind: "line",
        replica: 0,
        wallMs: NOW_MS,
        stream: "stderr",
        text: `\x1b[2Jof ${component}`,
      } as LogRow;
      await new Promise((resolve) => signal?.addEventListener("abort", resolve));
    },
    restart: (component) => {
      calls.push(`restart ${component}`);
      return Promise.resolve({ restarted: 2 });
    },
    scale: (component, replicas) => {
      calls.push(`scale ${component} ${replicas}`);
      return Promise.resolve({ replicas: replicas ?? 1, scaledTo: replicas });
    },
    drain: (node, drained) => {
      calls.push(`drain ${node} ${drained}`);
      return Promise.resolve();
    },
    history: () => Promise.resolve([historyEntry(3, "in-force"), historyEntry(2, "applied")]),
    secrets: () => Promise.reject(new RealmError("refused", "Cannot list secrets")),
    plan: (version) => Promise.resolve([`~ component auth of ${version}`]),
    ...but,
  };
  await talk(agent, {
    clock: systemClock,
    pollMs: 10,
    notifyMs: 2,
    settleMs: 1,
    signal: new AbortController().signal,
    print(more) {
      text += more;
      waiting();
    },
    async readLine() {
      const answer = heard === 0 ? /type help/ : script[heard - 1]![1];
      const from = text.length;
      const isThere = () => answer.test(heard === 0 ? text : text.slice(starts[heard - 1]));
      for (let i = 0; i < 3_000 && !isThere(); i++) {
        const { promise, resolve } = Promise.withResolvers<void>();
        waiting = resolve;
        const timer = setTimeout(resolve, 10);
        await promise;
        clearTimeout(timer);
      }
      assert.ok(isThere(), `${answer} in ${JSON.stringify(text.slice(from - 200))}`);
      starts.push(text.length);
      const line = script[heard++]?.[0];
      typing(line);
      return line ?? null;
    },
  });
  return { text, calls };
}

Deno.test("a conversation tells where one is, and answers", async () => {
  const { text } = await said([
    [
      "nodes",
      /bm-02: live, 3 of 3 replicas run, processors 12 percent, agent 200 MiB, 1\.3 ms away\n/,
    ],
    ["components", /auth: 2 of 2 replicas run, memory 48 MiB of 128 MiB\n/],
    ["component auth", /replica 1: running\n/],
    ["log auth", /0, error stream: \\u\{1b\}\[2Jof auth\n/],
    ["history", /version 2: applied, signed by/],
    ["plan 2", /~ component auth of 2\n/],
    ["secrets", /Cannot list secrets\n/],
    ["component \x1b[31mx", /no component \\u\{1b\}\[31mx: type components\n/],
    ["dance", /dance means nothing: type help\n/],
    ["rollouts", /every release is complete\n/],
    ["alarms", /all is well\n/],
    ["apps", /no topics\n/],
  ]);
  assert.match(
    text,
    /^realm shop, seen from bm-01: manifest version 3\n2 nodes, all live\n2 components, all run as wanted\nno alarms\n/,
  );
  assert.doesNotMatch(text.replaceAll("\n", ""), /[█░─▸●\p{Cc}]/u);
});

Deno.test("a conversation does nothing without a yes", async () => {
  const { calls } = await said([
    ["restart auth", /Restart all replicas of auth\? Type yes\.\n/],
    ["status", /nothing was done\n/],
    ["drain bm-02", /Drain bm-02, .*Type yes\.\n/],
    ["yes", /bm-02: drained/],
    ["scale auth 3", /Scale auth to 3\? Type yes\.\n/],
    ["y", /auth: 3 wanted/],
    ["scale auth many", /how many\?/],
    ["scale auth manifest", /what the manifest says\? Type yes/],
    ["yes", /as in the manifest/],
    ["restart nothing", /no component nothing/],
  ]);
  assert.deepEqual(calls, ["drain bm-02 true", "scale auth 3", "scale auth null"]);
});

Deno.test("a conversation tells what changes, and a log that is followed", async () => {
  let status = twoNodes();
  const { text } = await said([
    ["follow auth", /error stream: .*of auth\n/],
    ["quit", /./],
  ], {
    status: () => Promise.resolve(status),
  });
  assert.match(text, /the log of auth follows/);
  const changed = said(
    [["stop", /bm-02 is silent\n/]],
    { status: () => Promise.resolve(status) },
    () => status = twoNodes({ live: false, silentSinceMs: NOW_MS }),
  );
  assert.match((await changed).text, /no log is followed\nbm-02 is silent\n/);
});

Deno.test("changeLines() says what is new, once", () => {
  const snapshot = (status: Status): Snapshot => ({
    link: { kind: "connected" },
    current: { status, monotonicMs: 0 },
    previous: undefined,
    logs: { component: undefined, rows: [] },
    history: { value: undefined, problem: undefined },
    secrets: { value: undefined, problem: undefined },
    plan: undefined,
  });
  const before = twoNodes();
  const lines = (but: Partial<Status>) =>
    changeLines(snapshot(before), snapshot({ ...before, ...but }), NOW_MS);
  assert.deepEqual(lines({}), []);
  assert.deepEqual(lines({ manifest: { ...before.manifest!, version: 4 } }), [
    "manifest version 4 is in force",
  ]);
  assert.deepEqual(lines({ nodes: before.nodes.slice(0, 1) }), ["bm-02 is gone"]);
  assert.deepEqual(lines({ alarms: [fakeAlarm("the disk is full")] }), [
    "warning: the disk is full. What to do: Do something",
  ]);
  const [auth, orders] = before.components;
  const placed = [{ node: "bm-01", replicas: 2, running: 1 }];
  assert.deepEqual(lines({ components: [{ ...auth!, placed }, orders!] }), [
    "auth: 1 of 2 replicas run",
  ]);
  assert.deepEqual(
    changeLines(snapshot(before), {
      ...snapshot(before),
      link: { kind: "reconnecting", reason: "no\nagent" },
    }, NOW_MS),
    ["connection lost: no\\u{a}agent"],
  );
});

Deno.test("componentLines() and nodeLines() tell what does not run", () => {
  const status = fakeStatus({
    replicas: [fakeReplica("auth", 0), fallenReplica("auth", 1)],
    nodes: [fakeNode("bm-03", { live: false, silentSinceMs: NOW_MS - 65_000, health: null })],
  });
  assert.deepEqual(componentLines({ status, monotonicMs: 0 }, undefined, NOW_MS, "auth"), [
    "auth: 1 of 2 replicas run, started again 3 times, memory 24 MiB of 64 MiB",
    "replica 0: running",
    "replica 1: retry 4s, before: epoch-timeout: ran for 100 ms without a return to the host",
  ]);
  assert.deepEqual(nodeLines(status, NOW_MS), ["bm-03: silent 1m5s"]);
});

Deno.test("rolloutLines() names who refuses a release and who gave it up, and why", () => {
  const [auth] = fakeStatus().components;
  const rollout = {
    state: "rolling",
    version: 4,
    wanted: 3,
    settled: 1,
    waitsFor: [],
    refusedBy: [{ node: "bm-02", version: 4, why: "64 MiB are too much" }],
    givenUpBy: [{ node: "bm-03", replicas: 2, why: "GET /: 503" }],
    failure: null,
  } as const;
  assert.deepEqual(rolloutLines(fakeStatus({ components: [{ ...auth!, rollout }] })), [
    "auth: rolling, 1 of 3 run version 4, refused by bm-02: 64 MiB are too much, " +
    "given up by bm-03 (2), tried again: GET /: 503",
  ]);
});
