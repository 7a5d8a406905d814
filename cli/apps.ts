/**
 * `realm app`: bundles of apps, made and installed on this machine. Topics are in `topics.ts` and
 * `topic_contents.ts`.
 *
 * @module
 */
import * as path from "node:path";
import type { PackedBundle } from "../agent/apps/bundle.ts";
import { RealmError } from "../agent/kernel/error.ts";
import type { Signer } from "../agent/kernel/verify.ts";
import {
  APPS_FOLDER,
  installBundle,
  installed,
  installNeeded,
  meaning,
  readVerified,
  requireHere,
} from "./app_install.ts";
import { command, commands } from "./command.ts";
import type { Context } from "./context.ts";
import { formatTable } from "./output.ts";
import { openApp } from "./app_open.ts";
import { call, digest, log, state, verify } from "./topic_contents.ts";
import {
  checkpoint,
  createTopic,
  fork,
  inviteToTopic,
  join,
  keep,
  leave,
  removeMember,
  topics,
  upgrade,
  withApps,
} from "./topics.ts";
import {
  argument,
  defaulted,
  optional,
  optionalArgument,
  parseInteger,
  parseText,
  toggle,
  Wanted,
} from "./parameters.ts";

/** Name of the publisher's key in the data folder. */
export const PUBLISHER_KEY_FILE = "publisher.key";
const newApp = command({
  brief: "Write the source of a small app that builds",
  description: "Makes a folder of that name with bundle.toml and an app in the text format of " +
    "WebAssembly: a note that everybody may replace.",
  args: [argument("Name of the app", "NAME", parseName)],
  async run(context, _flags, name) {
    const { appTemplate } = await import("./app_template.ts");
    const { fileError, writeNewFile } = await import("./key_file.ts");
    const folder = context.resolve(name);
    try {
      await Deno.mkdir(folder);
    } catch (error) {
      if (!(error instanceof Deno.errors.AlreadyExists)) throw fileError("write", folder, error);
      throw new RealmError("refused", `Cannot make ${folder}: it exists, wanted a new folder`);
    }
    const files = [...appTemplate(name)];
    for (const [file, text] of files) {
      await writeNewFile(path.join(folder, file), new TextEncoder().encode(text), 0o644);
    }
    context.print(
      { name, folder, files: files.map(([file]) => file) },
      () => files.map(([file]) => `made   ${path.join(name, file)}\n`).join(""),
    );
    context.note(`Build it with realm app build ${name}`);
  },
});

const build = command({
  brief: "Pack and sign the bundle of a folder",
  description: "Reads bundle.toml in the folder (default: the current one), makes components of " +
    "what are none yet, checks each against its profile and against what the bundle asks for, " +
    "and writes NAME-VERSION.bundle. Signs with the publisher's key of the data folder, which is " +
    "made at the first build. With --former-key the key that signed the bundle which this one " +
    "follows hands the app over to that key: from then on the former signs no version of it.",
  flags: {
    key: optional(
      "Key file of the publisher (default: the one of the data folder)",
      "FILE",
      parseText,
    ),
    formerKey: optional(
      "Key file of the publisher until now, who hands the app over",
      "FILE",
      parseText,
    ),
    output: optional(
      "File to write (default: NAME-VERSION.bundle in the folder)",
      "FILE",
      parseText,
    ),
  },
  args: [optionalArgument("Folder of bundle.toml", "DIR", parseText)],
  async run(context, flags, dir = ".") {
    const { buildBundle } = await import("../agent/topics/bundle_builder.ts");
    const { writeWhole } = await import("../agent/node/whole_file.ts");
    const { webCryptoBackend } = await import("../agent/kernel/signature_backends.ts");
    const { signerOf } = await import("../agent/kernel/verify.ts");
    const folder = context.resolve(dir);
    const { fileError } = await import("./key_file.ts");
    const { openKey } = await import("./passphrase.ts");
    const backend = webCryptoBackend();
    const former = flags.formerKey === undefined
      ? undefined
      : signerOf(await openKey(context, context.resolve(flags.formerKey)), backend);
    const signer = await publisher(context, flags.key);
    const { packed, bytes } = await buildBundle(folder, signer, backend, former);
    const { name, version } = packed.bundle;
    const file = flags.output === undefined
      ? path.join(folder, `${name}-${version}.bundle`)
      : context.resolve(flags.output);
    await writeWhole(file, bytes, 0o644).catch((error) => {
      throw fileError("write", file, error);
    });
    const { describeBundle, formatBundle } = await import("./bundle_text.ts");
    const built = { file, ...await describeBundle(packed, bytes.length) };
    context.print(built, () => formatBundle(file, built));
  },
});

