/**
 * Makes a release: an executable for each platform, and what proves and describes them.
 *
 *     ./dev release --key FILE [--base TRIPLE=FILE]… [--output DIR]
 *
 * In the folder (`out/release`) are then the executables, `install.sh` with the key written in,
 * `realm-VERSION.cdx.json` (what they are made of, `sbom.ts`), `SHA256SUMS` over all that, and its
 * signature `SHA256SUMS.sig`. The key file is one as `realm init` writes them; its public half is
 * pinned in the executables.
 *
 * Each is built on the base binary of `deno compile` that `--base` names, else on the official one.
 * What `file` says of it has to fit its platform. The one for this platform is built twice, from a
 * bundle that is made twice, and has to be the same to the byte. A platform without a base binary
 * is named at the end, and the status is 1: the release is not whole.
 *
 * @module
 */
import * as path from "node:path";
import { bytesEqual, formatPublicKey } from "../agent/kernel/key.ts";
import { sha256Hex } from "../agent/kernel/sha256.ts";
import { webCryptoBackend } from "../agent/kernel/signature_backends.ts";
import { type Signer, signerOf } from "../agent/kernel/verify.ts";
import { readKeyFile } from "../cli/key_file.ts";
import { executableName } from "../cli/upgrade/release_place.ts";
import { formatSums, SIGNATURE_FILE, signSums, SUMS_FILE } from "../cli/upgrade/release_sums.ts";
import { VERSION } from "../cli/version.ts";
import { checkSize, compile, TARGETS, testBase } from "./build.ts";
import { bundle } from "./bundle.ts";
import { billOfMaterials, bundledPackages } from "./sbom.ts";
import { fail, ignoreNotFound, note, ROOT, WORK } from "./task.ts";

/** What `file` says of an executable of each platform. */
export const KINDS: Readonly<Record<string, RegExp>> = {
  "x86_64-unknown-linux-gnu": /^ELF 64-bit LSB .*x86-64/,
  "aarch64-unknown-linux-gnu": /^ELF 64-bit LSB .*aarch64/i,
  "x86_64-apple-darwin": /^Mach-O 64-bit .*x86_64/,
  "aarch64-apple-darwin": /^Mach-O 64-bit .*arm64/,
  "x86_64-pc-windows-msvc": /^PE32\+ executable.*x86-64/,
};

interface Asked {
  readonly key: string;
  readonly output: string;
  /** Base binaries by target. */
  readonly bases: ReadonlyMap<string, string>;
}

function readArguments(args: readonly string[]): Asked {
  const bases = new Map<string, string>();
  let key: string | undefined;
  let output = path.join(ROOT, "out", "release");
  for (let i = 0; i < args.length; i += 2) {
    const [name, value] = [args[i], args[i + 1]];
    const [target, file] = value?.split(/=(.*)/s) ?? [];
    if (name === "--key" && value !== undefined) key = path.resolve(value);
    else if (name === "--output" && value !== undefined) output = path.resolve(value);
    else if (name === "--base" && TARGETS.includes(target ?? "") && file) {
      bases.set(target!, path.resolve(file));
    } else {fail(
        `Cannot read ${args.slice(i).join(" ")}: wanted --key, --base TRIPLE=FILE, --output`,
      );}
  }
  if (key === undefined) fail("Cannot sign: there is no key, wanted --key FILE");
  return { key, output, bases };
}

/** The lines of `install.sh` with the key written in. */
export function withReleaseKey(script: string, publicKey: Uint8Array): string {
  const line = "\nrelease_key=''\n";
  if (script.split(line).length !== 2) fail("Cannot write the key into install.sh: it has changed");
  return script.replace(line, `\nrelease_key='${spki(publicKey)}'\n`);
}

/** A public key as openssl reads it (RFC 8410, section 4), in base64. */
function spki(publicKey: Uint8Array): string {
  const prefix = Uint8Array.fromHex("302a300506032b6570032100");
  return Uint8Array.of(...prefix, ...publicKey).toBase64();
}

