/**
 * `realm inspect --proof`: that the owner published these bytes, checked here from what an agent
 * hands over: the signature of the event, the way of the digest to the root in it, and that the tree
 * of the manifest before goes on in this one.
 *
 * @module
 */
import type { ControlClient } from "../agent/control/client.ts";
import { sha256HexSync } from "../agent/kernel/canonical.ts";
import { RealmError } from "../agent/kernel/error.ts";
import { decodeSigned, verifyEvent } from "../agent/kernel/event.ts";
import { formatPublicKey } from "../agent/kernel/key.ts";
import { webCryptoBackend } from "../agent/kernel/signature_backends.ts";
import { readControlEvent } from "../agent/realm/control_event.ts";
import { isPublished } from "../agent/realm/published.ts";
import { verifyConsistency } from "../agent/realm/tree.ts";
import { withAgent } from "./connection.ts";
import type { Context } from "./context.ts";

type Proof = NonNullable<Awaited<ReturnType<ControlClient["proof"]>>>;

/** Prints the proof. Throws RealmError `not-found` where there is none, `refused` for a wrong one. */
export async function showProof(context: Context, file: string, bytes: Uint8Array): Promise<void> {
  const digest = sha256HexSync(bytes);
  const proof = await withAgent(context, (agent) => agent.proof(digest));
  if (proof === null) {
    throw new RealmError(
      "not-found",
      `Cannot prove that "${file}" was published: no manifest until now has sha256:${digest}`,
      { hint: "Run realm apply with a manifest that names it" },
    );
  }
  const { event, version, tree, author, before } = await checked(digest, proof);
  const root = tree.root.toHex();
  const { index, path, before: earlier, event: signed } = proof;
  const { size } = tree;
  const shown = { file, digest, version, event, author, size, root, index, path, signed };
  context.print({ ...shown, before: earlier }, () =>
    [
      `${file}: published`,
      `sha256    ${digest}`,
      `leaf      ${index} of ${size}`,
      `root      ${root}`,
      `path      ${path.join("\n          ") || "none: it is the only leaf"}`,
      `signed by ${author}`,
      `in        version ${version}, event ${event}`,
      ...(before === undefined ? [] : [
        `before    version ${before.version} had ${before.tree.size}, ` +
        "which are the first of these",
      ]),
    ].join("\n") + "\n");
}

/** What the proof says, once all of it is found to be so. */
async function checked(digest: string, { event, index, path, before }: Proof) {
  const now = await readManifestEvent(event);
  const isIn = isPublished(digest, { index, path: hashes(path) }, now.tree);
  if (!isIn) throw wrong(`sha256:${digest} is not at ${index} of the tree that was signed`);
  if (before === null) return { ...now, before: undefined };
  const last = await readManifestEvent(before.event);
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
    author: formatPublicKey(signed.event.author),
    version: said.signature.version,
    tree: said.tree,
  };
}

const hashes = (all: readonly string[]) => all.map((each) => Uint8Array.fromHex(each));

function wrong(problem: string): RealmError {
  return new RealmError("refused", `Cannot take the agent's proof: ${problem}`);
}
