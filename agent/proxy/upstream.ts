/**
 * The replicas of one component as the proxy sees them: who takes the next request, and who waits.
 *
 * A request goes to the replica with the fewest in flight. Each takes at most `maxConcurrency`; up
 * to `queueMax` more requests wait, first come first served, and the rest is turned away. A replica
 * that ended takes no more requests; one that was taken out finishes those it has. Before the first
 * replicas have come, or are known not to come, requests wait for them: whoever asks right after
 * an apply, or after the agent was started, is answered. What no replica here has room for goes to
 * another node that has replicas, if there is one. Nodes learn of one another's replicas a moment
 * late, and of a node that died seconds late: so a request that nobody takes is offered again, where
 * others are to run the component and somebody took a request lately.
 *
 * @module
 */
import type { HandlerRequest, HandlerResponse, Replica } from "../kernel/ports.ts";

/** What an {@link Upstream} is made with. */
export interface UpstreamOptions {
  /** Name of the component, for bodies of failures and for metrics. */
  readonly component: string;
  /** Requests in flight per replica. */
  readonly maxConcurrency: number;
  /** Time from the request to the head of its response, waiting for a replica included. */
  readonly requestTimeoutMs: number;
  /** Requests that may wait for a replica; 128 unless given. */
  readonly queueMax?: number;
  /** Its replicas on other nodes; none unless given. */
  readonly elsewhere?: Elsewhere;
}

/**
 * For so long after the last request that was taken, or since there is an upstream, requests that
 * nobody takes wait: each for no longer than that in all, nor than half of its time-out.
 */
const PATIENCE_MS = 10_000;
/** A request that nobody took is offered again after so long. */
const OFFER_MS = 50;

/** The replicas of one component on other nodes. */
export interface Elsewhere {
  /** Whether a node has some, and takes one more request. */
  isAvailable(): boolean;
  /** Whether one is to run it, though maybe none says yet, or any more, that it does. */
  isExpected(): boolean;
  /** As a {@link Replica} does; throws `RefusedElsewhere` when no node took the request. */
  handle(request: HandlerRequest): Promise<HandlerResponse>;
}

/** No other node has taken a request: nothing of its body was read. */
export class RefusedElsewhere extends Error {
  constructor(readonly outcome: Refusal) {
    super(`No other node took the request: ${outcome}`);
  }
}

/** Where a request may go: not on to another node when it came from one. */
export type Reach = "anywhere" | "here";

/** A place in a replica, held from {@link Upstream.acquire} to {@link Upstream.release}. */
export interface Slot {
  readonly replica: Pick<Replica, "handle">;
  inFlight: number;
  /** The place here that it came to when no other node had one. */
  here?: Slot;
}

interface LocalSlot extends Slot {
  readonly replica: Replica;
}

/** Why there is no place. */
export type Refusal = "no-replica" | "overloaded";

/** Someone who waits for a {@link Slot}. Settled once. */
interface Waiter {
  readonly reach: Reach;
  readonly settle: (slot: Slot | Refusal) => void;
}

/** One component's replicas, their load and the queue before them. */
export class Upstream {
  readonly component: string;
  readonly requestTimeoutMs: number;
  readonly maxConcurrency: number;
  /** For the proxy: whether the last answer took long, or there was none yet. */
  isSlow = true;
  readonly #queueMax: number;
  readonly #elsewhere: Elsewhere | undefined;
  readonly #patienceMs: number;
  /** When there was last a replica for a request, by `performance.now()`. */
  #takenAtMs = performance.now();
  /** Requests that a node refused, until another has answered or they wait for a place here. */
  #offered = 0;
  #slots: LocalSlot[] = [];
  /** In order of arrival. */
  readonly #queue = new Set<Waiter>();
  /** Slots that were taken out and are not empty yet. */
  readonly #leaving = new Set<LocalSlot>();
  readonly #drained = new Map<Slot, (() => void)[]>();
  #turn = 0;
  /** Whether there are no replicas, and some are to come. */
  #expectsFirst = true;

  /** Without replicas it expects the first ones; an empty list says that there are none. */
  constructor(options: UpstreamOptions, replicas?: readonly Replica[]) {
    this.component = options.component;
    this.requestTimeoutMs = options.requestTimeoutMs;
    this.maxConcurrency = options.maxConcurrency;
    this.#queueMax = options.queueMax ?? 128;
    this.#elsewhere = options.elsewhere;
    this.#patienceMs = Math.min(PATIENCE_MS, options.requestTimeoutMs / 2);
    if (replicas !== undefined) this.setReplicas(replicas);
  }

  /** Whether there are no replicas, and some are to come. */
  get expectsFirst(): boolean {
    return this.#expectsFirst;
  }

  /** Whether there are replicas that take requests, here or elsewhere. */
  get isServed(): boolean {
    return this.#slots.length > 0 || this.#elsewhere?.isAvailable() === true;
  }

  /** The replicas here that take requests. */
  get replicas(): readonly Replica[] {
    return this.#slots.map((slot) => slot.replica);
  }

