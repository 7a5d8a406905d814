import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import codec from "dns-packet";
import fc from "fast-check";
import { freePort } from "../../tests/peers.ts";
import { formatPublicKey } from "../kernel/key.ts";
import { joinAddress, peerIdOfKey } from "../kernel/peer_id.ts";
import { discoverOnLan, readPacket } from "./lan.ts";
import { until } from "../../tests/until.ts";

const keys = [1, 2].map((byte) => formatPublicKey(new Uint8Array(32).fill(byte)));
const addressOf = (n: number) => joinAddress(`/ip4/127.0.0.1/tcp/400${n}`, keys[n]!);

Deno.test("discoverOnLan() finds the other node of this machine over loopback", async () => {
  const port = freePort();
  const found: Set<string>[] = [new Set(), new Set()];
  const notices: string[] = [];
  const nodes = keys.map((key, n) =>
    discoverOnLan({
      peerId: peerIdOfKey(key),
      // One that leads nowhere and one by way of a relay are not said.
      addresses: () => [addressOf(n), "/ip4/169.254.169.254/tcp/80", `${addressOf(n)}/p2p-circuit`],
      found: (address) => void found[n]!.add(address),
      notice: (text) => void notices.push(text),
      loopback: true,
      port,
      everyMs: 100,
    })
  );
  await until(
    "all find one another",
    () => found.every((addresses) => addresses.size > 0) || notices.length > 0,
  );
  for (const node of nodes) node.close();
  assert.deepEqual(notices, []);
  assert.deepEqual(found.map((addresses) => [...addresses]), [[addressOf(1)], [addressOf(0)]]);
});

Deno.test("discoverOnLan() goes on when what was heard cannot be kept", async () => {
  const port = freePort();
  const heard: string[] = [];
  const notices: string[] = [];
  const nodes = keys.map((key, n) =>
    discoverOnLan({
      peerId: peerIdOfKey(key),
      addresses: () => [addressOf(n)],
      found: (address) => {
        if (n === 1) return;
        heard.push(address);
        throw new Error("no room");
      },
      notice: (text) => void notices.push(text),
      loopback: true,
      port,
      everyMs: 50,
    })
  );
  await until("three were heard", () => heard.length >= 3);
  for (const node of nodes) node.close();
  assert.deepEqual([...new Set(heard)], [addressOf(1)]);
  assert.match(notices[0]!, /^Cannot keep what was heard on this network: Error: no room$/);
});

Deno.test("readPacket() gives nothing for what is not about realm, and is bounded", () => {
  const encode = (value: unknown) => new Uint8Array(codec.encode(value));
  const record = (name: string, data: unknown) => ({ name, type: "TXT", ttl: 1, data });
  assert.equal(
    readPacket(encode({ type: "query", questions: [{ name: "_realm._udp.local", type: "PTR" }] })),
    "question",
  );
  for (
    const other of [
      { type: "query", questions: [{ name: "_p2p._udp.local", type: "PTR" }] },
      { type: "query", questions: [] },
      { type: "response", answers: [record("x._p2p._udp.local", `dnsaddr=${addressOf(0)}`)] },
      {
        type: "response",
        answers: [record("x._realm._udp.local", "dnsaddr=/ip4/127.0.0.1/tcp/1")],
      },
      { type: "response", answers: [record("x._realm._udp.local", addressOf(0))] },
    ]
  ) assert.deepEqual(readPacket(encode(other)), []);
  const many = Array.from({ length: 50 }, () => `dnsaddr=${addressOf(0)}`);
  const read = readPacket(encode({
    type: "response",
    answers: [record("x._realm._udp.local", many)],
  }));
  assert.equal(read.length, 16);
});

Deno.test("readPacket() survives any bytes", () => {
  const valid = Buffer.from(codec.encode({
    type: "response",
    answers: [{ name: "x._realm._udp.local", type: "TXT", data: `dnsaddr=${addressOf(0)}` }],
  }));
  fc.assert(fc.property(fc.uint8Array({ maxLength: 600 }), (bytes) => void readPacket(bytes)));
  fc.assert(
    fc.property(fc.nat(valid.length - 1), fc.nat(255), fc.nat(valid.length), (at, byte, end) => {
      const changed = Uint8Array.from(valid);
      changed[at] = byte;
      readPacket(changed.subarray(0, end));
    }),
  );
});
