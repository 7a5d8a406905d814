import assert from "node:assert/strict";
import fc from "fast-check";
import { cidOf, encodeCanonical, sha256HexSync } from "../kernel/canonical.ts";
import { type ErrorCode, RealmError } from "../kernel/error.ts";
import {
  ASKS,
  type Bundle,
  BUNDLE_BYTES_MAX,
  BUNDLED_COMPONENT_BYTES_MAX,
  decodeBundle,
  encodeBundle,
  pack,
  packBundle,
  type PackedBundle,
  type Role,
  ROLES,
  succeed,
  unpackBundle,
  verifyBundle,
} from "./bundle.ts";
import { BACKEND, COMPONENTS, testBundle, testSigner } from "./bundle_fake.ts";
import { type Block, decodeCar, encodeCar, rawCidOf } from "./car.ts";

const RUNS = Deno.env.get("SLOW") ? 20_000 : 150;
const LIMITS = { bytesMax: 1 << 20, blocksMax: 8, blockBytesMax: 1 << 19 };

const code = (wanted: ErrorCode, message: RegExp) => (error: unknown) =>
  error instanceof RealmError && error.code === wanted && message.test(error.message) ||
  assert.fail(`${error}, wanted ${wanted} ${message}`);

const alice = await testSigner(1);
const bob = await testSigner(2);
const packed = await packBundle(testBundle(alice.publicKey), COMPONENTS, alice);
const blocks = decodeCar(packed, LIMITS);

Deno.test("packBundle() makes for ever the bytes that it made first", () => {
  const { id } = unpackBundle(packed);
  assert.equal(id.toString(), "bafyreibzwy7tscl6xmroalai4tadw23rrhbuk5xhujzuanmaah5d6vcpji");
  assert.equal(
    sha256HexSync(packed),
    "6d5f19f429ac56adb281aa041775f65df30ad8f5b1da4cce523e605602c50be4",
  );
});

Deno.test("unpackBundle() gives what was packed, and verifyBundle() that it is the publisher's", async () => {
  const unpacked = unpackBundle(packed);
  await verifyBundle(unpacked, BACKEND);
  assert.deepEqual(unpacked.bundle, testBundle(alice.publicKey));
  assert.deepEqual(unpacked.components, COMPONENTS);
  assert.ok(unpacked.app.equals(unpacked.id));
  assert.deepEqual(pack(unpacked), packed);
});

const label = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?$/);
const number = fc.integer({ min: 0, max: 999_999_999 });
const bytes = fc.uint8Array({ maxLength: 20 });
const anyBundle: fc.Arbitrary<{ bundle: Bundle; components: Map<Role, Uint8Array> }> = fc.record({
  name: label,
  version: fc.tuple(number, number, number, fc.constantFrom("", "-rc.1", "-a-b"))
    .map(([a, b, c, tail]) => `${a}.${b}.${c}${tail}`),
  publisher: fc.uint8Array({ minLength: 32, maxLength: 32 }),
  app: fc.option(bytes.map((each) => cidOf(each)), { nil: undefined }),
  roles: fc.subarray([...ROLES].slice(1)),
  bytes: fc.array(bytes, { minLength: 4, maxLength: 4 }),
  modules: fc.uniqueArray(label, { maxLength: 3 }),
  capabilities: fc.subarray([...ASKS].filter((name) => name !== "network")),
}).map(({ roles, bytes, modules, ...rest }) => {
  const components = new Map<Role, Uint8Array>(
    (["state-apply", ...roles] as Role[]).map((role, i) => [role, bytes[i]!]),
  );
  const bundle = {
    ...rest,
    abi: 1,
    stateDigest: 1,
    components: new Map([...components].map(([role, each]) => [role, rawCidOf(each)])),
    modules: new Map(
      modules.sort().map((
        name,
      ) => [name, { component: rawCidOf(bytes[0]!), into: [...components.keys()] }]),
    ),
    network: [],
  };
  return { bundle, components };
});

