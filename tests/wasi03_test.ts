/**
 * Components of WASI 0.3 in the real engine, each compared with wasmtime where that is installed.
 *
 * @module
 */
import assert from "node:assert/strict";
import { checkComponent } from "../agent/component_source.ts";
import { inspect } from "../agent/runtime/inspect.ts";
import { main } from "../cli/app.ts";
import { testShell } from "../cli/shell_fake.ts";
import { CACHE_FOLDER, fixture, onEachEngine, runGuest } from "./guest.ts";
import { handlerOf } from "./handler.ts";
import { output, WASMTIME } from "./wasmtime/command.ts";

const path = (name: string) => new URL(`../fixtures/${name}.wasm`, import.meta.url).pathname;

Deno.test("inspect() tells what a component has of WASI 0.3", async () => {
  const command = await inspect(await fixture("hello-p3"));
  assert.deepEqual(command.wasi03?.exports, ["wasi:cli/run@0.3.2"]);
  assert.ok(command.wasi03.imports.includes("wasi:cli/stdout@0.3.2"));
  assert.equal(command.wasi03.isAsync, true);
  assert.deepEqual(command.worlds, ["wasi:cli/command"]);
  const handler = await inspect(await fixture("http-hello-p3"));
  assert.deepEqual(handler.wasi03?.exports, ["wasi:http/handler@0.3.2"]);
  assert.deepEqual(handler.wasi03.imports, ["wasi:http/types@0.3.2"]);
  for (const name of ["hello", "hello-p1", "http-counter", "crash", "memory-owner"]) {
    assert.equal((await inspect(await fixture(name))).wasi03, undefined, name);
  }
});

Deno.test("components of WASI 0.3 fit their worlds", async () => {
  await checkComponent("x", await fixture("hello-p3"), "wasi:cli/command");
  await checkComponent("x", await fixture("http-hello-p3"), "wasi:http/proxy");
  await assert.rejects(checkComponent("x", await fixture("hello-p3"), "wasi:http/proxy"), {
    code: "unsupported",
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
  });
});

onEachEngine("a handler of WASI 0.3 answers", async (withEngine) => {
  await withEngine(async (engine) => {
    const handler = await handlerOf(engine, await fixture("http-hello-p3"));
    for (let i = 0; i < 3; i++) assert.equal(await handler.text("/"), "hello, 0.3\n");
    await handler.replica.stop();
  });
});

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

Deno.test({
  name: "the command of WASI 0.3 is one: wasmtime runs it",
  ignore: WASMTIME === undefined,
  fn: async () => {
    const flags = ["run", "-S", "p3", "-W", "component-model-async"];
    const { stdout, stderr, code } = await output(WASMTIME!, [...flags, path("hello-p3")]);
    assert.deepEqual({ stdout, code }, { stdout: "hello, 0.3\n", code: 0 }, stderr);
  },
});
