import assert from "node:assert/strict";
import { hasFolderLock, MountLock } from "./mount_lock.ts";

const name = "MountLock keeps other processes out while it is held, and nobody afterwards";
// The folder stays open for as long as the Worker of the lock lives.
Deno.test(name, { sanitizeResources: false }, async () => {
  const folder = await Deno.makeTempDir();
  const isFree = () => {
    // Another open file is another holder, as in another process.
    using other = Deno.openSync(folder, { read: true });
    return other.tryLockSync(true);
  };
  try {
    const lock = new MountLock(new SharedArrayBuffer(4), folder);
    for (let i = 0; i < 2; i++) {
      assert.equal(lock.hold(isFree), false);
      assert.equal(isFree(), true);
    }
    assert.throws(() =>
      lock.hold(() => {
        throw new Error("inside");
      }), /inside/);
    assert.equal(isFree(), true);
    assert.equal(hasFolderLock(folder), true);
    assert.equal(hasFolderLock(`${folder}/missing`), false);
    assert.equal(isFree(), true);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
