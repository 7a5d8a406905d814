/**
 * The apps of this machine: their bundles, and what the person granted each of them.
 *
 * In a folder: `ID.bundle` as it came, and for each app `APP.json`, which says which bundle it is on
 * and with which grants. A record is replaced whole, after the bundle that it names is there: what is
 * interrupted leaves the app as it was.
 *
 * @module
 */
import * as path from "node:path";
import { writeWhole } from "../node/whole_file.ts";
import { RealmError } from "../kernel/error.ts";
import { formatPublicKey } from "../kernel/key.ts";
import { BUNDLE_BYTES_MAX, type PackedBundle, unpackBundle } from "../apps/bundle.ts";
import { compareVersions } from "../apps/version.ts";

/** What is known of an installed app. */
export interface InstalledApp {
  /** CID of its first bundle. */
  readonly app: string;
  /** CID of the bundle that it is on. */
  readonly bundle: string;
  readonly name: string;
  readonly version: string;
  /** Text form of the key that signed the bundle. */
  readonly publisher: string;
  /** Steps of succession to that key. */
  readonly successions: number;
  /** What the person granted, as {@link asksOf} words it; sorted. */
  readonly grants: readonly string[];
}

/** What a bundle asks for: `clock`, `state-read`, and `network=https://example.com` for each host. */
export function asksOf({ bundle }: Pick<PackedBundle, "bundle">): string[] {
  return [
    ...bundle.capabilities.filter((name) => name !== "network"),
    ...bundle.network.map((host) => `network=${host}`),
  ].sort();
}

export class InstalledApps {
  readonly #folder: string;

  /** `folder` is made, readable by its owner alone, when something is installed. */
  constructor(folder: string) {
    this.#folder = folder;
  }

