/**
 * What Autobase and Canvas gossiplog take, run by Node in `bench/peers`: there their packages are
 * installed when they are not, and one that cannot be is left out.
 *
 * @module
 */
import { ROOT, runProcess, withFolder } from "./programs.ts";

/** What a script measured: of each event, and in all. */
export interface Sample {
  /** Events each second. */
  readonly rate: number;
  /** Processor time of an event, in microseconds. */
  readonly cpu: number;
  readonly ms?: number;
}

/** Samples of one peer; none of what it does not do. */
export interface PeerSamples {
  readonly alone: readonly Sample[];
  readonly batched: readonly Sample[];
  readonly replay: readonly Sample[];
  readonly sync: readonly Sample[];
}

const FOLDER = `${ROOT}/bench/peers`;

/** Both peers, as far as they install. */
export async function runPeers(
  { quick, note }: { quick: boolean; note: (text: string) => void },
): Promise<{ autobase: PeerSamples; gossiplog: PeerSamples; notes: string[] }> {
  const notes: string[] = [];
  const run = async (name: string): Promise<PeerSamples> => {
    note(name);
    const samples: Partial<Record<keyof PeerSamples, Sample>>[] = [];
    try {
      await install();
      for (let i = 0; i < (quick ? 1 : 3); i++) {
        await withFolder(async (folder) => {
          const sizes = quick ? ["200", "2000"] : ["500", "10000"];
          const { stdout } = await runProcess(["node", `${FOLDER}/${name}.mjs`, folder, ...sizes]);
          samples.push(JSON.parse(stdout.trim().split("\n").at(-1)!));
        });
      }
    } catch (error) {
      notes.push(`${name} is left out: ${(error as Error).message.split("\n")[0]}`);
    }
    const of = (key: keyof PeerSamples) =>
      samples.map((sample) => sample[key]).filter((sample) => sample !== undefined);
    return { alone: of("alone"), batched: of("batched"), replay: of("replay"), sync: of("sync") };
  };
  const autobase = await run("autobase");
  const gossiplog = await run("gossiplog");
  notes.push(
    "Autobase and gossiplog: each awaits its appends, and syncs the disk for none; what they replay they verify, as another peer sends it",
  );
  return { autobase, gossiplog, notes };
}

let installing: Promise<unknown> | undefined;

function install(): Promise<unknown> {
  return installing ??= (async () => {
    try {
      await Deno.stat(`${FOLDER}/node_modules`);
    } catch {
      await runProcess([
        "npm",
        "install",
        "--prefix",
        FOLDER,
        "--no-audit",
        "--no-fund",
        "--omit=peer",
        "--legacy-peer-deps",
      ]);
    }
  })();
}
