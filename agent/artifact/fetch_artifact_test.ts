import assert from "node:assert/strict";
import { RealmError } from "../kernel/error.ts";
import { NO_MACHINE } from "./conformance.ts";
import { type ArtifactRequest, fetchArtifact } from "./fetch_artifact.ts";

const ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const hasCode = (code: string, message: RegExp = /./) => (error: unknown) =>
  error instanceof RealmError && error.code === code && message.test(error.message);

async function inFolder(run: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "realm-artifact-" });
  try {
    await run(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Serves on loopback; `fetchFrom` fetches a path of it. */
function served(
  handler: (request: Request) => Response | Promise<Response>,
  run: (
    fetchFrom: (path: string, options?: Partial<ArtifactRequest>) => Promise<string>,
    origin: string,
  ) => Promise<void>,
): () => Promise<void> {
  return async () => {
    const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, handler);
    const origin = `http://127.0.0.1:${server.addr.port}`;
    try {
      await run(async (path, options = {}) => {
        const request = {
          source: `${origin}${path}`,
          manifestFolder: "/",
          machine: NO_MACHINE,
          ...options,
        };
        return new TextDecoder().decode((await fetchArtifact(request)).bytes);
      }, origin);
    } finally {
      await server.shutdown();
    }
  };
}

Deno.test("fetchArtifact() reads files relative to the manifest, absolute, and by URL", () =>
  inFolder(async (folder) => {
    await Deno.mkdir(`${folder}/build`);
    await Deno.writeTextFile(`${folder}/build/a b%20.wasm`, "abc");
    for (
      const source of [
        "file:./build/a b%20.wasm",
        "file:build/a b%20.wasm",
        "file:build/../build/a b%20.wasm",
        `file:${folder}/build/a b%20.wasm`,
        `file://${folder}/build/a%20b%2520.wasm`,
        `file://localhost${folder}/build/a%20b%2520.wasm`,
        `FILE:./build/a b%20.wasm`,
      ]
    ) {
      const artifact = await fetchArtifact({
        source,
        manifestFolder: folder,
        machine: NO_MACHINE,
        sha256: ABC,
      });
      assert.deepEqual(artifact, { bytes: new TextEncoder().encode("abc"), sha256: ABC }, source);
    }
  }));

Deno.test("fetchArtifact() says why a file cannot be had", () =>
  inFolder(async (folder) => {
    const get = (source: string, options: Partial<ArtifactRequest> = {}) =>
      fetchArtifact({ source, manifestFolder: folder, machine: NO_MACHINE, ...options });
    await Deno.writeTextFile(`${folder}/abc`, "abc");
    await new Deno.Command("mkfifo", { args: [`${folder}/pipe`] }).output();
    await assert.rejects(get("file:./missing"), hasCode("not-found", /there is no file/));
    await assert.rejects(get("file:."), hasCode("failed", /not a regular file/));
    await assert.rejects(get("file:./pipe"), hasCode("failed", /not a regular file/));
    await assert.rejects(get("file:/dev/zero"), hasCode("failed", /not a regular file/));
    await assert.rejects(get("file:./abc", { bytesMax: 2 }), hasCode("limit-exceeded"));
    await assert.rejects(get("file:"), hasCode("invalid-config"));
    await assert.rejects(get("file://other.host/abc"), hasCode("invalid-config"));
    assert.equal((await get("file:./abc", { bytesMax: 3 })).sha256, ABC);
  }));

Deno.test("fetchArtifact() names both digests when they differ", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/abc`, "abc");
    const wanted = "0".repeat(64);
    await assert.rejects(
      fetchArtifact({
        source: "file:abc",
        manifestFolder: folder,
        machine: NO_MACHINE,
        sha256: wanted,
      }),
      (error) =>
        hasCode("digest-mismatch")(error) && (error as Error).message.includes(wanted) &&
        (error as Error).message.includes(ABC),
    );
  }));

Deno.test("fetchArtifact() refuses schemes it does not know", async () => {
  const get = (source: string) =>
    fetchArtifact({ source, manifestFolder: "/", machine: NO_MACHINE });
  for (
    const source of [
      "",
      "x.wasm",
      "./x.wasm",
      "ftp://host/x",
      "data:,abc",
      "http://",
      "https:",
      "constructor:x",
      "registry:",
      "registry:auth",
      "registry:acme/auth",
      "registry:ghcr.io/Acme/auth",
      "registry:ghcr.io/acme/auth@sha256:0",
      "registry:ghcr.io/acme/auth:1 2",
      "registry:ghcr.io/../auth",
      "s3:",
      "s3:bucket",
      "s3:Bucket/key",
      "s3:bucket/key?secret=1",
      "ipfs:",
      "ipfs:bafy",
    ]
  ) {
    await assert.rejects(get(source), hasCode("invalid-config"), source);
  }
  await assert.rejects(
    get("https://me:secret@host/x"),
    (error) => hasCode("invalid-config")(error) && !(error as Error).message.includes("secret"),
  );
});

Deno.test(
  "fetchArtifact() follows a few redirects over http",
  served((request) => {
    const n = Number(new URL(request.url).pathname.slice(1));
    if (n === 0) return new Response("abc");
    return new Response(null, { status: n % 2 ? 302 : 308, headers: { location: `./${n - 1}` } });
  }, async (fetchFrom) => {
    assert.equal(await fetchFrom("/0", { sha256: ABC }), "abc");
    assert.equal(await fetchFrom("/5"), "abc");
    await assert.rejects(fetchFrom("/6"), hasCode("failed", /more than 5 redirects/));
  }),
);

Deno.test(
  "fetchArtifact() does not follow a redirect out of http",
  served((request) => {
    const location = new URL(request.url).searchParams.get("to");
    return new Response(null, { status: 302, headers: location ? { location } : {} });
  }, async (fetchFrom) => {
    for (const to of ["file:///etc/passwd", "data:,abc", "ftp://host/x"]) {
      await assert.rejects(fetchFrom(`/?to=${encodeURIComponent(to)}`), hasCode("refused"), to);
    }
    await assert.rejects(fetchFrom("/"), hasCode("failed", /without a location/));
  }),
);

Deno.test("fetchArtifact() does not follow a redirect from https to http", async () => {
  // No certificate is at hand for loopback, so the answer of the https server is put in by hand.
  const realFetch = globalThis.fetch;
  const asked: string[] = [];
  globalThis.fetch = async (input) => {
    asked.push(String(input));
    return new Response(null, { status: 302, headers: { location: "http://host/x" } });
  };
  try {
    await assert.rejects(
      fetchArtifact({ source: "https://host/x", manifestFolder: "/", machine: NO_MACHINE }),
      hasCode("refused", /redirected to http:\/\/host, wanted https:/),
    );
    assert.deepEqual(asked, ["https://host/x"]);
  } finally {
    globalThis.fetch = realFetch;
  }
});

Deno.test(
  "fetchArtifact() tells what the server answered",
  served((request) => {
    const status = Number(new URL(request.url).pathname.slice(1));
    return new Response("no", { status });
  }, async (fetchFrom) => {
    await assert.rejects(fetchFrom("/404"), hasCode("not-found", /404/));
    await assert.rejects(fetchFrom("/410"), hasCode("not-found"));
    await assert.rejects(fetchFrom("/500"), hasCode("failed", /500/));
    await assert.rejects(fetchFrom("/403"), hasCode("refused", /403/));
  }),
);

Deno.test("fetchArtifact() bounds the body, with and without a content-length", async () => {
  let cancelled = 0;
  const endless = () =>
    new ReadableStream({
      pull: (controller) => controller.enqueue(new Uint8Array(10_000)),
      cancel: () => void cancelled++,
    });
  await served(
    (request) => new Response(request.url.endsWith("endless") ? endless() : "x".repeat(1_001)),
    async (fetchFrom) => {
      await assert.rejects(fetchFrom("/", { bytesMax: 1_000 }), hasCode("limit-exceeded"));
      assert.equal((await fetchFrom("/", { bytesMax: 1_001 })).length, 1_001);
      await assert.rejects(fetchFrom("/endless", { bytesMax: 50_000 }), hasCode("limit-exceeded"));
    },
  )();
  assert.equal(cancelled, 1);
});

Deno.test("fetchArtifact() gives up in time, before and within the body", async () => {
  const stalled = Promise.withResolvers<Response>();
  await served(
    (request) =>
      request.url.endsWith("head")
        ? stalled.promise
        : new Response(new ReadableStream({ start: (c) => c.enqueue(new Uint8Array(1)) })),
    async (fetchFrom) => {
      const late = hasCode("failed", /not done within 40 ms/);
      await assert.rejects(fetchFrom("/head", { timeoutMs: 40 }), late);
      await assert.rejects(fetchFrom("/body", { timeoutMs: 40 }), late);
      const reason = new Error("changed my mind");
      const stop = new AbortController();
      setTimeout(() => stop.abort(reason), 20);
      await assert.rejects(
        fetchFrom("/head", { signal: stop.signal }),
        (error) => error === reason,
      );
      stalled.resolve(new Response());
    },
  )();
});

Deno.test("fetchArtifact() says that a server cannot be reached", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  const source = `http://127.0.0.1:${port}/x`;
  await assert.rejects(
    fetchArtifact({ source, manifestFolder: "/", machine: NO_MACHINE }),
    (error) => hasCode("failed")(error) && (error as Error).message.includes(source),
  );
});

