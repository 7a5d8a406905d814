/**
 * The bundles of installed apps, ready to be run: verified, checked against their profiles, and not
 * revoked by their publisher.
 *
 * @module
 */
import { join } from "node:path";
import type { BundleCode } from "../apps/arbiter/topic_app_port.ts";
import { checkAsked } from "../apps/asked.ts";
import { type PackedBundle, unpackBundle, verifyBundle } from "../apps/bundle.ts";
import { checkProfile } from "../apps/profile.ts";
import { nodeBackend } from "../node/crypto_node.ts";
import { damagedRecords, type InstalledApp, InstalledApps, revoked } from "./installed_apps.ts";
import { RealmError } from "../kernel/error.ts";

/** Name of the folder of installed apps in the data folder. */
export const APPS_FOLDER = "apps";

/** A bundle that may be run, where the person granted what it asks for. */
export interface RunnableBundle {
  readonly app: string;
  readonly name: string;
  readonly version: string;
  readonly code: BundleCode;
  /** What its state-apply may not do without: granted, or no event is applied. */
  readonly applies: readonly string[];
}

/** See the module. */
export class AppBundles {
  readonly installed: InstalledApps;
  readonly #loaded = new Map<string, Promise<RunnableBundle>>();
  readonly #notice: (text: string) => void;
  #apps: readonly InstalledApp[] = [];
  /** Records that were told of as damaged. */
  #damaged: readonly string[] = [];

  constructor(dataFolder: string, notice: (text: string) => void) {
    this.#notice = notice;
    this.installed = new InstalledApps(join(dataFolder, APPS_FOLDER));
  }

  /** Looks again what is installed, and with which grants. A record that is damaged is told of, once. */
  async refresh(): Promise<void> {
    const { apps, damaged } = await this.installed.list();
    this.#apps = apps;
    for (const file of damaged.filter((each) => !this.#damaged.includes(each))) {
      const { message, hint } = damagedRecords([file]);
      this.#notice(`${message}. ${hint}`);
    }
    this.#damaged = damaged;
  }

  /** What the person granted an app; undefined for one that is not installed. */
  grantsOf(app: string): readonly string[] | undefined {
    return this.#apps.find((each) => each.app === app)?.grants;
  }

  /** A bundle by its CID; undefined where it is not here. Throws where it may not be run. */
  async get(id: string): Promise<RunnableBundle | undefined> {
    if (await this.installed.revocationOf(id) !== undefined) throw revoked(id);
    let loading = this.#loaded.get(id);
    if (loading === undefined) {
      this.#loaded.set(id, loading = this.#load(id));
      // Looked for again the next time: it may come.
      loading.catch(() => this.#loaded.delete(id));
    }
    try {
      return await loading;
    } catch (error) {
      if (error instanceof RealmError && error.code === "not-found") return undefined;
      throw error;
    }
  }

  /** {@link bytes} that were compared with its digests. Throws RealmError where they are not it, too. */
  async whole(id: string): Promise<Uint8Array> {
    const bytes = await this.bytes(id);
    unpackedAs(id, bytes);
    return bytes;
  }

  /** The packed bytes of a bundle. Throws RealmError `not-found`. */
  bytes(id: string): Promise<Uint8Array> {
    if (!/^[a-z0-9]{1,120}$/.test(id)) {
      throw new RealmError("not-found", `Cannot find bundle ${JSON.stringify(id)}: it is no CID`);
    }
    return this.installed.bytes(id);
  }

  async #load(id: string): Promise<RunnableBundle> {
    const packed = unpackedAs(id, await this.bytes(id));
    await verifyBundle(packed, nodeBackend());
    checkAsked(packed.bundle, packed.components);
    const apply = packed.components.get("state-apply")!;
    return {
      app: packed.app.toString(),
      name: packed.bundle.name,
      version: packed.bundle.version,
      code: {
        id,
        abi: packed.bundle.abi,
        components: Object.fromEntries(packed.components),
      },
      applies: checkProfile(apply, "state-apply").imports,
    };
  }
}

/** A bundle whose file has that name: each block was compared with its digest. */
function unpackedAs(id: string, bytes: Uint8Array): PackedBundle {
  const packed = unpackBundle(bytes);
  if (packed.id.toString() === id) return packed;
  throw new RealmError("corrupt", `Cannot read bundle ${id}: the file has ${packed.id}`, {
    hint: "Install it again",
  });
}
