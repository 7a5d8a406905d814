/**
 * The contracts of apps are frozen, and are in the program what they are in WIT.
 *
 * `wit/FROZEN` has a digest for every interface and world that was ever published. One that changes
 * is another contract under the same name: give it a new version, in a folder of its own.
 *
 * @module
 */
import { componentEmbed, componentNew } from "./wasm_tools.ts";
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import {
  CAPABILITIES,
  EXPORT,
  GRANTED,
  IMPORT,
  INTERFACES,
  MIGRATOR,
  PACKAGE,
  type Profile,
  PROFILES,
  VERSION,
} from "../agent/apps/contracts.ts";
import { checkProfile, profilesOf } from "../agent/apps/profile.ts";
import { HEALTH_EXPORT, HEALTH_FUNCTION } from "../agent/kernel/health_check.ts";
import { readBorder } from "../agent/wasm/border.ts";

const WIT = new URL("../wit/", import.meta.url);
const DESIGN = new URL("../docs/apps.md", import.meta.url);

/** All files of a version as one text, with one line that names the package. */
function source(folder: string): string {
  const names = [...Deno.readDirSync(new URL(folder, WIT))].map(({ name }) => name).sort();
  const texts = names.map((name) => Deno.readTextFileSync(new URL(`${folder}/${name}`, WIT)));
  const packages = new Set(texts.map((text) => /^package .*;$/m.exec(text)![0]));
  assert.equal(packages.size, 1, folder);
  return [...packages, ...texts.map((text) => text.replace(/^package .*\n/m, ""))].join("\n");
}

