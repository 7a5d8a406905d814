// What the page shows for a state, and what its controls do; no browser takes part.
import assert from "node:assert/strict";
import {
  DIGEST,
  fakeAlarm,
  fakeNode,
  fakeReplica,
  fakeStatus,
  fallenReplica,
  NOW_MS,
} from "../../tui/status_fake.ts";
import type { Status } from "../../tui/view_model.ts";
import { type Actions, freshModel, type Model } from "./model.ts";
import { screen } from "./screen.ts";
import { findAll, h, textOf, type VNode } from "./vnode.ts";

/** A model that has seen a status, and what its views were told to do. */
function looking(status: Status, but: Partial<Model> = {}) {
  const did: unknown[][] = [];
  const note = (name: string) => (...args: unknown[]) => void did.push([name, ...args]);
  const actions: Actions = {
    change: note("change"),
    ask: note("ask"),
    confirm: note("confirm"),
    seeFrom: note("seeFrom"),
    chart: note("chart"),
    pauseLog: note("pauseLog"),
    plan: note("plan"),
  };
  const model: Model = {
    ...freshModel(NOW_MS, 1280),
    session: "s",
    signer: "ed25519:owner",
    current: { status, monotonicMs: 2_000 },
    ...but,
  };
  const drawn = h("body", null, ...screen(model, actions));
  return { drawn, text: textOf(drawn), did };
}

/** The control of that name. */
function control(drawn: VNode, name: string): VNode {
  const found = findAll(drawn, (node) =>
    ["button", "a", "input", "select"].includes(node.tag) &&
    (node.attributes["aria-label"] ?? textOf(node)) === name);
  assert.equal(found.length, 1, `${found.length} controls are called ${name}`);
  return found[0]!;
}

const press = (drawn: VNode, name: string, event: unknown = {}) =>
  control(drawn, name).on.click!(event);

const named = (label: string) => (node: VNode) => node.attributes["aria-label"] === label;

Deno.test("the overview shows alarms, machines in numbers, the map and the charts", () => {
  const status = fakeStatus({
    alarms: [
      fakeAlarm("signed on two branches", { node: "bm-02", hint: "Run realm key rotate" }),
    ],
    nodes: [
      fakeNode("bm-01", { self: true }),
      fakeNode("bm-02", { live: false, silentSinceMs: NOW_MS - 60_000 }),
    ],
  });
  const { drawn, text } = looking(status);
  assert.match(text, /Alarms \(1\)/);
  assert.match(text, /signed on two branchessince 1m ago · on bm-02 · Run realm key rotate/);
  assert.match(text, /Machines1 of 2 live/);
  assert.match(text, /silent for 1m/);
  const charts = findAll(drawn, ({ tag }) => tag === "figure");
  assert.deepEqual(
    charts.map((each) =>
      textOf(findAll(each, ({ attributes }) => attributes.class === "chart-title")[0]!)
    ),
    ["CPU", "Memory", "Fuel", "Requests", "Latency"],
  );
  assert.match(looking(fakeStatus()).text, /Nothing is wrong/);
});

Deno.test("components are listed with those that are ill first, and found by name and by node", () => {
  const [auth, orders] = fakeStatus().components;
  const status = fakeStatus({
    components: [
      auth!,
      { ...orders!, placed: [{ node: "bm-02", replicas: 3, running: 1 }], scaledTo: 3 },
    ],
  });
  const rows = (model: Partial<Model>) =>
    findAll(
      looking(status, { route: { view: "components" }, ...model }).drawn,
      ({ tag }) => tag === "tr",
    ).slice(1).map(textOf);
  const all = rows({});
  assert.match(all[0]!, /^ordersnot all run1\/3 set by hand/);
  assert.match(all[1]!, /^authrunning2\/2/);
  assert.equal(rows({ filter: "ORD" }).length, 1);
  assert.equal(rows({ filter: "bm-01" }).length, 1);
  assert.equal(rows({ illOnly: true }).length, 1);
  assert.equal(rows({ filter: "nothing" }).length, 0);
});

Deno.test("restart, scale and drain are asked for by their buttons, everywhere or on one node", () => {
  const list = looking(fakeStatus(), { route: { view: "components" } });
  press(list.drawn, "Restart auth");
  press(list.drawn, "Scale orders");
  const one = looking(fakeStatus(), { route: { view: "component", name: "auth" } });
  press(one.drawn, "Restart auth on bm-01");
  press(one.drawn, "Scale auth on bm-01");
  press(one.drawn, "Log of auth on bm-01");
  const key = fakeStatus().nodes[0]!.key;
  const node = looking(fakeStatus(), { route: { view: "node", name: key } });
  press(node.drawn, "Drain bm-01");
  assert.deepEqual([...list.did, ...one.did, ...node.did], [
    ["ask", { kind: "restart", component: "auth", node: null }],
    ["ask", { kind: "scale", component: "orders", node: null, replicas: "" }],
    ["ask", { kind: "restart", component: "auth", node: "bm-01" }],
    ["ask", { kind: "scale", component: "auth", node: "bm-01", replicas: "" }],
    ["seeFrom", "bm-01"],
    ["ask", { kind: "drain", node: "bm-01", drained: true }],
  ]);
});