Deno.test("decodeBundle() inverts encodeBundle()", () => {
  fc.assert(
    fc.property(anyBundle, ({ bundle }) => {
      assert.deepEqual(decodeBundle(encodeBundle(bundle)), bundle);
    }),
    { numRuns: RUNS },
  );
});

Deno.test("unpackBundle() inverts pack(), also where two roles are one component", () => {
  fc.assert(
    fc.property(anyBundle, ({ bundle, components }) => {
      const first = testBundle(alice.publicKey);
      const app = bundle.app === undefined ? undefined : cidOf(encodeBundle(first));
      const whole = { ...bundle, app };
      const id = cidOf(encodeBundle(whole));
      const all: PackedBundle = {
        id,
        bundle: whole,
        signature: new Uint8Array(64),
        succession: [{ to: bundle.publisher, signature: new Uint8Array(64).fill(7) }],
        first: app === undefined ? whole : first,
        app: app ?? id,
        components,
      };
      assert.deepEqual(unpackBundle(pack(all)), all);
    }),
    { numRuns: RUNS },
  );
});

Deno.test("unpackBundle() answers any bytes with RealmError, and changed ones never with a bundle", () => {
  const refused = (bytes: Uint8Array) => {
    try {
      unpackBundle(bytes);
    } catch (error) {
      if (error instanceof RealmError) return true;
      throw error;
    }
    return false;
  };
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), refused), { numRuns: RUNS });
  const change = fc.record({
    at: fc.nat(packed.length - 1),
    by: fc.integer({ min: 1, max: 255 }),
  });
  fc.assert(
    fc.property(change, ({ at, by }) => {
      const changed = packed.slice();
      changed[at]! ^= by;
      return refused(changed);
    }),
    { numRuns: RUNS },
  );
  for (let length = 0; length < packed.length; length++) {
    assert.ok(refused(packed.subarray(0, length)), `${length} bytes`);
  }
});

/** The archive with other blocks. */
const archive = (change: (blocks: Block[]) => Block[]) =>
  encodeCar(change([...blocks]) as [Block, ...Block[]]);
const raw = (bytes: Uint8Array): Block => ({ cid: rawCidOf(bytes), bytes });
const canonical = (value: Parameters<typeof encodeCanonical>[0]): Block => {
  const bytes = encodeCanonical(value);
  return { cid: cidOf(bytes), bytes };
};

Deno.test("unpackBundle() refuses blocks that are missing, twice, too many or elsewhere", () => {
  const cases: [string, (blocks: Block[]) => Block[], ErrorCode, RegExp][] = [
    ["no seal", ([a, _, c, d]) => [a!, c!, d!], "corrupt", /no seal/],
    ["manifest alone", ([a]) => [a!], "corrupt", /no seal/],
    ["no component", ([a, b, c]) => [a!, b!, c!], "corrupt", /missing at its place/],
    ["other order", ([a, b, c, d]) => [a!, b!, d!, c!], "corrupt", /missing at its place/],
    ["twice", ([a, b, c, d]) => [a!, b!, c!, c!, d!], "corrupt", /twice/],
    ["one more", (all) => [...all, raw(Uint8Array.of(8))], "corrupt", /belongs to nothing/],
    ["raw root", (all) => [raw(Uint8Array.of(8)), ...all], "corrupt", /no manifest/],
    [
      "many",
      (all) => [...all, ...Array.from({ length: 9 }, (_, i) => raw(Uint8Array.of(i, 77)))],
      "limit-exceeded",
      /more than 7 blocks/,
    ],
    [
      "seal of another bundle",
      ([a, _, ...rest]) => [
        a!,
        canonical({
          bundle: cidOf(a!.bytes.slice(1)),
          signature: new Uint8Array(64),
          succession: [],
        }),
        ...rest,
      ],
      "corrupt",
      /seal is of another/,
    ],
    [
      "a long succession",
      ([a, _, ...rest]) => [
        a!,
        canonical({
          bundle: a!.cid,
          signature: new Uint8Array(64),
          succession: Array.from({ length: 65 }, () => ({
            to: new Uint8Array(32),
            signature: new Uint8Array(64),
          })),
        }),
        ...rest,
      ],
      "limit-exceeded",
      /65 steps/,
    ],
  ];
  for (const [what, change, wanted, message] of cases) {
    assert.throws(() => unpackBundle(archive(change)), code(wanted, message), what);
  }
});

