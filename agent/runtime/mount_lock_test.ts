import assert from "node:assert/strict";
import { hasFolderLock, holdLocks, LockWords, MountLock } from "./mount_lock.ts";

const name = "holdLocks() keeps other processes out while it holds, and nobody afterwards";
Deno.test(name, async () => {
  const folder = await Deno.makeTempDir();
  const isFree = () => {
    // Another open file is another holder, as in another process.
    using other = Deno.openSync(folder, { read: true });
    return other.tryLockSync(true);
  };
  const lock = new MountLock(new LockWords().of(folder), folder);
  try {
    for (let i = 0; i < 2; i++) {
      assert.equal(holdLocks([lock], isFree), false);
      assert.equal(isFree(), true);
    }
    assert.throws(() =>
      holdLocks([lock], () => {
        throw new Error("inside");
      }), /inside/);
    assert.equal(isFree(), true);
    assert.equal(hasFolderLock(folder), true);
    assert.equal(hasFolderLock(`${folder}/missing`), false);
    assert.equal(isFree(), true);
  } finally {
    lock.close();
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("holdLocks() takes the lock of one folder once, by however many mounts", () => {
  const words = new LockWords();
  const [a, b, inner] = ["/no/such", "/no/such", "/no/such/inner"].map((path) =>
    new MountLock(words.of(path), path)
  ) as [MountLock, MountLock, MountLock];
  assert.equal(holdLocks([a, b], () => "done"), "done");
  assert.equal(holdLocks([inner, a], () => "done"), "done");
  assert.equal(holdLocks([a, inner], () => "done"), "done", "they were given back");
});

Deno.test("LockWords gives mounts that overlap a word in common, whichever starts first", () => {
  const paths = ["/x/a", "/x", "/x/a/b", "/xa", "/x/c", "/x/a", "/"];
  const words = new LockWords();
  const taken = paths.map((path) => words.of(path).map(({ number }) => number));
  assert.deepEqual(taken, [[0], [0, 1], [0, 1, 2], [3], [1, 4], [0, 1, 2], [0, 1, 2, 3, 4, 5]]);
});
