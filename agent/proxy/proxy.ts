/**
 * The reverse proxy in front of request handlers: HTTP in, to the instances of components.
 *
 * A request is matched to an upstream, waits for a place in one of its replicas, is handed over with
 * its body as a stream, and what comes back is streamed to the client; nothing is collected. When
 * the client leaves, the component's request is aborted, and so it is after `requestTimeoutMs`
 * without the head of a response. A body may take as long as it likes: server-sent events do.
 *
 * | status | when                                                                               |
 * | ------ | ---------------------------------------------------------------------------------- |
 * | 400    | the host or the address in the request is malformed                                |
 * | 404    | no route                                                                           |
 * | 414    | the address is longer than `urlBytesMax`                                           |
 * | 431    | the headers are longer than `headerBytesMax`                                       |
 * | 501    | `CONNECT`, `TRACE` or an upgrade of the connection                                 |
 * | 502    | the component trapped or gave no answer                                            |
 * | 503    | no replica, or all are busy and the queue is full or too slow; has a `Retry-After` |
 * | 504    | no head of a response in time                                                      |
 *
 * @module
 */
import type { HandlerRequest, HandlerResponse, Replica, Tracer } from "../kernel/ports.ts";
import { Slots } from "../kernel/slots.ts";
import { SteadyServer } from "../kernel/steady_server.ts";
import { type Address, addressOf } from "./address.ts";
import { Deadlines } from "./deadline.ts";
import { type Failure, failureResponse, type Outcome, reasonOf } from "./failure.ts";
import {
  addForwarded,
  type ClientHeaders,
  clientResponse,
  discard,
  readHeaders,
  setTraceparent,
  traceparentOf,
} from "./headers.ts";
import { pause, type Refusal, RefusedElsewhere, type Slot, Upstream } from "./upstream.ts";

/** Where a request goes. */
export interface RouteDecision {
  /** Name of the route, for metrics: few values, not the path of the request. */
  readonly route: string;
  readonly upstream: Upstream;
  /** The path that the component gets; the request's own unless given. */
  readonly path?: string;
}

/** One request that is over. */
export interface RequestRecord {
  /** `undefined` when no route matched or the request was refused before. */
  readonly route: string | undefined;
  readonly component: string | undefined;
  /** 499 for a client that left before there was a response. */
  readonly status: number;
  /** From the request's head to the last byte of the response. */
  readonly durationMs: number;
  readonly outcome: Outcome;
  /** What the component failed with; not shown to the client. */
  readonly error?: unknown;
}

/** What both kinds of server take. */
export interface ServeOptions {
  readonly hostname: string;
  /** 0 takes a free one. */
  readonly port: number;
  /** Called when a request is over. Must not throw. */
  readonly onRequest?: (record: RequestRecord) => void;
  /** Hears why it takes no connections for a moment: the system has no descriptor left for them. */
  readonly crowded?: (reason: unknown) => void;
  /** Records requests; nobody does unless given. */
  readonly tracer?: Tracer;
  /** The longest address of a request; 8 KiB unless given. */
  readonly urlBytesMax?: number;
  /** The headers of a request together; 32 KiB unless given. */
  readonly headerBytesMax?: number;
}

/** What {@link serveProxy} takes. */
export interface ProxyOptions extends ServeOptions {
  /**
   * The upstream for a request, `undefined` where there is none. The host is in lower case and may
   * have a port; the path is as it was sent, without query and without dot segments.
   */
  readonly route: (request: { host: string; path: string }) => RouteDecision | undefined;
}

/** What {@link serveHandler} takes. */
export interface HandlerOptions extends ServeOptions {
  readonly component: string;
  readonly replica: Replica;
  /** 64 unless given. */
  readonly maxConcurrency?: number;
  /** 30 s unless given. */
  readonly requestTimeoutMs?: number;
}

/** A server that listens. */
export interface ProxyServer {
  readonly hostname: string;
  readonly port: number;
  /** Takes no more requests; those in flight have `graceMs` to end, then they are cut off. */
  close(graceMs?: number): Promise<void>;
}

/** Listens and hands requests to the upstreams that `route` names. */
export function serveProxy(options: ProxyOptions): ProxyServer {
  const deadlines = new Deadlines();
  const inFlight = new Slots<() => void>();
  const shared: Shared = { options, deadlines, inFlight, watchedMs: -Infinity };
  const answer: Deno.ServeHandler<Deno.NetAddr> = (request, info) => {
    const head = readHeaders(request);
    const refusal = refusalOf(request, head, options);
    if (refusal) return answerFailure(request, info, options, refusal);
    const address = addressOf(request.url);
    if (!address) {
      return answerFailure(request, info, options, refused(400, "the address is not a URL"));
    }
    const { host, path } = address;
    const decision = options.route({ host, path });
    if (!decision) {
      const reason = `no route for ${host}${path.slice(0, 200)}`;
      return answerFailure(request, info, options, { outcome: "no-route", status: 404, reason });
    }
    return forward(request, info, address, head, decision, shared);
  };
  const serve = ({ hostname, port }: { hostname: string; port: number }) =>
    Deno.serve({ hostname, port, onListen: () => {} }, answer);
  const first = serve(options);
  const { hostname, port } = first.addr;
  const server = new SteadyServer({
    first,
    again: () => serve(first.addr), // by its number: no name is looked up
    sleep: pause,
    ...(options.crowded ? { failed: options.crowded } : {}),
  });
  return {
    hostname,
    port,
    async close(graceMs = 0) {
      const late = setTimeout(() => inFlight.forEach((end) => end()), graceMs);
      await server.shutdown();
      clearTimeout(late);
      deadlines.close();
    },
  };
}

