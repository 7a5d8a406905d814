/**
 * The Worker that hosts one replica: a command, or a request handler with as many instances as
 * requests are in flight. Holds no permission beyond the replica's mounts.
 *
 * @module
 */
import { RealmError } from "../kernel/error.ts";
import type { Exit } from "../kernel/ports.ts";
import { compileGlue } from "./glue.ts";
import { Instance } from "./instance.ts";
import { Ledger } from "./ledger.ts";
import { FuelBucket, Limiter } from "./limiter.ts";
import {
  type FromWorker,
  packHeaders,
  type Start,
  SYMLINK_RESULTS,
  type ToWorker,
  unpackHeaders,
} from "./protocol.ts";
import { exitOf, GuestEnded } from "./trap.ts";
import {
  type BodyReader,
  type BodySource,
  createWasi,
  type FieldList,
  type RequestHead,
  type ResponseResult,
  type WasiContext,
  type WasiHost,
} from "./wasi/host.ts";

const scope = self as unknown as {
  onmessage: (event: MessageEvent) => void;
  postMessage(message: unknown): void;
};

/** Output that the agent has not taken yet; past it the guest waits. */
const OUTPUT_BYTES_MAX = 256 * 1024;
/** Microtasks without a new message after which a turn is over. */
const SETTLED_STEPS = 6;
/** Small writes within this time are joined, up to so many bytes. */
const OUTPUT_WAIT_MS = 5;
const OUTPUT_JOINED_MAX = 8 * 1024;
/** Messages sent together at most; measured with 32 connections: 4 served most. */
const MESSAGES_MAX = 4;
/** Requests beyond `maxConcurrency` that wait here; the proxy keeps the real queue. */
const REQUESTS_WAITING_MAX = 1024;

const now = () => performance.now();
const clock: WasiContext["clock"] = {
  wallNs: () => BigInt(Math.round((performance.timeOrigin + performance.now()) * 1e6)),
  monotonicNs: () => BigInt(Math.round(performance.now() * 1e6)),
  sleep: (ms, signal) =>
    new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const abort = () => {
        clearTimeout(timer);
        reject(signal!.reason);
      };
      const timer = setTimeout(() => {
        signal?.removeEventListener("abort", abort);
        resolve();
      }, Math.min(ms, 0x7fff_ffff));
      signal?.addEventListener("abort", abort, { once: true });
    }),
};
const random = {
  bytes(length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    for (let i = 0; i < length; i += 65_536) crypto.getRandomValues(bytes.subarray(i, i + 65_536));
    return bytes;
  },
};

/** A mutex in shared memory: path resolution and what follows are one step for all Workers. */
class Lock {
  readonly #word: Int32Array;

  constructor(buffer: SharedArrayBuffer) {
    this.#word = new Int32Array(buffer);
  }

