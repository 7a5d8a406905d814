/**
 * The engine's side of a Worker that hosts one replica.
 *
 * @module
 */
import { dirname } from "node:path";
import { RealmError } from "../kernel/error.ts";
import { formatBacktrace, type Frame } from "../kernel/frame.ts";
import type {
  EnforcedLimits,
  Exit,
  HandlerRequest,
  HandlerResponse,
  Replica,
  StartOptions,
  Usage,
} from "../kernel/ports.ts";
import { bytesOf } from "../kernel/byte_string.ts";
import { createRings, ResponseReader, writeRequest } from "./exchange.ts";
import { Slots } from "../kernel/slots.ts";
import type { Held } from "./held.ts";
import { END, Ledger } from "./ledger.ts";
import { type FromWorker, type Start, SYMLINK_RESULTS, type ToWorker } from "./protocol.ts";
import { packHead, unpackHeaders } from "./request_head.ts";
import { RingReader, RingWriter } from "./shared_ring.ts";
import { ServiceCalls } from "./service_calls.ts";
import { type GuestWorker, onFailure } from "./spawn.ts";
import type { RawExit, RawFrame } from "./trap.ts";
import { errorCodeOf } from "./wasi/filesystem_paths.ts";

/** A Worker that does not end within this time after it was told to is given up. */
const STOP_MS = 2_000;

/**
 * Of requests that come together: the Worker begins with some while this thread reads the rest.
 * Else each of the two would wait until the other was done with all of them, and one processor idle.
 */
const REQUESTS_UNSENT_MAX = 4;

interface Flight {
  readonly response: PromiseWithResolvers<HandlerResponse>;
  /** The request's body, read when the guest asks. */
  readonly reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  /** The response's body, once its head was given. */
  body?: ReadableStreamDefaultController<Uint8Array>;
  pulled?: () => void;
}

/** The engine's side of one Worker. */
export class WorkerReplica implements Replica {
  readonly exited: Promise<Exit>;
  /** Resolves when the guest runs or its first instance is ready. */
  readonly started: Promise<void>;
  /** Once it ended: resolves when the agent's services have let go of what they held for it. */
  closed: Promise<void> = Promise.resolve();
  readonly #ledger = new Ledger();
  readonly #answer = new Int32Array(new SharedArrayBuffer(8));
  readonly #traced = new Int32Array(new SharedArrayBuffer(8));
  readonly #exit = Promise.withResolvers<Exit>();
  readonly #started = Promise.withResolvers<void>();
  readonly #flights = new Slots<Flight>();
  readonly #requests: RingWriter | undefined;
  readonly #responses: ResponseReader | undefined;
  /** Calls of `postMessage` in the Worker whose messages were received. */
  #received = 0;
  readonly #held: Held | undefined;
  #isReady = false;
  /** The Worker said how the guest ended. */
  #hasEnded = false;
  #calls: ServiceCalls | undefined;
  #outbox: ToWorker[] = [];
  /** Resolves when the traps so far were told of, in their order: names of frames take a while. */
  #told = Promise.resolve();
  #timeout: number | undefined;
  #over: Exit | undefined;

