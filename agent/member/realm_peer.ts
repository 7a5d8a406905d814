/**
 * The node among others: joins the network with the core that decides about peers. Bytes and times
 * go in, frames and cuts come out; nothing is decided here.
 *
 * Of two connected peers the one whose key is the lesser text opens the stream of their link, and
 * opens it again when it broke while the connection lasts.
 *
 * @module
 */
import { LinkStream } from "../net/link_stream.ts";
import type { Clock, Network, NetworkGate, PeerStream } from "../kernel/ports.ts";
import { RareNotice } from "../kernel/rare_notice.ts";
import { PeerCore, type PeerCoreInit, type PeerPorts } from "../realm/peering/peer_core.ts";

/** The protocol of links. */
export const LINK_PROTOCOL = "/realm/link/1.0.0";

/** A link that broke is opened again after so long, and twice as long each time after that. */
const REOPEN_MIN_MS = 250;
const REOPEN_MAX_MS = 30_000;
/** A peer that does not answer within this time is asked again. */
const OPEN_MS = 10_000;

/** After the disk failed it is tried again after so long. */
const FAILED_PAUSE_MS = 1_000;

/** What a {@link RealmPeer} is made of. */
export interface RealmPeerInit extends Omit<PeerCoreInit, "ports"> {
  readonly clock: Clock;
  /** What the core is given beside the network and the clock. */
  readonly ports: Pick<PeerPorts, "changed" | "heard" | "verify" | "notice" | "health">;
  /** Whether a key may open streams of a protocol, other than links, which anybody may try. */
  readonly mayOpen: (peer: string, protocol: string) => boolean;
}

/** See the module. */
export class RealmPeer {
  readonly core: PeerCore;
  /** Frames on all links since the start, and their bytes. */
  readonly traffic = { in: { frames: 0, bytes: 0 }, out: { frames: 0, bytes: 0 } };
  /** What the network is made with. */
  readonly gate: NetworkGate;
  readonly #clock: Clock;
  readonly #failed: RareNotice;
  readonly #links = new Map<string, LinkStream>();
  /** Links that end in a moment, by the timer that ends them. */
  readonly #cutting = new Map<ReturnType<typeof setTimeout>, LinkStream | undefined>();
  /** Peers whose link is being opened, or waits for it. */
  readonly #opening = new Map<string, AbortController>();
  #network: Network | undefined;
  #undo: (() => void)[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;
  #dueMs = Infinity;
  #isClosed = false;

  constructor(init: RealmPeerInit) {
    const { clock } = init;
    this.#clock = clock;
    this.#failed = new RareNotice(init.ports.notice, () => clock.monotonicMs());
    this.core = new PeerCore({
      ...init,
      ports: {
        ...init.ports,
        send: (peer, frame) => {
          count(this.traffic.out, frame);
          return this.#links.get(peer)?.send(frame) ?? true;
        },
        cut: (peer) => this.#cut(peer),
        nowMs: () => clock.monotonicMs(),
        wallMs: () => clock.wallMs(),
        random: Math.random,
        secret: () => crypto.getRandomValues(new Uint8Array(16)),
      },
    });
    this.gate = {
      mayConnect: (peer) => this.core.mayConnect(peer),
      mayOpen: (peer, protocol) =>
        protocol === LINK_PROTOCOL ? this.core.mayConnect(peer) : init.mayOpen(peer, protocol),
    };
    this.#tick();
  }

