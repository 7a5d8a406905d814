import { testBlobs } from "./blobs_conformance.ts";
import { MemoryBlobs } from "./memory_blobs.ts";

testBlobs("MemoryBlobs", async () => {
  const blobs = new MemoryBlobs();
  return {
    blobs,
    damage: async (digest, bytes) => blobs.damage(digest, bytes),
    cleanUp: async () => {},
  };
});
