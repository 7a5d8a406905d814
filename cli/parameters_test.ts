import assert from "node:assert/strict";
import fc from "fast-check";
import {
  parseAssignment,
  parseChoices,
  parseDuration,
  parseHostPort,
  parseInteger,
  parseSeconds,
  parseText,
  Wanted,
} from "./parameters.ts";

Deno.test("parseDuration() reads lengths of time in milliseconds", () => {
  const cases: [string, number][] = [
    ["250ms", 250],
    ["1.5s", 1_500],
    ["2m", 120_000],
    ["1h30m", 5_400_000],
    ["7d", 604_800_000],
    ["0s", 0],
  ];
  for (const [text, ms] of cases) assert.equal(parseDuration(text), ms, text);
  for (
    const text of ["", "5", "s", "-1s", "1 s", "1w", "1s ", "1,5s", "1e3s", "9".repeat(30) + "d"]
  ) {
    assert.throws(() => parseDuration(text), Wanted, text);
  }
  assert.equal(parseSeconds("20"), 20_000);
  assert.equal(parseSeconds("20s"), 20_000);
  assert.equal(parseSeconds("500ms"), 500);
});

Deno.test("parseInteger() reads whole numbers of its range, with _ between digits", () => {
  assert.equal(parseInteger()("1_000_000"), 1_000_000);
  assert.equal(parseInteger(-5)("-5"), -5);
  for (
    const text of ["", "_1", "1_", "1__0", "0x10", "1.0", " 1", "1e3", "-1", "9007199254740992"]
  ) {
    assert.throws(() => parseInteger()(text), Wanted, text);
  }
  assert.throws(() => parseInteger(1, 4)("5"), /whole number from 1 to 4/);
});

Deno.test("parseInteger() reads back every number it is shown", () => {
  fc.assert(fc.property(fc.maxSafeNat(), (n) => parseInteger()(String(n)) === n));
});

Deno.test("parseHostPort() reads names, IPv4, IPv6 and every address", () => {
  const cases: [string, string, number][] = [
    ["127.0.0.1:8080", "127.0.0.1", 8080],
    ["[::1]:0", "::1", 0],
    [":80", "0.0.0.0", 80],
    ["localhost:65535", "localhost", 65535],
  ];
  for (const [text, hostname, port] of cases) {
    assert.deepEqual(parseHostPort(text), { hostname, port });
  }
  for (const text of ["8080", "host", "host:", "::1:80", "host:65536", "a b:1", "[x]:1", "h:-1"]) {
    assert.throws(() => parseHostPort(text), Wanted, text);
  }
});

Deno.test("parseAssignment() splits at the first =", () => {
  assert.deepEqual(parseAssignment("A=b=c"), ["A", "b=c"]);
  assert.deepEqual(parseAssignment("A="), ["A", ""]);
  for (const text of ["", "A", "=b"]) assert.throws(() => parseAssignment(text), Wanted, text);
});

Deno.test("parseChoices() reads a list of known words, parseText() anything but nothing", () => {
  const parse = parseChoices("clock", "random", "stdio");
  assert.deepEqual(parse("clock, stdio"), ["clock", "stdio"]);
  assert.throws(() => parse("clock,time"), /one of clock, random, stdio/);
  assert.equal(parseText("x"), "x");
  assert.throws(() => parseText(""), Wanted);
});
