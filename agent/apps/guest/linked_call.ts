/**
 * Calls from one part of a component to another: parts share nothing, so what passes is read from the
 * memory of the one and written into that of the other, by the rules of the canonical ABI.
 *
 * What passes is paid for as it is read and as room is made for it (`prices.ts`), before it is copied.
 *
 * @module
 */
import {
  type Border,
  checkRange,
  type Codec,
  type CoreValue,
  Flat,
  FLAT_MAX,
  Malformed,
} from "../../wasm/values.ts";
import { trap } from "./fault.ts";
import type { GuestMemory } from "./guest_memory.ts";
import { BYTE_PRICE, ELEMENT_PRICE, LIST_BYTES_MAX } from "./prices.ts";
import type { Signature } from "./signature.ts";

/** The memory of a part, as values pass through it. */
export class PartBorder implements Border {
  constructor(readonly memory: GuestMemory, readonly pay: (units: number) => void) {}

  get view(): DataView {
    return this.memory.numbers;
  }

  get bytes(): Uint8Array {
    return this.memory.bytes;
  }

  alloc(align: number, size: number): number {
    this.pay(BYTE_PRICE * size);
    return this.memory.allocate(size, align);
  }

  lift(bytes: number, elements: number): void {
    if (bytes > LIST_BYTES_MAX) throw trap("a list is too long");
    this.pay(BYTE_PRICE * bytes + ELEMENT_PRICE * elements);
  }

  takeOwn = noHandles;
  borrow = noHandles;
  give = noHandles;
  takeEnd = noHandles;
  giveEnd = noHandles;
}

function noHandles(): never {
  throw trap("a resource passes between parts");
}

/** The part that is called. */
export interface Callee {
  readonly border: Border;
  call(...args: CoreValue[]): CoreValue | undefined;
  /** Ends the call, once its result was read; it may not call anything meanwhile. */
  leave(result: CoreValue | undefined): void;
}

/**
 * Calls a function with the core values that the caller's import was called with; gives what that
 * import gives. Throws GuestFault where either side breaks a rule.
 */
export function callLinked(
  { params, result }: Signature,
  core: readonly CoreValue[],
  caller: Border,
  callee: Callee,
): CoreValue | undefined {
  try {
    const args = read(params, FLAT_MAX, caller, core);
    const answer = callee.call(...written(params, FLAT_MAX, callee.border, args));
    const values: CoreValue[] = [];
    if (result !== undefined) {
      const value = read(result, 1, callee.border, [answer!]);
      if (isPassedFlat(result, 1)) result.lower(caller, value, values);
      else {
        // The caller says where, behind its arguments.
        const at = (core.at(-1) as number) >>> 0;
        checkRange(caller, at, result.size, result.align);
        result.store(caller, at, value);
      }
    }
    callee.leave(answer);
    return values[0];
  } catch (error) {
    throw error instanceof Malformed ? trap(error.message) : error;
  }
}

function isPassedFlat({ flat }: Codec, max: number): boolean {
  return flat !== undefined && flat.length <= max;
}

/** A value that is `max` core values or less, else in memory, where the first one points. */
function read(codec: Codec, max: number, border: Border, core: readonly CoreValue[]): unknown {
  if (isPassedFlat(codec, max)) return codec.lift(border, new Flat(core));
  const at = (core[0] as number) >>> 0;
  checkRange(border, at, codec.size, codec.align);
  return codec.load(border, at);
}

function written(codec: Codec, max: number, border: Border, value: unknown): CoreValue[] {
  const core: CoreValue[] = [];
  if (isPassedFlat(codec, max)) codec.lower(border, value, core);
  else {
    const at = border.alloc(codec.align, codec.size);
    codec.store(border, at, value);
    core.push(at);
  }
  return core;
}
