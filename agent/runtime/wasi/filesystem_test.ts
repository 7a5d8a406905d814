import assert from "node:assert/strict";
import { createFixture, type Fixture, thrown } from "./context_fixture.ts";
import type { Descriptor } from "./filesystem.ts";

const R = { read: true }, W = { write: true }, RW = { read: true, write: true };
const FOLLOW = { symlinkFollow: true };
const bytes = (value: string) => new TextEncoder().encode(value);
const text = (value: Uint8Array) => new TextDecoder().decode(value);

interface World extends Fixture {
  /** The mounted folder on the host. */
  readonly dir: string;
  /** Its parent, out of the guest's reach. */
  readonly outside: string;
  readonly root: Descriptor;
}

/** Runs a test in a fresh mount `m` beside a file `secret` that no guest may reach. */
function inMount(
  name: string,
  act: (world: World) => void | Promise<void>,
  options: { writable?: boolean } = {},
): void {
  Deno.test(name, async () => {
    const outside = Deno.realPathSync(Deno.makeTempDirSync());
    const dir = `${outside}/m`;
    Deno.mkdirSync(dir);
    Deno.writeTextFileSync(`${outside}/secret`, "secret");
    const mount = { hostPath: dir, guestPath: "/data", writable: options.writable ?? true };
    const f = createFixture({ mounts: [mount] });
    const [[root]] = f.get("wasi:filesystem/preopens").getDirectories();
    try {
      await act({ ...f, dir, outside, root });
    } finally {
      f.wasi.close();
      Deno.removeSync(outside, { recursive: true });
    }
  });
}

/** Asserts the error codes of a table of calls. */
function codes(table: readonly (readonly [string, () => unknown, string])[]): void {
  for (const [name, act, wanted] of table) {
    let got: unknown = "ok";
    try {
      act();
    } catch (error) {
      got = error;
    }
    assert.equal(got, wanted, name);
  }
}

const put = (root: Descriptor, path: string, content = "") => {
  const file = root.openAt({}, path, { create: true }, RW);
  file.write(bytes(content), 0n);
  return file;
};

inMount("preopens gives each mount with its guest path, a new handle each time", (w) => {
  const { getDirectories } = w.get("wasi:filesystem/preopens");
  const [[a, path]] = getDirectories();
  assert.equal(path, "/data");
  assert.notEqual(a, w.root);
  assert.equal(a.isSameObject(w.root), true);
  assert.deepEqual(a.getFlags(), { read: true, mutateDirectory: true });
  assert.equal(a.getType(), "directory");
});

inMount("descriptor reads and writes at offsets, and tells the end", ({ root }) => {
  const file = put(root, "f", "hello");
  assert.deepEqual(file.getFlags(), { read: true, write: true });
  assert.equal(file.getType(), "regular-file");
  assert.equal(file.write(bytes("J"), 0n), 1n);
  assert.equal(file.write(bytes("!"), 8n), 1n);
  const [content, end] = file.read(100n, 0n);
  assert.equal(text(content), "Jello\0\0\0!");
  assert.equal(end, false);
  assert.deepEqual(file.read(100n, 9n), [new Uint8Array(), true]);
  assert.equal(text(file.read(2n, 1n)[0]), "el");
  file.setSize(2n);
  assert.equal(text(file.read(2n ** 64n - 1n, 0n)[0]), "Je");
  file.sync();
  file.syncData();
  root.sync();
  file.advise(0n, 0n, "will-need");
});

inMount("one read gives at most 64 KiB", ({ root }) => {
  const file = put(root, "big");
  file.setSize(200_000n);
  assert.equal(file.read(2n ** 40n, 0n)[0].length, 65_536);
});

inMount("offsets and sizes past what a file can have are errors", ({ root }) => {
  const file = put(root, "f", "x");
  const huge = 2n ** 64n - 1n;
  assert.deepEqual(file.read(4n, 2n ** 53n + 1n), [new Uint8Array(), true]);
  codes([
    ["read", () => file.read(1n, huge), "invalid"],
    ["read over the end", () => file.read(4n, 2n ** 63n - 1n), "invalid"],
    ["write", () => file.write(bytes("a"), huge), "invalid"],
    ["write far", () => file.write(bytes("a"), 2n ** 62n), "file-too-large"],
    ["set-size", () => file.setSize(huge), "invalid"],
    ["set-size far", () => file.setSize(2n ** 62n), "file-too-large"],
    ["advise", () => file.advise(0n, huge, "normal"), "invalid"],
  ]);
});

