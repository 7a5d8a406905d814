/**
 * What nodes do for one another, on loopback: a blob from one and from three, and requests that
 * make one hop.
 *
 * @module
 */
import * as path from "node:path";
import * as process from "node:process";
import { PeerBlobs } from "../agent/artifact/peer_blobs.ts";
import { sha256Hex } from "../agent/kernel/sha256.ts";
import { DiskBlobs } from "../agent/store/disk_blobs.ts";
import { systemClock } from "../agent/node/system_clock.ts";
import { V8_FLAGS_ARGUMENT } from "../scripts/v8_flags.ts";
import type { BenchContext, Benchmark } from "./bench.ts";
import { load } from "./load.ts";
import type { Load } from "./load_generator.ts";
import { blobOf, dial, openNetwork } from "./peer_probe.ts";
import {
  freePort,
  interleave,
  ROOT,
  type Running,
  startProcess,
  startServer,
  withFolder,
} from "./programs.ts";
import { type Figure, figure, ratio, type Table } from "./report.ts";

const BLOB_BYTES = 50_000_000;
const CONNECTIONS = 32;
const PROBE = [
  Deno.execPath(),
  "run",
  "-A",
  V8_FLAGS_ARGUMENT,
  `--config=${ROOT}/deno.json`,
  `${ROOT}/bench/peer_probe.ts`,
];

interface Giver extends Running {
  readonly address: string;
}

function startGivers(count: number, bytes: number): Giver[] {
  return Array.from({ length: count }, (_, i) => {
    const port = freePort();
    const running = startProcess([...PROBE, "give", String(port), String(i + 1), String(bytes)]);
    return { ...running, address: `/ip4/127.0.0.1/tcp/${port}` };
  });
}

/** Seconds and processor seconds, of this node and of all. */
interface Fetched {
  readonly wallS: number;
  readonly ownCpuS: number;
  readonly allCpuS: number;
}

const ownCpuS = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
};

async function blobs(context: BenchContext): Promise<Table> {
  const digest = await sha256Hex(blobOf(BLOB_BYTES));
  const givers = startGivers(3, BLOB_BYTES);
  const network = await openNetwork(100);
  try {
    const keys: string[] = [];
    for (const { address } of givers) keys.push(await dial(network, address));
    const fetchFrom = (count: number) =>
      withFolder(async (folder): Promise<Fetched> => {
        context.note(`peers: a blob from ${count}`);
        const peers = new PeerBlobs({
          network,
          blobs: await DiskBlobs.open(path.join(folder, "blobs")),
          clock: systemClock,
          mayAsk: (peer) => keys.indexOf(peer) < count,
        });
        const others = async () => {
          let ms = 0;
          for (const giver of givers) ms += await giver.cpuMs() ?? NaN;
          return ms / 1000;
        };
        const before = [performance.now() / 1000, ownCpuS(), await others()] as const;
        await peers.fetch(digest);
        const own = ownCpuS() - before[1];
        const wallS = performance.now() / 1000 - before[0];
        peers.close();
        return { wallS, ownCpuS: own, allCpuS: own + await others() - before[2] };
      });
    const rounds = context.quick ? 2 : 5;
    const found = await interleave(
      rounds,
      { "one node": () => fetchFrom(1), "three nodes": () => fetchFrom(3) },
      { warmUp: true },
    );
    return {
      title: `A blob of ${BLOB_BYTES / 1e6} MB from other nodes, proven and on the disk`,
      columns: ["from", "rate", "time", "CPU of the node", "CPU of all"],
      rows: Object.entries(found).map(([name, all]) => [
        name,
        figure(all.map(({ wallS }) => BLOB_BYTES / 1e6 / wallS), "MB/s"),
        figure(all.map(({ wallS }) => wallS * 1000), "ms"),
        figure(all.map(({ ownCpuS }) => ownCpuS * 1000), "ms"),
        figure(all.map(({ allCpuS }) => allCpuS * 1000), "ms"),
      ]),
      notes: [
        "each node is a process (bench/peer_probe.ts); all share the processors of this machine",
        "the first fetch is not counted: in it nodes make the states that prove the chunks",
      ],
    };
  } finally {
    await network.close();
    for (const giver of givers) await giver.stop();
  }
}

async function requests(context: BenchContext): Promise<Table> {
  const [giver] = startGivers(1, 1);
  const running: Record<string, Running & { url: string; more: readonly Running[] }> = {};
  try {
    const start = async (name: string, more: readonly Running[], ...rest: string[]) => {
      const port = freePort();
      const url = `http://127.0.0.1:${port}/`;
      const server = await startServer([...PROBE, "proxy", String(port), ...rest], url);
      running[name] = { ...server, url, more };
    };
    await start("a replica here", []);
    await start("a replica elsewhere", [giver!], giver!.address);
    const ask =
      (name: string, connections: number) => async (): Promise<Load & { us?: number }> => {
        context.note(`peers: requests to ${name}, ${connections} at once`);
        const { url, more, cpuMs } = running[name]!;
        const cpu = async () => {
          let ms = 0;
          for (const one of [{ cpuMs }, ...more]) ms += await one.cpuMs() ?? NaN;
          return ms;
        };
        const before = await cpu();
        const seconds = context.quick ? 1 : 4;
        const answered = await load(context.programs, url, { connections, seconds });
        return { ...answered, us: (await cpu() - before) * 1000 / answered.requests };
      };
    const cases = Object.keys(running).flatMap((name) =>
      [1, CONNECTIONS].map((connections) =>
        [`${name}, ${connections} at once`, ask(name, connections)] as const
      )
    );
    const found = await interleave(context.quick ? 2 : 5, Object.fromEntries(cases), {
      warmUp: true,
    });
    const of = (name: string, key: "perSecond" | "p50Ms" | "p99Ms"): Figure | undefined =>
      figure((found[name] ?? []).map((l) => l[key]), key === "perSecond" ? "req/s" : "ms");
    return {
      title: "Requests through a proxy, to a replica here and one hop away",
      columns: ["", "rate", "p50", "p99", "CPU of both nodes", "errors", "rate / here"],
      rows: cases.map(([name]) => [
        name,
        of(name, "perSecond"),
        of(name, "p50Ms"),
        of(name, "p99Ms"),
        figure((found[name] ?? []).map(({ us }) => us ?? NaN), "µs"),
        String((found[name] ?? []).reduce((sum, l) => sum + l.errors, 0)),
        name.includes("elsewhere")
          ? ratio(of(name, "perSecond"), of(name.replace("elsewhere", "here"), "perSecond"))
          : undefined,
      ]),
      notes: [
        "a replica answers `hello` at once: what is compared is the way to it, not what it does",
        "both nodes, libp2p between them and the load share the processors of this machine",
      ],
    };
  } finally {
    for (const server of Object.values(running)) await server.stop();
    await giver!.stop();
  }
}

export const peers: Benchmark = async (context) => [await blobs(context), await requests(context)];
