/**
 * Outbound HTTP from inside the guest, against a server that misbehaves as it is told: every
 * function and error of `wasi:http/outgoing-handler`, and every door that has to be shut.
 *
 * Where wasmtime is installed it runs every case of `outbound_http_cases.ts`, too.
 *
 * @module
 */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { Dialer } from "../agent/broker/dial.ts";
import { HttpClient } from "../agent/broker/http_client.ts";
import { NetworkError } from "../agent/broker/network_error.ts";
import { NetworkPolicy } from "../agent/broker/network_policy.ts";
import type { Resolver } from "../agent/broker/resolve.ts";
import { formatIp, parseIp } from "../agent/kernel/ip_address.ts";
import { parseOutbound } from "../agent/kernel/network_grant.ts";
import {
  type Engine,
  type HandlerRequest,
  type NetworkGrants,
  NO_NETWORK,
} from "../agent/kernel/ports.ts";
import {
  endOf,
  fixture,
  NO_GRANTS,
  onEachEngine,
  runGuest,
  type WithEngine,
  withEngine,
} from "./guest.ts";
import { get, OUTBOUND_CASES, request } from "./outbound_http_cases.ts";
import { until } from "./until.ts";
import { bombed, type Certificate, ROUTES, startUpstream, type Upstream } from "./upstream.ts";
import { output, WASMTIME } from "./wasmtime/command.ts";
import { WASI } from "./wit.ts";

const MIB = 1024 * 1024;
const TLS = new URL("tls/", import.meta.url);
const pem = (name: string) => Deno.readTextFileSync(new URL(name, TLS));
const certificate = (name: string): Certificate => ({
  cert: pem(`${name}.pem`),
  key: pem(`${name}.key`),
});

/** Names of the tests: nothing here asks the system. */
const NAMES: Readonly<Record<string, readonly string[]>> = {
  "localhost": ["127.0.0.1"],
  "rebound.example": ["127.0.0.1"],
  "metadata.example": ["169.254.169.254"],
  "private.example": ["10.1.2.3"],
  "mixed.example": ["127.0.0.1", "::1", "0.0.0.0", "169.254.169.254"],
};

/** Names that cannot be dialled, for what the network does not do to order. */
const FAILURES: Readonly<Record<string, NetworkError["reason"]>> = {
  "slow.example": "timeout",
  "unreachable.example": "remote-unreachable",
  "full.example": "new-socket-limit",
  "odd.example": "unknown",
};

const resolver: Resolver = (name, signal) => {
  const failure = FAILURES[name];
  if (failure) return Promise.reject(new NetworkError(failure));
  if (name === "silent.example") {
    return new Promise((_, reject) =>
      signal?.addEventListener("abort", () => reject(signal.reason))
    );
  }
  const found = NAMES[name];
  return found
    ? Promise.resolve(found.map((text) => parseIp(text)!))
    : Promise.reject(new NetworkError("name-unresolvable"));
};

/** Never leaves this machine, whatever the policy lets through: it fails where it would. */
class LoopbackDialer extends Dialer {
  override async addresses(...given: Parameters<Dialer["addresses"]>) {
    const found = await super.addresses(...given);
    const isLoopback = (text: string) => text.startsWith("127.") || text === "::1";
    if (!found.every((ip) => isLoopback(formatIp(ip)))) {
      throw new NetworkError("unknown", "let through");
    }
    return found;
  }
}

interface Granted {
  readonly grants: NetworkGrants;
  readonly client: HttpClient;
  readonly refusals: string[];
}

/** The agent's side, with these grants. */
function granted(
  outbound: readonly string[],
  more: Partial<NetworkGrants> = {},
  caCerts?: readonly string[],
): Granted {
  const grants = { ...NO_NETWORK, outbound: outbound.map((text) => parseOutbound(text)!), ...more };
  const refusals: string[] = [];
  const dialer = new LoopbackDialer({
    policy: new NetworkPolicy(grants),
    resolver,
    refused: ({ message }) => refusals.push(message),
    ...(caCerts ? { caCerts } : {}),
  });
  return { grants, client: new HttpClient(dialer), refusals };
}