  /**
   * The apps, sorted by name, then app; and the files of records that are damaged, sorted, whose apps
   * are not among them.
   */
  async list(): Promise<{ readonly apps: InstalledApp[]; readonly damaged: readonly string[] }> {
    const apps: InstalledApp[] = [];
    const damaged: string[] = [];
    try {
      for await (const { name } of Deno.readDir(this.#folder)) {
        if (!name.endsWith(".json")) continue;
        const app = await this.#read(name);
        if (app === undefined) damaged.push(path.join(this.#folder, name));
        else apps.push(app);
      }
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
    const key = ({ name, app }: InstalledApp) => `${name} ${app}`;
    return { apps: apps.sort((a, b) => key(a) < key(b) ? -1 : 1), damaged: damaged.sort() };
  }

  /**
   * What is installed of the app with that CID; undefined where nothing is. Throws RealmError `corrupt`
   * where its record is damaged: what was granted is not known.
   */
  async of(app: string): Promise<InstalledApp | undefined> {
    const { apps, damaged } = await this.list();
    const file = path.join(this.#folder, `${app}.json`);
    if (damaged.includes(file)) throw damagedRecords([file]);
    return apps.find((each) => each.app === app);
  }

  /**
   * The app that this names: a CID, or a name that only one has. Throws RealmError `not-found`, or
   * `corrupt` where it may be one whose record is damaged.
   */
  async find(text: string): Promise<InstalledApp> {
    const { apps, damaged } = await this.list();
    const found = apps.filter(({ app, name }) => app === text || name === text);
    if (found.length === 1) return found[0]!;
    if (found.length === 0 && damaged.length > 0) throw damagedRecords(damaged);
    const problem = found.length === 0 ? "not installed" : `${found.length} apps have that name`;
    throw new RealmError("not-found", `Cannot find app ${JSON.stringify(text)}: ${problem}`, {
      hint: found.length === 0
        ? "realm app ls shows those that are; realm app install BUNDLE installs one"
        : "Name it by its CID, which realm app ls shows",
    });
  }

  /**
   * What is installed of the app of a bundle. Throws RealmError `wrong-owner` where one of the two is of
   * a key to which the app was not handed over on the way to the other's: a former key can hand it over
   * again.
   */
  async before({ app, first, succession }: PackedBundle): Promise<InstalledApp | undefined> {
    const there = await this.of(app.toString());
    if (there === undefined) return undefined;
    const number = Math.min(succession.length, there.successions);
    const key = keyOf(number, { first, succession });
    const wanted = number === there.successions
      ? there.publisher
      : keyOf(number, unpackBundle(await this.bytes(there.bundle)));
    if (key === wanted) return there;
    throw new RealmError(
      "wrong-owner",
      `Cannot install bundle: key ${
        number + 1
      } of its app is ${key}, wanted ${wanted}, as for the ` +
        `${there.version} that is installed`,
      {
        hint: "The app was handed over twice, to different keys: ask its publisher which is right",
      },
    );
  }

  /** The packed bytes of a bundle. Throws RealmError `not-found`. */
  bytes(id: string): Promise<Uint8Array> {
    return readBundleFile(path.join(this.#folder, `${id}.bundle`));
  }

  /** Keeps a bundle that was verified. `bytes` are its packed form. Throws for one that was revoked. */
  async install(
    packed: PackedBundle,
    bytes: Uint8Array,
    grants: readonly string[],
  ): Promise<InstalledApp> {
    const { bundle, id, app, succession } = packed;
    const installed: InstalledApp = {
      app: app.toString(),
      bundle: id.toString(),
      name: bundle.name,
      version: bundle.version,
      publisher: formatPublicKey(bundle.publisher),
      successions: succession.length,
      grants: [...grants].sort(),
    };
    await this.#keep(id.toString(), bytes);
    await this.#write(installed);
    return installed;
  }

  /**
   * Keeps a bundle that a topic needs, which was verified: its app goes on with it only where it is
   * newer, and loses no grant. Throws for one that was revoked.
   */
  async installNeeded(packed: PackedBundle, bytes: Uint8Array): Promise<InstalledApp> {
    const before = await this.before(packed);
    const grants = [...new Set([...before?.grants ?? [], ...asksOf(packed)])].sort();
    if (before === undefined || isNewer(packed, before)) {
      return await this.install(packed, bytes, grants);
    }
    await this.#keep(packed.id.toString(), bytes);
    const kept = { ...before, grants };
    await this.#write(kept);
    return kept;
  }

  async #keep(id: string, bytes: Uint8Array): Promise<void> {
    if (await this.revocationOf(id) !== undefined) throw revoked(id);
    await this.#put(`${id}.bundle`, bytes);
  }

  /** Throws RealmError `failed` where there is no room, or the folder cannot be written. */
  async #put(name: string, bytes: Uint8Array): Promise<void> {
    const file = path.join(this.#folder, name);
    try {
      await Deno.mkdir(this.#folder, { recursive: true, mode: 0o700 });
      await writeWhole(file, bytes);
    } catch (cause) {
      throw new RealmError("failed", `Cannot write ${file}: ${(cause as Error).message}`, {
        hint: "Run realm doctor, which looks at the data folder and the disk",
        cause,
      });
    }
  }

  /** The revocation of a bundle that was taken, encoded; verified when it was. */
  async revocationOf(bundle: string): Promise<Uint8Array | undefined> {
    try {
      return await Deno.readFile(path.join(this.#folder, `${bundle}.revoked`));
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw error;
    }
  }

  /** Keeps the revocation of a bundle, which was verified: it is installed and started no more. */
  async keepRevocation(bundle: string, encoded: Uint8Array): Promise<void> {
    await this.#put(`${bundle}.revoked`, encoded);
  }

  /** Takes a grant back. Throws RealmError `not-found` where it was not given. */
  async revoke(app: InstalledApp, grant: string): Promise<InstalledApp> {
    if (!app.grants.includes(grant)) {
      throw new RealmError(
        "not-found",
        `Cannot revoke ${JSON.stringify(grant)}: ${app.name} does not have it, wanted one of ` +
          (app.grants.join(", ") || "none"),
      );
    }
    const left = { ...app, grants: app.grants.filter((each) => each !== grant) };
    await this.#write(left);
    return left;
  }

  async #write(app: InstalledApp): Promise<void> {
    const text = `${JSON.stringify(app, null, 2)}\n`;
    await this.#put(`${app.app}.json`, new TextEncoder().encode(text));
  }

  /** The record of a file; undefined where it is damaged. */
  async #read(name: string): Promise<InstalledApp | undefined> {
    const file = path.join(this.#folder, name);
    let record: unknown;
    try {
      record = JSON.parse(await Deno.readTextFile(file));
    } catch (cause) {
      if (!(cause instanceof SyntaxError)) throw cause;
    }
    return isRecord(record) && `${record.app}.json` === name ? record : undefined;
  }
}

/** The error for files of {@link InstalledApps.list} that are damaged. */
export function damagedRecords(files: readonly string[]): RealmError {
  return new RealmError("corrupt", `Cannot read app ${files.join(", ")}: not what realm wrote`, {
    hint: "Remove that file and install the app again: realm app install BUNDLE",
  });
}

/** Whether a bundle is signed by a key that handed its app on since. */
export function isOfFormerKey({ succession }: PackedBundle, there: InstalledApp): boolean {
  return succession.length < there.successions;
}

/** Whether a bundle comes after the one that its app is on. */
function isNewer(packed: PackedBundle, there: InstalledApp): boolean {
  return packed.succession.length > there.successions ||
    !isOfFormerKey(packed, there) && compareVersions(packed.bundle.version, there.version) > 0;
}

/** Text form of the key that had an app after so many steps. */
function keyOf(
  number: number,
  { first, succession }: Pick<PackedBundle, "first" | "succession">,
): string {
  return formatPublicKey(number === 0 ? first.publisher : succession[number - 1]!.to);
}

/** The error for a bundle that its publisher took back. */
export function revoked(bundle: string): RealmError {
  return new RealmError("refused", `Cannot use bundle ${bundle}: its publisher revoked it`, {
    hint: "Install another version of the app",
  });
}

function isRecord(value: unknown): value is InstalledApp {
  const record = value as Partial<Record<keyof InstalledApp, unknown>> | null | undefined;
  return typeof record === "object" && record !== null &&
    [record.app, record.bundle, record.name, record.version, record.publisher]
      .every((each) => typeof each === "string") &&
    Number.isSafeInteger(record.successions) &&
    Array.isArray(record.grants) && record.grants.every((each) => typeof each === "string");
}

/** Reads a file that may be a bundle; one that is too large is not read to its end. */
export async function readBundleFile(file: string): Promise<Uint8Array> {
  try {
    const { size, isDirectory } = await Deno.stat(file);
    if (isDirectory) {
      throw new RealmError("failed", `Cannot read bundle ${file}: it is a folder, wanted a file`, {
        hint: "realm app build FOLDER writes NAME-VERSION.bundle into it: name that",
      });
    }
    if (size > BUNDLE_BYTES_MAX) {
      throw new RealmError(
        "limit-exceeded",
        `Cannot read bundle ${file}: ${size} bytes, wanted at most ${BUNDLE_BYTES_MAX}`,
      );
    }
    return await Deno.readFile(file);
  } catch (cause) {
    if (cause instanceof RealmError) throw cause;
    const missing = cause instanceof Deno.errors.NotFound;
    throw new RealmError(
      missing ? "not-found" : "failed",
      `Cannot read bundle ${file}: ${missing ? "it does not exist" : (cause as Error).message}`,
      { cause, hint: "realm app build makes bundles" },
    );
  }
}
