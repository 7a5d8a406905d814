/**
 * Parts of apps under the ordinary glue, with a host that is a plain map: what they do, without the
 * kernel.
 *
 * @module
 */
import { $init, generate } from "@bytecodealliance/jco-transpile/component";
import { createHash } from "node:crypto";

const FIXTURES = new URL("../fixtures/", import.meta.url);

/** The bytes of a fixture. */
export function fixture(name: string): Uint8Array {
  return Deno.readFileSync(new URL(`${name}.wasm`, FIXTURES));
}

/** The event that is applied, and who looks. */
export interface Context {
  author: Uint8Array;
  kind: string;
  id: Uint8Array;
}

/** A map of bytes. */
export class State {
  readonly map = new Map<string, Uint8Array>();

  static key(key: Uint8Array): string {
    return [...key].map((byte) => String.fromCharCode(byte)).join("");
  }

  static bytes(text: string): Uint8Array {
    return Uint8Array.from(text, (char) => char.charCodeAt(0));
  }
}

/** What is exported. */
export interface Guest {
  apply?(payload: Uint8Array): void;
  propose?(
    intent: Uint8Array,
    input: Uint8Array,
  ): { readonly kind: Uint8Array; readonly payload: Uint8Array }[];
}

/** An instance of a part of an app, which is bound to a state and looks at the context. */
export async function guest(name: string, state: State, context: Context): Promise<Guest> {
  await $init;
  const { files } = await generate(fixture(name), {
    name,
    instantiation: { tag: "sync" },
    noTypescript: true,
    noNodejsCompat: true,
  });
  const glue = new TextDecoder().decode(find(files, `${name}.js`));
  const { instantiate } = await import(`data:text/javascript,${encodeURIComponent(glue)}`);
  const imports = {
    "realm:app/state-read": {
      get: (key: Uint8Array) => state.map.get(State.key(key)),
      scan: (start: Uint8Array, end: Uint8Array, limit: number) =>
        [...state.map].sort(([a], [b]) => a < b ? -1 : 1)
          .filter(([key]) => key >= State.key(start) && (end.length === 0 || key < State.key(end)))
          .slice(0, limit).map(([key, value]) => ({ key: State.bytes(key), value })),
    },
    "realm:app/state-write": {
      put: (key: Uint8Array, value: Uint8Array) =>
        void state.map.set(State.key(key), value.slice()),
      delete: (key: Uint8Array) => void state.map.delete(State.key(key)),
    },
    "realm:app/event": {
      id: () => context.id,
      author: () => context.author,
      kind: () => State.bytes(context.kind),
      seq: () => 0n,
      lamport: () => 0n,
    },
    "realm:app/identity": { key: () => context.author },
  };
  const core = (file: string) => new WebAssembly.Module(find(files, file) as BufferSource);
  const instance = instantiate(core, imports);
  return instance.applier ?? instance.proposer;
}

function find(files: readonly (readonly [string, Uint8Array])[], name: string): Uint8Array {
  return files.find(([file]) => file === name)![1];
}

/** Thirty-two bytes that stand for a key or the name of an event. */
export function bytes32(of: string): Uint8Array {
  return new Uint8Array(createHash("sha256").update(of).digest());
}
