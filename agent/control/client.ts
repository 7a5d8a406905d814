/**
 * Asks an agent over its control socket.
 *
 * Answers are checked against the shapes of `api.ts`; an error of the agent arrives as the
 * RealmError that it threw there, and no agent as `unreachable`.
 *
 * @module
 */
import type * as z from "zod";
import { RealmError } from "../kernel/error.ts";
import { sha256Hex } from "../kernel/sha256.ts";
import {
  type CurrentManifest,
  type EventsAnswer,
  eventsAnswer,
  type ExecEntry,
  type ExecEvent,
  execEvent,
  execsAnswer,
  historyAnswer,
  type HistoryEntry,
  logAnswer,
  type LogEvent,
  logEvent,
  type LogOptions,
  type LogPlace,
  manifestAnswer,
  nodesAnswer,
  type NodeStatus,
  type PeerAnswer,
  peerAnswer,
  peersAnswer,
  type PeerStatus,
  type PlanAnswer,
  planAnswer,
  type ProgramAnswer,
  programAnswer,
  proofAnswer,
  type PublicationProof,
  type SamplesAnswer,
  samplesAnswer,
  type SealedSecret,
  secretsAnswer,
  type SignedManifest,
  type Status,
  status,
} from "./api.ts";
import { APP_CALLS, type AppCall, type AppsClient } from "./apps_api.ts";
import { readEvents } from "./sse.ts";
import { socketTarget } from "./socket.ts";

/** Who is asked, and how long an answer may take, in milliseconds. */
export interface ClientOptions {
  /** Who answers, and what to do when nobody does: the agent of this machine unless given. */
  readonly asked?: { readonly name: string; readonly hint: string };
  /** For everything but the next; 10 s. */
  readonly timeoutMs?: number;
  /** For uploads, `plan` and `append`, which may compile components; 5 min. */
  readonly longTimeoutMs?: number;
}

/** The calls of the control API, one method each. All of them may throw `unreachable`. */
export interface ControlClient {
  status(): Promise<Status>;
  /** Which program runs there; understood of agents of other versions too. */
  program(): Promise<ProgramAnswer>;
  /** The manifest in force, or one of before by its version; `null` where there is none. */
  manifest(version?: number): Promise<CurrentManifest | null>;
  plan(request: SignedManifest): Promise<PlanAnswer>;
  /** Where the next event of an author goes; `null`: there is no log yet. */
  place(author: string): Promise<LogPlace | null>;
  /**
   * Hands over events as `encodeSigned()` gives them, parents first. With the `world` of a plan a
   * manifest is refused (`stale`) that would do something else by now.
   */
  append(events: readonly Uint8Array[], world?: string): Promise<EventsAnswer>;
  /**
   * Runs the command of a signed event on the agent's machine: its output, then its status. Leaving
   * the loop, or aborting the signal, kills it.
   */
  exec(
    event: Uint8Array,
    options: { readonly timeoutMs: number },
    signal?: AbortSignal,
  ): AsyncGenerator<ExecEvent, void, undefined>;
  nodes(): Promise<readonly NodeStatus[]>;
  /** Newest first. */
  history(): Promise<readonly HistoryEntry[]>;
  /** That the owner published a digest; `null` where there is no proof. */
  proof(digest: string): Promise<PublicationProof | null>;
  /** Of the owner alone. */
  secrets(): Promise<readonly SealedSecret[]>;
  /** Newest first. */
  execs(): Promise<readonly ExecEntry[]>;
  /** The last hour of the node, or of a component on it, from a wall time on. */
  samples(component?: string, sinceMs?: number): Promise<SamplesAnswer>;
  peers(): Promise<readonly PeerStatus[]>;
  /** Connects to a multiaddr, now and from now on. */
  addPeer(address: string): Promise<PeerAnswer>;
  hasBlob(digest: string): Promise<boolean>;
  /** Uploads the bytes unless the agent has them, and returns their digest. */
  putBlob(bytes: Uint8Array): Promise<string>;
  /** Bytes of this node, or of others. Throws RealmError `not-found`, `digest-mismatch`. */
  getBlob(digest: string): Promise<Uint8Array>;
  /**
   * Lines and gaps, in order. Ends when all is told; with `follow`, when the signal is aborted or
   * the loop is left. Throws `unreachable` when the agent goes away in between.
   */
  logs(options: LogOptions, signal?: AbortSignal): AsyncGenerator<LogEvent, void, undefined>;
  metrics(): Promise<string>;
  /** About apps; see `apps_api.ts`. */
  readonly apps: AppsClient;
  /** Lets go of the connections; a log that is being read ends with `unreachable`. */
  close(): void;
}

