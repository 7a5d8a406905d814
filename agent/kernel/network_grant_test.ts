import assert from "node:assert/strict";
import { normalizeName, parseListen, parseOutbound } from "./network_grant.ts";

Deno.test("parseOutbound() reads scheme, host and port", () => {
  const grant = (scheme: string, host: string, port: number) => ({ scheme, host, port });
  const cases = {
    "https://idp.example.com": grant("https", "idp.example.com", 443),
    "HTTP://IDP.Example.com.:8080": grant("http", "idp.example.com", 8080),
    "postgres://db.internal": grant("postgres", "db.internal", 5432),
    "tcp://10.0.0.5:22": grant("tcp", "10.0.0.5", 22),
    "udp://[2001:DB8::0:1]:53": grant("udp", "2001:db8::1", 53),
    "https://*.example.com": grant("https", "*.example.com", 443),
  };
  for (const [text, wanted] of Object.entries(cases)) assert.deepEqual(parseOutbound(text), wanted);
  const wrong = [
    "example.com",
    "tcp://example.com",
    "https://example.com/path",
    "https://user@example.com",
    "https://",
    "https://:443",
    "https://example.com:0",
    "https://example.com:65536",
    "https://127.1",
    "https://2130706433",
    "https://[127.0.0.1]",
    "https://a..b",
    "https://*.*.com",
    "https://a b",
  ];
  for (const text of wrong) assert.equal(parseOutbound(text), undefined, text);
});

Deno.test("parseListen() reads transport, address and port", () => {
  const grant = (transport: string, host: string, port: number) => ({ transport, host, port });
  const cases = {
    "tcp://:5000": grant("tcp", "0.0.0.0", 5000),
    "127.0.0.1:80": grant("tcp", "127.0.0.1", 80),
    "localhost:80": grant("tcp", "127.0.0.1", 80),
    "udp://[::1]:53": grant("udp", "::1", 53),
    "0.0.0.0:0": grant("tcp", "0.0.0.0", 0),
  };
  for (const [text, wanted] of Object.entries(cases)) assert.deepEqual(parseListen(text), wanted);
  for (const text of ["5000", "http://:80", "example.com:80", "tcp://:70000", "tcp://1.2.3:80"]) {
    assert.equal(parseListen(text), undefined, text);
  }
});

Deno.test("normalizeName() gives the form that is compared", () => {
  assert.equal(normalizeName("Example.COM."), "example.com");
  for (const text of ["", ".", "a..b", "-", "a b", "a/b", "ä.example", "x".repeat(254)]) {
    assert.equal(normalizeName(text), undefined, text);
  }
});
