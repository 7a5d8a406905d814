import assert from "node:assert/strict";
import { BlobServer } from "../agent/artifact/blob_server.ts";
import { CHUNK_BYTES } from "../agent/kernel/sha256_chain.ts";
import { startLibp2p } from "../agent/net/libp2p_network.ts";
import { DiskBlobs } from "../agent/store/disk_blobs.ts";
import { MemoryBlobs } from "../agent/store/memory_blobs.ts";
import { systemClock } from "../agent/node/system_clock.ts";

const CHUNKS = 10;

/** Lines that a process prints, until it ends or `enough` of them have come, then it is killed. */
async function run(args: string[], enough = Infinity): Promise<number[]> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", new URL("blob_taker.ts", import.meta.url).href, ...args],
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const lines: number[] = [];
  let text = "";
  for await (const piece of child.stdout.pipeThrough(new TextDecoderStream())) {
    text += piece;
    const whole = text.split("\n");
    text = whole.pop()!;
    lines.push(...whole.map(Number));
    if (lines.length >= enough) child.kill("SIGKILL");
  }
  const { success } = await child.status;
  assert.equal(success, enough === Infinity);
  return lines;
}

Deno.test(
  "a process that is killed while it fetches a blob goes on where it was",
  // libp2p has timers of its own that end by themselves.
  { sanitizeOps: false, sanitizeResources: false },
  async () => {
    const folder = await Deno.makeTempDir({ prefix: "realm-resume-" });
    const network = await startLibp2p({
      secretKey: crypto.getRandomValues(new Uint8Array(32)),
      listen: ["/ip4/127.0.0.1/tcp/0"],
      gate: { mayConnect: () => true, mayOpen: () => true },
    });
    try {
      const blobs = new MemoryBlobs();
      const bytes = new Uint8Array(CHUNKS * CHUNK_BYTES);
      for (let i = 0; i < bytes.length; i += 65_536) {
        crypto.getRandomValues(bytes.subarray(i, i + 65_536));
      }
      const digest = await blobs.put(bytes);
      const args = [folder, network.addresses()[0]!, digest];
      // So slow that the process is killed long before it is done.
      const init = { network, blobs, clock: systemClock };
      const slow = new BlobServer({ ...init, bytesPerSecond: 2 * CHUNK_BYTES });
      const first = await run(args, 3);
      slow.close();
      assert.ok(first.length < CHUNKS, `${first}`);
      const fast = new BlobServer(init);
      const second = await run(args);
      fast.close();
      assert.ok(second[0]! > first[2]!, `${first} then ${second}`);
      assert.ok(second.length <= CHUNKS - 3);
      assert.deepEqual(await (await DiskBlobs.open(folder)).get(digest), bytes);
    } finally {
      await network.close();
      await Deno.remove(folder, { recursive: true });
    }
  },
);