const check = command({
  brief: "Check a bundle, and the laws of replay on made up histories",
  description: "Does what install does before it asks: every block against its digest, the " +
    "signature and the succession of keys, each component against its profile and against what " +
    "the bundle asks for. Then makes histories up of what state-propose and interaction offer " +
    "and of changed and random payloads, and applies each several times: the same log, other " +
    "orders of delivery, late events, forks, dry runs. A history that breaks a law is made small.",
  flags: {
    seed: optional("Make the same histories again", "SEED", parseText),
    histories: defaulted("Histories to make up", "N", parseInteger(0, 100_000), "20"),
    events: defaulted("Events of each", "N", parseInteger(1, 1000), "40"),
  },
  args: [argument("Bundle", "BUNDLE", parseText)],
  async run(context, flags, file) {
    const { packed, bytes } = await readVerified(context, file);
    const { describeBundle, formatBundle } = await import("./bundle_text.ts");
    const { describeCheck, formatCheck } = await import("./bundle_check_text.ts");
    const { checkApp } = await import("../agent/apps/check/check.ts");
    const { LAWS } = await import("../agent/apps/check/laws.ts");
    const { subjectOf } = await import("../agent/apps/check/subject.ts");
    const { nodeBackend } = await import("../agent/node/crypto_node.ts");
    const { verifierOf } = await import("../agent/kernel/verify.ts");
    const { seed = crypto.randomUUID().slice(0, 8), histories, events } = flags;
    const subject = await subjectOf(packed.components, verifierOf(nodeBackend()));
    const report = checkApp(subject, { seed, histories, events });
    const described = {
      file,
      ...await describeBundle(packed, bytes.length),
      laws: describeCheck(report),
    };
    context.print(
      described,
      () => `${formatBundle(file, described)}\n${formatCheck(described.laws)}`,
    );
    if (report.broken === undefined) return;
    throw new RealmError(
      "failed",
      `Cannot pass ${file}: a law is broken, ${LAWS[report.broken.law]}`,
      {
        hint: `realm app check ${file} --seed ${seed} --histories ${report.histories} ` +
          `--events ${events} shows it again`,
      },
    );
  },
});

const install = command({
  brief: "Install a bundle, with the grants that it asks for",
  description:
    "Verifies the bundle, shows what it asks for beyond what was granted before, asks, " +
    "and keeps it in the data folder. A bundle that a topic needs is fetched from peers by its CID.",
  flags: { yes: toggle("Grant what it asks for without being asked") },
  args: [argument("Bundle: its file, or its CID", "BUNDLE", parseText)],
  async run(context, flags, named) {
    const isCid = /^bafy[a-z2-7]{20,}$/.test(named);
    const { app, before, packed } = isCid
      ? await installByCid(context, named, flags.yes)
      : await installBundle(context, await readVerified(context, named), flags.yes);
    await tellAgent(context);
    const id = packed.id.toString();
    if (app.bundle !== id) {
      context.print(
        { ...app, replaced: null, kept: id },
        () =>
          `kept ${app.name} ${packed.bundle.version} for topics that need it; ${app.name} stays ` +
          `${app.version}\napp     ${app.app}\nbundle  ${id}\n`,
      );
      return;
    }
    const isAgain = before?.bundle === app.bundle;
    const done = before === undefined || isAgain ? "installed" : `replaced ${before.version} by`;
    context.print(
      { ...app, replaced: isAgain ? null : before?.bundle ?? null },
      () =>
        `${done} ${app.name} ${app.version}${isAgain ? ", as it was already" : ""}\n` +
        `app     ${app.app}\nbundle  ${app.bundle}\n`,
    );
  },
});

