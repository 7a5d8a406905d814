import assert from "node:assert/strict";
import * as path from "node:path";
import { COMMANDS } from "../cli/app.ts";
import { GLOBAL_FLAGS } from "../cli/command_spec.ts";
import { commandTable } from "../cli/command_table.ts";
import { flagName } from "../cli/help.ts";
import { VERSION } from "../cli/version.ts";
import { stale } from "../scripts/docs.ts";
import { V8_FLAGS_ARGUMENT } from "../scripts/v8_flags.ts";

const ROOT = path.resolve(import.meta.dirname!, "..");
const TABLE = commandTable(COMMANDS);
const read = (file: string) => Deno.readTextFileSync(path.join(ROOT, file));
const DOCUMENTS = [
  ...["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md"],
  ...["docs", "docs/components"].flatMap((folder) =>
    Array.from(Deno.readDirSync(path.join(ROOT, folder)), ({ name }) => `${folder}/${name}`)
      .filter((file) => file.endsWith(".md")).sort()
  ),
];

Deno.test("the newest version of the changelog is the one of the program", () => {
  assert.equal(/^## (\S+?),/m.exec(read("CHANGELOG.md"))?.[1], VERSION);
});

Deno.test("documents link to files that are there", () => {
  for (const document of DOCUMENTS) {
    for (const [, target, anchor] of read(document).matchAll(/\]\(([^)#:]*)(?:#([^)]+))?\)/g)) {
      const file = path.join(path.dirname(document), target!);
      const linked = target === "" ? document : file;
      assert.doesNotThrow(() => Deno.statSync(path.join(ROOT, linked)), `${document}: ${target}`);
      if (anchor === undefined) continue;
      assert.ok(anchorsOf(read(linked)).includes(anchor), `${document}: ${target}#${anchor}`);
    }
  }
});

/** What headings of a document can be linked to by. */
function anchorsOf(text: string): string[] {
  return Array.from(
    text.matchAll(/^#+ (.*)$/gm),
    ([, heading]) => heading!.toLowerCase().replace(/[^\w\- ]/g, "").replaceAll(" ", "-"),
  );
}

Deno.test("what ./dev docs makes is up to date", () => {
  assert.deepEqual(stale(), [], "run ./dev docs");
});

Deno.test("documents name commands and flags that are there", () => {
  const problems = DOCUMENTS.filter((document) => document !== CONTRACT).flatMap((document) =>
    commandsIn(read(document)).filter(([word]) => word !== WRONG).flatMap((words) => {
      const problem = problemWith(words);
      return problem === undefined ? [] : [`${document}: ${words.join(" ")}: ${problem}`];
    })
  );
  assert.deepEqual(problems, []);
  // Else nothing would be looked at.
  assert.ok(DOCUMENTS.flatMap((document) => commandsIn(read(document))).length > 100);
  assert.match(problemWith(["nodes", "aprove", "x"])!, /nodes aprove/);
  assert.match(problemWith(["run", "--memry", "x"])!, /--memry/);
  assert.equal(problemWith(["nodes", "approve", "x", "--yes"]), undefined);
});

/** A slip that the README shows the answer to. */
const WRONG = "inti";
/** The whole contract, with commands that come later. */
const CONTRACT = "docs/cli.md";

/** The words after `realm` of each command that stands in code. */
function commandsIn(text: string): string[][] {
  const blocks = Array.from(
    text.matchAll(/^```(?!text)[^\n]+\n([^]*?)^```$/gm),
    ([, block]) => block!,
  );
  const indented = text.split("\n").filter((line) => line.startsWith("    "));
  const lines = [...blocks.flatMap((block) => block.split("\n")), ...indented]
    .flatMap((line) => /^\s*(?:[\w-]*\$ )?realm ([a-z-]+(?: .*)?)$/.exec(line)?.[1] ?? []);
  const spans = Array.from(text.matchAll(/`realm ([^`\n]+)`/g), ([, words]) => words!);
  return [...lines, ...spans].map((line) => {
    const [own] = line.split(/ (?:[|>&#;]|--) ?/);
    return own!.replace(/"\$\([^)]*\)"/g, "X").split(/\s+/).filter((word) => word !== "");
  });
}

/** What is wrong with the words of a command, as far as names go. */
function problemWith(words: readonly string[]): string | undefined {
  if (/^(?:-|[A-Z])/.test(words[0] ?? "-")) return undefined; // realm --version, realm COMMAND
  const found = TABLE.filter(({ path }) => path.every((word, i) => words[i] === word)).at(0);
  const isGroup = TABLE.some(({ path }) => words.length < path.length && path[0] === words[0]);
  if (found === undefined) {
    return isGroup || /^[^a-z]/.test(words[1] ?? "") && TABLE.some((e) => e.path[0] === words[0])
      ? undefined
      : `no command ${words.slice(0, 2).join(" ")}`;
  }
  const known = [...Object.keys(found.told.flags), ...Object.keys(GLOBAL_FLAGS), "help"]
    .map((name) => flagName(name));
  const flags = words.filter((word) => /^--[a-z]/.test(word))
    .map((word) => word.replace(/[^a-z-].*$/, ""));
  const unknown = flags.find((flag) => !known.includes(flag));
  return unknown === undefined ? undefined : `no flag ${unknown}`;
}

Deno.test("documents name tasks that are there", () => {
  const { tasks } = JSON.parse(read("deno.json")) as { tasks: Record<string, unknown> };
  const { scripts } = JSON.parse(read("package.json")) as { scripts: Record<string, string> };
  const named = [...DOCUMENTS.map(read), ...Object.values(scripts)].flatMap((text) =>
    Array.from(text.matchAll(/\.\/dev ([a-z0-9]+)/g), ([, task]) => task!)
  );
  assert.ok(named.length > 5);
  for (const task of named) assert.ok(task === "deno" || task in tasks, `./dev ${task}`);
});

Deno.test("./dev bench has the flags of the executable", () => {
  const { tasks } = JSON.parse(read("deno.json")) as { tasks: { bench: { command: string } } };
  assert.ok(tasks.bench.command.split(" ").includes(V8_FLAGS_ARGUMENT), tasks.bench.command);
});

Deno.test("ARCHITECTURE.md says of every dependency why it is there", () => {
  const { imports } = JSON.parse(read("deno.json")) as { imports: Record<string, string> };
  const used = Object.values(imports).map((specifier) =>
    /^npm:\/?((?:@[^/]+\/)?[^@/]+)@\d+\.\d+\.\d+/.exec(specifier)?.[1] ??
      assert.fail(`${specifier} is not pinned`)
  );
  const table = read("ARCHITECTURE.md").split("| package | for |")[1]!.split("\n\n")[0]!;
  const told = table.split("\n").flatMap((row) =>
    Array.from((row.split("|")[1] ?? "").matchAll(/`([^`]+)`/g), ([, name]) => name!)
  );
  assert.deepEqual([...new Set(told)].sort(), [...new Set(used)].sort());
});

Deno.test("package.json holds scripts alone: what it depended on would be embedded", () => {
  const { dependencies, devDependencies, license } = JSON.parse(read("package.json"));
  assert.deepEqual([dependencies, devDependencies], [undefined, undefined]);
  assert.equal(license, "AGPL-3.0-only");
  assert.match(read("LICENSE"), /^\s+GNU AFFERO GENERAL PUBLIC LICENSE\n\s+Version 3/);
});
