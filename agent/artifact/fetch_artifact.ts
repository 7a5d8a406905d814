/**
 * Fetches the component that a manifest's `source` names, and checks its digest.
 *
 * One file per scheme; `file:`, `http:`, `https:` and `p2p:` for now.
 *
 * @module
 */
import { RealmError } from "../kernel/error.ts";
import { sha256Hex } from "../kernel/sha256.ts";
import { fetchFile } from "./file_source.ts";
import { fetchHttp } from "./http_source.ts";
import { fetchP2p, type PeerBlob } from "./p2p_source.ts";

/** Largest component unless told otherwise. */
export const ARTIFACT_BYTES_MAX = 256 * 1024 * 1024;

/** What to fetch, and the bounds on it. */
export interface ArtifactRequest {
  /** `file:./x.wasm`, `https://host/x.wasm` … */
  readonly source: string;
  /** Folder that relative `file:` paths start from: that of the manifest. */
  readonly manifestFolder: string;
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
}

/** A component's bytes and their name. */
export interface Artifact {
  readonly bytes: Uint8Array;
  /** Lower-case hex. */
  readonly sha256: string;
}

/** Schemes of the manifest that a later version fetches. */
const LATER = ["registry", "s3", "ipfs"];

/**
 * Fetches and checks.
 *
 * Throws RealmError `digest-mismatch` naming both digests, `not-found`, `limit-exceeded`,
 * `unsupported` and `invalid-config` for the source itself, `failed` for a transfer that did not
 * work or took too long.
 */
export async function fetchArtifact(request: ArtifactRequest): Promise<Artifact> {
  const { source, manifestFolder, bytesMax = ARTIFACT_BYTES_MAX, timeoutMs = 300_000 } = request;
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), timeoutMs);
  const signal = request.signal ? AbortSignal.any([request.signal, late.signal]) : late.signal;
  let bytes: Uint8Array;
  try {
    signal.throwIfAborted();
    const scheme = /^([a-z][a-z0-9+.-]*):/i.exec(source)?.[1]?.toLowerCase();
    if (scheme === "file") bytes = await fetchFile(source, { manifestFolder, bytesMax, signal });
    else if (scheme === "http" || scheme === "https") {
      bytes = await fetchHttp(source, { bytesMax, signal });
    } else if (scheme === "p2p") {
      bytes = await fetchP2p(source, { bytesMax, signal, peerBlob: request.peerBlob });
    } else throw unknownScheme(source, scheme);
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

function unknownScheme(source: string, scheme: string | undefined): RealmError {
  if (scheme !== undefined && LATER.includes(scheme)) {
    return new RealmError(
      "unsupported",
      `Cannot fetch "${source}": ${scheme}: is not supported yet`,
      {
        hint: "Use file:, http:, https: or p2p:",
      },
    );
  }
  return new RealmError(
    "invalid-config",
    `Cannot fetch "${source}": wanted file:, http:, https: or p2p: at its start`,
    { hint: scheme === undefined ? `Write file:${source}` : "Use file:, http:, https: or p2p:" },
  );
}
