/**
 * What is said of an artifact that is larger than it may be.
 *
 * @module
 */
import { RealmError } from "../kernel/error.ts";

/** The RealmError `limit-exceeded` of a source. */
export function tooLarge(source: string, bytesMax: number): RealmError {
  return new RealmError(
    "limit-exceeded",
    `Cannot fetch "${source}": larger than ${bytesMax} bytes, which is the most a component may have`,
  );
}
