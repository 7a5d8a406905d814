import assert from "node:assert/strict";
import type { LogOptions } from "../agent/control/api.ts";
import { type FakeAgent, withFakeAgent } from "./agent_fake.ts";
import { formatLogEvent, parseSince } from "./logs.ts";

const AT = Date.UTC(2026, 10, 22, 3, 4, 5, 678);
const line = {
  kind: "line",
  replica: 0,
  wallMs: AT,
  stream: "stdout",
  text: "hello",
} as const;

/** The same, with `auth` placed on these nodes. */
function placedOn(state: FakeAgent["state"], ...nodes: string[]): FakeAgent["state"] {
  const placed = nodes.map((node) => ({ node, replicas: 1, running: 1 }));
  const components = state.components.map((each) =>
    each.name === "auth" ? { ...each, placed } : each
  );
  return { ...state, components };
}

Deno.test("formatLogEvent() gives time, replica, stream and a text that moves no cursor", () => {
  const text = (but: object) => formatLogEvent({ ...line, ...but }, "auth", false);
  assert.equal(text({}), "2026-11-22T03:04:05.678Z auth/0 out hello");
  assert.equal(
    text({ stream: "stderr", replica: 12 }),
    "2026-11-22T03:04:05.678Z auth/12 err hello",
  );
  assert.equal(
    text({ stream: "realm", replica: null, text: "a\x1b[2J\nb" }),
    "2026-11-22T03:04:05.678Z auth/* realm a\\u{1b}[2J\\u{a}b",
  );
  assert.equal(formatLogEvent({ kind: "missed", lines: 7 }, "auth", false), "… 7 lines missed");
});

Deno.test("formatLogEvent() tells replicas apart by colour, where it may", () => {
  const [zero, one] = [0, 1].map((replica) => formatLogEvent({ ...line, replica }, "auth", true));
  assert.ok(zero!.endsWith(" \x1b[36mauth/0\x1b[0m out hello"), zero!);
  assert.ok(one!.includes(" \x1b[32mauth/1\x1b[0m "), one!);
});

Deno.test("parseSince() reads a time ago or a date", () => {
  assert.deepEqual(parseSince("10m"), { agoMs: 600_000 });
  assert.deepEqual(parseSince("1h30m"), { agoMs: 5_400_000 });
  assert.deepEqual(parseSince("2026-11-22T03:04:05.678Z"), { wallMs: AT });
  assert.deepEqual(parseSince("2026-11-22T04:04:05.678+01:00"), { wallMs: AT });
  assert.deepEqual(parseSince("2026-11-22"), { wallMs: new Date(2026, 10, 22).getTime() });
  assert.deepEqual(parseSince("2026-11-22 03:04"), {
    wallMs: new Date(2026, 10, 22, 3, 4).getTime(),
  });
  for (const wrong of ["", "10", "yesterday", "2026-13-40", "m", "10 m", "1800-01-01"]) {
    assert.throws(() => parseSince(wrong), /^Wanted/, wrong);
  }
});

Deno.test("logs prints lines, as text and as a document each", () =>
  withFakeAgent(async ({ agent, realm }) => {
    agent.lines = [line, { kind: "missed", lines: 3 }];
    const { status, stdout } = await realm("logs", "auth");
    assert.equal(status, 0);
    assert.equal(stdout, "2026-11-22T03:04:05.678Z auth/0 out hello\n… 3 lines missed\n");
    const json = (await realm("logs", "auth", "--json")).stdout.trimEnd().split("\n");
    assert.deepEqual(json.map((text) => JSON.parse(text)), agent.lines);
  }));

Deno.test("logs passes on what is asked of it", () =>
  withFakeAgent(async ({ agent, realm }) => {
    await realm("logs", "auth");
    assert.deepEqual(agent.askedLogs, { component: "auth", follow: false });
    await realm("logs", "auth", "-f", "--since", "2026-11-22T03:04:05.678Z", "--tail", "5");
    assert.deepEqual(agent.askedLogs, { component: "auth", follow: true, tail: 5, sinceMs: AT });
    const beforeMs = Date.now();
    await realm("logs", "auth", "--since", "10m", "--replica", "2");
    const { sinceMs, replica } = agent.askedLogs as LogOptions;
    assert.equal(replica, 2);
    assert.ok(sinceMs! >= beforeMs - 600_000 && sinceMs! <= Date.now() - 600_000);
  }));

Deno.test("logs of all nodes names the node of each line, and says which it cannot ask", () =>
  withFakeAgent(async ({ agent, realm }) => {
    agent.lines = [line];
    const { name } = agent.state.node;
    const alone = await realm("logs", "auth", "--all-nodes");
    assert.equal(alone.stdout, `2026-11-22T03:04:05.678Z ${name}:auth/0 out hello\n`);
    const json = await realm("logs", "auth", "--all-nodes", "--json");
    assert.equal(JSON.parse(json.stdout).node, name);
    agent.state = placedOn(agent.state, name, "bm-99");
    const partly = await realm("logs", "auth", "--all-nodes");
    assert.equal(partly.stdout, alone.stdout, "what can be had is shown");
    assert.notEqual(partly.status, 0);
    assert.match(partly.stderr, /^nothing more of bm-99: Cannot /);
  }));

Deno.test("the last lines of all nodes are so many in all, when followed of each", () =>
  withFakeAgent(async ({ agent, realm }) => {
    // As an agent that has more than it was asked for.
    agent.lines = [line, { ...line, text: "world" }];
    const last = await realm("logs", "auth", "--all-nodes", "--tail", "1");
    assert.match(last.stdout, /^\S+ \S+ out world\n$/);
    assert.equal((agent.askedLogs as LogOptions).tail, 1);
    const followed = await realm("logs", "auth", "--all-nodes", "--tail", "1", "--follow");
    assert.equal(followed.stdout.trimEnd().split("\n").length, 2);
  }));

Deno.test("logs of a component that runs elsewhere says where", () =>
  withFakeAgent(async ({ agent, realm }) => {
    agent.lines = [];
    assert.equal((await realm("logs", "auth")).stderr, "", "it runs here");
    agent.state = placedOn(agent.state, "bm-02", "bm-03");
    for (const flags of [[], ["--follow"]]) {
      const { status, stderr } = await realm("logs", "auth", ...flags);
      assert.equal(status, 0);
      assert.match(stderr, /^auth does not run on .*, but on bm-02, bm-03: add --all-nodes$/m);
    }
  }));

Deno.test("logs of a component that is not there are not found", () =>
  withFakeAgent(async ({ realm }) => {
    const { status, stderr } = await realm("logs", "atuh");
    assert.equal(status, 4);
    assert.match(stderr, /^error\[not-found\]/);
    assert.equal((await realm("logs", "auth", "--since", "soon")).status, 2);
  }));
