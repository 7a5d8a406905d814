/**
 * `wasi:sockets` from inside a guest: what is granted works as in wasmtime, what is not stays shut.
 *
 * The states and errors are compared with what wasmtime printed when the files in `wasmtime/` were
 * recorded (`UPDATE=1` records anew), and with wasmtime itself where it is installed.
 *
 * @module
 */
import assert from "node:assert/strict";
import { NetworkError } from "../agent/broker/network_error.ts";
import { parseIp } from "../agent/kernel/ip_address.ts";
import {
  endOf,
  fixture,
  type GuestOptions,
  NO_GRANTS,
  onEachEngine,
  runGuest,
  type WithEngine,
  withEngine,
} from "./guest.ts";
import { createServices } from "../agent/node/services.ts";
import { datagramEcho, echoServer, freePort, type Network, networkOf } from "./peers.ts";

const WASMTIME = new URL("wasmtime/", import.meta.url);
const UPDATE = Deno.env.get("UPDATE") === "1";

/** Runs a fixture once; `words` are its arguments. */
function run(
  name: "sockets-std" | "sockets-tcp" | "sockets-udp",
  words: string,
  network: Network,
  options: GuestOptions & { readonly withEngine?: WithEngine } = {},
) {
  return (options.withEngine ?? withEngine)((engine) =>
    runGuest(engine, name, {
      ...options,
      args: words.split(" "),
      grants: { network: networkOf(network) },
    })
  );
}

/** Answers a lookup with the next list of addresses, the last one for ever. */
function answering(...answers: string[][]): NonNullable<GuestOptions["resolver"]> {
  let asked = 0;
  return () =>
    Promise.resolve(answers[Math.min(asked++, answers.length - 1)]!.map((text) => parseIp(text)!));
}

/** Notes what would be dialled, and dials nothing. */
function recordingConnect() {
  const dialled: string[] = [];
  const connect = (address: string, port: number) => {
    dialled.push(`${address} ${port}`);
    return Promise.reject(new Deno.errors.ConnectionRefused());
  };
  return { dialled, connect };
}

/** What wasmtime printed, told anew with `UPDATE=1`, and compared with it where it is installed. */
async function golden(name: string, words: readonly string[]): Promise<string> {
  const url = new URL(`${name}.txt`, WASMTIME);
  const path = new URL(`../fixtures/${name}.wasm`, import.meta.url).pathname;
  const args = ["run", "-Sinherit-network", path, ...words];
  for (const program of ["wasmtime", `${Deno.env.get("HOME")}/.cargo/bin/wasmtime`]) {
    let told: string;
    try {
      told = new TextDecoder().decode((await new Deno.Command(program, { args }).output()).stdout);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) continue;
      throw error;
    }
    if (UPDATE) await Deno.writeTextFile(url, told);
    assert.equal(told, await Deno.readTextFile(url), "wasmtime tells what was recorded");
    break;
  }
  return await Deno.readTextFile(url);
}

onEachEngine("tcp: every function in every state answers as in wasmtime", async (withEngine) => {
  await using echo = echoServer();
  const [port, closed] = [freePort(), freePort()];
  const words = [`127.0.0.1:${echo.port}`, "all", String(port), String(closed)];
  const wanted = await golden("sockets-tcp", words);
  const { stdout, exit } = await run("sockets-tcp", words.join(" "), {
    loopback: [echo.port, port, closed],
    listen: [`127.0.0.1:${port}`],
  }, { withEngine });
  assert.equal(stdout, wanted);
  assert.equal(endOf(exit), "exit 0");
});

onEachEngine("udp: every function in every state answers as in wasmtime", async (withEngine) => {
  await using echo = datagramEcho();
  const words = `127.0.0.1:${echo.port}`;
  const wanted = await golden("sockets-udp", [words]);
  const { stdout, exit } = await run("sockets-udp", words, { loopback: [echo.port] }, {
    withEngine,
  });
  assert.equal(stdout, wanted);
  assert.equal(endOf(exit), "exit 0");
});

