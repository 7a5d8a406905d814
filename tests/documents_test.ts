import assert from "node:assert/strict";
import * as path from "node:path";
import { VERSION } from "../cli/version.ts";

const ROOT = path.resolve(import.meta.dirname!, "..");
const read = (file: string) => Deno.readTextFileSync(path.join(ROOT, file));
const DOCUMENTS = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md"];

Deno.test("the newest version of the changelog is the one of the program", () => {
  assert.equal(/^## (\S+?),/m.exec(read("CHANGELOG.md"))?.[1], VERSION);
});

Deno.test("documents link to files that are there", () => {
  for (const document of DOCUMENTS) {
    for (const [, target] of read(document).matchAll(/\]\(([^)#:]+)\)/g)) {
      assert.doesNotThrow(() => Deno.statSync(path.join(ROOT, target!)), `${document}: ${target}`);
    }
  }
});

Deno.test("documents name tasks that are there", () => {
  const { tasks } = JSON.parse(read("deno.json")) as { tasks: Record<string, unknown> };
  const { scripts } = JSON.parse(read("package.json")) as { scripts: Record<string, string> };
  const named = [...DOCUMENTS.map(read), ...Object.values(scripts)].flatMap((text) =>
    Array.from(text.matchAll(/\.\/dev ([a-z0-9]+)/g), ([, task]) => task!)
  );
  assert.ok(named.length > 5);
  for (const task of named) assert.ok(task === "deno" || task in tasks, `./dev ${task}`);
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
