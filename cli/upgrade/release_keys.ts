/**
 * The keys that releases are signed by, pinned in the executable when it is built.
 *
 * @module
 */

/** Put in by `scripts/bundle.ts`: what `./dev release --key FILE` signs with. */
declare const REALM_RELEASE_KEYS: string | undefined;

/** Public keys; none in a build of one's own, nor when it runs from source. */
export const RELEASE_KEYS: readonly string[] = typeof REALM_RELEASE_KEYS === "string"
  ? REALM_RELEASE_KEYS.split(" ").filter((key) => key !== "")
  : [];
