/**
 * Runs components: transpiles them in a Worker, keeps what came of it, and gives each replica a
 * Worker of its own whose Deno permissions mirror its grants.
 *
 * @module
 */
import { RealmError } from "../kernel/error.ts";
import type { Engine, Prepared, Replica, StartOptions, World } from "../kernel/ports.ts";
import { sha256Hex } from "../kernel/sha256.ts";
import { type Artifact, decodeArtifact } from "./artifact.ts";
import { type ArtifactCache, Artifacts, type Sources } from "./artifacts.ts";
import { Held } from "./held.ts";
import { LockWords } from "./mount_lock.ts";
import { kindOf, ReadyReplicas } from "./ready_replicas.ts";
import { type GuestWorker, permissionsOf, spawn, WORKER } from "./spawn.ts";
import { Spawner } from "./spawner.ts";
import { Symbolizer } from "./symbolizer.ts";
import { WorkerPool } from "./worker_pool.ts";
import { WorkerReplica } from "./worker_replica.ts";

/** What {@link WorkerEngine} is built from. */
export interface EngineInit {
  readonly cache: ArtifactCache;
  /**
   * Workers kept ready for components without mounts; so many replicas at most are made ahead, too,
   * of what is started often.
   */
  readonly warmWorkers?: number;
  /** Whether a Worker that was taken is replaced; it is unless this is false. */
  readonly refill?: boolean;
  /** Whether Workers are spawned by a thread of their own: one more, but none waits for them. */
  readonly spawner?: boolean;
  /** A Worker without permissions that was started before, and ends with the program. */
  readonly first?: GuestWorker | undefined;
  /** Makes what hosts a command without mounts and start sections, in place of a Worker. */
  readonly host?: (() => GuestWorker) | undefined;
  /** Without it a component is held as long as what was prepared of it. */
  readonly sources?: Sources;
}

/** What {@link WorkerEngine} starts from. */
export interface PreparedArtifact extends Prepared {
  readonly artifact: Omit<Artifact, "modules">;
  readonly modules: Readonly<Record<string, WebAssembly.Module>>;
  /** The component, where nothing else has it. */
  readonly source?: Uint8Array;
  /** Whether the guest's code runs before it is called. */
  readonly startsCode: boolean;
}

/** Compiled components that are kept for the next start; replicas keep their own. */
const PREPARED_MAX = 64;

/** See {@link Engine}. */
export class WorkerEngine implements Engine {
  readonly #artifacts: Artifacts;
  readonly #symbolizer = new Symbolizer();
  readonly #prepared = new Map<string, Promise<PreparedArtifact>>();
  readonly #spawner: Spawner | undefined;
  readonly #pool: WorkerPool;
  readonly #ready: ReadyReplicas;
  readonly #replicas = new Set<WorkerReplica>();
  readonly #lockWords = new LockWords();
  #closed = false;

  constructor(readonly init: EngineInit) {
    this.#artifacts = new Artifacts(init.cache);
    const spawner = this.#spawner = init.spawner ? new Spawner() : undefined;
    const wanted = init.warmWorkers ?? 0;
    this.#pool = new WorkerPool({
      now: () => performance.now(),
      spawn: (mounts) => spawner?.spawn(mounts) ?? spawn(WORKER, permissionsOf(mounts)),
      wanted,
      refill: init.refill ?? true,
      first: init.first,
    });
    this.#ready = new ReadyReplicas(init.refill === false ? 0 : wanted);
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
    const prepared = await this.load(digest, await this.#artifacts.of(digest, bytes));
    return this.init.sources ? prepared : { ...prepared, source: bytes };
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
    const startsCode = Object.values(cores).some(hasStart);
    return { digest, worlds: artifact.worlds, artifact, modules, startsCode };
  }

  async start(prepared: Prepared, options: StartOptions): Promise<Replica> {
    if (this.#closed) {
      throw new RealmError("failed", "Cannot start a component: the engine is closed");
    }
    const { startsCode } = prepared as PreparedArtifact;
    requireWorld(prepared, options.world);
    const kind = kindOf(prepared.digest, options);
    let replica = this.#ready.take(kind);
    if (replica) replica.go(options);
    else replica = this.#make(prepared as PreparedArtifact, options, false);
    await replica.started;
    if (!startsCode) {
      this.#ready.started(
        kind,
        () => this.#make(prepared as PreparedArtifact, options, true),
      );
    }
    return replica;
  }

  #make(prepared: PreparedArtifact, options: StartOptions, hold: boolean): WorkerReplica {
    const { digest, artifact, modules, source, startsCode } = prepared;
    const { sources } = this.init;
    const { mounts } = options.grants;
    const locks = mounts.map(({ hostPath }) => this.#lockWords.of(hostPath));
    // Code that runs before the guest is called cannot be suspended, however long it takes.
    const isPlain = options.world === "wasi:cli/command" && mounts.length === 0 && !startsCode;
    const own = isPlain ? this.init.host?.() : undefined;
    const replica = new WorkerReplica(
      own ?? this.#pool.take(mounts),
      options,
      { locks, ...hold && { held: new Held() }, glue: artifact.glue, modules },
      (frames) =>
        this.#symbolizer.name({
          digest,
          source: async () => source ?? await sources?.(digest),
          origins: artifact.origins,
        }, frames),
      (worker) => own ? own.terminate() : this.#pool.give(worker, mounts),
    );
    this.#replicas.add(replica);
    replica.exited.then(() => replica.closed).then(() => this.#replicas.delete(replica));
    return replica;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#ready.close();
    await Promise.all([...this.#replicas].map((r) => r.stop().then(() => r.closed)));
    this.#pool.close();
    this.#spawner?.close();
    this.#artifacts.close();
    this.#symbolizer.close();
  }
}

/** Whether a core module has a start section. */
function hasStart(module: Uint8Array): boolean {
  for (let at = 8; at < module.length;) {
    const id = module[at++]!;
    if (id === START_SECTION) return true;
    let size = 0;
    for (let shift = 0; at < module.length; shift += 7) {
      const byte = module[at++]!;
      size += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) break;
    }
    at += size;
  }
  return false;
}

const START_SECTION = 8;

/** Throws RealmError `unsupported` when the component does not fit the world. */
export function requireWorld({ worlds }: Prepared, world: World): void {
  if (worlds.includes(world)) return;
  throw new RealmError(
    "unsupported",
    `Cannot start the component as ${world}: it fits ${worlds.join(" and ")}`,
    { hint: "Use realm run for commands, realm serve for request handlers" },
  );
}
