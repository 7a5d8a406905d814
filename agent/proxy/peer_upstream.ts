/**
 * Requests to replicas on other nodes: the asking side of `peer_wire.ts`.
 *
 * A request goes to the node with the fewest requests of ours for each replica that it reports.
 * One that refuses it, or that cannot be reached, is not asked again for this request, and the next
 * one is; so it is with one that ends the stream in place of an answer, as nodes that stop do. Once a
 * node has taken it there is a second try only where the node is gone without a word and the request
 * is safe and has no body (RFC 9110, section 9.2.2), and never a third: what it asks for may be what
 * ended that node. A node answers from its own replicas only, so a request makes one hop at most.
 * Streams are kept open for the next request.
 *
 * @module
 */
import { RealmError } from "../kernel/error.ts";
import type { HandlerRequest, HandlerResponse, Network } from "../kernel/ports.ts";
import {
  corrupt,
  DATA,
  dataFrames,
  emptyFrame,
  END,
  FAILED,
  type Frame,
  FrameChannel,
  GO,
  HTTP_PROTOCOL,
  jsonFrame,
  readFailed,
  readRefused,
  readResponseHead,
  REFUSED,
  REQUEST,
  type RequestHead,
  RESPONSE,
} from "./peer_wire.ts";
import { type Elsewhere, type Refusal, RefusedElsewhere } from "./upstream.ts";

/** A node that says it runs a component. */
export interface PeerReplicas {
  /** Text form of its key. */
  readonly peer: string;
  /** How many replicas of the component take requests there; at least 1. */
  readonly running: number;
  /** Who has a greater one is asked when all with lesser ones have none any more; 0 unless given. */
  readonly choice?: number;
}

/** What {@link PeerUpstreams} are made with. */
export interface PeerUpstreamsInit {
  readonly network: Pick<Network, "open">;
  /** Other nodes that are live, connected and report replicas of the component. */
  readonly replicasOf: (component: string) => readonly PeerReplicas[];
  /** See {@link Elsewhere.isExpected}; never unless given. */
  readonly isExpected?: (component: string) => boolean;
  /** Requests to one peer at once; {@link PEER_REQUESTS_MAX} unless given. */
  readonly peerRequestsMax?: number;
}

const PEER_REQUESTS_MAX = 128;
const SAFE_METHODS = new Set(["GET", "HEAD", "OPTIONS"]);
/** Streams that are free are ended after so long, at the latest twice of it. */
const IDLE_MS = 20_000;
const IDLE_MAX = 32;

const NOBODY: ReadonlyMap<string, Refusal> = new Map();

interface PeerUse {
  inFlight: number;
  readonly idle: { readonly channel: FrameChannel; readonly sinceMs: number }[];
}

/** The replicas of all components on all other nodes. */
export class PeerUpstreams {
  readonly #requestsMax: number;
  readonly #peers = new Map<string, PeerUse>();
  /** Those that a node took and did not answer. */
  readonly #repeated = new WeakSet<HandlerRequest>();
  #sweep: number | undefined;
  #isClosed = false;

  constructor(readonly init: PeerUpstreamsInit) {
    this.#requestsMax = init.peerRequestsMax ?? PEER_REQUESTS_MAX;
  }

  /** Those of one component. */
  of(component: string): Elsewhere {
    return {
      isAvailable: () => typeof this.#pick(component, NOBODY) !== "string",
      isExpected: () => this.init.isExpected?.(component) ?? false,
      handle: (request) => this.#handle(component, request),
    };
  }

  /** Streams that wait for a request. */
  get idle(): number {
    return this.#peers.values().reduce((sum, { idle }) => sum + idle.length, 0);
  }

  /** Ends the streams that are free; others when their requests are over. */
  close(): void {
    this.#isClosed = true;
    this.#endIdle(Infinity);
  }

