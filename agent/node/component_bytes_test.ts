import assert from "node:assert/strict";
import { ComponentBytes } from "./component_bytes.ts";
import { RealmError } from "../kernel/error.ts";
import type { NodePeers } from "./peer_services.ts";
import { MemoryBlobs } from "../store/memory_blobs.ts";

const ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const abc = new TextEncoder().encode("abc");
const hasCode = (code: string) => (error: unknown) =>
  error instanceof RealmError && error.code === code;

/** Nodes that have `abc` when told so. */
class FakePeers implements Pick<NodePeers, "fetch" | "fetchWhenever"> {
  readonly asked: string[] = [];
  readonly came = Promise.withResolvers<void>();

  constructor(readonly blobs: MemoryBlobs, public hasIt: boolean) {}

  async fetch(digest: string): Promise<void> {
    this.asked.push(digest);
    if (this.hasIt) await this.blobs.put(abc);
    else throw new RealmError("not-found", "Cannot fetch blob: none is connected");
  }

  async fetchWhenever(
    digest: string,
    { signal, waiting }: Parameters<NodePeers["fetchWhenever"]>[1] = {},
  ): Promise<void> {
    for (let i = 0; i < 3; i++) await this.fetch(digest).catch((error) => waiting!(error));
    const { promise, reject } = Promise.withResolvers<never>();
    signal!.addEventListener("abort", () => reject(signal!.reason));
    await Promise.race([this.came.promise, promise]);
  }
}

const never = new AbortController().signal;

function setUp(hasIt: boolean) {
  const blobs = new MemoryBlobs();
  const peers = new FakePeers(blobs, hasIt);
  return { blobs, peers, bytes: new ComponentBytes(blobs, peers as never) };
}

Deno.test("ComponentBytes asks other nodes for what is not here, or damaged, and for nothing else", async () => {
  const { blobs, peers, bytes } = setUp(true);
  assert.deepEqual(await bytes.get(ABC), abc);
  assert.deepEqual(await bytes.get(ABC), abc);
  assert.deepEqual(await bytes.whenever(ABC, never, { notice: () => {} }), abc);
  assert.deepEqual(peers.asked, [ABC]);
  blobs.damage(ABC, new Uint8Array(3));
  assert.deepEqual(await bytes.get(ABC), abc);
  assert.deepEqual(peers.asked, [ABC, ABC]);
  const nowhere = setUp(false);
  await assert.rejects(nowhere.bytes.get(ABC), hasCode("not-found"));
});

Deno.test("ComponentBytes without other nodes says what is missing, and what is damaged", async () => {
  const blobs = new MemoryBlobs();
  const bytes = new ComponentBytes(blobs, undefined);
  await assert.rejects(bytes.get(ABC), hasCode("not-found"));
  await assert.rejects(bytes.whenever(ABC, never, { notice: () => {} }), hasCode("not-found"));
  await blobs.put(abc);
  blobs.damage(ABC, new Uint8Array(3));
  await assert.rejects(bytes.whenever(ABC, never, { notice: () => {} }), hasCode("corrupt"));
});

Deno.test("ComponentBytes waits until a node has them, says so once, and each time that none has them", async () => {
  const { blobs, peers, bytes } = setUp(false);
  const notices: string[] = [];
  let waits = 0;
  const got = bytes.whenever(ABC, never, {
    notice: (text) => notices.push(text),
    waits: () => waits++,
  });
  await new Promise((resolve) => setTimeout(resolve));
  await blobs.put(abc);
  peers.came.resolve();
  assert.deepEqual(await got, abc);
  assert.deepEqual(notices, [
    "waits for its bytes: Cannot fetch blob: none is connected",
  ]);
  assert.equal(waits, 3);
});

Deno.test("ComponentBytes waits no longer for what is not wanted any more", async () => {
  const { bytes } = setUp(false);
  const wanted = new AbortController();
  const got = assert.rejects(
    bytes.whenever(ABC, wanted.signal, { notice: () => {} }),
    /not wanted any more/,
  );
  await new Promise((resolve) => setTimeout(resolve));
  wanted.abort(new Error("not wanted any more"));
  await got;
});
