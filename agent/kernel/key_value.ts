/**
 * The private key-value store of one component, behind `wasi:keyvalue`: what its operations do,
 * how much it takes, and the requests in which a guest's calls travel to the agent.
 *
 * Keys are text, values bytes. Every operation is all or nothing. Sizes are in bytes, of keys in
 * UTF-8. There is no expiry.
 *
 * @see https://github.com/WebAssembly/wasi-keyvalue (0.2.0-draft2)
 * @module
 */
import { RealmError } from "./error.ts";
import type { Service } from "./ports.ts";

/** Longest key. */
export const KEY_BYTES_MAX = 1024;
/** Largest value. */
export const VALUE_BYTES_MAX = 1024 * 1024;
/** Most keys of one store. */
export const KEYS_MAX = 100_000;
/** Most bytes of one store: keys, values and {@link PAIR_OVERHEAD_BYTES} for each pair. */
export const STORE_BYTES_MAX = 64 * 1024 * 1024;
/** What a pair counts beside its key and value. */
export const PAIR_OVERHEAD_BYTES = 64;
/** Most keys or pairs in one call. */
export const BATCH_MAX = 1000;
/** Most bytes of keys and values that one call takes or gives. */
export const BATCH_BYTES_MAX = 4 * 1024 * 1024;
/** Most keys of one page. */
export const PAGE_KEYS_MAX = 256;

/** A value as it was at one moment; its version changes with every write of its key. */
export interface KeyValueEntry {
  readonly value: Uint8Array;
  readonly version: number;
}

/** Where pairs are kept. Values are copied in and out. */
export interface KeyValueBackend {
  /** Does all of `act` or nothing. */
  transact<T>(act: () => T): T;
  find(key: string): KeyValueEntry | undefined;
  /** The size of a value; `undefined` where there is no such key. */
  sizeOf(key: string): number | undefined;
  put(key: string, value: Uint8Array, version: number): void;
  remove(key: string): void;
  /**
   * At most so many keys that were made after the one with the number `after`, in the order in
   * which they were made. Numbers are positive and never used twice.
   */
  page(after: number, keysMax: number): { readonly number: number; readonly key: string }[];
  /** What is there: pairs, bytes of keys and values, the highest version. */
  totals(): { readonly keys: number; readonly bytes: number; readonly version: number };
  close(): void;
}

/** No key: what a swap expects of one that is not there. */
const ABSENT = 0;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

function bytesOf(key: string): number {
  return encoder.encode(key).length;
}

function tooLarge(what: string, size: number, max: number): RealmError {
  return new RealmError("limit-exceeded", `${what} is ${size}, the most is ${max}`);
}

function checkKey(key: string): number {
  const size = bytesOf(key);
  if (size > KEY_BYTES_MAX) throw tooLarge("the key's length in bytes", size, KEY_BYTES_MAX);
  return size;
}

function checkValue(value: Uint8Array): void {
  const { length } = value;
  if (length > VALUE_BYTES_MAX) {
    throw tooLarge("the value's length in bytes", length, VALUE_BYTES_MAX);
  }
}

/** Whole numbers are kept as decimal text, so that `get` shows them and `set` can set them. */
function integerOf(value: Uint8Array): bigint {
  const text = decoder.decode(value.subarray(0, 32));
  const number = /^-?\d{1,20}$/.test(text) && value.length < 32 ? BigInt(text) : undefined;
  if (number === undefined || number !== BigInt.asIntN(64, number)) {
    throw new RealmError("refused", "the value is not a whole number in decimal");
  }
  return number;
}

/**
 * One store. Throws RealmError `limit-exceeded` past a bound, `refused` for what the value does not
 * allow, and what its backend throws when it cannot read or write.
 */
export class KeyValueStore {
  readonly #backend: KeyValueBackend;
  #keys: number;
  #bytes: number;
  #version: number;

  constructor(backend: KeyValueBackend) {
    this.#backend = backend;
    const { keys, bytes, version } = backend.totals();
    this.#keys = keys;
    this.#bytes = bytes + keys * PAIR_OVERHEAD_BYTES;
    this.#version = version;
  }

