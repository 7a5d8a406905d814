/**
 * `ipfs:` sources: a file by its CID, block by block from a gateway that need not be trusted.
 *
 * `ipfs:CID` or `ipfs:CID/path/in/it`. Each block is checked against the CID that names it, so any
 * gateway will do: `$IPFS_GATEWAY` (a Kubo or Helia of one's own), else a public one.
 *
 * @see https://specs.ipfs.tech/http-gateways/trustless-gateway/
 * @module
 */
import { exporter } from "ipfs-unixfs-exporter";
import { CID } from "multiformats/cid";
import { RealmError } from "../kernel/error.ts";
import { sha256Hex } from "../kernel/sha256.ts";
import { httpGet, sourceError } from "./http_get.ts";
import type { SourceContext } from "./source.ts";
import { tooLarge } from "./too_large.ts";

/** Where blocks are had from when nothing else is said. */
export const PUBLIC_GATEWAY = "https://trustless-gateway.link";
/** The most that Bitswap carries too. */
const BLOCK_BYTES_MAX = 4 * 1024 * 1024;
/** Blocks that only lead to others: a share of the file, and folders on the way. */
const LEADING_BYTES_MAX = 8 * 1024 * 1024;
const BLOCKS_AHEAD = 8;
const SHA2_256 = 0x12;
const IDENTITY = 0x00;

/** The bytes of the file. */
export async function fetchIpfs(source: string, context: SourceContext): Promise<Uint8Array> {
  const { bytesMax, signal, machine, progress } = context;
  const text = source.slice(source.indexOf(":") + 1).replace(/^\/\//, "");
  const [name, ...path] = text.split("/");
  let root: CID;
  try {
    root = CID.parse(name!);
  } catch (cause) {
    throw sourceError(source, "invalid-config", `"${name}" is no CID`, {
      cause,
      hint: "Write ipfs:CID or ipfs:CID/path",
    });
  }
  const gateway = machine.variable("IPFS_GATEWAY") || PUBLIC_GATEWAY;
  if (!URL.canParse(gateway) || !/^https?:/.test(gateway)) {
    throw sourceError(source, "invalid-config", `IPFS_GATEWAY "${gateway}" is no URL of http(s)`);
  }
  // Blocks are read ahead of where the file is: with the first that fails the others end.
  const rest = new AbortController();
  const reading = new Set<Promise<unknown>>();
  const inner = { ...context, signal: AbortSignal.any([signal, rest.signal]), progress: undefined };
  let came = 0;
  const block = async (cid: CID): Promise<Uint8Array> => {
    const { code, digest } = cid.multihash;
    if (code === IDENTITY) return digest;
    if (code !== SHA2_256) {
      throw sourceError(source, "failed", `${cid} has another hash than sha2-256`);
    }
    const url = new URL(`/ipfs/${cid}?format=raw`, gateway);
    const { bytes } = await httpGet({
      url,
      headers: { accept: "application/vnd.ipld.raw" },
      source,
      bytesMax: BLOCK_BYTES_MAX,
    }, inner);
    const found = await sha256Hex(bytes);
    if (found !== digest.toHex()) {
      throw new RealmError(
        "digest-mismatch",
        `Cannot use "${source}": what the gateway gave for ${cid} has sha256 ${found}`,
        { hint: "Ask another gateway: set IPFS_GATEWAY" },
      );
    }
    came += bytes.length;
    if (came > bytesMax + LEADING_BYTES_MAX) throw tooLarge(source, bytesMax);
    return bytes;
  };
  const store = {
    async *get(cid: CID): AsyncGenerator<Uint8Array> {
      const bytes = block(cid);
      reading.add(bytes);
      try {
        yield await bytes;
      } finally {
        reading.delete(bytes);
      }
    },
  };
  try {
    const entry = await exporter([root.toString(), ...path].join("/"), store, { signal });
    if (entry.type !== "file" && entry.type !== "raw") {
      throw sourceError(source, "failed", `it is a ${entry.type}, wanted a file`, {
        hint: "Name the file in it: ipfs:CID/path",
      });
    }
    const total = Number(entry.size);
    if (total > bytesMax) throw tooLarge(source, bytesMax);
    const bytes = new Uint8Array(total);
    let length = 0;
    for await (const chunk of entry.content({ blockReadConcurrency: BLOCKS_AHEAD })) {
      if (length + chunk.length > total) throw sourceError(source, "failed", "its size is a lie");
      bytes.set(chunk, length);
      length += chunk.length;
      progress?.(length, total);
    }
    if (length < total) throw sourceError(source, "failed", "its size is a lie");
    return bytes;
  } catch (error) {
    if (signal.aborted) throw error;
    // The exporter wraps what its store throws.
    for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
      if (cause instanceof RealmError) throw cause;
    }
    const { name, message } = error as Error;
    const code = name === "NotFoundError" ? "not-found" : "failed";
    throw sourceError(source, code, message, { cause: error });
  } finally {
    rest.abort();
    await Promise.allSettled(reading);
  }
}