inMount("what a descriptor was opened for is what it does", ({ root }) => {
  put(root, "f", "abc");
  const r = root.openAt({}, "f", {}, R), wr = root.openAt({}, "f", {}, W);
  assert.deepEqual(root.openAt({}, "f", {}, {}).getFlags(), { read: true, write: false });
  codes([
    ["write to r", () => r.write(bytes("x"), 0n), "bad-descriptor"],
    ["set-size of r", () => r.setSize(0n), "invalid"],
    ["read from w", () => wr.read(1n, 0n), "bad-descriptor"],
    ["read-directory of file", () => r.readDirectory(), "not-directory"],
    ["open below file", () => r.openAt({}, "x", {}, R), "not-directory"],
    ["stat below file", () => r.statAt({}, "x"), "not-directory"],
    ["read of directory", () => root.read(1n, 0n), "bad-descriptor"],
    ["write of directory", () => root.write(bytes("x"), 0n), "bad-descriptor"],
    ["stream of directory", () => root.readViaStream(0n), "is-directory"],
    ["write-stream of directory", () => root.writeViaStream(0n), "bad-descriptor"],
    ["append-stream of directory", () => root.appendViaStream(), "bad-descriptor"],
    ["advise of directory", () => root.advise(0n, 0n, "normal"), "bad-descriptor"],
    ["set-size of directory", () => root.setSize(0n), "bad-descriptor"],
  ]);
});

inMount("streams of a file keep their own place and outlive the descriptor", ({ root }) => {
  const file = put(root, "f", "0123456789");
  const a = file.readViaStream(2n), b = file.readViaStream(0n), out = file.writeViaStream(4n);
  file[Symbol.dispose]();
  assert.equal(text(a.read(3n)), "234");
  out.blockingWriteAndFlush(bytes("xy"));
  out.write(bytes("z"));
  assert.equal(text(b.blockingRead(10n) as Uint8Array), "0123xyz789");
  assert.equal(text(a.read(100n)), "yz789");
  assert.deepEqual(thrown(() => a.read(1n)), { tag: "closed" });
  const append = root.openAt({}, "f", {}, W).appendViaStream();
  append.blockingWriteAndFlush(bytes("END"));
  append.blockingWriteZeroesAndFlush(1n);
  assert.equal(text(root.openAt({}, "f", {}, R).read(99n, 0n)[0]), "0123xyz789END\0");
});

inMount("a stream that the descriptor does not allow fails with the file's code", (w) => {
  put(w.root, "f", "abc");
  const { filesystemErrorCode } = w.get("wasi:filesystem/types");
  const input = w.root.openAt({}, "f", {}, W).readViaStream(0n);
  const error = thrown(() => input.read(1n)) as { tag: string; val: object };
  assert.equal(error.tag, "last-operation-failed");
  assert.equal(filesystemErrorCode(error.val), "bad-descriptor");
  assert.deepEqual(thrown(() => input.read(1n)), { tag: "closed" });
  const output = w.root.openAt({}, "f", {}, R).writeViaStream(0n);
  output.write(bytes("x"));
  const later = thrown(() => output.checkWrite()) as { tag: string; val: object };
  assert.equal(filesystemErrorCode(later.val), "bad-descriptor");
  assert.deepEqual(thrown(() => output.write(bytes("x"))), { tag: "closed" });
});

