/**
 * The agent's side of a replica in a process of its own.
 *
 * The process is not trusted: what it says is checked when it is read (`messages.ts`), what it may
 * send is bounded by credit, and what has no credit is read no faster than {@link PACKETS_PER_SEC}.
 * Who breaks a rule, or says nothing for {@link SILENT_MS}, is killed.
 *
 * @module
 */
import {
  type EnforcedLimits,
  type Exit,
  type HandlerRequest,
  type HandlerResponse,
  NO_USAGE,
  type Pipe,
  type Replica,
  type ReplicaProcess,
  type Service,
  type StartOptions,
  type Usage,
} from "../../kernel/ports.ts";
import { ServiceCalls } from "../service_calls.ts";
import { LOG_LINES_PER_SEC_MAX } from "../wasi/bounds.ts";
import { ended } from "../worker_replica.ts";
import type { GuestProcess } from "./guest_process.ts";
import { joined, type Packet, PIECE_BYTES, pieces, ProtocolError } from "./link.ts";
import {
  type FromProcess,
  growing,
  readMessage,
  SOURCE_SERVICE,
  type ToProcess,
} from "./messages.ts";
import { pack } from "./plain.ts";

/** What it has without credit is read this fast; the rest waits in the process. */
const PACKETS_PER_SEC = 10_000;
/** A message of this size counts twice. */
const MESSAGE_BYTES = 1024;
/** Lines about a replica; more are counted. */
const NOTICES_PER_SEC = 100;
/** Output that was not taken yet; the process stops far below. */
const UNTAKEN_BYTES_MAX = 8 * 1024 * 1024;
/** What the process does not read; each message in it was asked for or is a request. */
const QUEUED_BYTES_MAX = 128 * 1024 * 1024;
const BEAT_MS = 1_000;
/** A process says something each second, however busy its guest is. */
export const SILENT_MS = 30_000;
/** From being told to end to being killed; the Worker in it has two seconds. */
const STOP_MS = 3_000;
/** From saying how the guest ended to the end of the process. */
const EXIT_MS = 1_000;

interface Flight {
  readonly response: PromiseWithResolvers<HandlerResponse>;
  /** The request's body, read when the guest asks. */
  readonly reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  /** What was read of it and did not fit one packet. */
  rest?: Uint8Array;
  isReading: boolean;
  /** The response's body, once its head was given. */
  body?: ReadableStreamDefaultController<Uint8Array>;
  /** Credit for one more piece of it. */
  pulled?: () => void;
}

/** See the module. */
export class ProcessReplica implements Replica {
  readonly exited: Promise<Exit>;
  /** Resolves when the guest runs, its first instance is ready, or it ended. */
  readonly started: Promise<void>;
  /** Once it ended: resolves when the agent's services have let go of what they held for it. */
  closed: Promise<void> = Promise.resolve();
  readonly #exit = Promise.withResolvers<Exit>();
  readonly #started = Promise.withResolvers<void>();
  readonly #calls: ServiceCalls;
  readonly #flights = new Map<number, Flight>();
  readonly #beat: number;
  #nextId = 0;
  #usage: Usage = NO_USAGE;
  #limits: EnforcedLimits | undefined;
  #permissions: readonly string[] = [];
  #residentBytes = 0;
  #isReadingInput = false;
  #untaken = 0;
  #notices = 0;
  #logLines = 0;
  #packets = PACKETS_PER_SEC;
  #packetsAtMs = performance.now();
  #silentMs = 0;
  #stopping: Promise<void> | undefined;
  /** How it ends: what the process said or what we know better. */
  #ending: Exit | undefined;
  #over: Exit | undefined;