onEachEngine("sockets: wrong use of handles is a trap", async (withEngine) => {
  await using echo = echoServer();
  const at = `127.0.0.1:${echo.port}`;
  const grants = { loopback: [echo.port] };
  const message = async (name: Parameters<typeof run>[0], words: string, network: Network) => {
    const { exit, stdout } = await run(name, words, network, { withEngine });
    assert.equal(stdout, "");
    return exit.kind === "trap" ? exit.message : endOf(exit);
  };
  assert.match(await message("sockets-tcp", `${at} children`, grants), /2 of its children/);
  assert.match(await message("sockets-udp", `${at} permit`, grants), /check-send allows 0/);
  assert.match(await message("sockets-udp", `${at} streams`, grants), /last are not dropped/);
});

Deno.test("tcp: a program connects, sends, and reads to the end, over IPv4 and IPv6", async () => {
  await using echo = echoServer();
  const { stdout } = await run("sockets-std", `send 127.0.0.1:${echo.port} hello you`, {
    loopback: [echo.port],
  });
  assert.equal(stdout, `connected to 127.0.0.1:${echo.port}\nanswer: helloyou\n`);
  await using six = echoServer("::1");
  const { stdout: second } = await run("sockets-tcp", `[::1]:${six.port} v6 ${freePort()}`, {
    loopback: [six.port],
    listen: ["[::1]:0"],
  });
  assert.match(second, /family: IpAddressFamily::Ipv6\n.*\necho: Ok\("six"\)\nbind: Ok\(\(\)\)/);
});

onEachEngine(
  "tcp: megabytes go both ways unchanged, against each other's pace",
  async (withEngine) => {
    await using echo = echoServer();
    const { stdout } = await run("sockets-std", `bulk 127.0.0.1:${echo.port} 3000000`, {
      loopback: [echo.port],
    }, { withEngine });
    assert.equal(stdout, "3000000 of 3000000 bytes came back\n");
  },
);

onEachEngine("tcp: what was written before the guest ended still goes out", async (withEngine) => {
  const echo = echoServer();
  await run("sockets-std", `leave 127.0.0.1:${echo.port} farewell`, { loopback: [echo.port] }, {
    withEngine,
  });
  await echo[Symbol.asyncDispose]();
  assert.deepEqual(echo.seen, ["farewell"]);
});

Deno.test("tcp: a guest that asks in a loop lets the answer in", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  const serving = (async () => {
    const connection = await listener.accept();
    await new Promise((resolve) => setTimeout(resolve, 50));
    await connection.write(new TextEncoder().encode("something"));
    connection.close();
  })();
  const { stdout } = await run("sockets-std", `busy 127.0.0.1:${port}`, { loopback: [port] });
  await serving;
  assert.equal(stdout, "something came\n");
});

Deno.test("tcp: writing to a peer that has gone fails in the end", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  const serving = listener.accept().then((connection) => connection.close());
  const { stdout } = await run("sockets-tcp", `127.0.0.1:${port} gone`, { loopback: [port] });
  await serving;
  assert.deepEqual(stdout.trim().split("\n"), [
    'read to the end: Ok("")',
    'write to nobody: "closed"',
    'and again: Err("closed")',
  ]);
});

/** Starts a command that listens and waits for the line in which it says where. */
async function serving<T>(
  words: string,
  network: Network,
  visit: (port: number) => Promise<T>,
  withOne: WithEngine = withEngine,
): Promise<{ result: T; stdout: string }> {
  return await withOne(async (engine) => {
    const grants = {
      ...NO_GRANTS,
      args: ["sockets-std", ...words.split(" ")],
      network: networkOf(network),
    };
    let stdout = "";
    const said = Promise.withResolvers<number>();
    const replica = await engine.start(await engine.prepare(await fixture("sockets-std")), {
      world: "wasi:cli/command",
      grants,
      services: createServices({ grants, notice: () => {} }),
      limits: { memoryBytesMax: 64 * 1024 * 1024 },
      stdio: {
        terminal: { stdin: false, stdout: false, stderr: false },
        read: () => Promise.resolve(null),
        write: (_stream, bytes) => {
          stdout += new TextDecoder().decode(bytes);
          const port = /:(\d+)\n/.exec(stdout)?.[1];
          if (port) said.resolve(Number(port));
        },
      },
      notice: () => {},
    });
    replica.exited.then((exit) => said.reject(new Error(`${endOf(exit)} ${stdout}`)));
    const result = await visit(await said.promise);
    await replica.exited;
    return { result, stdout };
  });
}

