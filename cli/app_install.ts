/**
 * Installing bundles of apps: those that the person names, and those that a topic needs.
 *
 * @module
 */
import * as path from "node:path";
import type { PackedBundle } from "../agent/apps/bundle.ts";
import { RealmError } from "../agent/kernel/error.ts";
import type { InstalledApp, InstalledApps } from "../agent/topics/installed_apps.ts";
import type { Context } from "./context.ts";
import { printable } from "./output.ts";

/** Name of the folder of installed apps in the data folder. */
export const APPS_FOLDER = "apps";

/** What a person is asked, by what a bundle asks for. */
const MEANING: Readonly<Record<string, string>> = {
  clock: "read the time of this machine",
  crypto: "compute hashes, check signatures",
  event: "read the events of its topics",
  floats: "compute with floats, in a behavior",
  identity: "know your public key",
  log: "write lines to its log",
  network: "send requests",
  outbox: "write events on its own, as a key of its own",
  params: "read the parameters of its topics",
  random: "get random bytes",
  simd: "compute with SIMD, in a behavior",
  "state-read": "read its own state",
  "state-write": "change its own state, by events",
  ui: "show its user interface",
};

/** What came of installing a bundle. */
export interface Installation {
  /** The app as it is now. */
  readonly app: InstalledApp;
  /** As it was; undefined where it was not installed. */
  readonly before: InstalledApp | undefined;
  readonly packed: PackedBundle;
}

/** What a topic says of itself that needs a bundle. */
export interface NeedyTopic {
  readonly name: string;
  /** The app that it is of; `null` where that is not known. */
  readonly app: string | null;
}

/** Takes a bundle that was named and verified, asks for what it wants beyond what was granted, and keeps it. */
export async function installBundle(
  context: Context,
  { packed, bytes }: { readonly packed: PackedBundle; readonly bytes: Uint8Array },
  isGranted: boolean,
): Promise<Installation> {
  const { asksOf, isOfFormerKey } = await import("../agent/topics/installed_apps.ts");
  const apps = await installed(context);
  const before = await apps.before(packed);
  if (before !== undefined && isOfFormerKey(packed, before)) {
    throw new RealmError(
      "stale",
      `Cannot install bundle: it is signed by key ${
        packed.succession.length + 1
      } of its app, wanted ` +
        `key ${before.successions + 1}, which ${before.version} is signed by`,
      {
        hint:
          "Get a bundle that the publisher signed since; realm app install CID keeps one that a " +
          "topic needs",
      },
    );
  }
  const asks = asksOf(packed);
  const isNew = asks.filter((ask) => !before?.grants.includes(ask));
  const { name, version } = packed.bundle;
  if (isNew.length > 0 && !isGranted) {
    context.note(`${name} ${version} ${formatAsks(isNew)}`);
    await requireYes(context, name, `Install ${name} and grant this?`);
  }
  return { app: await keep(context, () => apps.install(packed, bytes, asks)), before, packed };
}

/**
 * Verifies a bundle that was named by its CID and keeps it: the events of topics named it, whoever wrote
 * them, so it has to be of the app of one of these topics where there are any, and the app neither goes
 * back nor loses a grant by it. Asks where `isAsked` and not `isGranted`, and otherwise only for grants
 * that are new and for what is signed by a key that handed the app on.
 *
 * Throws RealmError `refused` where it is of another app than each of these topics, or the answer is
 * no.
 */
