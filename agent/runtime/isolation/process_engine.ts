/**
 * Runs each replica in a process of its own (`isolation = "process"`), for code that is not trusted
 * at all: it is killed for real, and what it does to its process it does to nobody else.
 *
 * The agent transpiles and meters; nothing of the component is compiled here. In the process an
 * ordinary `WorkerEngine` runs the guest, so that all limits are kept there too.
 *
 * @module
 */
import { RealmError } from "../../kernel/error.ts";
import type { Engine, Prepared, Replica, StartOptions } from "../../kernel/ports.ts";
import { sha256Hex } from "../../kernel/sha256.ts";
import { decodeArtifact } from "../artifact.ts";
import { type ArtifactCache, Artifacts, type Sources } from "../artifacts.ts";
import { requireWorld } from "../engine.ts";
import { GuestProcess, type ProcessProgram } from "./guest_process.ts";
import { ProcessReplica } from "./process_replica.ts";

/** What a {@link ProcessEngine} is built from. */
export interface ProcessEngineInit {
  readonly cache: ArtifactCache;
  /** Without it a component is held as long as what was prepared of it. */
  readonly sources?: Sources;
  readonly program: ProcessProgram;
  /** For sockets that live until a process has connected; made private. */
  readonly folder: string;
  /** A process that says nothing for so long is killed; see `process_replica.ts`. */
  readonly silentMs?: number;
}

interface PreparedBytes extends Prepared {
  readonly artifact: Uint8Array;
  readonly source: () => Promise<Uint8Array | undefined>;
}

/** See {@link Engine}. */
export class ProcessEngine implements Engine {
  readonly #artifacts: Artifacts;
  readonly #replicas = new Set<ProcessReplica>();
  #closed = false;

  constructor(readonly init: ProcessEngineInit) {
    this.#artifacts = new Artifacts(init.cache);
  }

  async prepare(bytes: Uint8Array): Promise<Prepared> {
    const digest = await sha256Hex(bytes);
    const artifact = await this.#artifacts.of(digest, bytes);
    const { worlds } = decodeArtifact(artifact);
    const { sources } = this.init;
    const source = sources ? () => sources(digest) : () => Promise.resolve(bytes);
    const prepared: PreparedBytes = { digest, worlds, artifact, source };
    return prepared;
  }

  /** Throws as every engine, and RealmError `failed` when the process cannot be started. */
  async start(prepared: Prepared, options: StartOptions): Promise<Replica> {
    requireWorld(prepared, options.world);
    this.#requireOpen();
    const { program, folder } = this.init;
    const guest = await GuestProcess.start(program, folder, options);
    if (this.#closed) guest.kill();
    this.#requireOpen();
    const { digest, artifact, source } = prepared as PreparedBytes;
    const replica = new ProcessReplica(
      guest,
      options,
      { digest, artifact, source },
      this.init.silentMs,
    );
    this.#replicas.add(replica);
    replica.exited.then(() => replica.closed).then(() => this.#replicas.delete(replica));
    await replica.started;
    return replica;
  }

  #requireOpen(): void {
    if (!this.#closed) return;
    throw new RealmError("failed", "Cannot start a component: the engine is closed");
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#replicas].map((r) => r.stop().then(() => r.closed)));
    this.#artifacts.close();
  }
}
