/**
 * What `realm init` keeps in the data folder: secret keys, and the genesis of the control log.
 *
 * A key is a few comment lines, then the key's text form; the genesis is a signed event.
 * A key file is readable by its owner alone (mode 0600), is never overwritten, and is refused when
 * others may read it. Comment lines start with `#`.
 *
 * @module
 */
import {
  formatPublicKey,
  formatSecretKey,
  type KeyPair,
  parseSecretKey,
} from "../agent/kernel/key.ts";
import { RealmError } from "../agent/kernel/error.ts";
import { decodeSigned, type SignedEvent, verifyEvent } from "../agent/kernel/event.ts";
import { webCryptoBackend } from "../agent/kernel/signature_backends.ts";
import { keyPairOf } from "../agent/kernel/verify.ts";
import { readControlGenesis } from "../agent/realm/control_event.ts";

/** A key file is a few lines; what is longer is something else. */
const KEY_FILE_BYTES_MAX = 64 * 1024;

/**
 * Writes a key to a new file that only its owner may read, durably.
 *
 * `comment` is for people; its lines must not hold secrets. Throws RealmError `refused` when the
 * file exists.
 */
export async function writeKeyFile(path: string, keys: KeyPair, comment: string): Promise<void> {
  const lines = [...comment.split("\n"), `public key: ${formatPublicKey(keys.publicKey)}`];
  const text = lines.map((line) => `# ${line}\n`).join("") + formatSecretKey(keys.secretKey) + "\n";
  await writeNewFile(path, new TextEncoder().encode(text), 0o600);
}

/** Writes a file that must not exist yet, durably. Throws RealmError `refused` when it does. */
export async function writeNewFile(path: string, bytes: Uint8Array, mode: number): Promise<void> {
  let file: Deno.FsFile;
  try {
    file = await Deno.open(path, { write: true, createNew: true, mode });
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw fileError("write", path, error);
    throw new RealmError("refused", `Cannot write ${path}: it exists, wanted a new file`);
  }
  try {
    let rest = bytes;
    while (rest.length > 0) rest = rest.subarray(await file.write(rest));
    await file.sync();
  } finally {
    file.close();
  }
}

/**
 * Reads a key file.
 *
 * Throws RealmError `not-found`, `refused` when others may read the file, and `invalid-config`
 * when it holds no key.
 */
export async function readKeyFile(path: string): Promise<KeyPair> {
  let text: string;
  try {
    // Of the open file, so that the mode is that of what is read.
    using file = await Deno.open(path);
    const { mode } = await file.stat();
    if (mode !== null && (mode & 0o077) !== 0) {
      throw new RealmError(
        "refused",
        `Cannot use key file ${path}: mode is ${(mode & 0o777).toString(8)}, wanted 600`,
        { hint: `Run chmod 600 ${path}` },
      );
    }
    const bytes = new Uint8Array(KEY_FILE_BYTES_MAX);
    let length = 0;
    for (let n; (n = await file.read(bytes.subarray(length)));) length += n;
    text = new TextDecoder().decode(bytes.subarray(0, length));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) {
      throw new RealmError("not-found", `Cannot read key file ${path}: it does not exist`, {
        hint: "Run realm init, or name another data folder with --data",
        cause: error,
      });
    }
    throw error instanceof RealmError ? error : fileError("read", path, error);
  }
  const keys = text.split("\n").map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"));
  if (keys.length !== 1) {
    throw new RealmError(
      "invalid-config",
      `Cannot read key file ${path}: it holds ${keys.length} keys, wanted one`,
    );
  }
  return await keyPairOf(parseSecretKey(keys[0] ?? ""), webCryptoBackend());
}

/**
 * Reads the genesis of the realm's control log, whose id is the topic of the log.
 *
 * Throws RealmError `not-found`, and `corrupt` or `bad-signature` when it is not what `realm init`
 * wrote.
 */
export async function readGenesis(path: string): Promise<SignedEvent> {
  let bytes: Uint8Array;
  try {
    bytes = await Deno.readFile(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw fileError("read", path, error);
    throw new RealmError("not-found", `Cannot read ${path}: it does not exist`, {
      hint: "Bring it back from where the owner key was made, or make a new realm with realm init",
      cause: error,
    });
  }
  const genesis = decodeSigned(bytes);
  readControlGenesis(genesis.event);
  await verifyEvent(genesis, webCryptoBackend());
  return genesis;
}

/** Makes the folder, readable by its owner alone; one that is there must be that already. */
export async function makePrivateFolder(folder: string): Promise<void> {
  try {
    await Deno.mkdir(folder, { recursive: true, mode: 0o700 });
    const { mode, isDirectory } = await Deno.stat(folder);
    if (isDirectory && mode !== null && (mode & 0o077) !== 0) await Deno.chmod(folder, 0o700);
  } catch (error) {
    throw fileError("write", folder, error);
  }
}

/** A file that could not be read or written, told as the operator's problem. */
export function fileError(action: "read" | "write", path: string, cause: unknown): RealmError {
  const reason = cause instanceof Error ? cause.message.replace(/:? ?\(os error.*$/, "") : cause;
  return new RealmError("failed", `Cannot ${action} ${path}: ${reason}`, { cause });
}
