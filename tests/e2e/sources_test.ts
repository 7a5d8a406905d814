/**
 * Sources of artifacts against servers that others wrote: an OCI registry (go-containerregistry) and
 * an S3 server (s3rver, which knows keys but does not verify signatures of version 4). What cannot be
 * had on this machine is left out, and said.
 */
import assert from "node:assert/strict";
import * as path from "node:path";
import { AwsClient } from "aws4fetch";
import { NO_MACHINE } from "../../agent/artifact/conformance.ts";
import { fetchArtifact } from "../../agent/artifact/fetch_artifact.ts";
import type { Machine } from "../../agent/artifact/source.ts";
import { RealmError } from "../../agent/kernel/error.ts";
import { sha256Hex } from "../../agent/kernel/sha256.ts";
import { freePort } from "../peers.ts";
import { initRealm, NODE, startAgent, succeeded, until, untilRunning } from "./agent_process.ts";
import { withSandbox } from "./executable.ts";

const S3RVER = "s3rver@3.7.1";
const REGISTRY = "github.com/google/go-containerregistry/cmd/registry@v0.20.6";
/** The key that s3rver knows. */
const KEY = "S3RVER";
const WASM = Uint8Array.from([0, 97, 115, 109, 1, 0, 0, 0, 0, 2, 1, 120]);

