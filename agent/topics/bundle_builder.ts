/**
 * From the folder of a `bundle.toml` to a packed, signed bundle.
 *
 * A component may be there as it is, as a core module, or as the text of either: what is not yet a
 * component is made one. Modules are composed into the components that have them. Nothing of it runs. Throws RealmError with what the author has to change.
 *
 * @module
 */
import {
  componentEmbed,
  componentNew,
  componentWit,
  parse,
} from "@bytecodealliance/jco-transpile/wasm-tools";
import * as path from "node:path";
import { checkAsked, nestedComponents } from "../apps/asked.ts";
import {
  BUNDLED_COMPONENT_BYTES_MAX,
  packBundle,
  type PackedBundle,
  type Role,
  succeed,
  type Succession,
  unpackBundle,
  verifyBundle,
} from "../apps/bundle.ts";
import {
  type BundleFile,
  bundleOf,
  type ComponentFile,
  parseBundleToml,
} from "../apps/bundle_toml.ts";
import { compareVersions } from "../apps/version.ts";
import { rawCidOf } from "../apps/car.ts";
import { readBundleFile } from "./installed_apps.ts";
import { sha256HexSync } from "../kernel/canonical.ts";
import { RealmError } from "../kernel/error.ts";
import { bytesEqual, formatPublicKey } from "../kernel/key.ts";
import type { SignatureBackend, Signer } from "../kernel/verify.ts";
import { compose, type Plug } from "../wasm/composition.ts";

/** Name of the file that says what is in a bundle. */
export const BUNDLE_FILE = "bundle.toml";

/** A bundle, and the bytes of its packed form. */
export interface BuiltBundle {
  readonly packed: PackedBundle;
  readonly bytes: Uint8Array;
}

/**
 * Builds the bundle of a folder, signed by `signer`. To `signer` the app is handed over by `former`, who
 * signed the bundle that this one follows; undefined where they are the same.
 */
