/**
 * Calls from a Worker to the services of its agent: the agent's side of `agent_calls.ts`.
 *
 * What comes is checked as if the other side were hostile: a pipe that sends more than it has
 * credit for breaks, calls beyond {@link CALLS_MAX} are refused, an unknown service is too.
 *
 * @module
 */
import type { Pipe, Service } from "../kernel/ports.ts";
import { type CallMessage, costOf, PIPE_BYTES_MAX, type ServiceMessage } from "./protocol.ts";

/** Calls of one replica that are open at once, each with its pipe. */
export const CALLS_MAX = 2048;

/** What a service may throw to give the guest's host a reason in its own words. */
function reasonOf(error: unknown): unknown {
  if (error instanceof Error) {
    const { reason } = error as { reason?: unknown };
    return reason ?? { message: error.message };
  }
  return error ?? "failed";
}

/** See {@link Pipe}. */
class CallPipe implements Pipe {
  readonly #abort = new AbortController();
  readonly signal = this.#abort.signal;
  readonly #received: Uint8Array[] = [];
  #receivedBytes = 0;
  #receivedEnd = false;
  #reading: PromiseWithResolvers<Uint8Array | null> | undefined;
  #credit = PIPE_BYTES_MAX;
  #writable: PromiseWithResolvers<void> | undefined;
  #unreported = 0;
  /** Nothing more is written: by us, or because nobody reads it. */
  #ended = false;
  #over = false;

  constructor(readonly id: number, readonly send: (message: ServiceMessage) => void) {}

  read(): Promise<Uint8Array | null> {
    this.#report();
    const chunk = this.#received.shift();
    if (chunk !== undefined) {
      this.#receivedBytes -= costOf(chunk);
      this.#unreported += costOf(chunk);
      return Promise.resolve(chunk);
    }
    if (this.#receivedEnd) return Promise.resolve(null);
    return (this.#reading ??= Promise.withResolvers()).promise;
  }

  /** What {@link read} gave was used by now: the other side may send as much again. */
  #report(): void {
    if (this.#unreported === 0) return;
    this.#say({ type: "pipe-credit", id: this.id, bytes: this.#unreported });
    this.#unreported = 0;
  }

  async write(chunk: Uint8Array): Promise<boolean> {
    for (let at = 0; at < chunk.length;) {
      while (this.#credit <= 0 && !this.#ended) {
        await (this.#writable ??= Promise.withResolvers()).promise;
      }
      if (this.#ended) return false;
      // A chunk that fits goes as it is: its borders may mean something.
      const bytes = chunk.length - at <= PIPE_BYTES_MAX
        ? (at === 0 ? chunk : chunk.slice(at))
        : chunk.slice(at, at + PIPE_BYTES_MAX);
      at += bytes.length;
      this.#credit -= costOf(bytes);
      this.#say({ type: "pipe-chunk", id: this.id, bytes });
    }
    return !this.#ended;
  }

  end(): void {
    if (this.#ended) return;
    this.#say({ type: "pipe-chunk", id: this.id, bytes: null });
    this.#stopWriting();
  }

  fail(reason: unknown): void {
    this.#say({ type: "pipe-chunk", id: this.id, bytes: null, failed: reason });
    this.#stopWriting();
    this.#endReading();
  }

  stopReading(): void {
    if (this.#receivedEnd) return;
    this.#say({ type: "pipe-stop", id: this.id });
    this.#received.length = 0;
    this.#endReading();
  }

  #stopWriting(): void {
    this.#ended = true;
    this.#writable?.resolve();
    this.#writable = undefined;
  }

  #endReading(): void {
    this.#receivedEnd = true;
    this.#reading?.resolve(null);
    this.#reading = undefined;
  }

  #say(message: ServiceMessage): void {
    if (!this.#over) this.send(message);
  }

  /** From the other side. Answers false when it broke the rules. */
  receive(message: CallMessage): boolean {
    switch (message.type) {
      case "pipe-chunk": {
        const { bytes } = message;
        if (this.#receivedEnd) return true;
        if (bytes === null) {
          this.#endReading();
          return true;
        }
        if (!(bytes instanceof Uint8Array)) return false;
        if (this.#reading && this.#received.length === 0) {
          this.#unreported += costOf(bytes);
          this.#reading.resolve(bytes);
          this.#reading = undefined;
        } else {
          this.#received.push(bytes);
          this.#receivedBytes += costOf(bytes);
        }
        return this.#receivedBytes + this.#unreported <= PIPE_BYTES_MAX;
      }
      case "pipe-credit":
        if (!Number.isSafeInteger(message.bytes) || message.bytes < 0) return false;
        this.#credit = Math.min(PIPE_BYTES_MAX, this.#credit + message.bytes);
        if (this.#credit > 0) {
          this.#writable?.resolve();
          this.#writable = undefined;
        }
        return true;
      case "pipe-stop":
        this.#stopWriting();
        return true;
      default:
        return true;
    }
  }

  /** The other side is gone: what it had written is still read, nothing is heard any more. */
  drop(): void {
    this.#over = true;
    this.#stopWriting();
    this.#endReading();
    this.#abort.abort(new Error("the guest dropped it"));
  }
}

/** The calls that one replica has open. */
export class ServiceCalls {
  readonly #pipes = new Map<number, CallPipe>();
  #closed = false;

  constructor(
    readonly services: Readonly<Record<string, Service>>,
    readonly send: (message: ServiceMessage) => void,
  ) {}

  /** How many are open. */
  get open(): number {
    return this.#pipes.size;
  }

  receive(message: CallMessage): void {
    if (this.#closed) return;
    const { id } = message;
    if (message.type === "call") return this.#call(id, message.service, message.request);
    const pipe = this.#pipes.get(id);
    if (!pipe) return;
    if (message.type === "drop") this.#drop(id, pipe);
    else if (!pipe.receive(message)) {
      pipe.fail("protocol");
      this.#drop(id, pipe);
    }
  }

  #call(id: number, name: string, request: unknown): void {
    const service = Object.hasOwn(this.services, name) ? this.services[name] : undefined;
    if (!service || this.#pipes.size >= CALLS_MAX || this.#pipes.has(id)) {
      const error = service ? "limit-exceeded" : "no-service";
      return this.send({ type: "answer", id, error });
    }
    const pipe = new CallPipe(id, this.send);
    this.#pipes.set(id, pipe);
    const answer = (message: ServiceMessage) => {
      if (this.#pipes.get(id) === pipe) this.send(message);
    };
    // A service that throws at once rejects, too.
    (async () => await service.call(request, pipe))().then(
      (value) => answer({ type: "answer", id, value }),
      (error) => answer({ type: "answer", id, error: reasonOf(error) }),
    );
  }

  #drop(id: number, pipe: CallPipe): void {
    this.#pipes.delete(id);
    pipe.drop();
  }

  /** The guest has ended: drops every call, and resolves when the services let go of theirs. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const [id, pipe] of this.#pipes) this.#drop(id, pipe);
    await Promise.allSettled(Object.values(this.services).map((service) => service.close()));
  }
}