Deno.test("fetchArtifact() gets p2p: by digest from who has it", async () => {
  const get = (source: string, options: Partial<ArtifactRequest> = {}) =>
    fetchArtifact({ source, manifestFolder: "/", machine: NO_MACHINE, ...options });
  const asked: string[] = [];
  const peerBlob = async (digest: string) => {
    asked.push(digest);
    return new TextEncoder().encode("abc");
  };
  assert.equal((await get(`p2p:${ABC}`, { peerBlob, sha256: ABC })).sha256, ABC);
  assert.deepEqual(asked, [ABC]);
  await assert.rejects(get(`p2p:${ABC}`), hasCode("unsupported", /no agent to ask/));
  await assert.rejects(get(`p2p:${ABC}`, { peerBlob, bytesMax: 2 }), hasCode("limit-exceeded"));
  for (const source of ["p2p:", "p2p:bafy", `p2p:${ABC.toUpperCase()}`, `p2p:${ABC}0`]) {
    await assert.rejects(get(source, { peerBlob }), hasCode("invalid-config"), source);
  }
  const wrong = async () => new TextEncoder().encode("abd");
  await assert.rejects(get(`p2p:${ABC}`, { peerBlob: wrong }), hasCode("digest-mismatch"));
});

Deno.test("fetchArtifact() does not join parts of two things, whoever answers with them", async () => {
  const server = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const ranges: (string | undefined)[] = [];
  const serving = (async () => {
    for (;;) {
      const connection = await server.accept();
      const head = new Uint8Array(4096);
      const request = new TextDecoder().decode(head.subarray(0, await connection.read(head) ?? 0));
      const range = /^range: (.*?)\r$/im.exec(request)?.[1];
      ranges.push(range);
      const answer = ranges.length === 1
        ? '200 OK\r\netag: "1"\r\ncontent-length: 6\r\n\r\nold' // and no more of it
        : range === undefined
        ? '200 OK\r\netag: "2"\r\ncontent-length: 6\r\n\r\nnewnew'
        // A cache that looks at the range, and not at what it is asked of.
        : '206 Partial Content\r\netag: "2"\r\ncontent-range: bytes 3-5/6\r\n' +
          "content-length: 3\r\n\r\nnew";
      await connection.write(new TextEncoder().encode(`HTTP/1.1 ${answer}`));
      connection.close();
    }
  })().catch(() => {});
  const { bytes } = await fetchArtifact({
    source: `http://127.0.0.1:${server.addr.port}/`,
    manifestFolder: "/",
    machine: NO_MACHINE,
  });
  assert.equal(new TextDecoder().decode(bytes), "newnew");
  assert.deepEqual(ranges, [undefined, "bytes=3-", undefined]);
  server.close();
  await serving;
});

Deno.test("fetchArtifact() asks no token where the registry may not send it", async () => {
  const asked: string[] = [];
  await served((request) => {
    const { pathname, port } = new URL(request.url);
    asked.push(pathname);
    if (pathname === "/token") return Response.json({ token: "abc" });
    const challenge = `Bearer realm="http://localhost:${port}/token"`;
    return new Response(null, { status: 401, headers: { "www-authenticate": challenge } });
  }, async (_fetchFrom, origin) => {
    const fetching = fetchArtifact({
      source: `registry:${new URL(origin).host}/acme/x:1`,
      manifestFolder: "/",
      machine: { ...NO_MACHINE, lookup: () => Promise.resolve(["169.254.169.254"]) },
    });
    await assert.rejects(fetching, hasCode("refused", /names localhost:\d+, a \S+ address/));
  })();
  assert.deepEqual(asked, ["/v2/acme/x/manifests/1"]);
});
