import assert from "node:assert/strict";
import {
  fakeAlarm,
  fakeNode,
  fakeReplica,
  fakeStatus,
  fallenReplica,
  NOW_MS,
} from "../tui/status_fake.ts";
import { until } from "../tests/until.ts";
import { withFakeAgent, withOwner } from "./agent_fake.ts";
import { main } from "./app.ts";
import { testShell } from "./shell_fake.ts";
import { formatStatus } from "./status.ts";

const KEY = fakeStatus().node.key;
const sample = (status = fakeStatus(), monotonicMs = 0) => ({ status, monotonicMs });

Deno.test("formatStatus() shows the agent, then each replica with what it uses of its limits", () => {
  const status = fakeStatus({
    components: [
      ...fakeStatus().components,
      { ...fakeStatus().components[0]!, name: "mail", replicas: 0, scaledTo: 0 },
    ],
    replicas: [fakeReplica("auth", 0), fallenReplica("auth", 1), fakeReplica("orders", 0)],
    alarms: [fakeAlarm("auth/1 on bm-01 ended: epoch-timeout")],
  });
  assert.equal(
    formatStatus(sample(status), undefined, NOW_MS),
    `node      bm-01, realm 0.1.0, up 1h
key       ${KEY}
owner     ${KEY}
realm     shop
manifest  version 3, sha256 abababababab…, applied 5m ago
proxy     http://127.0.0.1:8080

! auth/1 on bm-01 ended: epoch-timeout, since 1m
  Do something

COMPONENT  REPLICA  STATE     RESTARTS  MEMORY     FUEL/S  AGE  LAST EXIT
auth             0  running          0  24/64 MiB  5M      1m
auth             1  retry 4s         3  -          -       -    epoch-timeout: ran for 100 ms without a return to the host
mail             -  0/0 set          0  -          -       -
orders           0  running          0  24/64 MiB  5M      1m
`,
  );
});

Deno.test("formatStatus() tells of traps where there were such", () => {
  const replica = fakeReplica("auth", 0);
  const status = fakeStatus({
    replicas: [{ ...replica, usage: { ...replica.usage!, traps: 12 } }, fakeReplica("auth", 1)],
  });
  const text = formatStatus(sample(status), undefined, NOW_MS);
  assert.match(text, /^COMPONENT +REPLICA +STATE +RESTARTS +TRAPS +MEMORY/m);
  assert.match(text, /^auth +0 +running +0 +12 /m);
  assert.match(text, /^auth +1 +running +0 +0 /m);
});

