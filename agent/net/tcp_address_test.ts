import assert from "node:assert/strict";
import { mappedIpv4, parseTcpAddress, placeOf } from "./tcp_address.ts";

Deno.test("parseTcpAddress() reads addresses of TCP and nothing else", () => {
  const cases: [string, ReturnType<typeof parseTcpAddress>][] = [
    ["/ip4/127.0.0.1/tcp/4001", { host: "127.0.0.1", port: 4001 }],
    ["/ip6/::1/tcp/0", { host: "::1", port: 0 }],
    ["/dns4/bm-01.example.com/tcp/1", { host: "bm-01.example.com", port: 1 }],
    ["/ip4/127.0.0.1/tcp/1/p2p/12D3KooWx", { host: "127.0.0.1", port: 1 }],
    ["/ip4/::1/tcp/1", undefined],
    ["/ip6/127.0.0.1/tcp/1", undefined],
    ["/ip4/127.1/tcp/1", undefined],
    ["/ip4/127.0.0.1/tcp/65536", undefined],
    ["/ip4/127.0.0.1/tcp/1/ws", undefined],
    ["/ip4/127.0.0.1/udp/1", undefined],
    ["/dns4/a..b/tcp/1", undefined],
    ["/dns4/-a/tcp/1", undefined],
    ["/dnsaddr/example.com", undefined],
    ["", undefined],
  ];
  for (const [address, wanted] of cases) {
    assert.deepEqual(parseTcpAddress(address), wanted, address);
  }
  assert.equal(placeOf("2001:db8:1:2:3:4:5:6"), placeOf("2001:db8:1:2::"));
  assert.notEqual(placeOf("2001:db8:1:2::"), placeOf("2001:db8:1:3::"));
  assert.equal(placeOf("10.0.0.1"), "10.0.0.1");
  assert.equal(mappedIpv4("::ffff:10.0.0.1"), "10.0.0.1");
  assert.equal(mappedIpv4("::1"), "::1");
  assert.equal(mappedIpv4("10.0.0.1"), "10.0.0.1");
});
