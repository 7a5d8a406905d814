import assert from "node:assert/strict";
import { PeerHub } from "../../tests/peer_network.ts";
import { BUNDLE_BYTES_MAX, packBundle, type Role, unpackBundle } from "../apps/bundle.ts";
import { BACKEND, testBundle, testSigner } from "../apps/bundle_fake.ts";
import { rawCidOf } from "../apps/car.ts";
import { RealmError } from "../kernel/error.ts";
import type { PeerStream } from "../kernel/ports.ts";
import { StreamReader } from "../kernel/stream_reader.ts";
import { systemClock } from "../node/system_clock.ts";
import { BUNDLE_PROTOCOL, PeerBundles, type PeerBundlesInit } from "./peer_bundles.ts";

const alice = await testSigner(1);
/** Several parts long. */
const components = new Map<Role, Uint8Array>([
  ["state-apply", Uint8Array.from({ length: 700_000 }, (_, i) => i * i >> 3)],
]);
const bundle = {
  ...testBundle(alice.publicKey),
  components: new Map([...components].map(([role, bytes]) => [role, rawCidOf(bytes)])),
  modules: new Map(),
};
const BYTES = await packBundle(bundle, components, alice);
const ID = unpackBundle(BYTES).id.toString();
const OTHER = await packBundle({ ...bundle, version: "1.2.4" }, components, alice);

const hasCode = (code: string, message = /./) => (error: unknown) =>
  error instanceof RealmError && error.code === code && message.test(error.message) ||
  assert.fail(`${error}, wanted ${code} ${message}`);

class Net {
  readonly hub = new PeerHub("memory");
  readonly asked: string[] = [];

  async giver(name: string, options: Partial<PeerBundlesInit> = {}): Promise<PeerBundles> {
    return new PeerBundles({
      network: await this.hub.join(name),
      clock: systemClock,
      backend: BACKEND,
      mayHave: () => true,
      bytes: (id) => {
        this.asked.push(name);
        if (id === ID) return Promise.resolve(BYTES);
        throw new RealmError("not-found", `Cannot find bundle ${id}`);
      },
      ...options,
    });
  }

