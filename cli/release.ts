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
import type { EventContent, SignedEvent } from "../agent/kernel/event.ts";
import type { ComponentSpec, Manifest } from "../agent/realm/manifest.ts";
import type { ManifestSignature } from "../agent/realm/manifest_signature.ts";
import type { Author, EventsAnswer } from "./author.ts";
import type { Context } from "./context.ts";
import { withAgent } from "./connection.ts";
import { GENESIS_FILE } from "./key.ts";
import type { NodeStatus } from "./nodes.ts";
import { machineOf } from "./machine.ts";
import { printable } from "./output.ts";
import { ProgressLine } from "./progress.ts";

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
  readonly signature: ManifestSignature;
}

/**
 * Reads a manifest, fetches its components and checks both; warnings are printed.
 *
 * Throws RealmError `not-found`, `invalid-config` with every problem and its line, `unsupported`,
 * `digest-mismatch` for a component that is not what the manifest pins, and what fetching throws.
 */
export async function readRelease(context: Context, file: string): Promise<Release> {
  const { parseManifest } = await import("../agent/realm/manifest.ts");
  const { fetchComponent } = await import("../agent/node/component_source.ts");
  const full = context.resolve(file);
  const bytes = await readManifest(full);
  const manifest = parseManifest(decodeText(bytes, file), file);
  for (const { line, path, message } of manifest.warnings) {
    context.note(`warning: ${file}:${line}: ${path} ${message}`);
  }
  const progress = new ProgressLine(context);
  const machine = machineOf(context.shell);
  let fetched;
  try {
    fetched = await Promise.all(
      [...manifest.components].map(async ([name, component]) => {
        const found = await fetchComponent(name, component, {
          folder: path.dirname(full),
          machine,
          peerBlob: (digest) => withAgent(context, (agent) => agent.getBlob(digest)),
          progress: (done, total) => progress.update(name, done, total),
          stored: () => storedBytes(context, name, component),
        });
        context.detail(`component ${name}: sha256 ${found.digest}, ${found.bytes.length} bytes`);
        return [name, found] as const;
      }),
    );
  } finally {
    progress.end();
  }
  return {
    name: file,
    bytes,
    manifest,
    digests: new Map(fetched.map(([name, { digest }]) => [name, digest])),
    blobs: new Map(fetched.map(([, { digest, bytes }]) => [digest, bytes])),
  };
}

/**
 * What the agent has of a component whose source cannot be reached: the bytes that the manifest
 * pins, else those that the manifest in force has from the same source.
 */
async function storedBytes(
  context: Context,
  name: string,
  { source, sha256 }: ComponentSpec,
): Promise<Uint8Array | undefined> {
  const { parseManifest } = await import("../agent/realm/manifest.ts");
  const { parseManifestSignature } = await import("../agent/realm/manifest_signature.ts");
  try {
    return await withAgent(context, async (agent) => {
      let digest = sha256;
      if (digest === undefined) {
        const current = await agent.manifest();
        if (current === null) return undefined;
        const text = decodeText(current.manifest, "the manifest in force");
        const before = parseManifest(text, "the manifest in force").components.get(name);
        if (before?.source !== source) return undefined;
        digest = parseManifestSignature(current.signature).digests.get(name);
      }
      if (digest === undefined) return undefined;
      const bytes = await agent.getBlob(digest);
      context.note(`${source} cannot be reached: ${name} stays sha256:${digest}, of the store`);
      return bytes;
    });
  } catch (error) {
    // Why the source cannot be reached says more than that the agent has nothing of it.
    if (error instanceof RealmError) return undefined;
    throw error;
  }
}

/** The version of the next manifest: above the one in force, and above all of the log. */
export async function nextVersion(
  agent: ControlClient,
  author: Author,
  current: CurrentManifest | null,
): Promise<number> {
  const place = await agent.place(author.key);
  return Math.max(current?.version ?? 0, place?.versionMax ?? 0) + 1;
}

/**
 * Signs a release with the owner's key.
 *
 * Throws RealmError `wrong-owner` when the manifest is another's.
 */
export async function signRelease(
  author: Author,
  release: Release,
  version: number,
): Promise<SignedRelease> {
  const { signManifest } = await import("../agent/realm/manifest_signature.ts");
  const { key, file } = author;
  if (key !== release.manifest.owner) {
    throw new RealmError(
      "wrong-owner",
      `Cannot sign "${release.name}": its owner.pubkey is ${release.manifest.owner}, ` +
        `the key in ${file} is ${key}`,
      { hint: `Correct [owner] pubkey, or name the data folder of that owner with --data` },
    );
  }
  const { digests } = release;
  const signature = await signManifest(release.bytes, { version, digests, signer: author.signer });
  return { ...release, version, signature };
}

