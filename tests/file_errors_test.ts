/**
 * Every error of `wasi:filesystem` is met by a guest, or listed with the reason why none can.
 *
 * Programs run as the user runs them, `realm run` beside `wasmtime run` where that is installed:
 * some errors need another file system or fewer capabilities than a test may have, and a process
 * can be given both.
 *
 * @module
 */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { output, WASMTIME } from "./wasmtime/command.ts";
import { WASI } from "./wit.ts";

/** Commands of util-linux before a program: `FOLDER` stands for the folder that it is given. */
const BEFORE = {
  nothing: [],
  /** Even root is asked for permission. */
  uncapable: Deno.build.os === "linux" && Deno.uid() === 0
    ? ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
    : [],
  /** In a folder that is full with 64 KiB. */
  small: mounted("mount -t tmpfs -o size=64k realm FOLDER"),
  /** In a folder of a file system that is read-only. */
  readOnly: mounted(
    "mount -t tmpfs realm FOLDER && touch FOLDER/f && mkdir FOLDER/d && mount -o remount,ro FOLDER",
  ),
} satisfies Record<string, readonly string[]>;

function mounted(script: string): string[] {
  return ["unshare", "-rm", "sh", "-c", `${script} && exec "$@"`, "sh"];
}

interface Case {
  /** Only with `SLOW=1`. */
  readonly isSlow?: boolean;
  readonly before?: keyof typeof BEFORE;
  /** Fills the folder `/data`; what it answers is called afterwards. */
  readonly prepare?: (folder: string) => void | Disposable;
  /**
   * For the fixture `descriptors`, words apart by spaces, `-` for no flags: slot 0 is `/data`, 1
   * a folder of another file system.
   */
  readonly script: readonly string[];
  /** What the calls answer. */
  readonly gives: readonly string[];
  /** Where wasmtime answers something else, see docs/differences.md. */
  readonly wasmtime?: readonly string[];
}