inMount("open-at makes, truncates and refuses as its flags say", ({ root, dir }) => {
  put(root, "f", "abc");
  root.createDirectoryAt("d");
  root.symlinkAt("f", "l");
  root.symlinkAt("new", "dangling");
  root.symlinkAt("new/", "slash");
  const open = (path: string, o: object, d: object = R, p: object = FOLLOW) => () =>
    root.openAt(p, path, o, d);
  codes([
    ["absent", open("nope", {}), "no-entry"],
    ["exclusive", open("f", { create: true, exclusive: true }), "exist"],
    ["exclusive through link", open("dangling", { create: true, exclusive: true }), "exist"],
    ["create through link with slash", open("slash", { create: true }), "is-directory"],
    ["exclusive alone", open("f", { exclusive: true }), "ok"],
    ["directory of file", open("f", { directory: true }), "not-directory"],
    ["directory", open("d", { directory: true }), "ok"],
    ["directory and create", open("d", { directory: true, create: true }), "invalid"],
    ["directory and truncate", open("d", { directory: true, truncate: true }), "invalid"],
    ["directory to write", open("d", {}, W), "is-directory"],
    ["create over directory", open("d", { create: true }), "is-directory"],
    ["create with slash", open("x/", { create: true }), "is-directory"],
    ["file with slash", open("f/", {}), "not-directory"],
    ["through file", open("f/x", {}), "not-directory"],
    ["link, no follow", open("l", {}, R, {}), "loop"],
    ["link, follow", open("l", {}), "ok"],
    ["sync", open("f", {}, { read: true, fileIntegritySync: true }), "unsupported"],
    ["data sync", open("f", {}, { read: true, dataIntegritySync: true }), "unsupported"],
  ]);
  const made = root.openAt({}, "made", { create: true }, R);
  assert.deepEqual(made.getFlags(), { read: true, write: true }, "create gives write");
  root.openAt({}, "f", { truncate: true }, W);
  assert.equal(Deno.statSync(`${dir}/f`).size, 0);
  root.openAt(FOLLOW, "dangling", { create: true }, W).write(bytes("x"), 0n);
  assert.equal(Deno.readTextFileSync(`${dir}/new`), "x");
});

inMount("descriptors are bounded by an error, not a trap", ({ root }) => {
  put(root, "f")[Symbol.dispose]();
  const held: Descriptor[] = [];
  const fill = () => {
    for (let i = 0; i < 2000; i++) held.push(root.openAt({}, "f", {}, R));
  };
  assert.equal(thrown(fill), "quota");
  assert.equal(held.length, 1023);
  held.pop()![Symbol.dispose]();
  root.openAt({}, "f", {}, R);
});

const KEEP = { tag: "no-change" } as const;

inMount("stat tells type, size, links and times", ({ root, dir }) => {
  put(root, "f", "abc");
  root.linkAt({}, "f", root, "g");
  root.symlinkAt("f", "l");
  const at = { tag: "timestamp", val: { seconds: 1_000n, nanoseconds: 5_000_000 } } as const;
  const file = root.openAt({}, "f", {}, R);
  file.setTimes(at, { tag: "no-change" });
  const stat = root.statAt({}, "g");
  assert.deepEqual([stat.type, stat.size, stat.linkCount], ["regular-file", 3n, 2n]);
  assert.deepEqual(stat.dataAccessTimestamp, at.val);
  assert.notDeepEqual(stat.dataModificationTimestamp, at.val);
  root.setTimesAt({}, "l", at, at);
  assert.deepEqual(root.statAt({}, "l").dataModificationTimestamp, at.val);
  assert.notDeepEqual(root.statAt(FOLLOW, "l").dataModificationTimestamp, at.val);
  root.setTimesAt(FOLLOW, "l", { tag: "no-change" }, at);
  assert.deepEqual(file.stat().dataModificationTimestamp, at.val);
  root.setTimes(at, { tag: "now" });
  assert.deepEqual(root.stat().dataAccessTimestamp, at.val);
  assert.ok(
    Math.abs(Number(root.stat().dataModificationTimestamp!.seconds) * 1000 - Date.now()) < 60_000,
  );
  assert.equal(root.statAt({}, "l").type, "symbolic-link");
  assert.equal(root.statAt(FOLLOW, "l").type, "regular-file");
  const far = (
    seconds: bigint,
  ) => ({ tag: "timestamp", val: { seconds, nanoseconds: 0 } } as const);
  assert.equal(thrown(() => file.setTimes(far(2n ** 63n), at)), "overflow");
  const late = {
    tag: "timestamp",
    val: { seconds: 1_000_000_000n, nanoseconds: 999_999_999 },
  } as const;
  file.setTimes(late, late);
  assert.deepEqual(file.stat().dataModificationTimestamp, {
    seconds: 1_000_000_000n,
    nanoseconds: 999_000_000,
  });
  file.setTimes(far(2n ** 63n - 1n), at);
  assert.ok(file.stat().dataAccessTimestamp!.seconds > 2n ** 32n, "as far as the file system goes");
  assert.equal(Deno.statSync(`${dir}/f`).mtime!.getTime(), 1_000_005);
});

