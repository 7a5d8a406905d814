import assert from "node:assert/strict";
import { formatPublicKey } from "../kernel/key.ts";
import { MemoryHub } from "./memory_network.ts";
import { testNetwork } from "./network_conformance.ts";

const key = (n: number) => formatPublicKey(new Uint8Array(32).fill(n));
const OPEN = { mayConnect: () => true, mayOpen: () => true };

testNetwork("memory network", () => {
  const hub = new MemoryHub();
  let names = 0;
  return { start: async (gate) => hub.join(key(++names), gate), nowhere: "/memory/999" };
});

Deno.test("MemoryHub lets apart who cannot reach one another", async () => {
  const apart = new Set<string>();
  const hub = new MemoryHub((from, to) => !apart.has(from) && !apart.has(to));
  const [a, b] = [hub.join(key(1), OPEN), hub.join(key(2), OPEN)];
  apart.add(b.self);
  await assert.rejects(() => a.dial(b.addresses()[0]!), { code: "unreachable" });
  apart.clear();
  assert.equal(await a.dial(b.addresses()[0]!), b.self);
});
