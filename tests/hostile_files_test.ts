/**
 * Guests that are up to no good with files: names, depths, links, and pairs that race for a folder.
 *
 * @module
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import type { Engine, Mount } from "../agent/kernel/ports.ts";

import { endOf, type GuestOptions, runGuest, withEngine } from "./guest.ts";

const MIB = 1024 * 1024;

/** A folder `in/mount` with a file `secret.txt` and a folder `h` in each of the two above it. */
async function withMount(
  test: (engine: Engine, mount: string, outside: string) => Promise<void>,
): Promise<void> {
  const outside = await Deno.realPath(await Deno.makeTempDir());
  try {
    const mount = join(outside, "in", "mount");
    await Deno.mkdir(mount, { recursive: true });
    for (const folder of [outside, join(outside, "in")]) {
      await Deno.writeTextFile(join(folder, "secret.txt"), "secret");
      await Deno.mkdir(join(folder, "h"));
    }
    await withEngine(async (engine) => {
      await test(engine, mount, outside);
      const { stdout } = await runGuest(engine, "hello");
      assert.equal(stdout, "hello, world\n", "the engine runs the next guest");
    });
    const names = [...Deno.readDirSync(outside), ...Deno.readDirSync(join(outside, "in"))];
    assert.deepEqual(names.map(({ name }) => name).sort(), [
      "h",
      "h",
      "in",
      "mount",
      "secret.txt",
      "secret.txt",
    ]);
  } finally {
    await Deno.remove(outside, { recursive: true });
  }
}

const mounted = (...hostPaths: string[]): Mount[] =>
  hostPaths.map((hostPath, i) => ({ hostPath, guestPath: `/data${i}`, writable: true }));

/** Runs a behaviour of the fixture `hostile` to its end; what it said. */
async function run(
  engine: Engine,
  args: readonly string[],
  mounts: readonly Mount[],
  options: GuestOptions = {},
): Promise<string> {
  const { exit, stdout, stderr, usage } = await runGuest(engine, "hostile", {
    args,
    grants: { mounts },
    ...options,
  });
  assert.equal(endOf(exit), "exit 0", stdout + stderr);
  assert.deepEqual([usage.handles, usage.openFiles, usage.hostBytes], [0, 0, 0]);
  return stdout;
}

Deno.test("names that are no names are refused or are names", () =>
  withMount(async (engine, mount) => {
    const told = await run(engine, ["names"], mounted(mount));
    assert.equal(
      told,
      [
        "newline: ok ()",
        "escape: ok ()",
        "quotes: ok ()",
        "spaces: ok ()",
        "dots: ok ()",
        "backslash: ok ()",
        "right to left: ok ()",
        "proto: ok ()",
        "255: ok ()",
        "256: name-too-long",
        "nothing: no-entry",
        "zero: invalid",
        "zero first: invalid",
        "parent: not-permitted",
        "slash: not-permitted",
        "absolute: not-permitted",
        "9 names",
        "",
      ].join("\n"),
    );
    assert.equal([...Deno.readDirSync(mount)].length, 9);
  }));

Deno.test("folders in one another end where paths do, by path and by descriptor", () =>
  withMount(async (engine, mount) => {
    const told = await run(engine, ["deep"], mounted(mount));
    assert.equal(
      told,
      "by path: name-too-long at true\nby descriptor: name-too-long at true\n",
    );
  }));

Deno.test("links that lead to one another end after forty", () =>
  withMount(async (engine, mount) => {
    const told = await run(engine, ["cycles"], mounted(mount));
    assert.equal(told, "self: loop\nping: loop\nround: loop\nl40: ok ()\nl41: loop\n");
  }));

Deno.test("a folder of many names is listed within the guest's memory", () =>
  withMount(async (engine, mount) => {
    assert.equal(await run(engine, ["crowd", "1000"], mounted(mount)), "20000 entries\n");
    const { exit } = await runGuest(engine, "hostile", {
      args: ["crowd", "8000"],
      grants: { mounts: mounted(mount) },
      limits: { memoryBytesMax: 3 * MIB },
    });
    assert.equal(endOf(exit), "memory-limit");
    assert.match(exit.kind === "trap" ? exit.message : "", /the host holds \d+ bytes/);
  }));

Deno.test("a file is nowhere near the end of the numbers", () =>
  withMount(async (engine, mount) => {
    const told = await run(engine, ["far"], mounted(mount));
    assert.match(told, /^0 bytes$/m);
    assert.doesNotMatch(told, /^(write|size).*ok/m);
  }));

Deno.test("what a host's folder has beside files is not opened: pipes, sockets, devices, /proc", () =>
  withMount(async (engine, mount, outside) => {
    await new Deno.Command("mkfifo", { args: [join(mount, "fifo")] }).output();
    using _ = Deno.listen({ transport: "unix", path: join(mount, "socket") });
    for (
      const [name, target] of [
        ["device", "/dev/zero"],
        ["environ", "/proc/self/environ"],
        ["fd", "/proc/self/fd"],
        ["root", "/proc/self/root"],
        ["secret", join(outside, "secret.txt")],
        ["up", "../secret.txt"],
      ] as const
    ) {
      await Deno.symlink(target, join(mount, name));
    }
    const told = await run(engine, ["special"], mounted(mount));
    assert.equal(told.split("\n").length, 2 * 8 + 1, told);
    assert.doesNotMatch(told, /: ok/);
    await Deno.remove(join(mount, "socket"));
  }));

Deno.test("two guests that race on one folder never leave it: one swaps a link while the other opens", () =>
  withMount(async (engine, mount) => {
    const [swapped, ...peeked] = await Promise.all([
      run(engine, ["swap", "1500"], mounted(mount)),
      run(engine, ["peek"], mounted(mount)),
      run(engine, ["peek"], mounted(mount)),
    ]);
    assert.equal(swapped, "swapped 1500\n");
    assert.deepEqual(peeked, ["stayed inside\n", "stayed inside\n"]);
  }));

for (const order of ["outer", "inner"] as const) {
  Deno.test(`two guests never leave folders of which one is in the other, the ${order} one mounted first`, () =>
    withMount(async (engine, mount) => {
      const inner = join(mount, "sub");
      await Deno.mkdir(inner);
      const starts = {
        outer: () => run(engine, ["peek"], mounted(mount)),
        inner: () => run(engine, ["swap", "1500"], mounted(inner)),
      };
      const first = starts[order]();
      const second = starts[order === "outer" ? "inner" : "outer"]();
      assert.deepEqual((await Promise.all([first, second])).sort(), [
        "stayed inside\n",
        "swapped 1500\n",
      ]);
    }));
}

Deno.test("one folder mounted twice does not wait for itself", () =>
  withMount(async (engine, mount) => {
    const told = await run(engine, ["carry"], mounted(mount, mount), {
      limits: { timeoutMs: 60_000 },
    });
    assert.equal(told, "carried\n");
  }));

Deno.test("guests that move files between two folders in both orders do not wait in a circle", () =>
  withMount(async (engine, mount) => {
    const [a, b] = [join(mount, "a"), join(mount, "b")];
    await Promise.all([a, b].map((folder) => Deno.mkdir(folder)));
    const limits = { timeoutMs: 60_000 };
    const told = await Promise.all([
      runGuest(engine, "hostile", { args: ["carry"], grants: { mounts: mounted(a, b) }, limits }),
      runGuest(engine, "hostile", { args: ["carry"], grants: { mounts: mounted(b, a) }, limits }),
    ]);
    // They take each other's file away: an error for the guest, and then a panic.
    for (const { exit } of told) assert.match(endOf(exit), /^(exit 0|trap)$/);
  }));
