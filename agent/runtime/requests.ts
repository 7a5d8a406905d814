/**
 * The requests of a replica: gives each an instance that is idle, or a new one, and carries bodies
 * both ways.
 *
 * @module
 */
import { RealmError } from "../kernel/error.ts";
import { placeOf } from "../kernel/slots.ts";
import { concat } from "./bytes.ts";
import type { Ledger } from "./ledger.ts";
import type { Limiter } from "./limiter.ts";
import { readRequests, writeResponse } from "./exchange.ts";
import type { Outbox } from "./outbox.ts";
import type { Start, ToWorker } from "./protocol.ts";
import { LazyHead, packFields } from "./request_head.ts";
import { RingReader, RingWriter } from "./shared_ring.ts";
import { cut, exitOf, GuestEnded, hostFault, type RawExit } from "./trap.ts";
import type { Instance } from "./instance.ts";
import { TRAP_MESSAGE_LENGTH_MAX } from "./wasi/bounds.ts";
import type { HttpErrorCode } from "./wasi/http_body.ts";
import type { BodyReader, BodySource, ResponseResult, WasiHost } from "./wasi/host.ts";

/** Requests beyond `maxConcurrency` that wait here; the proxy keeps the real queue. */
const REQUESTS_WAITING_MAX = 1024;

/** Where each request has an instance of its own: so many wait for one, made when nothing is done. */
const AHEAD = 2;
const AHEAD_AFTER_MS = 2;

/** A request on its way through the replica. */
export interface Flight {
  readonly id: number;
  /** Of `packHead()`. */
  readonly head: Uint8Array;
  readonly hasBody: boolean;
  body?: PromiseWithResolvers<Uint8Array | null>;
  pull?: () => void;
  limiter?: Limiter;
  /** What the guest answered; its body may still be written. */
  response?: ResponseResult;
  /** The head of the response was sent, and its body flows until this resolves. */
  streaming?: Promise<void>;
  cancelled: boolean;
}

/** An instance with what belongs to it alone. */
export interface Live {
  /** Its number among those of the replica. */
  readonly place: number;
  readonly instance: Instance;
  readonly limiter: Limiter;
  readonly wasi: WasiHost;
  /** The request that it is at work on. */
  flight?: Flight;
}

/** What requests need of the replica that they are served in. */
export interface RequestsHost {
  readonly start: Start;
  readonly outbox: Outbox;
  readonly ledger: Ledger;
  /** Every instance there is. */
  readonly live: { readonly size: number };
  /**
   * Makes an instance; `made` gets its limiter before it can fail. One that fails has given back
   * everything by then, and used up its slice.
   */
  create(made?: (limiter: Limiter) => void): Promise<Live>;
  /** Drops an instance for good. */
  discard(live: Live): void;
  /** Drops an instance that returned, for one as new in its place; undefined where that is none. */
  renew(live: Live): Promise<Live | undefined>;
  /** Tells of an instance that trapped. */
  trapped(exit: Extract<RawExit, { kind: "trap" }>): void;
  /** Says something about the replica. */
  notice(text: string): void;
}

/** Messages that are about one request. */
type RequestMessage = Extract<
  ToWorker,
  { type: "request" | "request-body" | "pull" | "cancel" }
>;

/** See the module. */
export class Requests {
  readonly #host: RequestsHost;
  readonly #idle: Live[] = [];
  readonly #waiting: Flight[] = [];
  /** By the place of their numbers, which the engine gives again. */
  readonly #flights: (Flight | undefined)[] = [];
  /**
   * Those whose places were given again before they ended, by number: requests come another way
   * than messages, and so a request may overtake the end of the one that had its place.
   */
  readonly #displaced = new Map<number, Flight>();
  readonly #arriving: RingReader | undefined;
  readonly #answered: RingWriter | undefined;

  #ahead: number | undefined;
  #closed = false;

  constructor(host: RequestsHost) {
    this.#host = host;
    const { rings } = host.start;
    if (!rings) return;
    this.#arriving = new RingReader(rings.requests);
    this.#answered = new RingWriter(rings.responses);
    this.#arriving.listen(() => this.take());
  }

  /** Takes the requests that are there; before any message that was posted after them. */
  take(): void {
    if (this.#arriving) readRequests(this.#arriving, (...request) => this.#arrive(...request));
  }

  /** Sends the responses that are there; before any message that is posted after them. */
  flush(): void {
    this.#answered?.flush();
  }

  #arrive(id: number, head: Uint8Array, hasBody: boolean): void {
    const flight = { id, head, hasBody, cancelled: false };
    const before = this.#flights[placeOf(id)];
    if (before) this.#displaced.set(before.id, before);
    this.#flights[placeOf(id)] = flight;
    this.#dispatch(flight);
  }

