/**
 * The version of realm, in the one place that names it.
 *
 * @module
 */

/** Semantic version, without a leading `v`. */
export const VERSION = "0.1.0";
