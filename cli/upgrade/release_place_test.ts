import assert from "node:assert/strict";
import { executableName, readSmall, releasePlace, saveTo } from "./release_place.ts";

const SIGNAL = new AbortController().signal;

async function withServer(
  answer: (request: Request) => Response,
  use: (url: string) => Promise<void>,
): Promise<void> {
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, answer);
  try {
    await use(`http://127.0.0.1:${server.addr.port}`);
  } finally {
    await server.shutdown();
  }
}

Deno.test("a release is a folder, an executable in one, or the address of either", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/SHA256SUMS`, "sums");
    await Deno.writeTextFile(`${folder}/realm-x`, "x");
    for (const from of [folder, `${folder}/realm-x`]) {
      const place = await releasePlace(from, "/");
      assert.equal(
        new TextDecoder().decode(await readSmall(place, "SHA256SUMS", 10, SIGNAL)),
        "sums",
      );
      assert.equal(place.file, from === folder ? undefined : "realm-x");
      await assert.rejects(readSmall(place, "SHA256SUMS", 3, SIGNAL), { code: "limit-exceeded" });
      await assert.rejects(readSmall(place, "absent", 3, SIGNAL), { code: "not-found" });
    }
    await assert.rejects(releasePlace("absent", folder), { code: "not-found" });
    using target = await Deno.open(`${folder}/copy`, { write: true, createNew: true });
    const digest = await saveTo(target, await releasePlace(folder, "/"), "realm-x", SIGNAL);
    assert.equal(digest, "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881");
    assert.equal(await Deno.readTextFile(`${folder}/copy`), "x");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
  const file = (await releasePlace("https://x.example/v2/realm-x86_64?a", "/")).file;
  assert.equal(file, "realm-x86_64");
  assert.equal((await releasePlace("https://x.example/v2", "/")).name, "https://x.example/v2/");
  assert.equal(executableName("x86_64-pc-windows-msvc"), "realm-x86_64-pc-windows-msvc.exe");
});

Deno.test("a release on the web is read through redirects, but to nothing less safe", async () => {
  await withServer((request) => {
    const { pathname } = new URL(request.url);
    if (pathname === "/v/SHA256SUMS") return Response.redirect(new URL("/moved", request.url));
    if (pathname === "/moved") return new Response("sums");
    if (pathname === "/v/file") {
      return new Response(null, { status: 302, headers: { location: "file:///etc/passwd" } });
    }
    if (pathname === "/v/loop") return Response.redirect(request.url);
    return new Response("gone", { status: 404 });
  }, async (url) => {
    const place = await releasePlace(`${url}/v`, "/");
    assert.equal(
      new TextDecoder().decode(await readSmall(place, "SHA256SUMS", 10, SIGNAL)),
      "sums",
    );
    await assert.rejects(readSmall(place, "file", 10, SIGNAL), { code: "refused" });
    await assert.rejects(readSmall(place, "loop", 10, SIGNAL), /more than 5 redirects/);
    await assert.rejects(readSmall(place, "absent", 10, SIGNAL), /HTTP 404/);
  });
});
