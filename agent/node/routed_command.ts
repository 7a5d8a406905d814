/**
 * A command that answers requests: the proxy speaks HTTP/1.1 to a listening socket that the command
 * has to itself.
 *
 * @module
 */
import { HttpClient } from "../broker/http_client.ts";
import type { ProxiedListener } from "../broker/proxied_listener.ts";
import {
  DATA,
  dataChunk,
  type ExchangeRequest,
  type HttpHeaders,
  tailChunk,
} from "../kernel/http_exchange.ts";
import type {
  EnforcedLimits,
  Exit,
  HandlerRequest,
  HandlerResponse,
  Pipe,
  Replica,
  ReplicaProcess,
  Usage,
} from "../kernel/ports.ts";

/** How long a start waits for the command to listen; afterwards its requests do. */
const LISTEN_WAIT_MS = 10_000;
/** The proxy has a deadline for the head of a response, and none for a body. */
const NO_TIMEOUT_MS = 0x7fff_ffff;
/** What each connection says for itself. */
const CONNECTION_HEADERS = new Set(["content-length", "host", "transfer-encoding", "connection"]);

/** The replica of a command, whose requests go to its port behind the proxy. */
export class RoutedCommand implements Replica {
  readonly #client: HttpClient;

  private constructor(readonly command: Replica, readonly listener: ProxiedListener) {
    this.#client = new HttpClient({
      dial: (_target, { signal }) => listener.connect(signal ?? new AbortController().signal),
      dialTls: () => Promise.reject(new Error("The proxy speaks plain HTTP to components")),
    });
    command.exited.then(() => this.#client.close());
  }

  /** Resolves when the command listens, has ended, or takes its time. */
  static async start(command: Replica, listener: ProxiedListener): Promise<RoutedCommand> {
    const late = Promise.withResolvers<void>();
    const timer = setTimeout(late.resolve, LISTEN_WAIT_MS);
    await Promise.race([listener.listening, command.exited, late.promise]);
    clearTimeout(timer);
    return new RoutedCommand(command, listener);
  }

  get exited(): Promise<Exit> {
    return this.command.exited;
  }

  usage(): Usage {
    return this.command.usage();
  }

  limits(): EnforcedLimits {
    return this.command.limits();
  }

  process(): ReplicaProcess | undefined {
    return this.command.process?.();
  }

  stop(): Promise<void> {
    return this.command.stop();
  }

  async handle(request: HandlerRequest): Promise<HandlerResponse> {
    const exchange = new ProxyExchange(request);
    const { status, headers } = await this.#client.call(exchange.request, exchange);
    return { status, headers: headers as Iterable<[string, string]>, body: exchange.body };
  }
}

/** A request of the proxy in the form of the client: the two bodies are the ways of a pipe. */
class ProxyExchange implements Pipe {
  readonly request: ExchangeRequest;
  readonly body: ReadableStream<Uint8Array>;
  readonly #abort = new AbortController();
  readonly signal = this.#abort.signal;
  #reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  #isTailRead = false;
  #controller!: ReadableStreamDefaultController<Uint8Array>;
  #pulled = Promise.withResolvers<void>();
  #isOver = false;

  constructor({ method, url, headers, body, signal }: HandlerRequest) {
    const { host, pathname, search } = new URL(url);
    const all = [...headers];
    const length = all.find(([name]) => name === "content-length")?.[1];
    this.#reader = body?.getReader();
    this.request = {
      method,
      scheme: "http",
      authority: host,
      path: pathname + search,
      headers: all.filter(([name]) => !CONNECTION_HEADERS.has(name)) as HttpHeaders,
      body: !body ? "none" : length === undefined ? "chunked" : Number(length),
      connectTimeoutMs: NO_TIMEOUT_MS,
      firstByteTimeoutMs: NO_TIMEOUT_MS,
      betweenBytesTimeoutMs: NO_TIMEOUT_MS,
    };
    this.body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        this.#controller = controller;
      },
      pull: () => this.#pulled.resolve(),
      cancel: () => this.#drop(),
    });
    if (signal.aborted) this.#drop();
    else signal.addEventListener("abort", () => this.#drop(), { once: true });
  }

  #drop(): void {
    this.#abort.abort();
    this.fail("the client left");
    this.stopReading();
  }

  async read(): Promise<Uint8Array | null> {
    const { value } = await this.#reader?.read() ?? {};
    if (value) return dataChunk(value);
    if (this.#isTailRead) return null;
    this.#isTailRead = true;
    return tailChunk([]);
  }

  /** Trailers are not passed on. */
  async write(chunk: Uint8Array): Promise<boolean> {
    if (chunk[0] !== DATA || this.#isOver) return !this.#isOver;
    this.#controller.enqueue(chunk.slice(1));
    while ((this.#controller.desiredSize ?? 1) <= 0 && !this.#isOver) {
      this.#pulled = Promise.withResolvers();
      await this.#pulled.promise;
    }
    return !this.#isOver;
  }

  end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#controller.close();
  }

  fail(reason: unknown): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#pulled.resolve();
    this.#controller.error(new Error(`The component broke off: ${JSON.stringify(reason)}`));
  }

  stopReading(): void {
    this.#reader?.cancel().catch(() => {});
    this.#reader = undefined;
  }
}
