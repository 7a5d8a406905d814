import assert from "node:assert/strict";
import { COARSE_STEP_NS, FROZEN_WALL_SECONDS } from "./clocks.ts";
import { createFixture, Ended, thrown, trapOf } from "./context_fixture.ts";
import {
  GRANT_OF_INTERFACE,
  GRANTS,
  isProvided,
  SUSPENDING_IMPORTS,
  WasiFunctions,
} from "./host.ts";

const camel = (kebab: string) => kebab.replace(/-(\w)/g, (_, c: string) => c.toUpperCase());

/** Every resource and function that the glue may ask for, as in WASI 0.2.12 and the drafts. */
const SURFACE: Record<string, string> = {
  "wasi:cli/environment": "getEnvironment getArguments initialCwd",
  "wasi:cli/exit": "exit exitWithCode",
  "wasi:cli/stdin": "getStdin",
  "wasi:cli/stdout": "getStdout",
  "wasi:cli/stderr": "getStderr",
  "wasi:cli/terminal-input": "TerminalInput",
  "wasi:cli/terminal-output": "TerminalOutput",
  "wasi:cli/terminal-stdin": "getTerminalStdin",
  "wasi:cli/terminal-stdout": "getTerminalStdout",
  "wasi:cli/terminal-stderr": "getTerminalStderr",
  "wasi:clocks/monotonic-clock": "now resolution subscribeInstant subscribeDuration",
  "wasi:clocks/wall-clock": "now resolution",
  "wasi:clocks/timezone": "display utcOffset",
  "wasi:filesystem/preopens": "getDirectories",
  "wasi:filesystem/types": "filesystemErrorCode Descriptor[readViaStream writeViaStream " +
    "appendViaStream advise syncData getFlags getType setSize setTimes read write readDirectory " +
    "sync createDirectoryAt stat statAt setTimesAt linkAt openAt readlinkAt removeDirectoryAt " +
    "renameAt symlinkAt unlinkFileAt isSameObject metadataHash metadataHashAt] " +
    "DirectoryEntryStream[readDirectoryEntry]",
  "wasi:http/types": "httpErrorCode Fields[get has set delete append entries clone] " +
    "IncomingRequest[method pathWithQuery scheme authority headers consume] " +
    "OutgoingRequest[body method setMethod pathWithQuery setPathWithQuery scheme setScheme " +
    "authority setAuthority headers] RequestOptions[connectTimeout setConnectTimeout " +
    "firstByteTimeout setFirstByteTimeout betweenBytesTimeout setBetweenBytesTimeout] " +
    "ResponseOutparam[sendInformational] IncomingResponse[status headers consume] " +
    "IncomingBody[stream] FutureTrailers[subscribe get] OutgoingResponse[statusCode " +
    "setStatusCode headers body] OutgoingBody[write] FutureIncomingResponse[subscribe get]",
  "wasi:http/outgoing-handler": "handle",
  "wasi:io/error": "Error[toDebugString]",
  "wasi:io/poll": "poll Pollable[ready block]",
  "wasi:io/streams": "InputStream[read blockingRead skip blockingSkip subscribe] " +
    "OutputStream[checkWrite write blockingWriteAndFlush flush blockingFlush subscribe " +
    "writeZeroes blockingWriteZeroesAndFlush splice blockingSplice]",
  "wasi:random/random": "getRandomBytes getRandomU64",
  "wasi:random/insecure": "getInsecureRandomBytes getInsecureRandomU64",
  "wasi:random/insecure-seed": "insecureSeed",
  "wasi:sockets/network": "networkErrorCode Network",
  "wasi:sockets/instance-network": "instanceNetwork",
  "wasi:sockets/ip-name-lookup": "resolveAddresses ResolveAddressStream[resolveNextAddress " +
    "subscribe]",
  "wasi:sockets/tcp": "TcpSocket[startBind finishBind startConnect finishConnect startListen " +
    "finishListen accept localAddress remoteAddress isListening addressFamily " +
    "setListenBacklogSize keepAliveEnabled setKeepAliveEnabled keepAliveIdleTime " +
    "setKeepAliveIdleTime keepAliveInterval setKeepAliveInterval keepAliveCount " +
    "setKeepAliveCount hopLimit setHopLimit receiveBufferSize setReceiveBufferSize " +
    "sendBufferSize setSendBufferSize subscribe shutdown]",
  "wasi:sockets/tcp-create-socket": "createTcpSocket",
  "wasi:sockets/udp": "UdpSocket[startBind finishBind stream localAddress remoteAddress " +
    "addressFamily unicastHopLimit setUnicastHopLimit receiveBufferSize setReceiveBufferSize " +
    "sendBufferSize setSendBufferSize subscribe] IncomingDatagramStream[receive subscribe] " +
    "OutgoingDatagramStream[checkSend send subscribe]",
  "wasi:sockets/udp-create-socket": "createUdpSocket",
  "wasi:keyvalue/store": "open Bucket[get set delete exists listKeys]",
  "wasi:keyvalue/atomics": "increment swap Cas[current]",
  "wasi:keyvalue/batch": "getMany setMany deleteMany",
  "wasi:config/store": "get getAll",
  "wasi:config/runtime": "get getAll",
  "wasi:logging/logging": "log",
};

