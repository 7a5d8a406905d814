import assert from "node:assert/strict";
import fc from "fast-check";
import { addressOf } from "./address.ts";

function parsed(address: string) {
  const { host, pathname, search } = new URL(address);
  return { host, path: pathname, query: search };
}

Deno.test("addressOf() is what a URL parser says, for all that looks plain", () => {
  const host = fc.stringMatching(
    /^[a-z][a-z0-9-]{0,8}(\.[a-z][a-z0-9-]{0,4}){0,2}(:[1-9]\d{0,3})?$/,
  );
  const rest = fc.stringMatching(/^[\w.~!$&'()*+,;=:@/%?#\\ "<>|^`{}-]{0,20}$/);
  fc.assert(
    fc.property(host, rest, (host, rest) => {
      const address = `http://${host}/${rest}`;
      if (!URL.canParse(address)) return;
      assert.deepEqual(addressOf(address), parsed(address), address);
    }),
    { numRuns: Deno.env.get("SLOW") ? 100_000 : 2_000 },
  );
});

Deno.test("addressOf() leaves out the default port and resolves dot segments", () => {
  for (
    const address of [
      "http://a:80/x",
      "http://a/b/../c",
      "http://a/%2e%2e/c",
      "http://a/x?",
      "http://127.0.0.1:8080/",
    ]
  ) {
    assert.deepEqual(addressOf(address), parsed(address), address);
  }
  assert.equal(addressOf("http://"), undefined);
});
