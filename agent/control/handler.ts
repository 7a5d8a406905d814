/**
 * The control API as a function from request to response, whatever carried the request.
 *
 * It validates at this edge: what a {@link ControlApi} method gets has the right shape. It does not
 * authenticate; who calls is known to the transport (the socket's permissions, the key of a stream).
 *
 * @module
 */
import { type Context, Hono } from "hono";
import type * as z from "zod";
import { type ErrorCode, RealmError } from "../kernel/error.ts";
import { SHA256_HEX, sha256Hex } from "../kernel/sha256.ts";
import { isPersonal } from "../realm/alarms.ts";
import {
  BLOB_BYTES_MAX,
  type ControlApi,
  eventsRequest,
  execRequest,
  JSON_BYTES_MAX,
  type LogEvent,
  type LogOptions,
  logPlaceQuery,
  logQuery,
  manifestQuery,
  manifestRequest,
  peerRequest,
  samplesQuery,
  type SignedManifest,
} from "./api.ts";
import { APP_CALLS, type AppCall } from "./apps_api.ts";
import { sendEvents } from "./sse.ts";

/** What the handler may be told besides the API. */
export interface HandlerOptions {
  /** Hears of errors that are bugs, with the request that met them. */
  readonly onBug?: (request: string, error: unknown) => void;
  /** Largest upload; {@link BLOB_BYTES_MAX} unless given. */
  readonly blobBytesMax?: number;
  /** How long a log stream may be silent before a comment is sent. */
  readonly keepAliveMs?: number;
  /** Whether the caller may make a request; everything unless given. The path has no query. */
  readonly may?: (method: string, path: string) => boolean;
  /** Aborted when the agent stops: log streams then end, and say why. */
  readonly closing?: AbortSignal;
}

/** HTTP status of an error; a code that is not here is 500. */
const HTTP_STATUS: Partial<Record<ErrorCode, number>> = {
  usage: 400,
  "invalid-config": 400,
  "invalid-module": 400,
  "unknown-import": 400,
  unsupported: 400,
  refused: 403,
  "bad-signature": 403,
  "wrong-owner": 403,
  policy: 403,
  unclaimed: 403,
  "not-found": 404,
  stale: 409,
  "digest-mismatch": 409,
  "limit-exceeded": 413,
  unreachable: 503,
};

