/**
 * The bucket `secrets` of `wasi:keyvalue`: values that were granted by name, to be read and nothing
 * else. A name that was not granted looks as one that is not there.
 *
 * @module
 */
import {
  checkBatch,
  type KeyValueAnswer,
  type KeyValueRequest,
  parseKeyValueRequest,
} from "./key_value.ts";
import type { Service } from "./ports.ts";

/** Largest value of a secret. */
export const SECRET_BYTES_MAX = 16 * 1024;

/** Where the values come from, each time one is asked for: a new value is read at once. */
export interface SecretValues {
  /** Those that were granted. */
  readonly names: ReadonlySet<string>;
  /** The value of a granted name, if it has one here. What it throws the guest is not told. */
  read(name: string): Promise<Uint8Array | undefined>;
}

/** The service `secrets` of a replica. */
export function secretsService(values: SecretValues): Service {
  return {
    call: async (request) => {
      const valid = parseKeyValueRequest(request);
      try {
        return await answer(values, valid);
      } catch {
        return { error: "the secret cannot be read now" } satisfies KeyValueAnswer;
      }
    },
    close: () => Promise.resolve(),
  };
}

async function answer(values: SecretValues, request: KeyValueRequest): Promise<KeyValueAnswer> {
  const read = async (name: string) => values.names.has(name) ? await values.read(name) : undefined;
  switch (request.op) {
    case "has":
      return { ok: await read(request.key) !== undefined };
    case "read":
      return { ok: { value: await read(request.key), version: 0 } };
    case "get": {
      checkBatch(request.keys.length, 0);
      const found = [];
      for (const key of request.keys) found.push(await read(key));
      return { ok: found };
    }
    case "list":
      return { ok: { keys: request.cursor === 0 ? [...values.names].sort() : [] } };
    case "set":
    case "delete":
    case "increment":
    case "swap":
      return { error: "secrets can only be read", denied: true };
  }
}
