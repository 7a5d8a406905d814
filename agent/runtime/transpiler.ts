/**
 * Transpiles components in Workers of their own: two at once, each within a time and a size.
 *
 * A Worker that is lost in its work cannot be killed on Deno, only given up: it ends when it comes
 * back. So a component that took too long is not tried again.
 *
 * @module
 */
import { RealmError } from "../kernel/error.ts";
import {
  FROM_SOURCE,
  type GuestWorker,
  NOTHING,
  onFailure,
  spawn,
  TRANSPILE_WORKER,
} from "./spawn.ts";

/** Larger ones are refused: the tools hold a component many times over. */
export const COMPONENT_BYTES_MAX = 64 * 1024 * 1024;
/** Workers at once; what comes meanwhile waits. */
const WORKERS_MAX = 2;
/** For any component, on a busy machine too. */
const TIME_MS = 30_000;
/** In addition, for each MiB. */
const TIME_PER_MIB_MS = 10_000;
/** A Worker without work is kept this long. */
const IDLE_MS = 10_000;

/** What {@link Transpiler} is built from; tests have their own. */
export interface TranspilerInit {
  readonly spawn?: () => GuestWorker;
  /** Time for a component, in milliseconds. */
  readonly timeMs?: (bytes: number) => number;
}

interface Job {
  readonly digest: string;
  readonly bytes: Uint8Array;
  readonly result: PromiseWithResolvers<Uint8Array>;
}

/** The Worker of the transpiler. */
function spawnTranspiler(): GuestWorker {
  // It runs no guest code; it reads the transpiler's own modules. From source, the WASI shim that
  // the transpiler stands on lists the environment when it is loaded; the bundle has another.
  const env = FROM_SOURCE ? true : ["JCO_DEBUG"];
  return spawn(TRANSPILE_WORKER, { ...NOTHING, read: true, env });
}

/** See the module. */
export class Transpiler {
  readonly #spawn: () => GuestWorker;
  readonly #timeMs: (bytes: number) => number;
  readonly #waiting: Job[] = [];
  readonly #idle: GuestWorker[] = [];
  /** By Worker, how to give up what it does. */
  readonly #busy = new Map<GuestWorker, (error: RealmError) => void>();
  /** Digests of components that took too long. */
  readonly #endless = new Set<string>();
  #timer: number | undefined;

  constructor(init: TranspilerInit = {}) {
    this.#spawn = init.spawn ?? spawnTranspiler;
    this.#timeMs = init.timeMs ?? ((bytes) => TIME_MS + TIME_PER_MIB_MS * bytes / 2 ** 20);
  }

  /**
   * The encoded artifact. Throws RealmError as `transpile()` does, and `invalid-module` for a
   * component that is too large or takes too long.
   */
  transpile(digest: string, bytes: Uint8Array): Promise<Uint8Array> {
    if (bytes.length > COMPONENT_BYTES_MAX) {
      return Promise.reject(
        new RealmError(
          "invalid-module",
          `Cannot transpile the component: it has ${bytes.length} bytes, wanted at most ${COMPONENT_BYTES_MAX}`,
        ),
      );
    }
    if (this.#endless.has(digest)) return Promise.reject(tookTooLong());
    const result = Promise.withResolvers<Uint8Array>();
    this.#waiting.push({ digest, bytes, result });
    this.#next();
    return result.promise;
  }

  #next(): void {
    while (this.#waiting.length > 0 && this.#busy.size < WORKERS_MAX) {
      this.#run(this.#idle.pop() ?? this.#spawn(), this.#waiting.shift()!);
    }
    clearTimeout(this.#timer);
    if (this.#idle.length === 0) return;
    this.#timer = setTimeout(() => {
      for (const worker of this.#idle.splice(0)) worker.terminate();
    }, IDLE_MS);
    Deno.unrefTimer(this.#timer);
  }

  #run(worker: GuestWorker, job: Job): void {
    const { digest, bytes, result } = job;
    const late = setTimeout(() => {
      this.#endless.add(digest);
      lost(tookTooLong());
    }, this.#timeMs(bytes.length));
    const done = () => {
      clearTimeout(late);
      this.#busy.delete(worker);
    };
    const lost = (error: RealmError) => {
      done();
      worker.onmessage = null;
      worker.terminate();
      result.reject(error);
      this.#next();
    };
    this.#busy.set(worker, lost);
    worker.onmessage = (event) => {
      const { artifact, error }: { artifact?: Uint8Array; error?: unknown } = event.data ?? {};
      done();
      if (artifact) result.resolve(artifact);
      else result.reject(RealmError.fromJSON(error));
      this.#idle.push(worker);
      this.#next();
    };
    onFailure(worker, (why) => {
      this.#busy.get(worker)?.(
        new RealmError("failed", `Cannot transpile the component: ${why}`),
      );
    });
    worker.postMessage({ bytes });
  }

  /** Ends the Workers; what they were at fails. */
  close(): void {
    clearTimeout(this.#timer);
    const closed = new RealmError("failed", "Cannot transpile the component: the engine is closed");
    for (const { result } of this.#waiting.splice(0)) result.reject(closed);
    for (const lost of [...this.#busy.values()]) lost(closed);
    for (const worker of this.#idle.splice(0)) worker.terminate();
  }
}

function tookTooLong(): RealmError {
  return new RealmError(
    "invalid-module",
    "Cannot transpile the component: it takes too long, wanted one that the tools get done with",
    { hint: "Make it smaller, or split it" },
  );
}