inMount("is-same-object and metadata-hash tell files apart", ({ root }) => {
  const f = put(root, "f"), other = put(root, "other");
  root.linkAt({}, "f", root, "g");
  const g = root.openAt({}, "g", {}, R);
  assert.equal(f.isSameObject(g), true);
  assert.equal(f.isSameObject(other), false);
  assert.equal(f.isSameObject(root), false);
  assert.deepEqual(f.metadataHash(), root.metadataHashAt({}, "g"));
  assert.notDeepEqual(f.metadataHash(), other.metadataHash());
  assert.ok(f.metadataHash().lower < 2n ** 64n && f.metadataHash().upper < 2n ** 64n);
});

inMount("read-directory lists names and types", ({ root, dir }) => {
  put(root, "f");
  root.createDirectoryAt("d");
  root.symlinkAt("nowhere", "l");
  new Deno.Command("mkfifo", { args: [`${dir}/p`] }).outputSync();
  const stream = root.readDirectory();
  const seen: string[] = [];
  for (let e; (e = stream.readDirectoryEntry());) seen.push(`${e.name} ${e.type}`);
  assert.deepEqual(seen.sort(), ["d directory", "f regular-file", "l symbolic-link", "p unknown"]);
  assert.equal(stream.readDirectoryEntry(), undefined);
});

inMount("create, remove, unlink, rename and link answer as on Linux", ({ root }) => {
  put(root, "f", "abc");
  root.createDirectoryAt("d");
  root.createDirectoryAt("d/sub/");
  root.createDirectoryAt("e");
  root.symlinkAt("d", "ld");
  codes([
    ["mkdir on file", () => root.createDirectoryAt("f"), "exist"],
    ["mkdir on link", () => root.createDirectoryAt("ld"), "exist"],
    ["mkdir .", () => root.createDirectoryAt("."), "exist"],
    ["mkdir deep", () => root.createDirectoryAt("a/b"), "no-entry"],
    ["mkdir empty", () => root.createDirectoryAt(""), "no-entry"],
    ["rmdir file", () => root.removeDirectoryAt("f"), "not-directory"],
    ["rmdir link", () => root.removeDirectoryAt("ld"), "not-directory"],
    ["rmdir full", () => root.removeDirectoryAt("d"), "not-empty"],
    ["rmdir .", () => root.removeDirectoryAt("."), "invalid"],
    ["rmdir absent", () => root.removeDirectoryAt("x"), "no-entry"],
    ["unlink dir", () => root.unlinkFileAt("d"), "is-directory"],
    ["unlink .", () => root.unlinkFileAt("."), "is-directory"],
    ["unlink file/", () => root.unlinkFileAt("f/"), "not-directory"],
    ["unlink absent", () => root.unlinkFileAt("x"), "no-entry"],
    ["rename absent", () => root.renameAt("x", root, "y"), "no-entry"],
    ["rename dir on file", () => root.renameAt("e", root, "f"), "not-directory"],
    ["rename file on dir", () => root.renameAt("f", root, "e"), "is-directory"],
    ["rename on full dir", () => root.renameAt("e", root, "d"), "not-empty"],
    ["rename into itself", () => root.renameAt("d", root, "d/sub/x"), "invalid"],
    ["rename .", () => root.renameAt(".", root, "x"), "busy"],
    ["rename on .", () => root.renameAt("nope", root, "."), "busy"],
    ["rename file/", () => root.renameAt("f/", root, "x"), "not-directory"],
    ["link dir", () => root.linkAt({}, "d", root, "x"), "not-permitted"],
    ["link on file", () => root.linkAt({}, "f", root, "ld"), "exist"],
    ["link, follow", () => root.linkAt(FOLLOW, "f", root, "x"), "invalid"],
    ["link absent", () => root.linkAt({}, "x", root, "y"), "no-entry"],
    ["link on .", () => root.linkAt({}, "ld", root, "."), "exist"],
    ["link of absent, bad folder", () => root.linkAt({}, "x", root, "f/y"), "not-directory"],
    ["rename of absent, bad folder", () => root.renameAt("x", root, "f/y"), "not-directory"],
    ["rename of absent, long name", () => root.renameAt("x", root, "n".repeat(256)), "no-entry"],
    ["rename on long name", () => root.renameAt("f", root, "n".repeat(256)), "name-too-long"],
    ["rename of absent, zero byte", () => root.renameAt("x", root, "y\0"), "invalid"],
    ["set no times of absent", () => root.setTimesAt({}, "x", KEEP, KEEP), "ok"],
    ["set no times through absent", () => root.setTimesAt({}, "x/y", KEEP, KEEP), "no-entry"],
    ["symlink on file", () => root.symlinkAt("a", "f"), "exist"],
    ["symlink on .", () => root.symlinkAt("a", "."), "exist"],
    ["symlink empty", () => root.symlinkAt("", "x"), "no-entry"],
    ["readlink of file", () => root.readlinkAt("f"), "invalid"],
    ["readlink absent", () => root.readlinkAt("x"), "no-entry"],
    ["readlink dir/", () => root.readlinkAt("ld/"), "invalid"],
  ]);
  assert.equal(root.readlinkAt("ld"), "d");
  root.linkAt({}, "ld", root, "ld2");
  assert.equal(root.statAt({}, "ld2").type, "symbolic-link", "a link of a link is a link");
  root.renameAt("f", root, "d/sub/g");
  root.unlinkFileAt("ld/sub/g");
  root.removeDirectoryAt("d/sub");
  root.renameAt("e", root, "d");
  root.removeDirectoryAt("d");
  assert.equal(thrown(() => root.statAt(FOLLOW, "ld")), "no-entry");
});