  /** An instance that was made ahead. */
  addIdle(live: Live): void {
    if (this.#closed) this.#host.discard(live);
    else this.#idle.push(live);
  }

  /** Drops every instance that is idle: there are no requests any more. */
  close(): void {
    this.#arriving?.close();
    this.#closed = true;
    clearTimeout(this.#ahead);
    for (const live of this.#idle.splice(0)) this.#host.discard(live);
  }

  receive(message: RequestMessage): void {
    switch (message.type) {
      case "request":
        return this.#arrive(message.id, message.head, message.hasBody);
      case "request-body": {
        const body = this.#flight(message.id)?.body;
        if (message.failed) body?.reject(new Error("the client went away"));
        else body?.resolve(message.bytes);
        return;
      }
      case "pull":
        this.#flight(message.id)?.pull?.();
        return;
      case "cancel": {
        const flight = this.#flight(message.id);
        if (!flight) return;
        this.#land(flight);
        flight.cancelled = true;
        flight.pull?.();
        flight.body?.reject(new Error("the request was cancelled"));
        flight.limiter?.end({ kind: "stopped" });
        return;
      }
    }
  }

  #flight(id: number): Flight | undefined {
    const flight = this.#flights[placeOf(id)];
    return flight?.id === id ? flight : this.#displaced.get(id);
  }

  #land({ id }: Flight): void {
    if (this.#displaced.delete(id)) return;
    if (this.#flight(id)) this.#flights[placeOf(id)] = undefined;
  }

  /** The guest waits: what it answered so far goes out, and what follows flows. */
  waits(live: Live): void {
    if (live.flight) this.#stream(live.flight);
  }

  #dispatch(flight: Flight): void {
    const busy = this.#host.live.size - this.#idle.length;
    if (busy >= this.#host.start.maxConcurrency) {
      if (this.#waiting.length >= REQUESTS_WAITING_MAX) {
        return this.#fail(
          flight,
          new RealmError("limit-exceeded", "Cannot take the request: too many are waiting"),
        );
      }
      this.#waiting.push(flight);
      return;
    }
    this.#serve(flight);
  }

  async #serve(flight: Flight): Promise<void> {
    let live = this.#idle.pop();
    let limiter: Limiter | undefined = live?.limiter;
    this.#host.ledger.add("requests", 1);
    try {
      live ??= await this.#host.create((l) => limiter = l);
      flight.limiter = live.limiter;
      if (!flight.cancelled) {
        live.flight = flight;
        const head = new LazyHead(flight.head);
        if (head.isCheck) flight.response = healthResponse(await live.instance.check());
        else {
          await live.instance.handle(
            head,
            this.#bodyOf(flight),
            (response) => flight.response = response,
          );
        }
        delete live.flight;
        if (!flight.response) throw new RealmError("trap", "it returned without a response");
        this.#respond(flight);
        if (flight.streaming) await flight.streaming;
      }
      if (live.limiter.ended) throw new GuestEnded();
      if (!this.#host.start.instancePerRequest) this.#idle.push(live);
      else {
        delete flight.limiter; // it ends nobody any more
        const renewed = await this.#host.renew(live);
        if (renewed) this.addIdle(renewed);
        else this.#later();
      }
    } catch (error) {
      if (live) {
        live.limiter.forfeit();
        this.#host.discard(live);
      }
      const isFull = error instanceof RealmError && error.code === "memory-limit";
      if (!live && isFull && this.#host.live.size > 0) {
        // There is no room for one more instance: the request takes one that is done.
        this.#waiting.unshift(flight);
        return;
      }
      const exit = limiter ? exitOf(error, limiter) : hostFault(error);
      if (!flight.cancelled) this.#trapped(flight, exit);
    } finally {
      this.#host.ledger.add("requests", -1);
    }
    this.#land(flight);
    const next = this.#waiting.shift();
    if (next) this.#serve(next);
  }

  /** Makes instances ahead, while there is nothing else to do. */
  #later(): void {
    if (this.#ahead !== undefined) return;
    this.#ahead = setTimeout(async () => {
      try {
        while (
          this.#host.live.size === this.#idle.length && this.#idle.length < AHEAD && !this.#closed
        ) {
          this.addIdle(await this.#host.create());
        }
      } catch {
        // Whoever needs it makes it, and hears why not.
      } finally {
        this.#ahead = undefined;
      }
    }, AHEAD_AFTER_MS);
  }

