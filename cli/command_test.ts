import assert from "node:assert/strict";
import { RealmError } from "../agent/kernel/error.ts";
import { command, type Invocation, type RealmCommand } from "./command.ts";
import {
  argument,
  defaulted,
  optional,
  parseInteger,
  parseText,
  repeated,
  toggle,
} from "./parameters.ts";
import { testShell } from "./shell_fake.ts";

/** Calls the command with what stricli would have parsed; how it ended. */
async function call(target: RealmCommand, flags: object, ...words: unknown[]) {
  const invocation: Invocation = {
    shell: testShell(),
    process: { stdout: { write() {} }, stderr: { write() {} } },
  };
  const loaded = await target.loader();
  const run = typeof loaded === "function" ? loaded : loaded.default;
  await run.call(invocation, { ...flags }, ...words as never[]);
  return invocation.outcome!;
}

Deno.test("command() gives switches that are not there the value false", async () => {
  let seen: unknown;
  const target = command({
    brief: "Test",
    flags: { all: toggle("All"), label: optional("Label", "TEXT", parseText) },
    run(context, flags) {
      seen = { ...flags, json: context.json };
    },
  });
  assert.deepEqual(await call(target, {}), { status: 0 });
  assert.deepEqual(seen, { all: false, json: false });
  await call(target, { all: true, label: "x", json: true });
  assert.deepEqual(seen, { all: true, label: "x", json: true });
});

Deno.test("command() parses each argument before the rest by its own parser", async () => {
  const target = command({
    brief: "Test",
    args: [argument("How many", "N", parseInteger()), argument("Which", "NAME", parseText)],
    rest: argument("Levels", "LEVEL", parseInteger(0, 9)),
    run: (_context, _flags, n, name, ...levels) => {
      assert.deepEqual([n, name, levels], [3, "x", [1, 2]]);
      return 42;
    },
  });
  assert.deepEqual(await call(target, {}, "3", "x", "1", "2"), { status: 42 });
  const outcome = await call(target, {}, "3", "x", "1", "10");
  assert.ok("error" in outcome && outcome.error instanceof RealmError);
  assert.equal(outcome.error.code, "usage");
  assert.match(
    outcome.error.message,
    /^Cannot read LEVEL: "10", wanted a whole number from 0 to 9$/,
  );
});

Deno.test("command() keeps what run throws as the outcome", async () => {
  const thrown = new RealmError("stale", "Cannot");
  const target = command({
    brief: "Test",
    run() {
      throw thrown;
    },
  });
  assert.deepEqual(await call(target, {}), { error: thrown });
});

Deno.test("takesValue() tells flags with a value, by name and by letter", () => {
  const target = command({
    brief: "Test",
    flags: {
      all: toggle("All"),
      allowHost: repeated("Hosts", "HOST", parseText),
    },
    aliases: { a: "all", H: "allowHost" },
    run() {},
  });
  for (const word of ["--allow-host", "--allowHost", "-H", "-aH", "--data", "--node"]) {
    assert.equal(target.takesValue(word), true, word);
  }
  for (const word of ["--all", "-a", "--json", "--unknown", "--constructor", "-x"]) {
    assert.equal(target.takesValue(word), false, word);
  }
});

Deno.test("command() tells in its help what the value of each flag looks like", () => {
  const target = command({
    brief: "Test",
    flags: {
      all: toggle("All of it"),
      envInherit: repeated("Passed on", "NAME", parseText),
      mode: defaulted("How", "fast|slow", parseText, "fast"),
    },
    aliases: { a: "all" },
    args: [argument("Which", "FILE", parseText)],
    rest: argument("Of the guest", "ARGS", parseText),
    run() {},
  });
  const help = target.formatHelp({ prefix: ["realm", "test"] } as never);
  assert.match(
    help,
    /^USAGE\n {2}realm test \[--all\] \[--env-inherit NAME\]… \[--mode fast\|slow\] FILE \[ARGS…\]\n/,
  );
  for (
    const row of [
      /^ {2}-a, --all +All of it$/m,
      /^ {2}--env-inherit NAME… +Passed on$/m,
      /^ {2}--mode fast\|slow +How \(default fast\)$/m,
      /^ {2}FILE +Which$/m,
      /^ {2}ARGS… +Of the guest$/m,
      /^ {2}--json +Print/m,
    ]
  ) assert.match(help, row);
});

Deno.test("command() tells in its help what it does, and then the rest", () => {
  const target = command({ brief: "Fork it", description: "Who takes part can check.", run() {} });
  const help = target.formatHelp({ prefix: ["realm", "test"] } as never);
  assert.match(help, /^Fork it\. Who takes part can check\.$/m);
});
