/**
 * What `realm init` keeps in the data folder: secret keys, and the genesis of the control log.
 *
 * A key is a few comment lines, then the key's text form, or `age-encrypted:` and the base64 of that
 * as an age file under a passphrase (scrypt); the genesis is a signed event.
 * A key file is readable by its owner alone (mode 0600), is never overwritten, and is refused when
 * others may read it. Comment lines start with `#`.
 *
 * @module
 */
import {
  formatPublicKey,
  formatSecretKey,
  type KeyPair,
  parsePublicKey,
  parseSecretKey,
} from "../agent/kernel/key.ts";
import { RealmError } from "../agent/kernel/error.ts";
import { decodeSigned, type SignedEvent, verifyEvent } from "../agent/kernel/event.ts";
import { webCryptoBackend } from "../agent/kernel/signature_backends.ts";
import { keyPairOf } from "../agent/kernel/verify.ts";
import { syncName, writeWhole } from "../agent/node/whole_file.ts";
import { readControlGenesis } from "../agent/realm/control_event.ts";

/** A key file is a few lines; what is longer is something else. */
const KEY_FILE_BYTES_MAX = 64 * 1024;

/**
 * Writes a key to a new file that only its owner may read, durably; under a passphrase where there
 * is one, and then never in clear. `logN` is for tests, which have no time.
 *
 * `comment` is for people; its lines must not hold secrets. Throws RealmError `refused` when the
 * file exists.
 */
export async function writeKeyFile(
  path: string,
  keys: KeyPair,
  comment: string,
  passphrase?: string,
  logN?: number,
): Promise<void> {
  const lines = [...comment.split("\n"), `${PUBLIC_KEY} ${formatPublicKey(keys.publicKey)}`];
  const body = await bodyOf(keys, passphrase, logN);
  const text = lines.map((line) => `# ${line}\n`).join("") + body + "\n";
  await writeNewFile(path, new TextEncoder().encode(text), 0o600);
}

/**
 * Puts a key that {@link readKeyFile} read under a passphrase in its file, or takes it from under
 * one where there is none; its comments stay. The file is the old or the new one at any moment; of a
 * link it is the file that it leads to. `logN` is for tests, which have no time.
 *
 * Throws RealmError `refused` where the file has another name, which would keep the key as it was.
 */
export async function rewriteKeyFile(
  path: string,
  keys: KeyPair,
  passphrase: string | undefined,
  logN?: number,
): Promise<void> {
  const { comments } = await readLines(path);
  const target = await onlyNameOf(path);
  const body = await bodyOf(keys, passphrase, logN);
  const isTold = comments.some((line) => line.startsWith(`# ${PUBLIC_KEY}`));
  const told = isTold ? [] : [`# ${PUBLIC_KEY} ${formatPublicKey(keys.publicKey)}`];
  const text = [...comments, ...told, body, ""].join("\n");
  try {
    await writeWhole(target, new TextEncoder().encode(text));
  } catch (error) {
    throw fileError("write", target, error);
  }
}

/** The file itself, where links lead to it; hard links cannot be replaced together. */
async function onlyNameOf(path: string): Promise<string> {
  const target = await Deno.realPath(path);
  const { nlink } = await Deno.stat(target);
  if (nlink === null || nlink <= 1) return target;
  throw new RealmError(
    "refused",
    `Cannot rewrite key file ${target}: it has ${nlink} names, wanted one`,
    { hint: `Find them with find / -xdev -samefile ${target}, and remove the others` },
  );
}

/** The line of a key file that is the key. */
async function bodyOf(
  { secretKey }: KeyPair,
  passphrase: string | undefined,
  logN: number | undefined,
): Promise<string> {
  const secret = formatSecretKey(secretKey);
  if (passphrase === undefined) return secret;
  const { sealByPassphrase } = await import("../agent/member/secret_seal.ts");
  const sealed = await sealByPassphrase(new TextEncoder().encode(secret), passphrase, logN);
  return PROTECTED + sealed.toBase64();
}

