/**
 * The part of a store that belongs to one topic of one app. Whoever has it cannot name a key of
 * another: every key stands behind a prefix of names that hold no slash.
 *
 * @module
 */
import type { Store, StoreOp } from "../../kernel/ports.ts";

const NAME = /^[a-z0-9-]+$/i;

/** The part of `store` behind `names`, of a-z, 0-9 and -; closing it closes nothing. */
export function namespaced(store: Store, names: readonly string[]): Store {
  for (const name of names) {
    if (!NAME.test(name)) throw new Error(`${JSON.stringify(name)} is no name of a namespace`);
  }
  const prefix = names.map((name) => `${name}/`).join("");
  return {
    get: (key) => store.get(prefix + key),
    *scan(start, page) {
      const after = page?.after;
      const ours = page && { ...page, after: after === undefined ? after : prefix + after };
      for (const [key, value] of store.scan(prefix + start, ours)) {
        yield [key.slice(prefix.length), value];
      }
    },
    *keys(start) {
      for (const key of store.keys(prefix + start)) yield key.slice(prefix.length);
    },
    write: (ops) =>
      store.write(
        ops.map((op): StoreOp =>
          "put" in op ? { put: prefix + op.put, value: op.value } : { delete: prefix + op.delete }
        ),
      ),
    close() {},
  };
}

/** Stores nothing. */
export const NOWHERE: Store = {
  get: () => undefined,
  scan: () => [],
  keys: () => [],
  write() {},
  close() {},
};