Deno.test("an order says what it does and who signs, and cannot be confirmed by nobody", () => {
  const order = { kind: "scale", component: "auth", node: null, replicas: "4" } as const;
  const { drawn, text, did } = looking(fakeStatus(), { order });
  assert.match(text, /Scale auth on every node\?/);
  assert.match(text, /Signed by ed25519:owner/);
  const [form] = findAll(drawn, ({ tag }) => tag === "form");
  let prevented = false;
  form!.on.submit!({ preventDefault: () => prevented = true });
  assert.ok(prevented);
  assert.deepEqual(did, [["confirm"]]);
  const unsigned = looking(fakeStatus(), { order, signer: null, signerProblem: "there is no key" });
  assert.match(unsigned.text, /there is no key/);
  assert.equal(control(unsigned.drawn, "Scale").attributes.disabled, true);
});

Deno.test("a component that failed shows why, and its replicas how they ended", () => {
  const [auth] = fakeStatus().components;
  const rollout = {
    state: "returned",
    version: 2,
    wanted: 2,
    settled: 2,
    waitsFor: [],
    refusedBy: [],
    givenUpBy: [{ node: "bm-03", replicas: 1, why: "its bytes cannot be had" }],
    failure: { version: 3, node: "bm-02", evidence: "GET /healthz: 503\nlast words" },
  } as const;
  const status = fakeStatus({
    components: [{ ...auth!, rollout }],
    replicas: [fakeReplica("auth", 0), fallenReplica("auth", 1)],
  });
  const { text } = looking(status, { route: { view: "component", name: "auth" } });
  assert.match(text, /given up by bm-03 \(1\), tried again: its bytes cannot be had/);
  assert.match(text, /Version 3 failed on bm-02GET \/healthz: 503\nlast words/);
  assert.match(text, /auth\/1retry 4s.*epoch-timeout: ran for 100 ms/);
  assert.match(looking(status, { route: { view: "component", name: "x" } }).text, /no component/);
});

Deno.test("a log shows its last lines, what was missed, and what fits a search; pausing waits", () => {
  const line = (n: number) =>
    ({ kind: "line", replica: 0, wallMs: NOW_MS, stream: "stderr", text: `line ${n}`, n }) as const;
  const log = [...Array.from({ length: 500 }, (_, n) => line(n)), {
    kind: "missed",
    lines: 70,
    n: 500,
  }] as const;
  const route = { view: "logs", name: "auth" } as const;
  const { drawn, text, did } = looking(fakeStatus(), { route, log });
  assert.match(text, /line 499/);
  assert.match(text, /70 lines missed/);
  const shown = findAll(drawn, ({ tag }) => tag === "time").length;
  assert.equal(shown, 399, "the last of many");
  press(drawn, "Pause");
  assert.deepEqual(did, [["pauseLog", true]]);
  const found = looking(fakeStatus(), { route, log, logFilter: "LINE 42" });
  assert.equal(findAll(found.drawn, ({ tag }) => tag === "time").length, 11);
  const paused = looking(fakeStatus(), { route, log, logPaused: true, logWaiting: 12 });
  press(paused.drawn, "Go on (12 wait)");
  assert.deepEqual(paused.did, [["pauseLog", false]]);
});

Deno.test("history lists manifests, and a plan says what would change", () => {
  const versions = [
    {
      version: 3,
      sha256: DIGEST,
      author: "ed25519:o",
      event: "bafy3",
      state: "in-force",
      takenAtMs: NOW_MS,
    },
    {
      version: 2,
      sha256: DIGEST,
      author: "ed25519:o",
      event: "bafy2",
      state: "applied",
      takenAtMs: null,
    },
    {
      version: 2,
      sha256: DIGEST,
      author: "ed25519:o",
      event: "bafy1",
      state: "conflict",
      reason: "two of it",
      takenAtMs: null,
    },
  ];
  const plan = {
    title: "back to version 2",
    changes: [{
      change: "changed",
      subject: "component",
      name: "auth",
      details: [{ key: "memory_max_mb", from: "64" }],
    }],
    steps: [{ node: "bm-01", action: "replace", component: "auth", replicas: 2 }],
    unplaced: [],
    violations: ["line 3: too much"],
    refusing: [{ node: "bm-02", version: 3, why: "64 MiB are too much" }],
    missing: [],
  };
  const { drawn, text, did } = looking(fakeStatus(), {
    route: { view: "history" },
    versions,
    plan,
  });
  assert.match(text, /conflict two of it/);
  assert.match(text, /~ component auth changedmemory_max_mb: 64 → not set/);
  assert.match(text, /bm-01replaceauth2/);
  assert.match(text, /Policy: line 3: too much/);
  assert.match(text, /bm-02 refuses version 3, and may refuse this one: 64 MiB are too much/);
  press(drawn, "Plan version 2");
  assert.deepEqual(did, [["plan", { version: 2 }]]);
});

