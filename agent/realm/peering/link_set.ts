/**
 * All links of a node, and what ends them: faults of peers, and peers that do not read.
 *
 * @module
 */
import { type Frame, FRAME_ITEMS_MAX } from "./frame.ts";
import { Link } from "./link.ts";
import { type Fault, Standing } from "./standing.ts";

/** Links with keys that are not approved; of more the oldest is cut. */
export const STRANGERS_MAX = 64;

/** What the links are made with: see `PeerPorts` in `peer_core.ts`. */
export interface LinkPorts {
  send(peer: string, frame: Uint8Array): boolean;
  cut(peer: string, reason: string): void;
  nowMs(): number;
  notice(text: string): void;
}

/** See the module. */
export class LinkSet {
  /** Oldest first. */
  readonly #links = new Map<string, Link>();
  readonly #standing = new Standing();

  constructor(readonly ports: LinkPorts) {}

  get(peer: string): Link | undefined {
    return this.#links.get(peer);
  }

  /** Those that there are now: links may be cut while one looks at them. */
  all(): Link[] {
    return [...this.#links.values()];
  }

  /** Open links with peers that are approved. */
  trusted(): Link[] {
    return this.all().filter((link) => link.isOpen && link.trust === "full");
  }

  has(link: Link): boolean {
    return this.#links.get(link.peer) === link;
  }

  /** A link in place of one that may be there. Strangers are bounded in number. */
  add(peer: string, isStranger: (peer: string) => boolean): Link {
    const link = new Link(peer, this.ports.nowMs(), (frame) => this.ports.send(peer, frame));
    this.#links.delete(peer);
    this.#links.set(peer, link);
    if (this.#links.size > STRANGERS_MAX) {
      const strangers = this.all().filter(({ peer }) => isStranger(peer));
      if (strangers.length > STRANGERS_MAX) this.cut(strangers[0]!, "too many ask to join");
    }
    return link;
  }

  remove(peer: string): void {
    this.#links.delete(peer);
  }

  send(link: Link, frame: Frame): void {
    if (!link.send(frame)) this.cut(link, "it does not read");
  }

  cut(link: Link, reason: string): void {
    if (!this.has(link)) return;
    this.#links.delete(link.peer);
    this.ports.cut(link.peer, reason);
  }

  /** A peer did something wrong: after so much of it, it is cut for a while. */
  fault(link: Link, fault: Fault, what: string): void {
    const bannedMs = this.#standing.fault(link.peer, fault, this.ports.nowMs());
    if (bannedMs === undefined) return;
    const seconds = Math.round(bannedMs / 1000);
    this.ports.notice(`Peer ${link.peer} is cut off for ${seconds} s: ${fault}, ${what}`);
    this.cut(link, fault);
  }

  isBanned(peer: string): boolean {
    return this.#standing.isBanned(peer, this.ports.nowMs());
  }
}

/** Bytes of events or records in one frame, where there are several. */
const BATCH_BYTES = 256 * 1024;

/** Encoded things in frames of at most {@link BATCH_BYTES} and {@link FRAME_ITEMS_MAX}. */
export function* batches(encoded: readonly Uint8Array[]): Iterable<Uint8Array[]> {
  let batch: Uint8Array[] = [];
  let size = 0;
  for (const bytes of encoded) {
    const isFull = batch.length === FRAME_ITEMS_MAX || size + bytes.length > BATCH_BYTES;
    if (isFull && batch.length > 0) {
      yield batch;
      batch = [];
      size = 0;
    }
    batch.push(bytes);
    size += bytes.length;
  }
  if (batch.length > 0) yield batch;
}
