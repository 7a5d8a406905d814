import assert from "node:assert/strict";
import * as path from "node:path";
import { VERSION } from "../../cli/version.ts";
import { EXECUTABLE, ROOT, run, withSandbox } from "./executable.ts";

/** How often each program is timed. */
const ROUNDS = 15;

Deno.test("the executable is one file of at most 105 MB, with its digest beside it", async () => {
  const { size } = await Deno.stat(EXECUTABLE);
  assert.ok(size <= 105_000_000, `${size} bytes`);
  const line = await Deno.readTextFile(`${EXECUTABLE}.sha256`);
  assert.match(line, /^[0-9a-f]{64} {2}realm\n$/);
});

Deno.test("the executable needs nothing and leaves nothing behind", async () => {
  await withSandbox(async ({ folder, realm }) => {
    assert.deepEqual(await realm("--version"), {
      status: 0,
      stdout: `realm ${VERSION}\n`,
      stderr: "",
    });
    assert.equal((await realm("--help")).status, 0);
    assert.deepEqual(
      ["home", "tmp"].flatMap((each) => [...Deno.readDirSync(path.join(folder, each))]),
      [],
    );
  });
});

Deno.test("the executable does not look at what others put into the temporary folder", async () => {
  await withSandbox(async ({ folder, realm, fixtures }) => {
    await fixtures("hello");
    await Deno.writeTextFile(path.join(folder, "tmp", "package.json"), "not JSON");
    assert.deepEqual(await realm("--version"), {
      status: 0,
      stdout: `realm ${VERSION}\n`,
      stderr: "",
    });
    assert.deepEqual(await realm("run", "hello.wasm"), {
      status: 0,
      stdout: "hello, world\n",
      stderr: "",
    });
  });
});

Deno.test("the executable says what is wrong, with the exit status of the contract", async () => {
  await withSandbox(async ({ realm }) => {
    const unknown = await realm("inti");
    assert.deepEqual([unknown.status, unknown.stdout], [2, ""]);
    assert.match(unknown.stderr, /^error\[usage\]: .*\nhint: Did you mean init\n$/);
    const absent = await realm("key", "show", "--json");
    assert.equal(absent.status, 4);
    assert.equal(JSON.parse(absent.stderr).error.code, "not-found");
  });
});

Deno.test("the executable makes the keys of a realm in the home folder", async () => {
  await withSandbox(async ({ folder, realm }) => {
    const made = await realm("init", "--name", "shop", "--json");
    assert.equal(made.status, 0, made.stderr);
    const shown = await realm("key", "show", "--json");
    assert.equal(JSON.parse(shown.stdout).owner, JSON.parse(made.stdout).owner);
    assert.equal(((await Deno.stat(`${folder}/home/.realm`)).mode ?? 0) & 0o777, 0o700);
    assert.match(await Deno.readTextFile(`${folder}/realm.toml`), /^name = "shop"$/m);
  });
});

Deno.test("the executable ends quietly when its reader goes away", async () => {
  const { status, stdout, stderr } = await run("sh", [
    "-c",
    `{ "$0" completions bash; echo "status $?" >&2; } | true`,
    EXECUTABLE,
  ]);
  assert.deepEqual([status, stdout], [0, ""]);
  // Whether the script was written before the reader went is a race: both ends are right.
  assert.match(stderr, /^status (0|141)\n$/);
});

Deno.test("the completion script of bash completes commands and flags", async () => {
  const script = `
    PATH="$(dirname "$0"):$PATH"
    source <("$0" completions bash)
    COMP_WORDS=(realm in) COMP_CWORD=1; _realm; echo "\${COMPREPLY[@]}"
    COMP_WORDS=(realm init --na) COMP_CWORD=2; _realm; echo "\${COMPREPLY[@]}"
    COMP_WORDS=(realm key "") COMP_CWORD=2; _realm; echo "\${COMPREPLY[@]}"
  `;
  const { stdout, stderr } = await run("bash", ["-c", script, EXECUTABLE]);
  const [commands, flags, keys] = stdout.split("\n").map((line) => line.split(" "));
  assert.ok(commands!.includes("init"), stderr);
  assert.deepEqual(flags, ["--name"]);
  assert.ok(keys!.includes("show"));
});

Deno.test("install.sh installs the executable, and it runs", async () => {
  await withSandbox(async ({ folder }) => {
    const env = { HOME: `${folder}/home` };
    const installed = await run("sh", [`${ROOT}/install.sh`, "--from", EXECUTABLE], { env });
    assert.equal(installed.status, 0, installed.stderr);
    const { stdout } = await run(`${folder}/home/.local/bin/realm`, ["--version"], { env });
    assert.equal(stdout, `realm ${VERSION}\n`);
  });
});

Deno.test("the executable starts; how its time compares with an empty program is printed", async () => {
  const { base } = JSON.parse(await Deno.readTextFile(`${EXECUTABLE}.json`));
  await withSandbox(async ({ folder }) => {
    const DENORT_BIN = base === "official"
      ? undefined
      : (await run("sh", [`${ROOT}/scripts/denort.sh`], { env: { HOME: Deno.env.get("HOME")! } }))
        .stdout.trim();
    await Deno.writeTextFile(`${folder}/deno.json`, '{ "nodeModulesDir": "none" }');
    await Deno.writeTextFile(`${folder}/empty.js`, "");
    const empty = `${folder}/empty`;
    const compiled = await new Deno.Command(Deno.execPath(), {
      args: ["compile", "--quiet", "--no-code-cache", "--output", empty, "empty.js"],
      cwd: folder,
      env: DENORT_BIN === undefined ? {} : { DENORT_BIN },
    }).output();
    assert.ok(compiled.success, new TextDecoder().decode(compiled.stderr));

    // The least of some, taken in turns: other work on the machine only ever adds. Wanted is a
    // ratio of 1.6; it is no assertion, since a busy machine would decide it.
    const least = { empty: Infinity, realm: Infinity };
    for (let round = 0; round < ROUNDS; round++) {
      for (
        const [name, program, args] of [["empty", empty, []], ["realm", EXECUTABLE, [
          "--version",
        ]]] as const
      ) {
        const start = performance.now();
        const { status } = await run(program, [...args]);
        assert.equal(status, 0);
        least[name] = Math.min(least[name], performance.now() - start);
      }
    }
    const ratio = least.realm / least.empty;
    console.log(
      `empty ${least.empty.toFixed(0)} ms, realm --version ${least.realm.toFixed(0)} ms, ` +
        `ratio ${ratio.toFixed(2)}`,
    );
  });
});