/** What applying a release does beside putting its manifest in force. */
export interface Beginning {
  /** The first event of the control log, where there is no log yet. */
  readonly genesis?: SignedEvent;
  /** The agent's own node, where it does not belong to the realm yet. */
  readonly approves?: Pick<NodeStatus, "name" | "key">;
  /** Whether it joins branches on which the owner's key wrote at once. */
  readonly joins: boolean;
  /** What went back from a release that failed, and is tried again by a new version of the same. */
  readonly retries: readonly { readonly component: string; readonly version: number }[];
  /** Numbers of replicas that were set before there was a log. */
  readonly scales: readonly { readonly component: string; readonly replicas: number }[];
}

/** How {@link applyRelease} hands over. */
export interface ApplyOptions {
  readonly beginning?: Beginning;
  /** The plan that was shown, and what was in force then. */
  readonly plan: PlanAnswer;
  readonly current: CurrentManifest | null;
  /** Whether somebody confirmed that very plan. Otherwise another is made where nodes come or go. */
  readonly isConfirmed: boolean;
  /** Runs after the upload and before the apply. */
  readonly beforeApply?: () => Promise<void>;
}

/**
 * What has to come before the manifest: the first apply begins the control log and approves the
 * node of the agent that it talks to.
 *
 * Throws RealmError `not-found` where a log has to begin and its genesis is not in the data
 * folder, and `refused` when another node has this one's name, or this one was revoked.
 */
export async function beginningOf(
  context: Context,
  agent: ControlClient,
  author: Author,
  manifest: Manifest,
  { changes }: Pick<PlanAnswer, "changes">,
): Promise<Beginning> {
  const [place, { node, components }, nodes] = await Promise.all([
    agent.place(author.key),
    agent.status(),
    agent.nodes(),
  ]);
  const own = nodes.find(({ self }) => self)?.state;
  if (own === "revoked") {
    throw new RealmError(
      "refused",
      `Cannot apply by way of ${node.name}: it was revoked, no other machine hears from it`,
      { hint: "Start its agent on a new data folder, which gives it a new key" },
    );
  }
  const isApproved = own === "approved";
  const { requireNameFree } = await import("./nodes.ts");
  if (!isApproved) requireNameFree(nodes, node);
  const { readGenesis } = await import("./key_file.ts");
  // A component that changes is not tried again: it is another.
  const changed = new Set(
    changes.flatMap(({ subject, name }) => subject === "component" ? [name] : []),
  );
  return {
    ...(place === null
      ? { genesis: await readGenesis(path.join(context.dataFolder, GENESIS_FILE)) }
      : {}),
    ...(isApproved ? {} : { approves: { name: node.name, key: node.key } }),
    joins: place?.forked ?? false,
    retries: components.flatMap(({ name, rollout }) =>
      manifest.components.has(name) && !changed.has(name) &&
        (rollout?.state === "returned" || rollout?.state === "returning")
        ? [{ component: name, version: rollout.failure?.version ?? rollout.version }]
        : []
    ),
    scales: place !== null
      ? []
      : components.flatMap(({ name, scaledTo }) =>
        scaledTo === null ? [] : [{ component: name, replicas: scaledTo }]
      ),
  };
}

/**
 * What the agent would change. Throws RealmError `stale` when another manifest was applied since
 * `current` was asked for.
 */