/** Errors that no guest here meets, and why. */
const UNMET: Readonly<Record<string, string>> = {
  "configuration-error": "a host that is configured wrong does not start",
  "connection-write-timeout": "the interface has no timeout of writing",
  "destination-IP-unroutable": "the system does not tell it from `destination-unavailable`",
  "destination-not-found": "of proxies: a name that is not there is `DNS-error`",
  "HTTP-request-header-section-size": "fields that are too large are a trap",
  "HTTP-request-header-size": "fields that are too large are a trap",
  "HTTP-request-length-required": "a body without a length goes out in chunks",
  "HTTP-request-trailer-section-size": "fields that are too large are a trap",
  "HTTP-request-trailer-size": "fields that are too large are a trap",
  "HTTP-request-URI-too-long": "the server says so, with status 414",
  "HTTP-response-body-size": "of a guest's own responses, see the fixture http-types",
  "HTTP-response-content-coding": "nothing is decoded",
  "HTTP-response-header-size": "all headers together are bounded",
  "HTTP-response-timeout": "`connection-read-timeout` says which of the timeouts it was",
  "HTTP-response-trailer-size": "all trailers together are bounded",
  "loop-detected": "of proxies",
};

/** Codes that guests here were given, without hyphens and in lower case. */
const met = new Set<string>();

/** What a script prints, without the numbers of the calls and without what only says `ok`. */
function answers(stdout: string, port?: number, isAboutSetters = false): string[] {
  const setter = /^(scheme|authority|path|method): (Some|Method|None)/;
  return (port ? stdout.replaceAll(`${port}`, "PORT") : stdout).split("\n")
    .map((line) => line.replace(/^\d+ /, ""))
    .filter((line) => line && !line.endsWith(": ok") && (isAboutSetters || !setter.test(line)));
}

function note(stdout: string): void {
  for (const [, code] of stdout.matchAll(/ErrorCode::(\w+)/g)) met.add(code!.toLowerCase());
}

const stdinOf = (script: readonly string[], port: number) =>
  `${script.join("\n").replaceAll("HOST", `127.0.0.1:${port}`)}\n`;

/** Runs a script with grants, and answers what it printed last. */
async function lastAnswer(
  engine: Engine,
  script: readonly string[],
  { grants, client }: Granted,
): Promise<string | undefined> {
  const { exit, stdout, stderr } = await runGuest(engine, "http-client", {
    stdin: `${script.join("\n")}\n`,
    grants: { network: grants },
    services: { http: client },
  });
  assert.equal(endOf(exit), "exit 0", stderr);
  assert.equal(client.connections, 0, "nothing is held for a guest that ended");
  note(stdout);
  return answers(stdout).at(-1);
}

async function withUpstream<T>(
  test: (upstream: Upstream) => Promise<T>,
  options?: Parameters<typeof startUpstream>[1],
): Promise<T> {
  const upstream = startUpstream(ROUTES, options);
  try {
    return await test(upstream);
  } finally {
    upstream.close();
  }
}

/** Compiled once: that takes longer than any case. */
async function precompiled(): Promise<string> {
  const file = await Deno.makeTempFile({ suffix: ".cwasm" });
  const source = fileURLToPath(new URL("../fixtures/http-client.wasm", import.meta.url));
  const args = ["compile", source, "-o", file];
  const { code, stderr } = await output(WASMTIME!, args);
  assert.equal(code, 0, stderr);
  return file;
}

async function underWasmtime(file: string, stdin: string): Promise<string> {
  const args = ["run", "--allow-precompiled", "-S", "http", "-S", "inherit-network", file];
  return (await output(WASMTIME!, args, stdin)).stdout;
}