Deno.test("createWasi() has every function and method of every interface, and no other", () => {
  const f = createFixture();
  assert.deepEqual(
    Object.keys(Object.getPrototypeOf(f.wasi.imports)).sort(),
    Object.keys(SURFACE).sort(),
  );
  const known = Object.keys(GRANT_OF_INTERFACE).filter((iface) =>
    isProvided(iface, "0.2.0") || !isProvided(iface, "0.3.0")
  );
  assert.deepEqual(known.sort(), Object.keys(SURFACE).sort());
  for (const [iface, members] of Object.entries(SURFACE)) {
    const wanted = members.replace(/\[[^\]]*\]/g, "").split(" ").sort();
    assert.deepEqual(Object.keys(f.get(iface)).sort(), wanted, iface);
    for (const [, name, methods] of members.matchAll(/(\w+)\[([^\]]*)\]/g)) {
      const { prototype } = f.get(iface)[name!];
      const has = Object.getOwnPropertyNames(prototype)
        .filter((n) => typeof Object.getOwnPropertyDescriptor(prototype, n)!.value === "function")
        .filter((n) => n !== "constructor" && n !== "released");
      assert.deepEqual(has.sort(), methods!.split(" ").sort(), `${iface} ${name}`);
    }
  }
  const http = f.get("wasi:http/types");
  for (
    const [type, name] of [["Fields", "fromList"], ["IncomingBody", "finish"], [
      "OutgoingBody",
      "finish",
    ], ["ResponseOutparam", "set"]] as const
  ) {
    assert.equal(typeof http[type][name], "function", `${type}.${name}`);
  }
});

