// One trace from the proxy through a component to the request that it makes, to a collector.
import assert from "node:assert/strict";
import { type AgentOptions, startAgent } from "./agent.ts";
import { connectControl } from "./control/client.ts";
import { sha256Hex } from "./kernel/sha256.ts";
import { FakeOwner, newSigner } from "./owner_fake.ts";
import { formatManifestSignature, signManifest } from "./realm/manifest_signature.ts";
import { until } from "../tests/until.ts";

interface Exported {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly name: string;
  readonly attributes: readonly { key: string; value: Record<string, string> }[];
  readonly status: { readonly code?: number };
}

const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER = "00f067aa0ba902b7";
const LOOPBACK = { hostname: "127.0.0.1", port: 0, onListen: () => {} };

/** An agent that serves `http-proxy`, what it asks, and a collector. */
async function withTraces(
  ratio: number,
  test: (ask: (headers?: Record<string, string>) => Promise<string>, got: {
    readonly spans: readonly (Exported & { readonly service: string })[];
    readonly traceparents: readonly (string | null)[];
  }) => Promise<void>,
  callersPerSecond = 100,
): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "realm-traces-" });
  const cache = new URL("../.cache/engine", import.meta.url).pathname;
  await Deno.mkdir(cache, { recursive: true });
  await Deno.symlink(cache, `${folder}/cache`);
  const spans: (Exported & { service: string })[] = [];
  const traceparents: (string | null)[] = [];
  const collector = Deno.serve(LOOPBACK, async (request) => {
    assert.equal(new URL(request.url).pathname, "/v1/traces");
    for (const { resource, scopeSpans: [{ spans: all }] } of (await request.json()).resourceSpans) {
      const service = resource.attributes[0].value.stringValue;
      spans.push(...all.map((span: Exported) => ({ ...span, service })));
    }
    return new Response("{}");
  });
  const upstream = Deno.serve(LOOPBACK, ({ headers }) => {
    traceparents.push(headers.get("traceparent"));
    return new Response("from upstream");
  });
  const { port } = upstream.addr;
  const wasm = await Deno.readFile(new URL("../fixtures/http-proxy.wasm", import.meta.url));
  const owner = new FakeOwner(await newSigner());
  await Deno.writeTextFile(`${folder}/policy.toml`, `[loopback]\nports = [${port}]\n`);
  const options: AgentOptions = {
    dataFolder: folder,
    nodeName: "here",
    http: { hostname: "127.0.0.1", port: 0 },
    program: "test",
    claim: { owner: owner.key },
    traces: { url: `http://127.0.0.1:${collector.addr.port}/v1/traces`, ratio, callersPerSecond },
  };
  const agent = await startAgent(options);
  const control = connectControl(agent.controlPath);
  try {
    const manifest = new TextEncoder().encode(
      `[owner]\npubkey = "${owner.key}"\n[nodes.here]\n[components.passer]\n` +
        `source = "file:http-proxy.wasm"\nworld = "wasi:http/proxy"\n` +
        `allowed_outbound = ["http://127.0.0.1:${port}"]\nloopback = [${port}]\n` +
        `[routing]\nhere = [{ path = "/pass/...", component = "passer" }]\n`,
    );
    await control.putBlob(wasm);
    const digests = [["passer", await sha256Hex(wasm)]] as const;
    const signed = await signManifest(manifest, { version: 1, digests, signer: owner.signer });
    await owner.apply(control, { manifest, signature: formatManifestSignature(signed) });
    await test(async (headers = {}) => {
      const response = await fetch(`${agent.proxyUrl}/pass/on?secret=1`, {
        headers: { "x-upstream": `http://127.0.0.1:${port}/there`, ...headers },
      });
      return await response.text();
    }, { spans, traceparents });
  } finally {
    control.close();
    await agent.close();
    await Promise.all([collector.shutdown(), upstream.shutdown()]);
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("a trace goes from who calls through proxy and component to what the component asks", () =>
  withTraces(0, async (ask, { spans, traceparents }) => {
    assert.equal(await ask({ traceparent: `00-${TRACE}-${CALLER}-01` }), "from upstream");
    await until("three spans", () => spans.length === 3);
    const of = (service: string, name: string) =>
      spans.find((span) => span.service === service && span.name === name)!;
    const proxy = of("realm-proxy", "GET /pass/...");
    const component = of("passer", "passer");
    const outbound = of("passer", "GET");
    assert.equal(proxy.parentSpanId, CALLER);
    assert.equal(component.parentSpanId, proxy.spanId);
    assert.equal(outbound.parentSpanId, component.spanId);
    assert.ok(spans.every(({ traceId, status }) => traceId === TRACE && status.code === undefined));
    assert.deepEqual(traceparents, [`00-${TRACE}-${outbound.spanId}-01`]);
    assert.ok(!JSON.stringify(spans).includes("secret"), "paths and queries are nobody's business");
    // Who does not want to be recorded is not, and is passed on as it came.
    const unwanted = `00-${TRACE}-${CALLER}-00`;
    await ask({ traceparent: unwanted });
    await ask();
    assert.deepEqual(traceparents.slice(1), [unwanted, null]);
    await ask({ traceparent: `00-${TRACE}-${CALLER}-01` });
    await until("three more spans", () => spans.length === 6);
  }));

Deno.test("of traces that begin at the proxy a part is recorded", () =>
  withTraces(1, async (ask, { spans, traceparents }) => {
    await ask();
    await until("three spans", () => spans.length === 3);
    assert.equal(new Set(spans.map(({ traceId }) => traceId)).size, 1);
    assert.equal(spans.filter(({ parentSpanId }) => parentSpanId === undefined).length, 1);
    assert.ok(traceparents[0]!.includes(spans[0]!.traceId));
  }));

Deno.test("a caller whose trace is not recorded is passed on as one who does not want it", () =>
  withTraces(0, async (ask, { traceparents }) => {
    await ask({ traceparent: `00-${TRACE}-${CALLER}-01` });
    const [passed] = traceparents;
    assert.match(passed!, new RegExp(`^00-${TRACE}-[0-9a-f]{16}-00$`));
    assert.ok(!passed!.includes(CALLER));
  }, 0));
