/**
 * Keys and bundles for tests of bundles.
 *
 * @module
 */
import { nobleBackend } from "../kernel/signature_backends.ts";
import { keyPairOf, signerOf } from "../kernel/verify.ts";
import type { Bundle, Role } from "./bundle.ts";
import { rawCidOf } from "./car.ts";

/** A backend that needs nothing of the platform. */
export const BACKEND = nobleBackend();

/** A key whose seed is 32 times `byte`. */
export async function testSigner(byte: number) {
  return signerOf(await keyPairOf(new Uint8Array(32).fill(byte), BACKEND), BACKEND);
}

/** Bytes that no check of components would take, for tests of what is around them. */
export const COMPONENTS: ReadonlyMap<Role, Uint8Array> = new Map<Role, Uint8Array>([
  ["state-apply", Uint8Array.of(1, 2, 3)],
  ["behavior", Uint8Array.of(4, 5)],
]);

/** A bundle of {@link COMPONENTS}. */
export function testBundle(publisher: Uint8Array, changes: Partial<Bundle> = {}): Bundle {
  return {
    name: "poll",
    version: "1.2.3",
    publisher,
    app: undefined,
    abi: 1,
    stateDigest: 1,
    components: new Map([...COMPONENTS].map(([role, bytes]) => [role, rawCidOf(bytes)])),
    modules: new Map([
      ["permission", { component: rawCidOf(Uint8Array.of(9)), into: ["state-apply"] }],
    ]),
    capabilities: ["clock", "network", "state-read", "state-write"],
    network: ["https://example.com"],
    ...changes,
  };
}
