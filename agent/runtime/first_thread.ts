/**
 * Hosts one replica in the thread that asks for it, in place of a Worker: a program that runs one
 * guest, and needs no permission from then on, saves what it costs to start one.
 *
 * It is the same host (`replica_host.ts`), and speaks the same messages; they are handed over at
 * once, as no other thread has to be woken. What differs is that nothing else happens while the guest
 * runs: see `OnlyThread` of `limiter.ts`. Who uses it gives up every permission first: this thread
 * has to be able to do no more than a Worker without any.
 *
 * @module
 */
import { END } from "./ledger.ts";
import type { OnlyThread } from "./limiter.ts";
import type { FromWorker, ToWorker } from "./protocol.ts";
import { ReplicaHost } from "./replica_host.ts";
import type { GuestWorker } from "./spawn.ts";
import { FRAMES_MAX } from "./trap.ts";

/** See the module. */
export class FirstThread implements GuestWorker {
  onmessage: ((event: MessageEvent) => void) | null = null;
  onerror: ((event: ErrorEvent) => void) | null = null;
  onmessageerror: ((event: MessageEvent) => void) | null = null;
  #host: ReplicaHost | undefined;

  /** `deaf` is told when the guest keeps the thread from hearing of anything, and when that is over. */
  constructor(readonly deaf: OnlyThread["deaf"] = () => {}) {}

  postMessage(message: unknown): void {
    try {
      this.#host?.arrived();
      for (const each of message as ToWorker[]) {
        if (each.type === "start") this.#start(each);
        else this.#host?.receive(each);
      }
    } catch (error) {
      this.#fail(error);
    }
  }

  #start(start: Extract<ToWorker, { type: "start" }>): void {
    Error.stackTraceLimit = FRAMES_MAX;
    const rounds = new Rounds();
    this.#host = new ReplicaHost(
      start,
      (messages: FromWorker[]) => this.onmessage?.({ data: messages } as MessageEvent),
      () => {
        this.#host = undefined;
        rounds.close();
      },
      { turn: () => rounds.next(), deaf: this.deaf },
    );
    this.#host.run().catch((error) => this.#fail(error));
  }

  /** As a Worker's event loop tells of an error that nobody caught: in a turn of its own. */
  #fail(error: unknown): void {
    queueMicrotask(() =>
      this.onerror?.(new ErrorEvent("error", { message: `Uncaught ${error}`, cancelable: true }))
    );
  }

  /** Ends the guest at its next fuel check; a Worker would be left to itself. */
  terminate(): void {
    this.#host?.ledger.end(END.stop);
    this.postMessage([{ type: "end" } satisfies ToWorker]);
  }
}

/**
 * Rounds of the event loop. A timer of 0 ms takes up to 3 ms here, a message 0.04; before microtasks
 * nobody else would have a turn.
 */
class Rounds {
  #channel: MessageChannel | undefined;
  #waiting: (() => void)[] = [];

  /** Resolves in the next one. */
  next(): Promise<void> {
    this.#channel ??= this.#open();
    this.#channel.port2.postMessage(null);
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #open(): MessageChannel {
    const channel = new MessageChannel();
    channel.port1.onmessage = () => this.#waiting.shift()?.();
    return channel;
  }

  close(): void {
    this.#channel?.port1.close();
    this.#channel?.port2.close();
  }
}
