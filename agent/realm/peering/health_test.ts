import assert from "node:assert/strict";
import fc from "fast-check";
import { player, verify } from "../../../tests/simulation/cast.ts";
import { RealmError } from "../../kernel/error.ts";
import { decodeCanonical, encodeCanonical, signedBytes } from "../../kernel/canonical.ts";
import { ADDRESS_LENGTH_MAX, ADDRESSES_MAX, NAME_LENGTH_MAX } from "../../kernel/peering/fields.ts";
import { SUBJECT_LENGTH_MAX, TOLD_MAX, VALUE_LENGTH_MAX } from "../alarms.ts";
import { HealthBoard, SILENT_MS } from "./health_board.ts";
import { EVIDENCE_LENGTH_MAX } from "../effective_release.ts";
import { VERDICTS_MAX } from "../verdicts.ts";
import {
  COMPONENTS_MAX,
  FAILURES_MAX,
  GIVEN_UP_LENGTH_MAX,
  GIVEN_UP_MAX,
  type HealthRecord,
  HEARD_MAX,
  PENDING_MAX,
  readHealth,
  RECORD_BYTES_MAX,
  REFUSAL_LENGTH_MAX,
  type SignedHealth,
  signHealth,
  VERDICTS_SURE,
} from "./health_record.ts";

const a = player("a");
const RECORD: HealthRecord = {
  key: a.key,
  epoch: 2,
  counter: 7,
  name: "bm-01",
  program: "realm 0.5.0",
  saidAtMs: 1_764_000_000_000,
  heads: "ab".repeat(32),
  viewDigest: "cd".repeat(32),
  count: 12,
  version: 3,
  basis: "0123456789abcdef",
  refusal: { version: 4, why: "Cannot run the manifest" },
  turns: 5,
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
    isHeld: true,
    tries: 2,
  }],
  failures: [{
    component: "orders@green",
    version: 3,
    release: "fedcba9876543210",
    node: "b",
    evidence: "GET /healthz: 500",
  }],
  verdicts: [{
    component: "orders@green",
    version: 3,
    release: "fedcba9876543210",
    node: "b",
    wasComplete: true,
  }],
  givenUp: [{ component: "orders@blue", replicas: 2, why: "GET /healthz: 500" }],
  alarms: [
    { code: "disk", subject: null, value: "94 %", sinceAtMs: 1_763_999_000_000 },
    { code: "of-a-newer-program", subject: "orders/1", value: null, sinceAtMs: 0 },
  ],
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
  const replicas = Array.from({ length: COMPONENTS_MAX }, (_, i) => ({
    ...RECORD.replicas[0]!,
    component: String(i).padEnd(2 * NAME_LENGTH_MAX, "x"),
    wanted: 1_000,
    running: 1_000,
    slots: 1_000,
    settled: 1_000,
    doubled: 1_000,
    tries: 65_535,
  }));
  const { bytes, record } = sign({ ...RECORD, failures, replicas });
  assert.ok(bytes.length <= RECORD_BYTES_MAX);
  assert.deepEqual(readHealth(bytes, () => true, verify)?.record, record);
  const kept = record.failures.map(({ evidence }) => evidence !== "");
  assert.deepEqual([...kept].sort(), kept, "the oldest goes first");
  assert.ok(kept.includes(true) && kept.includes(false));
  assert.deepEqual(record.failures.map(({ version }) => version), failures.map((f) => f.version));
});

Deno.test("a record that is full to every bound is taken by others, whole but for evidence, what it gave up and older verdicts", () => {
  const long = (length: number) => "\u{20ac}".repeat(length);
  const full = <T>(length: number, of: (i: number) => T) => Array.from({ length }, (_, i) => of(i));
  const [most, { key }] = [Number.MAX_SAFE_INTEGER, player("b")];
  const record: HealthRecord = {
    ...RECORD,
    counter: most,
    saidAtMs: most,
    addresses: full(ADDRESSES_MAX, () => long(ADDRESS_LENGTH_MAX)),
    replicas: full(COMPONENTS_MAX, (i) => ({
      ...RECORD.replicas[0]!,
      component: String(i).padEnd(2 * NAME_LENGTH_MAX, "x"), // names are of a-z, 0-9, - and @
      wanted: 1_000,
      running: 1_000,
      slots: 1_000,
      settled: 1_000,
      doubled: 1_000,
      tries: 65_535,
    })),
    refusal: { version: 2 ** 32, why: "\u20ac".repeat(REFUSAL_LENGTH_MAX) },
    failures: full(FAILURES_MAX, (version) => ({
      ...RECORD.failures[0]!,
      version,
      evidence: long(EVIDENCE_LENGTH_MAX),
    })),
    verdicts: full(VERDICTS_MAX, (version) => ({
      ...RECORD.verdicts[0]!,
      component: "x".repeat(2 * NAME_LENGTH_MAX),
      node: "x".repeat(NAME_LENGTH_MAX),
      version: 2 ** 32 + version,
    })),
    givenUp: full(GIVEN_UP_MAX, () => ({
      component: "x".repeat(2 * NAME_LENGTH_MAX),
      replicas: 1_000,
      why: long(GIVEN_UP_LENGTH_MAX),
    })),
    alarms: full(TOLD_MAX, () => ({
      code: "replica-restarting",
      subject: long(SUBJECT_LENGTH_MAX),
      value: long(VALUE_LENGTH_MAX),
      sinceAtMs: most,
    })),
    heard: full(HEARD_MAX, () => [key, 60_000] as const),
    pending: full(PENDING_MAX, () => ({ key, name: long(NAME_LENGTH_MAX) })),
  };
  const { bytes } = sign(record);
  const failures = record.failures.map((failure) => ({ ...failure, evidence: "" }));
  assert.deepEqual(readHealth(bytes, () => true, verify)?.record, {
    ...record,
    failures,
    givenUp: [],
    verdicts: record.verdicts.slice(-VERDICTS_SURE),
  });
});

Deno.test("signHealth() makes whole milliseconds of what a clock says", () => {
  const since = { code: "disk", subject: null, value: null, sinceAtMs: -0.5 };
  const { bytes } = sign({ ...RECORD, saidAtMs: 1_000.7, alarms: [since] });
  const record = readHealth(bytes, () => true, verify)?.record;
  assert.deepEqual([record?.saidAtMs, record?.alarms[0]?.sinceAtMs], [1_001, 0]);
});

Deno.test("readHealth() passes over what a newer program says besides", () => {
  const { bytes } = sign(RECORD);
  const [inner] = decodeCanonical(bytes) as [Uint8Array];
  const more = encodeCanonical({ ...decodeCanonical(inner) as object, weather: "fair" });
  const signed = encodeCanonical([more, a.sign(signedBytes("realm/health/1", more))]);
  assert.deepEqual(readHealth(signed, () => true, verify)?.record, RECORD);
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
  assert.throws(
    () => readHealth(new Uint8Array(RECORD_BYTES_MAX + 1), () => true, verify),
    RealmError,
  );
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
