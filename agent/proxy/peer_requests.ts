/**
 * Requests from other nodes to replicas of this one: the answering side of `peer_wire.ts`.
 *
 * Only replicas that run here answer, so a request makes one hop at most and never a loop. What the
 * other node says of the client, in `X-Forwarded-For` and the like, is kept: it is the proxy that
 * the client spoke to, and approved by the owner. Who may open streams the network's gate says.
 *
 * @module
 */
import type { HandlerRequest, HandlerResponse, Network, PeerStream } from "../kernel/ports.ts";
import { RealmError } from "../kernel/error.ts";
import { Deadlines } from "./deadline.ts";
import { discard } from "./headers.ts";
import {
  DATA,
  DATA_BYTES_MAX,
  dataFrames,
  emptyFrame,
  encodeFrame,
  END,
  FAILED,
  FrameChannel,
  GO,
  HTTP_PROTOCOL,
  joined,
  jsonFrame,
  readRequestHead,
  REFUSED,
  REQUEST,
  type RequestHead,
  RESPONSE,
  type ResponseHead,
} from "./peer_wire.ts";
import type { Slot, Upstream } from "./upstream.ts";

/** What {@link PeerRequests} are made with. */
export interface PeerRequestsInit {
  readonly network: Pick<Network, "handle">;
  /** The upstream of a component here. */
  readonly upstreamOf: (component: string) => Upstream | undefined;
  /** Streams of one peer; {@link PEER_HTTP_STREAMS_MAX} unless given. */
  readonly peerStreamsMax?: number;
  /** Streams of all; {@link HTTP_STREAMS_MAX} unless given. */
  readonly streamsMax?: number;
  /**
   * A stream ends when for so long no whole request comes, nor what is left of a body that nobody
   * reads, or when the other node takes nothing, for which a replica is held up; 60 s unless given.
   */
  readonly idleMs?: number;
}

/** More than a peer has requests at once (`PEER_REQUESTS_MAX`), with those that are free. */
const PEER_HTTP_STREAMS_MAX = 160;
const HTTP_STREAMS_MAX = 1024;

/** See the module. */
export class PeerRequests {
  readonly #peerStreamsMax: number;
  readonly #streamsMax: number;
  readonly #idleMs: number;
  readonly #deadlines = new Deadlines();
  readonly #streams = new Map<FrameChannel, AbortController>();
  readonly #perPeer = new Map<string, number>();
  /** Streams with a request that was taken and whose answer is not all on its way. */
  readonly #busy = new Set<FrameChannel>();
  #isClosing = false;
  /** Resolves when no stream is left and no more come. */
  readonly #calm = Promise.withResolvers<void>();
  readonly #unhandle: () => void;

  constructor(readonly init: PeerRequestsInit) {
    this.#peerStreamsMax = init.peerStreamsMax ?? PEER_HTTP_STREAMS_MAX;
    this.#streamsMax = init.streamsMax ?? HTTP_STREAMS_MAX;
    this.#idleMs = init.idleMs ?? 60_000;
    this.#unhandle = init.network.handle(HTTP_PROTOCOL, (stream) => void this.#answer(stream));
  }

  /** Streams that are open. */
  get streams(): number {
    return this.#streams.size;
  }