/** By what they are about. */
const CASES: Readonly<Record<string, Case>> = {
  "what every folder gives": {
    script: [
      "create-directory-at 0 d",
      "create-directory-at 0 d",
      "open-at 2 0 - f c rw",
      "read 0 1 0",
      "rename-at 0 d/ 0 d/.",
      "readlink-at 0 f",
      "open-at 3 0 - d - w",
      "symlink-at 0 loop loop",
      "stat-at 0 f loop",
      "stat-at 0 - \\n256",
      "stat-at 0 - none",
      "stat-at 0 - f/g",
      "open-at 3 0 - d/g c w",
      "remove-directory-at 0 d",
      "stat-at 0 - ../f",
      "open-at 3 0 - f - rs",
    ],
    gives: [
      "()",
      "!exist",
      "2",
      "!bad-descriptor",
      "!busy",
      "!invalid",
      "!is-directory",
      "()",
      "!loop",
      "!name-too-long",
      "!no-entry",
      "!not-directory",
      "3",
      "!not-empty",
      "!not-permitted",
      "!unsupported",
    ],
  },
  "what nobody may read": {
    before: "uncapable",
    prepare(folder) {
      Deno.mkdirSync(`${folder}/shut`);
      Deno.writeTextFileSync(`${folder}/shut/g`, "");
      Deno.writeTextFileSync(`${folder}/f`, "");
      for (const name of ["f", "shut"]) Deno.chmodSync(`${folder}/${name}`, 0);
    },
    script: [
      "open-at 2 0 - f - r",
      "open-at 2 0 - f - w",
      "open-at 2 0 - shut/g - r",
      "open-at 2 0 - shut d r",
      "stat-at 0 - shut/g",
      "create-directory-at 0 shut/new",
      "symlink-at 0 f shut/new",
      "unlink-file-at 0 shut/g",
      "rename-at 0 f 0 shut/f",
    ],
    gives: Array(9).fill("!access"),
  },
  "two file systems": {
    script: [
      "open-at 2 0 - f c rw",
      "rename-at 0 f 1 f",
      "link-at 0 - f 1 f",
      "create-directory-at 1 there",
      "remove-directory-at 1 there",
    ],
    gives: ["2", "!cross-device", "!cross-device", "()", "()"],
    wasmtime: ["2", "!io", "!io", "()", "()"],
  },
  "the program of a process that runs": {
    prepare(folder) {
      Deno.copyFileSync("/bin/sleep", `${folder}/sleep`);
      const sleeps = new Deno.Command(`${folder}/sleep`, { args: ["60"], stdin: "null" }).spawn();
      return {
        [Symbol.dispose]() {
          sleeps.kill("SIGKILL");
        },
      };
    },
    script: ["open-at 2 0 - sleep - r", "open-at 3 0 - sleep - rw", "open-at 3 0 - sleep t w"],
    gives: ["2", "!text-file-busy", "!text-file-busy"],
    wasmtime: ["2", "!io", "!io"],
  },
  "further than a file can be": {
    script: [
      "open-at 2 0 - f c rw",
      "set-size 2 4611686018427387904",
      "write 2 4611686018427387904 x",
      "write-via-stream 8 2 4611686018427387904",
      "stream-write 8 x",
      "set-size 2 9223372036854775808",
    ],
    gives: [
      "2",
      "!file-too-large",
      "!file-too-large",
      "8",
      "!failed file-too-large",
      "!invalid",
    ],
  },
  "later than a time can be": {
    script: [
      "open-at 2 0 - f c rw",
      "set-times 2 9223372036854775808.0 -",
      "set-times-at 0 - f - 18446744073709551615.0",
      "set-times 2 - 9223372036854775807.1000000000",
    ],
    gives: ["2", "!overflow", "!overflow", "!overflow"],
  },
  "text that is not UTF-8": {
    prepare(folder) {
      const made = new Deno.Command("sh", {
        args: ["-c", `ln -s "$(printf 'a\\377')" link`],
        cwd: folder,
      }).outputSync();
      assert.ok(made.success);
    },
    script: ["readlink-at 0 link", "open-at 2 0 f link - r", "unlink-file-at 0 link"],
    gives: ["!illegal-byte-sequence", "!illegal-byte-sequence", "()"],
    wasmtime: ["!illegal-byte-sequence", "!no-entry", "()"],
  },
  "a disk that is full": {
    before: "small",
    script: [
      "open-at 2 0 - f c rw",
      "write 2 0 \\x65536",
      "write 2 65536 x",
      "append-via-stream 8 2",
      "stream-write 8 x",
      "set-size 2 0",
      "write 2 0 x",
    ],
    gives: [
      "2",
      "65536",
      "!insufficient-space",
      "8",
      "!failed insufficient-space",
      "()",
      "1",
    ],
  },
  "a file system that is read-only": {
    before: "readOnly",
    script: [
      "create-directory-at 0 new",
      "open-at 2 0 - new c w",
      "open-at 2 0 - f - w",
      "open-at 2 0 - f t w",
      "unlink-file-at 0 f",
      "rename-at 0 f 0 g",
      "link-at 0 - f 0 g",
      "symlink-at 0 f l",
      "remove-directory-at 0 d",
      "set-times-at 0 - f now now",
      "open-at 3 0 - f - r",
      "set-times 3 now now",
    ],
    gives: [...Array(10).fill("!read-only"), "3", "!read-only"],
    wasmtime: [...Array(10).fill("!io"), "3", "!io"],
  },
  "as many links as can be": {
    isSlow: true,
    prepare(folder) {
      Deno.writeTextFileSync(`${folder}/f`, "");
      try {
        // 65,000 of ext4.
        for (let i = 0; i < 100_000; i++) Deno.linkSync(`${folder}/f`, `${folder}/${i}`);
      } catch { /* no more */ }
    },
    script: ["link-at 0 - f 0 more"],
    gives: ["!too-many-links"],
    wasmtime: ["!io"],
  },
};

