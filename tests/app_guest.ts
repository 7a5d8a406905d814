/**
 * Parts of apps under the ordinary glue, with a host that is a plain map: what they do, without the
 * kernel.
 *
 * @module
 */
import { generate } from "./wasm_glue.ts";
import { createHash } from "node:crypto";
import { fileURLToPath } from "node:url";
import type { Role } from "../agent/apps/bundle.ts";
import { buildBundle } from "../agent/topics/bundle_builder.ts";
import "./wasm_tools.ts";
import { webCryptoBackend } from "../agent/kernel/signature_backends.ts";
import { keyPairOf, signerOf } from "../agent/kernel/verify.ts";

const FIXTURES = new URL("../fixtures/", import.meta.url);

/** The bytes of a fixture. */
export function fixture(name: string): Uint8Array {
  return Deno.readFileSync(new URL(`${name}.wasm`, FIXTURES));
}

/** The components of `fixtures/apps/NAME`, as they are in its bundle, by role. */
export async function appComponents(name: string): Promise<ReadonlyMap<Role, Uint8Array>> {
  const folder = fileURLToPath(new URL(`apps/${name}`, FIXTURES));
  const keys = await keyPairOf(new Uint8Array(32).fill(7), webCryptoBackend());
  const signer = signerOf(keys, webCryptoBackend());
  return (await buildBundle(folder, signer, webCryptoBackend())).packed.components;
}

/** The event that is applied, and who looks. */
export interface Context {
  author: Uint8Array;
  kind: string;
  id: Uint8Array;
  /** Who made the topic; 32 zero bytes unless given. */
  creator?: Uint8Array;
  /** Milliseconds since 1970; 0 unless given. */
  now?: number;
  /** What a behavior proposes; an error is thrown. */
  propose?(kind: Uint8Array, payload: Uint8Array): Uint8Array;
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
  render?(): { parent: number; kind: string; text: string; id: string }[];
  handle?(
    input: { tag: "press" | "key"; val: string } | { tag: "submit"; val: [string, string] },
  ): { readonly name: Uint8Array; readonly input: Uint8Array }[];
  wake?(cause: "started" | "event" | "time"): bigint | undefined;
}

/** An instance of a part of an app, which is bound to a state and looks at the context. */
export async function guest(
  component: Uint8Array,
  state: State,
  context: Context,
): Promise<Guest> {
  const { files } = await generate(component, {
    name: "guest",
    instantiation: { tag: "sync" },
    noTypescript: true,
    noNodejsCompat: true,
  });
  const glue = new TextDecoder().decode(find(files, "guest.js"));
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
    "realm:app/params": {
      get: () => undefined,
      creator: () => context.creator ?? new Uint8Array(32),
    },
    "realm:app/identity": { key: () => context.author },
    "realm:app/clock": { now: () => BigInt(context.now ?? 0) },
    "realm:app/outbox": {
      propose: (kind: Uint8Array, payload: Uint8Array) => context.propose!(kind, payload),
    },
  };
  const core = (file: string) => new WebAssembly.Module(find(files, file) as BufferSource);
  const instance = instantiate(core, imports);
  return instance.applier ?? instance.proposer ?? instance.view ?? instance.bot;
}

function find(files: readonly (readonly [string, Uint8Array])[], name: string): Uint8Array {
  return files.find(([file]) => file === name)![1];
}

/** Thirty-two bytes that stand for a key or the name of an event. */
export function bytes32(of: string): Uint8Array {
  return new Uint8Array(createHash("sha256").update(of).digest());
}
