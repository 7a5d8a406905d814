import assert from "node:assert/strict";
import { formatPublicKey } from "../kernel/key.ts";
import { joinAddress } from "../kernel/peer_id.ts";
import { ADDRESSES_MAX, PEERS_MAX, PeerStore } from "./peer_store.ts";
import type { Store, StoreOp } from "../kernel/ports.ts";

/** A store in memory that counts its writes. */
class Written implements Store {
  readonly pairs = new Map<string, Uint8Array>();
  writes = 0;
  isFull = false;
  get(key: string) {
    return this.pairs.get(key);
  }
  scan(prefix: string) {
    return [...this.pairs].filter(([key]) => key.startsWith(prefix));
  }
  keys(prefix: string) {
    return this.scan(prefix).map(([key]) => key);
  }
  write(ops: readonly StoreOp[]) {
    if (this.isFull) throw new Error("database or disk is full");
    this.writes++;
    for (const op of ops) {
      if ("put" in op) this.pairs.set(op.put, op.value);
      else this.pairs.delete(op.delete);
    }
  }
  close() {}
}

const keyOf = (n: number) => {
  const bytes = new Uint8Array(32);
  new DataView(bytes.buffer).setUint32(0, n);
  return formatPublicKey(bytes);
};
const [peer, other] = [keyOf(1), keyOf(2)];
const at = (n: number) => `/ip4/10.0.0.${n}/tcp/4001`;

Deno.test("PeerStore keeps addresses over a restart, what worked last first", () => {
  const store = new Written();
  let now = 1000;
  const book = new PeerStore(store, () => now, false);
  book.learn(peer, [at(1), joinAddress(at(2), peer)], "peer");
  book.learn(peer, [at(3)], "operator");
  now += 10;
  book.learn(peer, [at(4)], "dial");
  const wanted = [at(4), at(3), at(2), at(1)].map((address) => joinAddress(address, peer));
  assert.deepEqual(book.addresses(peer).slice(0, 2), wanted.slice(0, 2));
  assert.deepEqual(new Set(book.addresses(peer)), new Set(wanted));
  const again = new PeerStore(store, () => now, false);
  assert.deepEqual(again.addresses(peer), book.addresses(peer));
  assert.deepEqual(again.peers(), [peer]);
  again.forget(peer);
  assert.deepEqual(new PeerStore(store, () => now, false).peers(), []);
});

Deno.test("PeerStore leaves out what names another key, is no address, or leads where it must not", () => {
  const book = new PeerStore(new Written(), () => 0, false);
  book.learn(peer, [
    joinAddress(at(1), other),
    "nonsense",
    "/ip4/127.0.0.1/tcp/1",
    "/ip4/169.254.169.254/tcp/80",
    `${at(1)}/p2p/nonsense`,
  ], "peer");
  assert.deepEqual(book.addresses(peer), []);
  assert.deepEqual(book.peers(), []);
  const here = new PeerStore(new Written(), () => 0, true);
  here.learn(peer, ["/ip4/127.0.0.1/tcp/1"], "peer");
  assert.equal(here.addresses(peer).length, 1);
  book.learn(peer, ["/ip4/127.0.0.1/tcp/1", "/dns4/bm-01.example.com/tcp/4001"], "operator");
  assert.equal(book.addresses(peer).length, 2);
});

Deno.test("PeerStore is bounded: addresses of a peer, and peers", () => {
  const store = new Written();
  let now = 0;
  const book = new PeerStore(store, () => now++, false);
  book.learn(peer, Array.from({ length: 200 }, (_, n) => at(n)), "peer");
  assert.equal(book.addresses(peer).length, ADDRESSES_MAX);
  for (let n = 0; n < 50; n++) book.learn(peer, [`/ip4/10.1.0.${n}/tcp/1`], "dial");
  assert.equal(book.addresses(peer).length, ADDRESSES_MAX);
  for (let n = 0; n < PEERS_MAX; n++) book.learn(keyOf(100 + n), [at(1)], "peer");
  assert.equal(book.peers().length, PEERS_MAX);
  assert.deepEqual(book.addresses(peer), [], "who was not heard of for longest made room");
  assert.equal(store.pairs.size, PEERS_MAX);
});

Deno.test("PeerStore writes nothing when nothing is new", () => {
  const store = new Written();
  let now = 0;
  const book = new PeerStore(store, () => now, false);
  book.learn(peer, [at(1), at(2)], "peer");
  const before = store.writes;
  for (let n = 0; n < 100; n++) {
    now += 1000;
    book.learn(peer, [at(1), at(2)], "peer");
  }
  assert.ok(store.writes - before <= 2, `${store.writes - before} writes`);
});

Deno.test("PeerStore forgets records that it cannot read", () => {
  const store = new Written();
  new PeerStore(store, () => 0, false).learn(peer, [at(1)], "dial");
  store.pairs.set(`peer/${other}`, Uint8Array.of(1, 2, 3));
  assert.deepEqual(new PeerStore(store, () => 0, false).peers(), [peer]);
});

Deno.test("PeerStore goes on while nothing can be stored, and stores it with what comes later", () => {
  const store = new Written();
  const book = new PeerStore(store, () => 0, false);
  book.learn(peer, [at(1)], "peer");
  store.isFull = true;
  book.forget(peer);
  book.learn(other, [at(2)], "dial");
  assert.deepEqual(book.peers(), [other]);
  store.isFull = false;
  book.learn(other, [at(3)], "operator");
  const again = new PeerStore(store, () => 0, false);
  assert.deepEqual(again.peers(), [other]);
  assert.equal(again.addresses(other).length, 2);
});
