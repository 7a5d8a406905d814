/**
 * Every function of the stable WASI 0.2 interfaces is called by a guest: what is not is listed
 * here, so that a gap is seen and none is added unseen. Errors have tests of their own:
 * `file_errors_test.ts`, `socket_errors_test.ts` and `outbound_http_test.ts`.
 *
 * The interfaces are read from the WIT in `wit/`; what guests called is told by the trace.
 *
 * @module
 */
import assert from "node:assert/strict";
import { createServices } from "../agent/node/services.ts";
import type { Engine } from "../agent/kernel/ports.ts";
import { fixture, type GuestOptions, NO_GRANTS, runGuest, withEngine } from "./guest.ts";
import { OUTBOUND_CASES } from "./outbound_http_cases.ts";
import { datagramEcho, echoServer, freePort, networkOf } from "./peers.ts";
import { ROUTES, startUpstream } from "./upstream.ts";
import { WASI } from "./wit.ts";
import { componentScript, prepareFolder } from "./wasmtime/scripts.ts";

/** Functions that std calls in no fixture, and why nobody else does. */
const GAPS: Readonly<Record<string, string>> = {
  "wasi:cli/exit#exit-with-code": "unstable",
  "wasi:clocks/timezone#display": "unstable",
  "wasi:clocks/timezone#utc-offset": "unstable",
  "wasi:http/types#[method]response-outparam.send-informational": "unstable",
  "wasi:sockets/network#network-error-code": "unstable",
};

/** Cases of outbound HTTP that call everything of it. */
const CALLS_OF_HTTP = [
  "a GET",
  "trailers of a request",
  "a request's body that is too long",
  "first-byte-timeout",
  "a response is consumed once, its headers are immutable",
  "a request has one body, its headers are immutable",
  "methods",
  "schemes",
];

/** Notes what lines of a trace tell. */
function note(called: Set<string>, traces: readonly string[]): void {
  for (const line of traces) called.add(/^[^(]+/.exec(line)![0]);
}

async function callsOfFixtures(folder: string): Promise<Set<string>> {
  const called = new Set<string>();
  await withEngine(async (engine) => {
    const run = async (name: string, options: GuestOptions = {}) => {
      const { traces } = await runGuest(engine, name, {
        trace: true,
        grants: { mounts: [{ hostPath: folder, guestPath: "/data", writable: true }] },
        ...options,
      });
      note(called, traces);
    };
    for (let seed = 0; seed < 3; seed++) {
      await run("descriptors", { stdin: componentScript(seed, 400) });
    }
    for (const name of ["interfaces", "http-types", "files", "env"]) await run(name);
    await run("exit", { args: ["7"] });
    await run("worker", { args: ["2", "1"] });
    await run("cat", { stdin: "some text" });
    await talk(engine, called);
  });
  return called;
}

/** Sockets, outbound HTTP, and requests that come in. */
async function talk(engine: Engine, called: Set<string>): Promise<void> {
  await using tcp = echoServer();
  await using udp = datagramEcho();
  const upstream = startUpstream(ROUTES);
  const [port, closed] = [freePort(), freePort()];
  const network = networkOf({
    loopback: [tcp.port, udp.port, port, closed, upstream.port],
    listen: [`127.0.0.1:${port}`],
    outbound: [`http://127.0.0.1:${upstream.port}`],
    dns: ["localhost"],
  });
  const run = async (name: string, options: GuestOptions) => {
    note(
      called,
      (await runGuest(engine, name, { trace: true, grants: { network }, ...options })).traces,
    );
  };
  await run("sockets-tcp", { args: [`127.0.0.1:${tcp.port}`, "all", `${port}`, `${closed}`] });
  await run("sockets-udp", { args: [`127.0.0.1:${udp.port}`] });
  await run("sockets-std", { args: ["lookup", "localhost"] });
  const script = [...CALLS_OF_HTTP.flatMap((name) => OUTBOUND_CASES[name]!.script), ""].join("\n");
  await run("http-client", { stdin: script.replaceAll("HOST", `127.0.0.1:${upstream.port}`) });
  const grants = { ...NO_GRANTS, network };
  const replica = await engine.start(await engine.prepare(await fixture("http-counter")), {
    world: "wasi:http/proxy",
    grants,
    services: createServices({ grants, notice: () => {} }),
    limits: { memoryBytesMax: 64 * 1024 * 1024 },
    stdio: {
      terminal: { stdin: false, stdout: false, stderr: false },
      read: () => Promise.resolve(null),
      write: () => {},
    },
    notice: () => {},
    trace: (line) => note(called, [line]),
  });
  for (const path of ["/headers", "/echo"]) {
    const { body } = await replica.handle({
      method: "POST",
      url: `http://realm.test${path}`,
      headers: [],
      body: new Response("body").body,
      signal: new AbortController().signal,
    });
    await new Response(body as BodyInit).text();
  }
  await replica.stop();
  upstream.close();
}

Deno.test("the WIT of the worlds is read", () => {
  assert.equal(WASI.functions.size, 181);
  assert.equal(WASI.errors.get("wasi:filesystem/types")!.size, 37);
  assert.ok(WASI.functions.has("wasi:io/streams#[method]output-stream.blocking-write-and-flush"));
  assert.ok(WASI.functions.has("wasi:http/types#[static]fields.from-list"));
  assert.ok(WASI.functions.has("wasi:http/types#[constructor]fields"));
  assert.ok(WASI.functions.has("wasi:sockets/tcp#[method]tcp-socket.accept"));
});

Deno.test("guests call every function of the stable interfaces", async () => {
  const folder = await Deno.realPath(await Deno.makeTempDir());
  try {
    prepareFolder(folder);
    const called = await callsOfFixtures(folder);
    // What the guest exports is not called by it.
    const wanted = [...WASI.functions].filter((call) =>
      !/^wasi:(cli\/run|http\/incoming-handler)#/.test(call)
    );
    assert.deepEqual(
      wanted.filter((call) => !called.has(call)).sort(),
      Object.keys(GAPS).sort(),
    );
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