  /** Requests in flight in all replicas, and those that wait. */
  get load(): { readonly inFlight: number; readonly waiting: number } {
    const inFlight = [...this.#slots, ...this.#leaving]
      .reduce((sum, slot) => sum + slot.inFlight, 0);
    return { inFlight, waiting: this.#queue.size + this.#offered };
  }

  /**
   * From now on these replicas take the requests, those that were there before keep their load.
   *
   * Where there are none, requests wait if some are `awaited`, and are refused otherwise. Resolves
   * when all that are no longer there, since this call or longer, have finished theirs.
   */
  async setReplicas(replicas: readonly Replica[], awaited = false): Promise<void> {
    const before = [...this.#slots, ...this.#leaving];
    if (this.#slots.length > 0) this.#takenAtMs = performance.now();
    this.#expectsFirst = awaited && replicas.length === 0;
    this.#slots = replicas.map((replica) =>
      before.find((slot) => slot.replica === replica) ?? this.#add(replica)
    );
    const gone = before.filter((slot) => !this.#slots.includes(slot) && slot.inFlight > 0);
    this.#leaving.clear();
    for (const slot of gone) this.#leaving.add(slot);
    this.#serveQueue();
    await Promise.all(
      gone.map((slot) =>
        new Promise<void>((resolve) => {
          this.#drained.set(slot, [...this.#drained.get(slot) ?? [], resolve]);
        })
      ),
    );
  }

  #add(replica: Replica): LocalSlot {
    const slot: LocalSlot = { replica, inFlight: 0 };
    replica.exited.then(() => {
      if (this.#slots.includes(slot)) this.#takenAtMs = performance.now();
      this.#slots = this.#slots.filter((s) => s !== slot);
      this.#serveQueue();
    });
    return slot;
  }

  /**
   * A place in the least loaded replica, at once where there is one, else on another node, else when
   * it is this request's turn. Whoever gets a slot releases it. A wait ends with `overloaded` when the signal is aborted.
   */
  acquire(
    signal: AbortSignal,
    reach: Reach = "anywhere",
  ): Slot | Refusal | Promise<Slot | Refusal> {
    const slot = this.#place(reach);
    if (slot) return slot;
    if (this.#slots.length === 0 && !this.#expectsFirst) return this.#without(reach);
    if (this.#queue.size >= this.#queueMax || signal.aborted) return "overloaded";
    return new Promise((resolve) => {
      const leave = () => waiter.settle("overloaded");
      const waiter: Waiter = {
        reach,
        settle: (outcome) => {
          this.#queue.delete(waiter);
          signal.removeEventListener("abort", leave);
          resolve(outcome);
        },
      };
      signal.addEventListener("abort", leave, { once: true });
      this.#queue.add(waiter);
    });
  }

  /** Gives a slot back, once. */
  release(slot: Slot): void {
    if (slot.here) this.release(slot.here);
    slot.inFlight--;
    if (slot.inFlight === 0) {
      this.#leaving.delete(slot as LocalSlot);
      this.#drained.get(slot)?.forEach((resolve) => resolve());
      this.#drained.delete(slot);
    }
    if (this.#queue.size > 0) this.#serveQueue();
  }

  /** A place that is there now, which is taken. */
  #place(reach: Reach): Slot | undefined {
    const slot = this.#leastLoaded();
    if (slot) {
      slot.inFlight++;
      return slot;
    }
    const elsewhere = reach === "anywhere" ? this.#elsewhere : undefined;
    return elsewhere?.isAvailable() ? this.#away(elsewhere) : undefined;
  }

  /**
   * Whether there was a replica so lately that there may soon be one on another node, for a request
   * that is offered `sinceMs`.
   */
  #isPatient(sinceMs = Infinity): boolean {
    return this.#elsewhere?.isExpected() === true &&
      performance.now() - Math.min(this.#takenAtMs, sinceMs) < this.#patienceMs;
  }

  /** What comes of a request for which no replica is known. */
  #without(reach: Reach): Slot | Refusal {
    return reach === "anywhere" && this.#isPatient() ? this.#away(this.#elsewhere!) : "no-replica";
  }

  /** A place on another node; where none takes the request after all it waits for one here. */
  #away(elsewhere: Elsewhere): Slot {
    const sinceMs = performance.now();
    const handle = async (request: HandlerRequest) => {
      let isOffered = false;
      const offer = (isNow: boolean) => {
        if (isNow !== isOffered) this.#offered += isNow ? 1 : -1;
        isOffered = isNow;
      };
      try {
        for (;;) {
          try {
            const response = await elsewhere.handle(request);
            this.#takenAtMs = performance.now();
            return response;
          } catch (error) {
            if (!(error instanceof RefusedElsewhere)) throw error;
            const acquired = this.acquire(request.signal, "here");
            // From here on it is counted with those that have a place, or are in the queue.
            if (typeof acquired !== "string") offer(false);
            const got = await acquired;
            if (typeof got !== "string") {
              slot.here = got;
              return await got.replica.handle(request);
            }
            if (got === "overloaded") throw new RefusedElsewhere(got);
            if (error.outcome === "overloaded" || !this.#isPatient(sinceMs)) throw error;
            if (!isOffered && this.#offered >= this.#queueMax) {
              throw new RefusedElsewhere("overloaded");
            }
            offer(true);
          }
          await pause(OFFER_MS, request.signal);
        }
      } finally {
        offer(false);
      }
    };
    const slot: Slot = { replica: { handle }, inFlight: 1 };
    return slot;
  }

  /** The replica with the fewest requests and room for one more; of equals, each in turn. */
  #leastLoaded(): LocalSlot | undefined {
    const slots = this.#slots;
    let best: LocalSlot | undefined;
    for (let i = 0; i < slots.length; i++) {
      const slot = slots[(this.#turn + i) % slots.length]!;
      if (slot.inFlight < (best?.inFlight ?? this.maxConcurrency)) best = slot;
    }
    this.#turn = (this.#turn + 1) % Math.max(1, slots.length);
    return best;
  }

  #serveQueue(): void {
    for (const waiter of this.#queue) {
      const slot = this.#place(waiter.reach);
      if (!slot && (this.#slots.length > 0 || this.#expectsFirst)) return;
      waiter.settle(slot ?? this.#without(waiter.reach));
    }
  }
}

/** Waits, or less when the signal is aborted. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    if (signal.aborted) done();
    else signal.addEventListener("abort", done);
  });
}
