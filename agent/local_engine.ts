/**
 * Builds the engine with its cache on disk; shared by the agent and by `realm run` and `serve`,
 * which load nothing else of it.
 *
 * @module
 */
import { join } from "node:path";
import { type EngineInit, WorkerEngine } from "./runtime/engine.ts";
import { DiskCache } from "./store/disk_cache.ts";

/** An engine whose cache is in `dataFolder`. */
export function createEngine(
  dataFolder: string,
  options: Omit<EngineInit, "cache"> = {},
): WorkerEngine {
  return new WorkerEngine({ cache: new DiskCache(join(dataFolder, "cache")), ...options });
}
