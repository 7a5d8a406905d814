/**
 * Programs behave under `realm run` as under `wasmtime run`: output, status, and what they leave
 * in a folder.
 *
 * Where wasmtime is installed both run, side by side; everywhere else realm is compared with what
 * wasmtime did when `wasmtime/golden.json` was recorded (`UPDATE=1` records anew). What differs on
 * purpose is listed in `docs/differences.md` and not in the cases here. `SLOW=1` runs more scripts.
 *
 * @module
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { fileURLToPath } from "node:url";
import { endOf, fixture, runGuest, withEngine } from "./guest.ts";
import { output, WASMTIME } from "./wasmtime/command.ts";
import { componentScript, moduleScript, prepareFolder } from "./wasmtime/scripts.ts";

const HERE = new URL("./wasmtime/", import.meta.url);
const GOLDEN = new URL("golden.json", HERE);
const UPDATE = Deno.env.get("UPDATE") === "1";
const SLOW = Deno.env.get("SLOW") === "1";

/** A program and what it is given. */
interface Case {
  readonly args?: readonly string[];
  readonly stdin?: string;
  readonly env?: readonly (readonly [string, string])[];
  /** Fills the folder that the program sees as `/data`. */
  readonly prepare?: (folder: string) => void;
  /** More of wasmtime's: what it leaves out unless told. */
  readonly options?: readonly string[];
  /** Only a digest of what came out is recorded. */
  readonly isLong?: boolean;
}

/** What came of it. A trap is one, however it is told. */
interface Outcome {
  readonly stdout: string;
  readonly stderr: string;
  readonly end: string;
  /** Everything in the folder, a line for each. */
  readonly folder: string;
}

type Run = (program: Program, the: Case) => Promise<Outcome>;

interface Program {
  readonly name: string;
  readonly bytes: Uint8Array;
}

const EVERY_BYTE = String.fromCodePoint(...Array.from({ length: 0x250 }, (_, i) => i));
const LINES = Array.from({ length: 20_000 }, (_, i) => `line ${i} of some length\n`).join("");

/** By name: the fixture, and in brackets what tells its cases apart. */
const CASES: Readonly<Record<string, Case>> = {
  "hello": {},
  "hello [argument]": { args: ["ünï 🦀"] },
  "hello-p1": {},
  "hello-p1 [argument]": { args: ["ünï 🦀"] },
  "env": {},
  "env [many]": {
    args: ["", "two words", "--flag", "-", "ü🦀", "=", "a=b"],
    env: [["A", "1"], ["EMPTY", ""], ["UNICODE", "ü🦀"], ["EQUALS", "a=b=c"], ["SPACE", " x "]],
  },
  "cat": {},
  "cat [some]": { stdin: "some\ntext" },
  "cat [every character]": { stdin: EVERY_BYTE },
  "cat [much]": { stdin: LINES, isLong: true },
  "cat [status]": { stdin: "x", env: [["CAT_EXIT", "7"]] },
  "worker": { args: ["6", "1"] },
  "files": {},
  "exit": {},
  "exit [0]": { args: ["0"] },
  "exit [1]": { args: ["1"] },
  "exit [7]": { args: ["7"] },
  "exit [7 as it is]": { args: ["7", "code"] },
  "exit [255 as it is]": { args: ["255", "code"] },
  "exit [error]": { args: ["err"] },
  "exit [panic]": { args: ["panic"] },
  "exit [trap]": { args: ["trap"] },
  "exit-p1": {},
  "exit-p1 [0]": { args: ["0"] },
  "exit-p1 [1]": { args: ["1"] },
  "exit-p1 [7]": { args: ["7"] },
  "exit-p1 [125]": { args: ["125"] },
  "exit-p1 [error]": { args: ["err"] },
  "exit-p1 [panic]": { args: ["panic"] },
  "exit-p1 [trap]": { args: ["trap"] },
  "grow": {},
  "http-types": { options: ["-Shttp"] },
  "interfaces": {},
  "memory-owner": { prepare: prepareFolder },
  ...scripts("descriptors", componentScript),
  ...scripts("descriptors-p1", moduleScript),
};

function scripts(
  name: string,
  make: (seed: number, count: number) => string,
): Record<string, Case> {
  const cases: Record<string, Case> = {
    [`${name} [short]`]: { stdin: make(0, 60), prepare: prepareFolder },
  };
  for (let seed = 1; seed <= 6; seed++) {
    cases[`${name} [${seed}]`] = { stdin: make(seed, 400), prepare: prepareFolder, isLong: true };
  }
  return cases;
}

