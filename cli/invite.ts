/**
 * `realm invite`: a ticket for `realm agent --ticket`.
 *
 * @module
 */
import * as path from "node:path";
import { command } from "./command.ts";
import { GENESIS_FILE, OWNER_KEY_FILE } from "./key.ts";

export const invite = command({
  brief: "Print a ticket that tells an agent its owner",
  description:
    "The ticket holds the owner's public key and the control log's topic. It is no secret: it saves typing a key.",
  async run(context) {
    const { formatPublicKey } = await import("../agent/kernel/key.ts");
    const { formatTicket } = await import("../agent/realm/ticket.ts");
    const { readGenesis, readKeyFile } = await import("./key_file.ts");
    const { publicKey } = await readKeyFile(path.join(context.dataFolder, OWNER_KEY_FILE));
    const genesis = await readGenesis(path.join(context.dataFolder, GENESIS_FILE));
    const said = {
      owner: formatPublicKey(publicKey),
      topic: genesis.id.toString(),
      addresses: [] as string[],
    };
    const ticket = formatTicket(said);
    context.print({ ticket, ...said }, () => ticket);
  },
});
