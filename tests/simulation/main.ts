/**
 * `./dev sim`: runs seeds of the simulation on every core.
 *
 *     ./dev sim                   1,000 seeds, as continuous integration does
 *     ./dev sim --seeds 20000     more of them
 *     ./dev sim --first 5000      beginning with another one
 *     ./dev sim --seed 77         one, with a line for everything that happens
 *     ./dev sim --hours 3         one realm for three virtual hours
 *     ./dev sim --apps            topics of apps in place of realms, with any of these but --hours
 *
 * A seed that fails is told as `SEED=77`, with the rule that it broke, and fails in the same way
 * wherever it is run again. The exit status is 1 when one failed.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { simulate, type Summary, summaryOf } from "./simulation.ts";

try {
  Deno.exit(await main());
} catch (error) {
  console.error(error);
  Deno.exit(1); // the other Workers would go on
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    args: Deno.args,
    options: {
      seeds: { type: "string", default: "1000" },
      first: { type: "string", default: "0" },
      seed: { type: "string" },
      hours: { type: "string" },
      trace: { type: "boolean", default: false },
      apps: { type: "boolean", default: false },
    },
  });
  const trouble = values.hours === undefined ? {} : { troubleMs: Number(values.hours) * 3_600_000 };
  if (values.apps && values.seed !== undefined) {
    const { appSummaryOf, simulateApp } = await import("./apps/simulation.ts");
    const trace = (line: string) => console.log(line);
    return report([appSummaryOf(simulateApp({ seed: values.seed, trace }))]);
  }
  if (values.seed !== undefined || values.hours !== undefined) {
    const trace = values.trace || values.hours === undefined
      ? { trace: (line: string) => console.log(line) }
      : {};
    return report([summaryOf(simulate({ seed: values.seed ?? "long", ...trouble, ...trace }))]);
  }
  const first = Number(values.first);
  return report(await runAll(first, first + Number(values.seeds), values.apps));
}

/** Every seed from `first` to before `end`, on all cores. */
async function runAll(first: number, end: number, apps: boolean): Promise<Summary[]> {
  let next = first;
  const done: Summary[] = [];
  const work = async () => {
    const worker = new Worker(import.meta.resolve("./seed_worker.ts"), { type: "module" });
    while (next < end) {
      const seed = `${next++}`;
      done.push(
        await new Promise<Summary>((resolve, reject) => {
          worker.onmessage = ({ data: { summary, crash } }) => {
            if (summary !== undefined) resolve(summary);
            else reject(new Error(`SEED=${seed} crashed: ${crash}`));
          };
          worker.postMessage({ seed, apps });
        }),
      );
    }
    worker.terminate();
  };
  await Promise.all(Array.from({ length: navigator.hardwareConcurrency }, work));
  return done;
}

function report(runs: readonly Summary[]): number {
  const failed = runs.filter(({ violation }) => violation !== undefined);
  for (const { seed, violation } of failed) console.log(`SEED=${seed} ${violation}`);
  const sum = (of: (run: Summary) => number) => runs.reduce((total, run) => total + of(run), 0);
  const converged = runs.map(({ convergedMs }) => convergedMs).sort((a, b) => a - b);
  console.log(
    `${runs.length - failed.length} of ${runs.length} seeds held, ` +
      `${(sum((run) => run.virtualMs) / 3_600_000).toFixed(1)} virtual hours, ` +
      `${sum((run) => run.frames)} frames, ${sum((run) => run.events)} events; ` +
      `equal after ${(converged[converged.length >> 1]! / 1000).toFixed(1)} s at the median, ` +
      `${(converged.at(-1)! / 1000).toFixed(1)} s at most`,
  );
  if (runs.length === 1) console.log(`history ${runs[0]!.history}`);
  return failed.length === 0 ? 0 : 1;
}