inMount("open directories follow renames and end with removal", ({ root }) => {
  root.createDirectoryAt("a");
  root.createDirectoryAt("a/b");
  root.createDirectoryAt("to");
  const a = root.openAt({}, "a", { directory: true }, R), b = a.openAt({}, "b", {}, R);
  assert.deepEqual(a.getFlags(), R);
  root.renameAt("a", root, "to/c");
  put(b, "f", "x");
  assert.equal(root.statAt({}, "to/c/b/f").size, 1n);
  assert.equal(thrown(() => b.statAt({}, "..")), "not-permitted", "not above its own directory");
  b.unlinkFileAt("f");
  a.removeDirectoryAt("b");
  root.createDirectoryAt("to/c/b");
  codes([
    ["create", () => b.openAt({}, "f", { create: true }, W), "no-entry"],
    ["mkdir", () => b.createDirectoryAt("x"), "no-entry"],
    ["sync", () => b.sync(), "ok"],
    ["set-times", () => b.setTimes({ tag: "now" }, { tag: "now" }), "ok"],
  ]);
  assert.deepEqual([b.stat().type, b.stat().linkCount], ["directory", 0n]);
  assert.equal(b.readDirectory().readDirectoryEntry(), undefined);
  assert.equal(b.isSameObject(b), true);
  assert.equal(b.isSameObject(a), false);
});

inMount("an open directory that others replaced is gone, not another one", ({ root, dir }) => {
  Deno.mkdirSync(`${dir}/a`);
  const a = root.openAt({}, "a", {}, R);
  Deno.renameSync(`${dir}/a`, `${dir}/moved`);
  Deno.mkdirSync(`${dir}/a`);
  assert.equal(thrown(() => a.stat()), "no-entry");
  Deno.removeSync(`${dir}/a`);
  Deno.symlinkSync("..", `${dir}/a`);
  assert.equal(thrown(() => a.readDirectory()), "no-entry");
});

inMount("a removed directory is gone, also where the host gives its number again", ({ root }) => {
  const { lstatSync } = Deno;
  // A file system without times of birth that uses an inode again at once.
  Deno.lstatSync = (path) => {
    const info = lstatSync(path);
    return String(path).endsWith("/a") ? { ...info, ino: 1, birthtime: null } : info;
  };
  try {
    root.createDirectoryAt("a");
    const a = root.openAt({}, "a", {}, R);
    assert.equal(a.stat().type, "directory");
    root.removeDirectoryAt("a");
    root.createDirectoryAt("a");
    assert.equal(a.stat().linkCount, 0n);
    assert.equal(thrown(() => a.createDirectoryAt("b")), "no-entry");
    assert.equal(root.openAt({}, "a", {}, R).stat().type, "directory");
  } finally {
    Deno.lstatSync = lstatSync;
  }
});

