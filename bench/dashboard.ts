/**
 * What `realm tui` takes of a processor, in a terminal of tmux, with realms that are simulated by
 * another process.
 *
 * @module
 */
import * as path from "node:path";
import { V8_FLAGS_ARGUMENT } from "../scripts/v8_flags.ts";
import type { Benchmark } from "./bench.ts";
import { processorMs, ROOT, runProcess, startProcess, withFolder } from "./programs.ts";
import { figure, goal, type Table } from "./report.ts";

interface Case {
  readonly name: string;
  readonly nodes: number;
  readonly components: number;
  readonly columns: number;
  readonly rows: number;
  /** Keys that lead to the view. */
  readonly keys: readonly string[];
  /** Per cent of a core. */
  readonly wanted: number;
}

const small = { nodes: 3, components: 10, columns: 80, rows: 24, wanted: 10 };
const large = { nodes: 100, components: 1_000, wanted: 20 };
const CASES: readonly Case[] = [
  { name: "3 nodes, 80x24: the map", ...small, keys: ["1"] },
  { name: "3 nodes, 80x24: components and a log", ...small, keys: ["2"] },
  { name: "3 nodes, 80x24: a log alone", ...small, keys: ["2", "l"] },
  { name: "100 nodes, 80x24: the map", ...large, columns: 80, rows: 24, keys: ["1"] },
  { name: "100 nodes, 200x50: the map", ...large, columns: 200, rows: 50, keys: ["1"] },
  {
    name: "100 nodes, 200x50: components and a log",
    ...large,
    columns: 200,
    rows: 50,
    keys: ["2"],
  },
];
const LINES_PER_SEC = 1_000;
/** V8 compiles what it does at the beginning. */
const WARM_MS = 5_000;
/** With every frame: see `tui/painter.ts`. */
const FRAME = "\x1b[?2026h";

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function measure(
  realm: readonly string[],
  folder: string,
  { columns, rows, keys }: Case,
  forMs: number,
): Promise<{ percent: number | undefined; frames: number; kB: number }> {
  const socket = path.join(folder, "tmux");
  const written = path.join(folder, "written");
  const tmux = (...args: string[]) => runProcess(["tmux", "-u", "-S", socket, ...args]);
  const command = [...realm, "--data", folder, "tui"].map((word) => `'${word}'`).join(" ");
  const size = ["-x", String(columns), "-y", String(rows)];
  await tmux("-f", "/dev/null", "new-session", "-d", ...size, `exec ${command}`);
  try {
    const { stdout } = await tmux("list-panes", "-F", "#{pane_pid}");
    const pid = Number(stdout);
    while (!(await tmux("capture-pane", "-p")).stdout.includes("● connected")) await sleep(200);
    await tmux("send-keys", ...keys);
    await sleep(WARM_MS);
    await tmux("pipe-pane", "-O", `exec cat > '${written}'`);
    const before = await processorMs(pid);
    const from = performance.now();
    await sleep(forMs);
    const after = await processorMs(pid);
    const tookMs = performance.now() - from;
    await tmux("pipe-pane");
    const bytes = await Deno.readTextFile(written);
    return {
      percent: before === undefined || after === undefined
        ? undefined
        : (after - before) / tookMs * 100,
      frames: bytes.split(FRAME).length - 1,
      kB: bytes.length / tookMs,
    };
  } finally {
    await tmux("kill-server");
    await Deno.remove(written).catch(() => {}); // it may not have been made
  }
}

/** See the module. */
export const dashboard: Benchmark = async ({ programs, quick, note }) => {
  const title = "The dashboard";
  const hasTmux = await runProcess(["tmux", "-V"]).then(() => true, () => false);
  if (!hasTmux) {
    return [{ title, columns: [""], rows: [], notes: ["not measured: tmux is not installed"] }];
  }
  const forMs = quick ? 5_000 : 20_000;
  const rows: Table["rows"][number][] = [];
  for (const each of CASES) {
    note(`dashboard: ${each.name}`);
    const result = await withFolder(async (folder) => {
      const words = [folder, each.nodes, each.components, LINES_PER_SEC].map(String);
      const source = path.join(ROOT, "tests", "simulated_realm.ts");
      const flags = ["-A", "--no-check", V8_FLAGS_ARGUMENT, `--config=${ROOT}/deno.json`];
      const deno = [Deno.execPath(), "run", ...flags];
      const simulated = startProcess([...deno, source, ...words]);
      try {
        const isUp = () => Deno.lstat(`${folder}/control.sock`).then(() => true, () => false);
        while (!await isUp()) await sleep(100);
        return await measure(programs.realm, folder, each, forMs);
      } finally {
        await simulated.stop();
      }
    });
    const cpu = figure(result.percent === undefined ? [] : [result.percent], "%");
    rows.push([
      each.name,
      cpu,
      figure([result.frames / forMs * 1_000], "/s"),
      figure([result.kB], "kB"),
      goal(cpu, "at most", each.wanted),
    ]);
  }
  return [{
    title,
    columns: ["", "of a core", "frames", "written a second", "goal"],
    rows,
    notes: [
      "realm tui in tmux: user and system time of all its threads",
      `simulated realms (tests/simulated_realm.ts) of 10 components, and of 1,000; ${LINES_PER_SEC} log lines a second`,
    ],
  }];
};