function describe(folder: string): string {
  const lines: string[] = [];
  const walk = (path: string) => {
    const names = [...Deno.readDirSync(folder + path)].map((entry) => entry.name).sort();
    for (const name of names) {
      const below = `${path}/${name}`, at = folder + below;
      const { isDirectory, isSymlink, size, nlink, mtime } = Deno.lstatSync(at);
      if (isSymlink) lines.push(`${below} -> ${Deno.readLinkSync(at)}`);
      else if (isDirectory) {
        lines.push(`${below}/`);
        walk(below);
      } else {
        // Of a time that nobody set only that it is no other.
        const isNow = Math.abs(Date.now() - mtime!.getTime()) < 3_600_000;
        const digest = size < 2 ** 20
          ? createHash("sha256").update(Deno.readFileSync(at)).digest("hex").slice(0, 12)
          : "large";
        const time = isNow ? "now" : mtime!.toISOString();
        lines.push(`${below} ${size} bytes ${digest}, ${nlink} links, ${time}`);
      }
    }
  };
  walk("");
  return lines.join("\n");
}

async function inFolder<T>(the: Case, run: (folder: string) => Promise<T>): Promise<T> {
  const folder = await Deno.makeTempDir();
  try {
    the.prepare?.(folder);
    return await run(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** wasmtime ends so when a guest trapped: it aborts. */
const WASMTIME_TRAPPED = 134;

const underWasmtime: Run = ({ name, bytes }, the) =>
  inFolder(the, async (folder) => {
    const file = await Deno.makeTempFile({ suffix: ".wasm" });
    try {
      await Deno.writeFile(file, bytes);
      const env = (the.env ?? []).flatMap(([key, value]) => ["--env", `${key}=${value}`]);
      const args = [
        "run",
        "--argv0",
        name,
        "--dir",
        `${folder}::/data`,
        ...the.options ?? [],
        ...env,
        file,
        ...the.args ?? [],
      ];
      const { code, stdout, stderr } = await output(WASMTIME!, args, the.stdin);
      const end = code === WASMTIME_TRAPPED ? "trap" : `exit ${code}`;
      // What the guest wrote, without what wasmtime says of the trap.
      const said = end === "trap"
        ? stderr.slice(0, stderr.indexOf("Error: failed to run"))
        : stderr;
      return { stdout, stderr: said, end, folder: describe(folder) };
    } finally {
      await Deno.remove(file);
    }
  });

/** Ends that are a trap to wasmtime, which has no such limits set. */
const TRAPS = new Set(["trap", "memory-limit"]);

function underRealm(engine: Parameters<Parameters<typeof withEngine>[0]>[0]): Run {
  return ({ name, bytes }, the) =>
    inFolder(the, async (folder) => {
      const hostPath = await Deno.realPath(folder);
      const { exit, stdout, stderr, notices } = await runGuest(engine, name, {
        args: the.args ?? [],
        stdin: the.stdin ?? "",
        component: bytes,
        grants: {
          env: the.env ?? [],
          mounts: [{ hostPath, guestPath: "/data", writable: true }],
        },
        limits: { memoryBytesMax: 4096 * 1024 * 1024 },
      });
      assert.deepEqual(notices, [], "nothing is denied");
      const end = TRAPS.has(endOf(exit)) ? "trap" : endOf(exit);
      return { stdout, stderr, end, folder: describe(folder) };
    });
}

function digested({ stdout, stderr, end, folder }: Outcome): Outcome {
  const digest = (text: string) =>
    `${text.length} characters ${createHash("sha256").update(text).digest("hex")}`;
  return { stdout: digest(stdout), stderr: digest(stderr), end, folder: digest(folder) };
}

const golden: Record<string, Outcome> = JSON.parse(Deno.readTextFileSync(GOLDEN));

if (UPDATE && WASMTIME === undefined) throw new Error("Cannot record: there is no wasmtime");
if (WASMTIME === undefined) {
  console.log("There is no wasmtime: realm is compared with what was recorded");
}

Deno.test("as under wasmtime: fixtures", (t) =>
  withEngine(async (engine) => {
    const run = underRealm(engine);
    for (const [name, the] of Object.entries(CASES)) {
      await t.step(name, async () => {
        const fixtureName = name.split(" ")[0]!;
        const program = { name: fixtureName, bytes: await fixture(fixtureName) };
        const [ours, theirs] = await Promise.all([
          run(program, the),
          WASMTIME && underWasmtime(program, the),
        ]);
        const short = (outcome: Outcome) => the.isLong ? digested(outcome) : outcome;
        if (theirs) assert.deepEqual(ours, theirs);
        if (theirs && UPDATE) golden[name] = short(theirs);
        // Codes and the order of checks are those of Linux.
        if (Deno.build.os === "linux") assert.deepEqual(short(ours), golden[name]);
      });
    }
  }));

Deno.test("what was recorded of wasmtime is of the cases here", async () => {
  if (UPDATE) {
    const recorded = Object.fromEntries(Object.keys(CASES).map((name) => [name, golden[name]]));
    await Deno.writeTextFile(GOLDEN, `${JSON.stringify(recorded, null, 2)}\n`);
  }
  assert.deepEqual(
    Object.keys(JSON.parse(await Deno.readTextFile(GOLDEN))),
    Object.keys(CASES),
  );
});

Deno.test({
  name: "as under wasmtime: random scripts",
  ignore: WASMTIME === undefined || !SLOW,
  fn: () =>
    withEngine(async (engine) => {
      const run = underRealm(engine);
      for (
        const [name, make] of [
          ["descriptors", componentScript],
          ["descriptors-p1", moduleScript],
        ] as const
      ) {
        const program = { name, bytes: await fixture(name) };
        const first = Number(Deno.env.get("SEED") ?? 100);
        for (let seed = first; seed < first + 40; seed++) {
          const the = { stdin: make(seed, 400), prepare: prepareFolder };
          assert.deepEqual(
            await run(program, the),
            await underWasmtime(program, the),
            `${name} SEED=${seed}`,
          );
        }
      }
    }),
});

const GO = (() => {
  try {
    return new Deno.Command("go", { args: ["version"] }).outputSync().success;
  } catch {
    return false;
  }
})();

if (!GO) console.log("skipped: a program of Go, since go is not on the PATH");
if (!SLOW) console.log("skipped: random scripts, which SLOW=1 runs");

const GO_CASES: Readonly<Record<string, Case>> = {
  "files": {},
  "descriptors": {},
  "environment": { args: ["environment", "", "two words"], env: [["A", "1"], ["EMPTY", ""]] },
  "lines": { stdin: "one\ntwo\n\nlast" },
  "select": {},
  "goroutines": {},
  "memory": {},
  "json": {},
  "recover": {},
  "exit": { args: ["exit", "5"] },
  "panic": {},
  "nil": {},
  "deadlock": {},
};

Deno.test({
  name: "as under wasmtime: a program of Go",
  ignore: !GO || WASMTIME === undefined,
  fn: () =>
    withEngine(async (engine) => {
      const folder = await Deno.makeTempDir();
      try {
        const built = await new Deno.Command("go", {
          args: ["build", "-ldflags=-s -w", "-o", `${folder}/go.wasm`, "main.go"],
          cwd: fileURLToPath(new URL("go/", HERE)),
          env: { GOOS: "wasip1", GOARCH: "wasm", GO111MODULE: "off", CGO_ENABLED: "0" },
        }).output();
        assert.ok(built.success, new TextDecoder().decode(built.stderr));
        const program = { name: "go", bytes: await Deno.readFile(`${folder}/go.wasm`) };
        for (const [name, given] of Object.entries(GO_CASES)) {
          const the = { args: [name], ...given };
          const [ours, theirs] = await Promise.all([
            underRealm(engine)(program, the),
            underWasmtime(program, the),
          ]);
          assert.deepEqual(ours, theirs, name);
        }
      } finally {
        await Deno.remove(folder, { recursive: true });
      }
    }),
});

Deno.test("realm run gives the streams, the status and the folder to the guest as they are", () =>
  inFolder({ prepare: prepareFolder }, async (folder) => {
    const main = fileURLToPath(new URL("../main.ts", import.meta.url));
    const run = (name: string, args: readonly string[], stdin = "") => {
      const file = fileURLToPath(new URL(`../fixtures/${name}.wasm`, import.meta.url));
      const given = ["run", "-A", main, "run", "--dir", `${folder}::/data`, file, "--", ...args];
      return output(Deno.execPath(), given, stdin);
    };
    const [cat, exit, trap, files, script] = await Promise.all([
      run("cat", [], "in and out"),
      run("exit-p1", ["7"]),
      run("exit", ["trap"]),
      run("files", []),
      run("descriptors-p1", [], "path_create_directory\t3\tmade\nfd_readdir\t3\t4096\t0\n"),
    ]);
    assert.deepEqual(cat, { code: 0, stdout: "in and out", stderr: "copied 10 bytes\n" });
    assert.deepEqual(exit, { code: 7, stdout: "", stderr: "" });
    assert.equal(trap.code, 101);
    assert.match(trap.stderr, /^error\[trap\]: /);
    assert.equal(files.code, 0, files.stderr);
    assert.match(script.stdout, /^1 path_create_directory: ok\n2 fd_readdir: ".*"made" 3/);
    assert.ok(Deno.statSync(`${folder}/made`).isDirectory);
  }));
