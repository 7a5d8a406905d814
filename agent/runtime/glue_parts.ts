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
const LENDS = "function resourceTransferBorrow(";
const LENT = "if (!own) rscTableRemove(fromTable, handle);";
const MADE_BORROW = "rscTableCreateBorrow(toTable, rep, SCOPE_ID)";
const REMOVES = "function rscTableRemove(table, handle) {";
const REMOVED = "table[(handle << 1) + 1] = 0;";
const DROPPED = /(const handleEntry = rscTableRemove\(handleTable\d+, handle)\);/g;
const SCOPES = "let SCOPE_ID = 0;";

const GUEST_CALL = /\bconst (trampoline\d+) = _symmetricSyncGuestCall(Enter|Exit);/g;
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
  return bounded.includes(LENDS) ? countBorrows(bounded, changed) : bounded;
}

/**
 * A handle that is lent is gone by the end of the call, and whose it is keeps the resource until
 * then: who is lent it would otherwise use what is gone. As the canonical ABI has it (`num_borrows`
 * and `num_lends`), but of a handle only the outermost call is kept that it is lent to. Calls nest:
 * what jco makes for them lets no exception through.
 */
function countBorrows(js: string, changed: (what: string) => Error): string {
  const counted = js.replace(SCOPES, "const CALLS = [];")
    .replace(
      LENT,
      `const call = CALLS[CALLS.length - 1];
    if (own && fromTable[handle << 1] === 0) {
      fromTable[handle << 1] = CALLS.length;
      call.lent.push(fromTable, handle << 1);
    }`,
    )
    .replace(MADE_BORROW, "rscTableCreateBorrow(toTable, rep, CALLS.length); call.borrows++")
    .replace(REMOVES, "function rscTableRemove(table, handle, isDropped) {")
    .replace(
      REMOVED,
      `if (own && scope !== 0) throw new TypeError("a handle is given away that is lent");
    if (!own && !isDropped) throw new TypeError("a handle is given away that was only lent");
    if (!own) CALLS[scope - 1].borrows--;
    $&`,
    )
    .replace(DROPPED, "$1, true);");
  if (
    js.split("handleEntry.own").length !== counted.split("handle, true);").length ||
    [SCOPES, LENT, MADE_BORROW, REMOVES, REMOVED].some((text) => js.split(text).length !== 2) ||
    /\bSCOPE_ID\b/.test(counted)
  ) throw changed("handles are lent in another way");
  return counted;
}

const enter = (name: string) =>
  `function ${name}() {
    CALLS.push({ borrows: 0, lent: [] });
  }`;
const exit = (name: string) =>
  `function ${name}() {
    const { borrows, lent } = CALLS.pop();
    if (borrows !== 0) throw new TypeError("a handle is kept that was lent for a call");
    for (let i = 0; i < lent.length; i += 2) lent[i][lent[i + 1]] = 0;
  }`;

/**
 * A call from one component to another is a call of a core function: who checks and copies is a
 * core module that jco makes, which asks only for what is no WebAssembly. A string counts as one that
 * the host is given, and has to be UTF-8.
 */
export function reduceGuestCalls(js: string, changed: (what: string) => Error): string {
  const reduced = js.replace(GUEST_CALL, (_, name: string, side: string) =>
    // A function of JavaScript is lowered: who catches what it throws ends, too.
    !js.includes(LENDS) ? `const ${name} = () => {};` : side === "Enter" ? enter(name) : exit(name))
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
