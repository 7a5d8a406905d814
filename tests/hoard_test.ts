/**
 * Bounds of what a guest can make the host hold: each is hit from inside a guest.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { Usage } from "../agent/kernel/ports.ts";
import { NOTICES_PER_SEC_MAX, OPEN_FILES_MAX } from "../agent/runtime/wasi/bounds.ts";
import { endOf, fixture, NO_GRANTS, runGuest, withEngine } from "./guest.ts";

const MIB = 1024 * 1024;

/** Runs `test` with a folder that the guest sees as `/data`. */
async function withFolder(
  test: (
    grants: { mounts: [{ hostPath: string; guestPath: string; writable: boolean }] },
  ) => Promise<void>,
  files: readonly string[],
): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    for (const name of files) await Deno.writeTextFile(`${folder}/${name}`, "");
    await test({ mounts: [{ hostPath: folder, guestPath: "/data", writable: true }] });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("what the host holds counts as memory of the guest", () =>
  withEngine((engine) =>
    withFolder(async (grants) => {
      for (const what of ["fields", "bodies", "directories"]) {
        const { exit, usage } = await runGuest(engine, "hoard", {
          args: [what],
          grants,
          limits: { memoryBytesMax: 8 * MIB },
        });
        assert.equal(endOf(exit), "memory-limit", what);
        assert.match(exit.kind === "trap" ? exit.message : "", /the host holds \d{7} bytes/);
        assert.ok(usage.memoryBytesPeak <= 8 * MIB, `${usage.memoryBytesPeak}`);
        assert.ok(usage.memoryBytesPeak > 7 * MIB, `${usage.memoryBytesPeak}`);
        const { hostBytes, handles, memoryBytes } = usage;
        assert.deepEqual({ hostBytes, handles, memoryBytes }, {
          hostBytes: 0,
          handles: 0,
          memoryBytes: 0,
        }, "it is given back");
        // A limit with room for it: then the number of handles is what ends it.
        const roomy = await runGuest(engine, "hoard", {
          args: [what],
          grants,
          limits: { memoryBytesMax: 512 * MIB },
        });
        assert.equal(endOf(roomy.exit), "trap", what);
        assert.match(roomy.exit.kind === "trap" ? roomy.exit.message : "", /1024 are open/);
      }
    }, Array.from({ length: 100 }, (_, i) => `a file with a name of some length ${i}`))
  ));

Deno.test("what fd_readdir keeps of a folder counts too, for each descriptor and as long as it is open", () =>
  withEngine((engine) =>
    withFolder(async (grants) => {
      const open = "path_open\t3\t0\t.\t2\t16386\t0\t0";
      const run = (lines: readonly string[]) =>
        runGuest(engine, "descriptors-p1", {
          grants,
          stdin: lines.join("\n"),
          limits: { memoryBytesMax: 8 * MIB },
        });
      const times = Array.from({ length: 400 });
      const hoarding = await run(times.flatMap((_, i) => [open, `fd_readdir\t${i + 4}\t64\t0`]));
      assert.equal(endOf(hoarding.exit), "memory-limit");
      const { message } = hoarding.exit as { message: string };
      assert.match(message, /the host holds \d{7} bytes/);
      assert.ok(hoarding.usage.memoryBytesPeak <= 8 * MIB);
      const tidy = [open, "fd_readdir\t4\t64\t0", "fd_readdir\t4\t64\t0", "fd_close\t4"];
      const { exit, usage } = await run(times.flatMap(() => tidy));
      assert.deepEqual(exit, { kind: "exit", status: 0 });
      assert.equal(usage.hostBytes, 0);
    }, Array.from({ length: 100 }, (_, i) => `a file with a name of some length ${i}`))
  ));

Deno.test("open files are bounded, also where streams keep them open", () =>
  withEngine((engine) =>
    withFolder(async (grants) => {
      const { exit, stdout, usage } = await runGuest(engine, "hoard", { args: ["files"], grants });
      assert.equal(endOf(exit), "exit 0");
      assert.equal(stdout, `refused after ${OPEN_FILES_MAX} (quota)\n`);
      assert.equal(usage.openFiles, 0, "they are closed with the guest");
    }, ["f"])
  ));

Deno.test("poll takes no longer list, whatever is in it", () =>
  withEngine(async (engine) => {
    const run = (n: number) => runGuest(engine, "hoard", { args: ["poll", String(n)] });
    assert.equal((await run(4096)).stdout, "4096 ready\n");
    const { exit } = await run(4097);
    assert.match(exit.kind === "trap" ? exit.message : "", /4097 entries, the most is 4096/);
    assert.equal(endOf((await run(4_000_000)).exit), "trap");
  }));

Deno.test("a list counts with each of its elements before it is lifted", () =>
  withEngine(async (engine) => {
    const run = (n: number) => runGuest(engine, "hoard", { args: ["list", String(n)] });
    assert.equal((await run(1000)).stdout, "refused\n", "for its names");
    const { exit } = await run(1_000_000);
    assert.match(exit.kind === "trap" ? exit.message : "", /a call gives more than \d+ bytes/);
  }));

Deno.test("the message of a trap is cut, whatever the guest put in it", () =>
  withEngine(async (engine) => {
    const { exit } = await runGuest(engine, "hoard", { args: ["name", "200000"] });
    assert.equal(endOf(exit), "trap");
    const message = exit.kind === "trap" ? exit.message : "";
    assert.match(message, /^Cannot add header "xxx/);
    assert.equal(message.length, 1025);
  }));

Deno.test("requests that trap are told of so often a second, and counted", () =>
  withEngine(async (engine) => {
    const notices: string[] = [];
    const replica = await engine.start(await engine.prepare(await fixture("http-counter")), {
      world: "wasi:http/proxy",
      grants: NO_GRANTS,
      limits: { memoryBytesMax: 256 * MIB },
      stdio: {
        terminal: { stdin: false, stdout: false, stderr: false },
        read: () => Promise.resolve(null),
        write: () => {},
      },
      notice: (text) => void notices.push(text),
    });
    const requests = 4 * NOTICES_PER_SEC_MAX;
    const from = performance.now();
    await Promise.all(Array.from({ length: requests }, async () => {
      const request = new Request("http://localhost/trap");
      await assert.rejects(replica.handle(request as Parameters<typeof replica.handle>[0]));
    }));
    const seconds = Math.ceil((performance.now() - from) / 1000);
    // A request is over a moment after its answer, and a trap is told of when its frames have names.
    const trapsTold = () => notices.filter((n) => n.startsWith("trap")).length;
    const isOver = ({ requests, droppedLogLines }: Usage) =>
      requests === 0 && trapsTold() + droppedLogLines === 4 * NOTICES_PER_SEC_MAX;
    for (let i = 0; i < 300 && !isOver(replica.usage()); i++) {
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    const usage = replica.usage();
    await replica.stop();
    await replica.exited;
    assert.equal(usage.traps, requests);
    assert.equal(usage.requests, 0);
    const told = trapsTold();
    assert.ok(told <= (seconds + 1) * NOTICES_PER_SEC_MAX, `${told} in ${seconds} s`);
    assert.equal(told + usage.droppedLogLines, requests);
    if (told < requests) assert.ok(notices.some((n) => n.startsWith("more is not told")));
  }));