Deno.test("formatStatus() says that an agent is unclaimed, and what was refused", () => {
  const { node } = fakeStatus();
  const refusal = {
    atMs: NOW_MS - 60_000,
    version: 4,
    code: "wrong-owner",
    message: "signed by \x1b[31mmallory",
  } as const;
  const text = formatStatus(
    sample(fakeStatus({
      node: { ...node, owner: null, realm: null },
      manifest: null,
      proxy: null,
      components: [],
      replicas: [],
      alarms: [
        fakeAlarm("unclaimed: it obeys nothing"),
        fakeAlarm("refused here", { code: "refused" }),
        fakeAlarm("refused there", { code: "refused", node: "bm-02" }),
      ],
      refused: [refusal, refusal, refusal, { ...refusal, version: null }],
    })),
    undefined,
    NOW_MS,
  );
  assert.match(text, /^owner {5}none: unclaimed, obeys nothing$/m);
  assert.match(text, /^! unclaimed: it obeys nothing, since 1m\n {2}Do something$/m);
  assert.match(text, /^! refused there, since 1m$/m);
  assert.doesNotMatch(text, /refused here/, "it is shown in full");
  assert.match(text, /^! refused version 4 1m ago: wrong-owner: signed by \\u\{1b\}\[31mmallory$/m);
  assert.match(text, /^! and 1 more before, see realm status --json$/m);
  assert.match(text, /\nno components\n$/);
});

Deno.test("formatStatus() names who keeps a component from its release, and why", () => {
  const [auth] = fakeStatus().components;
  const rollout = {
    state: "rolling",
    version: 4,
    wanted: 4,
    settled: 1,
    waitsFor: ["bm-02"],
    refusedBy: [{ node: "bm-03", version: 4, why: "64 MiB are too much" }],
    givenUpBy: [{ node: "bm-04", replicas: 2, why: "GET /: 503 \x1b[31mred" }],
    failure: null,
  } as const;
  const text = formatStatus(
    sample(fakeStatus({ components: [{ ...auth!, rollout }] })),
    undefined,
    NOW_MS,
  );
  assert.match(
    text,
    /^rollout auth: rolling, 1 of 4 run version 4, waits for bm-02\n {2}refused by bm-03, version 4: 64 MiB are too much\n {2}given up by bm-04 \(2\), tried again: GET \/: 503 \\u\{1b\}\[31mred$/m,
  );
});

Deno.test("formatStatus() shows rates where there are two samples", () => {
  const text = formatStatus(sample(fakeStatus(), 1_000), sample(), NOW_MS);
  assert.match(text, /auth +0 +running +0 +24\/64 MiB +0\/5M/);
});

Deno.test("status prints text, or the whole document with --json", () =>
  withFakeAgent(async ({ agent, realm }) => {
    const { status, stdout } = await realm("status");
    assert.equal(status, 0);
    assert.match(stdout, /^node +bm-01, realm 0\.1\.0/);
    assert.deepEqual(JSON.parse((await realm("status", "--json")).stdout), agent.state);
  }));

Deno.test("status says that there is no agent, and how to start one", () =>
  withFakeAgent(async ({ realm, stop }) => {
    await stop();
    const { status, stdout, stderr } = await realm("status");
    assert.deepEqual([status, stdout], [5, ""]);
    assert.match(
      stderr,
      /^error\[unreachable\]: Cannot reach the agent at .*\nhint: Run realm agent\n$/,
    );
    const json = await realm("status", "--json");
    assert.equal(JSON.parse(json.stderr).error.code, "unreachable");
  }));

Deno.test("commands say which node they cannot ask, and why", () =>
  withOwner(async ({ agent, realm }) => {
    const unknown = await realm("status", "--node", "bm-09");
    assert.deepEqual([unknown.status, /Cannot find node "bm-09"/.test(unknown.stderr)], [4, true]);
    agent.state = { ...agent.state, nodes: [...agent.state.nodes, fakeNode("bm-02")] };
    const hidden = await realm("logs", "auth", "--node", "bm-02");
    assert.equal(hidden.status, 5);
    assert.match(hidden.stderr, /no address of it is known here\nhint: .*--listen/);
    const nameless = await realm("status", "--node", "/ip4/127.0.0.1/tcp/1");
    assert.equal(nameless.status, 2);
    assert.match(nameless.stderr, /wanted \/p2p\/PEERID at its end/);
  }));

Deno.test("status --watch repaints until it is interrupted", () =>
  withFakeAgent(async ({ folder, realm }) => {
    const refused = await realm("status", "--watch");
    assert.equal(refused.status, 2);
    assert.match(refused.stderr, /Cannot watch: standard output is not a terminal/);

    for (const json of [false, true]) {
      const interrupted = new AbortController();
      const shell = testShell({
        cwd: folder,
        env: { REALM_HOME: `${folder}/../home` },
        terminal: { stdin: true, stdout: !json, stderr: true },
        interrupted: interrupted.signal,
      });
      const ended = main(["status", "-w", ...(json ? ["--json"] : [])], shell);
      await until("a screen", () => shell.text("stdout").length >= 100, ended);
      interrupted.abort();
      assert.equal(await ended, 0, shell.text("stderr"));
      if (json) assert.equal(JSON.parse(shell.text("stdout")).node.name, "bm-01");
      else {
        const visible = shell.text("stdout").replaceAll("\x1b", "ESC");
        assert.match(visible, /^ESC\[2JESC\[Hnode .*ESC\[K\n[^]*ESC\[J$/);
      }
    }
  }));

Deno.test("tui refuses to start without a terminal, or without an agent", () =>
  withFakeAgent(async ({ realm, terminal, stop }) => {
    assert.equal((await realm("tui")).status, 2);
    assert.match((await realm("tui")).stderr, /Cannot show the dashboard: there is no terminal/);
    await stop();
    assert.equal((await terminal([], "tui")).status, 5);
  }));