Deno.test("outbound HTTP answers the guest as it should, and as wasmtime does", (t) =>
  withUpstream(({ port }) =>
    withEngine(async (engine) => {
      const file = WASMTIME && await precompiled();
      for (const [name, the] of Object.entries(OUTBOUND_CASES)) {
        await t.step(name, async () => {
          const stdin = stdinOf(the.script, port);
          const { grants, client } = granted(
            [`http://127.0.0.1:${port}`, `https://127.0.0.1:${port}`],
            { loopback: [port] },
          );
          const [ours, theirs] = await Promise.all([
            runGuest(engine, "http-client", {
              stdin,
              grants: { network: grants },
              services: { http: client },
            }),
            file && (!the.differs || the.differs.wasmtime) && underWasmtime(file, stdin),
          ]);
          assert.equal(endOf(ours.exit), "exit 0", ours.stderr);
          note(ours.stdout);
          assert.deepEqual(answers(ours.stdout, port, the.isAboutSetters), the.gives);
          assert.equal(client.connections, 0, "nothing is held for a guest that ended");
          if (!theirs) return; // not installed, or it varies
          const expected = the.differs?.wasmtime ?? the.gives;
          assert.deepEqual(answers(theirs, port, the.isAboutSetters), expected);
        });
      }
      if (file) await Deno.remove(file);
    })
  ));

Deno.test("no test here leaves this machine", async () => {
  const { client } = granted(["http://192.0.2.1"]);
  const target = { scheme: "http", host: "192.0.2.1", port: 80 } as const;
  await assert.rejects((client.dialer as LoopbackDialer).addresses(target), {
    message: /let through/,
  });
});

