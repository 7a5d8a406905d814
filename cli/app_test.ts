import assert from "node:assert/strict";
import { RealmError } from "../agent/kernel/error.ts";
import { main, normalise } from "./app.ts";
import { Context } from "./context.ts";
import { testShell } from "./shell_fake.ts";
import { VERSION } from "./version.ts";

async function realm(...argv: string[]) {
  const shell = testShell();
  const status = await main(argv, shell);
  return { status, stdout: shell.text("stdout"), stderr: shell.text("stderr") };
}

Deno.test("main() prints the version, as text and as JSON", async () => {
  for (const argv of [["--version"], ["-V"]]) {
    assert.deepEqual(await realm(...argv), {
      status: 0,
      stdout: `realm ${VERSION}\n`,
      stderr: "",
    });
  }
  for (const argv of [["--json", "--version"], ["--version", "--json"]]) {
    assert.deepEqual(JSON.parse((await realm(...argv)).stdout), { version: VERSION });
  }
});

Deno.test("main() prints help where it is asked for, and where a command is missing", async () => {
  const asked = await realm("--help");
  assert.equal(asked.status, 0);
  assert.match(asked.stdout, /COMMANDS[^]*init {2}/);
  assert.doesNotMatch(asked.stdout, /__complete/, "hidden commands stay hidden");
  assert.doesNotMatch(asked.stdout, /\(--/, "no switch is shown as required");
  assert.match((await realm("init", "--help")).stdout, /--name[^]*--data/);
  assert.equal((await realm("init", "--help")).status, 0);
  assert.deepEqual(await realm(), { ...asked, status: 2 });
  assert.equal((await realm("key")).status, 2);
});

Deno.test("main() calls wrong usage wrong usage, and says what helps", async () => {
  const cases: [argv: string[], message: RegExp][] = [
    [["inti"], /^error\[usage\]: Cannot run "inti": .*\nhint: Did you mean init\n$/],
    [["xyzzy"], /^error\[usage\]: Cannot run "xyzzy": .*\nhint: Run realm --help for the list\n$/],
    [["constructor"], /^error\[usage\]: Cannot run "constructor"/],
    [["key", "shwo"], /hint: Did you mean show\n/],
    [["init", "--nmae", "x"], /--nmae, did you mean --name/],
    [["init", "--name", "Not A Label"], /Cannot read --name: "Not A Label", wanted 1 to 63 of/],
    [["init", "--name"], /Expected input for flag --name/],
    [["init", "superfluous"], /Too many arguments/],
    [["completions", "tcsh"], /Cannot read SHELL: "tcsh", wanted one of bash, zsh, fish/],
    [["completions"], /Expected argument for SHELL/],
  ];
  for (const [argv, message] of cases) {
    const { status, stdout, stderr } = await realm(...argv);
    assert.equal(status, 2, argv.join(" "));
    assert.equal(stdout, "");
    assert.match(stderr, message);
  }
});

Deno.test("main() prints errors as one JSON document with --json, wherever it stands", async () => {
  for (const argv of [["--json", "xyzzy"], ["xyzzy", "--json"], ["init", "--json", "--no"]]) {
    const { status, stderr } = await realm(...argv);
    assert.equal(status, 2);
    assert.equal(JSON.parse(stderr).error.code, "usage", argv.join(" "));
  }
});

Deno.test("main() proposes what may come next", async () => {
  const proposals = async (...words: string[]) =>
    (await realm("__complete", "--", ...words)).stdout.split("\n").map((line) =>
      line.split("\t")[0]
    );
  assert.ok((await proposals("")).includes("init"));
  assert.deepEqual(await proposals("ini"), ["init", ""]);
  assert.deepEqual(await proposals("key", "s"), ["show", ""]);
  assert.deepEqual(await proposals("init", "--nam"), ["--name", ""]);
  assert.ok(!(await proposals("_")).includes("__complete"));
});

Deno.test("normalise() puts global flags after the command, with their values", () => {
  const cases: [string, string][] = [
    ["--json init --name x", "init --json --name x"],
    ["--data /d key show", "key show --data /d"],
    ["--data=/d --quiet key show", "key show --data=/d --quiet"],
    ["init --json", "init --json"],
    ["--json xyzzy", "xyzzy --json"],
    ["--name x init", "--name x init"],
    ["--json", "--json"],
  ];
  for (const [given, wanted] of cases) {
    assert.equal(normalise(given.split(" ")).join(" "), wanted, given);
  }
});

Deno.test("normalise() ends a guest command's own words after its first argument", () => {
  const cases: [string, string][] = [
    ["__complete x --json", "__complete x -- --json"],
    ["__complete --data d x --data e", "__complete --data d x -- --data e"],
    ["__complete --data=d x y", "__complete --data=d x -- y"],
    ["__complete --json x --help", "__complete --json x -- --help"],
    ["__complete x -- --json", "__complete x -- --json"],
    ["__complete x a -- b", "__complete x -- a -- b"],
    ["__complete -- --json", "__complete -- --json"],
    ["__complete --json", "__complete --json"],
  ];
  for (const [given, wanted] of cases) {
    assert.equal(normalise(given.split(" ")).join(" "), wanted, given);
  }
});

Deno.test("Context finds the data folder: --data, REALM_HOME, then the home folder", () => {
  const flags = { json: false, quiet: false, verbose: false };
  const env = { HOME: "/home/ada", REALM_HOME: "/srv/realm" };
  const folder = (env: Record<string, string>, more = {}) =>
    new Context(testShell({ cwd: "/work", env }), { ...flags, ...more }).dataFolder;
  assert.equal(folder(env, { data: "here" }), "/work/here");
  assert.equal(folder(env), "/srv/realm");
  assert.equal(folder({ HOME: "/home/ada" }), "/home/ada/.realm");
  assert.equal(folder({ HOME: "/home/ada", REALM_HOME: "" }), "/home/ada/.realm");
  assert.throws(() => folder({}), (error: RealmError) => error.code === "usage");
});

Deno.test("Context prints results and notes where they belong", () => {
  const shell = testShell();
  const flags = { json: false, quiet: false, verbose: false };
  const text = new Context(shell, flags);
  text.print({ n: 1 }, () => "one");
  text.note("noted");
  text.detail("too much");
  new Context(shell, { ...flags, quiet: true }).note("hushed");
  new Context(shell, { ...flags, verbose: true }).detail("detailed");
  const json = new Context(shell, { ...flags, json: true });
  json.printLine({ n: 2 }, () => "two");
  json.printTable([{ n: 3 }], [{ title: "N", text: (row) => String(row.n) }]);
  assert.equal(shell.text("stdout"), 'one\n{"n":2}\n[\n  {\n    "n": 3\n  }\n]\n');
  assert.equal(shell.text("stderr"), "noted\ndetailed\n");
});

Deno.test("Context asks only where somebody can answer", async () => {
  const flags = { json: false, quiet: false, verbose: false };
  const terminal = { stdin: true, stdout: true, stderr: true };
  for (const [line, wanted] of [["y", true], ["Yes", true], ["n", false], ["", false]] as const) {
    const shell = testShell({ terminal, input: [line] });
    assert.equal(await new Context(shell, flags).confirm("Apply?", "--yes"), wanted, line);
    assert.equal(shell.text("stderr"), "Apply? [y/N] ");
  }
  assert.equal(await new Context(testShell({ terminal }), flags).confirm("?", "--yes"), false);
  const refused = [
    new Context(testShell({ input: ["y"] }), flags),
    new Context(testShell({ terminal, input: ["y"] }), { ...flags, json: true }),
  ];
  for (const context of refused) {
    await assert.rejects(
      context.confirm("Apply?", "--yes"),
      (error: RealmError) => error.code === "usage" && /wanted --yes/.test(error.message),
    );
  }
});

Deno.test("Context gives colour to terminals alone, and not against NO_COLOR", () => {
  const flags = { json: false, quiet: false, verbose: false };
  const terminal = { stdin: true, stdout: true, stderr: false };
  const context = (env: Record<string, string>) => new Context(testShell({ env, terminal }), flags);
  assert.equal(context({}).colour("stdout"), true);
  assert.equal(context({}).colour("stderr"), false);
  assert.equal(context({ NO_COLOR: "1" }).colour("stdout"), false);
  assert.equal(context({ NO_COLOR: "" }).colour("stdout"), true);
  assert.equal(context({ TERM: "dumb" }).colour("stdout"), false);
});