const PUBLIC_KEY = "public key:";
const PROTECTED = "age-encrypted:";

/**
 * Writes a file that must not exist yet, durably; where that fails there is none. Throws RealmError
 * `refused` when it exists.
 */
export async function writeNewFile(path: string, bytes: Uint8Array, mode: number): Promise<void> {
  let file: Deno.FsFile;
  try {
    file = await Deno.open(path, { write: true, createNew: true, mode });
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw fileError("write", path, error);
    throw new RealmError("refused", `Cannot write ${path}: it exists, wanted a new file`);
  }
  try {
    using open = file;
    let rest = bytes;
    while (rest.length > 0) rest = rest.subarray(await open.write(rest));
    await open.sync();
    await syncName(path);
  } catch (error) {
    await Deno.remove(path).catch(() => {});
    throw fileError("write", path, error);
  }
}

/**
 * Reads a key file; `passphrase` is asked for where it is under one.
 *
 * Throws RealmError `not-found`, `refused` when others may read the file or the passphrase is
 * another, and `invalid-config` when it holds no key.
 */
export async function readKeyFile(
  path: string,
  passphrase?: () => string | Promise<string>,
): Promise<KeyPair> {
  const { key } = await readLines(path);
  if (!key.startsWith(PROTECTED)) return await keyPairOf(parseSecretKey(key), webCryptoBackend());
  if (passphrase === undefined) {
    throw new RealmError("refused", `Cannot use key file ${path}: it is under a passphrase`);
  }
  const { openByPassphrase } = await import("../agent/member/secret_seal.ts");
  const opened = await openByPassphrase(sealedIn(key, path), await passphrase());
  if (opened === undefined) {
    throw new RealmError("refused", `Cannot use key file ${path}: the passphrase is another`);
  }
  return await keyPairOf(parseSecretKey(new TextDecoder().decode(opened)), webCryptoBackend());
}

/** Whether a key is under a passphrase. Throws what {@link readKeyFile} throws. */
export async function isProtected(path: string): Promise<boolean> {
  return (await readLines(path)).key.startsWith(PROTECTED);
}

/**
 * The public key of a key file, which needs no passphrase: it is in the file beside what is under
 * one. Throws what {@link readKeyFile} throws.
 */
export async function readPublicKey(path: string): Promise<Uint8Array> {
  const { key, comments } = await readLines(path);
  if (!key.startsWith(PROTECTED)) return (await readKeyFile(path)).publicKey;
  const told = comments.map((line) => line.replace(/^#\s*/, ""))
    .find((line) => line.startsWith(PUBLIC_KEY));
  if (told !== undefined) return parsePublicKey(told.slice(PUBLIC_KEY.length).trim());
  throw new RealmError(
    "invalid-config",
    `Cannot read key file ${path}: its public key is missing, wanted # ${PUBLIC_KEY} KEY`,
  );
}

function sealedIn(key: string, path: string): Uint8Array {
  try {
    return Uint8Array.fromBase64(key.slice(PROTECTED.length));
  } catch (cause) {
    const problem = `Cannot read key file ${path}: what is under the passphrase is not base64`;
    throw new RealmError("invalid-config", problem, { cause });
  }
}

/** The comments and the one other line of a key file. */
async function readLines(path: string): Promise<{ key: string; comments: string[] }> {
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
  const lines = text.split("\n").map((line) => line.trim()).filter((line) => line !== "");
  const comments = lines.filter((line) => line.startsWith("#"));
  const keys = lines.filter((line) => !line.startsWith("#"));
  if (keys.length !== 1) {
    throw new RealmError(
      "invalid-config",
      `Cannot read key file ${path}: it holds ${keys.length} keys, wanted one`,
    );
  }
  return { key: keys[0]!, comments };
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
