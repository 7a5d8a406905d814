import assert from "node:assert/strict";
import { wantsFirstWorker } from "./head_start.ts";

Deno.test("wantsFirstWorker() is true of commands that run a guest without folders", () => {
  const wants = (line: string) => wantsFirstWorker(line.split(" "));
  assert(wants("run hello.wasm"));
  assert(wants("--data /tmp/x --quiet run --env A=B hello.wasm run"));
  assert(wants("--data=/tmp/x run --stats hello.wasm -- --verbose"));
  for (
    const other of [
      "run",
      "run --help",
      "run -h",
      "run --dir /tmp::/ files.wasm",
      "run --dir=/tmp::/ files.wasm",
      "run --isolation=process hello.wasm",
      "serve run",
      "--data run status",
      "--version",
      "",
    ]
  ) assert(!wants(other), other);
});
