import { encode, prepare } from "@ipld/dag-pb";
import { UnixFS } from "ipfs-unixfs";
import { CID } from "multiformats/cid";
import * as raw from "multiformats/codecs/raw";
import { sha256 } from "multiformats/hashes/sha2";
import { RealmError } from "../kernel/error.ts";
import { sha256Hex } from "../kernel/sha256.ts";
import { offerOverHttp, type ServedFile, testSource } from "./conformance.ts";

const HERE = "nothing is sent";
const LOCAL = { truncated: HERE, slow: HERE, "redirected to a private address": HERE } as const;

testSource({
  scheme: "file",
  cannot: { ...LOCAL, offline: HERE, "no access": "tests may run as root, who reads everything" },
  offer: async (fault, bytes) => {
    const folder = await Deno.makeTempDir({ prefix: "realm-source-" });
    const written = fault === "wrong bytes" ? bytes.slice(1) : bytes;
    if (fault !== "missing") await Deno.writeFile(`${folder}/a.wasm`, written);
    return {
      source: "file:./a.wasm",
      manifestFolder: folder,
      stop: () => Deno.remove(folder, { recursive: true }),
    };
  },
});

testSource({
  scheme: "p2p",
  cannot: { ...LOCAL, "no access": "who may ask may have all blobs" },
  offer: async (fault, bytes) => ({
    source: `p2p:${await sha256Hex(bytes)}`,
    peerBlob: async (digest) => {
      if (fault === "missing") throw new RealmError("not-found", `Cannot find p2p:${digest}`);
      if (fault === "offline") throw new RealmError("failed", `Cannot reach p2p:${digest}`);
      return fault === "wrong bytes" ? bytes.slice(1) : bytes;
    },
    stop: () => Promise.resolve(),
  }),
});

testSource({
  scheme: "http",
  cannot: {},
  offer: (fault, bytes) =>
    offerOverHttp(
      fault,
      [{ path: "/a.wasm", bytes, isArtifact: true }],
      (host) => `http://${host}/a.wasm`,
    ),
});

/** JSON as bytes, and the sha256 of that. */
async function json(value: unknown): Promise<{ bytes: Uint8Array<ArrayBuffer>; digest: string }> {
  const bytes = new TextEncoder().encode(JSON.stringify(value));
  return { bytes, digest: await sha256Hex(bytes) };
}

testSource({
  scheme: "registry",
  cannot: {},
  offer: async (fault, bytes) => {
    const config = await json({});
    const digest = await sha256Hex(bytes);
    const manifest = await json({
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      config: {
        mediaType: "application/vnd.wasm.config.v0+json",
        digest: `sha256:${config.digest}`,
        size: config.bytes.length,
      },
      layers: [{ mediaType: "application/wasm", digest: `sha256:${digest}`, size: bytes.length }],
    });
    return await offerOverHttp(
      fault,
      [
        { path: `/v2/acme/auth/manifests/sha256:${manifest.digest}`, bytes: manifest.bytes },
        { path: `/v2/acme/auth/blobs/sha256:${digest}`, bytes, isArtifact: true },
      ],
      (host) => `registry:${host}/acme/auth:1.0@sha256:${manifest.digest}`,
    );
  },
});

testSource({
  scheme: "s3",
  cannot: {},
  offer: (fault, bytes) =>
    offerOverHttp(
      fault,
      [{ path: "/bucket/some/key.wasm", bytes, isArtifact: true }],
      (host) => `s3:bucket/some/key.wasm?endpoint=http://${host}`,
    ),
});

/** A file of two raw leaves under one node, in a folder, as `ipfs add --raw-leaves -w` makes it. */
async function unixfs(bytes: Uint8Array<ArrayBuffer>): Promise<{ root: CID; files: ServedFile[] }> {
  const files: ServedFile[] = [];
  const put = async (code: number, block: Uint8Array<ArrayBuffer>, isArtifact: boolean) => {
    const cid = CID.createV1(code, await sha256.digest(block));
    files.push({ path: `/ipfs/${cid}`, bytes: block, isArtifact });
    return cid;
  };
  const half = bytes.length >> 1;
  const leaves = [bytes.slice(0, half), bytes.slice(half)];
  const node = new UnixFS({ type: "file" });
  const links = [];
  for (const leaf of leaves) {
    node.addBlockSize(BigInt(leaf.length));
    links.push({ Name: "", Tsize: leaf.length, Hash: await put(raw.code, leaf, true) });
  }
  const dagPb = 0x70;
  const file = encode(prepare({ Data: node.marshal(), Links: links }));
  const cid = await put(dagPb, new Uint8Array(file), false);
  const folder = encode(prepare({
    Data: new UnixFS({ type: "directory" }).marshal(),
    Links: [{ Name: "a.wasm", Tsize: file.length + bytes.length, Hash: cid }],
  }));
  return { root: await put(dagPb, new Uint8Array(folder), false), files };
}

testSource({
  scheme: "ipfs",
  cannot: {},
  offer: async (fault, bytes) => {
    const { root, files } = await unixfs(bytes);
    return await offerOverHttp(fault, files, () => `ipfs:${root}/a.wasm`, (host) => ({
      variable: (name) => name === "IPFS_GATEWAY" ? `http://${host}` : undefined,
    }));
  },
});