  /** A node that answers as it likes. */
  async liar(name: string, answer: (stream: PeerStream) => Promise<void>): Promise<void> {
    (await this.hub.join(name)).handle(BUNDLE_PROTOCOL, (stream) => {
      this.asked.push(name);
      void new StreamReader(stream).read(36).then(() => answer(stream)).catch(() => {});
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.hub.close();
  }
}

const none = () => Promise.reject(new RealmError("not-found", "Cannot find it"));
const framed = (length: number, bytes: Uint8Array) => {
  const all = new Uint8Array(4 + bytes.length);
  new DataView(all.buffer).setUint32(0, length);
  all.set(bytes, 4);
  return all;
};

Deno.test("PeerBundles fetches a bundle from the first peer that has it, and may give it", async () => {
  await using net = new Net();
  await net.giver("empty", { bytes: none });
  await net.giver("closed", { mayHave: () => false });
  await net.giver("a");
  const taker = await net.giver("b", { bytes: none });
  const { packed, bytes } = await taker.fetch(ID, ["empty", "closed", "a"]);
  assert.equal(packed.id.toString(), ID);
  assert.deepEqual(bytes, BYTES);
  assert.deepEqual(net.asked, ["a"]);
  await assert.rejects(() => taker.fetch(ID, ["empty"]), hasCode("not-found", /does not have it/));
  await assert.rejects(() => taker.fetch(ID, []), hasCode("not-found", /no peer/));
});

Deno.test("PeerBundles says why each peer did not give a bundle", async () => {
  await using net = new Net();
  const taker = await net.giver("b", { bytes: none });
  await net.giver("empty", { bytes: none });
  await net.giver("closed", { mayHave: () => false });
  const tooMuch = framed(BUNDLE_BYTES_MAX + 1, new Uint8Array());
  await net.liar("large", (stream) => stream.write(tooMuch));
  await net.liar("other", (stream) => stream.write(framed(OTHER.length, OTHER)));
  const why = (peers: readonly string[]) =>
    taker.fetch(ID, peers).then(() => "", (error) => error.message.replace(/.*?: /, ""));
  assert.equal(await why(["empty"]), "empty does not have it");
  assert.match(
    await why(["empty", "large", "closed", "other", "away"]),
    /^2 peers do not have it; Cannot take what large sends: .*; .* of other: it sent .*; .* not connected$/,
  );
  assert.match(
    await why(["large", "other", "away", "gone"]),
    /^large is not asked: it sent something else before; other is not .*; and 1 more do not give it$/,
  );
});

Deno.test("PeerBundles takes nothing that is not what was asked for, and asks liars no more", async () => {
  await using net = new Net();
  const changed = BYTES.slice();
  changed[changed.length - 1]! ^= 1;
  const lies: readonly [string, Uint8Array, RegExp][] = [
    ["another", framed(OTHER.length, OTHER), /it sent/],
    ["changed", framed(changed.length, changed), /has bytes of/],
    ["garbage", framed(9, new Uint8Array(9)), /./],
  ];
  const taker = await net.giver("b", { bytes: none });
  for (const [name, bytes, wanted] of lies) {
    await net.liar(name, (stream) => stream.write(bytes));
    await assert.rejects(() => taker.fetch(ID, [name]), hasCode("not-found", wanted));
    const asked = net.asked.length;
    await assert.rejects(() => taker.fetch(ID, [name]), hasCode("not-found", /is not asked/));
    assert.equal(net.asked.length, asked);
  }
  // Who is cut off, or claims too much, is no proof of anything but costs next to nothing.
  const halves: readonly [string, Uint8Array, RegExp][] = [
    ["half", framed(BYTES.length, BYTES.subarray(0, 300_000)), /ended after/],
    ["claims", framed(BUNDLE_BYTES_MAX + 1, new Uint8Array()), /wanted at most/],
    ["silent", new Uint8Array(), /ended the stream/],
  ];
  await net.giver("a");
  for (const [name, bytes, wanted] of halves) {
    await net.liar(name, async (stream) => {
      await stream.write(bytes);
      await stream.end();
    });
    await assert.rejects(() => taker.fetch(ID, [name]), hasCode("not-found", wanted));
    const { packed } = await taker.fetch(ID, [name, "a"]); // the others are asked too
    assert.equal(packed.id.toString(), ID);
  }
});

Deno.test("PeerBundles waits for nobody for ever", async () => {
  await using net = new Net();
  await net.liar("stalled", () => new Promise(() => {}));
  const taker = await net.giver("b", { bytes: none, stallMs: 30 });
  await assert.rejects(
    () => taker.fetch(ID, ["stalled"]),
    hasCode("not-found", /nothing came for 0\.03 s/),
  );
  const stop = new AbortController();
  const patient = await net.giver("c", { bytes: none });
  const fetching = patient.fetch(ID, ["stalled"], stop.signal);
  stop.abort(new Error("enough"));
  await assert.rejects(() => fetching, /enough/);
  patient.close();
});

Deno.test("PeerBundles serves a peer one bundle at a time, and few in a minute", async () => {
  await using net = new Net();
  const asked = Promise.withResolvers<void>();
  const gate = Promise.withResolvers<void>();
  await net.giver("a", {
    bytes: () => (asked.resolve(), gate.promise.then(() => BYTES)),
    clock: { ...systemClock, monotonicMs: () => 0 }, // however long all of it takes
  });
  const taker = await net.giver("b", { bytes: none });
  const first = taker.fetch(ID, ["a"]);
  await asked.promise;
  await assert.rejects(() => taker.fetch(ID, ["a"]), hasCode("not-found", /busy/));
  gate.resolve();
  await first;
  let answered = 0;
  for (let i = 0; i < 40; i++) {
    answered += await taker.fetch(ID, ["a"]).then(() => 1, () => 0);
  }
  assert.equal(answered, 30);
});
