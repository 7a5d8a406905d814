/**
 * A disk that survives its node: what `write` returned from is there after a crash, the rest is
 * not. A crash may be ordered to come within a write, before it or after it took place; a write is
 * all or nothing, so there is nothing in between.
 *
 * @module
 */
import { MemoryStore } from "../../agent/store/memory_store.ts";
import type { Store, StoreOp } from "../../agent/kernel/ports.ts";

/** Thrown out of a write: the machine is off. Nothing of ours may catch it. */
export class PowerCut extends Error {
  override readonly name = "PowerCut";
}

/** The disk; each start of the node opens it anew, and a store that was cut off stays so. */
export class CrashingDisk {
  readonly #pairs = new MemoryStore();
  /** Sees every write that took place. */
  onWrite: (ops: readonly StoreOp[]) => void = () => {};
  /** When the power goes off: at the next write, before or after it is on the disk. */
  cut: "before" | "after" | undefined;

  open(): Store & { off(): void } {
    let on = true;
    const check = () => {
      if (!on) throw new PowerCut("the machine is off");
    };
    return {
      get: (key) => (check(), this.#pairs.get(key)),
      scan: (prefix, page) => (check(), this.#pairs.scan(prefix, page)),
      keys: (prefix) => (check(), this.#pairs.keys(prefix)),
      write: (ops) => {
        check();
        const { cut } = this;
        if (cut !== undefined) {
          on = false;
          this.cut = undefined;
        }
        if (cut !== "before") {
          this.#pairs.write(ops);
          this.onWrite(ops);
        }
        if (cut !== undefined) throw new PowerCut(`the power went off ${cut} a write`);
      },
      close: () => {
        on = false;
      },
      off: () => {
        on = false;
      },
    };
  }

  /** What is on the disk now. */
  get(key: string): Uint8Array | undefined {
    return this.#pairs.get(key);
  }
}
