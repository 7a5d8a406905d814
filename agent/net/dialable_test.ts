import assert from "node:assert/strict";
import { joinAddress } from "../kernel/peer_id.ts";
import { formatPublicKey } from "../kernel/key.ts";
import { isDialable, listensOnLoopback } from "./dialable.ts";

const [key, relay] = [1, 2].map((byte) => formatPublicKey(new Uint8Array(32).fill(byte)));

Deno.test("isDialable() takes public and private addresses, and those by way of a relay", () => {
  for (
    const address of ["/ip4/198.51.100.7/tcp/4001", "/ip4/10.1.2.3/tcp/1", "/ip6/2001:db8::1/tcp/9"]
  ) {
    assert.ok(isDialable(address, false), address);
    assert.ok(isDialable(joinAddress(address, key!), false), address);
    const through = joinAddress(`${joinAddress(address, relay!)}/p2p-circuit`, key!);
    assert.ok(isDialable(through, false), through);
  }
});

Deno.test("isDialable() never takes metadata, links, multicast, disguises, names", () => {
  for (
    const address of [
      "/ip4/169.254.169.254/tcp/80",
      "/ip4/100.100.100.200/tcp/80",
      "/ip4/0.0.0.0/tcp/80",
      "/ip4/224.0.0.251/tcp/5353",
      "/ip4/255.255.255.255/tcp/80",
      "/ip6/::ffff:169.254.169.254/tcp/80",
      "/ip6/64:ff9b::a9fe:a9fe/tcp/80",
      "/ip6/fe80::1/tcp/80",
      "/ip6/fd00:ec2::254/tcp/80",
      "/dns4/metadata.google.internal/tcp/80",
      "/dns/localhost/tcp/80",
      "/ip4/198.51.100.7/udp/4001/quic-v1",
      "/ip4/198.51.100.7/tcp/99999",
      "/ip4/198.51.100.7/tcp/1/p2p/nonsense",
      `${joinAddress("/ip4/169.254.169.254/tcp/80", relay!)}/p2p-circuit`,
      "/p2p-circuit",
      "",
      `/ip4/198.51.100.7/tcp/1${"/p2p-circuit".repeat(2)}`,
      `/dns4/${"a".repeat(1000)}/tcp/1`,
    ]
  ) {
    assert.ok(!isDialable(address, true), address);
  }
});

Deno.test("isDialable() takes loopback where all of the realm is on this machine", () => {
  for (const address of ["/ip4/127.0.0.1/tcp/1", "/ip4/127.8.9.1/tcp/1", "/ip6/::1/tcp/1"]) {
    assert.ok(isDialable(address, true), address);
    assert.ok(!isDialable(address, false), address);
    assert.ok(listensOnLoopback([address]));
  }
  assert.ok(!listensOnLoopback([]));
  assert.ok(!listensOnLoopback(["/ip4/127.0.0.1/tcp/1", "/ip4/0.0.0.0/tcp/1"]));
});
