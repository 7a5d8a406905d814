/**
 * A log in memory as sessions see it: takes every event that is not damaged and has its parents.
 *
 * @module
 */
import type { CID } from "../canonical.ts";
import { bytesEqual } from "../key.ts";
import { textOf } from "../byte_string.ts";
import {
  encodeEvent,
  encodeSigned,
  type Event,
  genesisEvent,
  nextEvent,
  type SignedEvent,
} from "../event.ts";
import { cidOf } from "../canonical.ts";
import type { SyncAccepted, SyncItem, SyncSource } from "./session.ts";
import { SyncSession } from "./session.ts";

/** An event in its topic. */
export interface FakeEvent extends SyncItem {
  readonly signed: SignedEvent;
  readonly parents: readonly string[];
}

/** The key of an id. */
export function keyOf(id: CID): string {
  return textOf(id.multihash.digest);
}

/** In place of a signature, the id twice: an event that was damaged does not match. */
function signatureOf(id: CID): Uint8Array {
  return Uint8Array.of(...id.multihash.digest, ...id.multihash.digest);
}

function fake(event: Event): FakeEvent {
  const bytes = encodeEvent(event), id = cidOf(bytes);
  const signed = { id, event, bytes, signature: signatureOf(id) };
  return { key: keyOf(id), lamport: event.lamport, signed, parents: event.parents.map(keyOf) };
}

const AUTHOR = new Uint8Array(32).fill(7);

/** The genesis of topic `n`. */
export function fakeGenesis(n = 0): FakeEvent {
  return fake(genesisEvent(AUTHOR, { type: "test/genesis", payload: n }));
}

/** An event after `parents`, whose payload makes it what it is. */
export function fakeEvent(parents: readonly FakeEvent[], payload: string | Uint8Array): FakeEvent {
  const signed = parents.map((parent) => parent.signed);
  return fake(nextEvent(AUTHOR, signed, undefined, { type: "test/event", payload }));
}

/** See the module. */
export class FakeLog implements SyncSource {
  readonly events = new Map<string, FakeEvent>();
  readonly #heads = new Set<string>();
  /** Keys of events that are refused, without that being anyone's fault. */
  readonly unwanted = new Set<string>();

  constructor(events: Iterable<FakeEvent> = []) {
    for (const event of events) this.add(event);
  }

  get count(): number {
    return this.events.size;
  }

  add(event: FakeEvent): void {
    if (this.events.has(event.key)) return;
    this.events.set(event.key, event);
    for (const parent of event.parents) this.#heads.delete(parent);
    this.#heads.add(event.key);
  }

  heads(): readonly string[] {
    return [...this.#heads];
  }

  items(): Iterable<SyncItem> {
    return this.events.values();
  }

  load(key: string): Uint8Array | undefined {
    const event = this.events.get(key);
    return event === undefined ? undefined : encodeSigned(event.signed);
  }

  accept(events: readonly SignedEvent[]): SyncAccepted {
    let refused = 0;
    for (const signed of events) {
      const event = fake(signed.event);
      if (!bytesEqual(signed.signature, event.signed.signature)) {
        return { refused, problem: `${signed.id} is forged` };
      }
      const isWhole = event.parents.every((parent) => this.events.has(parent));
      if (isWhole && !this.unwanted.has(event.key)) this.add(event);
      else refused++;
    }
    return { refused };
  }
}

/** What two sides said until neither had anything more to say. */
export interface Conversation {
  readonly initiator: SyncSession;
  readonly responder: SyncSession;
  /** Every message, by who said it. */
  readonly said: readonly { readonly by: "initiator" | "responder"; readonly bytes: Uint8Array }[];
}

/** Runs a session between two sources. `between` may change what is said: each is what arrives. */
export function converse(
  sources: readonly [initiator: SyncSource, responder: SyncSource],
  options: {
    readonly seed?: number;
    readonly between?: (
      bytes: Uint8Array,
      by: "initiator" | "responder",
      index: number,
    ) => readonly Uint8Array[];
  } = {},
): Conversation {
  const { seed = 0, between = (bytes) => [bytes] } = options;
  const secret = (side: number) => new Uint8Array(16).fill(seed).fill(side, 0, 1);
  const initiator = new SyncSession({
    role: "initiator",
    source: sources[0],
    secret: secret(1),
  });
  const responder = new SyncSession({
    role: "responder",
    source: sources[1],
    secret: secret(2),
  });
  const said: { by: "initiator" | "responder"; bytes: Uint8Array }[] = [];
  for (let isIdle = false; !isIdle;) {
    isIdle = true;
    for (const by of ["initiator", "responder"] as const) {
      const [from, to] = by === "initiator" ? [initiator, responder] : [responder, initiator];
      for (let bytes = from.send(); bytes !== undefined; bytes = from.send()) {
        isIdle = false;
        said.push({ by, bytes });
        for (const message of between(bytes, by, said.length - 1)) to.receive(message);
      }
    }
  }
  return { initiator, responder, said };
}
