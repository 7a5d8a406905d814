/**
 * Takes the place, in the executable, of a list of 400 kB in `@libp2p/kad-dht`.
 *
 * To refresh its routing table Kademlia looks for a peer that does not exist, whose id (a sha256)
 * begins with bits of its choice. The list has, for each 16 bits, a number that makes such a peer.
 * Here the number is searched for, so that the first {@link BITS} bits are right: that takes some
 * 2^BITS hashes, a few milliseconds every five minutes, and a table of peers never has buckets
 * deeper than the logarithm of how many there are.
 *
 * @module
 */
import { hash } from "node:crypto";

/** Of the prefix that is asked for, how many bits the id of the peer begins with. */
export const BITS = 10;

/** The number of a peer whose id begins with the first {@link BITS} of these 16 bits. */
export function numberFor(prefix: number): number {
  // A peer as `_makePeerId` of kad-dht writes it: sha2-256, 32 bytes, of which the first 4 are it.
  const peer = new DataView(new ArrayBuffer(34));
  peer.setUint16(0, 0x1220);
  for (let number = 0;; number++) {
    peer.setUint32(2, number);
    const id = hash("sha256", new Uint8Array(peer.buffer), "buffer");
    if (id.readUInt16BE(0) >> (16 - BITS) === prefix >> (16 - BITS)) return number;
  }
}

/** What kad-dht takes for a list. */
export default new Proxy<readonly number[]>([], {
  get: (_, prefix) => numberFor(Number(prefix)),
});
