/**
 * The names by which a rewritten module says what of it can be put back; see `lasting_state.ts`.
 * They are here because every Worker reads them, and needs nothing else of the rewriter.
 *
 * @module
 */

/** Name of the custom section of renewable modules. */
export const RENEWABLE = "realm renewable";
/** What the names of the exports begin with; a module that has such a name itself is not renewable. */
export const LASTING = "realm ";
