/**
 * Transpiles components in a Worker of its own.
 *
 * @module
 */
import { RealmError } from "../kernel/error.ts";
import { FROM_SOURCE, NOTHING, spawn, TRANSPILE_WORKER } from "./spawn.ts";

/** A transpiling Worker is kept this long without work. */
const TRANSPILER_IDLE_MS = 10_000;

/** The transpiling Worker, started when needed. */
export class Transpiler {
  #worker: Worker | undefined;
  #idle: number | undefined;
  #next = 0;
  readonly #pending = new Map<number, PromiseWithResolvers<Uint8Array>>();

  /** The encoded artifact. Throws RealmError as `transpile()` does. */
  transpile(bytes: Uint8Array): Promise<Uint8Array> {
    clearTimeout(this.#idle);
    const worker = this.#worker ??= this.#start();
    const id = this.#next++;
    const result = Promise.withResolvers<Uint8Array>();
    this.#pending.set(id, result);
    worker.postMessage({ id, bytes });
    return result.promise;
  }

  #start(): Worker {
    // It runs no guest code; it reads the transpiler's own modules. From source, the WASI shim that
    // the transpiler stands on lists the environment when it is loaded; the bundle has another.
    const env = FROM_SOURCE ? true : ["JCO_DEBUG"];
    const worker = spawn(TRANSPILE_WORKER, { ...NOTHING, read: true, env });
    worker.onmessage = (event) => {
      const { id, artifact, error } = event.data as {
        id: number;
        artifact?: Uint8Array;
        error?: unknown;
      };
      const result = this.#pending.get(id);
      this.#pending.delete(id);
      if (artifact) result?.resolve(artifact);
      else result?.reject(RealmError.fromJSON(error));
      if (this.#pending.size === 0) {
        this.#idle = setTimeout(() => this.close(), TRANSPILER_IDLE_MS);
        Deno.unrefTimer(this.#idle);
      }
    };
    worker.onerror = (event) => {
      event.preventDefault();
      this.#fail(`Cannot transpile the component: ${event.message}`);
    };
    return worker;
  }

  #fail(message: string): void {
    for (const result of this.#pending.values()) result.reject(new RealmError("failed", message));
    this.#pending.clear();
    this.close();
  }

  /** Ends the Worker. */
  close(): void {
    clearTimeout(this.#idle);
    this.#worker?.terminate();
    this.#worker = undefined;
  }
}
