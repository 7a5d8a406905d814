/**
 * Writes the parts of the documents that are made from the program: `docs.ts [--check]`.
 *
 * Such a part stands between two comments, `<!-- made by ./dev docs: NAME -->` and
 * `<!-- end of NAME -->`. With `--check` nothing is written, and the exit status is 1 if a part is
 * not what the program says today.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { commandReference } from "./docs/command_reference.ts";
import { alarmTable, metricTable } from "./docs/observe_reference.ts";
import { manifestReference, policyReference } from "./docs/key_reference.ts";

const DOCS = fileURLToPath(new URL("../docs/", import.meta.url));

/** The parts by name, each with its file. */
const PARTS: Readonly<Record<string, { readonly file: string; readonly make: () => string }>> = {
  "keys of realm.toml": { file: "manifest.md", make: manifestReference },
  "keys of policy.toml": { file: "policy.md", make: policyReference },
  "alarms": { file: "alarms.md", make: alarmTable },
  "metrics": { file: "metrics.md", make: metricTable },
  "commands": { file: "commands.md", make: commandReference },
};

/** The documents as they have to be, by file name. */
export function documents(): Map<string, string> {
  const texts = new Map<string, string>();
  for (const [name, { file, make }] of Object.entries(PARTS)) {
    const text = texts.get(file) ?? Deno.readTextFileSync(DOCS + file);
    const [begin, end] = [`<!-- made by ./dev docs: ${name} -->`, `<!-- end of ${name} -->`];
    const [before, after] = [text.indexOf(begin), text.indexOf(end)];
    if (before < 0 || after < before) throw new Error(`docs/${file} has no place for ${name}`);
    texts.set(
      file,
      `${text.slice(0, before)}${begin}\n\n${make()}\n\n${text.slice(after)}`,
    );
  }
  return texts;
}

/** Names of documents whose made parts are not up to date. */
export function stale(): string[] {
  return [...documents()].filter(([file, text]) => Deno.readTextFileSync(DOCS + file) !== text)
    .map(([file]) => `docs/${file}`);
}

if (import.meta.main) {
  const files = stale();
  if (Deno.args.includes("--check")) {
    for (const file of files) console.error(`stale: ${file}, run ./dev docs`);
    Deno.exit(files.length === 0 ? 0 : 1);
  }
  for (const [file, text] of documents()) Deno.writeTextFileSync(DOCS + file, text);
  console.log(
    files.length === 0 ? "nothing to do" : files.map((file) => `wrote ${file}`).join("\n"),
  );
}
