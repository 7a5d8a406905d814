/**
 * One node of the benchmark `peers`, without a realm around it:
 *
 *     peer_probe.ts give PORT SEED BYTES     a blob and a replica for whoever connects
 *     peer_probe.ts proxy PORT [ADDRESS]     a proxy; to a replica here, or to that node's
 *
 * A replica answers `hello` at once: what is measured is the way there.
 *
 * @module
 */
import { BlobServer } from "../agent/artifact/blob_server.ts";
import type { Network, Replica } from "../agent/kernel/ports.ts";
import { startLibp2p } from "../agent/net/libp2p_network.ts";
import { PeerRequests } from "../agent/proxy/peer_requests.ts";
import { PeerUpstreams } from "../agent/proxy/peer_upstream.ts";
import { serveProxy } from "../agent/proxy/proxy.ts";
import { Upstream } from "../agent/proxy/upstream.ts";
import { MemoryBlobs } from "../agent/store/memory_blobs.ts";
import { systemClock } from "../agent/node/system_clock.ts";

const HELLO = new TextEncoder().encode("hello\n");
const OPTIONS = { component: "hello", maxConcurrency: 128, requestTimeoutMs: 30_000 };

/** A network on which everybody may do everything. */
export function openNetwork(seed: number, port?: number): Promise<Network> {
  return startLibp2p({
    secretKey: new Uint8Array(32).fill(seed),
    listen: port === undefined ? [] : [`/ip4/127.0.0.1/tcp/${port}`],
    gate: { mayConnect: () => true, mayOpen: () => true },
  });
}

/** Connects as soon as somebody listens there. */
export async function dial(network: Network, address: string): Promise<string> {
  for (const from = performance.now();;) {
    try {
      return await network.dial(address);
    } catch (error) {
      if (performance.now() - from > 20_000) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

/** Bytes that are not all the same. */
export function blobOf(size: number): Uint8Array {
  const words = new Uint32Array(Math.ceil(size / 4));
  for (let i = 0, x = 1; i < words.length; i++) {
    words[i] = x = Math.imul(x, 1664525) + 1013904223;
  }
  return new Uint8Array(words.buffer, 0, size);
}

function replica(): Replica {
  const headers: [string, string][] = [["content-type", "text/plain"]];
  const handle = async () => ({ status: 200, headers, body: HELLO });
  return { exited: new Promise(() => {}), handle } as unknown as Replica;
}

async function give(port: number, seed: number, bytes: number): Promise<void> {
  const blobs = new MemoryBlobs();
  await blobs.put(blobOf(bytes));
  const network = await openNetwork(seed, port);
  new BlobServer({ network, blobs, clock: systemClock, bytesPerSecond: Infinity });
  const upstream = new Upstream(OPTIONS, [replica()]);
  new PeerRequests({ network, upstreamOf: () => upstream });
}

async function proxy(port: number, address: string | undefined): Promise<void> {
  let upstream: Upstream;
  if (address === undefined) upstream = new Upstream(OPTIONS, [replica()]);
  else {
    const network = await openNetwork(200);
    const peer = await dial(network, address);
    const peers = new PeerUpstreams({ network, replicasOf: () => [{ peer, running: 1 }] });
    upstream = new Upstream({ ...OPTIONS, elsewhere: peers.of("hello") }, []);
  }
  const route = () => ({ route: "/...", upstream });
  serveProxy({ hostname: "127.0.0.1", port, route });
}

if (import.meta.main) {
  const [what, port, ...rest] = Deno.args;
  if (what === "give") await give(Number(port), Number(rest[0]), Number(rest[1]));
  else await proxy(Number(port), rest[0]);
}
