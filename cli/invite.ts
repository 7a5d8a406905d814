/**
 * `realm invite`: a ticket for `realm agent --ticket`.
 *
 * @module
 */
import * as path from "node:path";
import { RealmError } from "../agent/kernel/error.ts";
import { command } from "./command.ts";
import { withAgent } from "./connection.ts";
import type { Context } from "./context.ts";
import { GENESIS_FILE, OWNER_KEY_FILE } from "./key.ts";

export const invite = command({
  brief: "Print a ticket with which an agent joins the realm",
  description: "The ticket holds the owner's public key, the control log's topic and, where the " +
    "agent of this machine is reached, its addresses and those of other nodes. It is no secret " +
    "and grants nothing: whoever uses it asks to be approved.",
  async run(context) {
    const { formatPublicKey } = await import("../agent/kernel/key.ts");
    const { formatTicket } = await import("../agent/realm/ticket.ts");
    const { readGenesis, readPublicKey } = await import("./key_file.ts");
    const publicKey = await readPublicKey(path.join(context.dataFolder, OWNER_KEY_FILE));
    const genesis = await readGenesis(path.join(context.dataFolder, GENESIS_FILE));
    const said = {
      owner: formatPublicKey(publicKey),
      topic: genesis.id.toString(),
      addresses: await addressesOf(context),
    };
    // Where it goes into a variable or another command nobody reads along.
    if (said.addresses.length === 0 && context.shell.terminal.stdout) {
      context.note(
        "The ticket has no addresses: start realm agent with --listen here first, or start the " +
          "other one with --join MULTIADDR",
      );
    }
    const ticket = formatTicket(said);
    context.print({ ticket, ...said }, () => ticket);
  },
});

/** Addresses that one ticket holds. */
const ADDRESSES_MAX = 8;

/** Where the realm's nodes are reached: this machine's agent first, then others that live. */
async function addressesOf(context: Context): Promise<string[]> {
  try {
    const nodes = await withAgent(context, (agent) => agent.nodes());
    const known = nodes.filter(({ self, state, live }) => self || state === "approved" && live)
      .sort((a, b) => Number(b.self) - Number(a.self));
    return [...new Set(known.flatMap(({ addresses }) => addresses))].slice(0, ADDRESSES_MAX);
  } catch (error) {
    if (error instanceof RealmError && error.code === "unreachable") return [];
    throw error;
  }
}