inMount("an unlinked file stays readable where it is open", ({ root }) => {
  const file = put(root, "f", "abc");
  root.unlinkFileAt("f");
  assert.equal(text(file.read(9n, 0n)[0]), "abc");
  assert.equal(file.stat().linkCount, 0n);
});

inMount("a read-only mount reads and refuses every change", ({ root, dir }) => {
  Deno.writeTextFileSync(`${dir}/f`, "abc");
  Deno.mkdirSync(`${dir}/d`);
  const file = root.openAt({}, "f", {}, R), d = root.openAt({}, "d", {}, R);
  assert.equal(text(file.read(9n, 0n)[0]), "abc");
  assert.deepEqual(root.getFlags(), R);
  const now = { tag: "now" } as const;
  const changes: Record<string, () => unknown> = {
    openToWrite: () => root.openAt({}, "f", {}, W),
    create: () => root.openAt({}, "x", { create: true }, R),
    truncate: () => root.openAt({}, "f", { truncate: true }, R),
    write: () => file.write(bytes("x"), 0n),
    setSize: () => file.setSize(0n),
    writeStream: () => file.writeViaStream(0n),
    appendStream: () => file.appendViaStream(),
    setTimes: () => file.setTimes(now, now),
    setTimesOfDirectory: () => root.setTimes(now, now),
    setTimesAt: () => root.setTimesAt({}, "f", now, now),
    mkdir: () => root.createDirectoryAt("x"),
    mkdirBelow: () => d.createDirectoryAt("x"),
    rmdir: () => root.removeDirectoryAt("d"),
    unlink: () => root.unlinkFileAt("f"),
    rename: () => root.renameAt("f", root, "g"),
    link: () => root.linkAt({}, "f", root, "g"),
    symlink: () => root.symlinkAt("f", "g"),
  };
  codes(Object.entries(changes).map(([name, act]) => [name, act, "not-permitted"] as const));
}, { writable: false });

inMount("no path leads out of the mount", ({ root, dir, outside }) => {
  Deno.mkdirSync(`${dir}/d/e`, { recursive: true });
  // Links that the host put there, and that a guest could not make.
  const links: Record<string, string> = {
    absolute: `${outside}/secret`,
    up: "../secret",
    parent: "..",
    root: "/",
    "d/twice": "../../secret",
    "d/e/long": "../../d/../../secret",
    chain: "d/twice",
    inside: `${dir}/d`,
  };
  for (const [name, target] of Object.entries(links)) Deno.symlinkSync(target, `${dir}/${name}`);
  const d = root.openAt({}, "d", {}, R);
  const out = [
    ...Object.keys(links),
    "..",
    "../secret",
    "/",
    `${outside}/secret`,
    "//secret",
    "d/../../secret",
    "./../secret",
    "d/e/../../../secret",
    "parent/secret",
    "parent/m/d",
    "root/etc/passwd",
    "parent/",
  ];
  for (const path of out) {
    codes([
      ["stat", () => root.statAt(FOLLOW, path), "not-permitted"],
      ["hash", () => root.metadataHashAt(FOLLOW, path), "not-permitted"],
      ["open", () => root.openAt(FOLLOW, path, {}, R), "not-permitted"],
      ["open to write", () => root.openAt(FOLLOW, path, {}, W), "not-permitted"],
      [
        "create",
        () => root.openAt(FOLLOW, path, { create: true }, W),
        path === "parent/" ? "is-directory" : "not-permitted",
      ],
      [
        "set-times",
        () => root.setTimesAt(FOLLOW, path, { tag: "now" }, { tag: "now" }),
        "not-permitted",
      ],
    ]);
  }
  for (const path of ["../x", "parent/x", "/x", "d/../../x", "root/tmp/x"]) {
    codes([
      ["mkdir", () => root.createDirectoryAt(path), "not-permitted"],
      ["rmdir", () => root.removeDirectoryAt(path), "not-permitted"],
      ["unlink", () => root.unlinkFileAt(path), "not-permitted"],
      ["rename from", () => root.renameAt(path, root, "y"), "not-permitted"],
      ["rename to", () => root.renameAt("d", root, path), "not-permitted"],
      ["link from", () => root.linkAt({}, path, root, "y"), "not-permitted"],
      ["link to", () => root.linkAt({}, "d", root, path), "not-permitted"],
      ["symlink at", () => root.symlinkAt("d", path), "not-permitted"],
      ["readlink", () => root.readlinkAt(path), "not-permitted"],
    ]);
  }
  codes([
    ["above an open directory", () => d.statAt({}, "../d"), "not-permitted"],
    ["link above an open directory", () => d.openAt(FOLLOW, "twice", {}, R), "not-permitted"],
    ["readlink of an absolute one", () => root.readlinkAt("absolute"), "not-permitted"],
  ]);
  assert.equal(root.statAt({}, "absolute").type, "symbolic-link", "itself it may be seen");
  root.unlinkFileAt("absolute");
  assert.equal(Deno.readTextFileSync(`${outside}/secret`), "secret");
  assert.deepEqual([...Deno.readDirSync(outside)].map((e) => e.name).sort(), ["m", "secret"]);
});

