import assert from "node:assert/strict";
import { type Interaction, START } from "../interaction.ts";
import { sceneOf, screenLines } from "../screen.ts";
import type { Snapshot } from "../session.ts";
import {
  fakeAlarm,
  fakeNode,
  fakeReplica,
  fakeStatus,
  historyEntry,
  NOW_MS,
} from "../status_fake.ts";
import type { Status } from "../view_model.ts";
import type { ViewName } from "./view.ts";

const KEY = fakeStatus().node.key;
const [auth, orders] = fakeStatus().components;

const TOPIC: Status["topics"][number] = {
  topic: "bafytopic",
  name: "lunch",
  app: "bafyapp",
  appName: "poll",
  bundle: "bafybundle",
  role: "member",
  state: "running",
  why: null,
  key: KEY,
  behaviorKey: null,
  behaviorProblem: null,
  encrypted: true,
  events: 12,
  applied: 9,
  settled: false,
  heads: ["bafyhead"],
  digest: "cd".repeat(32),
  members: [
    { key: KEY, role: "creator" },
    { key: "ed25519:bot", role: "member", person: "ed25519:bob" },
  ],
  peers: ["ed25519:bob"],
  alarms: ["drift with ed25519:bob"],
};

const STATUS = fakeStatus({
  nodes: [
    fakeNode("bm-02", { links: [{ key: KEY, latencyMs: 1.25 }], latencyMs: 1.25, tags: ["metal"] }),
    fakeNode("bm-01", { key: KEY, self: true, links: [{ key: "ed25519:bm-02", latencyMs: null }] }),
    fakeNode("bm-03", { live: false, silentSinceMs: NOW_MS - 90_000, health: null }),
    fakeNode("bm-04", { state: "pending", live: false, health: null, version: null }),
  ],
  components: [
    {
      ...auth!,
      placed: [{ node: "bm-01", replicas: 2, running: 2 }, {
        node: "bm-02",
        replicas: 1,
        running: 0,
      }],
      unplaced: [{ replicas: 1, why: "no room" }],
      rollout: {
        state: "rolling",
        version: 4,
        wanted: 3,
        settled: 1,
        waitsFor: ["bm-03"],
        refusedBy: [],
        givenUpBy: [{ node: "bm-02", replicas: 2, why: "GET /: 503" }],
        failure: null,
      },
    },
    {
      ...orders!,
      rollout: {
        state: "returned",
        version: 3,
        wanted: 1,
        settled: 1,
        waitsFor: [],
        refusedBy: [],
        failure: { version: 4, node: "bm-02", evidence: "GET /: 503\n  its \x1b[31mlast line" },
      },
    },
  ],
  topics: [TOPIC],
  alarms: [
    fakeAlarm("orders: version 4 failed on bm-02", {
      severity: "critical",
      node: "bm-02",
      hint: "Read realm logs orders",
    }),
    fakeAlarm("cannot place 1 of auth: no room", { node: null }),
  ],
});

const SNAPSHOT: Snapshot = {
  link: { kind: "connected" },
  current: { status: STATUS, monotonicMs: 1_000 },
  previous: undefined,
  logs: { component: "auth", rows: [] },
  history: {
    value: [
      historyEntry(4, "in-force"),
      historyEntry(3, "applied"),
      historyEntry(2, "void", { reason: "revoked" }),
    ],
    problem: undefined,
  },
  secrets: {
    value: [{ name: "db", state: "no value", isGood: false, nodes: [] }],
    problem: undefined,
  },
  plan: { version: 3, lines: ["~ component auth", "    replicas 3 -> 2"] },
};

/** The screen of a view, with what is selected in it. */
function shown(
  view: ViewName,
  { selected, isDetail = false, columns = 80, snapshot = SNAPSHOT, rows = 40, filter = "" }: {
    selected?: string;
    isDetail?: boolean;
    columns?: number;
    rows?: number;
    snapshot?: Snapshot;
    filter?: string;
  } = {},
): string {
  const interaction: Interaction = {
    ...START,
    view,
    mode: isDetail ? { kind: "detail", top: 0 } : { kind: "browse" },
    selected: selected === undefined ? {} : { [view]: selected },
    filters: { [view]: filter },
  };
  return screenLines(snapshot, interaction, { columns, rows }, NOW_MS)
    .map((line) => line.map(({ text }) => text).join("").trimEnd()).join("\n");
}