Deno.test("a connection that does not come about has the error code that says why", (t) =>
  withUpstream(({ port }) =>
    withEngine(async (engine) => {
      const closed = Deno.listen({ hostname: "127.0.0.1", port: 0 });
      const refusing = (closed.addr as Deno.NetAddr).port;
      closed.close();
      const to = (origin: string, options = "") => {
        const [scheme, authority] = origin.split("://") as [string, string];
        const lines = request("/hello", options ? { options } : {});
        return [
          ...lines.map((line) =>
            line.startsWith("scheme")
              ? `scheme\t${scheme.toUpperCase()}`
              : line.replace("HOST", authority)
          ),
          "wait",
        ];
      };
      const cases: Record<
        string,
        { origin: string; grant?: Granted; gives: RegExp; options?: string }
      > = {
        "refused": {
          origin: `http://127.0.0.1:${refusing}`,
          grant: granted([`http://127.0.0.1:${refusing}`], { loopback: [refusing] }),
          gives: /ConnectionRefused/,
        },
        "no such name": {
          origin: "http://none.example",
          gives: /DnsError\(.*rcode: Some\("NXDOMAIN"\)/,
        },
        "a lookup that takes too long": {
          origin: "http://slow.example",
          gives: /DnsTimeout/,
        },
        "unreachable": {
          origin: "http://unreachable.example",
          gives: /DestinationUnavailable/,
        },
        "no more connections": {
          origin: "http://full.example",
          gives: /ConnectionLimitReached/,
        },
        "something else": {
          origin: "http://odd.example",
          gives: /InternalError/,
        },
        "connect-timeout": {
          origin: "http://silent.example",
          options: "60\t-\t-",
          gives: /ConnectionTimeout/,
        },
        "not granted": {
          origin: "http://other.example",
          grant: granted(["http://api.example"]),
          gives: /HttpRequestDenied/,
        },
        "another port": {
          origin: "http://api.example:81",
          grant: granted(["http://api.example"]),
          gives: /HttpRequestDenied/,
        },
        "another scheme": {
          origin: "https://api.example:80",
          grant: granted(["http://api.example", "tcp://api.example:80"]),
          gives: /HttpRequestDenied/,
        },
        "a name that leads to loopback": {
          origin: `http://rebound.example:${port}`,
          grant: granted([`http://rebound.example:${port}`], { loopback: [port] }),
          gives: /DestinationIpProhibited/,
        },
        "a name that leads to the metadata service": {
          origin: "http://metadata.example",
          gives: /DestinationIpProhibited/,
        },
        "a name with many prohibited addresses": {
          origin: "http://mixed.example",
          gives: /DestinationIpProhibited/,
        },
        "a public name that leads to a private address": {
          origin: "http://private.example",
          gives: /DestinationIpProhibited/,
        },
        "loopback without its port": {
          origin: `http://127.0.0.1:${port}`,
          gives: /DestinationIpProhibited/,
        },
        "loopback in the form of IPv6": {
          origin: `http://[::ffff:127.0.0.1]:${port}`,
          gives: /DestinationIpProhibited/,
        },
        "the metadata service itself": {
          origin: "http://169.254.169.254",
          grant: granted(["http://api.example", "https://169.254.169.254"]),
          gives: /HttpRequestDenied/,
        },
      };
      for (
        const [name, { origin, gives, options, grant = granted([origin]) }] of Object.entries(cases)
      ) {
        await t.step(name, async () => {
          const answer = await lastAnswer(engine, to(origin, options), grant);
          assert.match(answer ?? "", gives);
          const isRefusal = /Denied|Prohibited/.test(answer!);
          assert.equal(grant.refusals.length, isRefusal ? 1 : 0, grant.refusals.join());
          if (/Denied/.test(answer!)) assert.match(grant.refusals[0]!, /allowed_outbound = \[/);
        });
      }
    })
  ));

onEachEngine(
  "a guest without a grant is denied at once, and told which it needs",
  (withEngine) =>
    withEngine(async (engine) => {
      const { stdout, notices } = await runGuest(engine, "http-client", {
        stdin: stdinOf(request("/hello"), 80),
      });
      assert.equal(answers(stdout).at(-1), "handle: !ErrorCode::HttpRequestDenied");
      assert.equal(notices.length, 1);
      assert.match(notices[0]!, /outgoing-handler#handle needs allowed_outbound .* --net/);
    }),
);

onEachEngine(
  "a redirect to where nothing is granted is a request that is denied",
  (withEngine) =>
    withUpstream(({ port }) =>
      withEngine(async (engine) => {
        const grant = granted([`http://127.0.0.1:${port}`], { loopback: [port] });
        const script = [
          ...get("/redirect"),
          ...get("/latest"),
        ].join("\n").replaceAll("HOST", `127.0.0.1:${port}`).split("\n");
        const second = script.lastIndexOf(`authority\t127.0.0.1:${port}`);
        script[second] = "authority\t169.254.169.254";
        const answer = await lastAnswer(engine, script.slice(0, -3), grant);
        assert.equal(answer, "wait: !ErrorCode::HttpRequestDenied");
      })
    ),
);

Deno.test("TLS is for the name, by an authority that is trusted", (t) =>
  withEngine(async (engine) => {
    const ask = async (
      server: Certificate | string,
      host: string,
      caCerts: readonly string[] | undefined,
    ) =>
      await withUpstream(async ({ port }) => {
        const grant = granted([`https://${host}:${port}`], { loopback: [port] }, caCerts);
        const script = get("/hello").map((line) =>
          line === "scheme\tHTTP" ? "scheme\tHTTPS" : line.replace("HOST", `${host}:${port}`)
        );
        return await lastAnswer(engine, script.slice(0, -3), grant);
      }, typeof server === "string" ? { greeting: server } : { tls: server });
    const ca = [pem("ca.pem")];
    const [good, other] = [certificate("localhost"), certificate("other")];
    await t.step(
      "good",
      async () => assert.match(await ask(good, "localhost", ca) ?? "", /^wait: 200/),
    );
    await t.step(
      "an authority that nobody trusts",
      async () =>
        assert.match(await ask(good, "localhost", undefined) ?? "", /TlsCertificateError/),
    );
    await t.step(
      "another name",
      async () => assert.match(await ask(other, "localhost", ca) ?? "", /TlsCertificateError/),
    );
    await t.step(
      "an address that the certificate does not name",
      async () => assert.match(await ask(good, "127.0.0.1", ca) ?? "", /TlsCertificateError/),
    );
    await t.step(
      "no TLS",
      async () =>
        assert.match(
          await ask("HTTP/1.1 400 Bad\r\n\r\n", "localhost", ca) ?? "",
          /TlsProtocolError/,
        ),
    );
    await t.step(
      "a server that agrees to nothing",
      async () =>
        // RFC 8446, section 6: fatal, handshake_failure
        assert.match(
          await ask("\x15\x03\x03\x00\x02\x02\x28", "localhost", ca) ?? "",
          /TlsAlertReceived/,
        ),
    );
  }));

Deno.test("the agent is told of which request an outbound one is a part, whatever the guest says", () =>
  withEngine(async (engine) => {
    const asked: unknown[] = [];
    const replica = await engine.start(await engine.prepare(await fixture("http-proxy")), {
      world: "wasi:http/proxy",
      grants: { ...NO_GRANTS, network: granted(["http://a.example"], {}).grants },
      limits: { memoryBytesMax: 256 * MIB },
      services: {
        http: {
          call: (request) => {
            asked.push(request);
            return Promise.resolve({ status: 204, headers: [] });
          },
          close: () => Promise.resolve(),
        },
      },
      stdio: {
        terminal: { stdin: false, stdout: false, stderr: false },
        read: () => Promise.resolve(null),
        write: () => {},
      },
      notice: () => {},
    });
    const trace = `00-${"ab".repeat(16)}-${"cd".repeat(8)}-01`;
    for (const more of [[["traceparent", trace]], []] as [string, string][][]) {
      await replica.handle({
        method: "GET",
        url: "http://realm.test/",
        headers: [["x-upstream", "http://a.example/"], ...more],
        body: null,
        signal: new AbortController().signal,
      });
    }
    await replica.stop();
    assert.deepEqual(asked.map((request) => (request as { trace?: string }).trace), [
      trace,
      undefined,
    ]);
  }));

/** A handler that sends what it gets to the upstream. */
async function withProxy(
  maxConcurrency: number,
  test: (
    fetch: (path: string, init?: Partial<HandlerRequest>) => Promise<Response>,
    client: HttpClient,
    upstream: Upstream,
  ) => Promise<void>,
  withOne: WithEngine = withEngine,
): Promise<void> {
  await withUpstream((upstream) =>
    withOne(async (engine) => {
      const { port } = upstream;
      const { grants, client } = granted([`http://127.0.0.1:${port}`], { loopback: [port] });
      const replica = await engine.start(await engine.prepare(await fixture("http-proxy")), {
        world: "wasi:http/proxy",
        grants: { ...NO_GRANTS, network: grants },
        limits: { memoryBytesMax: 256 * MIB },
        maxConcurrency,
        services: { http: client },
        stdio: {
          terminal: { stdin: false, stdout: false, stderr: false },
          read: () => Promise.resolve(null),
          write: () => {},
        },
        notice: () => {},
      });
      await test(
        async (path, init = {}) => {
          const { status, headers, body } = await replica.handle({
            method: "GET",
            url: "http://realm.test/",
            headers: [["x-upstream", `http://127.0.0.1:${port}${path}`]],
            body: null,
            signal: new AbortController().signal,
            ...init,
          });
          return new Response(body as BodyInit, { status, headers: [...headers] });
        },
        client,
        upstream,
      );
    })
  );
}

onEachEngine(
  "a handler streams bodies to an upstream and back without collecting them",
  (withEngine) =>
    withProxy(8, async (fetch, client) => {
      assert.equal(await (await fetch("/hello")).text(), "hello\n");
      assert.equal(await (await fetch("/closes")).text(), "ErrorCode::ConnectionTerminated\n");
      const total = 8 * MIB;
      const { body } = zeroes(total);
      const response = await fetch("/echo", { method: "POST", body });
      let received = 0;
      for await (const chunk of response.body!) received += chunk.length;
      assert.equal(received, total);
      assert.equal(client.connections, 1);
    }, withEngine),
);

/** So many bytes, and how many of them were taken. */
function zeroes(total: number) {
  const taken = { bytes: 0 };
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      if (taken.bytes >= total) return controller.close();
      taken.bytes += 64 * 1024;
      controller.enqueue(new Uint8Array(64 * 1024));
    },
  });
  return { body, taken };
}

