/**
 * A state-apply component as the ordinary glue runs it, for tests that compare with our own code.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { generate } from "../../../tests/wasm_glue.ts";
import { sha256 } from "@noble/hashes/sha2.js";
import { decodeCanonical } from "../../kernel/canonical.ts";
import type { VerifySync } from "../../kernel/verify.ts";
import type { State } from "../state.ts";
import type { AppliedEvent, AppSetting } from "./host_imports.ts";
import type { Verdict } from "./state_apply.ts";

/** Applies an event with a fresh instance, without bounds: the verdict, and the state if accepted. */
export async function applyByGlue(
  component: Uint8Array,
  event: AppliedEvent,
  state: State,
  { creator, params }: AppSetting,
  verify: VerifySync,
): Promise<{ verdict: Verdict; state: State }> {
  const { files } = await generate(component, {
    name: "guest",
    instantiation: { tag: "sync" },
    noTypescript: true,
    noNodejsCompat: true,
  } as any);
  const source = files.find(([name]: [string, Uint8Array]) => name.endsWith(".js"))!;
  const glue = await import(
    `data:text/javascript;base64,${Buffer.from(source[1]).toString("base64")}`
  );
  const journal = state.journal();
  const check = (isGood: boolean) => {
    if (!isGood) throw Object.assign(new Error(), { payload: undefined });
  };
  const isCanonical = (data: Uint8Array) => {
    try {
      decodeCanonical(data);
      return true;
    } catch {
      return false;
    }
  };
  const { applier } = glue.instantiate(
    (name: string) =>
      new WebAssembly.Module(
        files.find(([file]: [string, Uint8Array]) => file === name)![1] as Uint8Array<ArrayBuffer>,
      ),
    {
      "realm:app/state-read": {
        get: (key: Uint8Array) => journal.get(key),
        scan: (a: Uint8Array, b: Uint8Array, limit: number) => journal.scan(a, b, limit),
      },
      "realm:app/state-write": {
        put: (key: Uint8Array, value: Uint8Array) => journal.put(key.slice(), value.slice()),
        delete: (key: Uint8Array) => journal.delete(key),
      },
      "realm:app/params": {
        get: (name: Uint8Array) => params.get(Buffer.from(name).toString("latin1")),
        creator: () => creator,
      },
      "realm:app/event": {
        id: () => event.id,
        author: () => event.author,
        seq: () => BigInt(event.seq),
        lamport: () => BigInt(event.lamport),
        kind: () => event.kind,
      },
      "realm:app/crypto": {
        sha256,
        verify: (k: Uint8Array, s: Uint8Array, m: Uint8Array) => check(verify(k, m, s)),
        checkCanonical: (data: Uint8Array) => check(isCanonical(data)),
      },
      "realm:app/log": { write: () => {} },
    },
  );
  try {
    applier.apply(event.payload);
    return { verdict: { kind: "accepted" }, state: journal.commit() };
  } catch (error) {
    const reason = (error as { payload?: Uint8Array }).payload;
    const verdict: Verdict = reason === undefined
      ? { kind: "trapped", why: `${error}` }
      : { kind: "rejected", reason };
    return { verdict, state };
  }
}
