/**
 * The web page of a realm, served on loopback by the process of the person who looks at it.
 *
 * `realm ui` is that process, and not the agent: what changes the realm is an event that is signed
 * with the person's key, which an agent never has. The page asks this process; it asks agents, as
 * every command does, and signs.
 *
 * Who may ask. A link that is printed in the terminal carries a token, good for one use, in its
 * fragment, which no request carries; the page changes it for a session, which it keeps for its tab
 * and sends in a header of each request. It is no cookie: a browser sends cookies to every port of
 * a host, and on other ports of this one components answer. That nothing is sent unasked is also
 * what keeps other sites from asking in a person's name; besides, requests with the origin or the
 * `Sec-Fetch-Site` of another page are refused, and those whose `Host` is a name and not loopback,
 * which is how a site whose name suddenly resolves to 127.0.0.1 is found out (DNS rebinding).
 *
 * | request | answer |
 * | --- | --- |
 * | `GET /`, `/page.js`, `/page.css`, `/icon.svg` | the page |
 * | `POST /api/login` `{ token }` | `{ session }` |
 * | `GET /api/about` | `{ signer, problem }`: who signs, or why nobody can |
 * | `GET /api/live?node` | server-sent {@link LiveEvent}s |
 * | `GET /api/samples?node&component&since` | as the control API answers |
 * | `GET /api/logs?node&component&tail` | server-sent events of the control API |
 * | `GET /api/history`, `GET /api/manifest?version` | as the control API; the manifest as text |
 * | `POST /api/plan` `{ manifest }` or `{ version }` | as the control API answers |
 * | `POST /api/restart`, `/api/scale`, `/api/drain` {@link Orders} | `{ message }` |
 *
 * @module
 */
import type { ControlClient } from "../agent/control/client.ts";
import { sendEvents } from "../agent/control/sse.ts";
import { RealmError } from "../agent/kernel/error.ts";
import type { Clock } from "../agent/kernel/ports.ts";
import { DeltaWriter, type LiveEvent } from "./page/live.ts";
import { readDrain, readPlan, readRestart, readScale, readToken } from "./requests.ts";

/** What the page may see of an agent. */
export type UiAgent = Pick<
  ControlClient,
  "status" | "samples" | "logs" | "history" | "manifest" | "plan"
>;

/** What can be ordered from the page; each says what it came to. */
export interface Orders {
  /** On these nodes; on all where none is named. */
  restart(component: string, nodes: readonly string[]): Promise<string>;
  /** `null`: as in the manifest; on one node, or all. */
  scale(component: string, replicas: number | null, node: string | null): Promise<string>;
  drain(node: string, drained: boolean): Promise<string>;
}

/** The realm as this person may see and change it. */
export interface UiRealm extends Orders {
  /** The agent of a node, of the one that the command was given where none is named. */
  agent(node: string | undefined): Promise<UiAgent>;
  /** The key that signs orders; throws where there is none. */
  signer(): Promise<string>;
}

/** A file of the page. */
export interface UiFile {
  readonly type: string;
  readonly body: Uint8Array<ArrayBuffer> | string;
}

/** How {@link serveUi} serves. */
export interface UiOptions {
  readonly realm: UiRealm;
  /** By their paths. */
  readonly files: ReadonlyMap<string, UiFile>;
  readonly clock: Clock;
  /** 0 takes a free one. */
  readonly port: number;
  /** Between two looks at the status; half a second unless given. */
  readonly pollMs?: number;
}

/** A page that is being served. */
export interface UiServer {
  /** Without a token. */
  readonly url: string;
  /** Makes a link that logs in once. */
  link(): string;
  /** Lets answers that are on their way come to an end, for 5 s at most. */
  close(): Promise<void>;
}

