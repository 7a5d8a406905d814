import assert from "node:assert/strict";
import fc from "fast-check";
import { formatIp, parseIp } from "../kernel/ip_address.ts";
import { parseListen, parseOutbound } from "../kernel/network_grant.ts";
import { type NetworkGrants, NO_NETWORK } from "../kernel/ports.ts";
import { type AddressKind, isPrivateName, kindOfAddress } from "../kernel/address_policy.ts";
import { NetworkPolicy, type Target } from "./network_policy.ts";

const ip = (text: string) => parseIp(text)!;

/** A policy from grants in the words of a manifest. */
function policyOf(
  { outbound = [], listen = [], ...grants }:
    & Partial<Omit<NetworkGrants, "outbound" | "listen">>
    & { outbound?: string[]; listen?: string[] },
): NetworkPolicy {
  return new NetworkPolicy({
    ...NO_NETWORK,
    ...grants,
    outbound: outbound.map((text) => parseOutbound(text)!),
    listen: listen.map((text) => parseListen(text)!),
  });
}

const target = (scheme: Target["scheme"], host: string, port: number) => ({ scheme, host, port });

Deno.test("kindOfAddress() knows the registries of special addresses", () => {
  const cases: Record<AddressKind, string[]> = {
    public: ["1.1.1.1", "93.184.216.34", "172.32.0.1", "100.128.0.1", "2606:4700::1111"],
    private: ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "fd00::1"],
    loopback: ["127.0.0.1", "127.255.255.254", "::1"],
    "link-local": ["169.254.0.1", "169.254.255.255", "fe80::1", "febf::1"],
    metadata: ["169.254.169.254", "100.100.100.200", "168.63.129.16", "fd00:ec2::254"],
    unspecified: ["0.0.0.0", "0.1.2.3", "::"],
    multicast: ["224.0.0.1", "239.255.255.255", "ff02::1"],
    broadcast: ["255.255.255.255"],
    embedded: [
      "::ffff:127.0.0.1",
      "::ffff:8.8.8.8",
      "::127.0.0.1",
      "64:ff9b::169.254.169.254",
      "64:ff9b:1::1",
      "2002:7f00:1::",
      "2001:0:4136:e378::1",
      "::ffff:0:10.0.0.1",
    ],
    reserved: ["192.0.2.1", "198.18.0.1", "240.0.0.1", "203.0.113.9", "2001:db8::1", "4000::1"],
  };
  for (const [kind, list] of Object.entries(cases)) {
    for (const text of list) assert.equal(kindOfAddress(ip(text)), kind, text);
  }
});

Deno.test("isPrivateName() knows names that are private by nature", () => {
  for (const name of ["db", "db.internal", "a.b.local", "nas.lan", "x.home.arpa"]) {
    assert.equal(isPrivateName(name), true, name);
  }
  for (const name of ["example.com", "internal.example.com", "xlocal.com", "notlan.notlan.de"]) {
    assert.equal(isPrivateName(name), false, name);
  }
});

Deno.test("a grant names scheme, host and port", () => {
  const policy = policyOf({ outbound: ["https://a.example", "udp://b.example:53", "tcp://c:1"] });
  const granted = (t: Target) => policy.refusalOfHost(t) === undefined;
  assert.equal(granted(target("https", "a.example", 443)), true);
  assert.equal(granted(target("tcp", "a.example", 443)), true, "a stream to the same place");
  assert.equal(granted(target("http", "a.example", 443)), false);
  assert.equal(granted(target("https", "a.example", 444)), false);
  assert.equal(granted(target("https", "b.a.example", 443)), false);
  assert.equal(granted(target("udp", "a.example", 443)), false);
  assert.equal(granted(target("udp", "b.example", 53)), true);
  assert.equal(granted(target("tcp", "b.example", 53)), false);
  assert.equal(granted(target("http", "c", 1)), false, "tcp grants no requests");
  const below = policyOf({ outbound: ["https://*.example.com"] });
  assert.equal(below.refusalOfHost(target("https", "a.b.example.com", 443)), undefined);
  assert.ok(below.refusalOfHost(target("https", "example.com", 443)));
  assert.ok(below.refusalOfHost(target("https", "evilexample.com", 443)));
});

