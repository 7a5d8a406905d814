import assert from "node:assert/strict";
import { eventually } from "../../tests/peer_network.ts";
import { formatPublicKey } from "../kernel/key.ts";
import type { Network, Replica } from "../kernel/ports.ts";
import { MemoryHub } from "../net/memory_network.ts";
import { PeerServices } from "./peer_services.ts";
import { Upstream } from "../proxy/upstream.ts";
import type { Report } from "./reported_replicas.ts";
import { MemoryBlobs } from "../store/memory_blobs.ts";
import { systemClock } from "./system_clock.ts";

const key = (n: number) => formatPublicKey(new Uint8Array(32).fill(n));

const reported = (component: string, running = 1): Report => ({ component, digest: "d", running });

/** What a test says of the nodes. */
class Known {
  readonly approved = new Set<string>();
  readonly live = new Set<string>();
  readonly replicas = new Map<string, Report[]>();

  isApproved = (peer: string) => this.approved.has(peer);
  isLive = (peer: string) => this.live.has(peer);
  given = () => ({ replicas: 2, digests: ["d"] });
  healthOf = (peer: string) => ({ record: { replicas: this.replicas.get(peer) ?? [] } }) as never;
}

interface Machine {
  readonly network: Network;
  readonly blobs: MemoryBlobs;
  readonly services: PeerServices;
}

/** Nodes 1 and 2, connected; the second has a replica of `shop`. */
async function withTwo(use: (one: Machine, two: Machine, known: Known) => Promise<void>) {
  const hub = new MemoryHub();
  const known = new Known();
  // The gate of the agent: streams for approved nodes only.
  const gate = { mayConnect: () => true, mayOpen: (peer: string) => known.isApproved(peer) };
  const clock = { ...systemClock, monotonicMs: () => performance.now() * 1e6 }; // reports never age
  const replica = {
    exited: new Promise(() => {}),
    handle: async () => ({ status: 200, headers: [], body: new TextEncoder().encode("two") }),
  } as unknown as Replica;
  const options = { component: "shop", maxConcurrency: 8, requestTimeoutMs: 1_000 };
  const shop = new Upstream(options, [replica]);
  const machines = [1, 2].map((n): Machine => {
    const network = hub.join(key(n), gate);
    const blobs = new MemoryBlobs();
    const upstreamOf = (component: string) => n === 2 && component === "shop" ? shop : undefined;
    const services = new PeerServices({ blobs, clock, known, given: known.given, upstreamOf });
    services.join(network);
    return { network, blobs, services };
  });
  const [one, two] = machines as [Machine, Machine];
  await one.network.dial(two.network.addresses()[0]!);
  try {
    await use(one, two, known);
  } finally {
    for (const { services, network } of machines) {
      await services.close();
      await network.close();
    }
  }
}

const REQUEST = {
  method: "GET",
  url: "http://h/",
  headers: [],
  body: null,
  signal: new AbortController().signal,
};

Deno.test("PeerServices sends requests to nodes that are approved, live, and report replicas", () =>
  withTwo(async (one, two, known) => {
    const { self } = two.network;
    const shop = one.services.elsewhere("shop");
    known.approved.add(one.network.self);
    assert.equal(shop.isAvailable(), false);
    known.replicas.set(self, [reported("other"), reported("shop")]);
    assert.equal(shop.isAvailable(), false, "not approved");
    known.approved.add(self);
    assert.equal(shop.isAvailable(), false, "not live");
    known.live.add(self);
    assert.equal(shop.isAvailable(), true);
    const { body } = await shop.handle(REQUEST);
    assert.equal(new TextDecoder().decode(body as Uint8Array), "two");
    assert.equal(one.services.elsewhere("third").isAvailable(), false);
    known.replicas.set(self, [reported("shop", 0)]);
    assert.equal(shop.isAvailable(), false, "none runs");
  }));

Deno.test("PeerServices gives nothing to a key that is not approved, and asks it for nothing", () =>
  withTwo(async (one, two, known) => {
    const digest = await two.blobs.put(new Uint8Array(1_000));
    known.live.add(two.network.self);
    known.replicas.set(two.network.self, [reported("shop")]);
    await assert.rejects(one.services.fetch(digest), { code: "not-found" }, "it is not asked");
    known.approved.add(two.network.self);
    await assert.rejects(one.services.fetch(digest), { code: "not-found" }, "it gives nothing");
    await assert.rejects(one.services.elsewhere("shop").handle(REQUEST), /No other node/);
    known.approved.add(one.network.self);
    await one.services.fetch(digest);
    assert.ok(await one.blobs.has(digest));
    await one.services.elsewhere("shop").handle(REQUEST);

    // Revoked there, it gets nothing more, also by the stream that it has kept.
    const other = await two.blobs.put(new Uint8Array(2_000));
    known.approved.delete(one.network.self);
    await assert.rejects(one.services.elsewhere("shop").handle(REQUEST));
    await assert.rejects(one.services.elsewhere("shop").handle(REQUEST), /No other node/);
    await assert.rejects(one.services.fetch(other), { code: "not-found" });
  }));

Deno.test("PeerServices fetches what it waits for as soon as a peer is approved", () =>
  withTwo(async (one, two, known) => {
    const digest = await two.blobs.put(new Uint8Array(1_000));
    let waits = 0;
    const got = one.services.fetchWhenever(digest, { waiting: () => waits++ });
    await eventually(() => waits === 1, "it waits");
    known.approved.add(one.network.self).add(two.network.self);
    one.services.changed();
    await got;
    assert.ok(await one.blobs.has(digest));
  }));

Deno.test("PeerServices without a network reach nobody, and begin when they join one", async () => {
  const hub = new MemoryHub();
  const known = { isApproved: () => true, isLive: () => true, healthOf: () => undefined };
  const open = { mayConnect: () => true, mayOpen: () => true };
  const clock = systemClock;
  const [upstreamOf, given] = [() => undefined, () => undefined];
  const [here, there] = [new MemoryBlobs(), new MemoryBlobs()];
  const digest = await there.put(new Uint8Array(1_000));
  const one = new PeerServices({ blobs: here, clock, known, given, upstreamOf });
  const two = new PeerServices({ blobs: there, clock, known, given, upstreamOf });
  const networks = [hub.join(key(1), open), hub.join(key(2), open)] as const;
  try {
    await assert.rejects(one.fetch(digest), { code: "not-found" });
    assert.equal(one.elsewhere("shop").isAvailable(), false);
    const got = one.fetchWhenever(digest);
    await networks[0].dial(networks[1].addresses()[0]!);
    two.join(networks[1]);
    one.join(networks[0]);
    await got;
    assert.ok(await here.has(digest));
  } finally {
    await one.close();
    await two.close();
    for (const network of networks) await network.close();
  }
});
