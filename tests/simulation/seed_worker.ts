/**
 * A Worker that runs the seeds that `main.ts` posts to it.
 *
 * @module
 */
import { simulate, summaryOf } from "./simulation.ts";

const scope = self as unknown as Worker;
scope.onmessage = ({ data }: MessageEvent<{ readonly seed: string }>) => {
  try {
    scope.postMessage({ summary: summaryOf(simulate(data)) });
  } catch (error) {
    scope.postMessage({ crash: (error as Error).stack });
  }
};
