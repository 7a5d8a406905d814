/**
 * Peer ids: what libp2p and multiaddrs call the text form of a public key.
 *
 * The peer id of an Ed25519 key is the base58btc of an identity multihash around the key in
 * protobuf (https://github.com/libp2p/specs/blob/master/peer-ids/peer-ids.md), so it and
 * `ed25519:BASE58` say the same and are converted without loss.
 *
 * @module
 */
import { base58btc } from "multiformats/bases/base58";
import { RealmError } from "./error.ts";
import { bytesEqual, formatPublicKey, parsePublicKey } from "./key.ts";

/** Identity multihash of 36 bytes; in them field 1 is the type, 1 for Ed25519, field 2 the key. */
const PREFIX = Uint8Array.of(0x00, 0x24, 0x08, 0x01, 0x12, 0x20);
const PEER_ID = /^12D3KooW[1-9A-HJ-NP-Za-km-z]{44}$/;
/** The last component of an address, where it is a peer id of any kind. */
const ADDRESSEE = /^(.*)\/p2p\/([^/]+)$/s;

/** The peer id of a key in text form; throws RealmError `invalid-config`. */
export function peerIdOfKey(key: string): string {
  return base58btc.baseEncode(Uint8Array.of(...PREFIX, ...parsePublicKey(key)));
}

/** The key in text form of a peer id; throws RealmError `usage`, also for other kinds of keys. */
export function keyOfPeerId(peerId: string): string {
  const bytes = PEER_ID.test(peerId) ? base58btc.baseDecode(peerId) : undefined;
  const length = PREFIX.length;
  if (bytes?.length !== length + 32 || !bytesEqual(bytes.subarray(0, length), PREFIX)) {
    throw new RealmError(
      "usage",
      `Cannot read peer id: ${
        JSON.stringify(peerId.slice(0, 80))
      }, wanted 12D3KooW… of an Ed25519 key`,
    );
  }
  return formatPublicKey(bytes.subarray(length));
}

/**
 * A multiaddr without the peer id at its end, and the key that this names, if there is one. A peer
 * id further in front is that of a relay and stays.
 */
export function splitAddress(address: string): { transport: string; key?: string } {
  const match = ADDRESSEE.exec(address);
  if (match === null) return { transport: address };
  return { transport: match[1]!, key: keyOfPeerId(match[2]!) };
}

/** The multiaddr that ends in the peer id of `key`. */
export function joinAddress(transport: string, key: string): string {
  return `${transport}/p2p/${peerIdOfKey(key)}`;
}
