/**
 * What guests of tests talk to on this machine, and the grants that let them.
 *
 * @module
 */
import { parseListen, parseOutbound } from "../agent/kernel/network_grant.ts";
import { type NetworkGrants, NO_NETWORK } from "../agent/kernel/ports.ts";

/** Grants of the network, those of a grammar as text. */
export interface Network extends Omit<Partial<NetworkGrants>, "outbound" | "listen"> {
  readonly outbound?: readonly string[];
  readonly listen?: readonly string[];
}

/** The grants that are meant. */
export function networkOf({ outbound = [], listen = [], ...rest }: Network): NetworkGrants {
  return {
    ...NO_NETWORK,
    ...rest,
    outbound: outbound.map((text) => parseOutbound(text)!),
    listen: listen.map((text) => parseListen(text)!),
  };
}

const given = new Set<number>();

/**
 * A port of the machine on which nobody listens, below those of which the system chooses: one of
 * them would soon be somebody's, as other tests open sockets all the time.
 */
export function freePort(): number {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    if (given.has(port)) continue;
    try {
      Deno.listen({ hostname: "127.0.0.1", port }).close();
    } catch (error) {
      if (error instanceof Deno.errors.AddrInUse) continue;
      throw error;
    }
    given.add(port);
    return port;
  }
}

/** A server that sends back what comes, and ends when its peer does. */
export function echoServer(hostname = "127.0.0.1") {
  const listener = Deno.listen({ hostname, port: 0 });
  const seen: string[] = [];
  const serving = (async () => {
    const all: Promise<void>[] = [];
    for await (const connection of listener) {
      all.push((async () => {
        const buffer = new Uint8Array(65_536);
        let text = "";
        try {
          for (;;) {
            const length = await connection.read(buffer);
            if (length === null) break;
            text += new TextDecoder().decode(buffer.subarray(0, Math.min(length, 100)));
            for (let at = 0; at < length;) {
              at += await connection.write(buffer.subarray(at, length));
            }
          }
        } catch { /* the guest went away */ }
        seen.push(text);
        connection.close();
      })());
    }
    await Promise.all(all);
  })();
  return {
    port: listener.addr.port,
    seen,
    async [Symbol.asyncDispose]() {
      listener.close();
      await serving;
    },
  };
}

/** A socket that sends every datagram back. */
export function datagramEcho() {
  const socket = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  const serving = (async () => {
    for await (const [payload, from] of socket) await socket.send(payload, from);
  })();
  return {
    port: (socket.addr as Deno.NetAddr).port,
    async [Symbol.asyncDispose]() {
      socket.close();
      await serving;
    },
  };
}
