import assert from "node:assert/strict";
import { DiskCache } from "./disk_cache.ts";

async function withFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await test(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("DiskCache gives what was put, to another process too", () =>
  withFolder(async (folder) => {
    const bytes = crypto.getRandomValues(new Uint8Array(10_000));
    await new DiskCache(folder).put("a b", bytes);
    assert.deepEqual(await new DiskCache(folder).get("a b"), bytes);
    assert.equal(await new DiskCache(folder).get("a c"), undefined);
  }));

Deno.test("DiskCache gives nothing when the file was harmed or cut", () =>
  withFolder(async (folder) => {
    const cache = new DiskCache(folder);
    await cache.put("key", new Uint8Array(100));
    const [outer] = [...Deno.readDirSync(folder)];
    const [inner] = [...Deno.readDirSync(`${folder}/${outer!.name}`)];
    const path = `${folder}/${outer!.name}/${inner!.name}`;
    const file = Deno.readFileSync(path);
    for (
      const harmed of [
        file.with(50, 7),
        file.with(0, file[0]! ^ 1),
        file.slice(0, 20),
        file.slice(0, 0),
      ]
    ) {
      Deno.writeFileSync(path, harmed);
      assert.equal(await cache.get("key"), undefined);
    }
  }));

Deno.test("DiskCache leaves nothing behind when it cannot put", () =>
  withFolder(async (folder) => {
    const cache = new DiskCache(folder);
    await cache.put("key", new Uint8Array(100));
    const [outer] = [...Deno.readDirSync(folder)];
    const [inner] = [...Deno.readDirSync(`${folder}/${outer!.name}`)];
    const path = `${folder}/${outer!.name}/${inner!.name}`;
    Deno.removeSync(path);
    Deno.mkdirSync(`${path}/in/the/way`, { recursive: true });
    await assert.rejects(cache.put("key", new Uint8Array(100)));
    assert.deepEqual([...Deno.readDirSync(`${folder}/${outer!.name}`)].map((e) => e.name), [
      inner!.name,
    ]);
  }));
