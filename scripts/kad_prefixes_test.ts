import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import prefixes, { BITS } from "./kad_prefixes.ts";

Deno.test("a prefix gives the number of a peer whose id begins with it", () => {
  for (const prefix of [0, 1 << 6, 0x1234, 0x7fff, 0x8000, 0xffff]) {
    const peer = new Uint8Array(34);
    peer.set([0x12, 32]);
    new DataView(peer.buffer).setUint32(2, prefixes[prefix]!);
    const id = createHash("sha256").update(peer).digest();
    assert.equal(id.readUInt16BE(0) >> (16 - BITS), prefix >> (16 - BITS), prefix.toString(16));
  }
});