inMount("links that a guest makes neither are absolute nor lead out", ({ root }) => {
  root.createDirectoryAt("d");
  root.createDirectoryAt("d/e");
  put(root, "f", "abc");
  codes([
    ["absolute", () => root.symlinkAt("/etc/passwd", "l"), "not-permitted"],
    ["up", () => root.symlinkAt("..", "l"), "not-permitted"],
    ["up below", () => root.symlinkAt("../../f", "d/l"), "not-permitted"],
    ["down and up", () => root.symlinkAt("d/../../f", "l"), "not-permitted"],
    ["up behind a name", () => root.symlinkAt("d/../f", "l"), "not-permitted"],
    ["inside", () => root.symlinkAt("../../f", "d/e/l"), "ok"],
    ["inside, dots", () => root.symlinkAt("./.././d", "d/k"), "ok"],
    ["renamed up", () => root.renameAt("d/e/l", root, "l"), "not-permitted"],
    ["linked up", () => root.linkAt({}, "d/e/l", root, "d/l"), "not-permitted"],
    ["renamed beside", () => root.renameAt("d/e/l", root, "d/e/m"), "ok"],
  ]);
  assert.equal(text(root.openAt(FOLLOW, "d/e/m", {}, R).read(9n, 0n)[0]), "abc");
});

inMount("link loops, long paths and strange names are errors", ({ root }) => {
  root.symlinkAt("b", "a");
  root.symlinkAt("a", "b");
  root.symlinkAt(".", "self");
  put(root, "f");
  codes([
    ["loop", () => root.statAt(FOLLOW, "a"), "loop"],
    ["loop in the middle", () => root.statAt({}, "a/x"), "loop"],
    ["forty links", () => root.statAt({}, "self/".repeat(40) + "f"), "ok"],
    ["forty-one links", () => root.statAt({}, "self/".repeat(41) + "f"), "loop"],
    ["long name", () => root.statAt({}, "x".repeat(256)), "name-too-long"],
    ["long path", () => root.statAt({}, "./".repeat(2048)), "name-too-long"],
    ["very long path", () => root.createDirectoryAt("/.".repeat(1_000_000)), "name-too-long"],
    ["very long path of stat", () => root.statAt({}, "/.".repeat(1_000_000)), "name-too-long"],
    ["zero byte", () => root.openAt({}, "f\0", {}, R), "invalid"],
    ["zero byte in link", () => root.symlinkAt("f\0", "z"), "invalid"],
    ["empty", () => root.openAt({}, "", {}, R), "no-entry"],
  ]);
  put(root, "naïve ☃ \\ : * name", "x");
  assert.equal(root.statAt({}, "./naïve ☃ \\ : * name").size, 1n);
});