/** Listens and hands every request to one replica: `realm serve`. */
export function serveHandler(options: HandlerOptions): ProxyServer {
  const { component, maxConcurrency = 64, requestTimeoutMs = 30_000 } = options;
  const upstream = new Upstream({ component, maxConcurrency, requestTimeoutMs }, [options.replica]);
  const decision = { route: "/...", upstream };
  return serveProxy({ ...options, route: () => decision });
}

/**
 * From then on it is noticed of every request that its client left before there was a response, and
 * from the start where its component answered the last one later than that.
 *
 * Not of each from the start: Deno aborts each signal that anybody looked at when the response was
 * sent, with a new error, which costs a third of all that a small request takes. Nor is it enough to
 * look then: Deno does not tell of a client that had left before somebody looked.
 */
const WATCH_AFTER_MS = 20;

/** One request in so long is watched from the start besides, for half a hundredth of a processor. */
const WATCH_EVERY_MS = 2;
/** After a pause, those of so long may follow one another at once. */
const WATCH_BURST_MS = 32;

/** What the proxy calls itself in traces. */
const PROXY_SERVICE = "realm-proxy";

/** What the requests of one server share. */
interface Shared {
  readonly options: ServeOptions;
  readonly deadlines: Deadlines;
  /** Ends each of the requests in flight. */
  readonly inFlight: Slots<() => void>;
  /** Up to when requests were watched from their begin, of one each {@link WATCH_EVERY_MS}. */
  watchedMs: number;
}

const refused = (status: number, reason: string): Failure => ({
  outcome: "refused",
  status,
  reason,
});

/** Why a request is not taken at all. */
function refusalOf(
  request: Request,
  head: ClientHeaders,
  options: ServeOptions,
): Failure | undefined {
  const { urlBytesMax = 8192, headerBytesMax = 32 * 1024 } = options;
  const { method } = request;
  if (method === "CONNECT" || method === "TRACE" || method === "TRACK") {
    return refused(501, `method ${method} is not supported`);
  }
  if (request.url.length > urlBytesMax) {
    return refused(414, `the address has more than ${urlBytesMax} bytes`);
  }
  if (head.bytes > headerBytesMax) {
    return refused(431, `the headers have more than ${headerBytesMax} bytes`);
  }
  // `h2c` may be ignored and is what some clients offer with every first request.
  if (head.upgrade !== undefined && head.upgrade.toLowerCase() !== "h2c") {
    return refused(501, "upgrades of the connection are not supported");
  }
  // The host becomes a part of the URL as it is: nothing in it may end it. Two hosts are joined by
  // a comma and fail here too.
  if (
    head.host !== undefined && !/^(?:[\w.-]+|\[[\da-f:.]+\])(?::\d{1,5})?$/i.test(head.host)
  ) {
    return refused(400, "the Host header is not one host");
  }
  return undefined;
}

/** An answer without a component. */
function answerFailure(
  request: Request,
  info: Deno.ServeHandlerInfo,
  options: ServeOptions,
  failure: Failure,
): Response {
  const { onRequest } = options;
  if (onRequest) {
    const startMs = performance.now();
    const { status, outcome } = failure;
    const over = () => {
      const durationMs = performance.now() - startMs;
      onRequest({ route: undefined, component: undefined, status, durationMs, outcome });
    };
    info.completed.then(over, over);
  }
  return failureResponse(failure, request.headers.get("accept"));
}