/** Waits until a number has grown and does not any more, and answers it. */
async function settled(number: () => number): Promise<number> {
  for (let before = 0; number() === 0 || before !== number();) {
    before = number();
    await new Promise((resolve) => setTimeout(resolve, 700));
  }
  return number();
}

onEachEngine(
  "an upstream that reads nothing stops the client, a client that reads nothing the upstream",
  (withEngine) =>
    withProxy(8, async (fetch) => {
      // The system itself holds some 10 MiB for a connection over loopback.
      const { body, taken } = zeroes(256 * MIB);
      const leave = new AbortController();
      const deaf = fetch("/deaf", { method: "POST", body, signal: leave.signal }).catch(() =>
        "left"
      );
      const sent = await settled(() => taken.bytes);
      assert.ok(sent > 0 && sent < 40 * MIB, `${sent} bytes were taken of the client`);
      leave.abort();
      await deaf;

      bombed.bytes = 0;
      const response = await fetch("/bomb");
      const written = await settled(() => bombed.bytes);
      assert.ok(written > 0 && written < 40 * MIB, `${written} bytes were taken of the upstream`);
      await response.body!.cancel();
    }, withEngine),
);

onEachEngine(
  "100 requests that each wait upstream wait together on one replica",
  (withEngine) =>
    withProxy(100, async (fetch, client, { connections }) => {
      const answers = await Promise.all(
        Array.from({ length: 100 }, async () => await (await fetch("/together?100")).text()),
      );
      assert.ok(answers.every((text) => text === "together\n"), answers.join());
      assert.ok(client.connections <= 32, "only so many are kept");
      assert.deepEqual([connections.accepted, connections.peak], [100, 100]);
    }, withEngine),
);

