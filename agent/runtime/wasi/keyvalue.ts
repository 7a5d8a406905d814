/**
 * `wasi:keyvalue`, pinned to 0.2.0-draft2: store, atomics and batch of the component's own bucket,
 * which the agent keeps, and of the bucket `secrets`, which can only be read. What of the first draft (0.2.0-draft) is in both works for either; its
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

/** Buckets by the name that a guest opens, with the service that each is. */
const SERVICES = { default: "keyvalue", secrets: "secrets" } as const;
type ServiceName = typeof SERVICES[keyof typeof SERVICES];

/** What `read` answers. */
type Read = KeyValueResults["read"];

/** Asks the agent; what it refuses is the interface's `other`. */
async function ask<Op extends KeyValueRequest["op"]>(
  host: WasiInstance,
  service: ServiceName,
  request: Extract<KeyValueRequest, { op: Op }>,
): Promise<KeyValueResults[Op]> {
  try {
    // A list that names the same bytes over and over is more than the guest has, twice.
    checkSizes(request);
  } catch (error) {
    throw other((error as Error).message);
  }
  const call = host.ctx.agent?.call(service, request);
  if (call === undefined) throw other("there is no store");
  let answer: KeyValueAnswer;
  try {
    answer = await call.answering() as KeyValueAnswer;
  } catch {
    throw other("the store cannot be used now");
  } finally {
    call.drop();
  }
  if ("error" in answer) {
    throw "denied" in answer ? { tag: "access-denied" } satisfies StoreError : other(answer.error);
  }
  return answer.ok as KeyValueResults[Op];
}

/** Resource `bucket`. */
export class Bucket extends Resource {
  constructor(host: WasiInstance, readonly service: ServiceName) {
    super(host, "bucket");
  }

  async get(key: string): Promise<Uint8Array | undefined> {
    return (await ask<"get">(this.host, this.service, { op: "get", keys: [key] }))[0];
  }

  async set(key: string, value: Uint8Array): Promise<void> {
    await ask<"set">(this.host, this.service, { op: "set", pairs: [[key, value]] });
  }

  async delete(key: string): Promise<void> {
    await ask<"delete">(this.host, this.service, { op: "delete", keys: [key] });
  }

  exists(key: string): Promise<boolean> {
    return ask<"has">(this.host, this.service, { op: "has", key });
  }

  async listKeys(
    cursor: string | bigint | undefined,
  ): Promise<{ keys: string[]; cursor: string | undefined }> {
    const after = cursor === undefined ? 0 : cursorOf(String(cursor));
    const page = await ask<"list">(this.host, this.service, { op: "list", cursor: after });
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
  readonly #service: ServiceName;
  readonly #key: string;
  readonly #read: Read;

  constructor(host: WasiInstance, service: ServiceName, key: string, read: Read) {
    super(host, "cas");
    this.#service = service;
    this.#key = key;
    this.#read = read;
    this[HOLD](2 * key.length + (read.value?.length ?? 0));
  }

  static async new(host: WasiInstance, { service }: Bucket, key: string): Promise<Cas> {
    return new Cas(host, service, key, await ask<"read">(host, service, { op: "read", key }));
  }

  current(): Uint8Array | undefined {
    return this.#read.value;
  }

  /** `swap`: the handle is the host's by now. */
  static async swap(host: WasiInstance, cas: Cas, value: Uint8Array): Promise<void> {
    const service = cas.#service;
    const key = cas.#key;
    const { version } = cas.#read;
    cas[Symbol.dispose]();
    try {
      if (await ask<"swap">(host, service, { op: "swap", key, version, value })) return;
      throw {
        tag: "cas-failed",
        val: new Cas(host, service, key, await ask<"read">(host, service, { op: "read", key })),
      };
    } catch (error) {
      const isStores = ["other", "access-denied"].includes((error as StoreError).tag);
      throw isStores ? { tag: "store-error", val: error } : error;
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
        const service = Object.hasOwn(SERVICES, identifier)
          ? SERVICES[identifier as keyof typeof SERVICES]
          : undefined;
        const { keyvalue, secrets } = host.ctx.grants;
        const isGranted = service === "secrets" ? secrets : keyvalue;
        if (!isGranted) {
          host.deny("wasi:keyvalue/store#open", service ?? "keyvalue");
          throw { tag: "access-denied" } satisfies StoreError;
        }
        if (service === undefined) throw { tag: "no-such-store" } satisfies StoreError;
        return new Bucket(host, service);
      },
    },
    atomics: {
      increment: ({ service }: Bucket, key: string, delta: bigint): Promise<bigint> =>
        ask<"increment">(host, service, { op: "increment", key, delta }),
      swap: (cas: Cas, value: Uint8Array): Promise<void> => Cas.swap(host, cas, value),
    },
    batch: {
      async getMany(
        { service }: Bucket,
        keys: string[],
      ): Promise<([string, Uint8Array] | undefined)[]> {
        const values = await ask<"get">(host, service, { op: "get", keys });
        return values.map((value, i) => value && [keys[i]!, value]);
      },
      async setMany({ service }: Bucket, pairs: [string, Uint8Array][]): Promise<void> {
        await ask<"set">(host, service, { op: "set", pairs });
      },
      async deleteMany({ service }: Bucket, keys: string[]): Promise<void> {
        await ask<"delete">(host, service, { op: "delete", keys });
      },
    },
  };
}
