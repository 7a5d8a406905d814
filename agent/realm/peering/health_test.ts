import assert from "node:assert/strict";
import fc from "fast-check";
import { player, verify } from "../../../tests/simulation/cast.ts";
import { RealmError } from "../../kernel/error.ts";
import { HealthBoard, SILENT_MS } from "./health_board.ts";
import { EVIDENCE_LENGTH_MAX } from "../rollout.ts";
import {
  FAILURES_MAX,
  type HealthRecord,
  readHealth,
  RECORD_BYTES_MAX,
  type SignedHealth,
  signHealth,
} from "./health_record.ts";

const a = player("a");
const RECORD: HealthRecord = {
  key: a.key,
  epoch: 2,
  counter: 7,
  name: "bm-01",
  program: "realm 0.5.0",
  heads: "ab".repeat(32),
  viewDigest: "cd".repeat(32),
  count: 12,
  version: 3,
  cpuPermille: 120,
  memoryBytes: 1e8,
  addresses: ["/ip4/127.0.0.1/tcp/4001"],
  replicas: [{
    component: "orders@blue",
    digest: "0f".repeat(32),
    wanted: 2,
    running: 1,
    revision: "0123456789abcdef",
    slots: 2,
    settled: 1,
    doubled: 1,
    isComplete: true,
  }],
  failures: [{
    component: "orders@green",
    version: 3,
    release: "fedcba9876543210",
    node: "b",
    evidence: "GET /healthz: 500",
  }],
  heard: [[player("b").key, 12], [player("c").key, -1]],
  pending: [{ key: player("d").key, name: "laptop" }],
};

function sign(record: HealthRecord, by = a): SignedHealth {
  return signHealth(record, (message) => by.sign(message));
}

Deno.test("readHealth() inverts signHealth()", () => {
  const { bytes } = sign(RECORD);
  assert.deepEqual(readHealth(bytes, () => true, verify), { record: RECORD, bytes });
});

Deno.test("signHealth() leaves out the oldest evidence until others take the record", () => {
  const failures = Array.from({ length: FAILURES_MAX }, (_, version) => ({
    ...RECORD.failures[0]!,
    version,
    evidence: "\u20ac".repeat(EVIDENCE_LENGTH_MAX),
  }));
  const replicas = Array.from({ length: 350 }, (_, i) => ({
    ...RECORD.replicas[0]!,
    component: `component-${i}`,
  }));
  const { bytes, record } = sign({ ...RECORD, failures, replicas });
  assert.ok(bytes.length <= RECORD_BYTES_MAX);
  assert.deepEqual(readHealth(bytes, () => true, verify)?.record, record);
  const kept = record.failures.map(({ evidence }) => evidence !== "");
  assert.deepEqual([...kept].sort(), kept, "the oldest goes first");
  assert.ok(kept.includes(true) && kept.includes(false));
  assert.deepEqual(record.failures.map(({ version }) => version), failures.map((f) => f.version));
});

Deno.test("readHealth() takes a record from its own node only, and verifies nothing that is old", () => {
  const forged = sign(RECORD, player("b"));
  const refused = (error: unknown) => error instanceof RealmError && error.code === "bad-signature";
  assert.throws(() => readHealth(forged.bytes, () => true, verify), refused);
  assert.equal(readHealth(forged.bytes, () => false, verify), undefined);
});

Deno.test("readHealth() takes no key that is none, and no epoch after which there is none", () => {
  // It has the form of a key, and is not one: whoever lists nodes would stumble over it.
  const pending = [{ key: `ed25519:${"1".repeat(44)}`, name: "x" }];
  for (const wrong of [{ pending }, { epoch: Number.MAX_SAFE_INTEGER }]) {
    const { bytes } = sign({ ...RECORD, ...wrong });
    assert.throws(() => readHealth(bytes, () => true, verify), { code: "corrupt" });
  }
});

Deno.test("readHealth() throws nothing but RealmError, whatever comes", () => {
  const { bytes } = sign(RECORD);
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1 }), (changes) => {
      const copy = bytes.slice();
      for (const [at, value] of changes) copy[at % copy.length] = value;
      try {
        readHealth(copy, () => true, verify);
      } catch (error) {
        assert.ok(error instanceof RealmError, String(error));
      }
    }),
    { numRuns: Deno.env.get("SLOW") ? 10_000 : 200 },
  );
  assert.throws(() => readHealth(new Uint8Array(70_000), () => true, verify), RealmError);
});

Deno.test("HealthBoard keeps the newest record of each node, by epoch and counter", () => {
  const board = new HealthBoard("self");
  const first = sign(RECORD);
  board.put(first, 0);
  assert.ok(board.has(first.bytes));
  assert.ok(!board.isNews(RECORD));
  assert.ok(!board.isNews({ ...RECORD, epoch: 1, counter: 100 }));
  assert.ok(board.isNews({ ...RECORD, epoch: 3, counter: 0 }));
  const next = sign({ ...RECORD, counter: 8 });
  assert.ok(board.isNews(next.record));
  board.put(next, 1);
  assert.ok(!board.has(first.bytes));
  assert.equal(board.get(a.key)?.record.counter, 8);
  board.retain(() => false);
  assert.equal(board.get(a.key), undefined);
  assert.ok(!board.has(next.bytes));
});

Deno.test("HealthBoard holds a node to be live until it was silent for so long; this node always", () => {
  const board = new HealthBoard("self");
  assert.ok(board.isLive("self", 0));
  assert.ok(!board.isLive(a.key, 0));
  board.put(sign({ ...RECORD, counter: 6 }), 500);
  assert.ok(!board.isLive(a.key, 500), "by way of another it may be old");
  board.put(sign(RECORD), 1_000);
  assert.equal(board.nextSilenceMs(2_000), 1_000 + SILENT_MS);
  assert.ok(board.isLive(a.key, 1_000 + SILENT_MS - 1));
  assert.ok(!board.isLive(a.key, 1_000 + SILENT_MS));
  assert.equal(board.nextSilenceMs(1_000 + SILENT_MS), undefined);
  const other = new HealthBoard("self");
  other.put(sign(RECORD), 500, true);
  assert.ok(other.isLive(a.key, 500), "from the node itself it is not");
});