export async function buildBundle(
  folder: string,
  signer: Signer,
  backend: SignatureBackend,
  former?: Signer,
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
  const modules = new Map<string, Uint8Array>();
  for (const [label, each] of file.modules) {
    modules.set(label, await buildComponent(folder, `module ${label}`, each));
  }
  const components = new Map<Role, Uint8Array>();
  for (const [role, each] of file.components) {
    const component = await buildComponent(folder, role, each);
    const plugs = [...file.modules].filter(([, { into }]) => into.includes(role))
      .map(([name]) => ({ name, bytes: modules.get(name)! }));
    components.set(role, await withModules(component, role, plugs));
  }
  const before = await followed(folder, file, backend);
  if (before !== undefined && compareVersions(file.version, before.bundle.version) <= 0) {
    throw new RealmError(
      "invalid-config",
      `Cannot build version ${file.version}: it follows ${before.bundle.version} ` +
        `(${file.follows}), wanted a later one`,
      { hint: `Raise version in ${name}` },
    );
  }
  const origin = before && {
    first: before.first,
    succession: await successionTo(signer, before, former, file.follows!),
  };
  if (former !== undefined && before === undefined) {
    throw new RealmError("usage", `Cannot hand the app over: it follows no bundle`, {
      hint: `Name its last bundle with follows in ${BUNDLE_FILE}`,
    });
  }
  const bundle = bundleOf(file, {
    publisher: signer.publicKey,
    app: before?.app,
    components: new Map([...components].map(([role, bytes]) => [role, rawCidOf(bytes)])),
    modules: new Map([...modules].map(([label, bytes]) => [label, rawCidOf(bytes)])),
  });
  checkAsked(bundle, components);
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

/** The steps from the first publisher to `signer`: those before, and one more where the key is another. */
async function successionTo(
  signer: Signer,
  { app, bundle: { publisher }, succession }: PackedBundle,
  former: Signer | undefined,
  follows: string,
): Promise<readonly Succession[]> {
  if (former === undefined && bytesEqual(signer.publicKey, publisher)) return succession;
  const by = former ?? signer;
  if (!bytesEqual(by.publicKey, publisher)) {
    throw new RealmError(
      "wrong-owner",
      `Cannot sign bundle: the ${former ? "former key" : "key"} is ` +
        `${formatPublicKey(by.publicKey)}, wanted ${
          formatPublicKey(publisher)
        }, who signed ${follows}`,
      {
        hint:
          "Name the file of that key with --key; or with --former-key, to hand the app over to " +
          "the other",
      },
    );
  }
  if (bytesEqual(signer.publicKey, publisher)) {
    throw new RealmError(
      "usage",
      `Cannot hand the app over: ${formatPublicKey(publisher)} is the key that has it`,
      { hint: "Name the file of another key with --key" },
    );
  }
  return [...succession, await succeed({ app, chain: succession, to: signer.publicKey }, by)];
}

async function buildComponent(
  folder: string,
  what: string,
  { file, wit, sha256 }: Partial<ComponentFile> & Pick<ComponentFile, "file">,
): Promise<Uint8Array> {
  const source = path.resolve(folder, file);
  const bytes = await readSource(source);
  const component = await asComponent(
    bytes,
    what,
    async () =>
      wit === undefined
        ? undefined
        : new TextDecoder().decode(await readSource(path.resolve(folder, wit))),
  )
    .catch((cause) => {
      if (cause instanceof RealmError) throw cause;
      throw new RealmError(
        "invalid-module",
        `Cannot make ${what} of ${source}: ${firstLines(cause)}`,
        { cause, ...(wit === undefined && { hint: `Name its world with wit in ${BUNDLE_FILE}` }) },
      );
    });
  checkSize(component, source);
  const digest = sha256HexSync(component);
  if (sha256 !== undefined && sha256 !== digest) {
    throw new RealmError(
      "digest-mismatch",
      `Cannot pack ${source}: its sha256 is ${digest}, wanted ${sha256} of ${BUNDLE_FILE}`,
    );
  }
  return component;
}

/** The component with its modules in it; those that were composed in before are left where they are. */
async function withModules(
  component: Uint8Array,
  role: Role,
  modules: readonly Plug[],
): Promise<Uint8Array> {
  const has = new Set([...nestedComponents(component)].map((each) => sha256HexSync(each)));
  const plugs = modules.filter(({ bytes }) => !has.has(sha256HexSync(bytes)));
  if (plugs.length === 0) return component;
  const composed = compose(component, plugs);
  checkSize(composed, `${role} with ${plugs.map(({ name }) => name).join(", ")}`);
  // The tools check all of it: that what is given is of the type that is wanted, too.
  await componentWit(composed).catch((cause) => {
    throw new RealmError(
      "invalid-module",
      `Cannot compose ${plugs.map(({ name }) => name).join(", ")} into ${role}: ` +
        firstLines(cause),
      { cause, hint: "Build component and module from the same WIT" },
    );
  });
  return composed;
}

function checkSize({ length }: Uint8Array, what: string): void {
  if (length <= BUNDLED_COMPONENT_BYTES_MAX) return;
  throw new RealmError(
    "limit-exceeded",
    `Cannot pack ${what}: ${length} bytes, wanted at most ${BUNDLED_COMPONENT_BYTES_MAX}`,
  );
}

/**
 * What is a component already is left as it is, to the byte. Of several worlds in the WIT the one
 * that is named like the role is meant.
 */
async function asComponent(
  bytes: Uint8Array,
  role: string,
  wit: () => Promise<string | undefined>,
): Promise<Uint8Array> {
  const binary = isWasm(bytes) ? bytes : await parse(new TextDecoder().decode(bytes));
  if (binary[6] === 1) return binary; // the layer of the preamble: 0 is a core module
  const witSource = await wit();
  if (witSource === undefined) return await componentNew(binary);
  const isNamed = new RegExp(`\\bworld\\s+${role}(?![\\w-])`).test(witSource);
  const world = isNamed ? { world: role } : {};
  return await componentNew(await componentEmbed({ binary, witSource, ...world }));
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
