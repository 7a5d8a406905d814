// Server and client over a real socket.
import assert from "node:assert/strict";
import { RealmError } from "../kernel/error.ts";
import type { LogEvent } from "./api.ts";
import { connectControl, type ControlClient } from "./client.ts";
import { EXEC, FakeApi, HISTORY, PEER, PLACE, PROOF, STATUS } from "./fake_api.ts";
import { type ControlServer, serveControl } from "./server.ts";

interface Subject {
  api: FakeApi;
  client: ControlClient;
  server: ControlServer;
  path: string;
  folder: string;
}

async function inFolder(run: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "realm-control-" });
  try {
    await run(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function served(run: (subject: Subject) => Promise<void>): () => Promise<void> {
  return () =>
    inFolder(async (folder) => {
      const api = new FakeApi();
      const path = `${folder}/run/control.sock`;
      const server = await serveControl({ path, api, closeTimeoutMs: 50 });
      const client = connectControl(path);
      try {
        await run({ api, client, server, path, folder });
      } finally {
        client.close();
        await server.close();
      }
    });
}

const hasCode = (code: string, message: RegExp = /./) => (error: unknown) =>
  error instanceof RealmError && error.code === code && message.test(error.message);
const mode = async (path: string) => (await Deno.lstat(path)).mode! & 0o777;
const isThere = (path: string) => Deno.lstat(path).then(() => true, () => false);
const line = (text: string): LogEvent => ({
  kind: "line",
  replica: 0,
  wallMs: 1,
  stream: "stdout",
  text,
});

Deno.test(
  "client gets what the API answers",
  served(async ({ api, client }) => {
    assert.deepEqual(await client.status(), STATUS);
    assert.equal(await client.manifest(), null);
    const current = { version: 7, manifest: Uint8Array.of(0xef, 0xbb, 0xbf), signature: "{}" };
    api.manifest = () => current;
    assert.deepEqual(await client.manifest(), current);
    const signed = { manifest: Uint8Array.of(1, 2), signature: "{}" };
    assert.deepEqual((await client.plan({ manifest: signed.manifest })).violations, []);
    assert.deepEqual(await client.place("ed25519:a"), PLACE);
    const events = [Uint8Array.of(1, 2), Uint8Array.of(3)];
    assert.equal((await client.append(events)).version, 8);
    assert.deepEqual(await client.nodes(), STATUS.nodes);
    assert.deepEqual(await client.history(), [HISTORY]);
    assert.deepEqual(await client.proof("ab".repeat(32)), PROOF);
    assert.deepEqual(await client.execs(), [EXEC]);
    assert.deepEqual(await client.peers(), [PEER]);
    assert.deepEqual(await client.addPeer("/ip4/127.0.0.1/tcp/1"), { key: PEER.key });
    assert.deepEqual((await client.samples("auth", 7)).values, { cpu: [1.5, null] });
    assert.deepEqual((await client.samples()).atMs, [1_000, 6_000]);
    assert.match(await client.metrics(), /^# TYPE/);
    assert.deepEqual(api.calls, [
      ["plan", { manifest: signed.manifest }],
      ["place", "ed25519:a"],
      ["append", events],
      ["addPeer", "/ip4/127.0.0.1/tcp/1"],
      ["samples", "auth", 7],
      ["samples", undefined, 0],
    ]);
  }),
);

Deno.test(
  "client gets the output of a command and its status",
  served(async ({ api, client }) => {
    const run = async () => {
      const seen: unknown[] = [];
      for await (const each of client.exec(Uint8Array.of(7), { timeoutMs: 50 })) seen.push(each);
      return seen;
    };
    assert.deepEqual(await run(), [
      { kind: "output", stream: "stdout", data: "aGk=" },
      { kind: "exit", status: 3 },
    ]);
    assert.deepEqual(api.calls, [["exec", Uint8Array.of(7), 50]]);
    api.failure = new RealmError("refused", "Cannot run the command: no");
    await assert.rejects(run(), hasCode("refused", /no$/));
  }),
);

Deno.test(
  "client uploads a blob once",
  served(async ({ api, client }) => {
    const bytes = crypto.getRandomValues(new Uint8Array(60_000));
    const digest = await client.putBlob(bytes);
    assert.deepEqual(api.stored.get(digest), bytes);
    const first = api.stored.get(digest);
    assert.equal(await client.putBlob(bytes), digest);
    assert.equal(api.stored.get(digest), first);
    assert.equal(await client.hasBlob("0".repeat(64)), false);
    await assert.rejects(client.hasBlob("x"), hasCode("failed", /HTTP 400/));
  }),
);

Deno.test(
  "client gets a blob, and the reason where there is none",
  served(async ({ api, client }) => {
    const bytes = crypto.getRandomValues(new Uint8Array(60_000));
    const digest = await api.blobs.put(bytes);
    assert.deepEqual(await client.getBlob(digest), bytes);
    await assert.rejects(client.getBlob("0".repeat(64)), hasCode("not-found", /it is not there/));
    await assert.rejects(client.getBlob("x"), hasCode("usage", /hex digits/));
    api.stored.set(digest, bytes.slice(1));
    await assert.rejects(client.getBlob(digest), hasCode("digest-mismatch", /the agent has/));
  }),
);

Deno.test(
  "client throws the agent's error with its code and hint",
  served(async ({ api, client }) => {
    api.failure = new RealmError("stale", "Cannot apply manifest: version 3, wanted more than 7", {
      hint: "Run realm history",
    });
    const same = (error: unknown) => {
      assert.ok(error instanceof RealmError);
      assert.deepEqual(error.toJSON(), (api.failure as RealmError).toJSON());
      return true;
    };
    await assert.rejects(client.append([new Uint8Array()]), same);
    await assert.rejects(client.addPeer("/ip4/127.0.0.1/tcp/1"), same);
    await assert.rejects(client.logs({ component: "a" }).next(), same);
    await assert.rejects(client.append([]), hasCode("usage"));
    await assert.rejects(client.addPeer(""), hasCode("usage"));
  }),
);

Deno.test("client says that no agent is running", () =>
  inFolder(async (folder) => {
    const missing = connectControl(`${folder}/control.sock`);
    const noAgent = (error: unknown) =>
      hasCode("unreachable", /no agent is running$/)(error) &&
      /realm agent/.test((error as RealmError).hint!);
    await assert.rejects(missing.status(), noAgent);
    await assert.rejects(missing.logs({ component: "a" }).next(), noAgent);
    missing.close();

    await leaveStaleSocket(`${folder}/stale.sock`);
    const stale = connectControl(`${folder}/stale.sock`);
    await assert.rejects(stale.putBlob(new Uint8Array(1)), noAgent);
    stale.close();
  }));

Deno.test("client gives up on an agent that does not answer", () =>
  inFolder(async (folder) => {
    const api = new FakeApi();
    const { promise: never, resolve } = Promise.withResolvers<string>();
    api.metrics = (() => never) as unknown as () => string;
    const path = `${folder}/run/control.sock`;
    const server = await serveControl({ path, api, closeTimeoutMs: 50 });
    const client = connectControl(path, { timeoutMs: 30 });
    await assert.rejects(client.metrics(), hasCode("unreachable", /no answer within 30 ms$/));
    resolve("");
    client.close();
    await server.close();
  }));

Deno.test("client gives up on an answer that does not come to its end", () =>
  inFolder(async (folder) => {
    const path = `${folder}/half.sock`;
    const half = () =>
      new Response(new ReadableStream({ start: (it) => it.enqueue(new Uint8Array(1)) }));
    const server = Deno.serve({ path, onListen: () => {} }, half);
    const client = connectControl(path, { timeoutMs: 100, longTimeoutMs: 100 });
    const late = hasCode("unreachable", /no answer within 100 ms$/);
    await assert.rejects(client.status(), late);
    await assert.rejects(client.metrics(), late);
    await assert.rejects(client.getBlob("0".repeat(64)), late);
    client.close();
    await server.shutdown();
  }));

Deno.test("client refuses answers of another shape", () =>
  inFolder(async (folder) => {
    const path = `${folder}/other.sock`;
    const answers = [
      new Response("{}"),
      new Response("hello"),
      new Response("no", { status: 500 }),
    ];
    const server = Deno.serve({ path, onListen: () => {} }, () => answers.shift()!);
    const client = connectControl(path);
    await assert.rejects(client.status(), hasCode("failed", /answer to \/v1\/status: node/));
    await assert.rejects(client.status(), hasCode("failed", /answer to \/v1\/status/));
    await assert.rejects(client.status(), hasCode("failed", /HTTP 500/));
    client.close();
    await server.shutdown();
  }));

Deno.test(
  "logs() gives lines and gaps in order and ends",
  served(async ({ api, client }) => {
    const events: LogEvent[] = [
      line("é\n\r\u2028 data: x"),
      { kind: "missed", lines: 3 },
      line(""),
    ];
    api.events = async function* () {
      yield* events;
    };
    const options = { component: "a", tail: 5, sinceMs: 1_700_000_000_000, replica: 2 };
    assert.deepEqual(await Array.fromAsync(client.logs(options)), events);
    assert.deepEqual(api.calls, [["logs", { ...options, follow: false }]]);
  }),
);

Deno.test(
  "logs() follows, and leaving it frees the agent's side",
  served(async ({ api, client }) => {
    const asked = Promise.withResolvers<void>();
    const pushed = Promise.withResolvers<LogEvent>();
    const left = Promise.withResolvers<void>();
    api.events = async function* (_options, signal) {
      signal.addEventListener("abort", () => left.resolve());
      asked.resolve();
      yield await pushed.promise;
      await left.promise;
    };
    const log = client.logs({ component: "a", follow: true });
    const first = log.next();
    await asked.promise;
    pushed.resolve(line("one"));
    assert.deepEqual((await first).value, line("one"));
    await log.return();
    await left.promise;
  }),
);

Deno.test(
  "logs() ends quietly when its signal is aborted",
  served(async ({ api, client }) => {
    api.events = async function* (_options, signal) {
      yield line("one");
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
    };
    const stop = new AbortController();
    const seen: LogEvent[] = [];
    for await (const event of client.logs({ component: "a", follow: true }, stop.signal)) {
      seen.push(event);
      setTimeout(() => stop.abort(), 10);
    }
    assert.deepEqual(seen, [line("one")]);
  }),
);

Deno.test(
  "logs() tells an error of the source from an agent that goes away",
  served(async ({ api, client, server }) => {
    api.events = async function* () {
      yield line("one");
      throw new RealmError("not-found", "Cannot follow log: component is gone");
    };
    await assert.rejects(
      Array.fromAsync(client.logs({ component: "a" })),
      hasCode("not-found", /component is gone/),
    );
    let ended = false;
    api.events = async function* (_options, signal) {
      yield line("one");
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
      ended = true;
    };
    const log = client.logs({ component: "a", follow: true });
    await log.next();
    const rest = assert.rejects(log.next(), hasCode("unreachable", /agent is stopping/));
    await server.close();
    await rest;
    assert.equal(ended, true);
  }),
);

Deno.test(
  "serveControl() lets only its user in",
  served(async ({ path, folder, server }) => {
    assert.equal(server.socketPath, path);
    assert.equal(await mode(`${folder}/run`), 0o700);
    assert.equal(await mode(path), 0o600);
    await server.close();
    assert.equal(await isThere(path), false);
  }),
);

Deno.test("serveControl() narrows a folder that is open to others", () =>
  inFolder(async (folder) => {
    await Deno.mkdir(`${folder}/run`);
    await Deno.chmod(`${folder}/run`, 0o777);
    const path = `${folder}/run/control.sock`;
    const server = await serveControl({ path, api: new FakeApi() });
    assert.equal(await mode(`${folder}/run`), 0o700);
    await server.close();
  }));

Deno.test({
  name: "serveControl() refuses a folder of another user",
  // Only root can make one.
  ignore: Deno.uid() !== 0,
  fn: () =>
    inFolder(async (folder) => {
      await Deno.mkdir(`${folder}/run`);
      await Deno.chown(`${folder}/run`, 65534, 65534);
      const path = `${folder}/run/control.sock`;
      await assert.rejects(
        serveControl({ path, api: new FakeApi() }),
        hasCode("failed", /another user/),
      );
      assert.equal(await isThere(path), false);
    }),
});

Deno.test(
  "serveControl() refuses a live socket and leaves it alone",
  served(async ({ path, client }) => {
    await assert.rejects(
      serveControl({ path, api: new FakeApi() }),
      hasCode("failed", /another agent is listening/),
    );
    assert.equal((await client.status()).node.name, "laptop");
  }),
);

Deno.test("serveControl() replaces the socket of a dead agent, and no other file", () =>
  inFolder(async (folder) => {
    const path = `${folder}/control.sock`;
    await leaveStaleSocket(path);
    const server = await serveControl({ path, api: new FakeApi() });
    const client = connectControl(path);
    assert.deepEqual(await client.status(), STATUS);
    client.close();
    await server.close();

    await Deno.writeTextFile(path, "precious");
    await assert.rejects(
      serveControl({ path, api: new FakeApi() }),
      hasCode("failed", /not a socket/),
    );
    assert.equal(await Deno.readTextFile(path), "precious");
  }));

Deno.test("serveControl() serves paths that are too long for a socket", () =>
  inFolder(async (folder) => {
    const path = `${folder}/${"d".repeat(100)}/control.sock`;
    const serve = () => serveControl({ path, api: new FakeApi(), closeTimeoutMs: 50 });
    const first = await serve();
    assert.notEqual(first.socketPath, path);
    assert.equal(await mode(first.socketPath), 0o600);
    assert.equal(await mode(first.socketPath.replace(/\/[^/]*$/, "")), 0o700);
    const client = connectControl(path);
    assert.deepEqual(await client.status(), STATUS);
    client.close();
    await assert.rejects(serve(), hasCode("failed", /another agent/));
    await first.close();
    assert.equal(await isThere(path), false);
    assert.equal(await isThere(first.socketPath.replace(/\/[^/]*$/, "")), false);

    // What a killed agent leaves: a link to a socket that nobody serves.
    const second = await serve();
    await Deno.remove(second.socketPath);
    await leaveStaleSocket(second.socketPath);
    const third = await serve();
    assert.equal(await isThere(second.socketPath), false);
    await third.close();
    await second.close();
  }));

Deno.test("connectControl() goes on with an agent whose socket is elsewhere since it was started again", () =>
  inFolder(async (folder) => {
    const path = `${folder}/${"d".repeat(100)}/control.sock`;
    const serve = () => serveControl({ path, api: new FakeApi(), closeTimeoutMs: 50 });
    const first = await serve();
    const client = connectControl(path);
    assert.deepEqual(await client.status(), STATUS);
    await first.close();
    // The first call may still find the connection of before, which breaks off under it.
    const gone = /no agent is running|the connection broke off/;
    await assert.rejects(client.status(), hasCode("unreachable", gone));
    await assert.rejects(client.status(), hasCode("unreachable", /no agent is running/));
    const second = await serve();
    assert.notEqual(second.socketPath, first.socketPath);
    // The first call finds that nobody is at the old place.
    await client.status().catch(() => {});
    assert.deepEqual(await client.status(), STATUS);
    client.close();
    await second.close();
  }));

/** A socket file with nobody behind it, as `kill -9` leaves one. */
async function leaveStaleSocket(path: string): Promise<void> {
  const listener = Deno.listen({ transport: "unix", path });
  await Deno.rename(path, `${path}.kept`); // Deno removes the file that it bound.
  listener.close();
  await Deno.rename(`${path}.kept`, path);
}
