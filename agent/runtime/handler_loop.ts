/**
 * The loop in which an instance of a request handler lives, in WebAssembly, so that one suspendable
 * stack serves all of its requests: V8 maps, protects and faults in a new one for every call
 * through JSPI, which costs more than a small request.
 *
 *     (func (export "serve")
 *       (loop $requests
 *         (call $handle (call $next) (call $second))   ;; $next suspends until there is a request
 *         (call $done)
 *         (br $requests)))
 *
 * @module
 */
import { jspi } from "./pause.ts";

/**
 * Loops of a Worker that wait for a request; each is 8 KiB or so. An instance that is idle for long
 * while many others are not needs none.
 */
const WAITING_MAX = 64;
/** They, the one that waits for longest first. */
const waiting = new Set<HandlerLoop>();

/**
 * What ends a loop. One for all: each would keep the stack that it was made with. Not made while the
 * Worker loads: for its place V8 would parse all of the Worker's file again.
 */
let closed: Error | undefined;

const text = (s: string) => [s.length, ...new TextEncoder().encode(s)];
const section = (id: number, bytes: number[]) => [id, bytes.length, ...bytes];
const hostFunction = (name: string, type: number) => [...text("host"), ...text(name), 0x00, type];
// deno-fmt-ignore
const SERVE = [0x00, 0x03, 0x40, 0x10, 0x00, 0x10, 0x01, 0x10, 0x02, 0x10, 0x03, 0x0c, 0x00, 0x0b, 0x0b];
// deno-fmt-ignore
const MODULE = new WebAssembly.Module(new Uint8Array([
  0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00,
  ...section(1, [0x03, 0x60, 0x00, 0x01, 0x7f, 0x60, 0x02, 0x7f, 0x7f, 0x00, 0x60, 0x00, 0x00]),
  ...section(2, [
    0x04,
    ...hostFunction("next", 0), ...hostFunction("second", 0),
    ...hostFunction("handle", 1), ...hostFunction("done", 2),
  ]),
  ...section(3, [0x01, 0x02]),
  ...section(7, [0x01, ...text("serve"), 0x00, 0x04]),
  ...section(10, [0x01, SERVE.length, ...SERVE]),
]));

/** Calls a core function of two handles over and over, on one stack. */
export class HandlerLoop {
  #next: PromiseWithResolvers<number> | undefined;
  #second = 0;
  #done: PromiseWithResolvers<void> | undefined;
  #failure: { error: unknown } | undefined;
  #isOpen = true;

  /**
   * `handle` is the exported core function itself. `enter` and `leave` are called when the guest
   * starts and stops to run.
   */
  constructor(handle: unknown, enter: () => void, leave: () => void) {
    const { exports } = new WebAssembly.Instance(MODULE, {
      host: {
        next: new jspi.Suspending(() =>
          (this.#next = Promise.withResolvers<number>()).promise
        ) as WebAssembly.ImportValue,
        second: () => {
          enter();
          return this.#second;
        },
        handle: handle as WebAssembly.ImportValue,
        done: () => {
          leave();
          this.#done!.resolve();
          this.#done = undefined; // an idle instance keeps the loop, not what is settled
          waiting.add(this);
          if (waiting.size > WAITING_MAX) waiting.values().next().value!.close();
        },
      },
    });
    jspi.promising(exports.serve as () => never)().catch((error) => {
      if (this.#isOpen) leave();
      this.#failure = { error };
      this.#done?.reject(error);
    });
  }

  /** Whether it takes calls: as long as nobody closed it. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** One call; rejects with what the guest threw, after which there are no more. */
  call(first: number, second: number): Promise<void> {
    if (this.#failure) return Promise.reject(this.#failure.error);
    waiting.delete(this);
    this.#second = second;
    this.#done = Promise.withResolvers();
    this.#next?.resolve(first);
    return this.#done.promise;
  }

  /**
   * Ends the loop between two calls. To V8 a suspended stack is a root: without this it would keep
   * the instance, its memory and all that it imports for ever.
   */
  close(): void {
    this.#isOpen = false;
    waiting.delete(this);
    this.#next?.reject(closed ??= new Error("Cannot handle a request: the instance is closed"));
    this.#next = undefined;
  }
}