onEachEngine("tcp: a program listens, accepts and answers", async (withEngine) => {
  const { result, stdout } = await serving(
    "echo 127.0.0.1:0 2",
    { listen: ["127.0.0.1:0"] },
    async (port) => {
      const answers: string[] = [];
      for (const text of ["one", "two"]) {
        using connection = await Deno.connect({ hostname: "127.0.0.1", port });
        await connection.write(new TextEncoder().encode(text));
        await connection.closeWrite();
        answers.push(await new Response(connection.readable).text());
      }
      return answers;
    },
    withEngine,
  );
  assert.deepEqual(result, ["one", "two"]);
  assert.match(stdout, /^listening on 127\.0\.0\.1:\d+\ndone\n$/);
});

Deno.test("udp: a program sends and receives, and answers whoever sent to it", async () => {
  await using echo = datagramEcho();
  const { stdout } = await run("sockets-std", `datagrams 127.0.0.1:${echo.port} a b`, {
    loopback: [echo.port],
  });
  assert.equal(stdout, `127.0.0.1:${echo.port}: a\n127.0.0.1:${echo.port}: b\n`);
  const { result } = await serving(
    "answer 127.0.0.1:0 1",
    { listen: ["udp://127.0.0.1:0"] },
    async (port) => {
      const socket = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
      await socket.send(new TextEncoder().encode("ping"), {
        transport: "udp",
        hostname: "127.0.0.1",
        port,
      });
      const [payload] = await socket.receive();
      socket.close();
      return new TextDecoder().decode(payload);
    },
  );
  assert.equal(result, "ping");
});

onEachEngine(
  "lookup: a granted name is looked up, an address is its own answer",
  async (withEngine) => {
    const words =
      "lookup a.example then lookup 192.0.2.7 then lookup localhost then lookup b.example";
    const { stdout, notices } = await run("sockets-std", words, { dns: ["a.example"] }, {
      resolver: answering(["192.0.2.1", "2001:db8::1"]),
      withEngine,
    });
    assert.deepEqual(stdout.split("\n").slice(0, 2), [
      "a.example: 192.0.2.1 2001:db8::1",
      "192.0.2.7: 192.0.2.7",
    ]);
    assert.equal(stdout.match(/failed: /g)?.length, 2);
    assert.deepEqual(notices, [
      'denied: looking up localhost needs dns = ["localhost"] (--dns localhost)',
      'denied: looking up b.example needs dns = ["b.example"] (--dns b.example)',
    ]);
  },
);

Deno.test("lookup: a failure has its own error", async () => {
  const { stdout, exit } = await run("sockets-std", "lookup nowhere.invalid", { dns: true }, {
    resolver: () => Promise.reject(new NetworkError("name-unresolvable")),
  });
  assert.match(stdout, /^failed: .*Name does not resolve/);
  assert.equal(endOf(exit), "exit 1");
});

onEachEngine(
  "without a grant every door of the network is shut, and the log says which grant",
  async (withEngine) => {
    const words = [
      "send 127.0.0.1:9 x",
      "echo 127.0.0.1:0 1",
      "datagrams 127.0.0.1:9 x",
      "answer 127.0.0.1:0 1",
      "lookup a.example",
    ].join(" then ");
    const resolver = () => assert.fail("looked up");
    const { stdout, notices } = await run("sockets-std", words, {}, { resolver, withEngine });
    assert.deepEqual(stdout.trim().split("\n").map((line) => line.split(":")[1]), [
      " PermissionDenied",
      " PermissionDenied",
      " PermissionDenied",
      " PermissionDenied",
      " PermissionDenied",
    ]);
    assert.equal(notices.length, 3, "one for each interface");
  },
);

