/**
 * Components of WASI 0.3 are known for what they are, and refused with what was found in them.
 *
 * @module
 */
import assert from "node:assert/strict";
import { checkComponent } from "../agent/component_source.ts";
import { inspect } from "../agent/runtime/inspect.ts";
import { main } from "../cli/app.ts";
import { testShell } from "../cli/shell_fake.ts";
import { CACHE_FOLDER, fixture, withEngine } from "./guest.ts";
import { output, WASMTIME } from "./wasmtime/command.ts";

const path = (name: string) => new URL(`../fixtures/${name}.wasm`, import.meta.url).pathname;

Deno.test("inspect() tells what a component has of WASI 0.3", async () => {
  const command = await inspect(await fixture("hello-p3"));
  assert.deepEqual(command.wasi03?.exports, ["wasi:cli/run@0.3.2"]);
  assert.ok(command.wasi03.imports.includes("wasi:cli/stdout@0.3.2"));
  assert.equal(command.wasi03.isAsync, true);
  assert.deepEqual(command.worlds, []);
  const handler = await inspect(await fixture("http-hello-p3"));
  assert.deepEqual(handler.wasi03?.exports, ["wasi:http/handler@0.3.2"]);
  assert.deepEqual(handler.wasi03.imports, ["wasi:http/types@0.3.2"]);
  for (const name of ["hello", "hello-p1", "http-counter", "crash", "memory-owner"]) {
    assert.equal((await inspect(await fixture(name))).wasi03, undefined, name);
  }
});

Deno.test("components of WASI 0.3 are refused before anything runs, and say why", async () => {
  const refused = {
    code: "unsupported",
    message: /exports wasi:(cli\/run|http\/handler)@0\.3\.2.*asynchronous ABI.*not supported yet/,
  };
  await withEngine(async (engine) => {
    for (const name of ["hello-p3", "http-hello-p3"]) {
      const bytes = await fixture(name);
      await assert.rejects(engine.prepare(bytes), refused);
      await assert.rejects(checkComponent("x", bytes, "wasi:cli/command"), refused);
    }
  });
});

Deno.test("realm run refuses a command of WASI 0.3; realm inspect names it", async () => {
  const realm = async (...args: string[]) => {
    const shell = testShell();
    const status = await main([...args, "--data", CACHE_FOLDER, path("hello-p3")], shell);
    return { status, stdout: shell.text("stdout"), stderr: shell.text("stderr") };
  };
  const run = await realm("run");
  assert.equal(run.status, 1);
  assert.match(
    run.stderr,
    /^error\[unsupported\]: .*wasi:cli\/run@0\.3\.2.*\nhint: .*wasi-0\.3\.md/,
  );
  const inspected = await realm("inspect");
  assert.match(inspected.stdout, /^wasi {4}0\.3, asynchronous ABI: not supported yet$/m);
});

Deno.test({
  name: "the command of WASI 0.3 is one: wasmtime runs it",
  ignore: WASMTIME === undefined,
  fn: async () => {
    const flags = ["run", "-S", "p3", "-W", "component-model-async"];
    const { stdout, stderr, code } = await output(WASMTIME!, [...flags, path("hello-p3")]);
    assert.deepEqual({ stdout, code }, { stdout: "hello, 0.3\n", code: 0 }, stderr);
  },
});
