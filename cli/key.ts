/**
 * `realm key`: the owner's key.
 *
 * @module
 */
import * as path from "node:path";
import { command, commands } from "./command.ts";
import type { Context } from "./context.ts";
import { optional, parseInteger, parseText, required, toggle } from "./parameters.ts";

/** Name of the owner key's file in the data folder. */
export const OWNER_KEY_FILE = "owner.key";

/** Name of the file in the data folder that holds the first event of the control log. */
export const GENESIS_FILE = "control.genesis";

const show = command({
  brief: "Show the owner's public key",
  description: "Shows the owner's public key. Agents are told it with realm agent --owner KEY; " +
    "the fingerprint is for comparing by voice.",
  async run(context) {
    const { fingerprint, formatPublicKey } = await import("../agent/kernel/key.ts");
    const { isProtected, readGenesis, readPublicKey } = await import("./key_file.ts");
    const file = path.join(context.dataFolder, OWNER_KEY_FILE);
    const publicKey = await readPublicKey(file);
    const genesis = await readGenesis(path.join(context.dataFolder, GENESIS_FILE));
    const shown = {
      owner: formatPublicKey(publicKey),
      fingerprint: fingerprint(publicKey),
      topic: genesis.id.toString(),
      file,
      protected: await isProtected(file),
    };
    context.print(shown, () =>
      `owner        ${shown.owner}\n` +
      `fingerprint  ${shown.fingerprint}\n` +
      `topic        ${shown.topic}\n` +
      `file         ${shown.file}${shown.protected ? ", under a passphrase" : ""}\n`);
  },
});

const keyFlag = optional("Another key file (default: the owner's)", "FILE", parseText);

const protect = command({
  brief: "Put a key under a passphrase, or under another one",
  description: "Encrypts the key in its file (age, scrypt). Commands that sign ask for the " +
    "passphrase, or read it from the file that REALM_PASSPHRASE_FILE names. What is lost with the " +
    "passphrase only the recovery key brings back: realm key rotate.",
  flags: { key: keyFlag },
  async run(context, { key }) {
    const { newPassphrase, openKey, refuseOneForTwo } = await import("./passphrase.ts");
    const { rewriteKeyFile } = await import("./key_file.ts");
    const file = fileOf(context, key);
    await refuseOneForTwo(context, file);
    const keys = await openKey(context, file);
    await rewriteKeyFile(file, keys, await newPassphrase(context, file));
    context.print({ file, protected: true }, () => `${file} is under a passphrase\n`);
  },
});

const unprotect = command({
  brief: "Take a key from under its passphrase",
  flags: { key: keyFlag },
  async run(context, { key }) {
    const { openKey } = await import("./passphrase.ts");
    const { rewriteKeyFile } = await import("./key_file.ts");
    const file = fileOf(context, key);
    await rewriteKeyFile(file, await openKey(context, file), undefined);
    context.print({ file, protected: false }, () => `${file} is in clear\n`);
  },
});

/** The file of a key: what was named, else the owner's of the data folder. */
export function fileOf(context: Context, key: string | undefined): string {
  return key === undefined ? path.join(context.dataFolder, OWNER_KEY_FILE) : context.resolve(key);
}

const rotate = command({
  brief: "Replace the owner's key, with the recovery key",
  description: "Makes a new owner key and signs, with the recovery key of realm init, that it is " +
    "the owner's from now on, on every machine. Where the old key was stolen, --last-version names " +
    "the last manifest that was yours: nothing that was signed after it counts.",
  flags: {
    recovery: required("The recovery key", "FILE", parseText),
    lastVersion: optional("The last version that counts (default: all)", "N", parseInteger(0)),
    yes: toggle("Rotate without asking"),
  },
  aliases: { y: "yes" },
  async run(context, { recovery, lastVersion, yes }) {
    const { withAgent } = await import("./connection.ts");
    const { rotateOwner } = await import("./key_rotate.ts");
    return await withAgent(context, async (agent) => {
      const question = lastVersion === undefined
        ? "Replace the owner's key, and keep all that it signed?"
        : `Replace the owner's key, and void what it signed after version ${lastVersion}?`;
      if (!yes && !await context.confirm(question, "--yes")) return 1;
      const done = await rotateOwner(context, agent, context.resolve(recovery), lastVersion);
      context.print(done, () =>
        `owner        ${done.owner}\n` +
        `fingerprint  ${done.fingerprint}\n` +
        `file         ${done.file}\n`);
      context.note(
        `Change [owner] pubkey in realm.toml to ${done.owner}, then run realm apply realm.toml`,
      );
    });
  },
});

export const key = commands("Show, protect or replace the keys of this realm", {
  show,
  protect,
  unprotect,
  rotate,
});
