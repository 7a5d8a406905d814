/**
 * How much one topic may take on one machine. Whoever takes part may write as much as it likes, and
 * everybody else stores it: so a topic that is full takes no more events of the app, and of one person,
 * who is not the creator, none beyond its share. What its behaviors write counts to that.
 *
 * Every event is on the disk, its place in the graph in memory, and where the app runs the event too. So
 * one bound is for all three. Beyond it there is room for who joins and leaves, beyond that for what
 * creator and admins say of the topic, such as who takes part no more, with what these events rest on;
 * the last of it is the creator's. What a revocation takes away, and nothing rests on, is not counted;
 * so that this has an end, a topic may have as much again of it.
 *
 * This decides what is stored, and never a verdict. A machine that is full has fewer events than others,
 * and says so; it is no one's fault.
 *
 * @module
 */
import { bytesOf, textOf } from "../../kernel/byte_string.ts";
import { formatPublicKey } from "../../kernel/key.ts";
import type { TopicEvent } from "../../kernel/topic.ts";
import { isKernelType } from "./app_event.ts";

/** What a topic may have here. */
export interface TopicQuota {
  readonly events: number;
  /** Of all events as they were signed. */
  readonly bytes: number;
}

/** What it may have unless told otherwise: memory of half a gigabyte, and of three times that where it was flooded. */
export const TOPIC_QUOTA: TopicQuota = { events: 250_000, bytes: 256 * 1024 * 1024 };

/** For who was given what somebody else has counted. */
export const NO_QUOTA: TopicQuota = { events: Infinity, bytes: Infinity };

/** What one person may have of the quota. */
const SHARE = 1 / 2;

/**
 * Of the quota: up to where there is room for what. A revocation may rest on as much as its author has,
 * of which nothing needs to be here: others may have been told something else.
 */
const ROOM = { app: 1, joining: 1.1, admin: 1.9, creator: 2 } as const;
const JOINING: readonly string[] = ["realm/join", "realm/behavior", "realm/leave"];

/** Who wrote what, as far as it matters for whether there is room. */
export interface Written {
  readonly author: Uint8Array;
  readonly type: string;
  /** For whom its author begins to act by it. */
  readonly person?: Uint8Array | undefined;
}

/** Events, and their bytes. */
class Amount {
  constructor(public events = 0, public bytes = 0) {}

  add(bytes: number): void {
    this.events++;
    this.bytes += bytes;
  }
}

/** What one topic has. */
export class TopicUsage {
  /** What is there, and what of it counts; by person in the form of `textOf()`. */
  readonly #all = new Amount();
  #counted = new Amount();
  #of = new Map<string, Amount>();
  readonly #sizes = new Map<TopicEvent, number>();
  readonly #isBounded: boolean;

  /** `personOf`: for whom an author acts; who acts for nobody is its own person. */
  constructor(
    readonly quota: TopicQuota = TOPIC_QUOTA,
    readonly personOf: (author: Uint8Array) => Uint8Array = (author) => author,
  ) {
    this.#isBounded = quota.events !== Infinity || quota.bytes !== Infinity;
  }

  /** Counts an event that is here now. */
  add(event: TopicEvent, bytes: number): void {
    if (!this.#isBounded) return;
    this.#sizes.set(event, bytes);
    this.#all.add(bytes);
    this.#count(event, bytes);
  }

  /** Other events are kept than before: what is not does not count any more. */
  recount(isKept: (event: TopicEvent) => boolean): void {
    this.#counted = new Amount();
    this.#of = new Map();
    for (const [event, bytes] of this.#sizes) if (isKept(event)) this.#count(event, bytes);
  }

  #count({ author }: TopicEvent, bytes: number): void {
    const key = textOf(this.personOf(author));
    const own = this.#of.get(key);
    this.#counted.add(bytes);
    if (own === undefined) this.#of.set(key, new Amount(1, bytes));
    else own.add(bytes);
  }

  /** What may come beside what is here, for an event and what it rests on. */
  roomFor(
    { type }: Written,
    isCreator: boolean,
  ): { readonly events: number; readonly bytes: number } {
    const { events, bytes } = this.quota;
    const part = ROOM[levelOf(type, isCreator)];
    return {
      events: Math.min(
        events * part - this.#counted.events,
        events * (1 + part) - this.#all.events,
      ),
      bytes: Math.min(bytes * part - this.#counted.bytes, bytes * (1 + part) - this.#all.bytes),
    };
  }

  /**
   * Why an event may not be taken by itself; undefined where it may. `isSpared`: it is not counted
   * against the share of its person.
   */
  problemFor(written: Written, isCreator: boolean, isSpared = false): string | undefined {
    if (!this.#isBounded) return undefined;
    const room = this.roomFor(written, isCreator);
    const { events, bytes } = this.quota;
    if (room.events <= 0) {
      return `it has ${this.#counted.events} events, and may have ${events} on this machine`;
    }
    if (room.bytes <= 0) {
      return `its events have ${this.#counted.bytes} bytes, and may have ${bytes} on this machine`;
    }
    const isShared = !isSpared && !isCreator && levelOf(written.type, isCreator) !== "admin";
    const { author, person = this.personOf(author) } = written;
    return isShared ? this.#shareProblem(person) : undefined;
  }

  /** Why no more events of the app are taken, of all, or of some who have written them. */
  problems(isCreator: (author: Uint8Array) => boolean): string[] {
    if (!this.#isBounded) return [];
    const of = (author: Uint8Array) => this.problemFor({ author, type: "" }, isCreator(author));
    const problem = this.problemFor({ author: new Uint8Array(), type: "" }, true);
    if (problem !== undefined) return [problem];
    return [...this.#of.keys()].map((key) => of(bytesOf(key))).filter((each) => each !== undefined);
  }

  #shareProblem(person: Uint8Array): string | undefined {
    const { events = 0, bytes = 0 } = this.#of.get(textOf(person)) ?? {};
    const share = { events: this.quota.events * SHARE, bytes: this.quota.bytes * SHARE };
    if (events < share.events && bytes < share.bytes) return undefined;
    return `${
      formatPublicKey(person)
    } has ${events} events of ${bytes} bytes in it, and may have ` +
      `${share.events} of ${share.bytes} on this machine`;
  }
}

function levelOf(type: string, isCreator: boolean): keyof typeof ROOM {
  if (!isKernelType(type)) return "app";
  if (isCreator) return "creator";
  return JOINING.includes(type) ? "joining" : "admin";
}