export async function installNeeded(
  context: Context,
  bytes: Uint8Array,
  topics: readonly NeedyTopic[],
  { isGranted, isAsked }: { readonly isGranted: boolean; readonly isAsked: boolean },
): Promise<Installation> {
  const { asksOf, isOfFormerKey } = await import("../agent/topics/installed_apps.ts");
  const { formatPublicKey } = await import("../agent/kernel/key.ts");
  const packed = await verified(bytes);
  const { bundle: { name, version, publisher }, id } = packed;
  const app = packed.app.toString();
  const topic = topics.find((each) => each.app === app);
  const [other] = topics;
  if (topic === undefined && other !== undefined) {
    throw new RealmError(
      "refused",
      `Cannot install bundle ${id} for topic ${other.name}: it is of app ${app} (${name} ` +
        `${version}), wanted ${other.app}, of which the topic is`,
      { hint: "Somebody who may upgrade the topic named it: leave the topic, or ask them" },
    );
  }
  const apps = await installed(context);
  const before = await apps.before(packed);
  const asks = asksOf(packed);
  const isNew = asks.some((ask) => !before?.grants.includes(ask));
  const isFormer = before !== undefined && isOfFormerKey(packed, before);
  if (!isGranted && (isAsked || isNew || isFormer)) {
    const there = before === undefined ? "" : `installed  ${before.version}\n`;
    const former = isFormer ? ", which handed the app on since: it may be in other hands" : "";
    const text = `publisher  ${formatPublicKey(publisher)}${former}\napp        ${app}\n${there}`;
    const who = topic === undefined ? `bundle ${id} is` : `topic ${topic.name} needs`;
    context.note(
      `${who} ${name} ${version}\n${text}` +
        `${name} ${version} ${asks.length === 0 ? "asks for nothing" : formatAsks(asks)}`,
    );
    await requireYes(context, name, `Install ${name} ${version} and grant this?`);
  }
  return { app: await keep(context, () => apps.installNeeded(packed, bytes)), before, packed };
}

/** Asks; throws RealmError `refused` where the answer is no. */
async function requireYes(context: Context, name: string, question: string): Promise<void> {
  if (await context.confirm(question, "--yes")) return;
  throw new RealmError("refused", `Cannot install ${name}: what it asks for was not granted`);
}

async function keep(
  context: Context,
  install: () => Promise<InstalledApp>,
): Promise<InstalledApp> {
  const { makePrivateFolder } = await import("./key_file.ts");
  await makePrivateFolder(context.dataFolder);
  return await install();
}

function formatAsks(asks: readonly string[]): string {
  return `asks to:\n${asks.map((ask) => `  ${meaning(ask)}\n`).join("")}`;
}

/** The bundle of a file, {@link verified}, and its bytes. Errors name the file. */
export async function readVerified(
  context: Context,
  file: string,
): Promise<{ packed: PackedBundle; bytes: Uint8Array }> {
  const { readBundleFile } = await import("../agent/topics/installed_apps.ts");
  const bytes = await readBundleFile(context.resolve(file));
  try {
    return { packed: await verified(bytes), bytes };
  } catch (cause) {
    if (!(cause instanceof RealmError) || cause.code !== "corrupt") throw cause;
    const message = cause.message.replace(/^Cannot read bundle: /, `Cannot read bundle ${file}: `);
    throw new RealmError(cause.code, message, {
      cause,
      hint: "Name the file NAME-VERSION.bundle that realm app build wrote",
    });
  }
}

/** A bundle that passed every check that there is before it runs. */
export async function verified(bytes: Uint8Array): Promise<PackedBundle> {
  const { unpackBundle, verifyBundle } = await import("../agent/apps/bundle.ts");
  const { checkAsked } = await import("../agent/apps/asked.ts");
  const { webCryptoBackend } = await import("../agent/kernel/signature_backends.ts");
  const packed = unpackBundle(bytes);
  await verifyBundle(packed, webCryptoBackend());
  checkAsked(packed.bundle, packed.components);
  return packed;
}

/** Apps are those of the person at this machine. Throws RealmError `usage` where another is named. */
export function requireHere(context: Context): void {
  if (context.node === undefined) return;
  throw new RealmError("usage", "Cannot ask another node about apps: they are its person's", {
    hint: "Run the command on that machine",
  });
}

/** The apps of the data folder. */
export async function installed(context: Context): Promise<InstalledApps> {
  requireHere(context);
  const { InstalledApps } = await import("../agent/topics/installed_apps.ts");
  return new InstalledApps(path.join(context.dataFolder, APPS_FOLDER));
}

/** What a grant lets an app do, in words. */
export function meaning(grant: string): string {
  const [name = "", host] = grant.split(/=(.*)/s);
  return printable(
    host === undefined ? MEANING[name] ?? name : `${MEANING[name]} to ${host}`,
  );
}
