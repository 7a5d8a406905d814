/**
 * Reads how busy the machine is. Needs the `sys` permission for memory and processors.
 *
 * @module
 */
import { statfs } from "node:fs/promises";
import { cpus } from "node:os";
import type { NodeMetrics } from "./metrics.ts";

/** What the operating system says about the machine. */
export type NodeSample = NodeMetrics;

/**
 * Takes a sample when asked. Processor use is that since the sample before, which has to be some
 * time ago to mean much; the first one has the use since the machine started.
 */
export class NodeSampler {
  readonly #dataFolder: string;
  #busyMs = 0;
  #totalMs = 0;

  constructor(dataFolder: string) {
    this.#dataFolder = dataFolder;
  }

  async sample(): Promise<NodeSample> {
    const memory = Deno.systemMemoryInfo();
    const disk = await statfs(this.#dataFolder);
    return {
      cpuPercent: this.#cpuPercent(),
      memoryTotalBytes: memory.total,
      // What caches hold is there for the asking, so it does not count as used.
      memoryUsedBytes: memory.total - memory.available,
      diskTotalBytes: disk.blocks * disk.bsize,
      diskUsedBytes: (disk.blocks - disk.bfree) * disk.bsize,
      agentMemoryBytes: Deno.memoryUsage().rss,
    };
  }

  #cpuPercent(): number {
    let totalMs = 0;
    let idleMs = 0;
    for (const { times } of cpus()) {
      totalMs += times.user + times.nice + times.sys + times.idle + times.irq;
      idleMs += times.idle;
    }
    const busyMs = totalMs - idleMs;
    const [busy, total] = [busyMs - this.#busyMs, totalMs - this.#totalMs];
    [this.#busyMs, this.#totalMs] = [busyMs, totalMs];
    return total <= 0 ? 0 : Math.min(100, Math.max(0, 100 * busy / total));
  }
}
