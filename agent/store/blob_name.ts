/**
 * Names of blobs, and what is said when the bytes under a name are not the named ones.
 *
 * @module
 */
import { RealmError } from "../kernel/error.ts";
import { SHA256_HEX } from "../kernel/sha256.ts";

/**
 * The digest itself. Throws RealmError `usage` for anything but 64 lower-case hex digits: names
 * become paths, so nothing else may get through.
 */
export function checkDigest(digest: string): string {
  if (SHA256_HEX.test(digest)) return digest;
  throw new RealmError(
    "usage",
    `Cannot look up blob ${JSON.stringify(digest.slice(0, 80))}: wanted 64 lower-case hex digits`,
  );
}

/** The RealmError `corrupt` of a blob whose bytes hash to something else. */
export function corruptBlob(digest: string, found: string): RealmError {
  return new RealmError(
    "corrupt",
    `Cannot read blob ${digest}: its bytes have the sha256 ${found}`,
    { hint: "Run realm apply again to fetch it anew" },
  );
}

/** The RealmError `not-found` of a blob that is not there. */
export function missingBlob(digest: string): RealmError {
  return new RealmError("not-found", `Cannot read blob ${digest}: it is not there`);
}

/** The RealmError `digest-mismatch` of pieces that make another blob than was wanted. */
export function wrongBlob(digest: string, found: string): RealmError {
  return new RealmError(
    "digest-mismatch",
    `Cannot finish blob ${digest}: its pieces have the sha256 ${found}`,
  );
}
