import assert from "node:assert/strict";
import { wantsFirstWorker, wordsOfRun } from "./head_start.ts";

Deno.test("wantsFirstWorker() is true of commands that run a guest with services and no folders", () => {
  const wants = (line: string) => wantsFirstWorker(line.split(" "));
  assert(wants("run --net https://example.com hello.wasm"));
  assert(wants("--data /tmp/x --quiet run --env A=B --secret=a=b hello.wasm run"));
  assert(wants("--data=/tmp/x run --stats --keyvalue kv hello.wasm -- --verbose"));
  for (
    const other of [
      "run",
      "run hello.wasm", // in the first thread
      "--data /tmp/x run --stats hello.wasm",
      "run --help --net",
      "run -h --net",
      "run --net-loopback 80 --dir /tmp::/ files.wasm",
      "run --net-loopback 80 --dir=/tmp::/ files.wasm",
      "run --isolation=process --dns a.example hello.wasm",
      "serve --net run",
      "--data run status --net",
      "--version",
      "",
    ]
  ) assert(!wants(other), other);
});

Deno.test("wordsOfRun() gives what follows run, and nothing of any other command", () => {
  const words = (line: string) => wordsOfRun(line.split(" "))?.join(" ");
  assert.equal(words("run hello.wasm"), "hello.wasm");
  assert.equal(
    words("--data /tmp/x --quiet run --env A=B hello.wasm run"),
    "--env A=B hello.wasm run",
  );
  assert.equal(words("--data=/tmp/x run --help"), "--help");
  for (const other of ["run", "serve run x.wasm", "--data run status", "--version", ""]) {
    assert.equal(words(other), undefined, other);
  }
});