/** Installs a bundle that the agent, or a peer of it, has, for the topics that need it first. */
async function installByCid(context: Context, bundle: string, isGranted: boolean) {
  const [bytes, topics] = await withApps(context, async (apps) => {
    const { bytes } = await apps.bundle({ bundle });
    const { topics } = await apps.topics({});
    return [Uint8Array.fromBase64(bytes), topics.filter(({ needs }) => needs === bundle)] as const;
  });
  const isAsked = topics.length === 0;
  return await installNeeded(context, bytes, topics, { isGranted, isAsked });
}

/** An agent that runs looks again; one that does not will when it starts. */
async function tellAgent(context: Context): Promise<void> {
  try {
    await withApps(context, (apps) => apps.changed({}));
  } catch (error) {
    if (!(error instanceof RealmError) || error.code !== "unreachable") throw error;
  }
}

const revoke = command({
  brief: "Take a bundle of yours back, or take the word of its publisher that it is taken back",
  description: "Of a bundle: signs its revocation with the publisher's key, writes it to " +
    "NAME-VERSION.revocation beside it, for others, and takes it. Of a revocation: takes it, where " +
    "the bundle that it names is here. A revoked bundle is installed and started no more.",
  flags: {
    key: optional(
      "Key file of the publisher (default: the one of the data folder)",
      "FILE",
      parseText,
    ),
  },
  args: [argument("Bundle, or revocation: its file", "FILE", parseText)],
  async run(context, flags, name) {
    requireHere(context);
    const { InstalledApps, readBundleFile } = await import("../agent/topics/installed_apps.ts");
    const { writeWhole } = await import("../agent/node/whole_file.ts");
    const { unpackBundle } = await import("../agent/apps/bundle.ts");
    const { decodeRevocation, encodeRevocation, revokeBundle, verifyRevocation } = await import(
      "../agent/apps/revocation.ts"
    );
    const { webCryptoBackend } = await import("../agent/kernel/signature_backends.ts");
    const { bytesEqual, formatPublicKey } = await import("../agent/kernel/key.ts");
    const folder = path.join(context.dataFolder, APPS_FOLDER);
    const here = (id: string) => readBundleFile(path.join(folder, `${id}.bundle`));
    const file = context.resolve(name);
    let encoded: Uint8Array;
    let packed: PackedBundle;
    let written: string | null = null;
    if (name.endsWith(".revocation")) {
      encoded = await readBundleFile(file);
      const { bundle } = decodeRevocation(encoded);
      packed = unpackBundle(
        await here(bundle.toString()).catch((cause) => {
          if (cause.code !== "not-found") throw cause;
          throw new RealmError(
            "not-found",
            `Cannot take revocation: bundle ${bundle} is not here`,
            {
              cause,
              hint: "It can be taken once the bundle is installed",
            },
          );
        }),
      );
    } else {
      ({ packed } = await readVerified(context, name));
      // The app may have been handed on since: a later bundle says to whom.
      const later = await (await installed(context)).of(packed.app.toString());
      const chain = later === undefined ? [] : unpackBundle(await here(later.bundle)).succession;
      const more = chain.slice(packed.succession.length);
      const signer = await publisher(context, flags.key, false);
      const keys = [packed.bundle.publisher, ...more.map(({ to }) => to)];
      const at = keys.findIndex((key) => bytesEqual(key, signer.publicKey));
      if (at < 0) {
        throw new RealmError(
          "wrong-owner",
          `Cannot revoke ${name}: the key is ${formatPublicKey(signer.publicKey)}, wanted ` +
            keys.map(formatPublicKey).join(" or "),
          { hint: "Name the file of its publisher's key with --key" },
        );
      }
      encoded = encodeRevocation(await revokeBundle(packed, more.slice(0, at), signer));
      const { bundle } = packed;
      written = path.join(path.dirname(file), `${bundle.name}-${bundle.version}.revocation`);
    }
    await verifyRevocation(decodeRevocation(encoded), packed, webCryptoBackend());
    const { fileError, makePrivateFolder } = await import("./key_file.ts");
    if (written !== null) {
      await writeWhole(written, encoded, 0o644).catch((error) => {
        throw fileError("write", written!, error);
      });
    }
    await makePrivateFolder(context.dataFolder);
    await new InstalledApps(folder).keepRevocation(packed.id.toString(), encoded);
    await tellAgent(context);
    context.print(
      { bundle: packed.id.toString(), app: packed.app.toString(), file: written },
      () => `revoked ${packed.id}\n${written === null ? "" : `wrote   ${written}\n`}`,
    );
  },
});