Deno.test("SUSPENDING_IMPORTS names functions that are there", () => {
  const f = createFixture();
  for (const name of SUSPENDING_IMPORTS) {
    const [, iface, kind, type, method] = /^([^#]+)#(?:\[(\w+)\]([^.]+)\.)?(.+)$/.exec(name)!;
    const members = f.get(iface!);
    const owned = type === undefined ? members : members[camel(`-${type}`)];
    const owner = kind === "method" ? owned.prototype : owned;
    assert.equal(typeof owner[camel(method!)], "function", name);
  }
});

Deno.test("isProvided() knows WASI 0.2, 0.3 and the pinned drafts", () => {
  const table: [string, string | undefined, boolean][] = [
    ["wasi:cli/environment", "0.2.0", true],
    ["wasi:cli/environment", "0.2.12", true],
    ["wasi:cli/environment", "0.3.0", true],
    ["wasi:cli/environment", "0.3.0-rc-2025-09-16", false],
    ["wasi:cli/types", "0.3.2", true],
    ["wasi:cli/types", "0.2.0", false],
    ["wasi:io/streams", "0.3.0", false],
    ["wasi:http/client", "0.2.0", false],
    ["wasi:http/handler", "0.3.2", false],
    ["wasi:cli/environment", "0.2.0-rc-2023-12-05", false],
    ["wasi:cli/environment", undefined, false],
    ["wasi:cli/run", "0.2.0", false],
    ["wasi:keyvalue/store", "0.2.0-draft", true],
    ["wasi:keyvalue/store", "0.2.0-draft2", true],
    ["wasi:keyvalue/store", "0.2.0", false],
    ["wasi:config/store", "0.2.0-rc.1", true],
    ["wasi:logging/logging", "0.1.0-draft", true],
    ["wasi:logging/logging", undefined, true],
    ["acme:thing/api", "1.0.0", false],
    ["toString", "0.2.0", false],
  ];
  for (const [iface, version, wanted] of table) {
    assert.equal(isProvided(iface, version), wanted, `${iface}@${version}`);
  }
});

Deno.test("cli gives arguments and environment, and nothing else of the machine", () => {
  const f = createFixture();
  const environment = f.get("wasi:cli/environment");
  assert.deepEqual(environment.getArguments(), ["program", "x"]);
  assert.deepEqual(environment.getEnvironment(), [["A", "b"]]);
  assert.equal(environment.initialCwd(), undefined);
});

Deno.test("cli.exit() ends the guest with its status", () => {
  const exit = (act: string, value: unknown) => {
    const error = thrown(() => createFixture().get("wasi:cli/exit")[act](value));
    assert.ok(error instanceof Ended && error.kind === "exit");
    return error.value;
  };
  assert.equal(exit("exit", { tag: "ok" }), 0);
  assert.equal(exit("exit", { tag: "err" }), 1);
  assert.equal(exit("exitWithCode", 42), 42);
});

Deno.test("cli tells which streams are terminals, none without stdio", () => {
  const f = createFixture();
  assert.equal(f.get("wasi:cli/terminal-stdin").getTerminalStdin(), undefined);
  const terminal = f.get("wasi:cli/terminal-stdout").getTerminalStdout();
  assert.ok(terminal instanceof f.get("wasi:cli/terminal-output").TerminalOutput);
  assert.equal(f.get("wasi:cli/terminal-stderr").getTerminalStderr(), undefined);
  const g = createFixture({ stdio: false });
  assert.equal(g.get("wasi:cli/terminal-stdout").getTerminalStdout(), undefined);
});

Deno.test("without stdio the streams are closed and empty, with a notice each", () => {
  const f = createFixture({ stdio: false });
  const closed = { tag: "closed" };
  assert.deepEqual(thrown(() => f.get("wasi:cli/stdin").getStdin().blockingRead(1n)), closed);
  const stdout = f.get("wasi:cli/stdout").getStdout();
  assert.deepEqual(thrown(() => stdout.checkWrite()), closed);
  assert.deepEqual(thrown(() => stdout.blockingWriteAndFlush(new Uint8Array(1))), closed);
  assert.equal(stdout.subscribe().block(), undefined);
  assert.deepEqual(f.notices.map(([call]) => call), [
    "wasi:cli/stdin#get-stdin",
    "wasi:cli/stdout#get-stdout",
  ]);
  assert.equal(f.output.stdout, "");
});

Deno.test("clocks are the machine's when granted", () => {
  const f = createFixture();
  const wall = f.get("wasi:clocks/wall-clock"), monotonic = f.get("wasi:clocks/monotonic-clock");
  assert.deepEqual(wall.now(), { seconds: 1_700_000_000n, nanoseconds: 123_456_789 });
  assert.equal(monotonic.now(), 1_000_500_000n);
  assert.deepEqual(wall.resolution(), { seconds: 0n, nanoseconds: 1_000_000 });
  assert.deepEqual(f.notices, []);
});

Deno.test("without clock the wall stands still, the rest is coarse, and timers work", async () => {
  const f = createFixture({ clock: false });
  const wall = f.get("wasi:clocks/wall-clock"), monotonic = f.get("wasi:clocks/monotonic-clock");
  const frozen = { seconds: FROZEN_WALL_SECONDS, nanoseconds: 0 };
  assert.deepEqual(wall.now(), frozen);
  const before = monotonic.now();
  assert.equal(before % COARSE_STEP_NS, 0n);
  const waiting = monotonic.subscribeDuration(3_000_000n).block();
  for (let i = 0; i < 5; i++) await f.advance(1);
  await waiting;
  assert.ok(monotonic.now() - before >= 3_000_000n);
  assert.deepEqual(wall.now(), frozen);
  assert.equal(f.notices.length, 1, "one notice for many calls");
  assert.match(f.notices[0]!.join(" "), /wall-clock#now.*clock = true/);
});

Deno.test("a timer beyond the range of the clock never fires and does not wrap", () => {
  const monotonic = createFixture().get("wasi:clocks/monotonic-clock");
  assert.equal(monotonic.subscribeDuration(2n ** 64n - 1n).ready(), false);
  assert.equal(monotonic.subscribeInstant(2n ** 64n - 1n).ready(), false);
  assert.equal(monotonic.subscribeInstant(0n).ready(), true);
});

Deno.test("a timer nobody waits for any more is cancelled", async () => {
  let sleeping = 0;
  const f = createFixture({}, {
    clock: {
      wallNs: () => 0n,
      monotonicNs: () => 0n,
      sleep: (_ms, signal) => {
        sleeping++;
        return new Promise((_, reject) =>
          signal!.addEventListener("abort", () => {
            sleeping--;
            reject(signal!.reason);
          })
        );
      },
    },
    stdio: {
      read: () => new Promise((resolve) => setTimeout(() => resolve(null), 1)),
      write: () => {},
      terminal: { stdin: false, stdout: false, stderr: false },
    },
  });
  const timer = f.get("wasi:clocks/monotonic-clock").subscribeDuration(10n ** 15n);
  const input = f.get("wasi:cli/stdin").getStdin().subscribe();
  assert.deepEqual([...await f.get("wasi:io/poll").poll([timer, input])], [1]);
  assert.equal(sleeping, 0);
});

Deno.test("random gives as many bytes as asked, and traps past its bound or without grant", () => {
  const f = createFixture();
  const random = f.get("wasi:random/random");
  assert.equal(random.getRandomBytes(0n).length, 0);
  assert.equal(random.getRandomBytes(200_000n).length, 200_000);
  assert.equal(typeof random.getRandomU64(), "bigint");
  assert.match(trapOf(() => random.getRandomBytes(2n ** 63n)), /the most is/);
  const denied = createFixture({ random: false });
  assert.match(trapOf(() => denied.get("wasi:random/random").getRandomU64()), /not granted/);
  assert.match(denied.notices[0]!.join(" "), /get-random-u64.*random = true/);
});

Deno.test("insecure random needs no grant, differs by seed and traps past its bound", () => {
  const f = createFixture({ random: false });
  const insecure = f.get("wasi:random/insecure");
  const some = insecure.getInsecureRandomBytes(1001n);
  assert.equal(some.length, 1001);
  assert.ok(new Set(some).size > 200, "bytes of all kinds");
  assert.notDeepEqual(insecure.getInsecureRandomBytes(1001n), some);
  assert.equal(typeof insecure.getInsecureRandomU64(), "bigint");
  const { insecureSeed } = f.get("wasi:random/insecure-seed");
  assert.deepEqual(insecureSeed(), insecureSeed(), "one seed for the life of the instance");
  const other = createFixture({}, { random: { bytes: (n) => new Uint8Array(n).fill(9) } });
  assert.notDeepEqual(other.get("wasi:random/insecure-seed").insecureSeed(), insecureSeed());
  assert.deepEqual(f.notices, []);
  assert.ok(trapOf(() => insecure.getInsecureRandomBytes(2n ** 40n)));
});

Deno.test("sockets answer access-denied and name the grant once per interface", () => {
  const f = createFixture();
  const network = f.get("wasi:sockets/instance-network").instanceNetwork();
  assert.ok(network instanceof f.get("wasi:sockets/network").Network);
  const tcp = f.get("wasi:sockets/tcp-create-socket"),
    udp = f.get("wasi:sockets/udp-create-socket");
  for (let i = 0; i < 2; i++) {
    assert.equal(thrown(() => tcp.createTcpSocket("ipv4")), "access-denied");
    assert.equal(thrown(() => udp.createUdpSocket("ipv6")), "access-denied");
    const lookup = f.get("wasi:sockets/ip-name-lookup");
    assert.equal(thrown(() => lookup.resolveAddresses(network, "example.com")), "access-denied");
  }
  assert.deepEqual(f.notices.map(([call, grant]) => [call.split("#")[1], grant]), [
    ["create-tcp-socket", GRANTS.sockets.allowedBy],
    ["create-udp-socket", GRANTS.sockets.allowedBy],
    ["resolve-addresses", "dns in realm.toml, or --dns NAME"],
  ]);
  const { TcpSocket } = f.get("wasi:sockets/tcp");
  assert.throws(() => Object.create(TcpSocket.prototype).startBind(), /invalid handle/);
});

Deno.test("keyvalue is denied without a grant", () => {
  const f = createFixture();
  const denied = { tag: "access-denied" };
  assert.deepEqual(thrown(() => f.get("wasi:keyvalue/store").open("default")), denied);
  assert.match(f.notices[0]![1], /--keyvalue DIR/);
});

Deno.test("config answers the variables, through both spellings", () => {
  const f = createFixture({ config: [["DB", "a"], ["EMPTY", ""]] });
  for (const iface of ["wasi:config/store", "wasi:config/runtime"]) {
    assert.equal(f.get(iface).get("DB"), "a");
    assert.equal(f.get(iface).get("EMPTY"), "");
    assert.equal(f.get(iface).get("toString"), undefined);
    const all = f.get(iface).getAll();
    assert.deepEqual(all, [["DB", "a"], ["EMPTY", ""]]);
    all.pop();
    assert.equal(f.get(iface).getAll().length, 2);
  }
});

Deno.test("logging gives lines with their level, bounded and without control characters", () => {
  const lines: [string, string][] = [];
  const f = createFixture({}, { log: (level, text) => void lines.push([level, text()]) });
  const { log } = f.get("wasi:logging/logging");
  log("warn", "d\nb", "lost\r\n\x1b[31mline");
  log("info", "", "hi");
  log("error", "c".repeat(300), "m".repeat(9000));
  assert.deepEqual(lines.slice(0, 2), [["warn", "d b: lost [31mline"], ["info", "hi"]]);
  assert.equal(lines[2]![1], `${"c".repeat(256)}…: ${"m".repeat(8192)}…`);
  const denied = createFixture({ stdio: false }, { log: () => assert.fail("denied") });
  denied.get("wasi:logging/logging").log("info", "", "hi");
  assert.equal(denied.notices.length, 1);
});

Deno.test("createWasi() gives all instances of a replica the same functions, which lead to the one at work", () => {
  const functions = ({ get }: ReturnType<typeof createFixture>) => ({
    environment: get("wasi:cli/environment"),
    random: get("wasi:random/random"),
    seed: get("wasi:random/insecure-seed"),
    stdout: get("wasi:cli/stdout"),
    http: get("wasi:http/types"),
  });
  const shared = new WasiFunctions();
  const first = createFixture({ args: ["first"] }, {}, shared);
  const given = functions(first) as any;
  assert.deepEqual(given.environment.getArguments(), ["first"]);
  const seed = given.seed.insecureSeed();
  new given.http.Fields();
  given.random.getRandomU64();
  const lengthBefore = first.traces.length;

  const second = createFixture({ args: ["second"], random: false }, {
    random: { bytes: (length) => new Uint8Array(length).fill(9) },
  }, shared);
  const again = functions(second) as any;
  for (const name in again) assert.equal(again[name], given[name], name);
  assert.deepEqual(given.environment.getArguments(), ["second"]);
  assert.notDeepEqual(given.seed.insecureSeed(), seed);
  given.stdout.getStdout().write(new TextEncoder().encode("of the second"));
  assert.deepEqual([first.output.stdout, second.output.stdout], ["", "of the second"]);
  assert.equal(new given.http.Fields().host.live("fields"), 1);
  assert.match(trapOf(() => given.random.getRandomU64()), /random is not granted/);
  assert.deepEqual([first.notices.length, second.notices.length], [0, 1]);
  assert.equal(first.traces.length, lengthBefore);

  first.wasi.atWork();
  assert.deepEqual(given.environment.getArguments(), ["first"]);
  assert.deepEqual(given.seed.insecureSeed(), seed);
  assert.equal(new given.http.Fields().host.live("fields"), 2);
  assert.equal(first.traces.length, lengthBefore + 3);
});