Deno.test("unpackBundle() takes no other first bundle than the app's, nor a later one for it", async () => {
  const block = (bundle: Bundle): Block => {
    const bytes = encodeBundle(bundle);
    return { cid: cidOf(bytes), bytes };
  };
  const first = block(testBundle(alice.publicKey));
  const later = testBundle(bob.publicKey, { app: first.cid });
  // Bob says that he made the first one himself: then no succession would be needed.
  const his = block(testBundle(bob.publicKey));
  const origin = { first: testBundle(alice.publicKey), succession: [] };
  const [root, seal, , ...rest] = decodeCar(
    await packBundle(later, COMPONENTS, bob, origin),
    LIMITS,
  );
  const forged = encodeCar([root, seal!, his, ...rest]);
  assert.throws(() => unpackBundle(forged), code("corrupt", /first bundle is missing/));
  const chained = testBundle(bob.publicKey, { app: block(later).cid, version: "3.0.0" });
  const bytes = await packBundle(chained, COMPONENTS, bob, { first: later, succession: [] });
  assert.throws(() => unpackBundle(bytes), code("corrupt", /is not a first one/));
});

Deno.test("unpackBundle() refuses bytes that are not of their name, and sizes past the bounds", () => {
  const [a, b, c, d] = blocks;
  const lied = archive(() => [a!, b!, { cid: c!.cid, bytes: Uint8Array.of(6, 6, 6) }, d!]);
  assert.throws(() => unpackBundle(lied), code("digest-mismatch", /has bytes of/));
  const large = archive(() => [a!, b!, raw(new Uint8Array(BUNDLED_COMPONENT_BYTES_MAX + 1)), d!]);
  assert.throws(() => unpackBundle(large), code("limit-exceeded", /wanted at most/));
  const huge = new Uint8Array(BUNDLE_BYTES_MAX + 1);
  assert.throws(() => unpackBundle(huge), code("limit-exceeded", /67108865 bytes/));
});

