/**
 * `realm run`, `serve` and `inspect` of the executable.
 */
import assert from "node:assert/strict";
import * as path from "node:path";
import { parse } from "../wasm_tools.ts";
import { failed, get, succeeded } from "./agent_process.ts";
import { EXECUTABLE, run, withSandbox } from "./executable.ts";

/** Of util-linux: runs a program on a terminal of its own. */
const HAS_SCRIPT = Deno.build.os === "linux" &&
  await new Deno.Command("script", { args: ["--version"], stdout: "null", stderr: "null" })
    .output().then(({ success }) => success, () => false);

/** A core module with `_start` that imports `env.answer`. */
const FOREIGN = Uint8Array.from([
  ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
  ...[0x01, 0x04, 0x01, 0x60, 0x00, 0x00],
  ...[0x02, 0x0e, 0x01, 0x03, ...bytes("env"), 0x06, ...bytes("answer"), 0x00, 0x00],
  ...[0x03, 0x02, 0x01, 0x00],
  ...[0x07, 0x0a, 0x01, 0x06, ...bytes("_start"), 0x00, 0x01],
  ...[0x0a, 0x04, 0x01, 0x02, 0x00, 0x0b],
]);

function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** A command that asks for the time, and then never ends, in its start section. */
const SPINS_IN_START = `(component
  (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
    (export "now" (func (result u64)))))
  (alias export $clock "now" (func $now))
  (core func $lowered (canon lower (func $now)))
  (core module $Main
    (import "host" "now" (func $now (result i64)))
    (func $spin (drop (call $now)) (loop (br 0)))
    (start $spin)
    (func (export "run") (result i32) (i32.const 0)))
  (core instance $main (instantiate $Main
    (with "host" (instance (export "now" (func $lowered))))))
  (func $run (result (result)) (canon lift (core func $main "run")))
  (component $Run (import "run" (func $run (result (result)))) (export "run" (func $run)))
  (instance $command (instantiate $Run (with "run" (func $run))))
  (export "wasi:cli/run@0.2.0" (instance $command)))`;

/** Two at a time: the machine may have no more cores. */
async function inPairs<T>(all: readonly T[], act: (each: T) => Promise<void>): Promise<void> {
  const queue = [...all];
  const worker = async () => {
    for (let each = queue.shift(); each !== undefined; each = queue.shift()) await act(each);
  };
  await Promise.all([worker(), worker()]);
}

