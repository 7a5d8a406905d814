/**
 * A release: a manifest with the bytes and digests of its components, signed for an agent.
 *
 * `plan`, `apply` and `push` share these steps: read, resolve, sign, show what would change, and
 * hand over. What is read once is what is shown, signed and uploaded; files that change meanwhile
 * change nothing.
 *
 * @module
 */
import * as path from "node:path";
import type { ControlClient } from "../agent/control/client.ts";
import { RealmError } from "../agent/kernel/error.ts";
import type { Manifest } from "../agent/realm/manifest.ts";
import type { Context } from "./context.ts";
import { OWNER_KEY_FILE } from "./key.ts";
import { printable } from "./output.ts";

/** What an agent answers to a plan. */
export type PlanAnswer = Awaited<ReturnType<ControlClient["plan"]>>;
/** The manifest in force. */
export type CurrentManifest = NonNullable<Awaited<ReturnType<ControlClient["manifest"]>>>;

/** A manifest whose components are resolved. */
export interface Release {
  /** Names the manifest in messages. */
  readonly name: string;
  /** As written; this is what is signed. */
  readonly bytes: Uint8Array;
  readonly manifest: Manifest;
  /** sha256 of each component by its name. */
  readonly digests: ReadonlyMap<string, string>;
  /** Bytes of components by their digest; an agent may have those that are not here. */
  readonly blobs: ReadonlyMap<string, Uint8Array>;
}

/** A release with the owner's signature, ready to be applied. */
export interface SignedRelease extends Release {
  readonly version: number;
  /** The line of `realm.toml.sig`. */
  readonly signature: string;
}

/**
 * Reads a manifest, fetches its components and checks both; warnings are printed.
 *
 * Throws RealmError `not-found`, `invalid-config` with every problem and its line, `unsupported`,
 * `digest-mismatch` for a component that is not what the manifest pins, and what fetching throws.
 */
export async function readRelease(context: Context, file: string): Promise<Release> {
  const { parseManifest } = await import("../agent/realm/manifest.ts");
  const { requireSupported } = await import("../agent/realm/manifest_features.ts");
  const { fetchComponent } = await import("../agent/component_source.ts");
  const full = context.resolve(file);
  const bytes = await readManifest(full);
  const manifest = parseManifest(decodeText(bytes, file), file);
  for (const { line, path, message } of manifest.warnings) {
    context.note(`warning: ${file}:${line}: ${path} ${message}`);
  }
  requireSupported(manifest, file);
  const fetched = await Promise.all(
    [...manifest.components].map(async ([name, component]) => {
      const found = await fetchComponent(name, component, path.dirname(full));
      context.detail(`component ${name}: sha256 ${found.digest}, ${found.bytes.length} bytes`);
      return [name, found] as const;
    }),
  );
  return {
    name: file,
    bytes,
    manifest,
    digests: new Map(fetched.map(([name, { digest }]) => [name, digest])),
    blobs: new Map(fetched.map(([, { digest, bytes }]) => [digest, bytes])),
  };
}

/**
 * Signs a release with the owner key of the data folder, as the version after `current`.
 *
 * Throws RealmError `not-found` without a key, `wrong-owner` when the manifest is another's.
 */
export async function signRelease(
  context: Context,
  release: Release,
  current: CurrentManifest | null,
): Promise<SignedRelease> {
  const { formatPublicKey } = await import("../agent/kernel/key.ts");
  const { webCryptoBackend } = await import("../agent/kernel/signature_backends.ts");
  const { signerOf } = await import("../agent/kernel/verify.ts");
  const { formatManifestSignature, signManifest } = await import(
    "../agent/realm/manifest_signature.ts"
  );
  const { readKeyFile } = await import("./key_file.ts");
  const file = path.join(context.dataFolder, OWNER_KEY_FILE);
  const keys = await readKeyFile(file);
  const key = formatPublicKey(keys.publicKey);
  if (key !== release.manifest.owner) {
    throw new RealmError(
      "wrong-owner",
      `Cannot sign "${release.name}": its owner.pubkey is ${release.manifest.owner}, ` +
        `the key in ${file} is ${key}`,
      { hint: `Correct [owner] pubkey, or name the data folder of that owner with --data` },
    );
  }
  const version = (current?.version ?? 0) + 1;
  const signed = await signManifest(release.bytes, {
    version,
    digests: release.digests,
    signer: signerOf(keys, webCryptoBackend()),
  });
  return { ...release, version, signature: formatManifestSignature(signed) };
}

