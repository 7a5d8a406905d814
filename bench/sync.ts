/**
 * What it costs two sides to end with the same events: bytes, rounds and processor time, next to
 * what theory asks and to the simple ways.
 *
 * Both sides run in one process and hand each other messages at once. The events are real ones,
 * canonical and content-addressed, but verified by nobody: signatures cost what they cost, however
 * an event is found.
 *
 * @module
 */
import * as process from "node:process";
import {
  type FakeEvent,
  fakeEvent,
  fakeGenesis,
  FakeLog,
} from "../agent/kernel/sync/event_log_fake.ts";
import { decodeMessage } from "../agent/kernel/sync/messages.ts";
import { SyncSession } from "../agent/kernel/sync/session.ts";
import type { BenchContext, Benchmark } from "./bench.ts";
import { type Figure, figure, goal, type Table } from "./report.ts";

/** One session. */
interface Run {
  readonly method: string;
  readonly rounds: number;
  /** Of all messages, without the events in them. */
  readonly overheadBytes: number;
  readonly eventsBytes: number;
  /** Of both sides: until all that is missing was known, and until it was there. */
  readonly findMs: number;
  readonly totalMs: number;
}

function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

function run(initiator: FakeLog, responder: FakeLog): Run {
  const secret = () => crypto.getRandomValues(new Uint8Array(16));
  const start = cpuMs();
  const sides = [
    new SyncSession({ role: "initiator", source: initiator, secret: secret() }),
    new SyncSession({ role: "responder", source: responder, secret: secret() }),
  ] as const;
  let findMs: number | undefined, allBytes = 0, eventsBytes = 0;
  for (let isIdle = false; !isIdle;) {
    isIdle = true;
    for (const [from, to] of [sides, sides.toReversed()]) {
      for (let bytes = from!.send(); bytes !== undefined; bytes = from!.send()) {
        isIdle = false;
        allBytes += bytes.length;
        const message = decodeMessage(bytes);
        if (message.kind === "events") {
          eventsBytes += message.events.reduce((sum, event) => sum + event.length, 0);
        }
        if (message.kind === "events" || message.kind === "synced") findMs ??= cpuMs() - start;
        to!.receive(bytes);
      }
    }
  }
  const { method, rounds, inSync } = sides[0].outcome!;
  if (!inSync) throw new Error("the two sides ended with different events");
  const totalMs = cpuMs() - start;
  return {
    method,
    rounds,
    overheadBytes: allBytes - eventsBytes,
    eventsBytes,
    findMs: findMs!,
    totalMs,
  };
}

/** Bytes that name `differences` of all ids of 256 bits: log2 of how many such sets there are. */
function limitBytes(differences: number): number {
  let bits = 256 * differences;
  for (let i = 2; i <= differences; i++) bits -= Math.log2(i);
  return Math.ceil(bits / 8);
}

function bytesText(bytes: number): string {
  return bytes < 1000
    ? `${bytes} B`
    : `${(bytes / 1000).toLocaleString("en-US", { maximumFractionDigits: 1 })} kB`;
}

/** See the module. */
export const sync: Benchmark = ({ quick, note }: BenchContext): Promise<Table[]> => {
  const size = quick ? 10_000 : 100_000, runs = 5;
  const payload = new Uint8Array(64);
  note(`making ${size} events`);
  const shared: FakeEvent[] = [fakeGenesis()];
  while (shared.length < size) shared.push(fakeEvent([shared.at(-1)!], payload));
  /** Children of events all over the past, which no other event has for parents. */
  const children = (name: string, count: number, offset: number) =>
    Array.from({ length: count }, (_, i) => {
      const parent = shared[Math.floor((i + offset) * size / count)]!;
      return fakeEvent([parent], `${name} ${i} ${"x".repeat(64)}`);
    });
  const cases = [0, 1, 10, 100, 1000, size / 2].map((differences) => {
    const [ours, theirs] = [
      children("a", differences >> 1, 0.25),
      children("b", (differences + 1) >> 1, 0.75),
    ];
    return {
      name: `${differences.toLocaleString("en-US")} scattered`,
      differences,
      sides: () =>
        [new FakeLog([...shared, ...ours]), new FakeLog([...shared, ...theirs])] as const,
    };
  });
  const past = shared.slice(0, 0.9 * size), branch: FakeEvent[] = [past.at(-1)!];
  for (let i = 0; i < 0.1 * size; i++) branch.push(fakeEvent([branch.at(-1)!], "another branch"));
  cases.push({
    name: `${(0.2 * size).toLocaleString("en-US")} after a fork`,
    differences: 0.2 * size,
    sides: () => [new FakeLog(shared), new FakeLog([...past, ...branch])] as const,
  });
  cases.push({
    name: "one side is empty",
    differences: size,
    sides: () => [new FakeLog(), new FakeLog(shared)] as const,
  });
  const rows: Table["rows"][number][] = [];
  let wanted: { bytes: number; find: Figure } | undefined;
  for (const { name, differences, sides } of cases) {
    note(name);
    // Where it is the events that take the time, once is enough.
    const found = Array.from({ length: differences > 1000 ? 1 : runs }, () => run(...sides()));
    const byBytes = found.toSorted((a, b) => a.overheadBytes - b.overheadBytes);
    const middle = byBytes[found.length >> 1]!;
    const find = figure(found.map(({ findMs }) => findMs), "ms")!;
    if (differences === 100) wanted = { bytes: middle.overheadBytes, find };
    rows.push([
      name,
      middle.method,
      `${middle.rounds}`,
      bytesText(middle.overheadBytes),
      bytesText(limitBytes(differences)),
      bytesText(middle.eventsBytes),
      find,
      figure(found.map(({ totalMs }) => totalMs), "ms"),
    ]);
  }
  const { bytes, find } = wanted!;
  return Promise.resolve([{
    title: `Reconciliation of two sets of ${size.toLocaleString("en-US")} events`,
    columns: [
      "differences",
      "method",
      "rounds",
      "beyond the events",
      "limit",
      "events",
      "to find them",
      "in all",
    ],
    rows,
    notes: [
      `100 differences: wanted at most 20 kB beyond the events (${bytesText(bytes)}: ${
        bytes <= 20_000 ? "met" : "missed"
      }) and at most 500 ms (${goal(find, "at most", 500)!.met ? "met" : "missed"})`,
      "bytes are of both directions, openings, acknowledgements and ends included; a round is a question with its answer",
      "times are processor time of both sides together, one after the other, with the iteration over all stored events and the keyed hash of each: nothing is kept from one session to the next",
      "limit: the bytes it takes to name so many of all ids of 256 bits, log2 C(2^256, d); a session goes below it because it names events by 64-bit hashes under its own key",
      `a full exchange of ids takes ${
        bytesText(32 * size)
      }; Negentropy is given as 115 kB in 2 rounds for 100 differences among 100,000`,
    ],
  }]);
};