async function inFolder(run: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "realm-servers-" });
  try {
    await run(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** A server as a process; ready when it answers anything. */
async function withServer(
  program: string,
  args: readonly string[],
  port: number,
  run: (origin: string) => Promise<void>,
): Promise<void> {
  const child = new Deno.Command(program, { args: [...args], stdout: "null", stderr: "null" })
    .spawn();
  const origin = `http://localhost:${port}`;
  try {
    await until(`${program} answers`, async () => {
      try {
        await (await fetch(origin)).body?.cancel();
        return true;
      } catch {
        return false;
      }
    });
    await run(origin);
  } finally {
    child.kill("SIGKILL");
    await child.status;
  }
}

const machineOf = (variables: Record<string, string>): Machine => ({
  ...NO_MACHINE,
  variable: (name) => variables[name],
});

async function get(source: string, variables: Record<string, string>): Promise<Uint8Array> {
  const machine = machineOf(variables);
  return (await fetchArtifact({ source, manifestFolder: "/", machine })).bytes;
}

const hasCode = (code: string) => (error: unknown) =>
  error instanceof RealmError && error.code === code;

async function has(program: string): Promise<boolean> {
  try {
    return (await new Deno.Command(program, { args: ["version"], stdout: "null", stderr: "null" })
      .output()).success;
  } catch {
    return false;
  }
}

Deno.test("an object of a real S3 server is had with the right key, of the environment or a profile", () =>
  inFolder(async (folder) => {
    // npm makes the package ready first, so that the process to be killed is the server itself.
    const installed = await new Deno.Command("npm", {
      args: ["install", "--no-audit", "--no-fund", "--prefix", folder, S3RVER],
      stdout: "null",
    }).output();
    assert.ok(installed.success, new TextDecoder().decode(installed.stderr));
    const port = freePort();
    const program = path.join(folder, "node_modules/s3rver/bin/s3rver.js");
    const args = ["--directory", `${folder}/s3`, "--port", String(port), "--silent"];
    const where = ["--address", "localhost", "--configure-bucket", "shop"];
    await withServer("node", [program, ...args, ...where], port, async (origin) => {
      const client = new AwsClient({ accessKeyId: KEY, secretAccessKey: KEY, service: "s3" });
      const key = "build/a b+c(1).wasm";
      const stored = await client.fetch(`${origin}/shop/build/a%20b%2Bc%281%29.wasm`, {
        method: "PUT",
        body: WASM,
      } as object);
      assert.equal(stored.status, 200, await stored.text());
      const right = { AWS_ACCESS_KEY_ID: KEY, AWS_SECRET_ACCESS_KEY: KEY };
      const source = `s3://shop/${key}`;
      assert.deepEqual(await get(source, { ...right, AWS_ENDPOINT_URL_S3: origin }), WASM);
      assert.deepEqual(await get(`${source}?endpoint=${origin}`, right), WASM);
      await Deno.mkdir(`${folder}/.aws`);
      await Deno.writeTextFile(
        `${folder}/.aws/credentials`,
        `[default]\naws_access_key_id = none\naws_secret_access_key = none\n[work]\n` +
          `aws_access_key_id = ${KEY}\naws_secret_access_key=${KEY}\n`,
      );
      await Deno.writeTextFile(
        `${folder}/.aws/config`,
        `[profile work]\nregion = eu-west-1\nendpoint_url = ${origin}\n`,
      );
      assert.deepEqual(await get(source, { HOME: folder, AWS_PROFILE: "work" }), WASM);
      const endpoint = { AWS_ENDPOINT_URL: origin };
      const wrong = { ...right, AWS_ACCESS_KEY_ID: "other", ...endpoint };
      await assert.rejects(get(source, wrong), hasCode("refused"));
      await assert.rejects(get(source, { HOME: folder, ...endpoint }), hasCode("refused"));
      await assert.rejects(
        get("s3://shop/none.wasm", { ...right, ...endpoint }),
        hasCode("not-found"),
      );
      const half = { AWS_ACCESS_KEY_ID: KEY, ...endpoint };
      await assert.rejects(get(source, half), hasCode("invalid-config"));
      await assert.rejects(
        get(source, { AWS_PROFILE: "no", ...endpoint }),
        hasCode("invalid-config"),
      );
    });
  }));

/** Puts a wasm artifact into a registry, as clients of OCI do. */
async function push(origin: string, name: string, tag: string): Promise<string> {
  const put = async (bytes: Uint8Array<ArrayBuffer>) => {
    const digest = `sha256:${await sha256Hex(bytes)}`;
    const begun = await fetch(`${origin}/v2/${name}/blobs/uploads/`, { method: "POST" });
    await begun.body?.cancel();
    const url = new URL(begun.headers.get("location")!, origin);
    url.searchParams.set("digest", digest);
    const ended = await fetch(url, { method: "PUT", body: bytes });
    assert.equal(ended.status, 201, await ended.text());
    return { digest, size: bytes.length };
  };
  const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
  const mediaType = "application/vnd.oci.image.manifest.v1+json";
  const manifest = json({
    schemaVersion: 2,
    mediaType,
    config: { mediaType: "application/vnd.wasm.config.v0+json", ...await put(json({})) },
    layers: [{ mediaType: "application/wasm", ...await put(WASM) }],
  });
  const index = "application/vnd.oci.image.index.v1+json";
  const putManifest = async (reference: string, type: string, body: Uint8Array<ArrayBuffer>) => {
    const headers = { "content-type": type };
    const url = `${origin}/v2/${name}/manifests/${reference}`;
    const answer = await fetch(url, { method: "PUT", headers, body });
    assert.equal(answer.status, 201, await answer.text());
  };
  await putManifest(tag, mediaType, manifest);
  const digest = `sha256:${await sha256Hex(manifest)}`;
  const platform = { architecture: "wasm", os: "wasip2" };
  await putManifest(
    `${tag}-index`,
    index,
    json({
      schemaVersion: 2,
      mediaType: index,
      manifests: [{ mediaType, digest, size: manifest.length, platform }],
    }),
  );
  return digest;
}

/** A door before a registry that wants tokens, and gives them to one user. */
function guarded(origin: string): Deno.HttpServer<Deno.NetAddr> {
  const server: Deno.HttpServer<Deno.NetAddr> = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    async (request): Promise<Response> => {
      const url = new URL(request.url);
      const authorization = request.headers.get("authorization");
      if (url.pathname === "/token") {
        const isKnown = authorization === `Basic ${btoa("ann:pass:word")}`;
        const isWanted = url.searchParams.get("scope") === "repository:acme/auth:pull";
        return isKnown && isWanted
          ? Response.json({ token: "let-in" })
          : new Response("no", { status: 401 });
      }
      if (authorization !== "Bearer let-in") {
        const realm = `http://localhost:${server.addr.port}/token`;
        const challenge =
          `Bearer realm="${realm}",service="test",scope="repository:acme/auth:pull"`;
        return new Response("no", { status: 401, headers: { "www-authenticate": challenge } });
      }
      return await fetch(new URL(url.pathname, origin), { headers: request.headers });
    },
  );
  return server;
}

Deno.test({
  name: "a component of a real registry is had by tag, digest and index, with Docker's credentials",
  ignore: !await has("go"), // it is built
  fn: () =>
    inFolder(async (folder) => {
      const built = await new Deno.Command("go", {
        args: ["install", REGISTRY],
        env: { GOBIN: folder, GOFLAGS: "-mod=mod" },
        stdout: "null",
      }).output();
      assert.ok(built.success, new TextDecoder().decode(built.stderr));
      const port = freePort();
      await withServer(`${folder}/registry`, ["-port", String(port)], port, async (origin) => {
        const digest = await push(origin, "acme/auth", "1.0");
        const base = `registry:localhost:${port}/acme/auth`;
        for (const name of [":1.0", `@${digest}`, `:1.0@${digest}`, ":1.0-index"]) {
          assert.deepEqual(await get(base + name, {}), WASM, name);
        }
        await assert.rejects(get(base, {}), hasCode("not-found"), "there is no tag latest");
        await assert.rejects(get(`${base}:2.0`, {}), hasCode("not-found"));

        const door = guarded(origin);
        try {
          const host = `localhost:${door.addr.port}`;
          const source = `registry:${host}/acme/auth:1.0`;
          const config = async (value: unknown) => {
            const DOCKER_CONFIG = await Deno.makeTempDir({ dir: folder });
            await Deno.writeTextFile(`${DOCKER_CONFIG}/config.json`, JSON.stringify(value));
            return { DOCKER_CONFIG };
          };
          const right = await config({ auths: { [host]: { auth: btoa("ann:pass:word") } } });
          assert.deepEqual(await get(source, right), WASM);
          const wrong = await config({ auths: { [host]: { auth: btoa("ann:other") } } });
          await assert.rejects(get(source, wrong), hasCode("refused"));
          await assert.rejects(get(source, {}), hasCode("refused"));
          const none = await config("no configuration");
          await assert.rejects(get(source, none), hasCode("invalid-config"));
          const asked: unknown[] = [];
          const variables = await config({ credHelpers: { [host]: "test" } });
          const machine: Machine = {
            ...machineOf(variables),
            run: async (...words) => {
              asked.push(words);
              return JSON.stringify({ Username: "ann", Secret: "pass:word" });
            },
          };
          const { bytes } = await fetchArtifact({ source, manifestFolder: "/", machine });
          assert.deepEqual(bytes, WASM);
          assert.deepEqual(asked, [["docker-credential-test", ["get"], host]]);
        } finally {
          await door.shutdown();
        }
      });
    }),
});

Deno.test("apply goes on with what the store has when a source cannot be reached", async () => {
  await withSandbox(async (sandbox) => {
    const { folder, realm, fixtures } = sandbox;
    await fixtures("http-hello", "http-counter");
    const files = { "/web.wasm": "http-hello", "/other.wasm": "http-counter" };
    const server = Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen: () => {} },
      async (request) => {
        const name = files[new URL(request.url).pathname as keyof typeof files];
        return new Response(await Deno.readFile(path.join(folder, `${name}.wasm`)));
      },
    );
    const source = `http://127.0.0.1:${server.addr.port}`;
    const component = (name: string) =>
      `[components.web]\nsource = "${source}/${name}.wasm"\nworld = "wasi:http/proxy"\n`;
    const route = (path: string) =>
      `[routing]\n"${NODE}" = [{ path = "${path}", component = "web" }]\n`;
    const owner = await initRealm(sandbox, component("web") + route("/"));
    const agent = await startAgent(sandbox, "--owner", owner);
    const toml = path.join(folder, "realm.toml");
    succeeded(await realm("apply", toml, "--yes", "--json"));
    await untilRunning(sandbox, "web");
    await server.shutdown();

    const text = await Deno.readTextFile(toml);
    await Deno.writeTextFile(toml, text.replace('path = "/"', 'path = "/web/..."'));
    const again = await realm("apply", toml, "--yes");
    assert.equal(again.status, 0, again.stderr);
    assert.match(again.stderr, /web\.wasm cannot be reached: web stays sha256:[0-9a-f]{64}/);

    await Deno.writeTextFile(toml, text.replace("/web.wasm", "/other.wasm"));
    const other = await realm("apply", toml, "--yes");
    assert.equal(other.status, 1, "of another source there is nothing");
    assert.match(other.stderr, /cannot fetch "http:.*other\.wasm"/);
    agent.kill("SIGTERM");
    await agent.ended;
  });
});
