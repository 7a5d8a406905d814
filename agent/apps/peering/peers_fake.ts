/**
 * Peers of one topic for tests: cores whose frames are carried by hand, in virtual time.
 *
 * @module
 */
import { formatPublicKey } from "../../kernel/key.ts";
import { Standing } from "../../kernel/peering/standing.ts";
import type { Store } from "../../kernel/ports.ts";
import { sha256 } from "@noble/hashes/sha2.js";
import { bytesOf } from "../../kernel/byte_string.ts";
import type { CID } from "../../kernel/canonical.ts";
import type { SyncSigner } from "../../kernel/verify.ts";
import { MemoryStore } from "../../store/memory_store.ts";
import type { AppLog } from "../topic/app_log.ts";
import { emptyLog, type Person, verify } from "../topic/topic_fake.ts";
import { TopicCore } from "./topic_core.ts";
import { StateShelf } from "./topic_states.ts";
import { decodeTopicFrame, type TopicFrame } from "./topic_frame.ts";

/** The text form of the key of a node of that name. */
export function nodeKey(name: string): string {
  return formatPublicKey(sha256(bytesOf(`node ${name}`)));
}

/** What a peer is made with. */
export interface PeerOptions {
  readonly log?: AppLog;
  readonly store?: Store & MemoryStore;
  readonly invite?: SyncSigner;
  readonly named?: readonly string[];
  readonly state?: Parameters<typeof StateShelf.of>[0];
  /** Sees what it sends, and may change it; nothing for what is not to go. */
  readonly says?: (frame: TopicFrame, bytes: Uint8Array) => Uint8Array | undefined;
}

/** A node with its core. */
export interface FakePeer {
  readonly key: string;
  readonly person: Person;
  readonly log: AppLog;
  readonly core: TopicCore;
  readonly notices: string[];
  /** Reasons of cuts. */
  readonly cuts: string[];
  /** Every frame that came to it, by whom. */
  readonly heard: { readonly from: string; readonly bytes: Uint8Array }[];
  readonly learnt: Map<string, readonly string[]>;
  changes: number;
}

/** See the module. */
export class Peers {
  nowMs = 1_000;
  /** Whether frames of several are carried by turns, and not in the order in which they were sent. */
  takesTurns = false;
  #last = "";
  readonly #peers = new Map<string, FakePeer>();
  readonly #queue: { readonly from: string; readonly to: string; readonly bytes: Uint8Array }[] =
    [];
  /** Links that are up, by both keys. */
  readonly #up = new Set<string>();

  constructor(readonly topic: CID) {}

  add(name: string, person: Person, options: PeerOptions = {}): FakePeer {
    const key = nodeKey(name);
    const { says = (_, bytes) => bytes, named = [], invite, state = () => undefined } = options;
    const log = options.log ?? emptyLog(this.topic, [person.opener], options.store);
    let secrets = 0;
    const peer: FakePeer = {
      key,
      person,
      log,
      notices: [],
      cuts: [],
      heard: [],
      learnt: new Map(),
      changes: 0,
      core: new TopicCore({
        topic: this.topic,
        self: key,
        person,
        log,
        invite,
        isNew: log.topic === undefined,
        named,
        standing: new Standing(),
        ports: {
          verify,
          send: (to, bytes) => {
            const said = says(decodeTopicFrame(bytes)!, bytes);
            if (said !== undefined) this.#queue.push({ from: key, to, bytes: said });
            return true;
          },
          cut: (other, reason) => {
            peer.cuts.push(reason);
            this.disconnect(key, other);
          },
          nowMs: () => this.nowMs,
          wallMs: () => this.nowMs,
          notice: (text) => void peer.notices.push(text),
          changed: () => void peer.changes++,
          joined: () => {},
          learnt: (node, addresses) => void peer.learnt.set(node, addresses),
          addressesOf: (node) => [`/memory/${node.slice(-4)}`],
          secret: () => sha256(bytesOf(`${key} ${secrets++}`)).slice(0, 16),
          random: () => 0.5,
          states: StateShelf.of(state),
        },
      }),
    };
    this.#peers.set(key, peer);
    return peer;
  }

  /** A stream with each of some others, opened by the first. */
  connect(opener: FakePeer, ...others: readonly FakePeer[]): void {
    for (const other of others) {
      this.#up.add(pairOf(opener.key, other.key));
      opener.core.connected(other.key, true);
      other.core.connected(opener.key, false);
    }
    this.settle();
  }

  /** The stream between two breaks; what was under way is lost. */
  disconnect(a: string, b: string): void {
    if (!this.#up.delete(pairOf(a, b))) return;
    const left = this.#queue.filter(({ from, to }) => pairOf(from, to) !== pairOf(a, b));
    this.#queue.splice(0, Infinity, ...left);
    const tell = (self: string, other: string) => {
      const { core } = this.#peers.get(self)!;
      this.#later.push(() => core.disconnected(other));
    };
    tell(a, b);
    tell(b, a);
  }

  readonly #later: (() => void)[] = [];

  isUp(a: FakePeer, b: FakePeer): boolean {
    return this.#up.has(pairOf(a.key, b.key));
  }

  /** Carries frames, and lets cores do what is due, until there is nothing to do at this time. */
  settle(): void {
    for (let i = 0; i < 100_000; i++) {
      const later = this.#later.shift();
      if (later !== undefined) {
        later();
        continue;
      }
      const next = this.#next();
      if (next !== undefined) {
        if (!this.#up.has(pairOf(next.from, next.to))) continue;
        const { core, heard } = this.#peers.get(next.to)!;
        heard.push(next);
        core.received(next.from, next.bytes);
        continue;
      }
      const due = [...this.#peers.values()].find(({ core }) => core.dueMs() <= this.nowMs);
      if (due === undefined) return;
      due.core.tick();
    }
    throw new Error("it never ends");
  }

  #next() {
    const at = this.takesTurns ? this.#queue.findIndex(({ from }) => from !== this.#last) : 0;
    const [next] = this.#queue.splice(Math.max(0, at), 1);
    this.#last = next?.from ?? "";
    return next;
  }

  /** Lets time go by. */
  pass(ms: number): void {
    for (const untilMs = this.nowMs + ms; this.nowMs < untilMs;) {
      const due = Math.min(...[...this.#peers.values()].map(({ core }) => core.dueMs()));
      this.nowMs = Math.min(untilMs, Math.max(this.nowMs + 1, due));
      this.settle();
    }
  }
}

/** The frames that came to a peer from another. */
export function framesFrom(peer: FakePeer, other: FakePeer): TopicFrame[] {
  return peer.heard.filter(({ from }) => from === other.key)
    .map(({ bytes }) => decodeTopicFrame(bytes)!);
}

function pairOf(a: string, b: string): string {
  return a < b ? `${a} ${b}` : `${b} ${a}`;
}
