/**
 * Flags of V8 that the executable has, and what is measured from source with it.
 *
 * - Else it collects garbage for every 64 MiB of declared memory, touched or not: with an instance for
 *   each request that is most of what an instance costs.
 * - Else each thread may have 32 MiB of objects that are mostly garbage before it looks, and an agent
 *   has many threads: under load it took a third more memory, and went up and down by as much.
 * - Else it counts, for each instance and each of its functions, the calls from every place, to put
 *   what is called often into its caller: 14 kB for an idle request handler. Guests come from
 *   compilers that have done so, and metered functions are mostly too large for it.
 *
 * @module
 */
const V8_FLAGS = [
  "--external-memory-accounted-in-global-limit",
  "--max-semi-space-size=4",
  "--no-wasm-inlining",
];

/** They as an argument of `deno run` and `deno compile`. */
export const V8_FLAGS_ARGUMENT = `--v8-flags=${V8_FLAGS.join(",")}`;