/** A client of the agent whose socket is at `path`. Connects with the first call. */
export function connectControl(path: string, options: ClientOptions = {}): ControlClient {
  return new SocketClient(path, options);
}

class SocketClient implements ControlClient {
  readonly apps: AppsClient;
  readonly #path: string;
  readonly #asked: { readonly name: string; readonly hint: string };
  readonly #timeoutMs: number;
  readonly #longTimeoutMs: number;
  /** Where the socket is, which a longer path is a link to. */
  #target: string;
  #http: Deno.HttpClient;
  #closed = false;

  constructor(
    path: string,
    { asked, timeoutMs = 10_000, longTimeoutMs = 300_000 }: ClientOptions,
  ) {
    this.#path = path;
    this.#asked = asked ?? { name: `the agent at "${path}"`, hint: "Run realm agent" };
    this.#timeoutMs = timeoutMs;
    this.#longTimeoutMs = longTimeoutMs;
    this.#target = socketTarget(path);
    this.#http = httpAt(this.#target);
    const ask = (name: AppCall) => (request: unknown) => {
      const init = { method: "POST", body: JSON.stringify(request) };
      const { answer } = APP_CALLS[name];
      return this.#json(answer as z.ZodType, `/v1/apps/${name}`, init, this.#longTimeoutMs);
    };
    this.apps = Object.fromEntries(
      Object.keys(APP_CALLS).map((name) => [name, ask(name as AppCall)]),
    ) as unknown as AppsClient;
  }

  async status(): Promise<Status> {
    return await this.#json(status, "/v1/status");
  }