  /** The pairs there are, and the bytes they count. */
  get size(): { readonly keys: number; readonly bytes: number } {
    return { keys: this.#keys, bytes: this.#bytes };
  }

  has(key: string): boolean {
    checkKey(key);
    return this.#backend.sizeOf(key) !== undefined;
  }

  /** The value with its version; of a key that is not there, version 0 and no value. */
  read(key: string): KeyValueEntry | { readonly value: undefined; readonly version: number } {
    checkKey(key);
    return this.#backend.find(key) ?? { value: undefined, version: ABSENT };
  }

  /** The values of the keys, in their order. */
  get(keys: readonly string[]): (Uint8Array | undefined)[] {
    checkBatch(keys.length, 0);
    let bytes = 0;
    for (const key of keys) {
      bytes += checkKey(key) + (this.#backend.sizeOf(key) ?? 0);
      checkBatch(keys.length, bytes);
    }
    return keys.map((key) => this.#backend.find(key)?.value);
  }

  /** Sets all pairs, the last one of a key counts. */
  set(pairs: readonly (readonly [string, Uint8Array])[]): void {
    checkPairs(pairs);
    this.#change(() => {
      for (const [key, value] of pairs) this.#put(key, value);
    });
  }

  /** Keys that are not there are passed over. */
  delete(keys: readonly string[]): void {
    checkKeys(keys);
    this.#change(() => {
      for (const key of keys) {
        const size = this.#backend.sizeOf(key);
        if (size === undefined) continue;
        this.#backend.remove(key);
        this.#count(-1, -(bytesOf(key) + size));
      }
    });
  }

  /**
   * A page of keys in the order in which they were made. `cursor` is 0 or that of the page before;
   * there is none behind the last page.
   */
  list(cursor: number): { readonly keys: string[]; readonly cursor?: number } {
    const rows = this.#backend.page(cursor, PAGE_KEYS_MAX + 1);
    const shown = rows.slice(0, PAGE_KEYS_MAX);
    const keys = shown.map(({ key }) => key);
    return rows.length > shown.length ? { keys, cursor: shown.at(-1)!.number } : { keys };
  }

  /** Adds to a whole number; a key that is not there is 0. */
  increment(key: string, delta: bigint): bigint {
    checkKey(key);
    return this.#change(() => {
      const found = this.#backend.find(key);
      const sum = (found ? integerOf(found.value) : 0n) + delta;
      if (sum !== BigInt.asIntN(64, sum)) {
        throw new RealmError("refused", `the sum ${sum} does not fit 64 bits`);
      }
      this.#put(key, encoder.encode(String(sum)));
      return sum;
    });
  }

  /** Sets a key that still has this version; `false` where it has another. */
  swap(key: string, version: number, value: Uint8Array): boolean {
    checkKey(key);
    checkValue(value);
    return this.#change(() => {
      if ((this.#backend.find(key)?.version ?? ABSENT) !== version) return false;
      this.#put(key, value);
      return true;
    });
  }

  close(): void {
    this.#backend.close();
  }

  #put(key: string, value: Uint8Array): void {
    const before = this.#backend.sizeOf(key);
    if (before === undefined) this.#count(1, bytesOf(key) + value.length);
    else this.#count(0, value.length - before);
    this.#backend.put(key, value, ++this.#version);
  }

  #count(keys: number, bytes: number): void {
    this.#keys += keys;
    this.#bytes += bytes + keys * PAIR_OVERHEAD_BYTES;
  }

  /** All of `act` within the bounds of the store, or nothing. What does not grow is always fine. */
  #change<T>(act: () => T): T {
    const before = { keys: this.#keys, bytes: this.#bytes };
    try {
      return this.#backend.transact(() => {
        const result = act();
        if (this.#keys > Math.max(KEYS_MAX, before.keys)) {
          throw tooLarge("the number of keys", this.#keys, KEYS_MAX);
        }
        if (this.#bytes > Math.max(STORE_BYTES_MAX, before.bytes)) {
          throw tooLarge("the size of the store in bytes", this.#bytes, STORE_BYTES_MAX);
        }
        return result;
      });
    } catch (error) {
      this.#keys = before.keys;
      this.#bytes = before.bytes;
      throw error;
    }
  }
}

export function checkBatch(length: number, bytes: number): void {
  if (length > BATCH_MAX) throw tooLarge("the length of the list", length, BATCH_MAX);
  if (bytes > BATCH_BYTES_MAX) {
    throw tooLarge("the list's length in bytes", bytes, BATCH_BYTES_MAX);
  }
}

function checkKeys(keys: readonly string[]): void {
  checkBatch(keys.length, 0);
  for (const key of keys) checkKey(key);
}

function checkPairs(pairs: readonly (readonly [string, Uint8Array])[]): void {
  checkBatch(pairs.length, 0);
  let bytes = 0;
  for (const [key, value] of pairs) {
    checkValue(value);
    bytes += checkKey(key) + value.length;
    checkBatch(pairs.length, bytes);
  }
}

/**
 * Throws what a store would throw for the size of a request, whatever is in it: so that one which
 * is too large does not travel.
 */
export function checkSizes(request: KeyValueRequest): void {
  switch (request.op) {
    case "has":
    case "read":
    case "increment":
      checkKey(request.key);
      return;
    case "get":
    case "delete":
      return checkKeys(request.keys);
    case "set":
      return checkPairs(request.pairs);
    case "swap":
      checkKey(request.key);
      return checkValue(request.value);
    case "list":
  }
}