/**
 * What the agent would change. Throws RealmError `stale` when another manifest was applied since
 * `current` was asked for.
 */
export async function planRelease(
  agent: ControlClient,
  release: Release & { readonly signature?: string },
  current: CurrentManifest | null,
): Promise<PlanAnswer> {
  const plan = await agent.plan({
    manifest: release.bytes,
    ...(release.signature === undefined ? {} : { signature: release.signature }),
  });
  if (plan.currentVersion !== (current?.version ?? null)) throw overtaken(release.name);
  return plan;
}

/** Throws RealmError `policy` that lists what the node does not allow, if there is something. */
export function requireAllowed({ violations }: PlanAnswer, name: string): void {
  if (violations.length === 0) return;
  throw new RealmError(
    "policy",
    `Cannot apply "${name}": the policy of the node does not allow it:` +
      violations.map((violation) => `\n  ${violation}`).join(""),
    { hint: "Change the manifest, or policy.toml on the node" },
  );
}

/**
 * Uploads what the agent has not got and applies; `beforeApply` runs between the two.
 *
 * Throws RealmError `stale` when another manifest was applied in the meantime, and whatever the
 * agent refuses the manifest for.
 */
export async function applyRelease(
  context: Context,
  agent: ControlClient,
  release: SignedRelease,
  beforeApply: () => Promise<void> = () => Promise.resolve(),
): Promise<Awaited<ReturnType<ControlClient["apply"]>>> {
  for (const [digest, bytes] of release.blobs) {
    if (await agent.hasBlob(digest)) continue;
    context.detail(`uploading ${digest}, ${bytes.length} bytes`);
    await agent.putBlob(bytes);
  }
  await beforeApply();
  try {
    return await agent.apply({ manifest: release.bytes, signature: release.signature });
  } catch (error) {
    if (error instanceof RealmError && error.code === "stale") throw overtaken(release.name, error);
    throw error;
  }
}

function overtaken(name: string, cause?: unknown): RealmError {
  return new RealmError(
    "stale",
    `Cannot apply "${name}": another manifest was applied after the plan was made`,
    { hint: "Run the command again to see what would change now", cause },
  );
}

/** The plan as people read it. */
export async function formatPlan({ changes }: Pick<PlanAnswer, "changes">): Promise<string> {
  const { formatPlan } = await import("../agent/realm/plan.ts");
  return `${printable(formatPlan(changes))}\n`;
}

/**
 * Writes the signature beside its manifest: the whole of it or, when this fails, nothing.
 *
 * Throws RealmError `failed` when the file cannot be written.
 */
export async function writeSignature(file: string, signature: string): Promise<void> {
  const { fileError } = await import("./key_file.ts");
  const temporary = path.join(
    path.dirname(file),
    `.${path.basename(file)}.${crypto.randomUUID().slice(0, 8)}`,
  );
  try {
    {
      using handle = await Deno.open(temporary, { write: true, createNew: true, mode: 0o644 });
      let rest: Uint8Array = new TextEncoder().encode(`${signature}\n`);
      while (rest.length > 0) rest = rest.subarray(await handle.write(rest));
      await handle.sync();
    }
    await Deno.rename(temporary, file);
  } catch (error) {
    await Deno.remove(temporary).catch(() => {}); // It may not have been made.
    throw fileError("write", file, error);
  }
}

async function readManifest(file: string): Promise<Uint8Array> {
  try {
    return await Deno.readFile(file);
  } catch (error) {
    const { fileError } = await import("./key_file.ts");
    if (!(error instanceof Deno.errors.NotFound)) throw fileError("read", file, error);
    throw new RealmError("not-found", `Cannot read manifest "${file}": it does not exist`, {
      hint: "Run realm init, which writes a realm.toml to start from",
      cause: error,
    });
  }
}

/** Strict UTF-8: what is signed is what was parsed. */
export function decodeText(bytes: Uint8Array, name: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new RealmError("invalid-config", `Cannot read manifest "${name}": not UTF-8`, { cause });
  }
}