  /**
   * The peer with the least to do for us, of those with room and of the best choice that has not
   * refused; why there is none.
   */
  #pick(component: string, tried: ReadonlyMap<string, Refusal>): PeerReplicas | Refusal {
    let best: PeerReplicas | undefined;
    let bestLoad = Infinity;
    let equals = 0;
    /** Where nodes have too much to do those of the next choice are not asked in their place. */
    let fullChoice = Infinity;
    for (const each of this.init.replicasOf(component)) {
      const { peer, running, choice = 0 } = each;
      const inFlight = this.#peers.get(peer)?.inFlight ?? 0;
      if (tried.get(peer) === "overloaded" || inFlight >= this.#requestsMax) {
        fullChoice = Math.min(fullChoice, choice);
        continue;
      }
      if (tried.has(peer)) continue;
      const bestChoice = best?.choice ?? (best ? 0 : Infinity);
      if (choice > bestChoice) continue;
      const load = inFlight / running;
      const isBetter = choice < bestChoice || load < bestLoad;
      equals = isBetter ? 1 : load === bestLoad ? equals + 1 : equals;
      // Of equals any: nodes that look at the same reports would all choose the same one.
      if (!isBetter && (load > bestLoad || Math.random() * equals >= 1)) continue;
      best = each;
      bestLoad = load;
    }
    if (best !== undefined && (best.choice ?? 0) <= fullChoice) return best;
    return fullChoice < Infinity ? "overloaded" : "no-replica";
  }

  async #handle(component: string, request: HandlerRequest): Promise<HandlerResponse> {
    const tried = new Map<string, Refusal>();
    for (;;) {
      request.signal.throwIfAborted();
      const picked = this.#pick(component, tried);
      if (typeof picked === "string") throw new RefusedElsewhere(picked);
      const { peer } = picked;
      tried.set(peer, "no-replica");
      const use = this.#use(peer);
      use.inFlight++;
      const over = () => this.#over(peer, use);
      const channel = await this.#channel(peer, use, request.signal);
      if (channel === undefined) {
        over();
        continue;
      }
      const exchange = new Exchange(channel, request, (isFree) => {
        if (isFree) this.#keep(use, channel);
        over();
      });
      try {
        const answer = await exchange.run(component);
        if (typeof answer !== "string") return answer;
        tried.set(peer, answer);
      } catch (error) {
        request.signal.throwIfAborted();
        const isGone = error instanceof RealmError && error.code === "unreachable" &&
          !exchange.isAnswered;
        if (!isGone || !this.#mayRepeat(request)) throw error;
      }
    }
  }

  /** Once for each request that changes nothing. */
  #mayRepeat(request: HandlerRequest): boolean {
    if (request.body !== null || !SAFE_METHODS.has(request.method)) return false;
    if (this.#repeated.has(request)) return false;
    this.#repeated.add(request);
    return true;
  }

  /** A stream to the peer; `undefined` when it cannot be had. */
  async #channel(
    peer: string,
    use: PeerUse,
    signal: AbortSignal,
  ): Promise<FrameChannel | undefined> {
    for (let free; (free = use.idle.pop()) !== undefined;) {
      free.channel.ended = undefined;
      if (!free.channel.isOver) return free.channel;
    }
    try {
      return new FrameChannel(await this.init.network.open(peer, HTTP_PROTOCOL, signal));
    } catch {
      return undefined;
    }
  }

  #use(peer: string): PeerUse {
    let use = this.#peers.get(peer);
    if (!use) this.#peers.set(peer, use = { inFlight: 0, idle: [] });
    return use;
  }

  #over(peer: string, use: PeerUse): void {
    use.inFlight--;
    if (use.inFlight === 0 && use.idle.length === 0) this.#peers.delete(peer);
  }

  #keep(use: PeerUse, channel: FrameChannel): void {
    const isOf = !this.#isClosed && !channel.isOver;
    if (!isOf || use.idle.length >= IDLE_MAX) return channel.abort();
    const free = { channel, sinceMs: performance.now() };
    use.idle.push(free);
    channel.ended = () => {
      const at = use.idle.indexOf(free);
      if (at >= 0) use.idle.splice(at, 1);
      channel.abort();
    };
    this.#sweep ??= setInterval(() => this.#endIdle(performance.now() - IDLE_MS), IDLE_MS);
  }

  #endIdle(beforeMs: number): void {
    for (const [peer, { inFlight, idle }] of this.#peers) {
      while (idle.length > 0 && idle[0]!.sinceMs <= beforeMs) idle.shift()!.channel.abort();
      if (inFlight === 0 && idle.length === 0) this.#peers.delete(peer);
    }
    if (this.idle > 0) return;
    clearInterval(this.#sweep);
    this.#sweep = undefined;
  }
}

