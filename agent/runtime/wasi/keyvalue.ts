/**
 * `wasi:keyvalue`, pinned to 0.2.0-draft2: store, atomics and batch of the component's own bucket,
 * which the agent keeps. What of the first draft (0.2.0-draft) is in both works for either; its
 * cursors are numbers, ours are numbers in decimal, which fit both.
 *
 * The calls go to the agent in the order in which they are made, so a component reads its writes.
 *
 * @see https://github.com/WebAssembly/wasi-keyvalue/tree/main/wit
 * @module
 */
import {
  checkSizes,
  type KeyValueAnswer,
  type KeyValueRequest,
  type KeyValueResults,
} from "../../kernel/key_value.ts";
import type { WasiInstance } from "./context.ts";
import { guardResource, HOLD, Resource } from "./resource.ts";

/** `error` of `wasi:keyvalue/store`. */
export type StoreError =
  | { readonly tag: "no-such-store" }
  | { readonly tag: "access-denied" }
  | { readonly tag: "other"; readonly val: string };

function other(val: string): StoreError {
  return { tag: "other", val };
}

/** The one bucket that a component has. */
const OWN = "default";
/** Kept for the values that `secrets` grants. */
const SECRETS = "secrets";

/** What `read` answers. */
type Read = KeyValueResults["read"];

/** Asks the agent; what it refuses is the interface's `other`. */
async function ask<Op extends KeyValueRequest["op"]>(
  host: WasiInstance,
  request: Extract<KeyValueRequest, { op: Op }>,
): Promise<KeyValueResults[Op]> {
  try {
    // A list that names the same bytes over and over is more than the guest has, twice.
    checkSizes(request);
  } catch (error) {
    throw other((error as Error).message);
  }
  const call = host.ctx.agent?.call("keyvalue", request);
  if (call === undefined) throw other("there is no store");
  let answer: KeyValueAnswer;
  try {
    answer = await call.answering() as KeyValueAnswer;
  } catch {
    throw other("the store cannot be used now");
  } finally {
    call.drop();
  }
  if ("error" in answer) throw other(answer.error);
  return answer.ok as KeyValueResults[Op];
}

/** Resource `bucket`. */
export class Bucket extends Resource {
  constructor(host: WasiInstance) {
    super(host, "bucket");
  }

  async get(key: string): Promise<Uint8Array | undefined> {
    return (await ask<"get">(this.host, { op: "get", keys: [key] }))[0];
  }

  async set(key: string, value: Uint8Array): Promise<void> {
    await ask<"set">(this.host, { op: "set", pairs: [[key, value]] });
  }

  async delete(key: string): Promise<void> {
    await ask<"delete">(this.host, { op: "delete", keys: [key] });
  }

  exists(key: string): Promise<boolean> {
    return ask<"has">(this.host, { op: "has", key });
  }

  async listKeys(
    cursor: string | bigint | undefined,
  ): Promise<{ keys: string[]; cursor: string | undefined }> {
    const after = cursor === undefined ? 0 : cursorOf(String(cursor));
    const page = await ask<"list">(this.host, { op: "list", cursor: after });
    return { keys: page.keys, cursor: page.cursor === undefined ? undefined : String(page.cursor) };
  }
}

function cursorOf(text: string): number {
  const cursor = /^\d{1,16}$/.test(text) ? Number(text) : NaN;
  if (!Number.isSafeInteger(cursor)) throw other("the cursor is not one that list-keys gave");
  return cursor;
}

/** Resource `cas`: a key, its value and version as they were. */
export class Cas extends Resource {
  readonly #key: string;
  readonly #read: Read;

  constructor(host: WasiInstance, key: string, read: Read) {
    super(host, "cas");
    this.#key = key;
    this.#read = read;
    this[HOLD](2 * key.length + (read.value?.length ?? 0));
  }

  static async new(host: WasiInstance, _bucket: Bucket, key: string): Promise<Cas> {
    return new Cas(host, key, await ask<"read">(host, { op: "read", key }));
  }

  current(): Uint8Array | undefined {
    return this.#read.value;
  }

  /** `swap`: the handle is the host's by now. */
  static async swap(host: WasiInstance, cas: Cas, value: Uint8Array): Promise<void> {
    const key = cas.#key;
    const { version } = cas.#read;
    cas[Symbol.dispose]();
    try {
      if (await ask<"swap">(host, { op: "swap", key, version, value })) return;
      throw {
        tag: "cas-failed",
        val: new Cas(host, key, await ask<"read">(host, { op: "read", key })),
      };
    } catch (error) {
      const isOther = (error as StoreError).tag === "other";
      throw isOther ? { tag: "store-error", val: error } : error;
    }
  }
}

guardResource("wasi:keyvalue/store", "bucket", Bucket);
guardResource("wasi:keyvalue/atomics", "cas", Cas);

/** The functions of `wasi:keyvalue`, by interface. */
export function createKeyvalue(host: WasiInstance) {
  return {
    store: {
      open(identifier: string): Bucket {
        if (identifier === SECRETS || !host.ctx.grants.keyvalue) {
          host.deny(
            "wasi:keyvalue/store#open",
            identifier === SECRETS ? "secrets" : "keyvalue",
          );
          throw { tag: "access-denied" } satisfies StoreError;
        }
        if (identifier !== OWN) throw { tag: "no-such-store" } satisfies StoreError;
        return new Bucket(host);
      },
    },
    atomics: {
      increment: (_bucket: Bucket, key: string, delta: bigint): Promise<bigint> =>
        ask<"increment">(host, { op: "increment", key, delta }),
      swap: (cas: Cas, value: Uint8Array): Promise<void> => Cas.swap(host, cas, value),
    },
    batch: {
      async getMany(
        _bucket: Bucket,
        keys: string[],
      ): Promise<([string, Uint8Array] | undefined)[]> {
        const values = await ask<"get">(host, { op: "get", keys });
        return values.map((value, i) => value && [keys[i]!, value]);
      },
      async setMany(_bucket: Bucket, pairs: [string, Uint8Array][]): Promise<void> {
        await ask<"set">(host, { op: "set", pairs });
      },
      async deleteMany(_bucket: Bucket, keys: string[]): Promise<void> {
        await ask<"delete">(host, { op: "delete", keys });
      },
    },
  };
}
