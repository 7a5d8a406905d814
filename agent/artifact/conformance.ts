/**
 * What every source of artifacts has to do, whatever its scheme: the suite that each is tested by.
 *
 * @module
 */
import assert from "node:assert/strict";
import { RealmError } from "../kernel/error.ts";
import { sha256Hex } from "../kernel/sha256.ts";
import { fetchArtifact } from "./fetch_artifact.ts";
import type { PeerBlob } from "./p2p_source.ts";
import type { Machine } from "./source.ts";

/** What goes wrong at the other end. */
export type Fault =
  | "none"
  /** Other bytes than the digest says. */
  | "wrong bytes"
  /** The end never comes: every transfer breaks off halfway. */
  | "truncated"
  /** Nothing more comes after the first bytes. */
  | "slow"
  | "redirected to a private address"
  /** Larger than it may be. */
  | "huge"
  /** The credentials are wrong, or missing. */
  | "no access"
  /** There is no such thing. */
  | "missing"
  /** Nobody answers. */
  | "offline";

/** An artifact that can be had, or not. */
export interface Offer {
  readonly source: string;
  readonly machine?: Partial<Machine>;
  readonly manifestFolder?: string;
  readonly peerBlob?: PeerBlob;
  /** Ends what serves it. */
  stop(): Promise<void>;
}

/** How a source is tested. */
export interface SourceHarness {
  readonly scheme: string;
  /** Faults that cannot happen to it, each with the reason. */
  readonly cannot: Partial<Readonly<Record<Fault, string>>>;
  offer(fault: Fault, bytes: Uint8Array<ArrayBuffer>): Promise<Offer>;
}

/** Nothing of the machine is there. */
export const NO_MACHINE: Machine = {
  variable: () => undefined,
  lookup: () => Promise.reject(new Error("no such host")),
  run: (program) => Promise.reject(new Error(`there is no ${program}`)),
};

/** Small enough for every test, and more than one chunk of a stream. */
const BYTES = Uint8Array.from({ length: 200_000 }, (_, i) => (i * 31) >> 3);
const BYTES_MAX = 300_000;

/** What has to become of each fault: a code of RealmError, or the bytes. */
const WANTED: Readonly<Record<Fault, readonly string[] | undefined>> = {
  none: undefined,
  "wrong bytes": ["digest-mismatch"],
  truncated: ["failed"],
  slow: ["failed"],
  "redirected to a private address": ["refused"],
  huge: ["limit-exceeded"],
  "no access": ["refused"],
  missing: ["not-found"],
  offline: ["failed"],
};

/** Registers a test for each fault. */
export function testSource(harness: SourceHarness): void {
  for (const [fault, codes] of Object.entries(WANTED) as [Fault, string[] | undefined][]) {
    if (harness.cannot[fault] !== undefined) continue;
    const what = codes === undefined ? "gets the bytes" : `is ${codes.join(" or ")}`;
    Deno.test(`${harness.scheme}: ${fault} ${what}`, async () => {
      const content = fault === "huge" ? new Uint8Array(BYTES_MAX + 1) : BYTES;
      const offer = await harness.offer(fault, content);
      const done: number[] = [];
      const sha256 = await sha256Hex(content);
      try {
        const artifact = fetchArtifact({
          source: offer.source,
          sha256,
          manifestFolder: offer.manifestFolder ?? "/",
          machine: { ...NO_MACHINE, ...offer.machine },
          ...offer.peerBlob === undefined ? {} : { peerBlob: offer.peerBlob },
          bytesMax: BYTES_MAX,
          ...fault === "slow" ? { timeoutMs: 300 } : {},
          progress: (bytes) => void done.push(bytes),
        });
        if (codes === undefined) {
          assert.deepEqual(await artifact, { bytes: content, sha256 });
          assert.deepEqual(done, done.toSorted((a, b) => a - b), "progress goes one way");
          assert.ok(done.length === 0 || done.at(-1) === content.length);
        } else {
          await assert.rejects(artifact, (error) => {
            assert.ok(error instanceof RealmError, String(error));
            assert.ok(codes.includes(error.code), `${error.code}: ${error.message}`);
            assert.ok(error.message.includes(offer.source), error.message);
            return true;
          });
        }
      } finally {
        await offer.stop();
      }
    });
  }
}

/** What a server of the suite has: by path, with the query where that matters. */
export interface ServedFile {
  readonly path: string;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly type?: string;
  /** It is the artifact itself, to which faults happen. */
  readonly isArtifact?: boolean;
}

/** A host name of the suite: it leads here, and `lookup` says that it is public. */
const PUBLIC: Pick<Machine, "lookup"> = { lookup: async () => ["1.1.1.1"] };

/** Offers files over HTTP with a fault; `source` makes the source from the host with its port. */
export async function offerOverHttp(
  fault: Fault,
  files: readonly ServedFile[],
  source: (host: string) => string,
  machine: (host: string) => Partial<Machine> = () => ({}),
): Promise<Offer> {
  const stalled: ReadableStreamDefaultController<Uint8Array>[] = [];
  const server: Deno.HttpServer<Deno.NetAddr> = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {}, onError: () => new Response() },
    (request): Response => {
      const { pathname } = new URL(request.url);
      const file = files.find(({ path }) => path === pathname);
      if (file === undefined || (fault === "missing" && file.isArtifact)) {
        return new Response("no", { status: 404 });
      }
      const { bytes, type = "application/octet-stream", isArtifact } = file;
      const headers = { "content-type": type, "content-length": String(bytes.length) };
      const part = (rest: (controller: ReadableStreamDefaultController<Uint8Array>) => void) =>
        new ReadableStream<Uint8Array>({
          start(controller) {
            controller.enqueue(bytes.slice(0, bytes.length >> 1));
            rest(controller);
          },
        });
      if (!isArtifact) return new Response(bytes, { headers });
      switch (fault) {
        case "wrong bytes":
          return new Response(bytes.map((byte, i) => i === 7 ? byte ^ 1 : byte), { headers });
        case "truncated":
          return new Response(part((c) => void setTimeout(() => c.error(new Error("cut")), 1)), {
            headers,
          });
        case "slow":
          return new Response(part((c) => void stalled.push(c)), { headers });
        case "redirected to a private address": {
          const location = `http://127.0.0.1:${server.addr.port}${pathname}`;
          return new Response(null, { status: 302, headers: { location } });
        }
        case "no access":
          return new Response("no", { status: 403 });
        default:
          return new Response(bytes, { headers });
      }
    },
  );
  const host = `localhost:${server.addr.port}`;
  const stop = async () => {
    for (const controller of stalled) {
      try {
        controller.close();
      } catch {
        // the other end has gone
      }
    }
    await server.shutdown();
  };
  if (fault === "offline") await stop();
  return {
    source: source(host),
    machine: { ...PUBLIC, ...machine(host) },
    stop: fault === "offline" ? () => Promise.resolve() : stop,
  };
}
