/**
 * `realm inspect --proof`: that the owner published these bytes, checked here from what an agent
 * hands over: the signature of the event, the way of the digest to the root in it, and that the tree
 * of the manifest before goes on in this one.
 *
 * @module
 */
import * as path from "node:path";
import type { ControlClient } from "../agent/control/client.ts";
import { sha256HexSync } from "../agent/kernel/canonical.ts";
import { RealmError } from "../agent/kernel/error.ts";
import { decodeSigned, verifyEvent } from "../agent/kernel/event.ts";
import { formatPublicKey, parsePublicKey } from "../agent/kernel/key.ts";
import { webCryptoBackend } from "../agent/kernel/signature_backends.ts";
import { readControlEvent } from "../agent/realm/control_event.ts";
import { isPublished } from "../agent/realm/published.ts";
import { verifyConsistency } from "../agent/realm/tree.ts";
import { withAgent } from "./connection.ts";
import type { Context } from "./context.ts";
import { GENESIS_FILE, OWNER_KEY_FILE } from "./key.ts";
import { readGenesis, readPublicKey } from "./key_file.ts";

type Proof = NonNullable<Awaited<ReturnType<ControlClient["proof"]>>>;

/**
 * Prints the proof. `owner` is the key that has to have signed it; else it is the data folder that
 * knows whose realm this is.
 *
 * Throws RealmError `not-found` where there is none, `refused` for a wrong one.
 */
export async function showProof(
  context: Context,
  file: string,
  bytes: Uint8Array,
  owner: string | undefined,
): Promise<void> {
  const realm = await knownRealm(context.dataFolder, owner);
  const digest = sha256HexSync(bytes);
  const proof = await withAgent(context, (agent) => agent.proof(digest));
  if (proof === null) {
    throw new RealmError(
      "not-found",
      `Cannot prove that "${file}" was published: no manifest until now has sha256:${digest}`,
      { hint: "Run realm apply with a manifest that names it" },
    );
  }
  const { event, version, tree, author, before } = await checked(digest, proof, realm);
  const root = tree.root.toHex();
  const { index, path: way, before: earlier, event: signed } = proof;
  const { size } = tree;
  const shown = { file, digest, version, event, author, size, root, index, path: way, signed };
  context.print({ ...shown, before: before === undefined ? null : earlier }, () =>
    [
      `${file}: published`,
      `sha256    ${digest}`,
      `leaf      ${index} of ${size}`,
      `root      ${root}`,
      `path      ${way.join("\n          ") || "none: it is the only leaf"}`,
      `signed by ${author}`,
      `in        version ${version}, event ${event}`,
      ...(before !== undefined
        ? [
          `before    version ${before.version} had ${before.tree.size}, ` +
          "which are the first of these",
        ]
        : version > 1
        ? ["before    not checked: the agent shows no version before by an owner known here"]
        : []),
    ].join("\n") + "\n");
}

/** What is known here, without the agent, of the realm that a proof has to be of. */
interface KnownRealm {
  /** The topic of its control log, where `realm init` was run here. */
  readonly topic: string | undefined;
  /** Text form of the owner's key. */
  readonly owner: string;
  /** Owners that may have signed what came before: also who the first one was. */
  readonly owners: readonly string[];
}

async function knownRealm(folder: string, named: string | undefined): Promise<KnownRealm> {
  const genesis = await unlessMissing(readGenesis(path.join(folder, GENESIS_FILE)));
  const first = genesis && formatPublicKey(genesis.event.author);
  // After realm key rotate the key in the folder is the one that the realm goes by.
  const key = named === undefined
    ? await unlessMissing(readPublicKey(path.join(folder, OWNER_KEY_FILE)))
    : parsePublicKey(named);
  const owner = key === undefined ? first : formatPublicKey(key);
  if (owner === undefined) {
    throw new RealmError("refused", "Cannot check a proof: whose realm it is is not known here", {
      hint: "Name its owner with --owner KEY; who made the realm sees it with realm key show",
    });
  }
  return { topic: genesis?.id.toString(), owner, owners: first ? [owner, first] : [owner] };
}

async function unlessMissing<T>(read: Promise<T>): Promise<T | undefined> {
  try {
    return await read;
  } catch (error) {
    if (error instanceof RealmError && error.code === "not-found") return undefined;
    throw error;
  }
}

/** What the proof says, once all of it is found to be so. */
async function checked(
  digest: string,
  { event, index, path, before }: Proof,
  { topic, owner, owners }: KnownRealm,
) {
  const now = await readManifestEvent(event);
  if (topic !== undefined && now.topic !== topic) {
    throw wrong(`event ${now.event} is of another realm`, "Look whose agent this is: realm status");
  }
  if (now.author !== owner) {
    throw wrong(
      `${now.author} signed it, wanted the owner ${owner}`,
      "If the owner's key was replaced, name the one to trust with --owner KEY, or run realm apply",
    );
  }
  const isIn = isPublished(digest, { index, path: hashes(path) }, now.tree);
  if (!isIn) throw wrong(`sha256:${digest} is not at ${index} of the tree that was signed`);
  if (before === null) return { ...now, before: undefined };
  const last = await readManifestEvent(before.event);
  if (last.topic !== now.topic) throw wrong(`event ${last.event} is of another realm`);
  if (last.version >= now.version) throw wrong(`version ${last.version} is not before this one`);
  if (!owners.includes(last.author)) return { ...now, before: undefined };
  if (!verifyConsistency({ from: last.tree, to: now.tree, proof: hashes(before.proof) })) {
    throw wrong(`the tree of version ${now.version} does not begin with that of ${last.version}`);
  }
  return { ...now, before: last };
}

async function readManifestEvent(encoded: string) {
  const signed = decodeSigned(Uint8Array.fromBase64(encoded));
  await verifyEvent(signed, webCryptoBackend());
  const said = readControlEvent(signed.event);
  if (said.kind !== "manifest") throw wrong(`event ${signed.id} is no manifest`);
  return {
    event: signed.id.toString(),
    topic: signed.event.topic?.toString(),
    author: formatPublicKey(signed.event.author),
    version: said.signature.version,
    tree: said.tree,
  };
}

const hashes = (all: readonly string[]) => all.map((each) => Uint8Array.fromHex(each));

function wrong(problem: string, hint?: string): RealmError {
  return new RealmError(
    "refused",
    `Cannot take the agent's proof: ${problem}`,
    hint === undefined ? {} : { hint },
  );
}
