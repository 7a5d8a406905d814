import assert from "node:assert/strict";
import { RealmError } from "../../kernel/error.ts";
import { type AppTicket, formatAppTicket, parseAppTicket } from "./app_ticket.ts";
import { ann, someCid } from "./topic_fake.ts";

const ticket: AppTicket = {
  topic: someCid("topic"),
  bundle: someCid("bundle"),
  peers: [{ key: ann.key, addresses: ["/ip4/127.0.0.1/tcp/4001"] }],
  invite: { seed: new Uint8Array(32).fill(7), role: "member" },
  state: { heads: new Uint8Array(32).fill(1), count: 100_000, digest: new Uint8Array(32) },
};

Deno.test("parseAppTicket() inverts formatAppTicket()", () => {
  for (const each of [ticket, { ...ticket, peers: [], invite: undefined, state: undefined }]) {
    const text = formatAppTicket(each);
    assert.match(text, /^realmapp1z[0-9A-Za-z]+$/);
    assert.deepEqual(parseAppTicket(text), each);
  }
});

Deno.test("parseAppTicket() refuses what was cut or changed", () => {
  const text = formatAppTicket(ticket);
  const wrong = [
    "realm1zabc",
    text.slice(0, -3),
    text + "1",
    "realmapp1z" + "2".repeat(9000),
    `${text.slice(0, 40)}0${text.slice(41)}`,
  ];
  for (const each of wrong) {
    assert.throws(() => parseAppTicket(each), (error) => {
      return error instanceof RealmError && error.code === "usage" && !error.message.includes(each);
    });
  }
});