/** One request on one stream. */
class Exchange {
  readonly #channel: FrameChannel;
  readonly #request: HandlerRequest;
  readonly #over: (isFree: boolean) => void;
  #isOver = false;
  /** Whether the node has said anything. */
  isAnswered = false;
  /** Whether all of the request was sent, and all of the answer has come. */
  #isSent: boolean;
  #body: ReadableStreamDefaultReader<Uint8Array> | undefined;
  readonly #cancel = () => this.#end(false);

  constructor(channel: FrameChannel, request: HandlerRequest, over: (isFree: boolean) => void) {
    this.#channel = channel;
    this.#request = request;
    this.#over = over;
    this.#isSent = request.body === null;
  }

  /** The response, or why there is none yet: then nothing of the body was read. */
  async run(component: string): Promise<HandlerResponse | Refusal> {
    const { method, url, headers, body, signal } = this.#request;
    signal.addEventListener("abort", this.#cancel, { once: true });
    if (signal.aborted) this.#cancel();
    try {
      const head: RequestHead = {
        component,
        method,
        url,
        headers: [...headers],
        hasBody: body !== null,
      };
      await this.#channel.write(jsonFrame(REQUEST, head));
      const first = await this.#channel.take();
      if (first === null) {
        // Its side ends so only where it did not take the request (see `peer_wire.ts`); one that
        // fell, was cut off or gave up breaks the stream, for which the above throws. A node that
        // lies may have taken it, as it may say that it refuses, or answer what it likes.
        this.#end(false);
        return "no-replica";
      }
      this.isAnswered = true;
      let frame = first;
      if (frame.kind === GO && body !== null) {
        this.#send(body);
        frame = await this.#take();
      } else if (frame.kind === REFUSED) {
        const refused = readRefused(frame.bytes);
        if (!refused) throw this.#corrupt(frame);
        this.#isSent = true; // nothing of the body will be
        this.#end(true);
        return refused.outcome;
      }
      if (frame.kind === FAILED) {
        this.#end(true);
        throw readFailed(frame.bytes);
      }
      const response = frame.kind === RESPONSE ? readResponseHead(frame.bytes) : undefined;
      if (!response) throw this.#corrupt(frame);
      return { ...response, body: await this.#read(response.body) };
    } catch (error) {
      this.#end(false);
      throw error;
    }
  }

  async #read(form: "none" | "whole" | "stream"): Promise<HandlerResponse["body"]> {
    if (form === "none") {
      this.#end(true);
      return null;
    }
    if (form === "whole") {
      const frame = await this.#take();
      if (frame.kind !== DATA) throw this.#corrupt(frame);
      this.#end(true);
      return frame.bytes;
    }
    return new ReadableStream<Uint8Array>({
      pull: async (controller) => {
        try {
          const frame = await this.#take();
          if (frame.kind === DATA) return controller.enqueue(frame.bytes);
          if (frame.kind !== END) throw this.#corrupt(frame);
          this.#end(true);
          controller.close();
        } catch (error) {
          this.#end(false);
          controller.error(error);
        }
      },
      cancel: () => this.#end(false),
    }, { highWaterMark: 0 });
  }

  /** Sends the body as it comes; who answers without reading all of it gets no more. */
  async #send(body: ReadableStream<Uint8Array>): Promise<void> {
    const reader = this.#body = body.getReader();
    try {
      for (;;) {
        const { value, done } = await reader.read();
        if (this.#isOver) return;
        if (done) break;
        if (value.length > 0) await this.#channel.write(dataFrames(value));
      }
      await this.#channel.write(emptyFrame(END));
      this.#isSent = true;
    } catch {
      this.#end(false); // the client left, or the other node did
    }
  }

  /** What follows the first frame. */
  async #take(): Promise<Frame> {
    const frame = await this.#channel.take();
    if (frame !== null) return frame;
    const { peer } = this.#channel.stream;
    throw new RealmError("unreachable", `Cannot get a response from ${peer}: it ended the stream`);
  }

  #corrupt(frame: Frame): RealmError {
    return corrupt(this.#channel.stream, `what does not belong there: a frame ${frame.kind}`);
  }

  /** Once, when nothing more comes; the stream is free when both sides have said all. */
  #end(isWhole: boolean): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#request.signal.removeEventListener("abort", this.#cancel);
    const isFree = isWhole && this.#isSent && !this.#channel.isOver;
    if (!isFree) this.#channel.abort();
    if (!this.#isSent) this.#body?.cancel().catch(() => {});
    this.#over(isFree);
  }
}
