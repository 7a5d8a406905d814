/**
 * Content-addressed archives, as strict as they can be read.
 *
 * CAR version 1 (https://ipld.io/specs/transport/car/carv1/) narrowed so that the same blocks in the
 * same order have one encoding: one root, which is the first block; CIDs of version 1 with sha2-256
 * over dag-cbor or raw bytes; no block twice; shortest lengths; nothing behind the last block.
 * Sizes are in bytes. Blocks that are read are views of the archive: reading copies nothing, so what
 * a length claims costs nothing.
 *
 * @module
 */
import { sha256 } from "@noble/hashes/sha2.js";
import { create as createDigest } from "multiformats/hashes/digest";
import { CID, cidOf, encodeCanonical } from "../kernel/canonical.ts";
import { RealmError } from "../kernel/error.ts";
import { bytesEqual } from "../kernel/key.ts";

/** Bytes with their name. */
export interface Block {
  readonly cid: CID;
  readonly bytes: Uint8Array;
}

/** What an archive may hold. */
export interface CarLimits {
  readonly bytesMax: number;
  readonly blocksMax: number;
  readonly blockBytesMax: number;
}

const DAG_CBOR = 0x71;
const RAW = 0x55;
const SHA2_256 = 0x12;
/** Version, codec, hash, length of the digest, and the digest. */
const CID_BYTES = 36;

/** The CID (version 1, raw, sha2-256) of any bytes. */
export function rawCidOf(bytes: Uint8Array): CID {
  return rawCidOfDigest(sha256(bytes));
}

/** The CID of raw bytes with this sha256, of 32 bytes. */
export function rawCidOfDigest(digest: Uint8Array): CID {
  return CID.createV1(RAW, createDigest(SHA2_256, digest));
}

/** Whether a CID is one that {@link rawCidOf} makes. */
export function isRawCid(cid: CID): boolean {
  return cid.version === 1 && cid.code === RAW && cid.multihash.code === SHA2_256 &&
    cid.multihash.digest.length === 32;
}

/** The sha256 of a block, from its name, in lower-case hex. */
export function sha256Of(cid: CID): string {
  return Array.from(cid.multihash.digest, (b) => b.toString(16).padStart(2, "0")).join("");
}

/** The archive of these blocks, of which the first is the root. */
export function encodeCar(blocks: readonly [Block, ...Block[]]): Uint8Array<ArrayBuffer> {
  const header = headerOf(blocks[0].cid);
  const parts = [varint(header.length), header];
  for (const { cid, bytes } of blocks) {
    parts.push(varint(CID_BYTES + bytes.length), cid.bytes, bytes);
  }
  const archive = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    archive.set(part, at);
    at += part.length;
  }
  return archive;
}

/**
 * The blocks of an archive in their order, the root first, each with the name its bytes have.
 *
 * Throws RealmError: `limit-exceeded` for what is larger or more than `limits`, `digest-mismatch`
 * for a block whose bytes are not those of its name, `corrupt` for everything else.
 */
export function decodeCar(archive: Uint8Array, limits: CarLimits): [Block, ...Block[]] {
  const { bytesMax, blocksMax, blockBytesMax } = limits;
  if (archive.length > bytesMax) {
    throw tooMuch(`it has ${archive.length} bytes, wanted at most ${bytesMax}`);
  }
  let at = 0;
  /** The next part: its length, then so many bytes. */
  const part = (what: string, lengthMax: number): Uint8Array => {
    const start = at;
    let length = 0;
    for (let scale = 1;; scale *= 128) {
      const byte = archive[at++];
      if (byte === undefined) throw malformed(`it ends in the length of ${what}`);
      // Four bytes say more than any archive may have; a zero at the end is not the shortest form.
      if (at - start > 4) throw tooMuch(`${what} at byte ${start} has a length past ${bytesMax}`);
      length += (byte & 0x7f) * scale;
      if (byte >= 0x80) continue;
      if (byte === 0 && at - start > 1) {
        throw malformed(`a length at byte ${start} is not shortest`);
      }
      break;
    }
    if (length > lengthMax) {
      throw tooMuch(`${what} at byte ${start} has ${length} bytes, wanted at most ${lengthMax}`);
    }
    if (length > archive.length - at) throw malformed(`it ends in ${what} at byte ${start}`);
    return archive.subarray(at, at += length);
  };

  const header = part("the header", 1024);
  const blocks: Block[] = [];
  const names = new Set<string>();
  while (at < archive.length) {
    const start = at;
    if (blocks.length === blocksMax) throw tooMuch(`it has more than ${blocksMax} blocks`);
    const section = part("a block", CID_BYTES + blockBytesMax);
    const cid = cidAt(section, start);
    const bytes = section.subarray(CID_BYTES);
    if (names.has(cid.toString())) throw malformed(`block ${cid} is there twice`);
    names.add(cid.toString());
    // The root is compared before anything is hashed: an archive of something else costs nothing.
    if (blocks.length === 0 && !bytesEqual(header, headerOf(cid))) {
      throw malformed("its header does not name the first block as its only root");
    }
    const found = cid.code === RAW ? rawCidOf(bytes) : cidOf(bytes);
    if (!found.equals(cid)) {
      throw new RealmError(
        "digest-mismatch",
        `Cannot read bundle: block ${cid} has bytes of ${found}`,
        { hint: "The file was damaged or changed: get it again" },
      );
    }
    blocks.push({ cid, bytes });
  }
  const [root, ...rest] = blocks;
  if (root === undefined) throw malformed("it has no blocks");
  return [root, ...rest];
}

function cidAt(section: Uint8Array, start: number): CID {
  const [version, codec, hash, length] = section;
  const isKnown = section.length >= CID_BYTES && version === 1 &&
    (codec === DAG_CBOR || codec === RAW) && hash === SHA2_256 && length === 32;
  if (!isKnown) {
    throw malformed(`the block at byte ${start} is not named by a sha2-256 of dag-cbor or raw`);
  }
  return CID.createV1(codec, createDigest(SHA2_256, section.slice(4, CID_BYTES)));
}

function headerOf(root: CID): Uint8Array {
  return encodeCanonical({ version: 1, roots: [root] });
}

function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  for (; value >= 0x80; value = Math.floor(value / 128)) bytes.push(value % 128 + 0x80);
  return Uint8Array.of(...bytes, value);
}

function malformed(problem: string): RealmError {
  return new RealmError("corrupt", `Cannot read bundle: ${problem}`);
}

function tooMuch(problem: string): RealmError {
  return new RealmError("limit-exceeded", `Cannot read bundle: ${problem}`);
}
