/**
 * Asks the agent of another machine: a connection that proves the owner's or an operator's key, in
 * it one stream for each request, and at this end a socket that looks like that of an agent here.
 *
 * @module
 */
import { join } from "node:path";
import { connectControl, type ControlClient } from "../control/client.ts";
import { RealmError } from "../kernel/error.ts";
import type { KeyPair } from "../kernel/key.ts";
import type { Network } from "../kernel/ports.ts";
import { startLibp2p } from "../net/libp2p_network.ts";
import { CONTROL_PROTOCOL } from "./remote_control.ts";
import { pipeStream } from "../net/stream_pipe.ts";

/** A node that is to be asked. */
export interface RemoteNode {
  /** As the operator calls it. */
  readonly name: string;
  /** Text form of its key. */
  readonly key: string;
  /** Multiaddrs with its peer id. */
  readonly addresses: readonly string[];
  /** Looks again where it is, when it went away; may throw. */
  readonly find?: () => Promise<RemoteNode>;
}

/** How long one address may take. */
const DIAL_MS = 10_000;

/** An agent that is asked through the network. */
export interface RemoteAgent {
  readonly client: ControlClient;
  close(): Promise<void>;
}

/**
 * Connects to a node with these keys. Throws RealmError `unreachable`, and `refused` when it does
 * not answer this key.
 */
export async function connectRemote(
  keys: KeyPair,
  node: RemoteNode,
): Promise<RemoteAgent> {
  const { name, key } = node;
  const network = await startLibp2p({
    secretKey: keys.secretKey,
    listen: [],
    gate: {
      mayConnect: (peer) => peer === key,
      mayOpen: (peer, protocol) => peer === key && protocol === CONTROL_PROTOCOL,
    },
  });
  try {
    await dialAny(network, node);
    const door = await openDoor(network, node);
    const client = connectControl(door.path, {
      asked: { name: `node ${name}`, hint: "Look with realm nodes ls whether it is live" },
    });
    return {
      client,
      async close() {
        client.close();
        await door.close();
        await network.close();
      },
    };
  } catch (error) {
    await network.close();
    throw error;
  }
}

/** Dials a node that went away, where it is now, as far as that can be found out. */
async function dialAgain(network: Network, node: RemoteNode): Promise<void> {
  const found = await node.find?.().catch(() => undefined);
  await dialAny(network, found?.key === node.key ? found : node);
}

async function dialAny(network: Network, { name, addresses }: RemoteNode): Promise<void> {
  const problems: string[] = [];
  for (const address of addresses) {
    try {
      await network.dial(address, AbortSignal.timeout(DIAL_MS));
      return;
    } catch (error) {
      problems.push(error instanceof Error ? error.message : String(error));
    }
  }
  throw new RealmError(
    "unreachable",
    `Cannot reach node ${name}:${problems.map((each) => `\n  ${each}`).join("")}`,
    {
      hint: "Look with realm nodes ls whether it is live, or give an address with --node MULTIADDR",
    },
  );
}

/** A socket here behind which another node answers. */
export interface Door {
  readonly path: string;
  close(): Promise<void>;
}

/**
 * Makes a socket in a private folder, each of whose connections is a stream to a node to which the
 * network is connected. When that node goes away its connections break; it is dialled anew for each
 * that comes then, so a node that was started again is asked again.
 *
 * Throws as {@link connectRemote} does.
 */
export async function openDoor(network: Network, node: RemoteNode): Promise<Door> {
  // The first stream tells whether the node answers this key at all.
  (await openControl(network, node.key)).abort();
  const folder = await Deno.makeTempDir({ prefix: "realm-node-" }); // 0700 and ours: mkdtemp(3)
  const socket = join(folder, "control.sock");
  const listener = Deno.listen({ transport: "unix", path: socket });
  let dialling: Promise<void> | undefined;
  const reach = async () => {
    try {
      return await openControl(network, node.key);
    } catch (error) {
      if (error instanceof RealmError && error.code === "refused") throw error;
    }
    // Whoever asks meanwhile waits for the same.
    dialling ??= dialAgain(network, node).finally(() => dialling = undefined);
    await dialling;
    return await openControl(network, node.key);
  };
  const accept = async () => {
    for await (const connection of listener) {
      reach().then(
        (stream) => pipeStream(stream, connection),
        () => connection.close(),
      );
    }
  };
  const accepting = accept();
  return {
    path: socket,
    async close() {
      listener.close();
      await accepting;
      await Deno.remove(folder, { recursive: true });
    },
  };
}

async function openControl(network: Network, peer: string) {
  try {
    return await network.open(peer, CONTROL_PROTOCOL, AbortSignal.timeout(DIAL_MS));
  } catch (error) {
    if (!(error instanceof RealmError) || error.code !== "refused") throw error;
    throw new RealmError(
      "refused",
      `Cannot ask ${peer}: it does not answer the key ${network.self}`,
      {
        hint: "Use the owner's key, or with --key that of an operator in the manifest",
        cause: error,
      },
    );
  }
}
