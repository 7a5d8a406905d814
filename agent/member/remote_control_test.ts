import assert from "node:assert/strict";
import { connectControl } from "../control/client.ts";
import { FakeApi, STATUS } from "../control/fake_api.ts";
import type { LogEvent } from "../control/api.ts";
import { RealmError } from "../kernel/error.ts";
import type { Network } from "../kernel/ports.ts";
import { MemoryHub } from "../net/memory_network.ts";
import { CONTROL_PROTOCOL, mayAsk, type Role, serveRemoteControl } from "./remote_control.ts";
import { pipeStream } from "../net/stream_pipe.ts";
import { formatPublicKey } from "../kernel/key.ts";

const [NODE, OWNER, OPERATOR, STRANGER] = [1, 2, 3, 4]
  .map((byte) => formatPublicKey(new Uint8Array(32).fill(byte))) as [
    string,
    string,
    string,
    string,
  ];

interface Subject {
  readonly api: FakeApi;
  readonly roles: Map<string, Role>;
  review(): void;
  /** A client that asks with this key. */
  as(key: string): Promise<ReturnType<typeof connectControl>>;
}

async function withRemote(test: (subject: Subject) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  const hub = new MemoryHub();
  const roles = new Map<string, Role>([[OWNER, "owner"], [OPERATOR, "operator"]]);
  const api = new FakeApi();
  const undo: (() => unknown)[] = [];
  const node = hub.join(NODE, {
    mayConnect: () => true,
    mayOpen: (peer, protocol) => protocol === CONTROL_PROTOCOL && roles.has(peer),
  });
  const remote = serveRemoteControl({
    network: node,
    api,
    dataFolder: folder,
    roleOf: (peer) => roles.get(peer),
  });
  const as = async (key: string) => {
    const network: Network = hub.join(key, { mayConnect: () => true, mayOpen: () => true });
    await network.dial(node.addresses()[0]!);
    const path = `${folder}/${key.slice(-6)}.sock`;
    const listener = Deno.listen({ transport: "unix", path });
    const client = connectControl(path);
    (async () => {
      for await (const connection of listener) {
        network.open(NODE, CONTROL_PROTOCOL)
          .then((stream) => pipeStream(stream, connection), () => connection.close());
      }
    })();
    undo.push(() => client.close(), () => listener.close(), () => network.close());
    return client;
  };
  try {
    await test({ api, roles, review: () => remote.review(), as });
  } finally {
    for (const each of undo) await each();
    await remote.close();
    await node.close();
    await Deno.remove(folder, { recursive: true });
  }
}

const code = (expected: string) => (error: unknown) =>
  error instanceof RealmError && error.code === expected;

Deno.test("an owner may ask for everything, an operator for what shows the node and for events", () =>
  withRemote(async ({ api, as }) => {
    const owner = await as(OWNER);
    // Topics of apps, and what is wrong with them, are for the person of that machine.
    const alarms = STATUS.alarms.filter(({ code }) => code !== "drift");
    assert.equal(alarms.length, STATUS.alarms.length - 1);
    const realms = { ...STATUS, alarms, topics: [] };
    assert.deepEqual(await owner.status(), realms);
    assert.equal((await owner.addPeer("/ip4/127.0.0.1/tcp/1")).key.length > 0, true);
    const operator = await as(OPERATOR);
    assert.deepEqual(await operator.status(), realms);
    assert.equal((await operator.append([Uint8Array.of(1)])).version, 8);
    const before = api.calls.length;
    await assert.rejects(operator.addPeer("/ip4/127.0.0.1/tcp/1"), code("refused"));
    await assert.rejects(operator.plan({ manifest: new Uint8Array() }), code("refused"));
    await assert.rejects(operator.putBlob(Uint8Array.of(1)));
    assert.equal(api.calls.length, before, "none of these reached the agent");
    assert.equal(api.stored.size, 0);
  }));

Deno.test("nobody else is answered", () =>
  withRemote(async ({ as }) => {
    await assert.rejects((await as(STRANGER)).status(), code("unreachable"));
  }));

Deno.test("who is no operator any more is cut off, in the middle of a log", () =>
  withRemote(async ({ api, roles, review, as }) => {
    api.events = async function* (_, signal): AsyncGenerator<LogEvent> {
      yield { kind: "line", replica: 0, wallMs: 1, stream: "stdout", text: "one" };
      await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
    };
    const operator = await as(OPERATOR);
    const lines = operator.logs({ component: "auth", follow: true });
    assert.equal((await lines.next()).value?.kind, "line");
    review();
    roles.delete(OPERATOR);
    review();
    await assert.rejects(lines.next(), code("unreachable"));
    await assert.rejects(operator.status(), code("unreachable"));
  }));

Deno.test("mayAsk() gives operators whole paths only", () => {
  for (const path of ["/v1/status", "/v1/log", "/v1/components/a%2Fb/logs", "/metrics"]) {
    assert.ok(mayAsk("operator", "GET", path), path);
  }
  const refused: readonly (readonly [string, string])[] = [
    ["GET", "/v1/statusx"],
    ["GET", "/x/v1/status"],
    ["POST", "/v1/status"],
    ["POST", "/v1/plan"],
    ["PUT", "/v1/blobs/aa"],
    ["GET", "/v1/blobs/aa"],
    ["POST", "/v1/peers"],
    ["POST", "/v1/exec"],
    ["POST", "/v1/apps/call"],
  ];
  for (const [method, path] of refused) assert.ok(!mayAsk("operator", method, path), path);
  assert.ok(mayAsk("owner", "POST", "/v1/exec"));
  // They are the person's.
  assert.ok(!mayAsk("owner", "POST", "/v1/apps/topics"));
});
