/**
 * What a state-apply component may use for one event, and what the host's functions cost it.
 *
 * One unit of fuel is one instruction (`wasm/meter/meter.ts`), and prices are about what the host's
 * work would take in instructions. All of this decides what is accepted, with the rewriter and the
 * bounds of the state: another value of any is another {@link ABI}. A rewriter that takes the same
 * fuel of all that does not fail is none: see `Outcome` of `state_apply.ts` for what fails.
 *
 * @module
 */

/** The number that fixes rewriter, fuel, prices, bounds and the form of the state's digest. */
export const ABI = 1;

/** Units for one event. */
export const FUEL_MAX = 4_000_000;
/** Units for taking over the state of another bundle: 10,000 entries of it written anew, or a second. */
export const MIGRATION_FUEL_MAX = 400_000_000;
/** Bytes of call depth as the rewriter counts them: far less than any engine's stack. */
export const STACK_BYTES = 256 * 1024;
/** Pages of 64 KiB that a component may have, all its parts together. */
export const MEMORY_PAGES_MAX = 32;
/** Elements of each of its tables, which cannot grow. */
export const TABLE_ELEMENTS_MAX = 4096;
/** Bytes of a payload, of a reason to reject, and of one list that the guest hands to the host. */
export const LIST_BYTES_MAX = 1024 * 1024;

/** Units for calling a function of the host, by interface and name, before bytes. */
export const PRICES = {
  "state-read": { get: 1000, scan: 2000 },
  "state-write": { put: 40_000, delete: 40_000 },
  params: { get: 500, creator: 200 },
  event: { id: 200, author: 200, seq: 100, lamport: 100, kind: 200 },
  crypto: { sha256: 2000, verify: 400_000, "check-canonical": 2000 },
  log: { write: 200 },
} as const;

/** Units for a call from one part of a component to another, before bytes. */
export const LINK_PRICE = 1000;
/** Units for each list, and for each element of one that is not of bytes, that passes between parts. */
export const ELEMENT_PRICE = 20;

/** Units for each byte that goes in or out of a function of the host, or of a part of a component. */
export const BYTE_PRICE = 1;
/** Units for each byte that is hashed, or read as DAG-CBOR. */
export const HASHED_BYTE_PRICE = 16;
/** Units for each entry in the answer to a scan. */
export const ENTRY_PRICE = 500;