  constructor(
    readonly guest: GuestProcess,
    readonly options: StartOptions,
    component: {
      readonly digest: string;
      readonly artifact: Uint8Array;
      /** Its bytes, if they are still there. */
      readonly source: () => Promise<Uint8Array | undefined>;
    },
    readonly silentMs = SILENT_MS,
  ) {
    this.exited = this.#exit.promise;
    this.started = this.#started.promise;
    const services = options.services ?? {};
    const source = sourceService(component.source);
    this.#calls = new ServiceCalls({ ...services, [SOURCE_SERVICE]: source }, (message) => {
      const bytes: Uint8Array[] = [];
      const packed = pack(message, bytes);
      this.#send({ type: "service", message: packed }, joined(bytes));
    });
    this.#beat = setInterval(() => this.#watch(), BEAT_MS);
    for (const piece of pieces(component.artifact)) this.#send({ type: "artifact" }, piece);
    const { world, grants, limits, stdio, maxConcurrency, instancePerRequest } = options;
    this.#send({
      type: "start",
      world,
      grants,
      limits,
      digest: component.digest,
      terminal: stdio.terminal,
      services: Object.keys(services),
      traces: options.trace !== undefined,
      ...(maxConcurrency === undefined ? {} : { maxConcurrency }),
      ...(instancePerRequest === undefined ? {} : { instancePerRequest }),
    });
    this.#run();
  }

  usage(): Usage {
    return this.#usage;
  }

  limits(): EnforcedLimits {
    // Before the guest runs nothing of it is enforced but what it will be started with.
    return this.#limits ?? {
      ...this.options.limits,
      concurrencyMax: this.options.maxConcurrency ?? 1,
      handlesMax: 0,
      openFilesMax: 0,
      socketsMax: 0,
      logLinesPerSecMax: 0,
    };
  }

  process(): ReplicaProcess {
    return {
      pid: this.guest.pid,
      residentBytes: this.#residentBytes,
      permissions: this.#permissions,
      ...this.guest.osLimits,
    };
  }

  stop(): Promise<void> {
    return this.#stopping ??= this.#stop();
  }

  async #stop(): Promise<void> {
    this.#send({ type: "stop" });
    const late = setTimeout(() => this.#kill({ kind: "stopped" }), STOP_MS);
    await this.exited;
    clearTimeout(late);
  }

  handle(request: HandlerRequest): Promise<HandlerResponse> {
    if (this.#over) return Promise.reject(ended(this.#over));
    const id = this.#nextId++;
    const response = Promise.withResolvers<HandlerResponse>();
    const reader = request.body?.getReader();
    this.#flights.set(id, { response, reader, isReading: false });
    const { method, url, signal } = request;
    const headers = [...request.headers];
    this.#send({ type: "request", id, method, url, headers, hasBody: reader !== undefined });
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

  #send(message: ToProcess, bytes?: Uint8Array): void {
    if (this.#over) return;
    this.guest.link.send(message, bytes);
    if (this.guest.link.queuedBytes > QUEUED_BYTES_MAX) this.#fail("it does not read its messages");
  }

  /** From the first message to the end of the process. */
  async #run(): Promise<void> {
    const { guest } = this;
    try {
      await guest.link.receive((packet) => this.#take(packet));
    } catch (error) {
      // Whatever it is, it came of what the process sent: that is no reason for the agent to end.
      const what = error instanceof ProtocolError ? error.message : `what fails here: ${error}`;
      this.#fail(`it sent ${what}`);
    }
    // It closed the connection, or did what it must not: either way it is over.
    const late = setTimeout(() => guest.kill(), this.#ending ? EXIT_MS : 0);
    const status = await guest.ended;
    clearTimeout(late);
    guest.link.close();
    this.#finish(this.#ending ?? endOf(status, guest.errors.text));
  }

  #fail(what: string): void {
    this.#kill({
      kind: "trap",
      code: "failed",
      message: `its process was killed: ${what}`,
      backtrace: [],
    });
  }

  #kill(ending: Exit): void {
    this.#ending ??= ending;
    this.guest.kill();
  }

  /** A timer counts no time in which the machine slept. */
  #watch(): void {
    this.#notices = 0;
    this.#logLines = 0;
    this.#silentMs += BEAT_MS;
    if (this.#silentMs > this.silentMs) this.#fail(`it said nothing for ${this.silentMs / 1000} s`);
  }

  #take(packet: Packet): Promise<void> | void {
    if (this.#ending) return; // What comes after its last word is not heard.
    this.#silentMs = 0;
    if (this.#receive(readMessage(packet), packet.bytes)) return;
    return this.#pace(1 + packet.messageBytes / MESSAGE_BYTES + packet.bytes.length / PIECE_BYTES);
  }

  /** Takes some of the packets that it has without credit. */
  #pace(cost: number): Promise<void> | void {
    this.#packets -= cost;
    if (this.#packets > 0) return;
    const now = performance.now();
    const refilled = (now - this.#packetsAtMs) * PACKETS_PER_SEC / 1000;
    this.#packetsAtMs = now;
    this.#packets = Math.min(PACKETS_PER_SEC, this.#packets + refilled);
    if (this.#packets > 0) return;
    return new Promise((resolve) => setTimeout(resolve, 100));
  }

  /** Whether there was credit for the message. */
  #receive(message: FromProcess, bytes: Uint8Array<ArrayBuffer>): boolean {
    switch (message.type) {
      case "started":
        this.#limits = message.limits;
        this.#permissions = message.permissions;
        this.#started.resolve();
        return false;
      case "usage":
        this.#usage = growing(this.#usage, message.usage);
        this.#residentBytes = message.residentBytes;
        return false;
      case "notice":
        this.#notice(message.text);
        return false;
      case "trace":
        this.options.trace?.(message.line);
        return false;
      case "log":
        if (++this.#logLines <= LOG_LINES_PER_SEC_MAX) {
          this.options.log?.(message.level, message.text);
        }
        return false;
      case "read-stdin":
        this.#readInput();
        return false;
      case "output":
        this.#output(message.stream, bytes);
        return false;
      case "call":
        this.#calls.receive(message.message);
        return false;
      case "exit":
        this.#ending = message.exit;
        return false;
      default: {
        const flight = this.#flights.get(message.id);
        if (!flight) return false; // It was cancelled.
        this.#receiveOf(flight, message, bytes);
        // One answer to a request; of a body as much as its reader takes, if there is something.
        // What the body of a request had is asked for again and again at no cost.
        return message.type !== "want-body" &&
          (message.type !== "response-body" || bytes.length >= MESSAGE_BYTES);
      }
    }
  }

  #receiveOf(
    flight: Flight,
    message: Extract<FromProcess, { readonly id: number }>,
    bytes: Uint8Array<ArrayBuffer>,
  ): void {
    const { id } = message;
    switch (message.type) {
      case "want-body":
        if (flight.isReading) throw new ProtocolError("two wishes for one body");
        flight.isReading = true;
        this.#readBody(id, flight);
        return;
      case "failed":
        this.#land(id, flight);
        if (flight.body) flight.body.error(message.error);
        else flight.response.reject(message.error);
        flight.pulled?.();
        return;
      case "response":
        if (flight.body) throw new ProtocolError("two answers to one request");
        this.#respond(id, flight, message, bytes);
        return;
      case "response-body":
        if (!flight.body) throw new ProtocolError("a body without a response");
        if (message.state === "more") {
          if (!flight.pulled) throw new ProtocolError("a body that nobody reads");
          flight.body.enqueue(bytes);
        } else {
          this.#land(id, flight);
          flight.body.close();
        }
        flight.pulled?.();
        delete flight.pulled;
        return;
    }
  }

  /** The flight is over: the rest of its request is not read. */
  #land(id: number, flight: Flight): void {
    this.#flights.delete(id);
    flight.reader?.cancel().catch(() => {});
  }

  #respond(
    id: number,
    flight: Flight,
    { status, headers, body }: Extract<FromProcess, { type: "response" }>,
    bytes: Uint8Array<ArrayBuffer>,
  ): void {
    const head = { status, headers: headers as [string, string][] };
    if (body !== "stream") {
      this.#land(id, flight);
      flight.response.resolve({ ...head, body: body === "whole" ? bytes : null });
      return;
    }
    const stream = new ReadableStream<Uint8Array>({
      start: (controller) => {
        flight.body = controller;
      },
      pull: () =>
        new Promise((resolve) => {
          flight.pulled = resolve;
          this.#send({ type: "pull", id });
        }),
      cancel: (reason) => this.#cancel(id, reason),
    });
    flight.response.resolve({ ...head, body: stream });
  }

  async #readBody(id: number, flight: Flight): Promise<void> {
    const send = (state: "more" | "end" | "failed", bytes?: Uint8Array) => {
      flight.isReading = false;
      this.#send({ type: "request-body", id, state }, bytes);
    };
    try {
      const bytes = flight.rest ?? (await flight.reader?.read())?.value;
      if (bytes === undefined) return send("end");
      if (bytes.length > PIECE_BYTES) flight.rest = bytes.subarray(PIECE_BYTES);
      else delete flight.rest;
      send("more", bytes.subarray(0, PIECE_BYTES));
    } catch {
      send("failed");
    }
  }

  #notice(text: string): void {
    if (++this.#notices <= NOTICES_PER_SEC) this.options.notice(text);
    else if (this.#notices === NOTICES_PER_SEC + 1) {
      this.options.notice(`more than ${NOTICES_PER_SEC} lines in a second: the rest is dropped`);
    }
  }

  #readInput(): void {
    if (this.#isReadingInput) throw new ProtocolError("two wishes for input");
    this.#isReadingInput = true;
    const send = (bytes: Uint8Array | null) => {
      this.#isReadingInput = false;
      for (const piece of pieces(bytes ?? new Uint8Array(0))) {
        this.#send({ type: "stdin", end: false }, piece);
      }
      this.#send({ type: "stdin", end: bytes === null });
    };
    this.options.stdio.read().then(send, ({ message }) => {
      this.#isReadingInput = false;
      this.#send({ type: "stdin", end: true, failed: message });
    });
  }

  #output(stream: "stdout" | "stderr", bytes: Uint8Array): void {
    this.#untaken += bytes.length;
    if (this.#untaken > UNTAKEN_BYTES_MAX) throw new ProtocolError("more output than was taken");
    const taken = () => {
      this.#untaken -= bytes.length;
      this.#send({ type: "taken", bytes: bytes.length });
    };
    const done = this.options.stdio.write(stream, bytes);
    const failed = ({ message }: Error) =>
      this.#kill({ kind: "trap", code: "failed", message, backtrace: [] });
    if (done instanceof Promise) done.then(taken, failed);
    else taken();
  }

  #finish(exit: Exit): void {
    this.#over = exit;
    clearInterval(this.#beat);
    const error = ended(exit);
    for (const flight of this.#flights.values()) {
      flight.response.reject(error);
      flight.body?.error(error);
      flight.reader?.cancel().catch(() => {});
      flight.pulled?.();
    }
    this.#flights.clear();
    this.closed = this.#calls.close();
    this.#started.resolve();
    this.#exit.resolve(exit);
  }
}

