/**
 * The process of one replica: connects to its agent, gives up every permission that the guest's
 * mounts do not need, and runs the guest in an ordinary `WorkerEngine`. Ends with the guest, and
 * with the agent, however that ended.
 *
 * @module
 */
import { RealmError } from "../../kernel/error.ts";
import type {
  Exit,
  HandlerResponse,
  Pipe,
  Replica,
  Service,
  StartOptions,
  Stdio,
} from "../../kernel/ports.ts";
import { type AgentCall, AgentCalls } from "../agent_calls.ts";
import { WorkerEngine } from "../engine.ts";
import { hasFolderLock } from "../mount_lock.ts";
import type { ServiceMessage } from "../protocol.ts";
import { FROM_SOURCE } from "../spawn.ts";
import {
  AGENT_PACKET_BYTES_MAX,
  encodePacket,
  joined,
  Link,
  type Packet,
  PACKET_BYTES_MAX,
  pieces,
} from "./link.ts";
import { SOURCE_SERVICE, type StartMessage, TEXT_MAX, type ToProcess } from "./messages.ts";
import { pack, unpack } from "./plain.ts";

const USAGE_MS = 250;
/** Even when nothing was used: the agent takes silence for the end. */
const LIFE_MS = 1_000;
const BACKTRACE_MAX = 64;
const TRACE_BYTES_MAX = 4 * 1024 * 1024;
/** A body of a response up to this size goes with its head. */
const WHOLE_BYTES_MAX = 256 * 1024;

/**
 * What a `FromProcess` message is before the agent has checked it: nothing here has to hold, and
 * what does not is the end of this process.
 */
interface Outgoing {
  readonly type: string;
  readonly [field: string]: unknown;
}

interface Flight {
  readonly abort: AbortController;
  /** The agent's answer to the wish for more of the request's body. */
  wanted?: PromiseWithResolvers<Uint8Array | null> | undefined;
  /** What the response's body has for the next pull. */
  body?: ReadableStreamDefaultReader<Uint8Array>;
  rest?: Uint8Array | undefined;
}

/**
 * Runs the guest that the agent at `socketPath` sends, until it ended or the agent is gone.
 * `keepPermissions` gives up all kinds but these, and says which are left.
 */
export async function runGuestProcess(
  socketPath: string,
  keepPermissions: (kinds: readonly Deno.PermissionName[]) => readonly string[],
): Promise<void> {
  // What the terminal or a service manager tells all processes of the agent is for the agent: it
  // lets requests end before it ends this process.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    Deno.addSignalListener(signal, () => {});
  }
  const connection = await Deno.connect({ transport: "unix", path: socketPath });
  const link = new Link(connection, AGENT_PACKET_BYTES_MAX);
  const host = new GuestHost(link, keepPermissions);
  await link.receive((packet) => host.receive(packet));
}

