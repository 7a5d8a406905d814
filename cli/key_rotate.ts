/**
 * `realm key rotate`: a new owner key in place of one that is lost, stolen or old.
 *
 * @module
 */
import { sha256 } from "@noble/hashes/sha2.js";
import * as path from "node:path";
import type { ControlClient } from "../agent/control/client.ts";
import { CID } from "../agent/kernel/canonical.ts";
import { RealmError } from "../agent/kernel/error.ts";
import { bytesEqual, fingerprint, formatPublicKey, type KeyPair } from "../agent/kernel/key.ts";
import { webCryptoBackend } from "../agent/kernel/signature_backends.ts";
import { keyPairOf } from "../agent/kernel/verify.ts";
import { controlContent, readControlGenesis } from "../agent/realm/control_event.ts";
import { Author } from "./author.ts";
import type { Context } from "./context.ts";
import { GENESIS_FILE, OWNER_KEY_FILE } from "./key.ts";
import { fileError, isProtected, readGenesis, writeKeyFile } from "./key_file.ts";
import { newPassphrase, openKey } from "./passphrase.ts";

/** The new key's file until the realm knows it, and the old one's afterwards. */
const NEXT_KEY_FILE = "owner.next.key";
const OLD_KEY_FILE = "owner.old.key";

/** What was done. */
export interface Rotation {
  readonly owner: string;
  readonly fingerprint: string;
  readonly before: string;
  /** The last event of the owner before that counts; `null`: none. */
  readonly last: string | null;
  readonly file: string;
}

/**
 * Makes a new owner key, and hands the agent the event, signed by the recovery key, that names it.
 * What the owner before signed counts up to the manifest of `lastVersion`, or all that is known here.
 *
 * The new key is on the disk before anybody knows of it, and takes the old one's place after.
 */
export async function rotateOwner(
  context: Context,
  agent: ControlClient,
  recoveryFile: string,
  lastVersion: number | undefined,
): Promise<Rotation> {
  const recovery = new Author(await openRecovery(context, recoveryFile), recoveryFile);
  const { node: { owner: before } } = await agent.status();
  if (before === null) throw new RealmError("unclaimed", "Cannot rotate: the agent has no owner");
  const last = await lastEvent(agent, before, lastVersion);
  const file = (name: string) => path.join(context.dataFolder, name);
  const isUnderPassphrase = await isProtected(file(OWNER_KEY_FILE)).catch((error) => {
    if (error instanceof RealmError && error.code === "not-found") return false; // it is lost
    throw error;
  });
  const keys = await nextKeys(context, file(NEXT_KEY_FILE), isUnderPassphrase);
  const owner = formatPublicKey(keys.publicKey);
  await recovery.append(agent, [
    controlContent({ kind: "succession", owner, last: last === null ? null : CID.parse(last) }),
  ]);
  const known = (await agent.status()).node.owner;
  if (known !== owner) {
    throw new RealmError(
      "refused",
      `Cannot rotate: ${recoveryFile} is not the recovery key of this realm, or it named two owners`,
      { hint: "Look at the alarms of realm status" },
    );
  }
  try {
    await Deno.rename(file(OWNER_KEY_FILE), file(OLD_KEY_FILE)).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error; // it is lost
    });
    await Deno.rename(file(NEXT_KEY_FILE), file(OWNER_KEY_FILE));
  } catch (error) {
    throw fileError("write", file(OWNER_KEY_FILE), error);
  }
  return {
    owner,
    fingerprint: fingerprint(keys.publicKey),
    before,
    last,
    file: file(OWNER_KEY_FILE),
  };
}

/** The recovery key: refused where the genesis is here and names another, before any key is made. */
async function openRecovery(context: Context, file: string): Promise<KeyPair> {
  const orNone = (error: unknown) => {
    if (error instanceof RealmError && error.code === "not-found") return undefined;
    throw error;
  };
  const hint = "Name the recovery.key that realm init made: --recovery FILE";
  const keys = await openKey(context, file).catch(orNone);
  if (keys === undefined) {
    throw new RealmError("not-found", `Cannot read key file ${file}: it does not exist`, { hint });
  }
  const genesis = await readGenesis(path.join(context.dataFolder, GENESIS_FILE)).catch(orNone);
  const isAnother = genesis !== undefined &&
    !bytesEqual(sha256(keys.publicKey), readControlGenesis(genesis.event).recoveryHash);
  if (!isAnother) return keys;
  const problem = `Cannot rotate: ${file} is not the recovery key of this realm`;
  throw new RealmError("refused", problem, { hint });
}

/** The key that an earlier try made, or a new one. */
async function nextKeys(context: Context, file: string, isUnderPassphrase: boolean) {
  try {
    return await openKey(context, file);
  } catch (error) {
    if (!(error instanceof RealmError) || error.code !== "not-found") throw error;
  }
  const passphrase = isUnderPassphrase ? await newPassphrase(context, file) : undefined;
  const seed = crypto.getRandomValues(new Uint8Array(32));
  const keys = await keyPairOf(seed, webCryptoBackend());
  await writeKeyFile(
    file,
    keys,
    "owner key of a realm\nKeep it secret: whoever has it owns the realm",
    passphrase,
  );
  return keys;
}

async function lastEvent(
  agent: ControlClient,
  owner: string,
  version: number | undefined,
): Promise<string | null> {
  if (version === undefined) return (await agent.place(owner))?.previous?.id ?? null;
  const found = (await agent.history())
    .find((entry) => entry.version === version && entry.author === owner);
  if (found !== undefined) return found.event;
  throw new RealmError(
    "not-found",
    `Cannot rotate after version ${version}: ${owner} signed no such manifest`,
    { hint: "Run realm history" },
  );
}