  #bodyOf(flight: Flight): BodySource | null {
    if (!flight.hasBody) return null;
    return {
      read: () => {
        flight.body = Promise.withResolvers();
        this.#host.outbox.add({ type: "want-body", id: flight.id });
        return flight.body.promise;
      },
    };
  }

  /** The guest is done: sends head and body in one message, unless the body flows already. */
  #respond(flight: Flight): void {
    const response = flight.response!;
    if (flight.streaming || flight.cancelled) return;
    if ("error" in response) return this.#answeredError(flight, response.error);
    const { status, headers, body } = response;
    let taken: Uint8Array | null | undefined;
    let all: Uint8Array | null = null;
    try {
      while ((taken = body.take())) all = all ? concat(all, taken) : taken;
    } catch (error) {
      return this.#bodyFailed(flight, error);
    }
    const { outbox } = this.#host;
    const { id } = flight;
    if (
      taken === null && outbox.isEmpty && this.#answered &&
      writeResponse(this.#answered, id, outbox.posted, status, headers, all)
    ) return;
    const packed = packFields(headers);
    const message = { type: "response", id, status, headers: packed, body: all } as const;
    outbox.add({ ...message, end: taken === null });
    // A body that the guest left open without dropping it.
    if (taken === undefined) flight.streaming = this.#pump(flight, body);
  }

  #stream(flight: Flight): void {
    const { response } = flight;
    if (!response || flight.streaming || flight.cancelled || "error" in response) return;
    const { status, headers, body } = response;
    const packed = packFields(headers);
    const message = { type: "response", id: flight.id, status, headers: packed } as const;
    this.#host.outbox.add({ ...message, body: null, end: false });
    flight.streaming = this.#pump(flight, body);
  }

  async #pump(flight: Flight, body: BodyReader): Promise<void> {
    try {
      for (;;) {
        await this.#pulled(flight);
        if (flight.cancelled) return body.cancel();
        const bytes = await body.read();
        this.#host.outbox.add({ type: "response-body", id: flight.id, bytes });
        this.#host.outbox.flush();
        if (bytes === null) return;
      }
    } catch (error) {
      this.#bodyFailed(flight, error);
    }
  }

  #answeredError(flight: Flight, error: HttpErrorCode): void {
    this.#unanswered(flight, `it answered with the error ${described(error)}`);
  }

  #bodyFailed(flight: Flight, error: unknown): void {
    const failed = error instanceof Error ? error.message : described(error as HttpErrorCode);
    this.#unanswered(flight, `its response body failed: ${failed}`);
  }

  /** The guest goes on, but this request has no whole response: only the log can tell why. */
  #unanswered(flight: Flight, reason: string): void {
    if (!flight.cancelled) this.#host.notice(`failed: ${reason}`);
    this.#fail(flight, new RealmError("failed", reason));
  }

  #pulled(flight: Flight): Promise<void> {
    return new Promise((resolve) => {
      flight.pull = resolve;
      if (flight.cancelled) resolve();
    });
  }

  #trapped(flight: Flight, exit: RawExit): void {
    if (exit.kind === "trap") {
      this.#host.ledger.add("traps", 1);
      this.#host.trapped(exit);
      this.#fail(flight, new RealmError(exit.code, exit.message));
    } else {
      const how = exit.kind === "exit" ? `it exited with ${exit.status}` : "it was stopped";
      if (exit.kind === "exit") this.#host.notice(`failed: ${how} in a request`);
      this.#fail(flight, new RealmError("failed", `Cannot handle the request: ${how}`));
    }
  }

  #fail(flight: Flight, error: RealmError): void {
    this.#host.outbox.add({ type: "failed", id: flight.id, error: error.toJSON() });
    this.#land(flight);
  }
}

/** An error of the interface in words; what the guest wrote into it stays on one line. */
function described({ tag, val }: HttpErrorCode): string {
  const said = typeof val === "string" ? JSON.stringify(cut(val, TRAP_MESSAGE_LENGTH_MAX)) : val;
  return said === undefined || typeof said === "object" ? tag : `${tag}: ${said}`;
}

/** What a health export said, as a response. */
function healthResponse(reason: string | undefined): ResponseResult {
  let rest = reason === undefined ? null : new TextEncoder().encode(reason);
  const take = () => {
    const taken = rest;
    rest = null;
    return taken;
  };
  const body: BodyReader = {
    take,
    read: () => Promise.resolve(take()),
    trailers: () => undefined,
    cancel: () => {},
  };
  return { status: reason === undefined ? 200 : 503, headers: [], body };
}
