/**
 * From the folder of a `bundle.toml` to a packed, signed bundle.
 *
 * A component may be there as it is, as a core module, or as the text of either: what is not yet a
 * component is made one. Nothing of it runs. Throws RealmError with what the author has to change.
 *
 * @module
 */
import { componentEmbed, componentNew, parse } from "@bytecodealliance/jco-transpile/wasm-tools";
import * as path from "node:path";
import { checkAsked } from "./apps/asked.ts";
import {
  BUNDLED_COMPONENT_BYTES_MAX,
  packBundle,
  type PackedBundle,
  type Role,
  unpackBundle,
  verifyBundle,
} from "./apps/bundle.ts";
import {
  type BundleFile,
  bundleOf,
  type ComponentFile,
  parseBundleToml,
} from "./apps/bundle_toml.ts";
import { rawCidOf } from "./apps/car.ts";
import { readBundleFile } from "./installed_apps.ts";
import { sha256HexSync } from "./kernel/canonical.ts";
import { RealmError } from "./kernel/error.ts";
import { formatPublicKey } from "./kernel/key.ts";
import type { SignatureBackend, Signer } from "./kernel/verify.ts";

/** Name of the file that says what is in a bundle. */
export const BUNDLE_FILE = "bundle.toml";

/** A bundle, and the bytes of its packed form. */
export interface BuiltBundle {
  readonly packed: PackedBundle;
  readonly bytes: Uint8Array;
}

/** Builds the bundle of a folder, signed by `signer`. */
export async function buildBundle(
  folder: string,
  signer: Signer,
  backend: SignatureBackend,
): Promise<BuiltBundle> {
  const name = path.join(folder, BUNDLE_FILE);
  const file = parseBundleToml(new TextDecoder().decode(await readSource(name)), name);
  const key = formatPublicKey(signer.publicKey);
  if (file.publisher !== undefined && file.publisher !== key) {
    throw new RealmError(
      "wrong-owner",
      `Cannot sign bundle: the key is ${key}, wanted publisher ${file.publisher} of ${name}`,
      { hint: "Name its key file with --key, or change publisher" },
    );
  }
  const components = new Map<Role, Uint8Array>();
  for (const [role, each] of file.components) {
    components.set(role, await buildComponent(folder, role, each));
  }
  const before = await followed(folder, file, backend);
  const bundle = bundleOf(file, {
    publisher: signer.publicKey,
    app: before?.app,
    components: new Map([...components].map(([role, bytes]) => [role, rawCidOf(bytes)])),
    modules: new Map(
      await Promise.all(
        [...file.modules].map(async ([label, { file }]) =>
          [label, rawCidOf(await readSource(path.resolve(folder, file)))] as const
        ),
      ),
    ),
  });
  checkAsked(bundle, components);
  const origin = before && { first: before.first, succession: before.succession };
  const bytes = await packBundle(bundle, components, signer, origin);
  const packed = unpackBundle(bytes);
  await verifyBundle(packed, backend);
  return { packed, bytes };
}

async function followed(
  folder: string,
  { follows }: BundleFile,
  backend: SignatureBackend,
): Promise<PackedBundle | undefined> {
  if (follows === undefined) return undefined;
  const packed = unpackBundle(await readBundleFile(path.resolve(folder, follows)));
  await verifyBundle(packed, backend);
  return packed;
}

async function buildComponent(
  folder: string,
  role: Role,
  { file, wit, sha256 }: ComponentFile,
): Promise<Uint8Array> {
  const source = path.resolve(folder, file);
  const bytes = await readSource(source);
  const component = await asComponent(
    bytes,
    async () =>
      wit === undefined
        ? undefined
        : new TextDecoder().decode(await readSource(path.resolve(folder, wit))),
  )
    .catch((cause) => {
      if (cause instanceof RealmError) throw cause;
      throw new RealmError(
        "invalid-module",
        `Cannot make ${role} of ${source}: ${firstLines(cause)}`,
        { cause, ...(wit === undefined && { hint: `Name its world with wit in ${BUNDLE_FILE}` }) },
      );
    });
  if (component.length > BUNDLED_COMPONENT_BYTES_MAX) {
    throw new RealmError(
      "limit-exceeded",
      `Cannot pack ${source}: ${component.length} bytes, wanted at most ${BUNDLED_COMPONENT_BYTES_MAX}`,
    );
  }
  const digest = sha256HexSync(component);
  if (sha256 !== undefined && sha256 !== digest) {
    throw new RealmError(
      "digest-mismatch",
      `Cannot pack ${source}: its sha256 is ${digest}, wanted ${sha256} of ${BUNDLE_FILE}`,
    );
  }
  return component;
}

/** What is a component already is left as it is, to the byte. */
async function asComponent(
  bytes: Uint8Array,
  wit: () => Promise<string | undefined>,
): Promise<Uint8Array> {
  const binary = isWasm(bytes) ? bytes : await parse(new TextDecoder().decode(bytes));
  if (binary[6] === 1) return binary; // the layer of the preamble: 0 is a core module
  const witSource = await wit();
  return await componentNew(
    witSource === undefined ? binary : await componentEmbed({ binary, witSource }),
  );
}

function isWasm(bytes: Uint8Array): boolean {
  return [0x00, 0x61, 0x73, 0x6d].every((byte, i) => bytes[i] === byte);
}

async function readSource(file: string): Promise<Uint8Array> {
  try {
    return await Deno.readFile(file);
  } catch (cause) {
    const missing = cause instanceof Deno.errors.NotFound;
    throw new RealmError(
      missing ? "not-found" : "failed",
      `Cannot read ${file}: ${missing ? "it does not exist" : (cause as Error).message}`,
      { cause, hint: "realm app new NAME makes a folder that builds" },
    );
  }
}

/** What the tools said, which goes on for pages where it could. */
function firstLines(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.trim().split("\n").slice(0, 8).join("\n").slice(0, 1000);
}