Deno.test("run ends with the guest's own status, or that of what ended it", async () => {
  await withSandbox(async (sandbox) => {
    const { realm, fixtures, folder } = sandbox;
    await fixtures("hello", "exit", "exit-p1", "recurse", "spin", "grow", "bulk", "catch-all");
    await Deno.writeFile(path.join(folder, "foreign.wasm"), FOREIGN);
    await Deno.writeTextFile(path.join(folder, "text.wasm"), "not WebAssembly");
    const cases: [words: string, status: number, code: string | undefined][] = [
      ["hello.wasm", 0, undefined],
      ["exit.wasm 0", 0, undefined],
      ["exit-p1.wasm 42", 42, undefined],
      ["exit.wasm trap", 101, "trap"],
      ["exit-p1.wasm trap", 101, "trap"],
      ["recurse.wasm frames", 101, "trap"],
      ["--fuel 1_000_000 spin.wasm", 102, "out-of-fuel"],
      ["--fuel 1_000_000 bulk.wasm", 102, "out-of-fuel"],
      ["--epoch-timeout-ms 100 spin.wasm", 103, "epoch-timeout"],
      ["--epoch-timeout-ms 100 catch-all.wasm", 103, "epoch-timeout"],
      ["--memory-max-mb 16 grow.wasm trap", 104, "memory-limit"],
      ["--memory-max-mb 1 hello.wasm", 104, "memory-limit"],
      ["--timeout 200ms spin.wasm", 105, "timeout"],
      ["foreign.wasm", 106, "unknown-import"],
      ["text.wasm", 1, "invalid-module"],
      ["--fuel many hello.wasm", 2, "usage"],
      ["absent.wasm", 4, "not-found"],
      ["--dir absent::/data hello.wasm", 4, "not-found"],
      ["--net https://example.com hello.wasm", 0, undefined],
      ["--net example.com hello.wasm", 2, "usage"],
      ["--secret key=absent hello.wasm", 4, "not-found"],
    ];
    await inPairs(cases, async ([words, status, code]) => {
      const ended = await realm("run", ...words.split(" "));
      assert.equal(ended.status, status, `${words}: ${ended.stderr}`);
      // One clear line, and what helps; a panic of the guest may stand before it.
      const errors = [...ended.stderr.matchAll(/^error\[(.*?)\]: (.*)$/gm)];
      assert.deepEqual(errors.map(([, found]) => found), code === undefined ? [] : [code], words);
      assert.doesNotMatch(ended.stderr, /bug in realm|file:\/\//, words);
    });
  });
});

Deno.test("run gives streams, arguments and environment, and no more than is granted", async () => {
  await withSandbox(async ({ realm, realmWith, fixtures, folder }) => {
    await fixtures("cat", "env", "files", "open-all", "hello-p1");
    await Deno.mkdir(path.join(folder, "box"));
    const text = "line\n".repeat(20_000);
    assert.equal((await realmWith(text, "run", "cat.wasm")).stdout, text);
    assert.equal(
      (await realm("run", "--env", "A=1", "env.wasm", "--", "x y", "--json")).stdout,
      "arg: env.wasm\narg: x y\narg: --json\nenv: A=1\n",
    );
    assert.equal((await realm("run", "hello-p1.wasm", "you")).stdout, "hello, you\n");
    const files = await realm("run", "--dir", "box::/data", "files.wasm");
    assert.deepEqual([files.status, [...Deno.readDirSync(`${folder}/box`)]], [0, []], files.stderr);
    const doors = await realm("run", "--deny", "clock,random", "open-all.wasm");
    assert.equal(doors.status, 0, doors.stdout + doors.stderr);
    assert.doesNotMatch(doors.stdout, /OPEN/);
    assert.match(doors.stderr, /^realm: .*--net/m);
    const stats = await realm("run", "--stats", "--quiet", "hello-p1.wasm");
    assert.match(stats.stderr, /^fuel +\d+\nmemory +\d+\.\d MiB at most\nrunning /);
  });
});

Deno.test("run tells a guest when its input cannot be read, and needs no data folder", async () => {
  await withSandbox(async ({ folder, fixtures, realm }) => {
    await fixtures("cat", "hello");
    const env = { HOME: path.join(folder, "home"), REALM: EXECUTABLE };
    for (const grants of ["", "--net https://example.com", "--isolation process"]) {
      const script = `"$REALM" run ${grants} cat.wasm <.`;
      const unread = await run("sh", ["-c", script], { cwd: folder, env });
      assert.equal(unread.status, 101, grants);
      assert.match(unread.stderr, /^read: .*I\/O error/m); // it panics
    }
    const { status, stderr } = await realm("--data", "cat.wasm", "run", "hello.wasm");
    assert.deepEqual([status, stderr], [0, ""]);
  });
});

Deno.test("run says with --verbose which permissions are left: none once a guest runs", async () => {
  await withSandbox(async ({ realm, fixtures }) => {
    await fixtures("hostile", "hello");
    const here = await realm("run", "--verbose", "hostile.wasm", "log", "1");
    assert.match(here.stderr, /^permissions: read, write, env\npermissions: none\n./);
    const served = await realm("run", "--verbose", "--net", "https://example.com", "hello.wasm");
    assert.equal(served.stderr, "permissions: read, write, net, env\n");
  });
});

Deno.test("run ends at once when it is interrupted, in this thread and in a Worker", async () => {
  await withSandbox(async ({ start, fixtures, folder }) => {
    await fixtures("spin");
    await Deno.writeFile(path.join(folder, "deaf.wasm"), await parse(SPINS_IN_START));
    for (const grants of [[], ["--net", "https://example.com"]]) {
      const spinning = start("run", ...grants, "spin.wasm");
      assert.equal(await spinning.line(), "spinning");
      const from = performance.now();
      spinning.kill("SIGINT");
      const { status, stderr } = await spinning.ended;
      assert.deepEqual([status, stderr], [1, "error[failed]: Stopped: SIGINT\n"]);
      assert.ok(performance.now() - from < 30_000, "it would spin for ever");
    }
    // One that computes before it could be suspended, and says first that it does.
    const deaf = start("run", "--trace", "deaf.wasm");
    assert.match(await deaf.errorLine() ?? "", /^trace: wasi:clocks\/monotonic-clock#now/);
    deaf.kill("SIGINT"); // once: the first has to be heard
    assert.deepEqual(await deaf.ended, {
      status: 1,
      stdout: "",
      stderr: "error[failed]: Stopped: SIGINT\n",
    });
  });
});

Deno.test("run says on a terminal, too, how a guest ended", { ignore: !HAS_SCRIPT }, async () => {
  await withSandbox(async ({ folder, fixtures }) => {
    await fixtures("exit", "spin");
    const cases: [words: string, status: number, said: string][] = [
      ["exit.wasm trap", 101, "\x1b[1;31merror[trap]\x1b[0m: "],
      ["--timeout 200ms --json spin.wasm", 105, '"code": "timeout"'],
      // Words that stricli reads.
      ["--stats=true exit.wasm trap", 101, "\x1b[1;31merror[trap]\x1b[0m: "],
    ];
    for (const [words, status, said] of cases) {
      const env = { HOME: path.join(folder, "home"), REALM: EXECUTABLE, SHELL: "/bin/sh" };
      const ended = await run("script", ["-qec", `"$REALM" run ${words}`, "/dev/null"], {
        cwd: folder,
        env,
      });
      assert.equal(ended.status, status, ended.stdout + ended.stderr);
      assert.ok(ended.stdout.includes(said), ended.stdout);
      assert.doesNotMatch(ended.stdout, /Uncaught|NotCapable/);
    }
  });
});

Deno.test("run ends in time where nobody reads its output, and says where it cannot be written", async () => {
  await withSandbox(async ({ folder, fixtures, realm }) => {
    await fixtures("flood", "hello");
    await realm("run", "--fuel", "1", "flood.wasm"); // it is compiled
    const env = { HOME: path.join(folder, "home"), REALM: EXECUTABLE };
    for (const grants of [[], ["--net", "https://example.com"]]) {
      const args = ["run", "--json", "--timeout", "200ms", ...grants, "flood.wasm"];
      const unread = new Deno.Command(EXECUTABLE, {
        ...{ args, env, cwd: folder, clearEnv: true, stdin: "null" },
        stdout: "piped",
        stderr: "piped",
      }).spawn();
      const giveUp = setTimeout(() => unread.kill("SIGKILL"), 60_000);
      const errors = new Response(unread.stderr).text();
      const { code } = await unread.status;
      clearTimeout(giveUp);
      await unread.stdout.cancel();
      assert.deepEqual([code, JSON.parse(await errors).error.code], [105, "timeout"]);
    }
    if (Deno.build.os !== "linux") return;
    for (const name of ["flood", "hello"]) {
      const script = `"$REALM" run ${name}.wasm >/dev/full`;
      const full = await run("sh", ["-c", script], { cwd: folder, env });
      assert.equal(full.status, 1, full.stderr);
      assert.match(full.stderr, /^error\[failed\]: Cannot write standard output: No space left/);
    }
  });
});

Deno.test("serve answers requests, survives a trap and ends when told to", async () => {
  await withSandbox(async (sandbox) => {
    await sandbox.fixtures("http-counter");
    await Deno.mkdir(path.join(sandbox.folder, "box"));
    const server = sandbox.start(
      ...["serve", "--json", "--addr", "127.0.0.1:0", "--dir", "box::/data"],
      ...["--epoch-timeout-ms", "100", "http-counter.wasm"],
    );
    const { url } = JSON.parse(await server.line() ?? assert.fail((await server.ended).stderr));
    assert.equal(await get(url), "200 1");
    const echo = await get(`${url}echo`, { method: "POST", body: "x".repeat(100_000) });
    assert.equal(echo.length, 100_004);
    assert.match(await get(`${url}spin`), /^502 .*epoch_timeout_ms/);
    assert.match(await get(`${url}stream?n=3&ms=1`), /^200 data: 1\s+data: 2\s+data: 3$/);
    assert.equal(await get(url), "200 2");
    server.kill("SIGTERM");
    assert.equal((await server.ended).status, 0);
    assert.equal(await Deno.readTextFile(`${sandbox.folder}/box/count`), "2\n");
  });
});

Deno.test("serve says why it cannot", async () => {
  await withSandbox(async ({ realm, fixtures }) => {
    await fixtures("hello", "http-hello");
    const busy = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const addr = `127.0.0.1:${(busy.addr as Deno.NetAddr).port}`;
    const [taken, command] = await Promise.all([
      realm("serve", "--json", "--addr", addr, "http-hello.wasm"),
      realm("serve", "--json", "--addr", "127.0.0.1:0", "hello.wasm"),
    ]);
    busy.close();
    assert.deepEqual(failed(taken), [1, "failed"]);
    assert.match(taken.stderr, new RegExp(addr));
    assert.deepEqual(failed(command), [1, "unsupported"]);
  });
});

Deno.test("inspect tells what a file is and which grants it would need", async () => {
  await withSandbox(async ({ realm, fixtures, folder }) => {
    await fixtures("http-counter", "hello-p1");
    await Deno.writeFile(path.join(folder, "foreign.wasm"), FOREIGN);
    const [counter, hello, foreign, absent] = await Promise.all(
      ["http-counter", "hello-p1", "foreign", "absent"]
        .map((name) => realm("inspect", "--json", `${name}.wasm`)),
    );
    const about = succeeded(counter!);
    assert.deepEqual([about.kind, about.worlds], ["component", ["wasi:http/proxy"]]);
    const needs = about.imports.flatMap((i: { grant?: { manifest: string } }) =>
      i.grant?.manifest ?? []
    );
    assert.deepEqual([...new Set(needs)].sort(), ["always", "clock = true", "env", "mounts"]);
    const sums = await Deno.readTextFile(new URL("../../fixtures/SHA256SUMS", import.meta.url));
    assert.ok(sums.includes(`${about.digest}  http-counter.wasm`));
    assert.ok(
      succeeded(hello!).imports.some((i: { interface: string; grant?: { manifest: string } }) =>
        i.interface === "wasi_snapshot_preview1#environ_get" && i.grant?.manifest === "env"
      ),
    );
    assert.deepEqual([succeeded(hello!).kind, succeeded(hello!).worlds], ["module", [
      "wasi:cli/command",
    ]]);
    assert.equal(succeeded(foreign!).imports[0].provided, false);
    assert.deepEqual(failed(absent!), [4, "not-found"]);
  });
});
