/**
 * `realm run FILE.wasm`: a command component or a WASI 0.1 module, here and now.
 *
 * @module
 */
import { takeFirstWorker } from "../agent/first_worker.ts";
import type { createEngine } from "../agent/local_engine.ts";
import { RealmError } from "../agent/kernel/error.ts";
import type {
  Engine,
  Exit,
  Grants,
  Replica,
  StartOptions,
  Stdio,
  Usage,
} from "../agent/kernel/ports.ts";
import { declare } from "./command_spec.ts";
import type { Context } from "./context.ts";
import {
  grantsOf,
  GUEST_FLAGS,
  limitsOf,
  logTo,
  readComponent,
  servicesOf,
} from "./guest_flags.ts";
import { printable } from "./output.ts";
import { argument, parseText } from "./parameters.ts";

/** The streams of this process, for a guest. */
export function systemStdio(context: Context): Stdio {
  const buffer = new Uint8Array(65_536);
  return {
    terminal: context.shell.terminal,
    async read() {
      const length = await Deno.stdin.read(buffer);
      return length === null ? null : buffer.slice(0, length);
    },
    write: (stream, bytes) => context.shell.put(stream, bytes),
  };
}

/** What `--trace` prints: a line for each call. */
export function traceTo(context: Context): (line: string) => void {
  return (line) => context.shell.write("stderr", `trace: ${printable(line)}\n`);
}

/** What `--stats` prints; what is rare only where it was. */
export function formatUsage(usage: Usage): string {
  const ms = (value: number) => `${Math.round(value)} ms`;
  const rare = [
    ["refused", usage.refusedGrowths, "growths of memory"],
    ["trapped", usage.traps, "instances"],
    ["dropped", usage.droppedLogLines, "log lines"],
  ] as const;
  return [
    `fuel       ${usage.fuelUsed}`,
    `memory     ${(usage.memoryBytesPeak / 1048576).toFixed(1)} MiB at most`,
    `running    ${ms(usage.runningMs)}`,
    `throttled  ${ms(usage.throttledMs)}`,
    ...rare.filter(([, count]) => count > 0)
      .map(([name, count, of]) => `${name.padEnd(9)}  ${count} ${of}`),
  ].join("\n");
}

/** For those who ask with `--verbose`. */
export function describeProcess(context: Context, replica: Replica): void {
  const process = replica.process?.();
  if (!process) return;
  const { pid, permissions, dataBytesMax, openFilesMax } = process;
  context.detail(
    `process: ${pid}, permissions ${permissions.join(", ") || "none"}, data at most ` +
      `${dataBytesMax ?? "unlimited"} bytes, open files at most ${openFilesMax ?? "unlimited"}`,
  );
}

/** Loads what makes the engine for the isolation that is asked for, and nothing else. */
export async function engineOf(
  isolation: "worker" | "process",
): Promise<(...args: Parameters<typeof createEngine>) => Engine> {
  if (isolation === "worker") return (await import("../agent/local_engine.ts")).createEngine;
  const { createProcessEngine } = await import("../agent/local_process_engine.ts");
  return (dataFolder) => createProcessEngine(dataFolder);
}

/** Whether what runs the guest has no use for a permission, as nothing outside is asked for it. */
function needsNobody(grants: Grants, services: StartOptions["services"]): boolean {
  return grants.mounts.length === 0 && Object.keys(services ?? {}).length === 0;
}

/** The status of a guest's own exit; throws the RealmError of every other end. */
export function statusOf(exit: Exit, file: string): number {
  if (exit.kind === "exit") return exit.status;
  if (exit.kind === "stopped") {
    throw new RealmError("failed", `Cannot run ${file} further: it was stopped`);
  }
  throw new RealmError(
    exit.code,
    // What failed before the guest ran says so itself.
    /^Cannot /.test(exit.message) ? exit.message : `Cannot run ${file} further: ${exit.message}`,
    {
      ...(exit.hint === undefined ? {} : { hint: exit.hint }),
      ...(exit.backtrace.length === 0 ? {} : { backtrace: exit.backtrace }),
    },
  );
}

/** What a guest wrote before it was ended is written for so long, where nobody reads it. */
const LAST_OUTPUT_MS = 1_000;

/** Waits until the guest's output is written, but not for a reader after the guest was to end. */
async function untilWritten({ shell }: Context, exit: Exit, signal: AbortSignal): Promise<void> {
  const late = Promise.withResolvers<void>();
  const wait = () => setTimeout(late.resolve, LAST_OUTPUT_MS);
  if (signal.aborted || exit.kind === "trap" && exit.code === "timeout") wait();
  else signal.addEventListener("abort", wait, { once: true });
  await Promise.race([shell.written(), late.promise]);
}

/** What `realm run` is. */
export const run = declare({
  brief: "Run a component or a WASI 0.1 module here and now",
  description:
    "Standard streams, arguments, clocks and random are given unless --deny; everything else only when granted. The exit status is the guest's own, else 101 trap, 102 out of fuel, 103 epoch timeout, 104 memory limit, 105 time-out, 106 unknown import.",
  flags: GUEST_FLAGS,
  args: [argument("Component or module", "FILE.wasm", parseText)],
  rest: argument("Arguments of the guest", "ARGS", (text) => text),
  passThrough: true,
  async run(context, flags, file, ...args) {
    const create = await engineOf(flags.isolation);
    const grants = grantsOf(context, flags, [file.split("/").at(-1)!, ...args]);
    const services = await servicesOf(context, flags, grants);
    const net = "network" in services ? ["net"] as const : [];
    const inProcess = flags.isolation === "process";
    context.keepPermissions("read", "write", "env", ...net, ...inProcess ? ["run"] as const : []);
    const bytes = await readComponent(context, file);
    const first = takeFirstWorker();
    const isHere = !first && !inProcess && needsNobody(grants, services);
    let thread: typeof import("../agent/first_thread.ts") | undefined;
    const engine = create(context.dataFolder, {
      warmWorkers: isHere || grants.mounts.length > 0 ? 0 : 1,
      refill: false,
      first,
      ...isHere && {
        host: () =>
          thread!.hostInThisThread(
            (kinds) => context.keepPermissions(...kinds),
            (isDeaf) => context.shell.deaf(isDeaf),
          ),
      },
    });
    try {
      const preparing = engine.prepare(bytes);
      // Loaded while other threads hash and compile the component.
      if (isHere) [thread] = await Promise.all([import("../agent/first_thread.ts"), preparing]);
      const prepared = await preparing;
      const signal = context.shell.interrupted();
      // Not the replica's own end: the guest may run, and say so, before that is known here.
      signal.addEventListener("abort", () => engine.close(), { once: true });
      const replica = await engine.start(prepared, {
        world: "wasi:cli/command",
        grants,
        limits: limitsOf(flags),
        stdio: systemStdio(context),
        services,
        notice: (text) => context.note(`realm: ${text}`),
        ...flags.trace && { trace: traceTo(context) },
        log: logTo(context),
      }).catch((error) => {
        throw signal.aborted ? signal.reason : error;
      });
      describeProcess(context, replica);
      const exit = await replica.exited;
      await untilWritten(context, exit, signal);
      if (flags.stats) context.shell.write("stderr", `${formatUsage(replica.usage())}\n`);
      if (signal.aborted) throw signal.reason;
      return statusOf(exit, file);
    } finally {
      await engine.close();
      context.shell.deaf(true); // nothing is left to stop but this process
    }
  },
});
