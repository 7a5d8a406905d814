/**
 * The key-value stores of a machine: a file for each component, in one folder.
 *
 * A store is opened when a replica of its component first starts, and is then shared by all of
 * them. Nothing removes a file: a component that is gone from the manifest finds its pairs when it
 * comes back.
 *
 * @module
 */
import { join } from "node:path";
import { keyValueService, KeyValueStore } from "../kernel/key_value.ts";
import type { Service } from "../kernel/ports.ts";
import { SqliteKeyValue } from "../store/sqlite_key_value.ts";

/** See the module. */
export class KeyValues {
  readonly #stores = new Map<string, KeyValueStore>();

  constructor(readonly folder: string) {}

  /**
   * The store of a component as the service `keyvalue`. Throws RealmError when its file cannot be
   * used, for one because another process has it.
   */
  async service(component: string): Promise<Service> {
    await Deno.mkdir(this.folder, { recursive: true, mode: 0o700 });
    let store = this.#stores.get(component);
    if (!store) {
      const path = join(this.folder, `${component}.sqlite`);
      this.#stores.set(component, store = new KeyValueStore(new SqliteKeyValue(path)));
    }
    return keyValueService(store);
  }

  close(): void {
    for (const store of this.#stores.values()) store.close();
    this.#stores.clear();
  }
}
