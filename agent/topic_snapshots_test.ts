import assert from "node:assert/strict";
import { State } from "./apps/state.ts";
import { baseSnapshot, type TopicSnapshot } from "./apps/topic/topic_snapshot.ts";
import { createTopic, someCid } from "./apps/topic/topic_fake.ts";
import { RealmError } from "./kernel/error.ts";
import { TopicSnapshots } from "./topic_snapshots.ts";

const ABI = 1;

Deno.test("TopicSnapshots looks for the state of a fork until it comes, whatever goes wrong", async () => {
  const journal = State.EMPTY.journal();
  journal.put(Uint8Array.of(1), Uint8Array.of(2));
  const state = journal.commit();
  const origin = { topic: someCid("origin"), event: someCid("event"), digest: state.digest(ABI) };
  const base = baseSnapshot({ state, bundle: "bundle" }, origin, ABI);
  const answers: (() => TopicSnapshot | undefined)[] = [
    () => undefined,
    () => {
      throw new RealmError("refused", "Cannot start the fork: it is another state");
    },
    () => {
      throw new Error("the disk is full");
    },
    () => undefined,
    () => base,
  ];
  const pauses: number[] = [];
  const problems: (string | undefined)[] = [];
  const came = Promise.withResolvers<void>();
  const snapshots: TopicSnapshots = new TopicSnapshots({
    log: createTopic({ fork: origin }),
    clock: {
      wallMs: () => 0,
      monotonicMs: () => 0,
      sleep: (ms) => {
        pauses.push(ms);
        return Promise.resolve();
      },
    },
    baseOf: () => Promise.resolve().then(answers.shift()),
    notice: (text) => assert.fail(text),
  });
  const look = () => {
    problems.push(snapshots.baseProblem(look));
    if (problems.at(-1) === undefined) came.resolve();
  };
  look();
  await came.promise;
  const waits = "the state that it begins with is not here yet";
  assert.deepEqual(problems, [
    waits,
    "Cannot start the fork: it is another state",
    "the disk is full",
    waits,
    undefined,
  ]);
  assert.deepEqual(pauses, [2_000, 4_000, 8_000, 2_000]);
  assert.deepEqual(snapshots.forStart().base?.record.digest, origin.digest);
});