  hold<T>(act: () => T): T {
    while (Atomics.compareExchange(this.#word, 0, 0, 1) !== 0) Atomics.wait(this.#word, 0, 1, 10);
    try {
      return act();
    } finally {
      Atomics.store(this.#word, 0, 0);
      Atomics.notify(this.#word, 0, 1);
    }
  }
}

/** Messages of a turn, sent together: each `postMessage` wakes the agent. */
class Outbox {
  #messages: FromWorker[] = [];
  #flushedAtMs = 0;

  add(message: FromWorker): void {
    this.#messages.push(message);
    // Not all of a turn at once: the agent works on the first while the rest is made.
    if (this.#messages.length >= MESSAGES_MAX) return this.flush();
    if (this.#messages.length === 1) queueMicrotask(() => this.#settle(0));
  }

  /** Sends once no message was added for some steps: requests that came together end together. */
  #settle(seen: number, steps = 0): void {
    const { length } = this.#messages;
    if (length === 0) return;
    if (length === seen && steps >= SETTLED_STEPS) return this.flush();
    queueMicrotask(() => this.#settle(length, length === seen ? steps + 1 : 0));
  }

  /**
   * Sends at once: the guest may run on without ever ending this turn. Output that just grew waits
   * for more, up to {@link OUTPUT_WAIT_MS}: many small writes are one message.
   */
  flush(): void {
    if (this.#messages.length === 0) return;
    const messages = this.#messages;
    this.#messages = [];
    this.#flushedAtMs = now();
    scope.postMessage(messages);
  }

  /** Adds output of the guest, which is copied. */
  output(stream: "stdout" | "stderr", bytes: Uint8Array): void {
    const last = this.#messages.at(-1);
    if (
      last?.type === "output" && last.stream === stream && last.bytes.length < OUTPUT_JOINED_MAX
    ) {
      this.#messages[this.#messages.length - 1] = { ...last, bytes: concat(last.bytes, bytes) };
    } else this.add({ type: "output", stream, bytes: bytes.slice() });
    this.flushLate();
  }

  /** Sends what has waited long enough. */
  flushLate(): void {
    if (this.#messages.length > 0 && now() - this.#flushedAtMs > OUTPUT_WAIT_MS) this.flush();
  }
}

/** A request on its way through the replica. */
interface Flight {
  readonly id: number;
  /** Packed, see `protocol.ts`. */
  readonly head: string;
  readonly hasBody: boolean;
  body?: PromiseWithResolvers<Uint8Array | null>;
  pull?: () => void;
  limiter?: Limiter;
  /** What the guest answered; its body may still be written. */
  response?: ResponseResult;
  /** The head of the response was sent, and its body flows until this resolves. */
  streaming?: Promise<void>;
  cancelled: boolean;
}

/** An instance with what belongs to it alone. */
interface Live {
  readonly instance: Instance;
  readonly limiter: Limiter;
  readonly wasi: WasiHost;
  /** The request that it is at work on. */
  flight?: Flight;
}

class ReplicaHost {
  readonly #ledger: Ledger;
  readonly #bucket: FuelBucket | undefined;
  readonly #glue: ReturnType<typeof compileGlue>;
  readonly #locks: readonly Lock[];
  readonly #outbox = new Outbox();
  readonly #noticed = new Set<string>();
  readonly #live = new Set<Live>();
  readonly #idle: Live[] = [];
  readonly #waiting: Flight[] = [];
  readonly #flights = new Map<number, Flight>();
  #stdin: PromiseWithResolvers<Uint8Array | null> | undefined;
  #untaken = 0;
  #writable: PromiseWithResolvers<void> | undefined;

  constructor(readonly start: Start) {
    this.#ledger = new Ledger(start.ledger);
    this.#ledger.setLimits(start.limits);
    const { fuelPerSec } = start.limits;
    this.#bucket = fuelPerSec === undefined ? undefined : new FuelBucket(fuelPerSec, now);
    this.#glue = compileGlue(start.glue);
    this.#locks = start.locks.map((buffer) => new Lock(buffer));
  }

  receive(message: ToWorker): void {
    switch (message.type) {
      case "stdin":
        this.#stdin?.resolve(message.bytes);
        this.#stdin = undefined;
        return;
      case "taken":
        this.#untaken -= message.bytes;
        if (this.#untaken <= OUTPUT_BYTES_MAX / 2) {
          this.#writable?.resolve();
          this.#writable = undefined;
        }
        return;
      case "request": {
        const { id, head, hasBody } = message;
        const flight = { id, head, hasBody, cancelled: false };
        this.#flights.set(id, flight);
        this.#dispatch(flight);
        return;
      }
      case "request-body": {
        const body = this.#flights.get(message.id)?.body;
        if (message.failed) body?.reject(new Error("the client went away"));
        else body?.resolve(message.bytes);
        return;
      }
      case "pull":
        this.#flights.get(message.id)?.pull?.();
        return;
      case "cancel": {
        const flight = this.#flights.get(message.id);
        if (!flight) return;
        this.#flights.delete(message.id);
        flight.cancelled = true;
        flight.pull?.();
        flight.body?.reject(new Error("the request was cancelled"));
        flight.limiter?.end({ kind: "stopped" });
        return;
      }
      case "end":
        for (const { limiter } of this.#live) limiter.tick();
        this.#bucket?.release();
        if (this.#live.size === 0 || this.start.world === "wasi:http/proxy") {
          this.#exit({ kind: "stopped" });
        }
        return;
    }
  }

  /** Runs the command to its end. */
  async runCommand(): Promise<void> {
    let exit: Exit;
    let limiter: Limiter | undefined;
    try {
      const live = await this.#create((l) => limiter = l);
      this.#outbox.add({ type: "started" });
      this.#outbox.flush();
      try {
        exit = { kind: "exit", status: await live.instance.run() };
        if (limiter?.ended) exit = exitOf(undefined, limiter);
      } finally {
        live.wasi.close();
      }
    } catch (error) {
      exit = limiter ? exitOf(error, limiter) : hostFault(error);
    }
    limiter?.dispose();
    this.#exit(exit);
  }

  /** Makes the first instance, so that a handler that cannot start is known at once. */
  async openHandler(): Promise<void> {
    let limiter: Limiter | undefined;
    try {
      this.#idle.push(await this.#create((l) => limiter = l));
      this.#outbox.add({ type: "started" });
    } catch (error) {
      this.#exit(limiter ? exitOf(error, limiter) : hostFault(error));
    }
  }

  #exit(exit: Exit): void {
    this.#outbox.add({ type: "exit", exit });
    this.#outbox.flush();
  }

  #notice(text: string): void {
    this.#outbox.add({ type: "notice", text });
    this.#outbox.flush();
  }

  async #create(made: (limiter: Limiter) => void): Promise<Live> {
    const { start } = this;
    const limiter = new Limiter({
      limits: start.limits,
      ledger: this.#ledger,
      bucket: this.#bucket,
      now,
      // A handler's Worker has requests to take, also while its only instance runs.
      shared: start.world === "wasi:http/proxy",
      onTick: () => this.#outbox.flushLate(),
    });
    made(limiter);
    const context = this.#context(limiter);
    const wasi = createWasi(context);
    const live: { -readonly [K in keyof Live]?: Live[K] } = { limiter, wasi };
    this.#live.add(live as Live);
    try {
      live.instance = await Instance.create({
        modules: start.modules,
        glue: this.#glue,
        memoryPagesMin: start.memoryPagesMin,
        tableElementsMin: start.tableElementsMin,
        limiter,
        wasi: wasi.imports,
        onWait: () => {
          if (live.flight) this.#stream(live.flight);
          this.#outbox.flush();
        },
      });
    } catch (error) {
      this.#live.delete(live as Live);
      wasi.close();
      throw error;
    }
    return live as Live;
  }

  #context(limiter: Limiter): WasiContext {
    return {
      grants: this.start.grants,
      clock,
      random,
      stdio: {
        terminal: this.start.terminal,
        read: () => {
          this.#outbox.add({ type: "read-stdin" });
          this.#outbox.flush();
          return (this.#stdin ??= Promise.withResolvers()).promise;
        },
        write: (stream, bytes) => {
          this.#outbox.output(stream, bytes);
          this.#untaken += bytes.length;
          if (this.#untaken <= OUTPUT_BYTES_MAX) return;
          this.#outbox.flush();
          return (this.#writable ??= Promise.withResolvers()).promise;
        },
      },
      denied: (call, grant) => {
        const key = `${call.split("#")[0]} ${grant}`;
        if (this.#noticed.has(key)) return;
        this.#noticed.add(key);
        this.#notice(`denied: ${call} needs ${grant}`);
      },
      exit: (status) => {
        limiter.end({ kind: "exit", status });
        throw new GuestEnded("exit");
      },
      trap: (message) => {
        limiter.end({ kind: "limit", code: "trap", message });
        throw new GuestEnded(message);
      },
      lock: (mountIndex, act) => this.#locks[mountIndex]!.hold(act),
      symlink: (target, hostPath) => this.#symlink(target, hostPath),
    };
  }

  #symlink(target: string, hostPath: string): void {
    const answer = new Int32Array(this.start.answer);
    Atomics.store(answer, 0, 0);
    this.#outbox.add({ type: "symlink", target, hostPath });
    this.#outbox.flush();
    Atomics.wait(answer, 0, 0);
    const result = SYMLINK_RESULTS[Atomics.load(answer, 0)]!;
    if (result === "ok") return;
    const message = `Cannot link ${hostPath}: ${result}`;
    throw result === "Other" || result === "pending"
      ? new Error(message)
      : new Deno.errors[result](message);
  }

  // ---- requests ----

  #dispatch(flight: Flight): void {
    const busy = this.#live.size - this.#idle.length;
    if (busy >= this.start.maxConcurrency) {
      if (this.#waiting.length >= REQUESTS_WAITING_MAX) {
        return this.#fail(
          flight,
          new RealmError("limit-exceeded", "Cannot take the request: too many are waiting"),
        );
      }
      this.#waiting.push(flight);
      return;
    }
    this.#serve(flight);
  }

  async #serve(flight: Flight): Promise<void> {
    let live = this.start.instancePerRequest ? undefined : this.#idle.pop();
    let limiter: Limiter | undefined = live?.limiter;
    try {
      live ??= await this.#create((l) => limiter = l);
      flight.limiter = live.limiter;
      if (!flight.cancelled) {
        live.flight = flight;
        const { http } = live.wasi;
        await live.instance.handle(
          http.createIncomingRequest(new LazyHead(flight.head), this.#bodyOf(flight)),
          http.createResponseOutparam((response) => flight.response = response),
        );
        delete live.flight;
        if (!flight.response) throw new RealmError("trap", "it returned without a response");
        this.#respond(flight);
        await flight.streaming;
      }
      if (live.limiter.ended) throw new GuestEnded();
      if (this.start.instancePerRequest) this.#discard(live);
      else this.#idle.push(live);
    } catch (error) {
      if (live) this.#discard(live);
      else limiter?.dispose();
      const isFull = error instanceof RealmError && error.code === "memory-limit";
      if (!live && isFull && this.#live.size > 0) {
        // There is no room for one more instance: the request takes one that is done.
        this.#waiting.unshift(flight);
        return;
      }
      const exit = limiter ? exitOf(error, limiter) : hostFault(error);
      if (!flight.cancelled) this.#trapped(flight, exit);
    }
    this.#flights.delete(flight.id);
    const next = this.#waiting.shift();
    if (next) this.#serve(next);
  }

  #bodyOf(flight: Flight): BodySource | null {
    if (!flight.hasBody) return null;
    return {
      read: () => {
        flight.body = Promise.withResolvers();
        this.#outbox.add({ type: "want-body", id: flight.id });
        return flight.body.promise;
      },
    };
  }

  /** The guest is done: sends head and body in one message, unless the body flows already. */
  #respond(flight: Flight): void {
    const response = flight.response!;
    if (flight.streaming || flight.cancelled) return;
    if ("error" in response) return this.#answeredError(flight, response.error);
    const { status, headers, body } = response;
    let taken: Uint8Array | null | undefined;
    let all: Uint8Array | null = null;
    try {
      while ((taken = body.take())) all = all ? concat(all, taken) : taken;
    } catch (error) {
      return this.#bodyFailed(flight, error);
    }
    const packed = packHeaders(headers.map(([name, value]) => [name, latin1(value)]));
    const message = {
      type: "response",
      id: flight.id,
      status,
      headers: packed,
      body: all,
    } as const;
    this.#outbox.add({ ...message, end: taken === null });
    // A body that the guest left open without dropping it.
    if (taken === undefined) flight.streaming = this.#pump(flight, body);
  }

  /** The guest waits: what it answered so far goes out, and what follows flows. */
  #stream(flight: Flight): void {
    const { response } = flight;
    if (!response || flight.streaming || flight.cancelled || "error" in response) return;
    const { status, headers, body } = response;
    const packed = packHeaders(headers.map(([name, value]) => [name, latin1(value)]));
    const message = { type: "response", id: flight.id, status, headers: packed } as const;
    this.#outbox.add({ ...message, body: null, end: false });
    flight.streaming = this.#pump(flight, body);
  }

  async #pump(flight: Flight, body: BodyReader): Promise<void> {
    try {
      for (;;) {
        await this.#pulled(flight);
        if (flight.cancelled) return body.cancel();
        const bytes = await body.read();
        this.#outbox.add({ type: "response-body", id: flight.id, bytes });
        this.#outbox.flush();
        if (bytes === null) return;
      }
    } catch (error) {
      this.#bodyFailed(flight, error);
    }
  }

  #answeredError(flight: Flight, { tag, val }: { tag: string; val?: unknown }): void {
    const reason = typeof val === "string" ? `${tag}: ${val}` : tag;
    this.#fail(flight, new RealmError("trap", `it answered with the error ${reason}`));
  }

  #bodyFailed(flight: Flight, error: unknown): void {
    const failed = error instanceof Error
      ? error.message
      : String((error as { tag?: unknown })?.tag ?? error);
    this.#fail(flight, new RealmError("trap", `its response body failed: ${failed}`));
  }

