/**
 * The table of what a guest holds by number: resources, ends of streams and futures, calls under
 * way, sets of them; and what can be waited for among these.
 *
 * Each kind is counted with the instance, which traps past its bound.
 *
 * @module
 */
import type { WasiInstance } from "../wasi/context.ts";

/** Event codes of the canonical ABI. */
export const EVENT = {
  none: 0,
  subtask: 1,
  streamRead: 2,
  streamWrite: 3,
  futureRead: 4,
  futureWrite: 5,
} as const;

/** A code and its two payloads. */
export type Event = readonly [code: number, first: number, second: number];

/** A resource of the host's that the guest holds. */
export class ResourceHandle {
  /** Calls under way that it is lent to. */
  lends = 0;
  constructor(readonly resource: number, readonly value: unknown) {}
}

/** Something of which the guest learns by an event. */
export abstract class Waitable {
  /** Its own number. */
  index = 0;
  set: WaitableSet | undefined;
  #event: (() => Event) | undefined;

  get hasEvent(): boolean {
    return this.#event !== undefined;
  }

  /** Whether something outside of the guest will make an event. */
  abstract get awaitsHost(): boolean;

  /** `event` is asked for when it is delivered; replaces one that was not. */
  setEvent(event: () => Event): void {
    this.#event = event;
    this.set?.ready(this);
  }

  takeEvent(): Event {
    const event = this.#event!;
    this.#event = undefined;
    this.set?.taken(this);
    return event();
  }

  join(set: WaitableSet | undefined): void {
    this.set?.leave(this);
    this.set = set;
    set?.add(this);
    if (this.#event) set?.ready(this);
  }
}

/** A set of waitables; the guest waits for one of them at a time. */
export class WaitableSet {
  readonly #members = new Set<Waitable>();
  readonly #ready = new Set<Waitable>();
  /** Called once when there is an event. */
  wake: (() => void) | undefined;

  get size(): number {
    return this.#members.size;
  }

  /** Whether an event may come though the guest does nothing. */
  get awaitsHost(): boolean {
    if (this.#ready.size > 0) return true;
    for (const member of this.#members) if (member.awaitsHost) return true;
    return false;
  }

  add(member: Waitable): void {
    this.#members.add(member);
  }

  leave(member: Waitable): void {
    this.#members.delete(member);
    this.#ready.delete(member);
  }

  ready(member: Waitable): void {
    this.#ready.add(member);
    const { wake } = this;
    this.wake = undefined;
    wake?.();
  }

  taken(member: Waitable): void {
    this.#ready.delete(member);
  }

  /** The event that came first, if there is one. */
  poll(): Event | undefined {
    for (const member of this.#ready) return member.takeEvent();
  }
}

/** What a guest may have a number for. */
export type Held = ResourceHandle | Waitable | WaitableSet;

/** See the module. */
export class Handles {
  readonly #held: (Held | undefined)[] = [undefined];
  readonly #free: number[] = [];

  constructor(readonly host: WasiInstance) {}

  add(held: Held): number {
    const index = this.#free.pop() ?? this.#held.length;
    this.#held[index] = held;
    if (held instanceof Waitable) held.index = index;
    return index;
  }

  /** Throws where there is none of that kind. */
  get<T extends Held>(type: abstract new (...args: any[]) => T, index: number): T {
    const held = this.#held[index];
    if (held instanceof type) return held;
    throw new Error(`unknown handle index ${index}`);
  }

  remove(index: number): void {
    const held = this.#held[index];
    if (held instanceof Waitable) held.join(undefined);
    this.#held[index] = undefined;
    this.#free.push(index);
  }
}
