/**
 * Runs components: transpiles them in a Worker, keeps what came of it, and gives each replica a
 * Worker of its own whose Deno permissions mirror its grants.
 *
 * @module
 */
import { RealmError } from "../kernel/error.ts";
import type { Engine, Prepared, Replica, StartOptions } from "../kernel/ports.ts";
import { sha256Hex } from "../kernel/sha256.ts";
import { type Artifact, decodeArtifact } from "./artifact.ts";
import { type ArtifactCache, Artifacts } from "./artifacts.ts";
import { NOTHING, spawn, WORKER } from "./spawn.ts";
import { Symbolizer } from "./symbolizer.ts";
import { WorkerReplica } from "./worker_replica.ts";

/** What {@link WorkerEngine} is built from. */
export interface EngineInit {
  readonly cache: ArtifactCache;
  /** Workers kept ready for components without mounts. */
  readonly warmWorkers?: number;
  /** Whether a Worker that was taken is replaced; it is unless this is false. */
  readonly refill?: boolean;
}

/** What {@link WorkerEngine} starts from. */
export interface PreparedArtifact extends Prepared {
  readonly artifact: Omit<Artifact, "modules">;
  readonly modules: Readonly<Record<string, WebAssembly.Module>>;
}

/** Compiled components that are kept for the next start; replicas keep their own. */
const PREPARED_MAX = 64;
/** A Worker that was taken from the warm pool is replaced after so long. */
const REFILL_AFTER_MS = 50;

/** See {@link Engine}. */
export class WorkerEngine implements Engine {
  readonly #artifacts: Artifacts;
  readonly #symbolizer = new Symbolizer();
  readonly #prepared = new Map<string, Promise<PreparedArtifact>>();
  readonly #warm: Worker[] = [];
  readonly #replicas = new Set<WorkerReplica>();
  readonly #locks = new Map<string, SharedArrayBuffer>();
  #refillTimer: number | undefined;
  #closed = false;

  constructor(readonly init: EngineInit) {
    this.#artifacts = new Artifacts(init.cache);
    this.#fill();
  }

  async prepare(bytes: Uint8Array): Promise<Prepared> {
    const digest = await sha256Hex(bytes);
    let prepared = this.#prepared.get(digest);
    if (!prepared) {
      prepared = this.#prepare(digest, bytes);
      this.#prepared.set(digest, prepared);
      if (this.#prepared.size > PREPARED_MAX) {
        this.#prepared.delete(this.#prepared.keys().next().value!);
      }
      prepared.catch(() => this.#prepared.delete(digest));
    }
    return prepared;
  }

  async #prepare(digest: string, bytes: Uint8Array): Promise<PreparedArtifact> {
    return await this.load(digest, await this.#artifacts.of(digest, bytes));
  }

  /** Compiles an artifact that was made before, of the component with this digest. */
  async load(digest: string, encoded: Uint8Array): Promise<PreparedArtifact> {
    const { modules: cores, ...artifact } = decodeArtifact(encoded);
    const modules: Record<string, WebAssembly.Module> = {};
    try {
      await Promise.all(
        Object.entries(cores).map(async ([name, core]) => {
          modules[name] = await WebAssembly.compile(core as BufferSource);
        }),
      );
    } catch (error) {
      throw new RealmError(
        "invalid-module",
        `Cannot compile the component: ${error instanceof Error ? error.message : error}`,
        { cause: error },
      );
    }
    return { digest, worlds: artifact.worlds, artifact, modules };
  }

  async start(prepared: Prepared, options: StartOptions): Promise<Replica> {
    if (this.#closed) {
      throw new RealmError("failed", "Cannot start a component: the engine is closed");
    }
    const { artifact, modules } = prepared as PreparedArtifact;
    if (!artifact.worlds.includes(options.world)) {
      throw new RealmError(
        "unsupported",
        `Cannot start the component as ${options.world}: it fits ${artifact.worlds.join(" and ")}`,
        { hint: "Use realm run for commands, realm serve for request handlers" },
      );
    }
    const { mounts } = options.grants;
    const worker = mounts.length === 0
      ? this.#warm.shift() ?? spawn(WORKER, NOTHING)
      : spawn(WORKER, {
        ...NOTHING,
        read: mounts.map((m) => m.hostPath),
        write: mounts.filter((m) => m.writable).map((m) => m.hostPath),
      });
    const locks = mounts.map(({ hostPath }) => {
      const lock = this.#locks.get(hostPath) ?? new SharedArrayBuffer(4);
      this.#locks.set(hostPath, lock);
      return lock;
    });
    const { glue, memoryPagesMin, tableElementsMin } = artifact;
    const replica = new WorkerReplica(worker, options, {
      locks,
      glue,
      modules,
      memoryPagesMin,
      tableElementsMin,
    }, (frames) =>
      this.#symbolizer.name({
        digest: prepared.digest,
        source: () => this.#artifacts.source(prepared.digest),
        origins: artifact.origins,
      }, frames));
    this.#replicas.add(replica);
    replica.exited.then(() => replica.closed).then(() => this.#replicas.delete(replica));
    await replica.started;
    if (mounts.length === 0) this.#refill();
    return replica;
  }

  /** Later: to spawn a Worker blocks this thread for longer than a guest takes to start. */
  #refill(): void {
    if (this.#refillTimer !== undefined || this.init.refill === false) return;
    this.#refillTimer = setTimeout(() => {
      this.#refillTimer = undefined;
      this.#fill();
    }, REFILL_AFTER_MS);
    Deno.unrefTimer(this.#refillTimer);
  }

  #fill(): void {
    while (!this.#closed && this.#warm.length < (this.init.warmWorkers ?? 0)) {
      this.#warm.push(spawn(WORKER, NOTHING));
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#refillTimer);
    for (const worker of this.#warm.splice(0)) worker.terminate();
    await Promise.all([...this.#replicas].map((r) => r.stop().then(() => r.closed)));
    this.#artifacts.close();
    this.#symbolizer.close();
  }
}