Deno.test("apps show digest and how far they are in step with their peers", () => {
  const topic = {
    topic: "bafytopic",
    name: "lunch",
    app: "bafyapp",
    appName: "poll",
    bundle: "bafybundle",
    role: "member",
    state: "running",
    why: null,
    key: "ed25519:p",
    behaviorKey: null,
    behaviorProblem: null,
    encrypted: false,
    events: 30,
    applied: 28,
    settled: false,
    heads: [],
    digest: DIGEST,
    members: [],
    peers: ["ed25519:q"],
    alarms: ["drift: another state"],
  } as const;
  const { text } = looking(fakeStatus({ topics: [topic] }), { route: { view: "apps" } });
  assert.match(text, /lunchpollmember/);
  assert.match(text, /28 of 30 applied, not settled, 1 peer/);
  assert.match(text, /drift: another state/);
  assert.match(text, /abababababab…/);
});

Deno.test("every control has a name, every table cell its column, every view a heading", () => {
  const key = fakeStatus().nodes[0]!.key;
  const routes: Model["route"][] = [
    { view: "overview" },
    { view: "components" },
    { view: "apps" },
    { view: "history" },
    { view: "node", name: key },
    { view: "component", name: "auth" },
    { view: "logs", name: "auth" },
  ];
  for (const route of routes) {
    const { drawn } = looking(fakeStatus(), { route });
    for (const node of findAll(drawn, ({ tag }) => ["button", "a"].includes(tag))) {
      assert.notEqual(String(node.attributes["aria-label"] ?? textOf(node)).trim(), "", route.view);
    }
    const labelled = findAll(drawn, ({ tag }) => tag === "label")
      .flatMap((label) => findAll(label, ({ tag }) => ["input", "select"].includes(tag)));
    const fields = findAll(drawn, ({ tag }) => ["input", "select"].includes(tag));
    assert.equal(labelled.length, fields.length, `${route.view}: a field without a label`);
    for (const cell of findAll(drawn, ({ tag }) => tag === "td")) {
      assert.ok("data-label" in cell.attributes);
    }
    assert.ok(findAll(drawn, ({ tag }) => tag === "h2").length > 0, route.view);
    // Nothing that a policy without unsafe-inline would refuse.
    for (const node of findAll(drawn, () => true)) {
      assert.ok(!("style" in node.attributes) && !("onclick" in node.attributes), node.tag);
      assert.ok(node.tag !== "script" && node.tag !== "style");
    }
  }
});

Deno.test("a hundred machines and a thousand components: the first hundred are shown, the rest when asked", () => {
  const [auth] = fakeStatus().components;
  const nodes = Array.from(
    { length: 100 },
    (_, i) => fakeNode(`bm-${i}`, { self: i === 0, tags: [`rack-${i % 4}`] }),
  );
  const components = Array.from({ length: 1_000 }, (_, i) => ({
    ...auth!,
    name: `c-${i}`,
    placed: [{ node: `bm-${i % 100}`, replicas: 1, running: i === 999 ? 0 : 1 }],
  }));
  const status = fakeStatus({ nodes, components });
  const { drawn, did } = looking(status, { route: { view: "components" } });
  const rows = findAll(drawn, ({ tag }) => tag === "tr").slice(1);
  assert.equal(rows.length, 100);
  assert.match(textOf(rows[0]!), /^c-999not all run/);
  press(drawn, "Show all");
  assert.deepEqual(did, [["change", { showAll: true }]]);
  const map = findAll(looking(status).drawn, named("100 machines, none silent"));
  assert.equal(findAll(map[0]!, ({ tag }) => tag === "a").length, 100);
});

Deno.test("who is not logged in sees how to, and nothing else", () => {
  const { text } = looking(fakeStatus(), { session: null, refused: "the link was used already" });
  assert.match(text, /the link was used already/);
  assert.match(text, /realm ui/);
  assert.doesNotMatch(text, /shop|auth/);
});
