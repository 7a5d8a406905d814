/**
 * `realm peer`: with whom the agent of this machine is connected.
 *
 * @module
 */
import type { ControlClient } from "../agent/control/client.ts";
import { command, commands } from "./command.ts";
import { withAgent } from "./connection.ts";
import { type Column, formatTable } from "./output.ts";
import { argument, parseText } from "./parameters.ts";

type PeerStatus = Awaited<ReturnType<ControlClient["peers"]>>[number];

const COLUMNS: readonly Column<PeerStatus>[] = [
  { title: "PEER", text: ({ name, key }) => name ?? key },
  {
    title: "STATE",
    text: ({ connected, direction, relayed }) =>
      connected ? `${direction}${relayed ? ", relayed" : ""}` : "not connected",
  },
  {
    title: "LATENCY",
    text: ({ latencyMs }) => latencyMs === null ? "-" : `${latencyMs.toFixed(1)} ms`,
    align: "right",
  },
  { title: "ADDRESS", text: ({ addresses }) => addresses[0] ?? "-" },
];

const ls = command({
  brief: "List the peers that the agent knows how to reach",
  async run(context) {
    await withAgent(context, async (agent) => {
      const peers = await agent.peers();
      context.print(peers, () => formatTable(peers, COLUMNS));
    });
  },
});

const add = command({
  brief: "Connect the agent to a peer, now and from now on",
  args: [argument("Where it is reached", "MULTIADDR", parseText)],
  async run(context, _flags, address) {
    await withAgent(context, async (agent) => {
      const { key } = await agent.addPeer(address);
      context.print({ key, address }, () => `connected to ${key}\n`);
    });
  },
});

export const peer = commands("Connect the agent to others", { add, ls });