  async program(): Promise<ProgramAnswer> {
    return (await this.#json(programAnswer, "/v1/status")).node;
  }

  async manifest(version?: number): Promise<CurrentManifest | null> {
    const query = version === undefined ? "" : `?version=${version}`;
    const { current } = await this.#json(manifestAnswer, `/v1/manifest${query}`);
    return current && { ...current, manifest: Uint8Array.fromBase64(current.manifest) };
  }

  async plan(request: SignedManifest): Promise<PlanAnswer> {
    return await this.#json(planAnswer, "/v1/plan", manifestInit(request), this.#longTimeoutMs);
  }

  async place(author: string): Promise<LogPlace | null> {
    const query = new URLSearchParams({ author });
    return (await this.#json(logAnswer, `/v1/log?${query}`)).place;
  }

  async append(events: readonly Uint8Array[], world?: string): Promise<EventsAnswer> {
    const body = JSON.stringify({ events: events.map((each) => each.toBase64()), world });
    return await this.#json(eventsAnswer, "/v1/log", { method: "POST", body }, this.#longTimeoutMs);
  }

  async nodes(): Promise<readonly NodeStatus[]> {
    return (await this.#json(nodesAnswer, "/v1/nodes")).nodes;
  }

  async history(): Promise<readonly HistoryEntry[]> {
    return (await this.#json(historyAnswer, "/v1/history")).versions;
  }

  async proof(digest: string): Promise<PublicationProof | null> {
    return (await this.#json(proofAnswer, `/v1/proofs/${digest}`)).proof;
  }

  async secrets(): Promise<readonly SealedSecret[]> {
    return (await this.#json(secretsAnswer, "/v1/secrets")).secrets;
  }

  async execs(): Promise<readonly ExecEntry[]> {
    return (await this.#json(execsAnswer, "/v1/execs")).execs;
  }

  async samples(component?: string, sinceMs?: number): Promise<SamplesAnswer> {
    const query = new URLSearchParams();
    if (component !== undefined) query.set("component", component);
    if (sinceMs !== undefined) query.set("since", String(sinceMs));
    return await this.#json(samplesAnswer, `/v1/samples?${query}`);
  }

  async peers(): Promise<readonly PeerStatus[]> {
    return (await this.#json(peersAnswer, "/v1/peers")).peers;
  }

  async addPeer(address: string): Promise<PeerAnswer> {
    const init = { method: "POST", body: JSON.stringify({ address }) };
    return await this.#json(peerAnswer, "/v1/peers", init);
  }

  async hasBlob(digest: string): Promise<boolean> {
    const response = await this.#fetch(
      `/v1/blobs/${encodeURIComponent(digest)}`,
      {
        method: "HEAD",
      },
      this.#timeoutMs,
      async (response) => {
        await response.body?.cancel();
        return response;
      },
    );
    if (response.ok) return true;
    if (response.status === 404) return false;
    // The answer to HEAD has no body that could say more.
    throw new RealmError("failed", `Cannot look up blob ${digest}: HTTP ${response.status}`);
  }

  async getBlob(digest: string): Promise<Uint8Array> {
    const path = `/v1/blobs/${digest}`;
    const bytes = await this.#fetch(path, {}, this.#longTimeoutMs, async (response) => {
      if (!response.ok) await this.#text(response); // throws what the agent says
      return new Uint8Array(await response.arrayBuffer());
    });
    const found = await sha256Hex(bytes); // what is signed for that digest has to be that
    if (found === digest) return bytes;
    throw new RealmError(
      "digest-mismatch",
      `Cannot use blob ${digest}: the sha256 of what the agent has is ${found}`,
    );
  }

  async putBlob(bytes: Uint8Array): Promise<string> {
    const digest = await sha256Hex(bytes);
    if (await this.hasBlob(digest)) return digest;
    await this.#fetch(
      `/v1/blobs/${digest}`,
      { method: "PUT", body: bytes as Uint8Array<ArrayBuffer> },
      this.#longTimeoutMs,
      (response) => this.#text(response),
    );
    return digest;
  }

  async *logs(
    options: LogOptions,
    signal?: AbortSignal,
  ): AsyncGenerator<LogEvent, void, undefined> {
    const query = new URLSearchParams();
    if (options.follow) query.set("follow", "1");
    if (options.tail !== undefined) query.set("tail", String(options.tail));
    if (options.sinceMs !== undefined) query.set("since", String(options.sinceMs));
    if (options.replica !== undefined) query.set("replica", String(options.replica));
    yield* this.#events(logEvent, `${componentPath(options.component)}/logs?${query}`, {}, signal);
  }

  async *exec(
    event: Uint8Array,
    { timeoutMs }: { readonly timeoutMs: number },
    signal?: AbortSignal,
  ): AsyncGenerator<ExecEvent, void, undefined> {
    const body = JSON.stringify({ event: event.toBase64(), timeoutMs });
    yield* this.#events(execEvent, "/v1/exec", { method: "POST", body }, signal);
  }

  /** After nobody was there: an agent that is started again may have its socket elsewhere. */
  #lookAgain(): void {
    const target = socketTarget(this.#path);
    if (this.#closed || target === this.#target) return;
    this.#http.close();
    this.#target = target;
    this.#http = httpAt(target);
  }

  async *#events<S extends z.ZodType>(
    schema: S,
    path: string,
    init: RequestInit,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<z.infer<S>, void, undefined> {
    const leave = new AbortController();
    try {
      const any = signal ? AbortSignal.any([signal, leave.signal]) : leave.signal;
      const response = await this.#fetch(
        path,
        { ...init, signal: any },
        this.#timeoutMs,
        async (response) => {
          if (!response.ok) await this.#text(response);
          return response;
        },
      );
      for await (const { event, data } of readEvents(response.body!)) {
        if (event === "end") return;
        if (event === "error") throw RealmError.fromJSON(parseJson(data));
        yield this.#check(schema, parseJson(data), path);
      }
      throw this.#unreachable(new Error("the stream of events broke off"));
    } catch (error) {
      if (signal?.aborted) return;
      throw error instanceof RealmError ? error : this.#unreachable(error);
    } finally {
      leave.abort();
    }
  }

  async metrics(): Promise<string> {
    return await this.#fetch("/metrics", {}, this.#timeoutMs, (response) => this.#text(response));
  }

  close(): void {
    this.#closed = true;
    this.#http.close();
  }

  async #json<S extends z.ZodType>(
    schema: S,
    path: string,
    init: RequestInit = {},
    timeoutMs: number = this.#timeoutMs,
  ): Promise<z.infer<S>> {
    const text = await this.#fetch(path, init, timeoutMs, (response) => this.#text(response));
    return this.#check(schema, parseJson(text), path);
  }

  /** The body of a good answer. Throws the error that a bad one carries. */
  async #text(response: Response): Promise<string> {
    let text: string;
    try {
      text = await response.text();
    } catch (error) {
      throw this.#unreachable(error);
    }
    if (response.ok) return text;
    const body = parseJson(text) as { error?: unknown } | null | undefined;
    if (typeof body?.error === "object") throw RealmError.fromJSON(body.error);
    throw new RealmError(
      "failed",
      `Cannot understand ${this.#asked.name}: HTTP ${response.status}`,
    );
  }

  #check<S extends z.ZodType>(schema: S, value: unknown, path: string): z.infer<S> {
    const result = schema.safeParse(value);
    if (result.success) return result.data;
    const issue = result.error.issues[0]!;
    throw new RealmError(
      "failed",
      `Cannot understand the agent's answer to ${path}: ${issue.path.join(".")}: ${issue.message}`,
      { hint: "The agent may be of another version; compare realm --version with realm status" },
    );
  }

  /** Sends the request and lets `read` take the answer; the time-out is for both together. */
  async #fetch<T>(
    path: string,
    init: RequestInit,
    timeoutMs: number,
    read: (response: Response) => Promise<T>,
  ): Promise<T> {
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(), timeoutMs);
    const signal = init.signal ? AbortSignal.any([init.signal, late.signal]) : late.signal;
    try {
      // The host is never resolved: the client goes to the socket.
      return await read(
        await fetch(`http://agent${path}`, { ...init, signal, client: this.#http }),
      );
    } catch (error) {
      if (late.signal.aborted) {
        throw new RealmError(
          "unreachable",
          `Cannot reach ${this.#asked.name}: no answer within ${timeoutMs} ms`,
          { hint: "Look at the agent's own output; it may be overloaded", cause: error },
        );
      }
      throw error instanceof RealmError ? error : this.#unreachable(error);
    } finally {
      clearTimeout(timer);
    }
  }

  #unreachable(cause: unknown): RealmError {
    const reason = cause instanceof Error ? cause.message : String(cause);
    if (isGone(reason)) this.#lookAgain();
    if (/os error 13\)/.test(reason)) {
      return new RealmError(
        "unreachable",
        `Cannot reach ${this.#asked.name}: permission denied`,
        { hint: "Run this as the user that runs the agent", cause },
      );
    }
    return new RealmError(
      "unreachable",
      `Cannot reach ${this.#asked.name}: ${
        isGone(reason)
          ? "no agent is running"
          : isBroken(reason)
          ? "the connection broke off"
          : reason
      }`,
      { hint: this.#asked.hint, cause },
    );
  }
}

/** Whether a call threw this because nobody listens at the socket, and for no other reason. */
export function isNoAgent(error: unknown): boolean {
  return error instanceof RealmError && error.code === "unreachable" &&
    error.cause instanceof Error && isGone(error.cause.message);
}

/** There is no socket, or nobody has it open; a path that is too long for one is no link to one. */
function isGone(reason: string): boolean {
  return /os error (2|61|111)\)|SUN_LEN/.test(reason);
}

/** Somebody was there, and left before the answer was whole. */
function isBroken(reason: string): boolean {
  return /client error \(SendRequest\)/.test(reason);
}

function httpAt(socket: string): Deno.HttpClient {
  return Deno.createHttpClient({ proxy: { transport: "unix", path: socket } });
}

function componentPath(component: string): string {
  return `/v1/components/${encodeURIComponent(component)}`;
}

function manifestInit(request: SignedManifest): RequestInit {
  const { manifest, signature } = request;
  return { method: "POST", body: JSON.stringify({ manifest: manifest.toBase64(), signature }) };
}

/** The value, or `undefined` where the text is not JSON. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
