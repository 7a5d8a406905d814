/**
 * A listening socket of a guest that has no port on the machine: who connects is the agent's proxy,
 * in this process. The guest binds to the port of its grant as it always does.
 *
 * @module
 */
import type { Pipe } from "../kernel/ports.ts";
import { NetworkError } from "./network_error.ts";

/** Connections that wait until the guest accepts them; more are refused. */
const BACKLOG_MAX = 128;

/** The bytes of a connection, in the manner of a `Deno.Conn`. */
export interface ByteStream {
  read(buffer: Uint8Array): Promise<number | null>;
  write(bytes: Uint8Array): Promise<number>;
  close(): void;
}

/** The proxy's end of a connection whose other end is a guest's pipe. */
class PipeStream implements ByteStream {
  #rest: Uint8Array | undefined;

  constructor(readonly pipe: Pipe) {}

  async read(buffer: Uint8Array): Promise<number | null> {
    const chunk = this.#rest ?? await this.pipe.read();
    if (chunk === null) return null;
    const length = Math.min(chunk.length, buffer.length);
    buffer.set(chunk.subarray(0, length));
    this.#rest = length < chunk.length ? chunk.subarray(length) : undefined;
    return length;
  }

  async write(bytes: Uint8Array): Promise<number> {
    if (await this.pipe.write(bytes.slice())) return bytes.length;
    throw new NetworkError("connection-reset");
  }

  close(): void {
    this.pipe.end();
    this.pipe.stopReading();
  }
}

/** See the module. */
export class ProxiedListener {
  readonly #listening = Promise.withResolvers<void>();
  /** Resolves when the guest listens. */
  readonly listening = this.#listening.promise;
  /** Those who connected and were not accepted yet, oldest first. */
  readonly #backlog = new Set<(pipe: Pipe) => void>();
  /** Pipes of the guest's accepts under way, oldest first. */
  readonly #accepting = new Map<Pipe, () => void>();

  /** `port` is what the guest knows it as. */
  constructor(readonly port: number) {}

  /**
   * Connects, once the guest listens and accepts. Throws NetworkError `connection-refused` when too
   * many wait, `aborted` with the signal.
   */
  connect(signal: AbortSignal): Promise<ByteStream> {
    const connected = Promise.withResolvers<ByteStream>();
    if (signal.aborted) return Promise.reject(new NetworkError("aborted"));
    if (this.#backlog.size >= BACKLOG_MAX) {
      return Promise.reject(new NetworkError("connection-refused", "too many connections wait"));
    }
    const leave = () => {
      this.#backlog.delete(enter);
      connected.reject(new NetworkError("aborted"));
    };
    const enter = (pipe: Pipe) => {
      signal.removeEventListener("abort", leave);
      connected.resolve(new PipeStream(pipe));
    };
    this.#backlog.add(enter);
    signal.addEventListener("abort", leave, { once: true });
    this.#match();
    return connected.promise;
  }

  /** Resolves when somebody has connected, whose bytes flow through the pipe from then on. */
  accept(pipe: Pipe): Promise<void> {
    this.#listening.resolve();
    return new Promise((resolve, reject) => {
      const leave = () => {
        this.#accepting.delete(pipe);
        reject(new NetworkError("aborted"));
      };
      if (pipe.signal.aborted) return leave();
      pipe.signal.addEventListener("abort", leave, { once: true });
      this.#accepting.set(pipe, () => {
        pipe.signal.removeEventListener("abort", leave);
        resolve();
      });
      this.#match();
    });
  }

  #match(): void {
    const [enter] = this.#backlog;
    const [accepting] = this.#accepting;
    if (!enter || !accepting) return;
    const [pipe, accepted] = accepting;
    this.#backlog.delete(enter);
    this.#accepting.delete(pipe);
    accepted();
    enter(pipe);
  }
}
