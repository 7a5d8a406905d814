/**
 * What jco's glue does for resources of the component's own, and for calls between the components
 * that one is made of (`wac`, `wasm-tools compose`): bounded, and without its asynchronous tasks.
 *
 * As in `glue.ts`, output in which anything is not as expected is refused.
 *
 * @module
 */
import { HANDLES_MAX } from "./wasi/bounds.ts";

/** How a table of handles becomes longer, where none that was dropped is free. */
const ADDED_HANDLE = /if \(free === 0\) \{\s+(?=table\.push\()/g;
/** Every value that a table ever had, of which nothing is taken out again. */
const CREATED = /^\s*(?:table\._createdReps\.add\(rep\)|\w+\._createdReps = new Set\(\));$/gm;
const IS_OWN = "toTable._createdReps.has(rep)";
/** `resource.new`: the table is that of the component whose resource it is. */
const MADE = /rscTableCreateOwn\.bind\(null, handleTable(\d+)\)/g;
const BORROWS = /^\s*RESOURCE_CALL_BORROWS\.push\(\{[^}]*\}\);$/gm;

const GUEST_CALL = /\bconst (trampoline\d+) = _symmetricSyncGuestCall(?:Enter|Exit);/g;
const TRAP = "throw new TypeError('Trap');";
const PASSED_STRING =
  /(function trampoline\d+\(from_ptr, len, to_ptr\) \{\s+)(new Uint8Array\(memory\d+\.buffer, to_ptr, len\)\.set\(new Uint8Array\((memory\d+)\.buffer, from_ptr, len\)\);)/g;
const COPIES = /'utf8-to-utf8 \(mem\d+ => mem\d+\)': trampoline/g;

/** The name of the function that copies a string from one component to another. */
export const STRING_COPY = /^utf8-to-utf8 \(mem\d+ => mem\d+\)$/;

/**
 * Bounds tables of handles as those of the host's resources are, and lets them keep nothing of
 * handles that were dropped.
 */
export function boundHandles(js: string, changed: (what: string) => Error): string {
  const owners = [...js.matchAll(MADE)].map(([, table]) => table);
  const bounded = js.replace(
    ADDED_HANDLE,
    `$&if (table.length > ${
      2 * HANDLES_MAX
    }) throw new TypeError("more than ${HANDLES_MAX} handles"); `,
  )
    .replace(CREATED, "")
    // A handle that is lent to whose resource it is becomes what that made it of.
    .replace(IS_OWN, `[${owners.join(", ")}].includes(toTid)`)
    .replace(BORROWS, "");
  const tables = js.match(/function rscTableCreate(?:Own|Borrow)\(/g)?.length ?? 0;
  if (
    (js.match(ADDED_HANDLE)?.length ?? 0) !== tables || /_createdReps|BORROWS\.push/.test(bounded)
  ) throw changed("handles are made in another way");
  return bounded;
}

/**
 * A call from one component to another is a call of a core function: who checks and copies is a
 * core module that jco makes, which asks only for what is no WebAssembly. A string counts as one that
 * the host is given, and has to be UTF-8.
 */
export function reduceGuestCalls(js: string, changed: (what: string) => Error): string {
  const reduced = js.replace(GUEST_CALL, "const $1 = () => {};")
    .replace(
      TRAP,
      "throw new TypeError('a call from one of its components to another failed, trap ' + rep);",
    )
    .replace(
      PASSED_STRING,
      "$1$$lift(len); new TextDecoder('utf-8', { fatal: true })" +
        ".decode(new Uint8Array($3.buffer, from_ptr, len)); $2",
    );
  if (/ = _symmetricSyncGuestCall/.test(reduced)) throw changed("a call between components");
  if (js.match(PASSED_STRING)?.length !== js.match(COPIES)?.length) {
    throw changed("a string is passed in another form");
  }
  return reduced;
}
