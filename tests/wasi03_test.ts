/**
 * Components of WASI 0.3 in the real engine: every function of every interface, from inside the
 * guest, against what wasmtime prints; and every door that is shut where nothing is granted.
 *
 * @module
 */
import { parse } from "./wasm_tools.ts";
import assert from "node:assert/strict";
import { checkComponent } from "../agent/node/component_source.ts";
import type { Engine, NetworkGrants } from "../agent/kernel/ports.ts";
import { createServices } from "../agent/node/services.ts";
import { inspect } from "../agent/runtime/inspect.ts";
import { functionNames3, jsName } from "../agent/runtime/wasi/host.ts";
import { main } from "../cli/app.ts";
import { testShell } from "../cli/shell_fake.ts";
import {
  CACHE_FOLDER,
  endOf,
  fixture,
  NO_GRANTS,
  onEachEngine,
  runGuest,
  THREADS,
  withEngine,
} from "./guest.ts";
import { type Handler, handlerOf } from "./handler.ts";
import { datagramEcho, echoServer, freePort, networkOf } from "./peers.ts";
import { ROUTES, startUpstream } from "./upstream.ts";
import { output, WASMTIME } from "./wasmtime/command.ts";
import { WASI_3 } from "./wit.ts";

const path = (name: string) => new URL(`../fixtures/${name}.wasm`, import.meta.url).pathname;
/** What wasmtime 48 printed: by the arguments of `command-p3`, and of the other fixtures. */
const GOLDEN: Readonly<Record<string, string>> = JSON.parse(
  Deno.readTextFileSync(new URL("wasmtime/wasi03.json", import.meta.url)),
);
const COMMANDS = Object.keys(GOLDEN).filter((name) => !name.startsWith("/"));
/** How those end that do not end well. */
const ENDS: Readonly<Record<string, string>> = {
  "exit 7": "exit 7",
  "fail": "exit 1",
  "leave": "exit 1",
  "trap": "trap",
};
const INPUT = "some input\nmore\n";

