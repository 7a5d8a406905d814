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
realm=$1; cd "$2"; mkdir disk; export HOME="$2" TMPDIR="$2" REALM_HOME="$2/disk/data"
mount -t tmpfs -o size=8m realm disk
mkdir -m 700 disk/data
fill() { dd if=/dev/zero of=disk/filled bs=4096 2>/dev/null; }
fill
said() { echo "$1: $2"; ls -A disk/data; }
"$realm" init --name shop; said init $?
"$realm" doctor; said doctor $?
"$realm" agent --http 127.0.0.1:0; said agent $?
rm disk/filled disk/data/*
"$realm" init --name shop; said again $?

agent=
trap '[ -z "$agent" ] || kill -9 $agent' EXIT
trap 'exit 1' HUP INT TERM
wait_for() { # for two minutes and what each round takes, and no longer than the agent lives
  rounds=0
  until "$@"; do
    rounds=$((rounds + 1))
    [ $rounds -lt 1200 ] && kill -0 $agent || return
    sleep 0.1
  done
}
is_ready() { [ -s ready ]; }
is_running() { "$realm" status | grep '^hello .* running'; }
is_in_force() { "$realm" history | grep '^ *2 *in force'; }

start() {
  "$realm" agent --json --name here --http 127.0.0.1:0 "$@" >ready &
  agent=$!
  wait_for is_ready
}
start --ticket "$("$realm" invite)"
printf '[nodes.here]\n[components.hello]\nsource = "file:./http-hello.wasm"\nworld = "wasi:http/proxy"\n[routing]\nhere = [{ path = "/...", component = "hello" }]\n' >>realm.toml
"$realm" apply realm.toml --yes --wait >/dev/null; echo "apply: $?"
kill -9 $agent; wait $agent
fill
: >ready; start
wait_for is_running
echo '[nodes.other]' >>realm.toml
for _ in 1 2; do "$realm" apply realm.toml --yes >/dev/null; echo "apply on full: $?"; done
rm disk/filled
wait_for is_in_force
"$realm" apply realm.toml --yes --wait; echo "apply with room: $?"
kill $agent; wait $agent
agent=
`;

Deno.test({
  name: "on a full disk commands say so and leave nothing half done, and work when there is room",
  ignore: !await mayMount(),
  fn: () =>
    withSandbox(async ({ folder, fixtures }) => {
      await fixtures("http-hello");
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

      // What was accepted runs again, although nothing can be stored.
      assert.match(
        stdout,
        /^apply: 0\nhello .* running.*\napply on full: 1\napply on full: 1\n/m,
        stderr,
      );
      assert.match(stderr, /^Nothing can be stored, and what runs already goes on: .*is full$/m);
      assert.match(
        stderr,
        /^error.*Cannot keep what was written yet.*\nhint: Do not write it again/m,
      );
      assert.match(
        stdout,
        /^ +2 +in force .*\n(?:.*\n)*No changes\n(?:.*\n)*apply with room: 0$/m,
        stderr,
      );
      assert.doesNotMatch(stderr, /internal error|a bug in realm/);
    }),
});
