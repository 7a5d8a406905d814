import assert from "node:assert/strict";
import fc from "fast-check";
import { nodeBackend } from "../node/crypto_node.ts";
import { VerifiedAhead } from "./verified_ahead.ts";
import { keyPairOf, signerOf, verifierOf } from "./verify.ts";

const strict = verifierOf(nodeBackend());
const ann = signerOf(await keyPairOf(new Uint8Array(32).fill(1), nodeBackend()), nodeBackend());
const message = new TextEncoder().encode("what was said");
const known = { publicKey: ann.publicKey, message, signature: ann.sign(message) };
const flipped = (bytes: Uint8Array, at: number) => bytes.with(at, bytes[at]! ^ 1);

/** With how often the strict function was asked. */
function counted() {
  const counts = { asked: 0 };
  const ahead = new VerifiedAhead((...args) => {
    counts.asked++;
    return strict(...args);
  });
  return { ahead, counts };
}

Deno.test("VerifiedAhead does not ask about what is known, and asks about all else", () => {
  const { ahead, counts } = counted();
  const ask = ({ publicKey, message, signature } = known) =>
    ahead.verify(publicKey, message, signature);
  assert.equal(ahead.during([known], ask), true);
  assert.equal(counts.asked, 0);
  assert.equal(ask(), true); // it was forgotten
  assert.equal(counts.asked, 1);
  const failing = () => ahead.during([known], () => assert.fail("on purpose"));
  assert.throws(failing, /on purpose/);
  ask();
  assert.equal(counts.asked, 2);
});

Deno.test("VerifiedAhead answers as the strict function, whatever differs from what is known", () => {
  const { ahead, counts } = counted();
  const part = fc.constantFrom("publicKey" as const, "message" as const, "signature" as const);
  fc.assert(fc.property(part, fc.nat(), (name, n) => {
    const other = { ...known, [name]: flipped(known[name], n % known[name].length) };
    const before = counts.asked;
    ahead.during([known], () => {
      assert.equal(ahead.verify(other.publicKey, other.message, other.signature), false);
    });
    assert.equal(counts.asked, before + 1);
  }));
  ahead.during([known], () => {
    const short = known.message.subarray(1);
    assert.equal(ahead.verify(known.publicKey, short, known.signature), false);
  });
});