Deno.test("a refusal names the grant that would allow it", () => {
  const { code, message } = policyOf({}).refusalOfHost(target("https", "a.example", 443))!;
  assert.equal(code, "not-granted");
  assert.match(message, /allowed_outbound = \["https:\/\/a\.example:443"\] \(--net https:/);
  assert.match(policyOf({}).refusalOfLookup("a.example")!.message, /--dns a\.example/);
  assert.match(policyOf({}).refusalOfListen("tcp", ip("::1"), 80)!.message, /--listen \[::1\]:80/);
  assert.match(policyOf({}).refusalOfSocket("tcp", ip("127.0.0.1"), 80)!.message, /loopback 80/);
});

Deno.test("a name never leads to the machine, its link, metadata or an address in disguise", () => {
  const never = ["0.0.0.0", "127.0.0.1", "::1", "169.254.1.1", "169.254.169.254", "fe80::1"]
    .concat(["::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::", "224.0.0.1", "255.255.255.255"]);
  for (const name of ["a.example", "db", "db.internal"]) {
    const policy = policyOf({
      outbound: [`tcp://${name}:80`],
      loopback: [80],
      privateNetworks: ["0.0.0.0/0", "::/0"],
    });
    for (const text of never) {
      const refusal = policy.refusalOfAddress(ip(text), target("tcp", name, 80));
      assert.equal(refusal?.code, "prohibited", `${name} to ${text}`);
    }
    assert.deepEqual(policy.lookedUp(name, never.map(ip)), []);
  }
});

Deno.test("metadata is not reached by its address either, whatever is granted", () => {
  for (const text of ["169.254.169.254", "168.63.129.16", "fd00:ec2::254"]) {
    const at = text.includes(":") ? `[${text}]` : text;
    const policy = policyOf({ outbound: [`tcp://${at}:80`], privateNetworks: ["0.0.0.0/0"] });
    assert.equal(policy.refusalOfSocket("tcp", ip(text), 80)?.code, "prohibited", text);
  }
  const linkLocal = policyOf({ outbound: ["tcp://169.254.1.1:80"] });
  assert.equal(linkLocal.refusalOfSocket("tcp", ip("169.254.1.1"), 80), undefined);
});

Deno.test("a private address is for private names and granted networks", () => {
  const refusal = (name: string, privateNetworks: string[] = []) =>
    policyOf({ outbound: [`tcp://${name}:80`], privateNetworks })
      .refusalOfAddress(ip("10.1.2.3"), target("tcp", name, 80))?.message;
  assert.match(refusal("a.example")!, /a\.example leads to 10\.1\.2\.3: .*--net-private/);
  assert.equal(refusal("a.example", ["10.0.0.0/8"]), undefined);
  assert.ok(refusal("a.example", ["10.2.0.0/16"]));
  assert.equal(refusal("db.internal"), undefined);
  assert.equal(refusal("db"), undefined);
});

Deno.test("loopback is given by port alone, to addresses and to localhost", () => {
  const policy = policyOf({ loopback: [5432], outbound: ["tcp://127.0.0.1:80"] });
  const reached = (text: string, port: number) =>
    policy.refusalOfSocket("tcp", ip(text), port) === undefined;
  assert.equal(reached("127.0.0.1", 5432), true);
  assert.equal(reached("::1", 5432), true);
  assert.equal(reached("127.0.0.1", 5433), false);
  assert.equal(reached("127.0.0.1", 80), false, "also where an address is granted");
  assert.equal(reached("0.0.0.0", 5432), false);
  assert.equal(reached("::ffff:127.0.0.1", 5432), false);
  assert.equal(policy.refusalOfHost(target("http", "localhost", 5432)), undefined);
  assert.ok(policy.refusalOfHost(target("http", "localhost", 5433)));
  assert.equal(policy.refusalOfLookup("localhost"), undefined);
  assert.ok(policyOf({}).refusalOfLookup("localhost"));
});

Deno.test("a granted address is reached as it is written", () => {
  const policy = policyOf({ outbound: ["tcp://10.0.0.5:80", "tcp://[fd00::5]:80"] });
  assert.equal(policy.refusalOfSocket("tcp", ip("10.0.0.5"), 80), undefined);
  assert.equal(policy.refusalOfSocket("tcp", ip("fd00::5"), 80), undefined);
  for (const text of ["10.0.0.6", "::ffff:10.0.0.5", "::10.0.0.5", "64:ff9b::10.0.0.5"]) {
    assert.ok(policy.refusalOfSocket("tcp", ip(text), 80), text);
  }
  assert.ok(policy.refusalOfSocket("tcp", ip("10.0.0.5"), 81));
  assert.ok(policy.refusalOfSocket("udp", ip("10.0.0.5"), 80));
});

Deno.test("what was looked up for a granted host may be connected to on the granted port", () => {
  const policy = policyOf({ outbound: ["https://a.example"], dns: ["b.example"] });
  const address = ip("93.184.216.34");
  assert.equal(policy.refusalOfSocket("tcp", address, 443)?.code, "not-granted");
  assert.deepEqual(policy.lookedUp("b.example", [address]), [address]);
  assert.ok(policy.refusalOfSocket("tcp", address, 443), "a bare lookup opens nothing");
  policy.lookedUp("a.example", [address]);
  assert.equal(policy.refusalOfSocket("tcp", address, 443), undefined);
  assert.ok(policy.refusalOfSocket("tcp", address, 80));
  assert.ok(policy.refusalOfSocket("udp", address, 443));
});

Deno.test("rebinding: the second answer of a granted name opens nothing prohibited", () => {
  const policy = policyOf({ outbound: ["tcp://a.example:80"], loopback: [80] });
  assert.equal(policy.lookedUp("a.example", [ip("93.184.216.34")]).length, 1);
  assert.deepEqual(policy.lookedUp("a.example", [ip("169.254.169.254"), ip("10.0.0.1")]), []);
  assert.ok(policy.refusalOfSocket("tcp", ip("169.254.169.254"), 80));
  assert.ok(policy.refusalOfSocket("tcp", ip("10.0.0.1"), 80));
});

Deno.test("what was looked up is remembered within bounds", () => {
  const policy = policyOf({ outbound: ["tcp://*.example:80"] });
  const at = (i: number) => Uint8Array.of(1, 1, i >> 8, i & 0xff);
  for (let i = 0; i < 1030; i++) policy.lookedUp(`n${i}.example`, [at(i)]);
  assert.ok(policy.refusalOfSocket("tcp", at(0), 80), "the oldest went");
  assert.equal(policy.refusalOfSocket("tcp", at(1029), 80), undefined);
});

Deno.test("no address is reached without a grant", () => {
  const address = fc.oneof(
    fc.uint8Array({ minLength: 4, maxLength: 4 }),
    fc.uint8Array({ minLength: 16, maxLength: 16 }),
  );
  const policy = policyOf({ dns: true, privateNetworks: ["0.0.0.0/0", "::/0"] });
  fc.assert(fc.property(address, fc.integer({ min: 0, max: 65_535 }), (bytes, port) => {
    policy.lookedUp("any.example", [bytes]);
    assert.ok(policy.refusalOfSocket("tcp", bytes, port), formatIp(bytes));
    assert.ok(policy.refusalOfSocket("udp", bytes, port));
    assert.ok(policy.refusalOfListen("tcp", bytes, port));
  }));
});

Deno.test("a listen grant names transport, address and port; no address is all of them", () => {
  const policy = policyOf({ listen: ["tcp://:80", "127.0.0.1:81", "udp://[::1]:82", "[::1]:0"] });
  const granted = (transport: "tcp" | "udp", text: string, port: number) =>
    policy.refusalOfListen(transport, ip(text), port) === undefined;
  assert.equal(granted("tcp", "0.0.0.0", 80), true);
  assert.equal(granted("tcp", "::", 80), true);
  assert.equal(granted("tcp", "127.0.0.1", 80), true);
  assert.equal(granted("udp", "0.0.0.0", 80), false);
  assert.equal(granted("tcp", "127.0.0.1", 81), true);
  assert.equal(granted("tcp", "0.0.0.0", 81), false);
  assert.equal(granted("udp", "::1", 82), true);
  assert.equal(granted("tcp", "::1", 9999), true, "port 0 is any");
  assert.equal(granted("tcp", "127.0.0.1", 9999), false);
});
