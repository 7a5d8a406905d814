import assert from "node:assert/strict";
import { parse } from "../../tests/wasm_tools.ts";
import { HEALTH_EXPORT } from "../kernel/health_check.ts";
import { NO_NETWORK } from "../kernel/ports.ts";
import { compileLinkage, Instance } from "./instance.ts";
import { Ledger } from "./ledger.ts";
import { Limiter } from "./limiter.ts";
import { createFixture } from "./wasi/context_fixture.ts";
import type { WasiContext } from "./wasi/context.ts";

/** Of each export its result: one that says "1" and one that says "2" of why it is not well. */
const CORE = `(module
  (memory (export "memory") 1)
  (data (i32.const 8) "\\01\\00\\00\\00\\40\\00\\00\\00\\01\\00\\00\\00")
  (data (i32.const 24) "\\01\\00\\00\\00\\41\\00\\00\\00\\01\\00\\00\\00")
  (data (i32.const 64) "12")
  (func (export "first") (result i32) (i32.const 8))
  (func (export "second") (result i32) (i32.const 24)))`;

/** An instance with these exports of a function `check`, each by its function of {@link CORE}. */
async function instance(exports: Record<string, string>, override: Partial<WasiContext> = {}) {
  const network = { ...NO_NETWORK, outbound: ["http://upstream"] } as never;
  const { wasi, get } = createFixture({ network }, override);
  const limits = { memoryBytesMax: 2 ** 20 };
  const made = await Instance.create({
    modules: { core: new WebAssembly.Module(await parse(CORE) as BufferSource) },
    // In the form that is left of jco's.
    linkage: compileLinkage(`return (module, _imports, link) => {
      const { exports } = link(module("core"), {});
      const check = (name) => () => $enter(exports[name], exports.memory);
      return { ${
      Object.entries(exports).map(([key, name]) => `"${key}": { check: check("${name}") }`).join()
    } };
    }`),
    limiter: new Limiter({
      limits,
      ledger: new Ledger(),
      bucket: undefined,
      now: () => 0,
      shared: true,
    }),
    wasi,
    onWait() {},
  });
  return { made, wasi, get };
}

Deno.test("Instance.check() calls the export of its version, and no other", async () => {
  const others = { "realm:health/check@0.2.0": "first", [`${HEALTH_EXPORT}0`]: "first" };
  const { made } = await instance({ ...others, [HEALTH_EXPORT]: "second" });
  assert.equal(await made.check(), "2");
  made.close();
  const { made: other } = await instance(others);
  await assert.rejects(other.check(), {
    code: "unsupported",
    message: `Cannot call ${HEALTH_EXPORT}: the component does not export it`,
  });
  other.close();
});

Deno.test("Instance.check() is not of the trace of the request before it", async () => {
  const traces: unknown[] = [];
  const agent = {
    call: (_: string, request: unknown) => {
      traces.push((request as { trace?: string }).trace);
      return { drop() {} } as never;
    },
  };
  const { made, wasi, get } = await instance({ [HEALTH_EXPORT]: "first" }, { agent });
  const { OutgoingRequest, Fields } = get("wasi:http/types");
  const ask = () => {
    const request = new OutgoingRequest(new Fields());
    request.setAuthority("upstream");
    get("wasi:http/outgoing-handler").handle(request, undefined);
  };
  const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  const head = {
    method: "GET",
    scheme: "http",
    authority: "here",
    pathWithQuery: "/",
    headers: [["traceparent", new TextEncoder().encode(traceparent)]],
  };
  for (const http of [wasi.http.createIncomingRequest, wasi.http3.incoming]) {
    http(head as never, null);
    ask();
    const asked = made.check();
    ask();
    assert.equal(await asked, "1");
  }
  assert.deepEqual(traces, [traceparent, undefined, traceparent, undefined]);
  made.close();
  wasi.close();
});
