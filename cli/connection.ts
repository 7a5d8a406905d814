/**
 * How commands reach the agent of this machine.
 *
 * @module
 */
import * as path from "node:path";
import type { ControlClient } from "../agent/control/client.ts";
import type { Author } from "./author.ts";
import { Context } from "./context.ts";

/** Path of the agent's control socket. */
export function controlSocketPath(dataFolder: string): string {
  return path.join(dataFolder, "control.sock");
}

/**
 * Gives `use` a client of the agent of this machine, or of the node that `--node` names, and lets
 * go of it afterwards. Another node is asked with the key in `keyFile`, the owner's unless given.
 *
 * `use` throws `unreachable` when no agent answers; see {@link connectRemote} for other nodes.
 */
export async function withAgent<T>(
  context: Context,
  use: (agent: ControlClient) => Promise<T>,
  keyFile?: string,
): Promise<T> {
  const { connectControl } = await import("../agent/control/client.ts");
  const agent = connectControl(controlSocketPath(context.dataFolder));
  try {
    if (context.node === undefined) return await use(agent);
    const { Author } = await import("./author.ts");
    const { remoteNode } = await import("./remote_node.ts");
    const { connectRemote } = await import("../agent/member/remote_agent.ts");
    const { keys } = await Author.open(context, keyFile);
    const node = await remoteNode(context.node, () => agent.nodes());
    const remote = await connectRemote(keys, node);
    try {
      return await use(remote.client);
    } finally {
      await remote.close();
    }
  } finally {
    agent.close();
  }
}

/** Gives `use` a client of a node, and what the realm calls it; the author's key is shown to it. */
export async function withNode<T>(
  context: Context,
  wanted: string,
  author: Author,
  use: (agent: ControlClient, name: string) => Promise<T>,
): Promise<T> {
  const { connectControl } = await import("../agent/control/client.ts");
  const { remoteNode } = await import("./remote_node.ts");
  const { connectRemote } = await import("../agent/member/remote_agent.ts");
  const own = connectControl(controlSocketPath(context.dataFolder));
  try {
    const self = wanted.startsWith("/") ? undefined : (await own.nodes())[0];
    if (self !== undefined && [self.name, self.key, self.fingerprint].includes(wanted)) {
      return await use(own, self.name);
    }
    const remote = await connectRemote(
      author.keys,
      await remoteNode(wanted, () => own.nodes()),
    );
    try {
      return await use(remote.client, (await remote.client.nodes())[0]!.name);
    } finally {
      await remote.close();
    }
  } finally {
    own.close();
  }
}

/**
 * For commands that are about the whole realm, whichever agent is asked: the one of this machine
 * unless `--node` is a multiaddr. See {@link withAgent}.
 */
export function withAnyAgent<T>(
  context: Context,
  use: (agent: ControlClient) => Promise<T>,
  keyFile?: string,
): Promise<T> {
  if (isAddress(context.node)) return withAgent(context, use, keyFile);
  const { json, quiet, verbose, data } = context.flags;
  const flags = { json, quiet, verbose, ...(data === undefined ? {} : { data }) };
  return withAgent(new Context(context.shell, flags), use);
}

/** The node that `--node` names, for commands about a part of the realm: not an address. */
export function namedNode({ node }: Context): string | undefined {
  return isAddress(node) ? undefined : node;
}

function isAddress(node: string | undefined): boolean {
  return node?.startsWith("/") ?? false;
}