onEachEngine("a grant opens its own door alone", async (withEngine) => {
  await using echo = echoServer();
  const other = freePort();
  const words = [
    `send 127.0.0.1:${other} x`,
    `send 127.0.0.1:${echo.port} x`,
    "echo 127.0.0.1:0 1",
    "answer 127.0.0.1:9 1",
  ].join(" then ");
  const { stdout, notices } = await run("sockets-std", words, { loopback: [echo.port] }, {
    withEngine,
  });
  const ends = stdout.trim().split("\n").filter((line) => !line.startsWith("connected"));
  assert.match(ends[0]!, /PermissionDenied/);
  assert.equal(ends[1], "answer: x");
  assert.match(ends[2]!, /PermissionDenied/);
  assert.match(ends[3]!, /PermissionDenied/);
  assert.deepEqual(notices, [
    `denied: 127.0.0.1:${other} needs loopback = [${other}] (--net-loopback ${other})`,
    'denied: listening on 127.0.0.1:0 needs listen = ["tcp://127.0.0.1:0"] (--listen 127.0.0.1:0)',
    'denied: listening on 127.0.0.1:9 needs listen = ["udp://127.0.0.1:9"] (--listen 127.0.0.1:9)',
  ]);
});

onEachEngine(
  "addresses by literal: machine, metadata and others are not reached by any other grant",
  async (withEngine) => {
    const addresses = [
      "127.0.0.1:80",
      "[::1]:80",
      "169.254.169.254:80",
      "10.0.0.1:80",
      "0.0.0.0:80",
    ];
    const mapped = ["[::ffff:127.0.0.1]:80", "[::ffff:169.254.169.254]:80", "[64:ff9b::7f00:1]:80"];
    const words = [...addresses, ...mapped].map((at) => `send ${at} x`).join(" then ");
    const { connect, dialled } = recordingConnect();
    const { stdout } = await run("sockets-std", words, {
      outbound: ["http://a.example", "tcp://db.internal:80"],
      privateNetworks: ["0.0.0.0/0", "::/0"],
      dns: true,
      loopback: [81],
    }, { connect, withEngine });
    assert.deepEqual(dialled, []);
    const lines = stdout.trim().split("\n");
    assert.equal(lines.length, addresses.length + mapped.length);
    for (const line of lines) assert.match(line, /^failed: (PermissionDenied|InvalidInput)/);
  },
);

Deno.test("addresses by name: no name leads to the machine, metadata or an address in disguise", async () => {
  const prohibited = ["127.0.0.1", "::1", "169.254.169.254", "0.0.0.0", "::ffff:127.0.0.1"]
    .concat(["64:ff9b::7f00:1", "fe80::1", "10.0.0.1"]);
  const grants: Network = { outbound: ["http://a.example"], loopback: [80] };
  for (const address of prohibited) {
    const { connect, dialled } = recordingConnect();
    const { stdout, notices } = await run("sockets-std", "send a.example:80 x", grants, {
      resolver: answering([address]),
      connect,
    });
    assert.deepEqual(dialled, []);
    assert.match(stdout, /^failed: PermissionDenied/, address);
    assert.match(notices[0]!, /^denied: a\.example leads to/);
  }
});

onEachEngine("rebinding: a name's second answer is checked like the first", async (withEngine) => {
  const words = [
    "lookup a.example",
    "lookup a.example",
    "send a.example:80 x",
    "send 127.0.0.1:80 x",
  ].join(" then ");
  const { connect, dialled } = recordingConnect();
  const { stdout } = await run("sockets-std", words, {
    outbound: ["tcp://a.example:80"],
  }, { resolver: answering(["198.41.0.4"], ["127.0.0.1"]), connect, withEngine });
  const [first, ...others] = stdout.trim().split("\n");
  assert.equal(first, "a.example: 198.41.0.4");
  assert.equal(others.length, 3);
  for (const line of others) assert.match(line, /^failed: PermissionDenied/);
  assert.deepEqual(dialled, [], "nobody was asked");
});

onEachEngine("sockets of a replica are bounded, and closed when it ends", async (withEngine) => {
  const echo = echoServer();
  const { stdout } = await run("sockets-std", `many 127.0.0.1:${echo.port} 300`, {
    loopback: [echo.port],
  }, { withEngine });
  assert.match(stdout, /^256 are open\nfailed: /);
  await echo[Symbol.asyncDispose]();
  assert.equal(echo.seen.length, 256);
});