export async function planRelease(
  agent: ControlClient,
  release: Release & { readonly signature?: ManifestSignature },
  current: CurrentManifest | null,
): Promise<PlanAnswer> {
  const { formatManifestSignature } = await import("../agent/realm/manifest_signature.ts");
  const { signature } = release;
  const plan = await agent.plan({
    manifest: release.bytes,
    ...(signature === undefined ? {} : { signature: formatManifestSignature(signature) }),
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

/** Uploads the bytes of components that the agent has not got, or not any more. */
export async function sendMissing(
  context: Context,
  agent: Pick<ControlClient, "hasBlob" | "putBlob">,
  { blobs }: Pick<Release, "blobs">,
): Promise<void> {
  for (const [digest, bytes] of blobs) {
    if (await agent.hasBlob(digest)) continue;
    context.detail(`uploading ${digest}, ${bytes.length} bytes`);
    await agent.putBlob(bytes);
  }
}

/** How often a plan that nobody confirmed is made again before it is given up. */
const PLANS_MAX = 5;

/**
 * Uploads what the agent has not got and applies.
 *
 * Throws RealmError `stale` when another manifest was applied in the meantime, or nodes would do
 * something else than what was confirmed, and whatever the agent refuses the manifest for.
 */
export async function applyRelease(
  context: Context,
  agent: ControlClient,
  author: Author,
  release: SignedRelease,
  {
    beginning = { joins: false, retries: [], scales: [] },
    plan,
    current,
    isConfirmed,
    beforeApply,
  }: ApplyOptions,
): Promise<EventsAnswer> {
  const { controlContent } = await import("../agent/realm/control_event.ts");
  const { PublishedDigests } = await import("../agent/realm/published.ts");
  await sendMissing(context, agent, release);
  await beforeApply?.();
  const { bytes: manifestBytes, signature, digests } = release;
  let { world } = plan;
  for (let plans = 1;; plans++) {
    const contents = [
      ...await approvals(beginning),
      ...await seals(context, agent, author, release.manifest, beginning),
      (published: readonly string[]) => {
        const tree = new PublishedDigests(published).add(digests.values()).head;
        return controlContent({ kind: "manifest", manifestBytes, signature, tree });
      },
      ...beginning.scales.filter(({ component }) => digests.has(component))
        .map((scale) => controlContent({ kind: "scale", ...scale, node: null })),
    ];
    try {
      return await author.append(agent, contents, { genesis: beginning.genesis, world });
    } catch (error) {
      if (!(error instanceof RealmError) || error.code !== "stale") throw error;
      const now = await planRelease(agent, release, current);
      if (isConfirmed || plans === PLANS_MAX) throw error;
      requireAllowed(now, release.name);
      context.note("The realm is another one than when the plan was made, which now is:");
      context.note(await formatPlan(now, beginning));
      ({ world } = now);
    }
  }
}

/** The event that approves the agent's own node, where that is asked for. */
export async function approvals({ approves }: Beginning): Promise<EventContent[]> {
  const { controlContent } = await import("../agent/realm/control_event.ts");
  return approves === undefined ? [] : [controlContent({ kind: "approve", ...approves })];
}

/** Events that seal secrets to nodes that lack them under a manifest. */
export async function seals(
  context: Context,
  agent: ControlClient,
  author: Author,
  manifest: Manifest,
  { approves }: Pick<Beginning, "approves">,
): Promise<EventContent[]> {
  if (manifest.secrets.size === 0) return [];
  const { sealsOwed } = await import("./secrets.ts");
  const owed = await sealsOwed(
    context,
    agent,
    author,
    manifest,
    approves === undefined ? [] : [approves],
  );
  return owed.map(({ content }) => content);
}

function overtaken(name: string): RealmError {
  return new RealmError(
    "stale",
    `Cannot apply "${name}": another manifest was applied after the plan was made`,
    { hint: "Run the command again to see what would change now" },
  );
}

/** The plan as people read it: what changes, and what each node does about it. */
export async function formatPlan(
  plan: Pick<PlanAnswer, "changes" | "steps" | "unplaced" | "refusing">,
  { approves, joins, retries = [] }: Partial<Beginning> = {},
  colour = false,
): Promise<string> {
  const { formatPlan } = await import("../agent/realm/plan.ts");
  const { formatSteps } = await import("../agent/realm/node_plan.ts");
  const paint = (code: number, text: string) => colour ? `\x1b[${code}m${text}\x1b[0m` : text;
  const approval = approves === undefined
    ? ""
    : `+ approves this node ${approves.name} ${approves.key}\n`;
  const join = joins ? "! joins what the owner's key signed on two machines at once\n" : "";
  const retry = retries.map(({ component, version }) =>
    `! tries ${component} again, which went back from version ${version}\n`
  ).join("");
  const changes = printable(`${approval}${join}${retry}${formatPlan(plan.changes)}\n`)
    .replaceAll(/^[+~!-] .*/gm, (line) => paint(SIGN_COLOURS[line[0]!]!, line));
  const steps = formatSteps(
    plan,
    (action, line) => paint(STEP_COLOURS[action], printable(line)),
  );
  const refusing = (plan.refusing ?? []).map(({ node, version, why }) => {
    // On one line, whatever the node says.
    const reason = why.replaceAll(/\s+/g, " ");
    const line = `! ${node} refuses version ${version} and may refuse this: ${reason}`;
    return `${paint(SIGN_COLOURS["!"]!, printable(line))}\n`;
  }).join("");
  return (steps === "" ? changes : `${changes}\n${steps}\n`) + (refusing && `\n${refusing}`);
}

const SIGN_COLOURS: Readonly<Record<string, number>> = { "+": 32, "~": 33, "!": 35, "-": 31 };
const STEP_COLOURS = { start: 32, replace: 33, move: 36, stop: 31, unplaced: 31 } as const;

/**
 * Writes the signature beside its manifest: the whole of it or, when this fails, nothing.
 *
 * Throws RealmError `failed` when the file cannot be written.
 */
export async function writeSignature(file: string, signature: ManifestSignature): Promise<void> {
  const { formatManifestSignature } = await import("../agent/realm/manifest_signature.ts");
  const { fileError } = await import("./key_file.ts");
  const temporary = path.join(
    path.dirname(file),
    `.${path.basename(file)}.${crypto.randomUUID().slice(0, 8)}`,
  );
  try {
    {
      using handle = await Deno.open(temporary, { write: true, createNew: true, mode: 0o644 });
      let rest: Uint8Array = new TextEncoder().encode(`${formatManifestSignature(signature)}\n`);
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
