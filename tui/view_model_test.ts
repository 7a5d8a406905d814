import assert from "node:assert/strict";
import fc from "fast-check";
import { fakeAlarm, fakeReplica, fakeStatus, fallenReplica, NOW_MS } from "./status_fake.ts";
import {
  alarmsOf,
  componentNames,
  componentRows,
  componentWindow,
  describeExit,
  type Sample,
  type Status,
} from "./view_model.ts";

const sample = (status = fakeStatus(), monotonicMs = 10_000): Sample => ({ status, monotonicMs });

Deno.test("componentRows() sums the replicas of each component, sorted by name", () => {
  const [auth, orders] = componentRows(sample(), undefined, NOW_MS);
  assert.equal(auth!.component.state, "2/2");
  assert.equal(auth!.component.tone, "good");
  assert.deepEqual(auth!.component.memory, {
    bytes: 48 * 2 ** 20,
    bytesPeak: 64 * 2 ** 20,
    bytesMax: 128 * 2 ** 20,
  });
  assert.deepEqual(auth!.component.fuel, { perSec: undefined, perSecMax: 10_000_000 });
  assert.deepEqual(auth!.replicas.map((row) => row.name), ["0", "1"]);
  assert.equal(auth!.replicas[0]!.ageMs, 60_000);
  assert.equal(orders!.component.name, "orders");
});

Deno.test("componentRows() tells rates from two samples of one instance only", () => {
  const later = fakeStatus();
  const [first, restarted] = later.replicas;
  const used = { ...first!.usage!, fuelUsed: 16_000_000, throttledMs: 500 };
  const before = sample();
  const after = sample({
    ...later,
    replicas: [
      { ...first!, usage: used },
      { ...restarted!, usage: { ...used, fuelUsed: 5 }, startedAtMs: NOW_MS - 100 },
      later.replicas[2]!,
    ],
  }, 12_000);
  const [auth, orders] = componentRows(after, before, NOW_MS);
  assert.equal(auth!.replicas[0]!.fuel!.perSec, 3_000_000);
  assert.equal(auth!.replicas[0]!.throttled, 0.25);
  assert.equal(auth!.replicas[1]!.fuel!.perSec, undefined, "its counters started again");
  assert.equal(auth!.component.fuel!.perSec, undefined, "a part is not the whole");
  assert.equal(auth!.component.throttled, 0.25);
  assert.equal(orders!.component.fuel!.perSec, 0);
});

Deno.test("componentRows() shows what is waiting, failed, scaled, and no longer wanted", () => {
  const status = fakeStatus({
    components: [{ ...fakeStatus().components[0]!, replicas: 3, scaledTo: 3 }],
    replicas: [
      fakeReplica("auth", 1),
      fallenReplica("auth", 0),
      fakeReplica("auth", 2, { state: "failed", usage: null }),
      fakeReplica("old", 0),
    ],
  });
  const [auth, old] = componentRows(sample(status), undefined, NOW_MS);
  assert.equal(auth!.component.state, "1/3 set");
  assert.equal(auth!.component.tone, "bad");
  assert.equal(auth!.component.restarts, 3);
  assert.deepEqual(auth!.replicas.map((row) => row.state), ["retry 4s", "running", "failed"]);
  assert.equal(auth!.replicas[0]!.memory, undefined);
  assert.match(auth!.replicas[0]!.lastExit, /^epoch-timeout: ran for/);
  assert.equal(old!.component.state, "1/0");
  assert.equal(old!.component.tone, "warn");
});

Deno.test("alarmsOf() is empty when all is well", () => {
  assert.deepEqual(alarmsOf(fakeStatus()), []);
});

Deno.test("alarmsOf() shows the alarms of the agent, and that there is no manifest yet", () => {
  const alarms = [
    fakeAlarm("it is unclaimed", { severity: "critical" }),
    fakeAlarm("the disk is full"),
  ];
  const of = {
    id: '["replica-restarting","bm-01",null]',
    hint: "Do something",
    node: "bm-01",
    sinceAtMs: NOW_MS - 60_000,
  };
  assert.deepEqual(alarmsOf(fakeStatus({ alarms, manifest: null })), [
    { tone: "bad", text: "it is unclaimed", ...of },
    { tone: "warn", text: "the disk is full", ...of },
  ]);
  assert.equal(alarmsOf(fakeStatus({ manifest: null }))[0]!.text, "no manifest yet");
});

Deno.test("describeExit() tells every end in one line", () => {
  assert.equal(describeExit({ kind: "exit", status: 3 }), "exit 3");
  assert.equal(describeExit({ kind: "stopped" }), "stopped");
});

/** The names in a table of `height` lines. */
function windowOf(status: Status, height: number, selected: string): string {
  const names = componentNames(status);
  return componentWindow(sample(status), undefined, NOW_MS, { names, selected, height }).rows
    .map((row) => row.name).join(" ");
}

Deno.test("componentWindow() shows all where it fits, else folds what is not selected", () => {
  const status = fakeStatus();
  assert.equal(windowOf(status, 5, "auth"), "auth 0 1 orders 0");
  assert.equal(windowOf(status, 4, "auth"), "auth 0 1 orders");
  assert.equal(windowOf(status, 3, "orders"), "auth orders 0");
  assert.equal(windowOf(status, 2, "orders"), "orders 0");
  assert.equal(windowOf(status, 2, "auth"), "auth 0");
});

Deno.test("componentWindow() shows what other nodes run below what runs here", () => {
  const [auth, orders] = fakeStatus().components;
  const placed = [
    { node: "bm-01", replicas: 2, running: 2 },
    { node: "bm-02", replicas: 3, running: 1 },
    { node: "bm-03", replicas: 1, running: null },
  ];
  const status = fakeStatus({ components: [{ ...auth!, placed }, orders!] });
  assert.equal(windowOf(status, 9, "auth"), "auth 0 1 bm-02 bm-03 orders 0");
  const [rows] = componentRows(sample(status), undefined, NOW_MS);
  assert.deepEqual([rows!.component.state, rows!.component.tone], ["3/6", "warn"]);
  assert.deepEqual(rows!.elsewhere.map(({ state, tone }) => [state, tone]), [
    ["1/3", "warn"],
    ["?/1", "warn"],
  ]);
});

Deno.test("componentWindow() always shows the selected component and fills the table", () => {
  const counts = fc.array(fc.nat(6), { minLength: 1, maxLength: 20 });
  fc.assert(
    fc.property(counts, fc.nat(), fc.integer({ min: 1, max: 30 }), (sizes, pick, height) => {
      const replicas = sizes.flatMap((size, i) =>
        Array.from({ length: size }, (_, index) => fakeReplica(`c${i}`, index))
      );
      const components = sizes.map((size, i) => ({
        ...fakeStatus().components[0]!,
        name: `c${i}`,
        replicas: size,
      }));
      const status = fakeStatus({ components, replicas });
      const selected = `c${pick % sizes.length}`;
      const names = componentNames(status);
      const { rows, isCut } = componentWindow(sample(status), undefined, NOW_MS, {
        names,
        selected,
        height,
      });
      assert.ok(rows.some((row) => row.kind === "component" && row.name === selected));
      const folded = sizes.length + sizes[pick % sizes.length]!;
      assert.ok(rows.length <= height && rows.length >= Math.min(height, folded));
      assert.equal(isCut, sizes.length + replicas.length > height);
    }),
  );
});
