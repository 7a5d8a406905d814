import assert from "node:assert/strict";
import fc from "fast-check";
import { command, commands } from "./command.ts";
import { carryOut, declare, errorFormOf, exitStatus } from "./command_spec.ts";
import { dispatch } from "./dispatch.ts";
import { readPlain } from "./plain_words.ts";
import { run } from "./run.ts";
import { testShell } from "./shell_fake.ts";

/** What was left out is undefined, or not there. */
const present = (flags: object) =>
  Object.entries(flags).filter(([, value]) => value !== undefined).sort();

/** As `realm run` with these words; what the command was given, what was printed, the status. */
async function carried(
  argv: readonly string[],
  how: (spec: typeof run, shell: ReturnType<typeof testShell>) => Promise<number>,
) {
  let given: unknown;
  const spec = declare({
    ...run,
    run(context, flags, ...words) {
      given = { flags: present(flags), global: present(context.flags), words };
      return words.length;
    },
  }) as typeof run;
  const shell = testShell();
  const status = await how(spec, shell);
  return { argv, given, status, stdout: shell.text("stdout"), stderr: shell.text("stderr") };
}

const byStricli = (argv: readonly string[]) =>
  carried(argv, (spec, shell) => dispatch(commands("Test", { run: command(spec) }), argv, shell));

function plainly(argv: readonly string[]) {
  const read = readPlain("run", run, argv);
  return read && carried(argv, async (spec, shell) => {
    const { values, words } = read;
    const form = errorFormOf(shell, values.json === true);
    return exitStatus(await carryOut(spec, shell, values, words), shell, form);
  });
}

Deno.test("readPlain() gives a command what stricli gives it", async () => {
  const lines = [
    "run x.wasm",
    "--data d run x.wasm",
    "--data run run run",
    "--data=d --quiet run --env A=B --env=C=D --fuel 1000 x.wasm --fuel a",
    "run --json --stats --trace --isolation process x.wasm -- --stats --",
    "run --timeout=1m30s --memory-max-mb 64 --deny clock,random x.wasm -- --",
    "run x.wasm a -- b -",
    "run --keyvalue=a=b --node n x.wasm --help",
  ];
  for (const line of lines) {
    const argv = line.split(" ");
    const [plain, stricli] = [await plainly(argv), await byStricli(argv)];
    assert.ok(stricli.given, line);
    assert.deepEqual(plain, stricli);
  }
  // What is wrong with an argument is said when the command begins.
  assert.deepEqual(await plainly(["run", ""]), await byStricli(["run", ""]));
});

Deno.test("readPlain() leaves to stricli what is wrong or unusual", () => {
  const lines = [
    "",
    "run",
    "run --stats",
    "serve x.wasm",
    "--stats run x.wasm",
    "run --help x.wasm",
    "run -h x.wasm",
    "run -- x.wasm",
    "run - x.wasm",
    "run --fuel x.wasm",
    "run --fuel",
    "run --fuel= x.wasm",
    "run --fuel -1 x.wasm",
    "run --fuel 1 --fuel 2 x.wasm",
    "run --stats --stats x.wasm",
    "run --stats=true x.wasm",
    "run --no-stats x.wasm",
    "run --memoryMaxMb 1 x.wasm",
    "run --isolation jail x.wasm",
    "run --to-string x.wasm",
  ];
  for (const line of lines) assert.equal(readPlain("run", run, line.split(" ")), undefined, line);
});

Deno.test("readPlain() understands nothing that stricli understands otherwise", async () => {
  const word = fc.constantFrom(
    ...["run", "x.wasm", "a", "--", "-", "-x", "", "--json", "--quiet", "--data", "--data=d"],
    ...[
      "--env",
      "--env=A=B",
      "--env=A=\n",
      "A=B",
      "--fuel",
      "1000",
      "--fuel=5",
      "--stats",
      "--trace",
      "--help",
    ],
    ...["--deny", "clock", "--no-stats", "--isolation", "worker", "--isolation=process"],
    ...["--memory-max-mb", "--memoryMaxMb", "--timeout=1s", "--keyvalue", "---", "--data-", "--x"],
  );
  const argv = fc.tuple(fc.array(word, { maxLength: 2 }), fc.array(word, { maxLength: 7 }))
    .map(([before, after]) => [...before, "run", ...after]);
  await fc.assert(
    fc.asyncProperty(argv, async (words) => {
      const plain = await plainly(words);
      if (plain) assert.deepEqual(plain, await byStricli(words));
    }),
    { numRuns: 2_000 },
  );
});
