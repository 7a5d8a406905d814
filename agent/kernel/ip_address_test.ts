import assert from "node:assert/strict";
import fc from "fast-check";
import { formatIp, isInNetwork, parseIp, parseNetwork } from "./ip_address.ts";

Deno.test("parseIp() and formatIp() agree on the one text form", () => {
  const cases: [string, string][] = [
    ["127.0.0.1", "127.0.0.1"],
    ["0.0.0.0", "0.0.0.0"],
    ["::", "::"],
    ["::1", "::1"],
    ["1::", "1::"],
    ["2001:DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
    ["1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"],
    ["1:0:3:4:5:6:7:8", "1:0:3:4:5:6:7:8"],
    ["::ffff:1.2.3.4", "::ffff:102:304"],
    ["64:ff9b::10.0.0.1", "64:ff9b::a00:1"],
    ["1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"],
  ];
  for (const [text, canonical] of cases) assert.equal(formatIp(parseIp(text)!), canonical, text);
});

Deno.test("parseIp() reads nothing that other programs read in several ways", () => {
  const texts = [
    "",
    "127.1",
    "2130706433",
    "0x7f.0.0.1",
    "127.0.0.01",
    "0177.0.0.1",
    "1.2.3.256",
    "1.2.3.4.5",
    " 1.2.3.4",
    "1.2.3.4 ",
    "fe80::1%eth0",
    "[::1]",
    ":::",
    "1::2::3",
    "1:2:3:4:5:6:7:8:9",
    "1:2:3:4:5:6:7",
    "::1.2.3",
    "1.2.3.4::",
    "12345::",
    "1:2:3:4:5:6:7:8::",
    ":1::",
  ];
  for (const text of texts) assert.equal(parseIp(text), undefined, text);
});

Deno.test("parseIp() inverts formatIp()", () => {
  const bytes = fc.oneof(
    fc.uint8Array({ minLength: 4, maxLength: 4 }),
    fc.array(fc.constantFrom(0, 0, 0, 1, 255), { minLength: 16, maxLength: 16 })
      .map((list) => Uint8Array.from(list)),
  );
  fc.assert(fc.property(bytes, (ip) => {
    const text = formatIp(ip);
    assert.deepEqual(parseIp(text), ip);
    // The platform's own reader and writer of IPv6 agrees.
    if (ip.length === 16) assert.equal(new URL(`http://[${text}]/`).hostname, `[${text}]`);
  }));
});

Deno.test("isInNetwork() compares the fixed bits", () => {
  const inside = (ip: string, network: string) => isInNetwork(parseIp(ip)!, parseNetwork(network)!);
  assert.equal(inside("10.255.0.1", "10.0.0.0/8"), true);
  assert.equal(inside("11.0.0.1", "10.0.0.0/8"), false);
  assert.equal(inside("172.31.255.255", "172.16.0.0/12"), true);
  assert.equal(inside("172.32.0.0", "172.16.0.0/12"), false);
  assert.equal(inside("1.2.3.4", "0.0.0.0/0"), true);
  assert.equal(inside("1.2.3.4", "1.2.3.4"), true);
  assert.equal(inside("1.2.3.5", "1.2.3.4/32"), false);
  assert.equal(inside("fd12::1", "fc00::/7"), true);
  assert.equal(inside("fe00::1", "fc00::/7"), false);
  assert.equal(inside("::1", "0.0.0.0/0"), false, "of the other family");
  for (const text of ["10.0.0.0/33", "10.0.0.0/", "10.0.0.0/8/8", "x/8", "::/129", "10.0.0.0/-1"]) {
    assert.equal(parseNetwork(text), undefined, text);
  }
});
