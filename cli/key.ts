/**
 * `realm key`: the owner's key.
 *
 * @module
 */
import * as path from "node:path";
import { command, commands } from "./command.ts";

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
    const { readGenesis, readKeyFile } = await import("./key_file.ts");
    const file = path.join(context.dataFolder, OWNER_KEY_FILE);
    const { publicKey } = await readKeyFile(file);
    const genesis = await readGenesis(path.join(context.dataFolder, GENESIS_FILE));
    const shown = {
      owner: formatPublicKey(publicKey),
      fingerprint: fingerprint(publicKey),
      topic: genesis.id.toString(),
      file,
    };
    context.print(shown, () =>
      `owner        ${shown.owner}\n` +
      `fingerprint  ${shown.fingerprint}\n` +
      `topic        ${shown.topic}\n` +
      `file         ${shown.file}\n`);
  },
});

export const key = commands("Show the keys of this realm", { show });
