/**
 * A data folder on a disk without room: what is told, what is left behind, and what works once there
 * is room again.
 */
import assert from "node:assert/strict";
import * as path from "node:path";
import { EXECUTABLE, run, withSandbox } from "./executable.ts";

/** Runs a script of sh in a name space of its own, which may mount. */
const mounting = (script: string, ...args: string[]) =>
  run("unshare", ["-rm", "sh", "-c", script, "sh", ...args]);

async function mayMount(): Promise<boolean> {
  try {
    return (await mounting("mount -t tmpfs realm /mnt")).status === 0;
  } catch {
    return false;
  }
}

/** Each command says what it came to; the folder is listed as it is left. */
const SCRIPT = `
realm=$1; cd "$2"; mkdir disk; export HOME="$2" TMPDIR="$2"
mount -t tmpfs -o size=1m realm disk
mkdir -m 700 disk/data
dd if=/dev/zero of=disk/filled bs=4096 2>/dev/null
said() { echo "$1: $2"; ls -A disk/data; }
"$realm" init --name shop --data disk/data; said init $?
"$realm" doctor --data disk/data; said doctor $?
"$realm" agent --http 127.0.0.1:0 --data disk/data; said agent $?
rm disk/filled disk/data/*
"$realm" init --name shop --data disk/data; said again $?
`;

Deno.test({
  name: "on a full disk commands say so and leave nothing half done, and work when there is room",
  ignore: !await mayMount(),
  fn: () =>
    withSandbox(async ({ folder }) => {
      const { stdout, stderr } = await mounting(SCRIPT, EXECUTABLE, path.resolve(folder));
      assert.match(
        stderr,
        /^error\[failed\]: Cannot write .*recovery\.key: No space left on device$/m,
      );
      assert.doesNotMatch(stderr, /a bug in realm/);
      assert.match(
        stdout,
        /^init: 1\nFAIL {2}folder .*cannot be written: No space left on device/m,
      );
      assert.match(stdout, /^(?:ok {2}|WARN) {2}limits .*open files are allowed$/m);
      assert.match(stdout, /^doctor: 1\nagent: 1\n/m);
      assert.match(stderr, /^error\[failed\]: Cannot open store .*is full\nhint: Make room/m);
      assert.match(stdout, /^again: 0\ncontrol\.genesis\nowner\.key\nrecovery\.key$/m, stderr);
    }),
});
