/**
 * What it costs to hold the graph of a topic in memory, and the control log of a realm.
 *
 * The topic's events are real ones, canonical and content-addressed, but signed by nobody: a topic
 * asks for no signature. Those of the control log are signed, and verified when it is opened.
 *
 * @module
 */
import * as process from "node:process";
import { nodeBackend } from "../agent/node/crypto_node.ts";
import { cidOf } from "../agent/kernel/canonical.ts";
import {
  encodeEvent,
  type Event,
  genesisEvent,
  nextEvent,
  type SignedEvent,
} from "../agent/kernel/event.ts";
import { Topic } from "../agent/kernel/topic.ts";
import { verifierOf } from "../agent/kernel/verify.ts";
import { RealmLog } from "../agent/realm/realm_log.ts";
import { manifestOf, openLog, operator, owner, proposed } from "../agent/realm/realm_log_fake.ts";
import { MemoryStore } from "../agent/store/memory_store.ts";
import type { BenchContext, Benchmark } from "./bench.ts";
import { figure, type Table } from "./report.ts";

/** Processor time of one call, in milliseconds. */
function cpuMs(work: () => void): number {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

function made(event: Event): SignedEvent {
  const bytes = encodeEvent(event);
  return { id: cidOf(bytes), event, bytes, signature: new Uint8Array(64) };
}

/** A history of so many events, parents first; `parents` chooses among those before. */
function history(
  size: number,
  authors: number,
  place: (events: readonly SignedEvent[], own: SignedEvent | undefined, i: number) => {
    readonly parents: readonly SignedEvent[];
    readonly previous: SignedEvent | undefined;
  },
): SignedEvent[] {
  const keys = Array.from({ length: authors }, (_, i) => {
    const key = new Uint8Array(32);
    new DataView(key.buffer).setUint32(0, i);
    return key;
  });
  const newest: (SignedEvent | undefined)[] = [];
  const events = [made(genesisEvent(keys[0]!, { type: "bench/genesis", payload: null }))];
  newest[0] = events[0];
  for (let i = 1; i < size; i++) {
    const who = i * 7 % authors;
    const { parents, previous } = place(events, newest[who], i);
    const content = { type: "bench/event", payload: i };
    events.push(newest[who] = made(nextEvent(keys[who]!, parents, previous, content)));
  }
  return events;
}

function topicOf([genesis, ...events]: readonly SignedEvent[]): Topic {
  const topic = new Topic(genesis!.id, genesis!.event);
  for (const event of events) {
    if (topic.add(event).kind !== "added") throw new Error("an event does not fit");
  }
  return topic;
}

/** See the module. */
export const events: Benchmark = async ({ quick, note }: BenchContext): Promise<Table[]> => {
  const size = quick ? 10_000 : 100_000, runs = quick ? 3 : 5;
  const number = (n: number) => n.toLocaleString("en-US");
  const last = (all: readonly SignedEvent[]) => [all.at(-1)!];
  const histories: [string, () => SignedEvent[]][] = [
    [
      `${number(size)} of 10 authors, each after the one before`,
      () => history(size, 10, (all, own) => ({ parents: last(all), previous: own })),
    ],
    [
      `${number(size)} of 100 authors at once, who hear of one another late`,
      () =>
        history(size, 100, (all, own, i) => {
          const heard = all[Math.max(0, all.length - 1 - i * 31 % 200)]!;
          const parents = own === undefined || own === heard ? [heard] : [own, heard];
          return { parents, previous: own };
        }),
    ],
    [
      `${number(size / 10)} branches of one author`,
      () => history(size / 10, 1, ([genesis]) => ({ parents: [genesis!], previous: genesis })),
    ],
  ];
  const rows: Table["rows"][number][] = [];
  for (const [name, make] of histories) {
    note(name);
    const all = make();
    const measured = Array.from({ length: runs }, () => {
      let topic!: Topic;
      const takes = cpuMs(() => topic = topicOf(all));
      const nodes = topic.order();
      const counts = cpuMs(() => nodes.forEach((node) => topic.counts(node)));
      const asks = cpuMs(() => {
        for (let i = 0; i < size; i++) {
          topic.isAncestor(nodes[i * 31 % nodes.length]!, nodes[i * 17 % nodes.length]!);
        }
      });
      const judges = cpuMs(() => topic.judge((node) => node.seq % 10 === 9));
      return { takes, counts, asks: asks * 1000 / size, judges };
    });
    rows.push([
      name,
      figure(measured.map(({ takes }) => takes), "ms"),
      figure(measured.map(({ counts }) => counts), "ms"),
      figure(measured.map(({ asks }) => asks), "µs"),
      figure(measured.map(({ judges }) => judges), "ms"),
    ]);
  }
  return [{
    title: "The graph of a topic",
    columns: ["events", "to take them", "which count", "one question for ancestors", "judge anew"],
    rows,
    notes: ["processor time; every event is handed in by itself, decoded and verified before"],
  }, await controlLog(quick ? 1_000 : 5_000, runs, note)];
};

async function controlLog(
  size: number,
  runs: number,
  note: (text: string) => void,
): Promise<Table> {
  const name = `${size.toLocaleString("en-US")} events, 100 manifests among them`;
  note(name);
  const store = new MemoryStore();
  const log = openLog(store);
  for (let i = 0; i < size; i++) {
    const version = i * 100 / size + 1;
    if (Number.isInteger(version)) {
      const settings = { operators: [operator], memory: 16 + version % 7 };
      log.append(await manifestOf(owner, version, settings), owner);
    } else if (i % 3 === 0) {
      log.append({ kind: "scale", component: "auth", replicas: i % 7, node: null }, owner);
    } else log.append({ kind: "restart", component: "auth", nodes: [] }, operator);
  }
  log.flush(0);
  const early = openLog();
  early.offer([...log.stored()].slice(0, size / 10).map(({ id }) => log.load(id)!));
  const late = proposed(early, operator, { kind: "drain", node: "bm-01", drained: true });
  const measured = Array.from({ length: runs }, () => {
    const verify = verifierOf(nodeBackend());
    let opened!: RealmLog;
    const opens = cpuMs(() => {
      opened = RealmLog.open({ store, verify, trust: { owner: owner.key } });
      void opened.view;
    });
    const next = proposed(opened, operator, { kind: "drain", node: "bm-02", drained: true });
    const follows = cpuMs(() => {
      opened.offer([next]);
      void opened.view;
    });
    const folds = cpuMs(() => {
      opened.offer([late]);
      void opened.view;
    });
    return { opens, follows, folds };
  });
  return {
    title: "The control log of a realm",
    columns: ["log", "to open it", "an event that comes last", "one that sorts before most"],
    rows: [[
      name,
      figure(measured.map(({ opens }) => opens), "ms"),
      figure(measured.map(({ follows }) => follows), "ms"),
      figure(measured.map(({ folds }) => folds), "ms"),
    ]],
    notes: [
      "processor time until the view is there; opening verifies every signature and reads every manifest again",
    ],
  };
}