/** Ends the release when the file is of another kind than its platform wants. */
async function checkKind(target: string, file: string): Promise<string> {
  const { success, stdout } = await new Deno.Command("file", { args: ["--brief", file] }).output()
    .catch(() => fail("Cannot check the executables: the program file is not installed"));
  const kind = new TextDecoder().decode(stdout).trim();
  if (!success || !KINDS[target]!.test(kind)) {
    fail(`Cannot release ${file}: it is "${kind}", wanted one for ${target}`);
  }
  return kind;
}

/** Builds once more for this platform, from the sources on; ends the release where it differs. */
async function checkReproducible(
  target: string,
  file: string,
  keys: readonly string[],
  base: string | undefined,
): Promise<void> {
  const again = path.join(WORK, "again", path.basename(file));
  await bundle(keys);
  await compile(target, again, base);
  const isSame = bytesEqual(await Deno.readFile(file), await Deno.readFile(again));
  await Deno.remove(again);
  if (!isSame) fail(`Cannot release ${file}: another build of the same sources differs from it`);
  note(`built twice for ${target}: the same to the byte`);
}

/** Writes the files beside the executables, and signs all of it. */
async function describe(folder: string, packages: Set<string>, signer: Signer): Promise<void> {
  const lock = JSON.parse(await Deno.readTextFile(path.join(ROOT, "deno.lock")));
  const about = { version: VERSION, deno: Deno.version.deno, bundled: packages };
  await Deno.writeTextFile(`${folder}/realm-${VERSION}.cdx.json`, billOfMaterials(lock, about));
  const script = await Deno.readTextFile(path.join(ROOT, "install.sh"));
  await Deno.writeTextFile(`${folder}/install.sh`, withReleaseKey(script, signer.publicKey));
  const sums = new Map<string, string>();
  for (const { name } of Deno.readDirSync(folder)) {
    sums.set(name, await sha256Hex(await Deno.readFile(path.join(folder, name))));
  }
  const text = new TextEncoder().encode(formatSums(sums));
  await Deno.writeFile(path.join(folder, SUMS_FILE), text);
  await Deno.writeTextFile(path.join(folder, SIGNATURE_FILE), await signSums(text, signer));
}

async function release({ key, output, bases }: Asked): Promise<void> {
  const signer = signerOf(await readKeyFile(key), webCryptoBackend());
  const keys = [formatPublicKey(signer.publicKey)];
  await Deno.remove(output, { recursive: true }).catch(ignoreNotFound);
  await Deno.mkdir(output, { recursive: true });
  const packages = bundledPackages(await bundle(keys));
  const missing: string[] = [];
  for (const target of TARGETS) {
    const file = path.join(output, executableName(target));
    const base = bases.get(target);
    if (!await compile(target, file, base)) {
      missing.push(target);
      continue;
    }
    const kind = await checkKind(target, file);
    checkSize(file, (await Deno.stat(file)).size);
    note(`${path.basename(file)}: ${kind}`);
  }
  const here = Deno.build.target;
  if (!missing.includes(here)) {
    await checkReproducible(here, path.join(output, executableName(here)), keys, bases.get(here));
  } else {
    // Not released; the bundle and what `deno compile` makes of it are looked at all the same.
    const base = await testBase(here);
    const file = path.join(WORK, `test-${executableName(here)}`);
    if (base !== undefined && await compile(here, file, base)) {
      await checkReproducible(here, file, keys, base);
      await Deno.remove(file);
    }
  }
  await describe(output, packages, signer);
  note(`release ${VERSION} in ${output}, signed by ${keys[0]}`);
  for (const target of missing) {
    note(`!!! NOT BUILT: ${target}: no base binary, neither given (--base) nor to be downloaded`);
  }
  if (missing.length > 0) fail(`Cannot call it whole: ${missing.length} of ${TARGETS.length} miss`);
}

if (import.meta.main) await release(readArguments(Deno.args));