/**
 * Gives the bytes of the component, which name the functions of backtraces; to one call at a time,
 * since they are held until they are taken.
 */
export function sourceService(source: () => Promise<Uint8Array | undefined>): Service {
  let isBusy = false;
  const write = async (bytes: Uint8Array, pipe: Pipe) => {
    for (const piece of pieces(bytes)) if (!await pipe.write(piece)) return;
    pipe.end();
  };
  return {
    async call(_request, pipe) {
      pipe.stopReading();
      if (isBusy) return false;
      isBusy = true;
      const done = () => {
        isBusy = false;
      };
      const bytes = await source().catch(() => undefined);
      if (bytes) write(bytes, pipe).finally(done);
      else done();
      return bytes !== undefined;
    },
    close: () => Promise.resolve(),
  };
}

/** What became of a process that did not say how its guest ended. */
function endOf({ code, signal }: Deno.CommandStatus, errors: string): Exit {
  const isOutOfMemory = /out of memory|allocation failed/i.test(errors);
  return {
    kind: "trap",
    code: isOutOfMemory ? "memory-limit" : "failed",
    message: isOutOfMemory
      ? "its process ran out of memory"
      : signal
      ? `its process was ended by ${signal}`
      : `its process ended with status ${code}`,
    ...(isOutOfMemory ? { hint: "Lower what it does at once: max_concurrency" } : {}),
    backtrace: [],
  };
}
