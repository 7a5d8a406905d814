import assert from "node:assert/strict";
import { formatPublicKey } from "../kernel/key.ts";
import { splitAddress } from "../kernel/peer_id.ts";
import type { Clock, Network, Store } from "../kernel/ports.ts";
import { MemoryHub } from "./memory_network.ts";
import { until } from "../../tests/until.ts";
import { PeerStore } from "./peer_store.ts";
import { type ReachOptions, startReach } from "./reach.ts";

const OPEN = { mayConnect: () => true, mayOpen: () => true };
const key = (n: number) => formatPublicKey(new Uint8Array(32).fill(n));
const NO_STORE: Store = {
  get: () => undefined,
  scan: () => [],
  keys: () => [],
  write() {},
  close() {},
};
/** Real sleeps, a hundred times as fast. */
const clock: Clock = {
  wallMs: Date.now,
  monotonicMs: () => performance.now() * 100,
  sleep: (ms, signal) =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(resolve, ms / 100);
      signal?.addEventListener("abort", () => {
        clearTimeout(timer);
        reject(signal.reason);
      });
    }),
};

/** A book for addresses in memory, which are none of TCP. */
function book(): PeerStore {
  const known = new Map<string, string[]>();
  const made = new PeerStore(NO_STORE, Date.now, true);
  made.learn = (peer, addresses) => {
    known.set(peer, [...new Set([...addresses, ...known.get(peer) ?? []])]);
  };
  made.addresses = (peer) => known.get(peer) ?? [];
  return made;
}

function reach(network: Network, options: Partial<ReachOptions> & { found?: string[] }) {
  return startReach({
    network: Object.assign(network, { find: async () => options.found ?? [] }),
    book: book(),
    clock,
    random: () => 0.5,
    wanted: () => [],
    join: [],
    ...options,
  });
}

Deno.test("startReach() joins the addresses that were named, and joins again what was lost", async () => {
  const hub = new MemoryHub();
  const [a, b, c] = [hub.join(key(1), OPEN), hub.join(key(2), OPEN), hub.join(key(3), OPEN)];
  const bare = splitAddress(c.addresses()[0]!).transport;
  const loop = reach(a, { join: [b.addresses()[0]!, bare] });
  for (let round = 0; round < 3; round++) {
    await until("both are connected", () => a.connections().length === 2);
    b.disconnect(a.self);
    c.disconnect(a.self);
  }
  await until("both are connected again", () => a.connections().length === 2);
  await loop.close();
});

Deno.test("startReach() connects who is wanted, asking others where they are", async () => {
  const hub = new MemoryHub();
  const [a, b] = [hub.join(key(1), OPEN), hub.join(key(2), OPEN)];
  const wanted = new Set<string>();
  const loop = reach(a, { wanted: () => wanted, found: [...b.addresses()] });
  wanted.add(b.self);
  await until("one is gone", () => a.connections().length === 1);
  wanted.clear();
  b.disconnect(a.self);
  await loop.close();
  assert.deepEqual(a.connections(), []);
});

Deno.test("startReach() tells of a failure once, and goes on until there is an answer", async () => {
  const apart = new Set<string>();
  const hub = new MemoryHub((_, to) => !apart.has(to));
  const [a, b] = [hub.join(key(1), OPEN), hub.join(key(2), OPEN)];
  apart.add(b.self);
  const failures: string[] = [];
  let dials = 0;
  const { dial } = a;
  a.dial = (...args) => {
    dials++;
    return dial.apply(a, args);
  };
  const loop = reach(a, {
    join: [b.addresses()[0]!],
    failed: (address) => void failures.push(address),
  });
  await until("more dials", () => dials > 3);
  assert.deepEqual(failures, [b.addresses()[0]!]);
  apart.clear();
  await until("it connects", () => a.connections().length === 1);
  await loop.close();
});
