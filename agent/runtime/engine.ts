/**
 * Runs components: transpiles them in a Worker, keeps what came of it, and gives each replica a
 * Worker of its own whose Deno permissions mirror its grants.
 *
 * @module
 */
import { dirname } from "node:path";
import { RealmError } from "../kernel/error.ts";
import type {
  Engine,
  Exit,
  HandlerRequest,
  HandlerResponse,
  Limits,
  Prepared,
  Replica,
  StartOptions,
  Usage,
} from "../kernel/ports.ts";
import { sha256Hex } from "../kernel/sha256.ts";
import { END, Ledger } from "./ledger.ts";
import {
  type FromWorker,
  packHeaders,
  type Start,
  SYMLINK_RESULTS,
  type ToWorker,
  unpackHeaders,
} from "./protocol.ts";
import { type Artifact, decodeArtifact, TOOLCHAIN } from "./artifact.ts";

/** Where artifacts are kept between runs; `get` answers only what was put, unharmed. */
export interface ArtifactCache {
  get(key: string): Promise<Uint8Array | undefined>;
  put(key: string, bytes: Uint8Array): Promise<void>;
}

/** What {@link WorkerEngine} is built from. */
export interface EngineInit {
  readonly cache: ArtifactCache;
  /** Workers kept ready for components without mounts. */
  readonly warmWorkers?: number;
  /** Whether a Worker that was taken is replaced; it is unless this is false. */
  readonly refill?: boolean;
}

interface PreparedArtifact extends Prepared {
  readonly artifact: Omit<Artifact, "modules">;
  readonly modules: Readonly<Record<string, WebAssembly.Module>>;
}

// In the bundle of a compiled program the entry files stand beside this one, as JavaScript.
const EXTENSION = import.meta.url.endsWith(".ts") ? "ts" : "js";
const WORKER = new URL(`./worker.${EXTENSION}`, import.meta.url);
const TRANSPILE_WORKER = new URL(`./transpile_worker.${EXTENSION}`, import.meta.url);

/** Compiled components that are kept for the next start; replicas keep their own. */
const PREPARED_MAX = 64;
/** A transpiling Worker is kept this long without work. */
const TRANSPILER_IDLE_MS = 10_000;
/** A Worker that was taken from the warm pool is replaced after so long. */
const REFILL_AFTER_MS = 50;
/** A Worker that does not end within this time after it was told to is given up. */
const STOP_MS = 2_000;

function spawn(url: URL, permissions: Deno.PermissionOptions): Worker {
  return new Worker(url, { type: "module", deno: { permissions } } as WorkerOptions);
}

const NOTHING: Deno.PermissionOptionsObject = {
  read: false,
  write: false,
  net: false,
  env: false,
  run: false,
  ffi: false,
  sys: false,
  import: false,
};

/** The transpiling Worker, started when needed. */
class Transpiler {
  #worker: Worker | undefined;
  #idle: number | undefined;
  #next = 0;
  readonly #pending = new Map<number, PromiseWithResolvers<Uint8Array>>();

