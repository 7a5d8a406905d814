import assert from "node:assert/strict";
import fc from "fast-check";
import { fakeAlarm, fakeReplica, fakeStatus, fallenReplica, NOW_MS } from "./status_fake.ts";
import { alarmsOf, componentRows, describeExit, type Sample, visibleRows } from "./view_model.ts";

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
  assert.deepEqual(alarmsOf(fakeStatus({ alarms, manifest: null })), [
    { tone: "bad", text: "it is unclaimed", hint: "Do something" },
    { tone: "warn", text: "the disk is full", hint: "Do something" },
  ]);
  assert.equal(alarmsOf(fakeStatus({ manifest: null }))[0]!.text, "no manifest yet");
});

Deno.test("describeExit() tells every end in one line", () => {
  assert.equal(describeExit({ kind: "exit", status: 3 }), "exit 3");
  assert.equal(describeExit({ kind: "stopped" }), "stopped");
});

Deno.test("visibleRows() shows all where it fits, else folds what is not selected", () => {
  const rows = componentRows(sample(), undefined, NOW_MS);
  const names = (height: number, selected: string) =>
    visibleRows(rows, selected, height).map((row) => row.name).join(" ");
  assert.equal(names(5, "auth"), "auth 0 1 orders 0");
  assert.equal(names(4, "auth"), "auth 0 1 orders");
  assert.equal(names(3, "orders"), "auth orders 0");
  assert.equal(names(2, "orders"), "orders 0");
  assert.equal(names(2, "auth"), "auth 0");
});

Deno.test("visibleRows() always shows the selected component and fills the table", () => {
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
      const all = componentRows(sample(fakeStatus({ components, replicas })), undefined, NOW_MS);
      const selected = `c${pick % sizes.length}`;
      const rows = visibleRows(all, selected, height);
      assert.ok(rows.some((row) => row.kind === "component" && row.name === selected));
      const folded = sizes.length + sizes[pick % sizes.length]!;
      assert.ok(rows.length <= height && rows.length >= Math.min(height, folded));
    }),
  );
});