/** Throws RealmError `corrupt` where there are any, when the others were shown. */
async function refuseDamaged(files: readonly string[]): Promise<void> {
  if (files.length === 0) return;
  const { damagedRecords } = await import("../agent/topics/installed_apps.ts");
  throw damagedRecords(files);
}

const ls = command({
  brief: "List the apps of this machine",
  async run(context) {
    const { apps, damaged } = await (await installed(context)).list();
    context.printTable(apps, [
      { title: "NAME", text: ({ name }) => name },
      { title: "VERSION", text: ({ version }) => version },
      { title: "APP", text: ({ app }) => app },
      { title: "PUBLISHER", text: ({ publisher }) => publisher },
    ]);
    await refuseDamaged(damaged);
  },
});

const grants = command({
  brief: "Show what apps were granted, and take grants back",
  flags: { revoke: optional("Grant to take back", "GRANT", parseText) },
  args: [optionalArgument("App: its CID, or its name", "APP", parseText)],
  async run(context, flags, text) {
    const apps = await installed(context);
    if (text === undefined && flags.revoke !== undefined) {
      throw new RealmError("usage", "Cannot revoke a grant: no app is named, wanted APP");
    }
    const { apps: shown, damaged } = text === undefined
      ? await apps.list()
      : { apps: [await apps.find(text)], damaged: [] };
    if (flags.revoke !== undefined) {
      shown[0] = await apps.revoke(shown[0]!, flags.revoke);
      context.note(`${shown[0].name} may no more: ${meaning(flags.revoke)}`);
      await tellAgent(context);
    }
    const rows = shown.flatMap(({ app, name, grants }) =>
      grants.map((grant) => ({ app, name, grant }))
    );
    context.print(rows, () =>
      formatTable(rows, [
        { title: "APP", text: ({ name }) => name },
        { title: "GRANT", text: ({ grant }) => grant },
        { title: "IT MAY", text: ({ grant }) => meaning(grant) },
      ]));
    await refuseDamaged(damaged);
  },
});

export const apps = commands("Make apps of peers, and take part in their topics", {
  new: newApp,
  build,
  check,
  install,
  ls,
  grants,
  revoke,
  create: createTopic,
  join,
  invite: inviteToTopic,
  keep,
  leave,
  remove: removeMember,
  topics,
  call,
  state,
  log,
  digest,
  verify,
  fork,
  checkpoint,
  upgrade,
  open: openApp,
});

/** The key that signs bundles; the one of the data folder is made where it is missing, if it may be. */
async function publisher(
  context: Context,
  keyFile: string | undefined,
  mayMake = true,
): Promise<Signer> {
  const { webCryptoBackend } = await import("../agent/kernel/signature_backends.ts");
  const { keyPairOf, signerOf } = await import("../agent/kernel/verify.ts");
  const { makePrivateFolder, writeKeyFile } = await import("./key_file.ts");
  const { openKey } = await import("./passphrase.ts");
  const backend = webCryptoBackend();
  if (keyFile !== undefined) {
    return signerOf(await openKey(context, context.resolve(keyFile)), backend);
  }
  const file = path.join(context.dataFolder, PUBLISHER_KEY_FILE);
  try {
    return signerOf(await openKey(context, file), backend);
  } catch (error) {
    if (!(error instanceof RealmError) || error.code !== "not-found") throw error;
    if (!mayMake) {
      throw new RealmError("not-found", `Cannot read publisher's key ${file}: it does not exist`, {
        cause: error,
        hint: "Name its file with --key",
      });
    }
  }
  await makePrivateFolder(context.dataFolder);
  const keys = await keyPairOf(crypto.getRandomValues(new Uint8Array(32)), backend);
  await writeKeyFile(
    file,
    keys,
    "publisher key of apps\nKeep it secret: whoever has it can publish new versions of them",
  );
  context.note(`made ${file}, which signs your bundles: keep a copy, later versions need it`);
  return signerOf(keys, backend);
}

function parseName(text: string): string {
  if (!/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/.test(text)) {
    throw new Wanted("1 to 63 of a-z, 0-9 and - (not first or last)");
  }
  return text;
}