  /**
   * Takes no more requests: streams end, those with a request that was taken after its answer. Who
   * sends one on a stream that is kept sees that end in place of an answer, and asks elsewhere. All
   * of it has so long, also for what was sent last to come; what is left then is cut. Called again,
   * it waits no longer than it is told then.
   */
  async close(graceMs = 0): Promise<void> {
    if (!this.#isClosing) this.#unhandle();
    this.#isClosing = true;
    this.#calmMaybe();
    if (graceMs > 0 && this.#streams.size > 0) {
      for (const channel of this.#streams.keys()) {
        // Where the other node is gone, whoever reads its stream notices.
        if (!this.#busy.has(channel)) channel.stream.end().catch(() => {});
      }
      const late = Promise.withResolvers<void>();
      const timer = setTimeout(late.resolve, graceMs);
      await Promise.race([this.#calm.promise, late.promise]);
      clearTimeout(timer);
    }
    for (const [channel, gone] of this.#streams) {
      channel.abort(); // which tells nobody here
      gone.abort(new DOMException("This node stops", "AbortError"));
    }
    this.#deadlines.close();
  }

  #calmMaybe(): void {
    if (this.#isClosing && this.#streams.size === 0) this.#calm.resolve();
  }

  async #answer(stream: PeerStream): Promise<void> {
    const { peer } = stream;
    if (this.#isClosing) return await stream.end().catch(() => stream.abort());
    const count = this.#perPeer.get(peer) ?? 0;
    if (count >= this.#peerStreamsMax || this.#streams.size >= this.#streamsMax) {
      return stream.abort();
    }
    this.#perPeer.set(peer, count + 1);
    const channel = new TimedChannel(stream, this.#deadlines, this.#idleMs);
    const gone = new AbortController();
    this.#streams.set(channel, gone);
    channel.ended = () => gone.abort(new DOMException("The other node left", "AbortError"));
    try {
      while (await this.#next(channel, gone.signal)) {
        if (this.#isClosing && this.#busy.has(channel)) break;
        this.#busy.delete(channel);
      }
      await stream.end();
      // What was sent last has come when the other node ends its side, too. A request that it sends
      // until then is not taken: to break the stream now might overtake our end, which says so.
      while (await channel.within(channel.take()) !== null);
    } catch { // the other node left, broke the protocol, or the component its response
      channel.abort();
    } finally {
      gone.abort();
      this.#streams.delete(channel);
      this.#busy.delete(channel);
      this.#calmMaybe();
      const left = this.#perPeer.get(peer)! - 1;
      if (left > 0) this.#perPeer.set(peer, left);
      else this.#perPeer.delete(peer);
    }
  }

  /** Answers one request; false at the end of the stream, and when no more are taken. */
  async #next(channel: TimedChannel, gone: AbortSignal): Promise<boolean> {
    const frame = await channel.within(channel.take());
    if (frame === null || this.#isClosing) return false;
    const head = frame.kind === REQUEST ? readRequestHead(frame.bytes) : undefined;
    if (head === undefined) throw new RealmError("corrupt", "Cannot read a request: it is none");
    const body = new RequestBody(channel, head.hasBody);
    const controller = new AbortController();
    const abort = () => controller.abort(gone.reason);
    gone.addEventListener("abort", abort, { once: true });
    try {
      if (await this.#serve(channel, head, body, controller)) await body.drop();
    } finally {
      gone.removeEventListener("abort", abort);
    }
    return true;
  }

  /** Whether the request was taken, so that its body comes. */
  async #serve(
    channel: FrameChannel,
    head: RequestHead,
    body: RequestBody,
    controller: AbortController,
  ): Promise<boolean> {
    const { signal } = controller;
    const refuse = async (outcome: "no-replica" | "overloaded") => {
      await channel.write(jsonFrame(REFUSED, { outcome }));
      return false;
    };
    const upstream = this.init.upstreamOf(head.component);
    if (!upstream) return await refuse("no-replica");
    this.#busy.add(channel);
    const late = () => controller.abort(new DOMException("No response in time", "TimeoutError"));
    const deadline = this.#deadlines.set(upstream.requestTimeoutMs, performance.now(), late);
    let slot: Slot | undefined;
    try {
      const got = await upstream.acquire(signal, "here");
      if (typeof got === "string") {
        this.#deadlines.clear(deadline);
        return await refuse(got);
      }
      slot = got;
      if (head.hasBody) await channel.write(emptyFrame(GO));
      const request: HandlerRequest = {
        method: head.method,
        url: head.url,
        headers: head.headers,
        body: body.stream,
        signal,
      };
      let response: HandlerResponse;
      try {
        response = await slot.replica.handle(request);
      } catch (error) {
        this.#deadlines.clear(deadline);
        // No more of it than the client is told.
        const code = error instanceof RealmError ? error.code : "failed";
        await channel.write(
          jsonFrame(FAILED, new RealmError(code, "The component did not answer")),
        );
        return true;
      }
      this.#deadlines.clear(deadline);
      await respond(channel, response, signal);
      return true;
    } catch (error) {
      controller.abort(error); // ends what still produces a body that nobody gets
      throw error;
    } finally {
      this.#deadlines.clear(deadline);
      if (slot) upstream.release(slot);
    }
  }
}

/** A channel that ends where the other node neither sends nor takes what is waited for. */
class TimedChannel extends FrameChannel {
  constructor(stream: PeerStream, readonly deadlines: Deadlines, readonly idleMs: number) {
    super(stream);
  }

  override write(bytes: Uint8Array): Promise<void> {
    return this.within(super.write(bytes));
  }

  /** Waits for something, and ends the channel where that takes too long. */
  async within<T>(waiting: Promise<T>): Promise<T> {
    const idle = this.deadlines.set(this.idleMs, performance.now(), () => this.abort());
    try {
      return await waiting;
    } finally {
      this.deadlines.clear(idle);
    }
  }
}

/** Sends a response and its body, as fast as the other node takes it. */
async function respond(
  channel: FrameChannel,
  response: HandlerResponse,
  signal: AbortSignal,
): Promise<void> {
  const { status, body } = response;
  const head = (body: ResponseHead["body"]) =>
    jsonFrame(RESPONSE, { status, headers: [...response.headers], body });
  if (body === null || body instanceof Uint8Array && body.length === 0) {
    return await channel.write(head("none"));
  }
  if (body instanceof Uint8Array) {
    if (body.length <= DATA_BYTES_MAX) {
      return await channel.write(joined([head("whole"), encodeFrame(DATA, body)]));
    }
    return await channel.write(joined([head("stream"), dataFrames(body), emptyFrame(END)]));
  }
  try {
    await channel.write(head("stream"));
    const reader = body.getReader();
    const cancel = () => void reader.cancel(signal.reason).catch(() => {});
    signal.addEventListener("abort", cancel, { once: true });
    try {
      for (;;) {
        const { value, done } = await reader.read();
        signal.throwIfAborted();
        if (done) break;
        if (value.length > 0) await channel.write(dataFrames(value));
      }
    } finally {
      signal.removeEventListener("abort", cancel);
      reader.releaseLock();
    }
    await channel.write(emptyFrame(END));
  } catch (error) {
    discard(response);
    throw error;
  }
}

/** The body of a request, read from the channel when the component reads it. */
class RequestBody {
  readonly stream: ReadableStream<Uint8Array> | null;
  #isOver: boolean;
  #isBroken = false;
  #isDropped = false;
  #reading: Promise<void> = Promise.resolve();

  constructor(readonly channel: TimedChannel, hasBody: boolean) {
    this.#isOver = !hasBody;
    this.stream = hasBody
      ? new ReadableStream<Uint8Array>({
        pull: (controller) => {
          const reading = this.#pull(controller);
          this.#reading = reading;
          return reading;
        },
      }, { highWaterMark: 0 })
      : null;
  }

  /** Reads and drops what the component left of it; throws when it broke off. */
  async drop(): Promise<void> {
    this.#isDropped = true;
    await this.channel.within(this.#reading);
    while (!this.#isOver) await this.channel.within(this.#read());
    if (this.#isBroken) throw brokenBody();
  }

  async #pull(controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> {
    try {
      const bytes = this.#isDropped ? null : await this.#read();
      if (bytes === null) controller.close();
      else controller.enqueue(bytes);
    } catch (error) {
      controller.error(error);
    }
  }

  /** The next piece, `null` at the end. */
  async #read(): Promise<Uint8Array | null> {
    if (this.#isOver) return null;
    const frame = await this.channel.take();
    if (frame?.kind === DATA) return frame.bytes;
    this.#isOver = true;
    if (frame?.kind === END) return null;
    this.#isBroken = true;
    throw brokenBody();
  }
}

function brokenBody(): RealmError {
  return new RealmError("corrupt", "Cannot read the body of a request: it broke off");
}