  #pulled(flight: Flight): Promise<void> {
    return new Promise((resolve) => {
      flight.pull = resolve;
      if (flight.cancelled) resolve();
    });
  }

  #trapped(flight: Flight, exit: Exit): void {
    if (exit.kind === "trap") {
      this.#ledger.add("traps", 1);
      this.#notice(
        `${exit.code}: ${exit.message}${
          exit.backtrace.length
            ? `\n${exit.backtrace.slice(0, 16).map((f) => `  at ${f}`).join("\n")}`
            : ""
        }`,
      );
      this.#fail(flight, new RealmError(exit.code, exit.message));
    } else {
      const how = exit.kind === "exit" ? `it exited with ${exit.status}` : "it was stopped";
      this.#fail(flight, new RealmError("failed", `Cannot handle the request: ${how}`));
    }
  }

  #fail(flight: Flight, error: RealmError): void {
    if (flight.streaming) {
      this.#outbox.add({
        type: "response-body",
        id: flight.id,
        bytes: null,
        failed: error.message,
      });
    } else this.#outbox.add({ type: "failed", id: flight.id, error: error.toJSON() });
    this.#flights.delete(flight.id);
  }

  #discard(live: Live): void {
    this.#live.delete(live);
    live.instance.close();
    live.limiter.dispose();
    live.wasi.close();
  }
}

