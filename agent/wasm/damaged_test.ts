/**
 * What readers of WebAssembly files do with damaged ones: each comes from a stranger, and is read in
 * the agent itself before anything else looks at it.
 *
 * @module
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import { RealmError } from "../kernel/error.ts";
import { readBorder } from "./border.ts";
import { coreModules, coreNames, identify } from "./component.ts";
import { readComposition } from "./composition.ts";
import { scanFeatures } from "./features.ts";
import { meter } from "./meter/meter.ts";
import { decodeModule } from "./meter/module.ts";

const numRuns = Deno.env.get("SLOW") ? 20_000 : 150;

const FILES = [
  "apps/counter/state-apply",
  "apps/poll/behavior",
  "apps/poll/interaction",
  "clock-apply",
  "http-hello",
  "memory-owner",
].map((name) => Deno.readFileSync(new URL(`../../fixtures/${name}.wasm`, import.meta.url)));

const CEILING = { memoryPagesMax: 1_000, tableElementsMax: 1_000 };
const each = <T>(bytes: Uint8Array, read: (core: Uint8Array) => T) => {
  for (const { start, end } of coreModules(bytes)) read(bytes.subarray(start, end));
};
const READERS: Readonly<Record<string, (bytes: Uint8Array) => unknown>> = {
  identify,
  readBorder,
  readComposition,
  coreModules: (bytes) => [...coreModules(bytes)],
  coreNames: (bytes) => each(bytes, coreNames),
  decodeModule: (bytes) => each(bytes, decodeModule),
  scanFeatures: (bytes) => each(bytes, (core) => scanFeatures(core, () => {})),
  meter: (bytes) => each(bytes, (core) => meter(core, CEILING)),
};

/** Changes of a file, at places that are near its beginning as often as not. */
const place = fc.oneof(fc.nat(400), fc.nat(20_000));
const byte = fc.oneof(fc.constantFrom(0, 1, 0x7f, 0x80, 0xff), fc.nat(255));
const change = fc.oneof(
  fc.record({
    kind: fc.constant("set" as const),
    place,
    bytes: fc.array(byte, { minLength: 1, maxLength: 6 }),
  }),
  fc.record({
    kind: fc.constant("insert" as const),
    place,
    bytes: fc.array(byte, { minLength: 1, maxLength: 6 }),
  }),
  fc.record({ kind: fc.constant("cut" as const), place, length: fc.nat(200) }),
  fc.record({ kind: fc.constant("end" as const), place }),
  fc.record({ kind: fc.constant("again" as const), place, from: place, length: fc.nat(2_000) }),
);
type Change = typeof change extends fc.Arbitrary<infer T> ? T : never;

function changed(bytes: Uint8Array, change: Change): Uint8Array {
  const at = change.place % (bytes.length + 1);
  const joined = (...parts: ArrayLike<number>[]) =>
    Uint8Array.from(parts.flatMap((p) => [...Array.from(p)]));
  const [before, after] = [bytes.subarray(0, at), bytes.subarray(at)];
  switch (change.kind) {
    case "set":
      return joined(before, change.bytes, after.subarray(change.bytes.length));
    case "insert":
      return joined(before, change.bytes, after);
    case "cut":
      return joined(before, after.subarray(change.length));
    case "end":
      return before.slice();
    case "again": {
      const from = change.from % (bytes.length + 1);
      return joined(before, bytes.subarray(from, from + change.length), after);
    }
  }
}

for (const [name, read] of Object.entries(READERS)) {
  Deno.test(`${name}() of damaged files answers or throws a RealmError`, () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...FILES),
        fc.array(change, { minLength: 1, maxLength: 4 }),
        (file, changes) => {
          const damaged = changes.reduce(changed, file);
          try {
            read(damaged);
          } catch (error) {
            assert.ok(error instanceof RealmError, `${(error as Error).stack}`);
          }
        },
      ),
      { numRuns },
    );
  });
}
