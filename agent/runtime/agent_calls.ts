/**
 * Calls from a Worker to the services of its agent: one question, one answer, and beside it a pipe
 * of bytes each way for as long as both want.
 *
 * This is the Worker's side; `service_calls.ts` is the agent's. Chunks keep their borders. Both
 * directions flow against credit: neither side holds more than {@link PIPE_BYTES_MAX} of the
 * other's bytes. Nothing here blocks: whoever waits is woken by {@link AgentCall.wait}.
 *
 * @module
 */
import {
  CHUNK_OVERHEAD_BYTES,
  costOf,
  type FromWorker,
  PIPE_BYTES_MAX,
  type ServiceMessage,
} from "./protocol.ts";

/** The agent's refusal of a call, or the end of a pipe; `reason` is in the words of the service. */
export class CallFailed extends Error {
  constructor(readonly reason: unknown) {
    super(`The agent answered: ${typeof reason === "string" ? reason : JSON.stringify(reason)}`);
  }
}

/** One call. Whoever opened it drops it, answered or not. */
export class AgentCall {
  /** The answer; `undefined` until it came. */
  #answer: { readonly value: unknown } | { readonly error: CallFailed } | undefined;
  readonly #received: Uint8Array[] = [];
  #receivedEnd = false;
  #failure: CallFailed | undefined;
  /** Bytes that were read and not yet told to the agent. */
  #unreported = 0;
  #credit = PIPE_BYTES_MAX;
  #sentEnd = false;
  #sentStop = false;
  #refused = false;
  #dropped = false;
  readonly #waiting = new Set<() => void>();

  constructor(
    readonly id: number,
    readonly send: (message: FromWorker) => void,
    readonly forget: () => void,
    /** Told how many bytes more it keeps for the guest, or fewer. */
    readonly hold: (bytes: number) => void = () => {},
  ) {}

  /** Whether the agent has answered. */
  get answered(): boolean {
    return this.#answer !== undefined;
  }

  /** The answer, which must have come. Throws {@link CallFailed}. */
  answer(): unknown {
    if (this.#answer === undefined) throw new Error("The agent has not answered yet");
    if ("error" in this.#answer) throw this.#answer.error;
    return this.#answer.value;
  }

  /** Resolves with the answer; rejects with {@link CallFailed}. */
  async answering(): Promise<unknown> {
    while (!this.answered) await new Promise<void>((resolve) => this.wait(resolve));
    return this.answer();
  }

  /** Whether {@link take} would give something, be it the end. */
  get readable(): boolean {
    return this.#received.length > 0 || this.#receivedEnd || this.#failure !== undefined;
  }

  /**
   * The next chunk, or its first `lengthMax` bytes; `null` at the end, `undefined` when none has
   * come. Throws {@link CallFailed}.
   */
  take(lengthMax = Infinity): Uint8Array | null | undefined {
    const chunk = this.#received[0];
    if (chunk === undefined) {
      if (this.#failure) throw this.#failure;
      return this.#receivedEnd ? null : undefined;
    }
    const isAll = chunk.length <= lengthMax;
    if (isAll) this.#received.shift();
    else this.#received[0] = chunk.subarray(lengthMax);
    this.hold(-(isAll ? costOf(chunk) : lengthMax));
    this.#unreported += isAll ? costOf(chunk) : lengthMax;
    if (this.#unreported >= PIPE_BYTES_MAX / 2) {
      this.#send({ type: "pipe-credit", id: this.id, bytes: this.#unreported });
      this.#unreported = 0;
    }
    return isAll ? chunk : chunk.subarray(0, lengthMax);
  }

  /** The longest chunk that the agent takes now. */
  get credit(): number {
    return Math.max(0, this.#credit - CHUNK_OVERHEAD_BYTES);
  }

  /** Whether everything that was sent was taken by the service. */
  get flushed(): boolean {
    return this.#credit === PIPE_BYTES_MAX || this.closed;
  }

  /** Whether the agent takes no more bytes at all. */
  get closed(): boolean {
    return this.#sentEnd || this.#refused || this.#failure !== undefined || this.#dropped;
  }

  /** Why the pipe broke, where it did. */
  get failure(): CallFailed | undefined {
    return this.#failure;
  }

  /** Sends a chunk for which there is credit; the bytes are given away. */
  write(chunk: Uint8Array): void {
    if (this.closed || chunk.length === 0) return;
    this.#credit -= costOf(chunk);
    this.#send({ type: "pipe-chunk", id: this.id, bytes: chunk });
  }

  /** Says that nothing more will be written; the other direction goes on. */
  end(): void {
    if (this.closed) return;
    this.#sentEnd = true;
    this.#send({ type: "pipe-chunk", id: this.id, bytes: null });
  }

  /** Says that nothing more will be read; what has come is thrown away. */
  stopReading(): void {
    if (this.#sentStop) return;
    this.#sentStop = true;
    this.#throwAway();
    this.#receivedEnd = true;
    this.#send({ type: "pipe-stop", id: this.id });
    this.#wake();
  }

  /** Nobody needs the answer or the pipe any more: what was written still goes out. */
  drop(): void {
    if (this.#dropped) return;
    this.#dropped = true;
    this.#throwAway();
    this.forget();
    this.send({ type: "drop", id: this.id });
    this.#wake();
  }

  /** Calls `wake` once when anything of the above may have changed; the answer takes it back. */
  wait(wake: () => void): () => void {
    this.#waiting.add(wake);
    return () => this.#waiting.delete(wake);
  }

  /** What the agent says about this call. */
  receive(message: ServiceMessage): void {
    switch (message.type) {
      case "answer":
        this.#answer = message.error === undefined
          ? { value: message.value }
          : { error: new CallFailed(message.error) };
        break;
      case "pipe-chunk":
        if (message.failed !== undefined) this.#failure = new CallFailed(message.failed);
        else if (this.#sentStop) break;
        else if (message.bytes === null) this.#receivedEnd = true;
        else {
          this.#received.push(message.bytes);
          this.hold(costOf(message.bytes));
        }
        break;
      case "pipe-credit":
        this.#credit += message.bytes;
        break;
      case "pipe-stop":
        this.#refused = true;
        break;
    }
    this.#wake();
  }

  #throwAway(): void {
    for (const chunk of this.#received.splice(0)) this.hold(-costOf(chunk));
  }

  #send(message: FromWorker): void {
    if (!this.#dropped) this.send(message);
  }

  #wake(): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const wake of waiting) wake();
  }
}

/** The calls of one replica that are open. */
export class AgentCalls {
  readonly #calls = new Map<number, AgentCall>();
  #nextId = 0;

  constructor(readonly send: (message: FromWorker) => void) {}

  /** How many have not been dropped. */
  get open(): number {
    return this.#calls.size;
  }

  /** Asks a service of the agent; `request` can be cloned; `hold` is told what it keeps. */
  call(service: string, request: unknown, hold?: (bytes: number) => void): AgentCall {
    const id = this.#nextId++;
    const call = new AgentCall(id, this.send, () => this.#calls.delete(id), hold);
    this.#calls.set(id, call);
    this.send({ type: "call", id, service, request });
    return call;
  }

  /** What the agent says; about a call that was dropped it may still say something. */
  receive(message: ServiceMessage): void {
    this.#calls.get(message.id)?.receive(message);
  }
}