/** Builds the handler. It never rejects: every failure is an answer. */
export function controlHandler(
  api: ControlApi,
  options: HandlerOptions = {},
): (request: Request) => Promise<Response> {
  const { onBug = () => {}, blobBytesMax = BLOB_BYTES_MAX, keepAliveMs = 15_000 } = options;
  const closing = options.closing ?? new AbortController().signal;
  const app = new Hono();

  /** The error as the caller sees it; a bug is told to the agent and summed up for the caller. */
  const describe = (error: unknown, request: Request): RealmError => {
    if (error instanceof RealmError) return error;
    const name = `${request.method} ${new URL(request.url).pathname}`;
    onBug(name, error);
    const reason = error instanceof Error ? error.message : String(error);
    return new RealmError("failed", `Cannot answer ${name}: ${reason}`, {
      hint: "This is a bug in realm; the agent's log has the details",
      cause: error,
    });
  };

  app.onError((error, c) => errorResponse(describe(error, c.req.raw)));
  app.notFound((c) => {
    throw new RealmError("not-found", `Cannot answer ${c.req.method} ${c.req.path}: no such call`, {
      hint: "The agent and this program may be of different versions",
    });
  });

  app.use(async (c, next) => {
    const { method, path } = c.req;
    if (options.may?.(method, path) === false) {
      throw new RealmError(
        "refused",
        `Cannot answer ${method} ${path}: your key may not ask for it`,
        {
          hint: "Use the owner's key",
        },
      );
    }
    await next();
  });

  app.get("/v1/status", async (c) => {
    const status = await api.status();
    // Apps are the person's of this machine.
    const isPersons = options.may?.("POST", "/v1/apps/topics") !== false;
    if (isPersons) return c.json(status);
    const alarms = status.alarms.filter(({ code }) => !isPersonal(code));
    return c.json({ ...status, alarms, topics: [] });
  });

  app.get("/v1/manifest", async (c) => {
    const { version } = parse(manifestQuery, c.req.query(), "query of a manifest");
    const current = await api.manifest(version);
    return c.json({
      current: current && { ...current, manifest: current.manifest.toBase64() },
    });
  });

  app.post("/v1/plan", async (c) => c.json(await api.plan(await readManifest(c))));

  app.get("/v1/log", async (c) => {
    const { author } = parse(logPlaceQuery, c.req.query(), "query of a place in the log");
    return c.json({ place: await api.place(author) });
  });

  app.post("/v1/log", async (c) => {
    const { events, world } = parse(eventsRequest, await readJson(c), "body of an events request");
    return c.json(await api.append(events.map((each) => Uint8Array.fromBase64(each)), world));
  });

  app.post("/v1/exec", async (c) => {
    const { event, timeoutMs } = parse(execRequest, await readJson(c), "body of an exec request");
    const reader = new AbortController();
    const signal = AbortSignal.any([reader.signal, closing]);
    const events = await api.exec(Uint8Array.fromBase64(event), timeoutMs, signal);
    const body = sendEvents(events, {
      nameOf: ({ kind }) => kind,
      describe: (error) => describe(error, c.req.raw).toJSON(),
      stop: () => reader.abort(),
      keepAliveMs,
    });
    return new Response(body, {
      headers: { "content-type": "text/event-stream", "cache-control": "no-store" },
    });
  });

  app.get("/v1/nodes", async (c) => c.json({ nodes: await api.nodes() }));

  app.get("/v1/history", async (c) => c.json({ versions: await api.history() }));

  app.get(
    "/v1/proofs/:digest{[0-9a-f]{64}}",
    async (c) => c.json({ proof: await api.proof(c.req.param("digest")) }),
  );

  app.get("/v1/secrets", async (c) => c.json({ secrets: await api.secrets() }));

  app.get("/v1/execs", async (c) => c.json({ execs: await api.execs() }));

  app.get("/v1/samples", async (c) => {
    const { component, since } = parse(samplesQuery, c.req.query(), "query of samples");
    return c.json(await api.samples(component, since ?? 0));
  });

  app.get("/v1/peers", async (c) => c.json({ peers: await api.peers() }));

  app.post("/v1/peers", async (c) => {
    const { address } = parse(peerRequest, await readJson(c), "body of a peer request");
    return c.json(await api.addPeer(address));
  });

  // A HEAD request is answered by the GET route without its body.
  app.get("/v1/blobs/:digest", async (c) => {
    const digest = readDigest(c);
    if (c.req.method === "HEAD") {
      return new Response(null, { status: await api.blobs.has(digest) ? 200 : 404 });
    }
    const bytes = await api.blobs.get(digest, c.req.raw.signal);
    if (bytes === undefined) {
      throw new RealmError("not-found", `Cannot read blob ${digest}: it is not there`);
    }
    return new Response(bytes as Uint8Array<ArrayBuffer>, {
      headers: { "content-type": "application/octet-stream" },
    });
  });

  app.put("/v1/blobs/:digest", async (c) => {
    const digest = readDigest(c);
    const bytes = await readBody(c.req.raw, blobBytesMax, `blob ${digest}`);
    const found = await sha256Hex(bytes);
    if (found !== digest) {
      throw new RealmError(
        "digest-mismatch",
        `Cannot store blob: its sha256 is ${found}, wanted ${digest}`,
      );
    }
    await api.blobs.put(bytes);
    return c.json({ digest }, 201);
  });

  app.get("/v1/components/:name/logs", async (c) => {
    const query = parse(logQuery, c.req.query(), "query of a log request");
    const request: LogOptions = {
      component: c.req.param("name"),
      follow: query.follow,
      ...(query.tail === undefined ? {} : { tail: query.tail }),
      ...(query.since === undefined ? {} : { sinceMs: query.since }),
      ...(query.replica === undefined ? {} : { replica: query.replica }),
    };
    const reader = new AbortController();
    const signal = AbortSignal.any([reader.signal, closing]);
    const events = await api.logs(request, signal);
    const body = sendEvents(untilClosing(events, closing), {
      nameOf: (event) => event.kind,
      describe: (error) => describe(error, c.req.raw).toJSON(),
      stop: () => reader.abort(),
      keepAliveMs,
    });
    return new Response(body, {
      headers: { "content-type": "text/event-stream", "cache-control": "no-store" },
    });
  });

  app.post("/v1/apps/:call", async (c) => {
    const name = c.req.param("call");
    if (!Object.hasOwn(APP_CALLS, name)) return await c.notFound();
    const { request } = APP_CALLS[name as AppCall];
    const params = parse(request as z.ZodType, await readJson(c), `body of ${name} of apps`);
    const ask = api.apps[name as AppCall] as (params: unknown) => unknown;
    return c.json(await ask(params));
  });

  app.get("/metrics", async () =>
    new Response(await api.metrics(), {
      headers: { "content-type": "text/plain; version=0.0.4; charset=utf-8" },
    }));

  return async (request) => await app.fetch(request);
}