/** Runs a test with an empty folder but for one file, `from`. */
async function withFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.realPath(await Deno.makeTempDir());
  try {
    await Deno.writeTextFile(`${folder}/from`, "some file\n".repeat(3000));
    await test(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Runs `command-p3` with what it asks for; functions that it called are added to `called`. */
async function command(engine: Engine, line: string, called?: Set<string>) {
  let result: Awaited<ReturnType<typeof runGuest>>;
  await withFolder(async (folder) => {
    result = await runGuest(engine, "command-p3", {
      args: line.split(" "),
      stdin: INPUT,
      trace: called !== undefined,
      grants: {
        env: [["A", "b"]],
        mounts: [{ hostPath: folder, guestPath: "/data", writable: true }],
      },
    });
  });
  for (const trace of result!.traces) called?.add(/^[^(]+/.exec(trace)![0]);
  return result!;
}

Deno.test("inspect() tells what a component has of WASI 0.3", async () => {
  const command = await inspect(await fixture("hello-p3"));
  assert.deepEqual(command.wasi03?.exports, ["wasi:cli/run@0.3.2"]);
  assert.ok(command.wasi03.imports.includes("wasi:cli/stdout@0.3.2"));
  assert.equal(command.wasi03.isAsync, true);
  assert.deepEqual(command.worlds, ["wasi:cli/command"]);
  const handler = await inspect(await fixture("http-hello-p3"));
  assert.deepEqual(handler.wasi03?.exports, ["wasi:http/handler@0.3.2"]);
  assert.deepEqual(handler.wasi03.imports, ["wasi:http/types@0.3.2"]);
  assert.deepEqual(handler.worlds, ["wasi:http/proxy"]);
  for (const name of ["hello", "hello-p1", "http-counter", "crash", "memory-owner"]) {
    assert.equal((await inspect(await fixture(name))).wasi03, undefined, name);
  }
});

Deno.test("components of WASI 0.3 fit their worlds", async () => {
  await checkComponent("x", await fixture("hello-p3"), {
    world: "wasi:cli/command",
    health: undefined,
  });
  await checkComponent("x", await fixture("http-hello-p3"), {
    world: "wasi:http/proxy",
    health: undefined,
  });
  await assert.rejects(
    checkComponent("x", await fixture("hello-p3"), { world: "wasi:http/proxy", health: undefined }),
    {
      code: "unsupported",
    },
  );
});

Deno.test("what is not there of WASI 0.3 is refused before anything runs, by its name", async () => {
  const command = (version: string, imports = "") =>
    parse(`(component ${imports}
      (core module $m (func (export "run") (result i32) unreachable)
        (func (export "callback") (param i32 i32 i32) (result i32) unreachable))
      (core instance $i (instantiate $m))
      (func $f async (result (result))
        (canon lift (core func $i "run") async (callback (func $i "callback"))))
      (instance $e (export "run" (func $f)))
      (export "wasi:cli/run@${version}" (instance $e)))`) as Promise<Uint8Array>;
  const lowered = (iface: string, name: string, type: string) =>
    `(import "${iface}" (instance $import (export "${name}" (func ${type}))))
     (core func (canon lower (func $import "${name}")))`;
  await withEngine(async (engine) => {
    await engine.prepare(await command("0.3.0"));
    const refused = async (component: Promise<Uint8Array>, code: string, message: RegExp) =>
      await assert.rejects(engine.prepare(await component), { code, message });
    await refused(command("0.3.0-rc-2025-09-16"), "unsupported", /of a release candidate/);
    await refused(command("0.4.0"), "unsupported", /exports wasi:cli\/run@0\.4\.0, wanted/);
    await refused(
      command("0.3.0", lowered("wasi:clocks/timezone@0.3.0", "to-debug-string", "")),
      "unknown-import",
      /wasi:clocks\/timezone@0\.3\.0/,
    );
    await refused(
      command("0.3.0", lowered("wasi:cli/exit@0.3.0", "explode", "")),
      "unknown-import",
      /the function "wasi:cli\/exit@0\.3\.0#explode"/,
    );
    await refused(
      command("0.3.0", "(component (core module)) (instance (instantiate 0))"),
      "unsupported",
      /composed of several components/,
    );
  });
});

onEachEngine("a command of WASI 0.3 runs", async (withEngine) => {
  await withEngine(async (engine) => {
    const { exit, stdout, notices } = await runGuest(engine, "hello-p3");
    assert.deepEqual({ exit, stdout, notices }, {
      exit: { kind: "exit", status: 0 },
      stdout: "hello, 0.3\n",
      notices: [],
    });
    const copied = await command(engine, "stdin");
    assert.equal(copied.stdout, GOLDEN["stdin"]);
  });
}, THREADS);

Deno.test("realm run runs a command of WASI 0.3; realm inspect names it", async () => {
  const realm = async (...args: string[]) => {
    const shell = testShell();
    const status = await main([...args, "--data", CACHE_FOLDER, path("hello-p3")], shell);
    return { status, stdout: shell.text("stdout"), stderr: shell.text("stderr") };
  };
  assert.deepEqual(await realm("run"), { status: 0, stdout: "hello, 0.3\n", stderr: "" });
  const inspected = await realm("inspect");
  assert.match(inspected.stdout, /^wasi {4}0\.3, asynchronous ABI$/m);
});

Deno.test("guests call every function of WASI 0.3, and print what they do under wasmtime", async (t) => {
  const called = new Set<string>();
  await withEngine(async (engine) => {
    for (const line of COMMANDS) {
      await t.step(line, async () => {
        const { exit, stdout, notices } = await command(engine, line, called);
        assert.equal(stdout, GOLDEN[line]);
        assert.equal(endOf(exit), ENDS[line] ?? "exit 0");
        assert.deepEqual(notices, []);
      });
    }
    await withPeers((ports) =>
      t.step("sockets", async () => {
        const { exit, stdout, usage } = await sockets(engine, ports, called);
        assert.equal(stdout, GOLDEN["/sockets"]);
        assert.equal(endOf(exit), "exit 0");
        assert.equal(usage.sockets, 0);
      })
    );
    await withUpstream(engine, called, async ({ text }, port) => {
      await t.step("/types", async () => assert.equal(await text("/types"), GOLDEN["/types"]));
      await t.step("client", async () => {
        assert.equal(await text(`/send?127.0.0.1:${port}?/hello`), "hello\n");
      });
    });
  });
  // What a guest exports it does not call.
  const wanted = [...WASI_3.functions].filter((call) =>
    !/^wasi:(cli\/run|http\/handler|clocks\/timezone)#/.test(call)
  );
  assert.equal(wanted.length, 125);
  assert.deepEqual(wanted.filter((call) => !called.has(call)), []);
});

Deno.test("the host has every function of WASI 0.3 that it says, and no other", () => {
  const host = functionNames3();
  const names = [...WASI_3.functions].map((call) => {
    const [iface, name] = call.split("#") as [string, string];
    return `${iface}#${jsName(name)}`;
  });
  const missing = names.filter((name) => !host.has(name));
  assert.deepEqual(
    missing.filter((name) => !/^wasi:(cli\/run|http\/handler|clocks\/timezone)/.test(name)),
    [],
  );
  const isInherited =
    /^wasi:http\/types#(entries|list|connectTimeout|firstByteTimeout|betweenBytesTimeout)$/;
  const known = new Set(names);
  assert.deepEqual([...host].filter((name) => !known.has(name) && !isInherited.test(name)), []);
});

/** Ports of 127.0.0.1: an echo server of TCP and one of UDP, one to listen on, and a closed one. */
type Ports = readonly [tcp: number, udp: number, free: number, closed: number];

async function withPeers(test: (ports: Ports) => Promise<unknown>): Promise<void> {
  await using tcp = echoServer();
  await using udp = datagramEcho();
  await test([tcp.port, udp.port, freePort(), freePort()]);
}

/** Runs `sockets-p3` with those, and has it look up a name. */
async function sockets(engine: Engine, ports: Ports, called: Set<string>) {
  const [, , free] = ports;
  const network = networkOf({
    loopback: [...ports],
    listen: [`127.0.0.1:${free}`],
    dns: ["localhost"],
  });
  const run = async (args: readonly string[]) => {
    const result = await runGuest(engine, "sockets-p3", { args, trace: true, grants: { network } });
    for (const trace of result.traces) called.add(/^[^(]+/.exec(trace)![0]);
    return result;
  };
  const { stdout } = await run(["lookup", "localhost"]);
  assert.match(stdout, /^lookup: Ok\(\[.*Ipv4\(\(127, 0, 0, 1\)\).*\]\)$/m);
  assert.match(stdout, /^no name: Err\(ErrorCode::InvalidArgument\)$/m);
  return await run(ports.map(String));
}

/** Runs a test with the handler `http-p3`, which may ask a server of the test's own. */
async function withUpstream(
  engine: Engine,
  called: Set<string>,
  test: (handler: Handler, port: number) => Promise<void>,
): Promise<void> {
  const upstream = startUpstream(ROUTES);
  const { port } = upstream;
  const network: NetworkGrants = networkOf({
    loopback: [port],
    outbound: [`http://127.0.0.1:${port}`],
  });
  const grants = { ...NO_GRANTS, network };
  const handler = await handlerOf(engine, await fixture("http-p3"), {
    grants,
    services: createServices({ grants, notice: () => {} }),
    trace: (line) => called.add(/^[^(]+/.exec(line)![0]),
  });
  try {
    await test(handler, port);
  } finally {
    await handler.replica.stop();
    upstream.close();
  }
}

onEachEngine("a handler of WASI 0.3 answers, bodies and trailers flow", async (withEngine) => {
  await withEngine(async (engine) => {
    const { get, text, replica } = await handlerOf(engine, await fixture("http-p3"));
    const post = { method: "POST", body: new Blob(["a body"]).stream() };
    assert.equal(
      await text("/head?q", { headers: [["X-A", "b"], ["connection", "close"]] }),
      'Method::Get /head?q Some(Scheme::Http) Some("realm.test") x-a=b ' +
        "immutable Err(HeaderError::Immutable)\n",
    );
    assert.equal(await text("/echo", post), "a body");
    assert.equal(await text("/upper", { ...post, body: new Blob(["a body"]).stream() }), "A BODY");
    assert.equal(
      await text("/trailers", { ...post, body: new Blob(["a body"]).stream() }),
      "6 Ok(())\n",
    );
    assert.equal(await text("/drip"), "one\ntwo\nthree\n");
    const { status, body } = await get("/status?204");
    assert.equal(status, 204);
    assert.equal(await new Response(body as BodyInit).text(), "");
    const large = new Uint8Array(3_000_000).fill(0x61);
    const echoed = await text("/upper", { method: "POST", body: new Blob([large]).stream() });
    assert.equal(echoed, "A".repeat(large.length));
    await replica.stop();
  });
});

onEachEngine(
  "what goes wrong in a handler of WASI 0.3 ends its request alone",
  async (withEngine) => {
    await withEngine(async (engine) => {
      const { get, text, replica } = await handlerOf(engine, await fixture("http-p3"));
      await assert.rejects(text("/error"), { message: /configuration-error/ });
      await assert.rejects(text("/trap"), { code: "trap" });
      await assert.rejects(text("/trap-late"), { code: "trap" });
      await assert.rejects(text("/length"), { message: /HTTP-response-body-size/ });
      for (const path of ["/spin", "/spin-late", "/forget"]) {
        const client = new AbortController();
        const leaving = setTimeout(() => client.abort(new Error("gone")), 100);
        const asked = get(path, { signal: client.signal })
          .then(({ body }) => new Response(body as BodyInit).text());
        await assert.rejects(asked, { message: "gone" }, path);
        clearTimeout(leaving);
      }
      assert.equal(await text("/count"), "1\n", "an instance that ended is not used again");
      // It is idle a moment after its answer; until then a request has another one.
      let count = "1\n";
      for (let i = 0; i < 50 && count === "1\n"; i++) count = await text("/count");
      assert.notEqual(count, "1\n", "one that answered is");
      await replica.stop();
    });
  },
);

Deno.test("a handler of WASI 0.3 has an instance for each request where that is asked for", async () => {
  await withEngine(async (engine) => {
    const handler = await fixture("http-p3");
    const { text, replica } = await handlerOf(engine, handler, { instancePerRequest: true });
    for (let i = 0; i < 4; i++) assert.equal(await text("/count"), "1\n");
    await replica.stop();
  });
});

Deno.test("requests of a handler of WASI 0.3 wait at the same time", async () => {
  await withEngine(async (engine) => {
    const { text, replica } = await handlerOf(engine, await fixture("http-p3"));
    const all = await Promise.all(Array.from({ length: 20 }, () => text("/drip")));
    assert.deepEqual(all, Array.from({ length: 20 }, () => "one\ntwo\nthree\n"));
    await replica.stop();
  });
});

Deno.test("a handler of WASI 0.3 asks others within its grants, and passes bodies on", async () => {
  await withEngine((engine) =>
    withUpstream(engine, new Set(), async ({ get, text }, port) => {
      const to = (path: string) => `/send?127.0.0.1:${port}?${path}`;
      const body = new Blob(["a body".repeat(50_000)]).stream();
      assert.equal(await text(to("/echo"), { method: "POST", body }), "a body".repeat(50_000));
      const { headers } = await get(to("/bare"));
      assert.deepEqual(headers, [["x-status", "204"]]);
      assert.match(await text(to("/never")), /ConnectionReadTimeout|HttpResponseTimeout/);
      await assert.rejects(text(to("/truncated")), { message: /HTTP-response-incomplete/ });
      assert.match(await text("/send?other.example?/"), /HttpRequestDenied/);
    })
  );
});

onEachEngine("every door of WASI 0.3 is shut where nothing is granted", async (withEngine) => {
  await withEngine(async (engine) => {
    const shut = { stdio: false, clock: false, random: false };
    const random = await runGuest(engine, "command-p3", { args: ["random"], grants: shut });
    assert.equal(endOf(random.exit), "trap");
    assert.match(random.notices.join(), /denied: wasi:random\/random#get-random-bytes/);
    const output = await runGuest(engine, "command-p3", { args: ["streams"], grants: shut });
    assert.equal(output.stdout + output.stderr, "");
    assert.match(output.notices.join(), /denied: wasi:cli\/stdout/);
    const input = await runGuest(engine, "command-p3", { args: ["stdin"], grants: shut });
    assert.match(input.notices.join(), /denied: wasi:cli\/stdin/);
    assert.equal(input.stdout, "");
    const clocks = await runGuest(engine, "command-p3", {
      args: ["clocks"],
      grants: { clock: false },
    });
    assert.match(clocks.notices.join(), /denied: wasi:clocks\/system-clock#now/);
    const none = await runGuest(engine, "command-p3", {
      args: ["environment"],
      grants: { args: ["x", "environment"] },
    });
    assert.equal(none.stdout, '["environment"] [] None\n');
    const files = await runGuest(engine, "command-p3", { args: ["files"] });
    assert.equal(endOf(files.exit), "trap", "there is no folder");
    const sockets = await runGuest(engine, "sockets-p3", { args: ["1", "2", "3", "4"] });
    assert.equal(endOf(sockets.exit), "trap", "it is given no socket");
    assert.match(
      sockets.notices.join(),
      /denied: wasi:sockets\/types#\[static\]tcp-socket\.create/,
    );
    const lookup = await runGuest(engine, "sockets-p3", { args: ["lookup", "localhost"] });
    assert.match(lookup.stdout, /^lookup: Err\(ErrorCode::AccessDenied\)$/m);
    const notices: string[] = [];
    const { text } = await handlerOf(engine, await fixture("http-p3"), {
      notice: (notice) => notices.push(notice),
    });
    assert.match(await text("/send?127.0.0.1:1?/"), /HttpRequestDenied/);
    assert.match(notices.join(), /denied: wasi:http\/client#send/);
  });
}, THREADS);

Deno.test("a folder that is mounted for reading is not written by WASI 0.3", async () => {
  await withFolder(async (folder) => {
    await withEngine(async (engine) => {
      const mounts = [{ hostPath: folder, guestPath: "/data", writable: false }];
      const { exit } = await runGuest(engine, "command-p3", {
        args: ["files"],
        grants: { mounts },
      });
      assert.equal(endOf(exit), "trap");
      assert.deepEqual([...Deno.readDirSync(folder)].map(({ name }) => name), ["from"]);
    });
  });
});

Deno.test({
  name: "wasmtime prints for WASI 0.3 what is recorded of it",
  ignore: WASMTIME === undefined,
  fn: async () => {
    for (const line of COMMANDS) {
      await withFolder(async (folder) => {
        const args = [
          ...["run", "-S", "p3", "-W", "component-model-async", "--env", "A=b"],
          ...["--dir", `${folder}::/data`, path("command-p3"), ...line.split(" ")],
        ];
        const { stdout } = await output(WASMTIME!, args, INPUT);
        assert.equal(stdout, GOLDEN[line], line);
      });
    }
    await withPeers(async (ports) => {
      const args = ["run", "-S", "p3,inherit-network", "-W", "component-model-async"];
      const { stdout } = await output(WASMTIME!, [
        ...args,
        path("sockets-p3"),
        ...ports.map(String),
      ]);
      assert.equal(stdout, GOLDEN["/sockets"]);
    });
  },
});