Deno.test("every view shows what there is, and something about what is selected", () => {
  const map = shown("map");
  assert.match(map, /▸ bm-01 \*[^\n]*\n {2}bm-02 +live +!1 +3\/3 +12% [^\n]*1\.3 ms +v3 metal\n/);
  assert.match(map, /bm-03 +silent 1m30s[^\n]*\n {2}bm-04 +pending/, "the others come last");
  assert.match(map, /round trip +bm-01 +bm-02 +bm-03\n +bm-01 +· +1\.3 ms +-\n/);
  const node = shown("map", { selected: "ed25519:bm-02", isDetail: true });
  assert.match(node, /fingerprint +3f2a-91bc[^]*tags +metal[^]*bm-01 1\.3 ms[^]*auth 0\/1/);

  assert.match(shown("components"), /▸ auth +2\/3 [^]*└ bm-02 +0\/1 /);

  const rollouts = shown("rollouts");
  assert.match(rollouts, /▸ auth +rolling +█{5}░{11} +1\/3 +v4 bm-03\n {2}orders +returned/);
  assert.match(rollouts, /no place +for 1 replica: no room/);
  assert.match(rollouts, /given up +by bm-02 \(2\), tried again: GET \/: 503/);
  const failed = shown("rollouts", { selected: "orders" });
  assert.match(failed, /failed +version 4 on bm-02\n +GET \/: 503\n +its \\u\{1b\}\[31mlast line/);

  const apps = shown("apps");
  assert.match(apps, /▸ lunch +poll +running +member +1 9\/12 +cdcdcdcdcdcd/);
  assert.match(apps, /members[^]*creator[^]*ed25519:bot member[^]*behavior of[^]*ed25519:bob/);
  assert.match(apps, /alarm +drift with ed25519:bob[^]*digest +(cd){32}\n +\(not settled\)/);

  assert.match(shown("secrets"), /▸ db +no value[^]*sealed to +nobody/);

  const history = shown("history", { selected: "bafyevent3", isDetail: true });
  assert.match(
    history,
    /realm rollback 3 would do this:\n\n {2}~ component auth\n +replicas 3 -> 2/,
  );
  assert.match(shown("history"), /▸ v4 +in force[^]*v2 +void[^]*this is what runs/);
  assert.match(shown("history", { selected: "bafyevent2" }), /nobody goes back to it/);

  const alarms = shown("alarms");
  assert.match(alarms, /▸ ! orders: version 4 failed on bm-02 +1m\n {2}! cannot place 1 of auth/);
  assert.match(alarms, /do +Read realm logs orders\n +node +bm-02\n +since +1m ago/);
});

Deno.test("the map of a large realm has a mark for every machine, and lists links of one", () => {
  const nodes = Array.from({ length: 100 }, (_, i) =>
    fakeNode(`n${i}`, {
      live: i !== 7,
      drained: i === 8,
      drift: i === 9,
      links: i === 0
        ? [{ key: "ed25519:n3", latencyMs: 8 }, { key: "ed25519:n2", latencyMs: 2 }]
        : [],
    }));
  const snapshot = {
    ...SNAPSHOT,
    current: { status: fakeStatus({ nodes }), monotonicMs: 0 },
  };
  const map = shown("map", { snapshot, rows: 24 });
  assert.match(map, /99 live ● {2}1 silent ○ {2}1 drained ◌ {2}1 differ ◐/);
  assert.equal([...map.matchAll(/[●○◌◐]/g)].length, 4 + 1 + 100, "with the legend, and the link");
  assert.match(map, /n2 2 ms +n3 8 ms/, "the nearest first");
});

Deno.test("a component that runs elsewhere has no log here, and says where", () => {
  const placed = [{ node: "bm-02", replicas: 2, running: 2 }];
  const status = fakeStatus({ components: [{ ...auth!, replicas: 0, placed }], replicas: [] });
  const snapshot = { ...SNAPSHOT, current: { status, monotonicMs: 0 } };
  const where = /not on this node: it runs on bm-02; look from there with c/;
  assert.match(shown("components", { snapshot }), where);
  const mode = {
    kind: "logs",
    paused: undefined,
    below: 0,
    pattern: "",
    isTyping: false,
    at: undefined,
  } as const;
  const whole = screenLines(snapshot, { ...START, mode }, { columns: 120, rows: 24 }, NOW_MS)
    .map((line) => line.map(({ text }) => text).join("")).join("\n");
  assert.match(whole, where);
});

Deno.test("a filter leaves what has the text in it", () => {
  const map = shown("map", { filter: "METAL" });
  assert.match(map, /▸ bm-02/);
  assert.doesNotMatch(map.split("──")[0]!, /bm-03/);
  assert.match(shown("apps", { filter: "nothing" }), /no topics/);
});

Deno.test("what could not be asked says why", () => {
  const snapshot = {
    ...SNAPSHOT,
    secrets: { value: undefined, problem: "Cannot answer: for the owner" },
    history: { value: undefined, problem: undefined },
  };
  assert.match(shown("secrets", { snapshot }), /Cannot answer: for the owner/);
  assert.match(shown("history", { snapshot }), /\n {2}…\n/);
});

Deno.test("sceneOf() drains what is selected in the map, and the node asked elsewhere", () => {
  const drains = (view: ViewName, selected?: string) =>
    sceneOf(
      SNAPSHOT,
      { ...START, view, selected: selected === undefined ? {} : { [view]: selected } },
      { columns: 80, rows: 24 },
      NOW_MS,
    ).drains;
  assert.deepEqual(drains("map", "ed25519:bm-02"), { node: "bm-02", isDrained: false });
  assert.deepEqual(drains("components", "auth"), { node: "bm-01", isDrained: false });
  assert.equal(drains("map", "ed25519:bm-04"), undefined, "it does not take part");
});

Deno.test("the table of a component tells of each replica", () => {
  const status = fakeStatus({ replicas: [fakeReplica("auth", 0), fakeReplica("auth", 1)] });
  const snapshot = { ...SNAPSHOT, current: { status, monotonicMs: 0 } };
  assert.match(
    shown("components", { snapshot, columns: 200 }),
    /└ 1 +running +0 [^\n]* 100ms +1m /,
  );
});