/** A guest's call on its way to the agent. */
export type KeyValueRequest =
  | { readonly op: "has"; readonly key: string }
  | { readonly op: "read"; readonly key: string }
  | { readonly op: "get"; readonly keys: readonly string[] }
  | { readonly op: "set"; readonly pairs: readonly (readonly [string, Uint8Array])[] }
  | { readonly op: "delete"; readonly keys: readonly string[] }
  | { readonly op: "list"; readonly cursor: number }
  | { readonly op: "increment"; readonly key: string; readonly delta: bigint }
  | {
    readonly op: "swap";
    readonly key: string;
    readonly version: number;
    readonly value: Uint8Array;
  };

/** What each request is answered with. */
export interface KeyValueResults {
  readonly has: boolean;
  readonly read: ReturnType<KeyValueStore["read"]>;
  readonly get: (Uint8Array | undefined)[];
  readonly set: undefined;
  readonly delete: undefined;
  readonly list: ReturnType<KeyValueStore["list"]>;
  readonly increment: bigint;
  readonly swap: boolean;
}

/** The result, or why there is none in words for the guest. */
export type KeyValueAnswer =
  | { readonly ok: KeyValueResults[keyof KeyValueResults] }
  | { readonly error: string; readonly denied?: true };

/**
 * Carries out a request of a guest, whose Worker is not trusted: anything may be in it. Throws a
 * `TypeError` for what is no request; the guest is told nothing of the host when the store fails.
 */
export function answerKeyValue(store: KeyValueStore, request: unknown): KeyValueAnswer {
  const valid = parseKeyValueRequest(request);
  try {
    return { ok: carryOut(store, valid) };
  } catch (error) {
    if (!(error instanceof RealmError)) throw error;
    const isGuests = error.code === "limit-exceeded" || error.code === "refused";
    return { error: isGuests ? error.message : "the store cannot be used now" };
  }
}

function carryOut(store: KeyValueStore, request: KeyValueRequest) {
  switch (request.op) {
    case "has":
      return store.has(request.key);
    case "read":
      return store.read(request.key);
    case "get":
      return store.get(request.keys);
    case "set":
      return store.set(request.pairs) as undefined;
    case "delete":
      return store.delete(request.keys) as undefined;
    case "list":
      return store.list(request.cursor);
    case "increment":
      return store.increment(request.key, request.delta);
    case "swap":
      return store.swap(request.key, request.version, request.value);
  }
}

type Fields = Readonly<Record<string, unknown>>;

const isText = (value: unknown): value is string =>
  typeof value === "string" && value.isWellFormed();
const isBytes = (value: unknown): value is Uint8Array => value instanceof Uint8Array;
const isCount = (value: unknown): value is number =>
  Number.isSafeInteger(value) && Number(value) >= 0;
const isList = (value: unknown, of: (item: unknown) => boolean): boolean =>
  Array.isArray(value) && value.every(of);
const isPair = (value: unknown): boolean =>
  Array.isArray(value) && value.length === 2 && isText(value[0]) && isBytes(value[1]);
const isDelta = (value: unknown): boolean =>
  typeof value === "bigint" && value >= -(2n ** 63n) && value < 2n ** 64n;

/** For each request: whether the fields are what they should be. */
const VALID: Readonly<Record<KeyValueRequest["op"], (fields: Fields) => boolean>> = {
  has: ({ key }) => isText(key),
  read: ({ key }) => isText(key),
  get: ({ keys }) => isList(keys, isText),
  set: ({ pairs }) => isList(pairs, isPair),
  delete: ({ keys }) => isList(keys, isText),
  list: ({ cursor }) => isCount(cursor),
  increment: ({ key, delta }) => isText(key) && isDelta(delta),
  swap: ({ key, version, value }) => isText(key) && isCount(version) && isBytes(value),
};

/** What a guest's Worker asks. Throws a `TypeError` for what is no request. */
export function parseKeyValueRequest(request: unknown): KeyValueRequest {
  const fields = (typeof request === "object" && request !== null ? request : {}) as Fields;
  const { op } = fields;
  const isKnown = typeof op === "string" && Object.hasOwn(VALID, op);
  if (!isKnown || !VALID[op as KeyValueRequest["op"]](fields)) {
    throw new TypeError("not a request of a key-value store");
  }
  return request as KeyValueRequest;
}

/** The store as the service `keyvalue` of replicas; it outlives them. */
export function keyValueService(store: KeyValueStore): Service {
  return {
    call: async (request) => await answerKeyValue(store, request),
    close: () => Promise.resolve(),
  };
}
