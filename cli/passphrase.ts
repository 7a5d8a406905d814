/**
 * Keys that are under a passphrase: who is asked for it, once in a command.
 *
 * It is typed on the terminal, or is the first line of the file that `$REALM_PASSPHRASE_FILE` names,
 * which only its owner may read. It is never in an argument or a variable itself.
 *
 * @module
 */
import { RealmError } from "../agent/kernel/error.ts";
import type { KeyPair } from "../agent/kernel/key.ts";
import type { Context } from "./context.ts";
import { fileError, isProtected, readKeyFile } from "./key_file.ts";

const opened = new WeakMap<Context, Map<string, Promise<KeyPair>>>();

/** The key of a file: see {@link readKeyFile}. Of one command it is read once. */
export function openKey(context: Context, file: string): Promise<KeyPair> {
  const files = opened.get(context) ?? new Map<string, Promise<KeyPair>>();
  opened.set(context, files);
  let keys = files.get(file);
  if (keys === undefined) {
    keys = readKeyFile(file, () => passphraseOf(context, file));
    files.set(file, keys);
    keys.catch(() => files.delete(file));
  }
  return keys;
}

/**
 * Asks now for the passphrase of a key that is needed later, where the terminal is used for
 * something else by then. A key that is not there is no matter yet.
 */
export async function unlock(context: Context, file: string): Promise<void> {
  try {
    if (await isProtected(file)) await openKey(context, file);
  } catch (error) {
    if (!(error instanceof RealmError) || error.code !== "not-found") throw error;
  }
}

/**
 * Refuses to change the passphrase of a key where both would be read from one file: it would stay
 * what it is. Throws RealmError `refused`, and what {@link isProtected} throws.
 */
export async function refuseOneForTwo({ shell }: Context, file: string): Promise<void> {
  if (!shell.env("REALM_PASSPHRASE_FILE") || !await isProtected(file)) return;
  throw new RealmError(
    "refused",
    `Cannot change the passphrase of ${file}: REALM_PASSPHRASE_FILE names one, wanted two`,
    {
      hint: "Unset it and type both; or run realm key unprotect, write the new one to that file, " +
        "and run realm key protect",
    },
  );
}

/** A passphrase that is to be used from now on: typed twice, not empty. */
export async function newPassphrase(context: Context, file: string): Promise<string> {
  const given = await fromFile(context);
  if (given !== undefined) return given;
  const passphrase = await ask(context, `New passphrase of ${file}: `);
  if (passphrase === "") {
    throw new RealmError("usage", `Cannot protect ${file}: the passphrase is empty`);
  }
  if (await ask(context, "Once more: ") !== passphrase) {
    throw new RealmError("usage", `Cannot protect ${file}: the two passphrases differ`);
  }
  return passphrase;
}

async function passphraseOf(context: Context, file: string): Promise<string> {
  return await fromFile(context) ?? await ask(context, `Passphrase of ${file}: `);
}

async function ask({ shell, json }: Context, question: string): Promise<string> {
  if (json || !shell.terminal.stdin || !shell.terminal.stderr) {
    throw new RealmError("usage", "Cannot ask for the passphrase: there is no terminal", {
      hint: "Name a file that has it, readable by you alone, with REALM_PASSPHRASE_FILE",
    });
  }
  shell.write("stderr", question);
  const typed = await shell.readHidden();
  shell.write("stderr", "\n");
  return typed;
}

async function fromFile(context: Context): Promise<string | undefined> {
  const name = context.shell.env("REALM_PASSPHRASE_FILE");
  if (name === undefined || name === "") return undefined;
  const file = context.resolve(name);
  try {
    const { mode } = await Deno.stat(file);
    if (mode !== null && (mode & 0o077) !== 0) {
      throw new RealmError(
        "refused",
        `Cannot use passphrase file ${file}: mode is ${(mode & 0o777).toString(8)}, wanted 600`,
        { hint: `Run chmod 600 ${file}` },
      );
    }
    const [passphrase = ""] = (await Deno.readTextFile(file)).split(/\r?\n/);
    if (passphrase !== "") return passphrase;
  } catch (error) {
    throw error instanceof RealmError ? error : fileError("read", file, error);
  }
  throw new RealmError("invalid-config", `Cannot use passphrase file ${file}: it is empty`);
}
