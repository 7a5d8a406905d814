/**
 * A Worker that runs the seeds that `main.ts` posts to it.
 *
 * @module
 */
import { simulate, type Summary, summaryOf } from "./simulation.ts";

const scope = self as unknown as Worker;

/** The apps are loaded by who simulates them. */
async function summaryOfApp(seed: string): Promise<Summary> {
  const { appSummaryOf, simulateApp } = await import("./apps/simulation.ts");
  return appSummaryOf(simulateApp({ seed }));
}

scope.onmessage = async (
  { data: { seed, apps } }: MessageEvent<{ readonly seed: string; readonly apps: boolean }>,
) => {
  try {
    const summary = apps ? await summaryOfApp(seed) : summaryOf(simulate({ seed }));
    scope.postMessage({ summary });
  } catch (error) {
    scope.postMessage({ crash: (error as Error).stack });
  }
};