/** The events; an end that comes of closing is told as such and not as the end of the log. */
async function* untilClosing(
  events: AsyncIterable<LogEvent>,
  closing: AbortSignal,
): AsyncGenerator<LogEvent, void, undefined> {
  yield* events;
  if (closing.aborted) {
    throw new RealmError("unreachable", "Cannot follow log: the agent is stopping", {
      hint: "Run realm agent",
    });
  }
}

function errorResponse(error: RealmError): Response {
  return Response.json({ error: error.toJSON() }, { status: HTTP_STATUS[error.code] ?? 500 });
}

function readDigest(c: Context): string {
  const digest = c.req.param("digest")!;
  if (SHA256_HEX.test(digest)) return digest;
  throw new RealmError(
    "usage",
    `Cannot use blob ${JSON.stringify(digest.slice(0, 80))}: wanted 64 lower-case hex digits`,
  );
}

async function readManifest(c: Context): Promise<SignedManifest> {
  const body = parse(manifestRequest, await readJson(c), "body of a manifest request");
  return {
    manifest: Uint8Array.fromBase64(body.manifest),
    ...(body.signature === undefined ? {} : { signature: body.signature }),
  };
}

async function readJson(c: Context): Promise<unknown> {
  const bytes = await readBody(c.req.raw, JSON_BYTES_MAX, "request");
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new RealmError("usage", "Cannot read request: its body is not JSON", { cause });
  }
}

function parse<S extends z.ZodType>(schema: S, value: unknown, what: string): z.infer<S> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const problems = result.error.issues.map((issue) =>
    issue.path.length === 0 ? issue.message : `${issue.path.join(".")}: ${issue.message}`
  );
  throw new RealmError("usage", `Cannot read ${what}: ${problems.join("; ")}`);
}

/** The whole body. Throws RealmError `limit-exceeded` as soon as it is longer than `bytesMax`. */
async function readBody(request: Request, bytesMax: number, what: string): Promise<Uint8Array> {
  const tooLong = () =>
    new RealmError("limit-exceeded", `Cannot read ${what}: longer than ${bytesMax} bytes`);
  if (Number(request.headers.get("content-length") ?? 0) > bytesMax) throw tooLong();
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of request.body ?? []) {
    length += chunk.length;
    if (length > bytesMax) throw tooLong();
    chunks.push(chunk);
  }
  const bytes = new Uint8Array(length);
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.length;
  }
  return bytes;
}