  transpile(bytes: Uint8Array): Promise<Uint8Array> {
    clearTimeout(this.#idle);
    const worker = this.#worker ??= this.#start();
    const id = this.#next++;
    const result = Promise.withResolvers<Uint8Array>();
    this.#pending.set(id, result);
    worker.postMessage({ id, bytes });
    return result.promise;
  }

  #start(): Worker {
    // It runs no guest code; it reads the transpiler's own modules. From source, the WASI shim that
    // the transpiler stands on lists the environment when it is loaded; the bundle has another.
    const env = EXTENSION === "ts" ? true : ["JCO_DEBUG"];
    const worker = spawn(TRANSPILE_WORKER, { ...NOTHING, read: true, env });
    worker.onmessage = (event) => {
      const { id, artifact, error } = event.data as {
        id: number;
        artifact?: Uint8Array;
        error?: unknown;
      };
      const result = this.#pending.get(id);
      this.#pending.delete(id);
      if (artifact) result?.resolve(artifact);
      else result?.reject(RealmError.fromJSON(error));
      if (this.#pending.size === 0) {
        this.#idle = setTimeout(() => this.close(), TRANSPILER_IDLE_MS);
        Deno.unrefTimer(this.#idle);
      }
    };
    worker.onerror = (event) => {
      event.preventDefault();
      this.#fail(`Cannot transpile the component: ${event.message}`);
    };
    return worker;
  }

  #fail(message: string): void {
    for (const result of this.#pending.values()) result.reject(new RealmError("failed", message));
    this.#pending.clear();
    this.close();
  }

  close(): void {
    clearTimeout(this.#idle);
    this.#worker?.terminate();
    this.#worker = undefined;
  }
}

/** See {@link Engine}. */
export class WorkerEngine implements Engine {
  readonly #transpiler = new Transpiler();
  readonly #prepared = new Map<string, Promise<PreparedArtifact>>();
  readonly #warm: Worker[] = [];
  readonly #replicas = new Set<WorkerReplica>();
  readonly #locks = new Map<string, SharedArrayBuffer>();
  #refillTimer: number | undefined;
  #closed = false;

  constructor(readonly init: EngineInit) {
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
    const key = `${digest} ${TOOLCHAIN}`;
    let encoded = await this.init.cache.get(key);
    if (!encoded) {
      encoded = await this.#transpiler.transpile(bytes);
      // A full disk costs the next start its time, not this one its component.
      await this.init.cache.put(key, encoded).catch(() => {});
    }
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
    });
    this.#replicas.add(replica);
    replica.exited.then(() => this.#replicas.delete(replica));
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
    await Promise.all([...this.#replicas].map((r) => r.stop()));
    this.#transpiler.close();
  }
}

interface Flight {
  readonly response: PromiseWithResolvers<HandlerResponse>;
  /** The request's body, read when the guest asks. */
  readonly reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  /** The response's body, once its head was given. */
  body?: ReadableStreamDefaultController<Uint8Array>;
  pulled?: () => void;
}

/** The engine's side of one Worker. */
class WorkerReplica implements Replica {
  readonly exited: Promise<Exit>;
  /** Resolves when the guest runs or its first instance is ready. */
  readonly started: Promise<void>;
  readonly #ledger = new Ledger();
  readonly #answer = new Int32Array(new SharedArrayBuffer(8));
  readonly #exit = Promise.withResolvers<Exit>();
  readonly #started = Promise.withResolvers<void>();
  readonly #flights = new Map<number, Flight>();
  #outbox: ToWorker[] = [];
  #nextId = 0;
  #timeout: number | undefined;
  #over: Exit | undefined;

  constructor(
    readonly worker: Worker,
    readonly options: StartOptions,
    artifact: Pick<
      Start,
      "locks" | "glue" | "modules" | "memoryPagesMin" | "tableElementsMin"
    >,
  ) {
    this.exited = this.#exit.promise;
    this.started = this.#started.promise;
    worker.onmessage = (event) => {
      for (const message of event.data as FromWorker[]) this.#receive(message);
    };
    worker.onerror = (event) => {
      event.preventDefault();
      this.#finish({
        kind: "trap",
        code: "failed",
        message: `its Worker failed: ${event.message}`,
        backtrace: [],
      });
    };
    const { world, grants, limits, stdio } = options;
    this.#send({
      type: "start",
      world,
      grants,
      limits,
      terminal: stdio.terminal,
      ledger: this.#ledger.buffer,
      maxConcurrency: options.maxConcurrency ?? 64,
      instancePerRequest: options.instancePerRequest ?? false,
      answer: this.#answer.buffer,
      ...artifact,
    });
    if (limits.timeoutMs !== undefined) {
      this.#timeout = setTimeout(() => this.#end(END.timeout), limits.timeoutMs);
    }
  }

  usage(): Usage {
    return this.#ledger.usage();
  }

  limits(): Limits {
    return this.#ledger.limits();
  }

  async stop(): Promise<void> {
    this.#end(END.stop);
    const late = setTimeout(() => this.#finish({ kind: "stopped" }), STOP_MS);
    await this.exited;
    clearTimeout(late);
  }

  #end(reason: typeof END[keyof typeof END]): void {
    if (this.#over) return;
    this.#ledger.end(reason);
    this.#send({ type: "end" });
  }

  handle(request: HandlerRequest): Promise<HandlerResponse> {
    if (this.#over) return Promise.reject(ended(this.#over));
    const id = this.#nextId++;
    const response = Promise.withResolvers<HandlerResponse>();
    const reader = request.body?.getReader();
    this.#flights.set(id, { response, reader });
    this.#send({ type: "request", id, head: headOf(request), hasBody: reader !== undefined });
    const { signal } = request;
    signal.addEventListener("abort", () => this.#cancel(id, signal.reason), { once: true });
    return response.promise;
  }

  #cancel(id: number, reason: unknown): void {
    const flight = this.#flights.get(id);
    if (!flight) return;
    this.#flights.delete(id);
    this.#send({ type: "cancel", id });
    flight.response.reject(reason);
    flight.reader?.cancel(reason).catch(() => {});
    flight.body?.error(reason);
  }

  /** One `postMessage` for all that is sent in a turn. */
  #send(message: ToWorker): void {
    this.#outbox.push(message);
    if (this.#outbox.length > 1) return;
    queueMicrotask(() => {
      const messages = this.#outbox;
      this.#outbox = [];
      if (!this.#over) this.worker.postMessage(messages);
    });
  }

  #receive(message: FromWorker): void {
    switch (message.type) {
      case "ready":
        return;
      case "started":
        return this.#started.resolve();
      case "exit":
        return this.#finish(message.exit);
      case "notice":
        return this.options.notice(message.text);
      case "read-stdin":
        this.options.stdio.read().then(
          (bytes) => this.#send({ type: "stdin", bytes }),
          () => this.#send({ type: "stdin", bytes: null }),
        );
        return;
      case "output":
        return this.#output(message.stream, message.bytes);
      case "response":
        return this.#respond(message);
      case "response-body": {
        const flight = this.#flights.get(message.id);
        if (!flight?.body) return;
        if (message.failed !== undefined) {
          this.#flights.delete(message.id);
          flight.body.error(new RealmError("trap", message.failed));
        } else if (message.bytes === null) {
          this.#flights.delete(message.id);
          flight.body.close();
        } else flight.body.enqueue(message.bytes);
        flight.pulled?.();
        return;
      }
      case "symlink":
        return this.#symlink(message.target, message.hostPath);
      case "want-body":
        return this.#readBody(message.id);
      case "failed": {
        const flight = this.#flights.get(message.id);
        this.#flights.delete(message.id);
        flight?.response.reject(RealmError.fromJSON(message.error));
        return;
      }
    }
  }

  /** On behalf of a guest, whose Worker holds the lock of the mount and waits. */
  #symlink(target: string, hostPath: string): void {
    let result: typeof SYMLINK_RESULTS[number] = "ok";
    try {
      const folder = Deno.realPathSync(dirname(hostPath));
      const inside = this.options.grants.mounts.some((m) =>
        m.writable && (folder === m.hostPath || folder.startsWith(`${m.hostPath}/`))
      );
      if (inside) Deno.symlinkSync(target, hostPath);
      else result = "PermissionDenied";
    } catch (error) {
      const name = (error as Error).name as typeof result;
      result = SYMLINK_RESULTS.includes(name) ? name : "Other";
    }
    Atomics.store(this.#answer, 0, SYMLINK_RESULTS.indexOf(result));
    Atomics.notify(this.#answer, 0);
  }

  #output(stream: "stdout" | "stderr", bytes: Uint8Array): void {
    const taken = () => this.#send({ type: "taken", bytes: bytes.length });
    const done = this.options.stdio.write(stream, bytes);
    if (done instanceof Promise) done.then(taken, taken);
    else taken();
  }

  #respond(message: Extract<FromWorker, { type: "response" }>): void {
    const { id, status, headers, body, end } = message;
    const flight = this.#flights.get(id);
    if (!flight) return;
    if (end) {
      this.#flights.delete(id);
      flight.reader?.cancel().catch(() => {});
      flight.response.resolve({ status, headers: unpackHeaders(headers), body });
      return;
    }
    const stream = new ReadableStream<Uint8Array>({
      start: (controller) => {
        flight.body = controller;
        if (body) controller.enqueue(body);
      },
      pull: () =>
        new Promise((resolve) => {
          flight.pulled = resolve;
          this.#send({ type: "pull", id });
        }),
      cancel: (reason) => this.#cancel(id, reason),
    });
    flight.response.resolve({ status, headers: unpackHeaders(headers), body: stream });
  }

  #readBody(id: number): void {
    const reader = this.#flights.get(id)?.reader;
    if (!reader) return this.#send({ type: "request-body", id, bytes: null });
    reader.read().then(
      ({ value }) => this.#send({ type: "request-body", id, bytes: value ?? null }),
      () => this.#send({ type: "request-body", id, bytes: null, failed: true }),
    );
  }

  #finish(exit: Exit): void {
    if (this.#over) return;
    this.#over = exit;
    clearTimeout(this.#timeout);
    this.worker.terminate();
    const error = ended(exit);
    for (const flight of this.#flights.values()) {
      flight.response.reject(error);
      flight.body?.error(error);
      flight.reader?.cancel().catch(() => {});
      flight.pulled?.();
    }
    this.#flights.clear();
    this.#started.resolve();
    this.#exit.resolve(exit);
  }
}

function ended(exit: Exit): RealmError {
  return exit.kind === "trap"
    ? new RealmError(exit.code, exit.message, exit.hint ? { hint: exit.hint } : {})
    : new RealmError("failed", "Cannot handle the request: the component has ended");
}

/** The head in the form of the protocol: one string. */
function headOf(request: HandlerRequest): string {
  const { method, url } = request;
  const schemeEnd = url.indexOf("://");
  const pathStart = url.indexOf("/", schemeEnd + 3);
  const scheme = url.slice(0, schemeEnd);
  const authority = pathStart < 0 ? url.slice(schemeEnd + 3) : url.slice(schemeEnd + 3, pathStart);
  const path = pathStart < 0 ? "/" : url.slice(pathStart);
  return `${method}\n${scheme}\n${authority}\n${path}\n${packHeaders(request.headers)}`;
}
