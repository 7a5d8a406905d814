/**
 * The keys that an agent has of its own, in files that only their owner may read, each made when it
 * is first needed: the node's, and the person's, by which is signed what they write in topics of apps.
 * Components see neither.
 *
 * Behaviors have keys of their own, derived from the person's: one for each topic and number of an
 * instance. The public keys tell nobody whose they are.
 *
 * @module
 */
import { hmac } from "@noble/hashes/hmac.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { nodeBackend } from "./crypto_node.ts";
import { writeWhole } from "./whole_file.ts";
import type { CID } from "../kernel/canonical.ts";
import { RealmError } from "../kernel/error.ts";
import { formatSecretKey, type KeyPair, parseSecretKey } from "../kernel/key.ts";
import { keyPairOf } from "../kernel/verify.ts";

/** Name of the person's key in the data folder. */
export const PERSON_KEY_FILE = "person.key";

/**
 * The key in a file, made where there is none. Throws RealmError `invalid-config` for a file with
 * something else, `failed` where it cannot be read or made.
 */
export async function ownKey(path: string): Promise<KeyPair> {
  const backend = nodeBackend();
  try {
    return await keyPairOf(parseSecretKey((await Deno.readTextFile(path)).trim()), backend);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw unusable("use", path, error);
  }
  const pair = await keyPairOf(crypto.getRandomValues(new Uint8Array(32)), backend);
  try {
    await writeWhole(path, new TextEncoder().encode(`${formatSecretKey(pair.secretKey)}\n`));
  } catch (error) {
    throw unusable("make", path, error);
  }
  return pair;
}

function unusable(action: "use" | "make", path: string, cause: unknown): RealmError {
  const isOther = cause instanceof RealmError;
  const reason = cause instanceof Error ? cause.message.replace(/^C/, "c") : String(cause);
  return new RealmError(
    isOther ? cause.code : "failed",
    `Cannot ${action} key file ${path}: ${reason}`,
    {
      hint: isOther
        ? "Bring it back from a backup; where it is moved away another key is made, which nobody knows"
        : "Run realm doctor, which looks at the data folder and the disk",
      cause,
    },
  );
}

/** The key of a behavior of the person in a topic; `instance` counts from 0. */
export function behaviorKey(person: KeyPair, topic: CID, instance: number): Promise<KeyPair> {
  const name = new TextEncoder().encode(`realm/behavior/1\0${topic} ${instance}`);
  return keyPairOf(hmac(sha256, person.secretKey, name), nodeBackend());
}
