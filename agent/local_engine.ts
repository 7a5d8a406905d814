/**
 * Builds the engine with its cache on disk; shared by the agent and by `realm run` and `serve`,
 * which need nothing else of it.
 *
 * @module
 */
import { join } from "node:path";
import { GUEST_COMMAND, programWords } from "./program.ts";
import { type EngineInit, WorkerEngine } from "./runtime/engine.ts";
import { ProcessEngine } from "./runtime/isolation/process_engine.ts";
import { DiskCache } from "./store/disk_cache.ts";

export { serveHandler } from "./proxy/proxy.ts";

/** An engine whose cache is in `dataFolder`. */
export function createEngine(
  dataFolder: string,
  options: Omit<EngineInit, "cache"> = {},
): WorkerEngine {
  return new WorkerEngine({ cache: new DiskCache(join(dataFolder, "cache")), ...options });
}

/** An engine that gives each replica a process of its own; its cache is the same. */
export function createProcessEngine(dataFolder: string): ProcessEngine {
  return new ProcessEngine({
    cache: new DiskCache(join(dataFolder, "cache")),
    folder: join(dataFolder, "processes"),
    program: {
      words: [...programWords(), GUEST_COMMAND],
      // From source, Deno finds its caches by it.
      inheritsEnvironment: !Deno.build.standalone,
    },
  });
}
