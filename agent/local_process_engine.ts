/**
 * Builds the engine that gives each replica a process of its own. Apart from `local_engine.ts`,
 * since few need it.
 *
 * @module
 */
import { join } from "node:path";
import { GUEST_COMMAND, programWords } from "./program.ts";
import type { Sources } from "./runtime/artifacts.ts";
import { ProcessEngine } from "./runtime/isolation/process_engine.ts";
import { DiskCache } from "./store/disk_cache.ts";

/** An engine whose cache in `dataFolder` is that of `createEngine()`. */
export function createProcessEngine(dataFolder: string, sources?: Sources): ProcessEngine {
  return new ProcessEngine({
    cache: new DiskCache(join(dataFolder, "cache")),
    ...sources && { sources },
    folder: join(dataFolder, "processes"),
    program: {
      words: [...programWords(), GUEST_COMMAND],
      // From source, Deno finds its caches by it.
      inheritsEnvironment: !Deno.build.standalone,
    },
  });
}