/** The head of a request; its headers are read when the guest asks for them. */
class LazyHead implements RequestHead {
  readonly method: string;
  readonly scheme: string;
  readonly authority: string;
  readonly pathWithQuery: string;
  readonly #packed: string;

  constructor(packed: string) {
    const fields: string[] = [];
    let at = 0;
    for (let i = 0; i < 4; i++) {
      const end = packed.indexOf("\n", at);
      fields.push(packed.slice(at, end));
      at = end + 1;
    }
    [this.method, this.scheme, this.authority, this.pathWithQuery] = fields as [
      string,
      string,
      string,
      string,
    ];
    this.#packed = packed.slice(at);
  }

  get headers(): FieldList {
    return unpackHeaders(this.#packed).map(([name, value]) => [name, bytesOf(value)]);
  }
}

function concat(a: Uint8Array, b: Uint8Array): Uint8Array {
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}

/** Header values travel as strings of which each character is a byte (Fetch: byte sequences). */
function bytesOf(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

function latin1(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}

function hostFault(error: unknown): Exit {
  const known = error instanceof RealmError;
  return {
    kind: "trap",
    code: known ? error.code : "failed",
    message: error instanceof Error ? error.message : String(error),
    backtrace: [],
  };
}

let host: ReplicaHost | undefined;

scope.onmessage = (event) => {
  for (const message of event.data as ToWorker[]) {
    if (message.type === "start") {
      host = new ReplicaHost(message);
      if (message.world === "wasi:cli/command") host.runCommand();
      else host.openHandler();
    } else host?.receive(message);
  }
};
