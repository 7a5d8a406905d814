import assert from "node:assert/strict";
import { cidOf, encodeCanonical } from "../kernel/canonical.ts";
import { RealmError } from "../kernel/error.ts";
import { formatPublicKey } from "../kernel/key.ts";
import { formatTicket, parseTicket } from "./ticket.ts";

const TICKET = {
  owner: formatPublicKey(new Uint8Array(32).fill(7)),
  topic: cidOf(encodeCanonical({ a: 1 })).toString(),
  addresses: ["/ip4/127.0.0.1/tcp/4001"],
};

Deno.test("parseTicket() inverts formatTicket()", () => {
  assert.deepEqual(parseTicket(formatTicket(TICKET)), TICKET);
});

Deno.test("parseTicket() refuses what was cut, changed or is something else", () => {
  const text = formatTicket(TICKET);
  for (const bad of ["", "realm1", "realm1z", text.slice(0, -3), text + "a", TICKET.owner]) {
    assert.throws(
      () => parseTicket(bad),
      (e) => e instanceof RealmError && e.code === "usage",
      bad,
    );
  }
});