class GuestHost {
  readonly #artifact: Uint8Array[] = [];
  readonly #calls = new AgentCalls((message) => {
    const bytes: Uint8Array[] = [];
    const packed = pack(message, bytes);
    this.#send({ type: "call", message: packed }, joined(bytes));
  });
  readonly #flights = new Map<number, Flight>();
  readonly #taking: { readonly upTo: number; readonly resolve: () => void }[] = [];
  readonly #input: Uint8Array[] = [];
  #inputWish: PromiseWithResolvers<Uint8Array | null> | undefined;
  #written = 0;
  #taken = 0;
  #replica: Replica | undefined;
  #stopped = false;
  #untraced = 0;
  #told = { text: "", atMs: 0 };

  constructor(
    readonly link: Link,
    readonly keepPermissions: (kinds: readonly Deno.PermissionName[]) => readonly string[],
  ) {}

  #send(message: Outgoing, bytes?: Uint8Array): void {
    this.link.send(message, bytes);
  }

  receive({ message, bytes }: Packet): void {
    const said = message as ToProcess;
    switch (said.type) {
      case "artifact":
        this.#artifact.push(bytes);
        return;
      case "start":
        this.#run(said);
        return;
      case "stdin": {
        if (bytes.length > 0) {
          this.#input.push(bytes);
          return;
        }
        if (said.failed !== undefined) this.#inputWish?.reject(new Error(said.failed));
        else this.#inputWish?.resolve(said.end ? null : joined(this.#input.splice(0)));
        this.#inputWish = undefined;
        return;
      }
      case "taken":
        this.#taken += said.bytes;
        while (this.#taking[0] && this.#taking[0].upTo <= this.#taken) {
          this.#taking.shift()!.resolve();
        }
        return;
      case "service":
        return this.#calls.receive(unpack(said.message, bytes) as ServiceMessage);
      case "request":
        this.#handle(said);
        return;
      case "request-body": {
        const flight = this.#flights.get(said.id);
        const wanted = flight?.wanted;
        if (!flight || !wanted) return;
        flight.wanted = undefined;
        if (said.state === "failed") wanted.reject(new Error("the client went away"));
        else wanted.resolve(said.state === "end" ? null : bytes);
        return;
      }
      case "pull":
        this.#pull(said.id);
        return;
      case "cancel": {
        const flight = this.#flights.get(said.id);
        this.#flights.delete(said.id);
        flight?.wanted?.reject(new Error("the request was cancelled"));
        flight?.body?.cancel().catch(() => {});
        flight?.abort.abort(new Error("the request was cancelled"));
        return;
      }
      case "stop":
        this.#stopped = true;
        this.#replica?.stop();
        return;
    }
  }

  /** The whole life of the guest. */
  async #run(start: StartMessage): Promise<void> {
    let exit: Exit;
    try {
      const permissions = this.#narrow(start);
      requireLocks(start);
      // The agent has made and kept what runs here.
      const cache = { get: () => Promise.resolve(undefined), put: () => Promise.resolve() };
      const engine = new WorkerEngine({ cache, sources: () => this.#source(), refill: false });
      const prepared = await engine.load(start.digest, joined(this.#artifact.splice(0)));
      const replica = await engine.start(prepared, this.#options(start));
      this.#replica = replica;
      this.#send({ type: "started", permissions, limits: replica.limits() });
      if (this.#stopped) replica.stop();
      this.#tellUsage();
      setInterval(() => this.#tellUsage(), USAGE_MS);
      exit = await replica.exited;
      this.#tellUsage();
    } catch (error) {
      exit = failureOf(error);
    }
    this.#send({ type: "exit", exit: shortened(exit) });
    await this.link.flushed();
    Deno.exit(0);
  }

  /**
   * Deno narrows a kind that was given as a whole no further: with mounts `read` and `write` stay
   * here, and the guest's Worker has the folders of its mounts. From source, Workers are read from
   * files.
   */
  #narrow({ grants: { mounts } }: StartMessage): readonly string[] {
    return this.keepPermissions([
      ...(mounts.length > 0 || FROM_SOURCE ? ["read"] as const : []),
      ...(mounts.some(({ writable }) => writable) ? ["write"] as const : []),
    ]);
  }

  #options(start: StartMessage): StartOptions {
    const { world, grants, limits, terminal, maxConcurrency, instancePerRequest } = start;
    const stdio: Stdio = {
      terminal,
      read: () => {
        this.#send({ type: "read-stdin" });
        return (this.#inputWish ??= Promise.withResolvers()).promise;
      },
      write: (stream, bytes) => {
        for (const piece of pieces(bytes)) this.#send({ type: "output", stream }, piece);
        this.#written += bytes.length;
        const upTo = this.#written;
        return new Promise((resolve) => this.#taking.push({ upTo, resolve }));
      },
    };
    return {
      world,
      grants,
      limits,
      stdio,
      services: Object.fromEntries(start.services.map((name) => [name, this.#service(name)])),
      notice: (text) => this.#send({ type: "notice", text: text.slice(0, TEXT_MAX) }),
      log: (level, text) => this.#send({ type: "log", level, text: text.slice(0, TEXT_MAX) }),
      ...start.traces && { trace: (line: string) => this.#trace(line) },
      ...(maxConcurrency === undefined ? {} : { maxConcurrency }),
      ...(instancePerRequest === undefined ? {} : { instancePerRequest }),
    };
  }

  /** Nobody can wait here: what the agent does not read in time is left out. */
  #trace(line: string): void {
    if (this.link.queuedBytes > TRACE_BYTES_MAX) this.#untraced++;
    else {
      if (this.#untraced > 0) {
        this.#send({ type: "trace", line: `${this.#untraced} calls left out` });
      }
      this.#untraced = 0;
      this.#send({ type: "trace", line: line.slice(0, TEXT_MAX) });
    }
  }

  /** The bytes of the component, if the agent still has them. */
  async #source(): Promise<Uint8Array | undefined> {
    const call = this.#calls.call(SOURCE_SERVICE, null);
    try {
      if (await call.answering() !== true) return undefined;
      const parts: Uint8Array[] = [];
      for (let part = call.take(); part !== null; part = call.take()) {
        if (part) parts.push(part);
        else await changed(call);
      }
      return joined(parts);
    } finally {
      call.drop();
    }
  }

  /** A service that the agent has, for the Worker in this process. */
  #service(name: string): Service {
    return {
      call: (request, pipe) => {
        const call = this.#calls.call(name, request);
        pumpUp(call, pipe);
        pumpDown(call, pipe);
        return call.answering();
      },
      close: () => Promise.resolve(),
    };
  }

  /** Says what is used, when it changed or silence would be too long. */
  #tellUsage(): void {
    const usage = this.#replica!.usage();
    const text = JSON.stringify(usage);
    const now = performance.now();
    if (text === this.#told.text && now - this.#told.atMs < LIFE_MS) return;
    this.#told = { text, atMs: now };
    this.#send({ type: "usage", usage, residentBytes: Deno.memoryUsage().rss });
  }

  async #handle(request: Extract<ToProcess, { type: "request" }>): Promise<void> {
    const { id, method, url, headers, hasBody } = request;
    const flight: Flight = { abort: new AbortController() };
    this.#flights.set(id, flight);
    try {
      if (!this.#replica) {
        throw new RealmError("failed", "Cannot handle a request before the start");
      }
      const response = await this.#replica.handle({
        method,
        url,
        headers: headers as [string, string][],
        body: hasBody ? this.#bodyOf(id, flight) : null,
        signal: flight.abort.signal,
      });
      if (this.#flights.get(id) === flight) this.#respond(id, flight, response);
      else if (response.body instanceof ReadableStream) response.body.cancel().catch(() => {});
    } catch (error) {
      if (this.#flights.get(id) !== flight) return;
      this.#flights.delete(id);
      this.#fail(id, error);
    }
  }

  /** Instead of a response, or of the rest of one. */
  #fail(id: number, error: unknown): void {
    const known = error instanceof RealmError ? error : new RealmError("failed", String(error));
    this.#tellUsage(); // It has counted the trap.
    this.#send({
      type: "failed",
      id,
      error: { ...known.toJSON(), message: known.message.slice(0, TEXT_MAX) },
    });
  }

  #bodyOf(id: number, flight: Flight): ReadableStream<Uint8Array> {
    return new ReadableStream<Uint8Array>({
      pull: async (controller) => {
        flight.wanted = Promise.withResolvers();
        this.#send({ type: "want-body", id });
        const bytes = await flight.wanted.promise;
        if (bytes === null) controller.close();
        else controller.enqueue(bytes);
      },
    }, { highWaterMark: 0 });
  }

  #respond(id: number, flight: Flight, { status, headers, body }: HandlerResponse): void {
    const head = { type: "response", id, status, headers: [...headers] };
    const isWhole = body === null ||
      (body instanceof Uint8Array && body.length <= WHOLE_BYTES_MAX);
    const packet = isWhole
      ? encodePacket({ ...head, body: body === null ? "none" : "whole" }, body ?? undefined)
      : encodePacket({ ...head, body: "stream" });
    if (packet.length > PACKET_BYTES_MAX) {
      flight.abort.abort(new Error("its head is too large"));
      throw new RealmError(
        "limit-exceeded",
        "Cannot answer the request: its headers are too large",
      );
    }
    if (isWhole) this.#flights.delete(id);
    else flight.body = (body instanceof Uint8Array ? streamOf(body) : body).getReader();
    this.link.sendPacket(packet);
  }

  /** The agent has room for one more piece of a response. */
  async #pull(id: number): Promise<void> {
    const flight = this.#flights.get(id);
    if (!flight?.body) return;
    try {
      const bytes = flight.rest ?? (await flight.body.read()).value;
      if (this.#flights.get(id) !== flight) return;
      if (bytes === undefined) {
        this.#flights.delete(id);
        return this.#send({ type: "response-body", id, state: "end" });
      }
      const [piece = bytes] = pieces(bytes);
      flight.rest = piece.length < bytes.length ? bytes.subarray(piece.length) : undefined;
      this.#send({ type: "response-body", id, state: "more" }, piece);
    } catch (error) {
      if (this.#flights.delete(id)) this.#fail(id, error);
    }
  }
}

/** Guests of other processes may have the same folders. */
function requireLocks({ grants: { mounts } }: StartMessage): void {
  const { hostPath } = mounts.find(({ hostPath }) => !hasFolderLock(hostPath)) ?? {};
  if (hostPath === undefined) return;
  throw new RealmError(
    "unsupported",
    `Cannot mount ${hostPath} in a process of its own: its file system has no locks`,
    { hint: 'Set isolation = "worker", or mount a folder of another file system' },
  );
}

/** What the guest writes, to the agent. */
async function pumpUp(call: AgentCall, pipe: Pipe): Promise<void> {
  for (;;) {
    const chunk = await pipe.read();
    if (chunk === null) break;
    while (call.credit < chunk.length && !call.closed) await changed(call);
    if (call.closed) {
      pipe.stopReading();
      break;
    }
    call.write(chunk);
  }
  call.end();
  if (pipe.signal.aborted) call.drop();
  else pipe.signal.addEventListener("abort", () => call.drop(), { once: true });
}

/** What the agent writes, to the guest. */
async function pumpDown(call: AgentCall, pipe: Pipe): Promise<void> {
  try {
    for (;;) {
      const chunk = call.take();
      if (chunk === null) return pipe.end();
      if (chunk === undefined) await changed(call);
      else if (!await pipe.write(chunk)) return call.stopReading();
      if (pipe.signal.aborted) return;
    }
  } catch (error) {
    pipe.fail((error as { reason?: unknown }).reason ?? "failed");
  }
}

function changed(call: AgentCall): Promise<void> {
  return new Promise((resolve) => call.wait(resolve));
}

function streamOf(bytes: Uint8Array): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start(controller) {
      controller.enqueue(bytes);
      controller.close();
    },
  });
}

function failureOf(error: unknown): Exit {
  const known = error instanceof RealmError ? error : new RealmError("failed", String(error));
  return { kind: "trap", ...known.toJSON(), backtrace: [] };
}

/** An exit as the agent takes it. */
function shortened(exit: Exit): Exit {
  if (exit.kind !== "trap") return exit;
  return {
    ...exit,
    message: exit.message.slice(0, TEXT_MAX),
    backtrace: exit.backtrace.slice(0, BACKTRACE_MAX),
  };
}