inMount("special files are seen and never opened", ({ root, dir }) => {
  new Deno.Command("mkfifo", { args: [`${dir}/fifo`] }).outputSync();
  assert.equal(root.statAt({}, "fifo").type, "unknown");
  // Without the check this would block for ever.
  for (const flags of [R, W, RW]) {
    assert.equal(thrown(() => root.openAt({}, "fifo", {}, flags)), "not-permitted");
    assert.equal(thrown(() => root.openAt({}, "fifo", { create: true }, flags)), "not-permitted");
  }
  root.unlinkFileAt("fifo");
});

inMount("what was opened is compared with what was found", ({ dir, outside }) => {
  Deno.writeTextFileSync(`${dir}/f`, "mine");
  const mount = { hostPath: dir, guestPath: "/", writable: true };
  const g = createFixture({ mounts: [mount] });
  const [[root]] = g.get("wasi:filesystem/preopens").getDirectories();
  const { openSync } = Deno;
  // A process of the host swaps the file for a link, between the look and the opening.
  Deno.openSync = (path, options) => {
    Deno.removeSync(`${dir}/f`);
    Deno.symlinkSync(`${outside}/secret`, `${dir}/f`);
    return openSync(path, options);
  };
  try {
    assert.equal(thrown(() => root.openAt({}, "f", { truncate: true }, RW)), "not-permitted");
  } finally {
    Deno.openSync = openSync;
    g.wasi.close();
  }
  assert.equal(Deno.readTextFileSync(`${outside}/secret`), "secret", "and not truncated before");
});

inMount("every step on the host is made under the lock of its mount", (w) => {
  const { root, locks } = w;
  const count = (act: () => unknown): number => {
    const before = locks.length;
    act();
    return locks.length - before;
  };
  put(root, "f", "x");
  assert.equal(count(() => root.openAt({}, "f", {}, R)), 1);
  assert.equal(count(() => root.statAt({}, "f")), 1);
  assert.equal(count(() => root.renameAt("f", root, "g")), 1);
  assert.equal(count(() => root.readDirectory()), 1);
  assert.equal(count(() => root.openAt({}, "g", {}, W).appendViaStream().write(bytes("y"))), 2);
});

inMount("two mounts are locked at once, and files move between them", ({ dir, outside }) => {
  Deno.mkdirSync(`${outside}/n`);
  const mounts = ["m", "n"].map((name) => ({
    hostPath: `${outside}/${name}`,
    guestPath: `/${name}`,
    writable: true,
  }));
  const f = createFixture({ mounts });
  const [[m], [n]] = f.get("wasi:filesystem/preopens").getDirectories();
  m.createDirectoryAt("d");
  const d = m.openAt({}, "d", {}, R);
  f.locks.length = 0;
  n.createDirectoryAt("into");
  m.renameAt("d", n, "into/d");
  n.renameAt("into", m, "back");
  assert.deepEqual(f.locks, ["1", "0,1", "1,0"]);
  put(d, "f", "x");
  assert.equal(Deno.readTextFileSync(`${dir}/back/d/f`), "x");
  f.wasi.close();
});

Deno.test("symlink-at hands the checked link to the context where it may not make it", () => {
  const dir = Deno.realPathSync(Deno.makeTempDirSync());
  const made: string[][] = [];
  const f = createFixture({ mounts: [{ hostPath: dir, guestPath: "/", writable: true }] }, {
    symlink: (target, hostPath) => void made.push([target, hostPath]),
  });
  const [[root]] = f.get("wasi:filesystem/preopens").getDirectories();
  root.symlinkAt("f", "l");
  assert.deepEqual(made, [["f", `${dir}/l`]]);
  f.wasi.close();
  Deno.removeSync(dir, { recursive: true });
});

Deno.test("close() closes the files that the guest left open", () => {
  const dir = Deno.realPathSync(Deno.makeTempDirSync());
  const open = () => [...Deno.readDirSync("/proc/self/fd")].length;
  const before = open();
  const f = createFixture({ mounts: [{ hostPath: dir, guestPath: "/", writable: true }] });
  const [[root]] = f.get("wasi:filesystem/preopens").getDirectories();
  for (let i = 0; i < 10; i++) put(root, `f${i}`).readViaStream(0n);
  assert.ok(open() >= before + 10);
  f.wasi.close();
  assert.ok(open() < before + 10);
  Deno.removeSync(dir, { recursive: true });
});