/** A link that was not used is good for so long. */
const LINK_MS = 10 * 60_000;
const LINKS_MAX = 8;
const SESSIONS_MAX = 16;
/** A session that asked for nothing, and has no stream open, is over after so long. */
const SESSION_IDLE_MS = 12 * 3600_000;
/** Answers that are on their way may take so long when the page is no longer served. */
const CLOSE_MS = 5_000;
const STREAMS_MAX = 32;
const BODY_BYTES_MAX = 1024 * 1024;
/** The part of the time that may go into looking at the status of a very large realm. */
const LOOK_PART = 0.2;
const KEEP_ALIVE_MS = 15_000;

const HEADERS: Readonly<Record<string, string>> = {
  "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; " +
    "connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; " +
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
  "referrer-policy": "no-referrer",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "cache-control": "no-store",
};

/** Serves until it is closed. Throws what listening throws. */
export function serveUi(options: UiOptions): UiServer {
  const ui = new Ui(options);
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: options.port, onListen: () => {} },
    (request) => ui.answer(request),
  );
  const url = `http://127.0.0.1:${server.addr.port}/`;
  return {
    url,
    link: () => `${url}#login=${ui.newToken()}`,
    async close() {
      ui.close();
      const over = new AbortController();
      const late = options.clock.sleep(CLOSE_MS, over.signal).catch(() => {}); // rejects when over
      await Promise.race([server.shutdown(), late]);
      over.abort();
      server.unref(); // whoever does not take its answer keeps nothing from ending
    },
  };
}

/** Of somebody who has logged in. */
interface Session {
  /** When it asked for something last, or its last stream ended. */
  usedMs: number;
  /** That are open: somebody has the page open, and it is used. */
  streams: number;
}

class Ui {
  readonly #realm: UiRealm;
  readonly #clock: Clock;
  readonly #pollMs: number;
  readonly #closed = new AbortController();
  /** Tokens that were not used yet, and until when they are good. */
  readonly #tokens = new Map<string, number>();
  /** The one that asked for something longest ago comes first. */
  readonly #sessions = new Map<string, Session>();
  #streams = 0;
  /** Aborted, and made anew, when something was ordered: live streams look at once. */
  #wake = new AbortController();

  constructor(readonly options: UiOptions) {
    this.#realm = options.realm;
    this.#clock = options.clock;
    this.#pollMs = options.pollMs ?? 500;
  }