  /** Joins a network, which was made with {@link RealmPeer.gate}. */
  join(network: Network): void {
    this.#network = network;
    this.#undo = [
      network.handle(LINK_PROTOCOL, (stream) => {
        // The other rule would give two links to peers that open at once.
        if (stream.peer < network.self) this.#linked(stream);
        else stream.abort();
      }),
      network.watch({
        connected: ({ peer }) => this.#open(peer),
        disconnected: (peer) => {
          this.#opening.get(peer)?.abort();
          this.#unlinked(peer, this.#links.get(peer));
        },
      }),
    ];
    for (const { peer } of network.connections()) this.#open(peer);
  }

  /** To be called after anything that is done with the core from outside. */
  touched(): void {
    this.#wake(0);
  }

  #wake(pauseMs: number): void {
    const dueMs = Math.max(this.core.dueMs(), this.#clock.monotonicMs() + pauseMs);
    if (this.#isClosed || dueMs >= this.#dueMs) return;
    this.#dueMs = dueMs;
    clearTimeout(this.#timer);
    const wait = Math.max(0, dueMs - this.#clock.monotonicMs());
    this.#timer = setTimeout(() => this.#tick(), wait);
  }

  /** Leaves the network, which stays open. */
  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    for (const undo of this.#undo) undo();
    for (const opening of this.#opening.values()) opening.abort();
    for (const link of [...this.#links.values(), ...this.#cutting.values()]) link?.close();
    for (const timer of this.#cutting.keys()) clearTimeout(timer);
    this.#links.clear();
    this.#cutting.clear();
  }

  #tick(): void {
    if (this.#isClosed) return;
    this.#dueMs = Infinity;
    this.#run(() => this.core.tick());
  }

  /** Nothing that a peer sends throws, but the disk may: that is told, and tried again later. */
  #run(act: () => void): void {
    let pauseMs = 0;
    try {
      act();
    } catch (error) {
      pauseMs = FAILED_PAUSE_MS;
      this.#failed.tell(`Cannot go on with the control log: ${messageOf(error)}`);
    }
    this.#wake(pauseMs);
  }

  #linked(stream: PeerStream): void {
    const { peer } = stream;
    const before = this.#links.get(peer);
    if (before !== undefined) {
      before.close();
      this.#unlinked(peer, before);
    }
    const link: LinkStream = new LinkStream(stream, {
      frame: (bytes) => {
        count(this.traffic.in, bytes);
        this.#run(() => this.core.received(peer, bytes));
      },
      room: () => {
        this.#run(() => this.core.sent(peer));
      },
      closed: () => {
        this.#unlinked(peer, link);
        this.#open(peer, REOPEN_MIN_MS);
      },
    });
    this.#links.set(peer, link);
    this.#run(() => this.core.connected(peer));
  }

  #unlinked(peer: string, link: LinkStream | undefined): void {
    if (link === undefined || this.#links.get(peer) !== link) return;
    this.#links.delete(peer);
    link.close();
    this.#run(() => this.core.disconnected(peer));
  }

  /** What the core asks for, which has forgotten the link already. */
  #cut(peer: string): void {
    const link = this.#links.get(peer);
    this.#links.delete(peer);
    // The last frame may say why; the core is not called back before it returns.
    const timer = setTimeout(() => {
      this.#cutting.delete(timer);
      link?.close();
      if (!this.#links.has(peer)) this.#network?.disconnect(peer);
    }, 0);
    this.#cutting.set(timer, link);
  }

  /** Opens the link with a peer for as long as it is connected and there is none. */
  async #open(peer: string, afterMs = 0): Promise<void> {
    const network = this.#network;
    if (network === undefined || this.#isClosed || network.self > peer) return;
    if (this.#opening.has(peer)) return;
    const abort = new AbortController();
    this.#opening.set(peer, abort);
    const isConnected = () => network.connections().some((each) => each.peer === peer);
    try {
      let pauseMs = afterMs;
      while (!abort.signal.aborted) {
        if (pauseMs > 0) await this.#clock.sleep(pauseMs, abort.signal);
        if (this.#links.has(peer) || !isConnected()) return;
        try {
          const late = AbortSignal.any([abort.signal, AbortSignal.timeout(OPEN_MS)]);
          const stream = await network.open(peer, LINK_PROTOCOL, late);
          if (abort.signal.aborted) stream.abort();
          else this.#linked(stream);
          return;
        } catch {
          pauseMs = Math.min(REOPEN_MAX_MS, Math.max(REOPEN_MIN_MS, 2 * pauseMs));
        }
      }
    } catch {
      // The peer is gone, or this node is.
    } finally {
      this.#opening.delete(peer);
    }
  }
}

function count(traffic: { frames: number; bytes: number }, frame: Uint8Array): void {
  traffic.frames++;
  traffic.bytes += frame.length;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
