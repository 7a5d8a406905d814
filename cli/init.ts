/**
 * `realm init`: the keys of a new realm and a manifest to start from.
 *
 * @module
 */
import * as path from "node:path";
import { RealmError } from "../agent/kernel/error.ts";
import { command } from "./command.ts";
import type { Context } from "./context.ts";
import { GENESIS_FILE, OWNER_KEY_FILE } from "./key.ts";
import { optional, Wanted } from "./parameters.ts";

/** Name of the recovery key's file in the data folder, until the owner takes it away. */
export const RECOVERY_KEY_FILE = "recovery.key";
/** Name of the manifest in the current folder. */
export const MANIFEST_FILE = "realm.toml";

/** Names of realms are labels, as in a host name. */
const NAME = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

export const init = command({
  brief: "Make the keys of a new realm and a commented realm.toml",
  description: "Makes an owner key and a recovery key in the data folder, and a commented " +
    "realm.toml in the current folder. Nothing that exists is changed.",
  flags: {
    name: optional("Name of the realm (default: that of the current folder)", "NAME", parseName),
  },
  async run(context, flags) {
    const { fingerprint, formatPublicKey } = await import("../agent/kernel/key.ts");
    const { makePrivateFolder, readGenesis, readPublicKey } = await import("./key_file.ts");
    const folder = context.dataFolder;
    const ownerFile = path.join(folder, OWNER_KEY_FILE);
    const recoveryFile = path.join(folder, RECOVERY_KEY_FILE);
    const genesisFile = path.join(folder, GENESIS_FILE);
    const name = flags.name ?? labelOf(path.basename(context.shell.cwd));

    await makePrivateFolder(folder);
    const madeKeys = !await exists(ownerFile);
    if (madeKeys) await makeKeys(name, { ownerFile, recoveryFile, genesisFile });
    const publicKey = await readPublicKey(ownerFile);
    const owner = formatPublicKey(publicKey);
    const topic = (await readGenesis(genesisFile)).id.toString();
    const manifest = context.resolve(MANIFEST_FILE);
    const madeManifest = await makeManifest(manifest, manifestTemplate(name, owner));

    const result = {
      name,
      owner,
      fingerprint: fingerprint(publicKey),
      topic,
      ownerKeyFile: ownerFile,
      ...(madeKeys ? { recoveryKeyFile: recoveryFile } : {}),
      manifest,
      made: { keys: madeKeys, manifest: madeManifest },
    };
    context.print(result, () =>
      `${madeKeys ? "made" : "kept"}   ${ownerFile}\n` +
      (madeKeys ? `made   ${recoveryFile}\n` : "") +
      (madeKeys ? `made   ${genesisFile}\n` : "") +
      `${madeManifest ? "made" : "kept"}   ${manifest}\n` +
      `owner  ${owner}\n` +
      `topic  ${topic}\n`);
    advise(context, result.made, recoveryFile);
  },
});

function advise(
  context: Context,
  made: { keys: boolean; manifest: boolean },
  recoveryFile: string,
): void {
  if (made.keys) {
    context.note(
      `Move ${recoveryFile} to a place that is not connected to anything, and keep it there: ` +
        "only it can replace a lost or stolen owner key",
    );
  }
  if (!made.manifest) {
    context.note(`${MANIFEST_FILE} was there already and is unchanged: see to its [owner] pubkey`);
  }
}

interface KeyFiles {
  readonly ownerFile: string;
  readonly recoveryFile: string;
  readonly genesisFile: string;
}

/** Makes both keys and the genesis; the owner key comes last: where it is, all is there. */
async function makeKeys(name: string, files: KeyFiles): Promise<void> {
  const { webCryptoBackend } = await import("../agent/kernel/signature_backends.ts");
  const { keyPairOf, signerOf } = await import("../agent/kernel/verify.ts");
  const { encodeSigned } = await import("../agent/kernel/event.ts");
  const { createControlGenesis } = await import("../agent/realm/control_event.ts");
  const { writeKeyFile, writeNewFile } = await import("./key_file.ts");
  for (const left of [files.recoveryFile, files.genesisFile]) {
    if (!await exists(left)) continue;
    throw new RealmError(
      "refused",
      `Cannot make keys: ${left} is there without ${OWNER_KEY_FILE}, wanted neither`,
      { hint: "Move it away if it is of another realm, or name another folder with --data" },
    );
  }
  const backend = webCryptoBackend();
  const newKeys = () => keyPairOf(crypto.getRandomValues(new Uint8Array(32)), backend);
  const [owner, recovery] = [await newKeys(), await newKeys()];
  const genesis = await createControlGenesis(signerOf(owner, backend), recovery.publicKey);
  try {
    await writeKeyFile(
      files.recoveryFile,
      recovery,
      `recovery key of the realm "${name}"\n` +
        "Keep it offline: only it can replace the owner key, and whoever has it can do so",
    );
    await writeNewFile(files.genesisFile, encodeSigned(genesis), 0o600);
    await writeKeyFile(
      files.ownerFile,
      owner,
      `owner key of the realm "${name}"\nKeep it secret: whoever has it owns the realm`,
    );
  } catch (error) {
    // Of a realm that does not begin nothing is left; neither was there before.
    await Promise.allSettled([files.recoveryFile, files.genesisFile].map((at) => Deno.remove(at)));
    throw error;
  }
}

/** Writes the manifest unless there is one; whether it did. */
async function makeManifest(file: string, text: string): Promise<boolean> {
  const { writeNewFile } = await import("./key_file.ts");
  if (await exists(file)) return false;
  await writeNewFile(file, new TextEncoder().encode(text), 0o644);
  return true;
}

async function exists(file: string): Promise<boolean> {
  try {
    await Deno.lstat(file);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    const { fileError } = await import("./key_file.ts");
    throw fileError("read", file, error);
  }
}

function parseName(text: string): string {
  if (!NAME.test(text)) throw new Wanted("1 to 63 of a-z, 0-9 and -, as in a host name");
  return text;
}

/** The nearest valid name to that of a folder. */
function labelOf(folder: string): string {
  const label = folder.toLowerCase().replace(/[^a-z0-9]+/g, "-").slice(0, 63)
    .replace(/^-+|-+$/g, "");
  return label === "" ? "realm" : label;
}

/** A manifest that is valid as it is, and shows by comments what can be added. */
export function manifestTemplate(name: string, owner: string): string {
  return `# The manifest of the realm "${name}". Change it, then: realm plan realm.toml, realm apply realm.toml
# Every key is described in docs/manifest.md.

[owner]
pubkey = "${owner}"

[realm]
name = "${name}"

# The machines. Tags are yours to choose; routes and placements may name them.
# [nodes."laptop"]
# tags = ["dev"]

# A component: where its bytes come from, and all that it may do. Nothing is given unless written.
# [components.hello]
# source = "file:./hello.wasm"          # or https://…; realm apply pins its sha256
# world = "wasi:http/proxy"             # or "wasi:cli/command"
# memory_max_mb = 64                    # default 128
# fuel_per_sec = 100_000_000            # default 1_000_000_000
# epoch_timeout_ms = 100                # default 1_000
# env = { GREETING = "hello" }
# clock = true                          # default false: frozen wall clock, coarse timers
# random = true                         # default false: insecure random only
# mounts = [{ volume = "hello-data", guest = "/data" }]

# Which requests reach it, by node or tag. The longest path wins; "/..." is the rest of the path.
# [routing]
# "laptop" = [{ path = "/hello/...", component = "hello", replicas = 2, strip_prefix = true }]
`;
}