Deno.test("decodeCar() refuses lengths that lie, that are not shortest, and what is behind the end", () => {
  const cases: [string, number[], ErrorCode][] = [
    ["nothing", [], "corrupt"],
    [
      "a length without end",
      [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
      "limit-exceeded",
    ],
    ["a long header", [0xff, 0xff, 0x7f], "limit-exceeded"],
    ["a length that is not shortest", [0xba, 0x00], "corrupt"],
    ["a header past the end", [0x3a, 0x01], "corrupt"],
  ];
  for (const [what, bytes, wanted] of cases) {
    assert.throws(() => decodeCar(Uint8Array.from(bytes), LIMITS), code(wanted, /bundle/), what);
  }
  const longer = new Uint8Array([0x80 + packed[0]!, 0, ...packed.subarray(1)]);
  assert.throws(() => decodeCar(longer, LIMITS), code("corrupt", /not shortest/));
  const more = new Uint8Array([...packed, 0]);
  assert.throws(() => decodeCar(more, LIMITS), code("corrupt", /not named/));
  const many = encodeCar([raw(Uint8Array.of(1))]);
  const roots = new Uint8Array([...many]);
  roots[roots.length - 1]! ^= 1;
  assert.throws(() => decodeCar(roots, LIMITS), code("digest-mismatch", /has bytes of/));
});

Deno.test("decodeBundle() refuses a manifest with any field changed to something else", () => {
  const bundle = testBundle(alice.publicKey);
  const refused: Partial<Record<keyof Bundle, unknown[]>> = {
    name: ["", "Poll", "a".repeat(64), "-a", 1, "a_b"],
    version: ["1", "1.2", "01.2.3", "1.2.3+x", "1.2.3-", 1],
    publisher: [new Uint8Array(31), "key"],
    app: [rawCidOf(Uint8Array.of(1)), "x"],
    abi: [0, 1.5, "1"],
    stateDigest: [0, -1],
    components: [new Map(), new Map([["behavior", rawCidOf(Uint8Array.of(1))]])],
    modules: [
      new Map([["Bad", { component: rawCidOf(Uint8Array.of(9)), into: ["state-apply"] }]]),
      new Map([["m", { component: rawCidOf(Uint8Array.of(9)), into: [] }]]),
      new Map([["m", { component: rawCidOf(Uint8Array.of(9)), into: ["interaction"] }]]),
      new Map([["m", { component: cidOf(Uint8Array.of(9)), into: ["state-apply"] }]]),
    ],
    capabilities: [["network", "clock"], ["root"], ["clock", "clock"], [], "clock"],
    network: [["https://b.example", "https://a.example"], ["nonsense"], "x", [1]],
  };
  for (const [key, values] of Object.entries(refused)) {
    for (const value of values!) {
      const wrong = { ...bundle, [key]: value } as Bundle;
      assert.throws(() => encodeBundle(wrong), TypeError, `${key}: ${JSON.stringify(value)}`);
    }
  }
  assert.throws(() => decodeBundle(encodeCanonical({ v: 1 })), code("corrupt", /other keys/));
  assert.throws(() => decodeBundle(encodeCanonical({ v: 2 })), code("unsupported", /form 2/));
  const newer = archive(([_, b, ...rest]) => {
    const bytes = encodeBundle(testBundle(alice.publicKey, { abi: 2 }));
    return [{ cid: cidOf(bytes), bytes }, b!, ...rest];
  });
  assert.throws(() => unpackBundle(newer), code("unsupported", /abi is 2/));
});

Deno.test("verifyBundle() refuses a signature by another key or over other bytes", async () => {
  const good = unpackBundle(packed);
  const forged = await packBundle(testBundle(alice.publicKey), COMPONENTS, bob);
  const other = testBundle(alice.publicKey, { version: "1.2.4" });
  const moved = { ...good, bundle: other, first: other };
  const bare = { ...good, signature: await alice.sign(encodeBundle(good.bundle)) };
  for (const each of [unpackBundle(forged), moved, bare]) {
    await assert.rejects(verifyBundle(each, BACKEND), code("bad-signature", /not signed by its/));
  }
});

Deno.test("verifyBundle() follows a succession of keys, and no other", async () => {
  const first = testBundle(alice.publicKey);
  const app = cidOf(encodeBundle(first));
  const step1 = await succeed({ app, chain: [], to: bob.publicKey }, alice);
  const step2 = await succeed({ app, chain: [step1], to: alice.publicKey }, bob);
  const later = (publisher: Uint8Array) => testBundle(publisher, { app, version: "2.0.0" });
  const make = async (
    signer: typeof alice,
    succession: (typeof step1)[],
    bundle = later(signer.publicKey),
  ) => unpackBundle(await packBundle(bundle, COMPONENTS, signer, { first, succession }));

  for (const good of [make(alice, []), make(bob, [step1]), make(alice, [step1, step2])]) {
    const unpacked = await good;
    assert.ok(unpacked.app.equals(app));
    await verifyBundle(unpacked, BACKEND);
  }
  const stolen = await succeed({ app, chain: [], to: bob.publicKey }, bob);
  const elsewhere = await succeed(
    { app: cidOf(Uint8Array.of(0)), chain: [], to: bob.publicKey },
    alice,
  );
  const cases: [string, Promise<PackedBundle>, ErrorCode][] = [
    ["a key without succession", make(bob, []), "wrong-owner"],
    ["the key before", make(alice, [step1]), "wrong-owner"],
    ["signed by the new key itself", make(bob, [stolen]), "bad-signature"],
    ["a step of another app", make(bob, [elsewhere]), "bad-signature"],
    ["a step at another place", make(bob, [step1, step2, step1]), "bad-signature"],
  ];
  for (const [what, made, wanted] of cases) {
    await assert.rejects(verifyBundle(await made, BACKEND), code(wanted, /accept bundle/), what);
  }
});