  newToken(): string {
    const token = randomToken();
    this.#tokens.set(token, this.#clock.monotonicMs() + LINK_MS);
    dropOldest(this.#tokens, LINKS_MAX);
    return token;
  }

  close(): void {
    this.#closed.abort();
  }

  /** Never rejects: every failure is an answer. */
  async answer(request: Request): Promise<Response> {
    let response: Response;
    try {
      response = await this.#answer(request);
    } catch (error) {
      const told = error instanceof RealmError
        ? error
        : new RealmError("failed", `Cannot answer: ${describe(error)}`);
      response = Response.json({ error: told.toJSON() }, {
        status: told instanceof Refusal ? told.status : STATUS_OF[told.code] ?? 500,
      });
    }
    for (const [name, value] of Object.entries(HEADERS)) response.headers.set(name, value);
    return response;
  }

  async #answer(request: Request): Promise<Response> {
    requireLoopback(request); // before anything is made of an address that may be none
    const url = new URL(request.url);
    const name = `${request.method === "HEAD" ? "GET" : request.method} ${url.pathname}`;
    const file = name.startsWith("GET ") && this.options.files.get(url.pathname);
    if (file) return new Response(file.body, { headers: { "content-type": file.type } });
    requireSameOrigin(request);
    if (name === "POST /api/login") {
      return Response.json({ session: this.#login(readToken(await readBody(request))) });
    }
    const session = this.#requireSession(request);
    const query = (key: string) => url.searchParams.get(key) ?? undefined;
    const agent = () => this.#realm.agent(query("node"));
    switch (name) {
      case "GET /api/about":
        return Response.json(await this.#about());
      case "GET /api/live": {
        const asked = await agent();
        return this.#stream(request, session, (signal) => this.#live(asked, signal));
      }
      case "GET /api/samples":
        return Response.json(
          await (await agent()).samples(query("component"), wholeNumber(query("since")) ?? 0),
        );
      case "GET /api/logs": {
        const asked = await agent();
        const tail = wholeNumber(query("tail")) ?? 500;
        const wanted = { component: query("component") ?? "", follow: true, tail };
        return this.#stream(request, session, (signal) => asked.logs(wanted, signal));
      }
      case "GET /api/history":
        return Response.json({ versions: await (await agent()).history() });
      case "GET /api/manifest": {
        const found = await (await agent()).manifest(wholeNumber(query("version")));
        return Response.json({ text: found && new TextDecoder().decode(found.manifest) });
      }
      case "POST /api/plan":
        return Response.json(await plan(await agent(), readPlan(await readBody(request))));
      case "POST /api/restart": {
        const { component, nodes } = readRestart(await readBody(request));
        return await this.#order(() => this.#realm.restart(component, nodes));
      }
      case "POST /api/scale": {
        const { component, replicas, node } = readScale(await readBody(request));
        return await this.#order(() => this.#realm.scale(component, replicas, node));
      }
      case "POST /api/drain": {
        const { node, drained } = readDrain(await readBody(request));
        return await this.#order(() => this.#realm.drain(node, drained));
      }
    }
    throw new Refusal(404, "not-found", `Cannot answer ${name}: there is no such thing here`);
  }

  #login(token: string): string {
    const until = this.#tokens.get(token);
    this.#tokens.delete(token);
    if (until === undefined || this.#clock.monotonicMs() > until) {
      throw new Refusal(401, "refused", "Cannot log in: the link was used already, or is too old", {
        hint: "Press Enter where realm ui runs for another link, or run it again",
      });
    }
    const session = randomToken();
    for (const [each, { streams }] of this.#sessions) {
      if (this.#sessions.size >= SESSIONS_MAX && streams === 0) this.#sessions.delete(each);
    }
    dropOldest(this.#sessions, SESSIONS_MAX - 1);
    this.#sessions.set(session, { usedMs: this.#clock.monotonicMs(), streams: 0 });
    return session;
  }

  #requireSession(request: Request): Session {
    const [scheme, token = ""] = (request.headers.get("authorization") ?? "").split(" ");
    const nowMs = this.#clock.monotonicMs();
    const session = scheme === "Bearer" ? this.#sessions.get(token) : undefined;
    if (session !== undefined) {
      this.#sessions.delete(token); // to come last
      if (session.streams > 0 || nowMs - session.usedMs <= SESSION_IDLE_MS) {
        session.usedMs = nowMs;
        this.#sessions.set(token, session);
        return session;
      }
    }
    throw new Refusal(401, "refused", "Cannot answer: this page is not logged in", {
      hint: "Open the link that realm ui printed, or press Enter there for another",
    });
  }

  async #about() {
    try {
      return { signer: await this.#realm.signer(), problem: null };
    } catch (error) {
      return { signer: null, problem: describe(error) };
    }
  }

  async #order(order: () => Promise<string>): Promise<Response> {
    try {
      return Response.json({ message: await order() });
    } finally {
      this.#wake.abort();
      this.#wake = new AbortController();
    }
  }

  async *#live(agent: UiAgent, signal: AbortSignal): AsyncGenerator<LiveEvent> {
    const writer = new DeltaWriter();
    while (!signal.aborted) {
      const startMs = this.#clock.monotonicMs();
      const wake = this.#wake;
      try {
        const delta = writer.next(await agent.status());
        yield { kind: "status", atMs: startMs, ...delta };
      } catch (error) {
        yield { kind: "gone", reason: describe(error) };
      }
      const tookMs = this.#clock.monotonicMs() - startMs;
      const any = AbortSignal.any([signal, wake.signal]);
      await this.#clock.sleep(Math.max(this.#pollMs, tookMs / LOOK_PART), any).catch(() => {});
    }
  }

  #stream<T extends { readonly kind: string }>(
    request: Request,
    session: Session,
    open: (signal: AbortSignal) => AsyncIterable<T>,
  ): Response {
    if (this.#streams >= STREAMS_MAX) {
      throw new Refusal(429, "limit-exceeded", `Cannot open another stream: ${STREAMS_MAX} are`, {
        hint: "Close other tabs of this page",
      });
    }
    this.#streams++;
    session.streams++;
    const reader = new AbortController();
    const signal = AbortSignal.any([reader.signal, request.signal, this.#closed.signal]);
    const body = sendEvents(open(signal), {
      nameOf: ({ kind }) => kind,
      describe: (error) =>
        (error instanceof RealmError ? error : new RealmError("failed", describe(error))).toJSON(),
      stop: () => {
        this.#streams--;
        session.streams--;
        session.usedMs = this.#clock.monotonicMs();
        reader.abort();
      },
      keepAliveMs: KEEP_ALIVE_MS,
    });
    return new Response(body, { headers: { "content-type": "text/event-stream" } });
  }
}

/** Why a request is not answered, with the status of HTTP. */
class Refusal extends RealmError {
  constructor(
    readonly status: number,
    ...rest: ConstructorParameters<typeof RealmError>
  ) {
    super(...rest);
  }
}

const STATUS_OF: Readonly<Record<string, number>> = {
  usage: 400,
  "invalid-config": 400,
  refused: 403,
  "not-found": 404,
  stale: 409,
  unreachable: 503,
};

/** Whoever asks for another host by name was led here by it; tunnels keep a loopback name. */
function requireLoopback(request: Request): void {
  const host = request.headers.get("host") ?? "";
  if (/^(?:127\.0\.0\.1|localhost|\[::1\])(?::\d{1,5})?$/.test(host)) return;
  throw new Refusal(421, "refused", `Cannot answer for host ${JSON.stringify(host.slice(0, 80))}`, {
    hint: "Open it by 127.0.0.1 or localhost",
  });
}

function requireSameOrigin(request: Request): void {
  const site = request.headers.get("sec-fetch-site");
  const origin = request.headers.get("origin");
  const own = `http://${request.headers.get("host")}`;
  const isOwn = (site === null || site === "same-origin" || site === "none") &&
    (origin === null ? request.method !== "POST" : origin === own);
  if (isOwn) return;
  throw new Refusal(403, "refused", "Cannot answer: another page asked");
}

/** What a manifest would change: one that is given, or one of before. */
async function plan(agent: UiAgent, asked: ReturnType<typeof readPlan>) {
  if ("manifest" in asked) {
    return await agent.plan({ manifest: new TextEncoder().encode(asked.manifest) });
  }
  const past = await agent.manifest(asked.version);
  if (past === null) {
    throw new RealmError(
      "not-found",
      `Cannot plan version ${asked.version}: it was never in force`,
    );
  }
  return await agent.plan(past);
}

async function readBody(request: Request): Promise<unknown> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of request.body ?? []) {
    length += chunk.length;
    if (length > BODY_BYTES_MAX) {
      throw new Refusal(413, "limit-exceeded", "Cannot read request: longer than 1 MiB");
    }
    chunks.push(chunk);
  }
  try {
    return JSON.parse(await new Blob(chunks as Uint8Array<ArrayBuffer>[]).text());
  } catch (cause) {
    throw new RealmError("usage", "Cannot read request: its body is not JSON", { cause });
  }
}

function wholeNumber(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw new RealmError("usage", `Cannot read ${JSON.stringify(text.slice(0, 40))}: not a number`);
}

function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const hint = error instanceof RealmError ? error.hint : undefined;
  return hint === undefined ? error.message : `${error.message}. ${hint}`;
}

/** 256 bits; nobody guesses it, so nothing counts guesses. */
function randomToken(): string {
  return crypto.getRandomValues(new Uint8Array(32)).toBase64({
    alphabet: "base64url",
    omitPadding: true,
  });
}

function dropOldest(keys: Map<string, unknown>, max: number): void {
  for (const key of keys.keys()) {
    if (keys.size <= max) return;
    keys.delete(key);
  }
}