/** Hands a request to its upstream and returns what the client gets. */
async function forward(
  request: Request,
  info: Deno.ServeHandlerInfo,
  address: Address,
  head: ClientHeaders,
  decision: RouteDecision,
  shared: Shared,
): Promise<Response> {
  const { options, deadlines, inFlight } = shared;
  const startMs = performance.now();
  const { route, upstream, path = address.path } = decision;
  const { component, requestTimeoutMs } = upstream;
  const controller = new AbortController();
  const parent = traceparentOf(head.kept);
  const span = options.tracer?.start(`${request.method} ${route}`, {
    kind: "server",
    service: PROXY_SERVICE,
    parent,
  });
  if (span === undefined) {
    const passed = options.tracer?.unrecorded(parent);
    if (passed !== parent && passed !== undefined) setTraceparent(head.kept, passed);
  }

  let failure: Failure | undefined;
  let error: unknown;
  /** Ends the wait for the head of a response. */
  let settle = (_: HandlerResponse | undefined): void => {};
  const fail = (outcome: Outcome, status: number, reason: string) => {
    failure ??= { outcome, status, reason, component };
    settle(undefined);
  };
  const refuse = (outcome: Refusal) =>
    fail(outcome, 503, outcome === "no-replica" ? "no healthy replica" : "all replicas are busy");
  const abort = (outcome: Outcome, status: number, reason: string) => {
    fail(outcome, status, reason);
    const name = outcome === "timeout" ? "TimeoutError" : "AbortError";
    controller.abort(new DOMException(reason, name));
  };

  let answer: Response | undefined;
  const end = () => {
    if (answer) controller.abort(new DOMException("The proxy closes", "AbortError"));
    else abort("refused", 503, "the proxy closes");
  };
  const place = inFlight.add(end);

  let slot: Slot | undefined;
  const clientLeft = () => abort("canceled", 499, "the client left");
  let isWatched = false;
  const watch = () => {
    if (isWatched) return;
    isWatched = true;
    request.signal.addEventListener("abort", clientLeft, { once: true });
  };
  const watchedMs = Math.max(shared.watchedMs, startMs - WATCH_BURST_MS) + WATCH_EVERY_MS;
  if (upstream.isSlow) watch();
  else if (watchedMs <= startMs) {
    shared.watchedMs = watchedMs;
    watch();
  }
  let isLate = false;
  // One deadline after the other: most requests end before the first.
  let deadline = deadlines.set(Math.min(WATCH_AFTER_MS, requestTimeoutMs), startMs, () => {
    isLate = upstream.isSlow = true;
    watch();
    deadline = deadlines.set(requestTimeoutMs, startMs, () => {
      if (slot) abort("timeout", 504, `no response within ${requestTimeoutMs} ms`);
      else abort("overloaded", 503, `no replica was free within ${requestTimeoutMs} ms`);
    });
  });

  const acquired = upstream.acquire(controller.signal);
  const got = acquired instanceof Promise ? await acquired : acquired;
  let response: HandlerResponse | undefined;
  /** Who still holds the slot: the replica, until it answered or gave up, and the response. */
  let holders = 0;
  const letGo = () => {
    if (--holders === 0) upstream.release(slot!);
  };
  if (typeof got === "string") refuse(got);
  else {
    slot = got;
    holders = 2;
    const prefix = path === address.path ? undefined : removedPrefix(address.path, path);
    const client = (info.remoteAddr as Deno.NetAddr).hostname;
    const inside = span && options.tracer?.start(component, {
      kind: "internal",
      service: component,
      parent: span.traceparent,
    });
    if (inside) setTraceparent(head.kept, inside.traceparent);
    addForwarded(head.kept, { address: client, host: address.host, prefix });
    const forwarded: HandlerRequest = {
      method: request.method,
      url: `http://${address.host}${path}${address.query}`,
      headers: head.kept,
      body: request.body,
      signal: controller.signal,
    };
    const { replica } = slot;
    response = await new Promise<HandlerResponse | undefined>((resolve) => {
      settle = resolve;
      replica.handle(forwarded).then((late) => {
        letGo();
        inside?.end({ "http.response.status_code": late.status });
        // A guest may set any; a `Response` has none of the others and would throw.
        const isFinal = late.status >= 200 && late.status <= 599;
        if (!isFinal) fail("failed", 502, `its status is ${late.status}, wanted 200 to 599`);
        if (failure) discard(late);
        resolve(late);
      }, (reason) => {
        letGo();
        inside?.end({}, failure?.reason ?? reasonOf(reason));
        if (failure) return;
        if (reason instanceof RefusedElsewhere) return refuse(reason.outcome);
        error = reason;
        fail("failed", 502, reasonOf(reason));
      });
    });
  }
  deadlines.clear(deadline);
  if (response && !isLate) upstream.isSlow = false;
  // Deno aborts this signal also when a response was sent.
  if (isWatched) request.signal.removeEventListener("abort", clientLeft);

  const { status } = answer = response && !failure
    ? clientResponse(response, request.method)
    : failureResponse(failure!, request.headers.get("accept"));
  const over = (outcome: Outcome) => {
    inFlight.delete(place);
    if (slot) letGo();
    span?.end({
      "http.request.method": request.method,
      "http.route": route,
      "http.response.status_code": status,
      "realm.component": component,
      "realm.outcome": outcome,
    }, outcome === "ok" ? undefined : failure?.reason ?? outcome);
    const { onRequest } = options;
    if (!onRequest) return;
    const durationMs = performance.now() - startMs;
    const record = { route, component, status, durationMs, outcome };
    onRequest(error === undefined ? record : { ...record, error });
  };
  info.completed.then(() => over(failure?.outcome ?? "ok"), () => {
    over(failure?.outcome ?? "incomplete");
    // Ends what still produces the body.
    controller.abort(new DOMException("The client left", "AbortError"));
  });
  return answer;
}

/** What was taken off the front of `whole` to make `rest`: `/auth` of `/auth/login` and `/login`. */
function removedPrefix(whole: string, rest: string): string {
  return whole.endsWith(rest) ? whole.slice(0, whole.length - rest.length) : whole;
}
