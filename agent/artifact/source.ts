/**
 * What all sources of artifacts have in common: what they are asked, and what they answer with.
 *
 * @module
 */
import type { PeerBlob } from "./p2p_source.ts";

/** How much of an artifact is there; `total` in bytes where the other end says it. */
export type Progress = (done: number, total: number | undefined) => void;

/** What a source is given beside its own text. */
export interface SourceContext {
  /** The most bytes that the artifact may have. */
  readonly bytesMax: number;
  readonly signal: AbortSignal;
  /** Folder that relative `file:` paths start from. */
  readonly manifestFolder: string;
  readonly machine: Machine;
  /** Where `p2p:` blobs come from. */
  readonly peerBlob?: PeerBlob | undefined;
  readonly progress?: Progress | undefined;
}

/** What of the machine sources may ask: where credentials and gateways are, and names. */
export interface Machine {
  /** A variable of the environment. */
  readonly variable: (name: string) => string | undefined;
  /** Addresses of a host name, in text. Throws where there are none. */
  readonly lookup: (host: string) => Promise<readonly string[]>;
  /** Runs a program with this input, and gives its output. Throws where it fails. */
  readonly run: (program: string, args: readonly string[], input: string) => Promise<string>;
}

/**
 * Fetches what a source names. What comes is verified as far as the source says what it should be;
 * whether it is what a manifest pins is checked by the caller.
 *
 * Throws RealmError `invalid-config` for a text that is no such source, `not-found`,
 * `limit-exceeded`, `digest-mismatch`, `refused` where credentials are missing or wrong or a
 * redirect leads where none may, `failed` for anything else.
 */
export type Source = (source: string, context: SourceContext) => Promise<Uint8Array>;
