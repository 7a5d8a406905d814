import assert from "node:assert/strict";
import { RealmError } from "../kernel/error.ts";
import { identify } from "./component.ts";

const fixture = (name: string) =>
  Deno.readFile(new URL(`../../fixtures/${name}.wasm`, import.meta.url));

Deno.test("identify() tells components from modules, and their worlds", async () => {
  const command = identify(await fixture("hello"));
  assert.deepEqual([command.kind, command.worlds], ["component", ["wasi:cli/command"]]);
  const handler = identify(await fixture("http-hello"));
  assert.deepEqual([handler.kind, handler.worlds], ["component", ["wasi:http/proxy"]]);
  const module = identify(await fixture("hello-p1"));
  assert.deepEqual([module.kind, module.worlds], ["module", ["wasi:cli/command"]]);
  assert.deepEqual(module.imports.map((i) => i.name), ["wasi_snapshot_preview1"]);
});

Deno.test("identify() refuses what is cut anywhere, or is something else", async () => {
  const bytes = await fixture("http-hello");
  for (let end = 0; end < bytes.length; end += 97) {
    try {
      identify(bytes.subarray(0, end));
    } catch (error) {
      assert.ok(error instanceof RealmError && error.code === "invalid-module", `${end}: ${error}`);
    }
  }
  assert.throws(() => identify(new TextEncoder().encode("#!/bin/sh\n")), {
    code: "invalid-module",
  });
});

Deno.test("identify() reads a module of very many imports", () => {
  const count = 300_000;
  const entry = [1, 0x6d, 1, 0x66, 0, 0]; // "m" "f", a function of type 0
  const leb = (
    n: number,
  ) => [(n & 0x7f) | 0x80, (n >> 7 & 0x7f) | 0x80, (n >> 14 & 0x7f) | 0x80, n >> 21];
  const section = new Uint8Array(4 + count * entry.length);
  section.set(leb(count));
  for (let i = 0; i < count; i++) section.set(entry, 4 + i * entry.length);
  const head = [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 2, ...leb(section.length)];
  const module = new Uint8Array(head.length + section.length);
  module.set(head);
  module.set(section, head.length);
  assert.deepEqual(identify(module).imports, [{ name: "m", version: undefined }]);
});
