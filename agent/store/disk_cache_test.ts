import assert from "node:assert/strict";
import { sha256Hex } from "../kernel/sha256.ts";
import { DiskCache } from "./disk_cache.ts";

const DAY_MS = 24 * 3_600_000;
const NOW_MS = Date.UTC(2020, 5, 1);

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

/** The file of an entry. */
async function fileOf(folder: string, key: string): Promise<string> {
  const name = await sha256Hex(new TextEncoder().encode(key));
  return `${folder}/${name.slice(0, 2)}/${name}`;
}

const lastUsed = (path: string) => Deno.statSync(path).mtime!.getTime();

/** Puts entries that take 1000 bytes each, as if each was put so many days ago. */
async function fill(cache: DiskCache, daysAgo: Readonly<Record<string, number>>): Promise<void> {
  for (const [key, days] of Object.entries(daysAgo)) {
    await cache.put(key, new Uint8Array(968));
    await Deno.utime(await fileOf(cache.folder, key), 0, new Date(NOW_MS - days * DAY_MS));
  }
}

/** Which of these keys have an entry. */
async function kept(cache: DiskCache, keys: string): Promise<string> {
  const there = await Promise.all([...keys].map(async (key) => await cache.get(key) !== undefined));
  return [...keys].filter((_, i) => there[i]).join("");
}

Deno.test("DiskCache removes what was not used for longest when there is too much", () =>
  withFolder(async (folder) => {
    const cache = new DiskCache(folder, { bytesMax: 5_000, now: () => NOW_MS });
    await fill(cache, { a: 3, b: 9, c: 5, d: 8, e: 0.5 });
    assert.equal(await kept(cache, "abcde"), "abcde", "as much as there may be");
    await fill(cache, { a: 3, b: 9, c: 5, d: 8, e: 0.5 }); // kept() used them
    await cache.put("f", new Uint8Array(968));
    assert.equal(await kept(cache, "abcdef"), "acef");
  }));

Deno.test("DiskCache keeps what is used, and takes a time ahead of the clock for old", () =>
  withFolder(async (folder) => {
    const cache = new DiskCache(folder, { bytesMax: 3_000, now: () => NOW_MS });
    await fill(cache, { a: 9, b: 3, c: -30 });
    await cache.get("a");
    await cache.put("d", new Uint8Array(968));
    assert.equal(await kept(cache, "abcd"), "ad");
  }));

Deno.test("DiskCache keeps what is larger than everything may be, alone", () =>
  withFolder(async (folder) => {
    const cache = new DiskCache(folder, { bytesMax: 3_000, now: () => NOW_MS });
    await fill(cache, { a: 1, b: 2 });
    await cache.put("c", new Uint8Array(9_000));
    assert.equal(await kept(cache, "abc"), "c");
    await fill(cache, { d: 0 });
    assert.equal(await kept(cache, "abcd"), "d");
  }));

Deno.test("DiskCache writes that an entry is used once a day", () =>
  withFolder(async (folder) => {
    let nowMs = NOW_MS;
    const cache = new DiskCache(folder, { now: () => nowMs });
    await fill(cache, { a: 0 });
    const path = await fileOf(folder, "a");
    for (
      const [hours, wanted] of [[1, 0], [24, 0], [25, 25], [48, 25], [50, 50], [30, 50], [2, 2]]
    ) {
      nowMs = NOW_MS + hours! * 3_600_000;
      await cache.get("a");
      assert.equal(lastUsed(path), NOW_MS + wanted! * 3_600_000, `${hours}`);
    }
  }));

Deno.test("DiskCache removes what a killed process left, and no file that is not its own", () =>
  withFolder(async (folder) => {
    const cache = new DiskCache(folder, { bytesMax: 1_500, now: () => NOW_MS });
    await fill(cache, { a: 2 });
    const path = await fileOf(folder, "a");
    const left = `${path}.${crypto.randomUUID()}`;
    const written = `${path}.${crypto.randomUUID()}`;
    const others = [`${folder}/a`, `${folder}/notes/${"0".repeat(64)}`, `${path}.txt`];
    Deno.mkdirSync(`${folder}/notes`);
    for (const [file, days] of [[left, 2], [written, 0.5], ...others.map((o) => [o, 99])]) {
      Deno.writeFileSync(file as string, new Uint8Array(2_000));
      Deno.utimeSync(file as string, 0, new Date(NOW_MS - (days as number) * DAY_MS));
    }
    await cache.put("b", new Uint8Array(968));
    assert.equal(await kept(cache, "ab"), "b");
    const there = (file: string) => Deno.lstat(file).then(() => true, () => false);
    assert.deepEqual(await Promise.all([left, written, ...others].map(there)), [
      false,
      true,
      ...others.map(() => true),
    ]);
  }));

Deno.test("DiskCache gives whole content or none while many put and remove", () =>
  withFolder(async (folder) => {
    // As many processes: none knows of another.
    const caches = Array.from({ length: 4 }, () => new DiskCache(folder, { bytesMax: 3_000 }));
    await Promise.all(caches.map(async (cache, i) => {
      for (let turn = 0; turn < 50; turn++) {
        const key = `${(turn + i) % 8}`;
        await cache.put(key, new Uint8Array(968).fill((turn + i) % 8));
        for (const other of ["0", "3", "7"]) {
          const got = await cache.get(other);
          if (got) assert.deepEqual(got, new Uint8Array(968).fill(Number(other)));
        }
      }
    }));
    await caches[0]!.put("last", new Uint8Array(968));
    const files = [...Deno.readDirSync(folder)].flatMap(({ name }) => [
      ...Deno.readDirSync(`${folder}/${name}`),
    ]);
    assert.ok(files.length <= 3, `${files.length}`);
    assert.ok(await caches[1]!.get("last"));
  }));

Deno.test("DiskCache removes no more when many remove the same", () =>
  withFolder(async (folder) => {
    const init = { bytesMax: 10_000, now: () => NOW_MS };
    const many = Array.from({ length: 8 }, () => new DiskCache(folder, init));
    await fill(many[0]!, Object.fromEntries([..."abcdefghij"].map((key) => [key, 9999])));
    await Promise.all(many.map((cache, i) => cache.put(`${i}`, new Uint8Array(968))));
    assert.equal(await kept(many[0]!, "01234567"), "01234567");
  }));