/** Digests by name, of the text of each interface and world without comments and spacing. */
function digests(wit: string): Map<string, string> {
  const text = wit.replace(/\/\/.*/g, "").replace(/\s+/g, " ");
  const [, name, version] = /package (\S+)@(\S+) ?;/.exec(text)!;
  const found = new Map<string, string>();
  for (
    const { 0: start, 1: kind, 2: of, index } of text.matchAll(/\b(interface|world) (\S+) \{/g)
  ) {
    let end = index + start.length;
    for (let depth = 1; depth > 0; end++) {
      if (text[end] === "{") depth++;
      else if (text[end] === "}") depth--;
    }
    const digest = createHash("sha256").update(text.slice(index, end)).digest("hex");
    found.set(`${kind} ${name}/${of}@${version}`, digest);
  }
  return found;
}

Deno.test("contracts that were published never change, and new ones are recorded", () => {
  const folders = [...Deno.readDirSync(WIT)].map(({ name }) => name)
    .filter((name) => name.startsWith("realm-")).sort();
  const now = new Map(folders.flatMap((folder) => [...digests(source(folder))]));
  const file = new URL("FROZEN", WIT);
  const frozen = new Map(
    Deno.readTextFileSync(file).split("\n").filter((line) => line !== "")
      .map((line) => [line.slice(66), line.slice(0, 64)]),
  );
  if (Deno.env.has("UPDATE")) {
    // Only what is new: what is there stays.
    const lines = [...new Map([...now, ...frozen])].sort().map(([name, of]) => `${of}  ${name}\n`);
    Deno.writeTextFileSync(file, lines.join(""));
    return;
  }
  for (const [name, digest] of frozen) {
    assert.equal(now.get(name), digest, `${name} was published: put the change into a new version`);
  }
  assert.deepEqual(
    [...now.keys()].filter((name) => !frozen.has(name)),
    [],
    "record what is new with UPDATE=1",
  );
  assert.ok(frozen.size >= 20);
});

Deno.test("the health export is what its WIT says", async () => {
  const witSource = source("realm-health-0.1.0");
  const bytes = await componentNew(
    await componentEmbed({ witSource, dummy: true, world: "checked" }),
  );
  const [exported, ...others] = readBorder(bytes).exports;
  assert.deepEqual([exported!.name, others.length], [HEALTH_EXPORT, 0]);
  assert.deepEqual([...exported!.functions], [["check", "() -> result<_, string>"]]);
  assert.ok(witSource.includes(`${HEALTH_FUNCTION};`));
});

Deno.test("digests() sees every change but comments and spacing", () => {
  const of = (body: string) => [...digests(`package a:b@1.0.0;\ninterface i { ${body} }`)];
  const one = of("f: func(a: u8);");
  assert.deepEqual(one.map(([name]) => name), ["interface a:b/i@1.0.0"]);
  assert.deepEqual(of("// x\n  f:  func(a: u8);"), of("f: func(a: u8);"));
  for (const body of ["f: func(a: u16);", "f: func(b: u8);", "f: func(a: u8); g: func();"]) {
    assert.notDeepEqual(of(body), one, body);
  }
  const two = digests(
    "package a:b@1.0.0;\ninterface i { record r { a: u8 } } world w { import i; }",
  );
  assert.deepEqual([...two.keys()], ["interface a:b/i@1.0.0", "world a:b/w@1.0.0"]);
});

/** A component of a world with everything in it, and no code. */
async function everything(world: string): Promise<Uint8Array> {
  const witSource = source(`realm-app-${VERSION}`);
  return await componentNew(await componentEmbed({ witSource, dummy: true, world }));
}

Deno.test("contracts.ts says what the WIT says", async () => {
  const seen: Record<string, Record<string, string>> = {};
  for (const profile of PROFILES) {
    const { imports, exports } = readBorder(await everything(profile));
    for (const { name, functions } of [...imports, ...exports]) {
      const short = name.slice(PACKAGE.length, -`@${VERSION}`.length);
      assert.equal(name, `${PACKAGE}${short}@${VERSION}`);
      const types = Object.fromEntries(functions);
      assert.deepEqual(seen[short] ??= types, types, short);
    }
    const of = (items: typeof imports) =>
      items.map(({ name }) => name.slice(PACKAGE.length, -`@${VERSION}`.length)).sort();
    const allowed = Object.keys(IMPORT).filter((name) => IMPORT[name]!.includes(profile)).sort();
    assert.deepEqual(of(imports), allowed, profile);
    assert.deepEqual(of(exports), [EXPORT[profile]]);
  }
  const { exports } = readBorder(await everything("state-apply-migrating"));
  const { functions } = exports.find(({ name }) => name === `${PACKAGE}${MIGRATOR}@${VERSION}`)!;
  seen[MIGRATOR] = Object.fromEntries(functions);
  assert.equal(exports.length, 2);
  assert.deepEqual(seen, INTERFACES);
});

Deno.test("a component of everything that a world has is of its profile, and of no other", async () => {
  for (const profile of PROFILES) {
    const bytes = await everything(profile);
    const grants = Object.values(GRANTED);
    assert.deepEqual(checkProfile(bytes, profile, grants).imports.length > 3, true);
    assert.deepEqual(profilesOf(bytes), [profile]);
    if (profile === "state-apply") {
      checkProfile(await everything("state-apply-migrating"), profile);
    }
    for (const other of PROFILES) {
      if (other === profile) continue;
      assert.throws(() => checkProfile(bytes, other, grants), { code: "refused" });
    }
  }
});

Deno.test("the matrix in docs/apps.md is that of the program", () => {
  const rows = Deno.readTextFileSync(DESIGN).split("\n").filter((line) => /^\| `/.test(line))
    .map((line) => line.split("|").slice(1, -1).map((cell) => cell.trim()));
  const allowed = (name: string, profile: Profile) => IMPORT[name]!.includes(profile);
  const written = rows.map(([names, ...cells]) => ({
    names: [...names!.matchAll(/`([a-z-]+)`/g)].map((match) => match[1]!),
    cells,
  }));
  assert.deepEqual(written.flatMap(({ names }) => names).sort(), Object.keys(IMPORT).sort());
  for (const { names, cells } of written) {
    for (const name of names) {
      for (const [i, profile] of PROFILES.entries()) {
        const wanted = !allowed(name, profile) ? "no" : GRANTED[name] ? "if granted" : "yes";
        assert.equal(cells[i]!.replace(/ \(.*\)/, ""), wanted, `${name} of ${profile}`);
      }
    }
  }
  for (const capability of Object.keys(CAPABILITIES)) {
    assert.match(Deno.readTextFileSync(DESIGN), new RegExp(`"${capability}"`));
  }
});
