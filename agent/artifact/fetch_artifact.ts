/**
 * Fetches the component that a manifest's `source` names, and checks its digest.
 *
 * One file per scheme, behind one type ({@link Source}); `conformance.ts` is what each is tested by.
 *
 * @module
 */
import { RealmError } from "../kernel/error.ts";
import { sha256Hex } from "../kernel/sha256.ts";
import { fetchFile } from "./file_source.ts";
import { fetchHttp } from "./http_source.ts";
import { fetchP2p, type PeerBlob } from "./p2p_source.ts";
import type { Machine, Progress, Source } from "./source.ts";

/** Largest component unless told otherwise. */
export const ARTIFACT_BYTES_MAX = 256 * 1024 * 1024;

/** What to fetch, and the bounds on it. */
export interface ArtifactRequest {
  /** `file:./x.wasm`, `registry:ghcr.io/acme/x:1` … */
  readonly source: string;
  /** Folder that relative `file:` paths start from: that of the manifest. */
  readonly manifestFolder: string;
  readonly machine: Machine;
  /** Lower-case hex; checked where given. */
  readonly sha256?: string;
  /** {@link ARTIFACT_BYTES_MAX} unless given. */
  readonly bytesMax?: number;
  /** For all of it, redirects and body included; 5 min. */
  readonly timeoutMs?: number;
  /** Rejects with its reason when aborted. */
  readonly signal?: AbortSignal;
  /** Where `p2p:` blobs come from. */
  readonly peerBlob?: PeerBlob;
  readonly progress?: Progress;
}

/** A component's bytes and their name. */
export interface Artifact {
  readonly bytes: Uint8Array;
  /** Lower-case hex. */
  readonly sha256: string;
}

/** What is not needed for most is loaded when it is. */
const SOURCES: Readonly<Record<string, () => Promise<Source>>> = {
  file: async () => fetchFile,
  http: async () => fetchHttp,
  https: async () => fetchHttp,
  p2p: async () => fetchP2p,
  registry: async () => (await import("./registry_source.ts")).fetchRegistry,
  s3: async () => (await import("./s3_source.ts")).fetchS3,
  ipfs: async () => (await import("./ipfs_source.ts")).fetchIpfs,
};
const WANTED = "file:, http:, https:, registry:, s3:, ipfs: or p2p:";

/**
 * Fetches and checks.
 *
 * Throws RealmError `digest-mismatch` naming both digests, what a {@link Source} throws,
 * `invalid-config` for another scheme, and `failed` for what took too long.
 */
export async function fetchArtifact(request: ArtifactRequest): Promise<Artifact> {
  const { source, bytesMax = ARTIFACT_BYTES_MAX, timeoutMs = 300_000 } = request;
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), timeoutMs);
  const signal = request.signal ? AbortSignal.any([request.signal, late.signal]) : late.signal;
  let bytes: Uint8Array;
  try {
    signal.throwIfAborted();
    const { manifestFolder, machine, peerBlob, progress } = request;
    const fetchSource = await sourceOf(source);
    bytes = await fetchSource(source, {
      bytesMax,
      signal,
      manifestFolder,
      machine,
      peerBlob,
      progress,
    });
  } catch (error) {
    if (late.signal.aborted) {
      throw new RealmError("failed", `Cannot fetch "${source}": not done within ${timeoutMs} ms`, {
        cause: error,
      });
    }
    throw error;
  } finally {
    clearTimeout(timer);
  }
  const sha256 = await sha256Hex(bytes);
  if (request.sha256 !== undefined && request.sha256 !== sha256) {
    throw new RealmError(
      "digest-mismatch",
      `Cannot use "${source}": its sha256 is ${sha256}, wanted ${request.sha256}`,
      { hint: "If the new bytes are right, change or remove sha256 in the manifest" },
    );
  }
  return { bytes, sha256 };
}

async function sourceOf(source: string): Promise<Source> {
  const scheme = /^([a-z][a-z0-9+.-]*):/i.exec(source)?.[1]?.toLowerCase();
  if (scheme !== undefined && Object.hasOwn(SOURCES, scheme)) return await SOURCES[scheme]!();
  throw new RealmError(
    "invalid-config",
    `Cannot fetch "${source}": wanted ${WANTED} at its start`,
    { hint: scheme === undefined ? `Write file:${source}` : `Use ${WANTED}` },
  );
}
