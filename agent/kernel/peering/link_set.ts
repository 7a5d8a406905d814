/**
 * All links about one log, and what ends them: faults of peers, and peers that do not read.
 *
 * @module
 */
import type { ExchangeFrame } from "./exchange_frame.ts";
import { type AnyFrame, FRAME_ITEMS_MAX, messageOf } from "./fields.ts";
import type { Link } from "./link.ts";
import { type Fault, Standing } from "./standing.ts";

/** Links with keys that are not trusted; of more the oldest is cut. */
export const STRANGERS_MAX = 64;

/** What the links are made with. None of these may call back before it returns. */
export interface LinkPorts {
  /** Sends a frame to a linked peer; false when the next one has to wait until there is room. */
  send(peer: string, frame: Uint8Array): boolean;
  /** Ends the link. */
  cut(peer: string, reason: string): void;
  nowMs(): number;
  /** A line for the log of the agent. */
  notice(text: string): void;
}

/** How frames of links are read. */
export interface FrameForm<F extends AnyFrame> {
  /** Of the first, which anybody may send. */
  readonly helloBytesMax: number;
  /** `undefined` for what a newer program says. Throws RealmError `corrupt`. */
  decode(bytes: Uint8Array): F | undefined;
}

/** A link, made: see {@link Link}. */
export type MakeLink<L extends Link> = new (...args: ConstructorParameters<typeof Link>) => L;

/** See the module. */
export class LinkSet<L extends Link = Link, F extends AnyFrame = ExchangeFrame> {
  /** Oldest first. */
  readonly #links = new Map<string, L>();

  /** Faults of a key may count for several sets. */
  constructor(
    readonly ports: LinkPorts,
    readonly make: MakeLink<L>,
    readonly standing: Standing = new Standing(),
  ) {}

  get(peer: string): L | undefined {
    return this.#links.get(peer);
  }

  /** Those that there are now: links may be cut while one looks at them. */
  all(): L[] {
    return [...this.#links.values()];
  }

  /** Open links with peers that may have what is here. */
  trusted(): L[] {
    return this.all().filter((link) => link.isOpen && link.trust === "full");
  }

  has(link: Link): boolean {
    return this.#links.get(link.peer) === link;
  }

  /** A link in place of one that may be there. Strangers are bounded in number. */
  add(peer: string, isStranger: (peer: string) => boolean): L {
    const send = (frame: Uint8Array) => this.ports.send(peer, frame);
    const link = new this.make(peer, this.ports.nowMs(), send);
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

  send(link: Link, frame: F): void {
    if (!link.send(frame)) this.cut(link, "it does not read");
  }

  cut(link: Link, reason: string): void {
    if (!this.has(link)) return;
    this.#links.delete(link.peer);
    this.ports.cut(link.peer, reason);
  }

  /** A peer did something wrong: after so much of it, it is cut for a while. */
  fault(link: Link, fault: Fault, what: string): void {
    const bannedMs = this.standing.fault(link.peer, fault, this.ports.nowMs());
    if (bannedMs === undefined) return;
    const seconds = Math.round(bannedMs / 1000);
    this.ports.notice(`Peer ${link.peer} is cut off for ${seconds} s: ${fault}, ${what}`);
    this.cut(link, fault);
  }

  /**
   * Reads a frame that came, without its length: `hello` first and never again. `undefined` for one
   * with which nothing is to be done, also because the peer is at fault with it.
   */
  received<R extends AnyFrame>(link: L, bytes: Uint8Array, form: FrameForm<R>): R | undefined {
    const nowMs = this.ports.nowMs();
    link.heardAtMs = nowMs;
    const garbage = (what: string) => void this.fault(link, "garbage", what);
    if (link.hello === undefined && bytes.length > form.helloBytesMax) {
      return garbage(`a first frame of ${bytes.length} bytes`);
    }
    let frame: R | undefined;
    try {
      frame = form.decode(bytes);
    } catch (error) {
      return garbage(messageOf(error));
    }
    // Sessions have credit; everything else comes as fast as the peer likes.
    if (frame?.frame !== "sync" && !link.take(bytes.length, nowMs)) {
      return void this.fault(link, "flood", "frames too fast");
    }
    const isFirst = link.hello === undefined;
    if (frame !== undefined && isFirst !== (frame.frame === "hello")) {
      return garbage(`a ${frame.frame} out of place`);
    }
    return frame;
  }

  isBanned(peer: string): boolean {
    return this.standing.isBanned(peer, this.ports.nowMs());
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