/** Errors that no script here meets, and why. */
const UNMET: Readonly<Record<string, string>> = {
  "already": "connections have it, files do not",
  "deadlock": "the interface has no locks",
  "in-progress": "connections have it, files do not",
  "insufficient-memory": "the system ends a program instead",
  "interrupted": "the runtime makes such a call again",
  "invalid-seek": "of pipes and sockets, which are not opened",
  "io": "of disks that break, and what has no other code",
  "message-size": "of sockets",
  "no-device": "of devices, which are not opened",
  "no-lock": "the interface has no locks",
  "no-such-device": "of devices, which are not opened",
  "no-tty": "of terminals, which are not opened",
  "not-recoverable": "of locks between processes",
  "pipe": "of pipes and sockets, which are not opened",
  "quota": "handles and open files, see tests/hoard_test.ts",
  "would-block": "files never do",
};

const FIXTURE = fileURLToPath(new URL("../fixtures/descriptors.wasm", import.meta.url));
const MAIN = fileURLToPath(new URL("../main.ts", import.meta.url));
const SLOW = Deno.env.get("SLOW") === "1";

/** Runs a case, and answers what each call gave. */
async function run(the: Case, program: readonly string[], other: string): Promise<string[]> {
  const folder = await Deno.realPath(await Deno.makeTempDir());
  const prepared = the.prepare?.(folder);
  try {
    const [command, ...args] = [
      ...BEFORE[the.before ?? "nothing"].map((word) => word.replaceAll("FOLDER", folder)),
      ...program,
      ...["--dir", `${folder}::/data`, "--dir", `${other}::/other`, FIXTURE],
    ];
    const script = the.script.map((line) => {
      const [call, ...words] = line.split(" ");
      // Times have a word of their own for nothing.
      const isTime = (at: number) => call!.startsWith("set-times") && at > 0;
      return [call, ...words.map((word, at) => word === "-" && !isTime(at) ? "" : word)].join("\t");
    });
    const { code, stdout, stderr } = await output(command!, args, `${script.join("\n")}\n`);
    assert.equal(code, 0, stderr);
    return stdout.trim().split("\n").slice(2).map((line) => line.replace(/^\d+ [a-z-]+: /, ""));
  } finally {
    prepared?.[Symbol.dispose]();
    for (const name of ["f", "shut"]) await Deno.chmod(`${folder}/${name}`, 0o700).catch(() => {});
    await Deno.remove(folder, { recursive: true });
  }
}

const canMount = Deno.build.os === "linux" && await (async () => {
  try {
    return (await output("unshare", ["-rm", "mount", "-t", "tmpfs", "realm", "/mnt"])).code === 0;
  } catch {
    return false;
  }
})();

Deno.test({
  name: "errors of files reach the guest, and are those of wasmtime",
  ignore: Deno.build.os !== "linux",
  fn: async (t) => {
    const other = await Deno.makeTempDir({ dir: "/dev/shm" });
    try {
      for (const [name, the] of Object.entries(CASES)) {
        const isMounted = the.before === "small" || the.before === "readOnly";
        if (the.isSlow && !SLOW || isMounted && !canMount) {
          console.log(`skipped: ${name}, ${isMounted ? "nothing can be mounted" : "see SLOW=1"}`);
          continue;
        }
        await t.step(name, async () => {
          const realm = [Deno.execPath(), "run", "-A", "--no-check", MAIN, "run"];
          assert.deepEqual(await run(the, realm, other), the.gives);
          if (!WASMTIME) return;
          const theirs = await run(the, [WASMTIME, "run"], other);
          assert.deepEqual(theirs, the.wasmtime ?? the.gives, "wasmtime");
        });
      }
    } finally {
      await Deno.remove(other, { recursive: true });
    }
  },
});

Deno.test("every error of wasi:filesystem is met, or it is said why none can be", () => {
  const codes = WASI.errors.get("wasi:filesystem/types")!;
  const given = Object.values(CASES).flatMap(({ gives }) => gives);
  const met = [...codes].filter((code) => given.some((text) => text.endsWith(code)));
  assert.deepEqual([...met, ...Object.keys(UNMET)].sort(), [...codes].sort());
});