  constructor(
    readonly worker: GuestWorker,
    public options: StartOptions,
    /** `held`: it is made ready, and waits until {@link go}. */
    artifact: Pick<Start, "locks" | "glue" | "modules"> & { readonly held?: Held },
    /** Names of frames; never rejects. */
    readonly name: (frames: readonly RawFrame[]) => Promise<readonly Frame[]>,
    /** Called with the Worker when nothing of the guest remains in it; else it was terminated. */
    readonly release: (worker: GuestWorker) => void,
  ) {
    this.exited = this.#exit.promise;
    this.started = this.#started.promise;
    worker.onmessage = (event) => {
      this.#takeResponses();
      this.#received++;
      this.#guard(() => {
        for (const message of event.data as FromWorker[]) this.#receive(message);
      });
      this.#takeResponses();
    };
    onFailure(worker, (why) => this.#fail(why));
    const { held, ...shared } = artifact;
    this.#held = held;
    const { world, grants, limits, stdio } = options;
    const rings = world === "wasi:http/proxy" ? createRings() : undefined;
    if (rings) {
      this.#requests = new RingWriter(rings.requests, REQUESTS_UNSENT_MAX);
      this.#responses = new ResponseReader(new RingReader(rings.responses));
      this.#responses.ring.listen(() => this.#takeResponses());
    }
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
      ...options.trace && { traced: this.#traced.buffer },
      ...(rings ? { rings } : {}),
      ...shared,
      ...held ? { held: held.buffer } : {},
    });
    if (!held) this.#begin(options);
  }

  /** Lets a guest run that was held; `options` are those that it was made for, but for who hears. */
  go(options: StartOptions): void {
    this.#begin(options);
    this.#held!.go();
    // The first instance of a handler is there: nobody has to say so.
    if (this.#isReady && options.world === "wasi:http/proxy") this.#started.resolve();
    else this.#held!.running().then(() => this.#started.resolve());
  }

  #begin(options: StartOptions): void {
    this.options = options;
    this.#calls = new ServiceCalls(options.services ?? {}, (message) => this.#send(message));
    const { timeoutMs } = options.limits;
    if (timeoutMs !== undefined) {
      this.#timeout = setTimeout(() => this.#end(END.timeout), timeoutMs);
    }
  }

  usage(): Usage {
    return this.#ledger.usage();
  }

  limits(): EnforcedLimits {
    return this.#ledger.limits();
  }

  async stop(): Promise<void> {
    this.#end(END.stop);
    const late = setTimeout(() => {
      // Names of frames may take longer; a Worker that has ended needs no killing.
      if (!this.#hasEnded) this.#finish({ kind: "stopped" });
    }, STOP_MS);
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
    const response = Promise.withResolvers<HandlerResponse>();
    const reader = request.body?.getReader();
    const id = this.#flights.add({ response, reader });
    const head = packHead(request);
    const hasBody = reader !== undefined;
    if (!this.#requests || !writeRequest(this.#requests, id, head, hasBody)) {
      this.#send({ type: "request", id, head: bytesOf(head), hasBody });
    }
    const { signal } = request;
    signal.addEventListener("abort", () => this.#cancel(id, signal.reason), { once: true });
    return response.promise;
  }

  #takeResponses(): void {
    this.#guard(() =>
      this.#responses?.drain(this.#received, (id, response) => {
        const flight = this.#flights.delete(id);
        if (!flight) return;
        flight.reader?.cancel().catch(() => {});
        flight.response.resolve(response);
      })
    );
  }

  /** Only a Worker that is no longer itself says what cannot be read: the end of this replica. */
  #guard(read: () => void): void {
    if (this.#over) return;
    try {
      read();
    } catch (error) {
      this.#fail((error as Error).message);
    }
  }

  #fail(why: string): void {
    const message = `its Worker failed: ${why}`;
    this.#finish({ kind: "trap", code: "failed", message, backtrace: [] });
  }

  #cancel(id: number, reason: unknown): void {
    const flight = this.#flights.delete(id);
    if (!flight) return;
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
      this.#requests?.flush();
      if (!this.#over) this.worker.postMessage(messages);
    });
  }

  #receive(message: FromWorker): void {
    switch (message.type) {
      case "ready":
        this.#isReady = true;
        return;
      case "started":
        return this.#started.resolve();
      case "exit":
        this.#hasEnded = true;
        Promise.all([this.#named(message.exit), this.#told]).then(
          ([exit]) => this.#finish(exit, message.reusable),
          (error) => this.#fail(error.message),
        );
        return;
      case "trapped": {
        const { code, message: why } = message.exit;
        const named = this.name(message.exit.backtrace);
        this.#told = this.#told.then(() => named).then(
          (frames) => this.options.notice(`${code}: ${why}${formatBacktrace(frames)}`),
        ).catch((error) => this.#fail(error.message));
        return;
      }
      case "trace":
        this.options.trace?.(message.line);
        Atomics.sub(this.#traced, 0, message.line.length);
        Atomics.notify(this.#traced, 0);
        return;
      case "notice":
        return this.options.notice(message.text);
      case "log":
        return this.options.log?.(message.level, message.text);
      case "read-stdin":
        this.options.stdio.read().then(
          (bytes) => this.#send({ type: "stdin", bytes }),
          ({ message }) => this.#send({ type: "stdin", bytes: null, failed: message }),
        );
        return;
      case "output":
        return this.#output(message.stream, message.bytes);
      case "response":
        return this.#respond(message);
      case "response-body": {
        const flight = this.#flights.get(message.id);
        if (!flight?.body) return;
        if (message.bytes === null) {
          this.#flights.delete(message.id);
          flight.body.close();
        } else flight.body.enqueue(message.bytes);
        flight.pulled?.();
        return;
      }
      case "call":
      case "pipe-chunk":
      case "pipe-credit":
      case "pipe-stop":
      case "drop":
        return this.#calls?.receive(message);
      case "symlink":
        return this.#symlink(message.target, message.hostPath);
      case "want-body":
        return this.#readBody(message.id);
      case "failed": {
        const error = RealmError.fromJSON(message.error);
        const flight = this.#flights.get(message.id);
        this.#flights.delete(message.id);
        if (flight?.body) flight.body.error(error);
        else flight?.response.reject(error);
        flight?.pulled?.();
        return;
      }
      default:
        throw new Error(`it sent ${JSON.stringify(message satisfies never)?.slice(0, 80)}`);
    }
  }

  async #named(exit: RawExit): Promise<Exit> {
    if (exit.kind !== "trap") return exit;
    return { ...exit, backtrace: await this.name(exit.backtrace) };
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
      else result = "access";
    } catch (error) {
      const code = errorCodeOf(error) as typeof result;
      result = SYMLINK_RESULTS.includes(code) ? code : "io";
    }
    Atomics.store(this.#answer, 0, SYMLINK_RESULTS.indexOf(result));
    Atomics.notify(this.#answer, 0);
  }

  #output(stream: "stdout" | "stderr", bytes: Uint8Array): void {
    const { length } = bytes;
    const taken = () => this.#send({ type: "taken", bytes: length });
    const failed = (error: Error) => {
      this.#ledger.end(END.stop);
      this.#finish({ kind: "trap", code: "failed", message: error.message, backtrace: [] });
    };
    try {
      const done = this.options.stdio.write(stream, bytes);
      if (done instanceof Promise) done.then(taken, failed);
      else taken();
    } catch (error) {
      failed(error as Error);
    }
  }

  #respond(message: Extract<FromWorker, { type: "response" }>): void {
    const { id, status, body, end } = message;
    const flight = this.#flights.get(id);
    if (!flight) return;
    const headers = unpackHeaders(message.headers);
    if (end) {
      this.#flights.delete(id);
      flight.reader?.cancel().catch(() => {});
      flight.response.resolve({ status, headers, body });
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
    flight.response.resolve({ status, headers, body: stream });
  }

  #readBody(id: number): void {
    const reader = this.#flights.get(id)?.reader;
    if (!reader) return this.#send({ type: "request-body", id, bytes: null });
    reader.read().then(
      ({ value }) => this.#send({ type: "request-body", id, bytes: value ?? null }),
      () => this.#send({ type: "request-body", id, bytes: null, failed: true }),
    );
  }

  #finish(exit: Exit, reusable = false): void {
    if (this.#over) return;
    this.#over = exit;
    clearTimeout(this.#timeout);
    this.#held?.runs(); // nobody waits any more
    this.#responses?.ring.close();
    if (reusable) this.release(this.worker);
    else this.worker.terminate();
    const error = ended(exit);
    this.#flights.forEach((flight) => {
      flight.response.reject(error);
      flight.body?.error(error);
      flight.reader?.cancel().catch(() => {});
      flight.pulled?.();
    });
    this.#flights.clear();
    this.closed = this.#calls?.close() ?? Promise.resolve();
    this.#started.resolve();
    this.#exit.resolve(exit);
  }
}

/** The error of a request whose replica ended like this. */
export function ended(exit: Exit): RealmError {
  return exit.kind === "trap"
    ? new RealmError(exit.code, exit.message, exit.hint ? { hint: exit.hint } : {})
    : new RealmError("failed", "Cannot handle the request: the component has ended");
}