onEachEngine(
  "a request whose client has left ends at the upstream, too",
  (withEngine) =>
    withProxy(8, async (fetch, client, upstream) => {
      const leave = new AbortController();
      const waiting = fetch("/never", { signal: leave.signal }).catch(() => "left");
      await until("a connection", () => upstream.connections.open > 0, waiting);
      leave.abort();
      assert.equal(await waiting, "left");
      await until("its end", () => client.connections === 0);
    }, withEngine),
);

onEachEngine(
  "each replica has connections of its own",
  (withEngine) =>
    withUpstream((upstream) =>
      withEngine(async (engine) => {
        const { port } = upstream;
        const script = stdinOf([...get("/hello"), ...get("/hello")], port);
        for (let i = 1; i <= 2; i++) {
          const { grants, client } = granted([`http://127.0.0.1:${port}`], { loopback: [port] });
          await runGuest(engine, "http-client", {
            stdin: script,
            grants: { network: grants },
            services: { http: client },
          });
          assert.equal(upstream.connections.accepted, i, "the second request took the first's");
        }
      })
    ),
);

Deno.test("every error of wasi:http was met by a guest above, or it is said why none can be", () => {
  const codes = [...WASI.errors.get("wasi:http/types")!];
  const isMet = (code: string) => met.has(code.replaceAll("-", "").toLowerCase());
  assert.deepEqual([...codes.filter(isMet), ...Object.keys(UNMET)].sort(), codes.sort());
});
