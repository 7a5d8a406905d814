/**
 * Upgrading an agent that runs, by a release in a folder, and back when it does not come up.
 *
 * The executables of the release are scripts around the one under test: what is replaced, started
 * and asked is real.
 *
 * @module
 */
import assert from "node:assert/strict";
import { formatPublicKey } from "../../agent/kernel/key.ts";
import { webCryptoBackend } from "../../agent/kernel/signature_backends.ts";
import { sha256Hex } from "../../agent/kernel/sha256.ts";
import { keyPairOf, signerOf } from "../../agent/kernel/verify.ts";
import { formatSums, signSums } from "../../cli/upgrade/release_sums.ts";
import { withUpgradeLock } from "../../cli/upgrade/upgrade_lock.ts";
import { failed, statusOf, succeeded, until } from "./agent_process.ts";
import { EXECUTABLE, run, type Sandbox, start as startProgram, withSandbox } from "./executable.ts";

const BACKEND = webCryptoBackend();
const KEYS = await keyPairOf(new Uint8Array(32).fill(9), BACKEND);
const KEY = formatPublicKey(KEYS.publicKey);
const VERSION = (await run(EXECUTABLE, ["--version"])).stdout.trim().split(" ")[1]!;

/** Writes a release with this executable for the machine; its folder. */
async function release(folder: string, script: string): Promise<string> {
  await Deno.mkdir(folder);
  const name = `realm-${Deno.build.target}`;
  const bytes = new TextEncoder().encode(`#!/bin/sh\n${script}\n`);
  await Deno.writeFile(`${folder}/${name}`, bytes, { mode: 0o755 });
  const sums = new TextEncoder().encode(formatSums(new Map([[name, await sha256Hex(bytes)]])));
  await Deno.writeFile(`${folder}/SHA256SUMS`, sums);
  const line = await signSums(sums, signerOf(KEYS, BACKEND));
  await Deno.writeTextFile(`${folder}/SHA256SUMS.sig`, line);
  return folder;
}

/** What a service does: ends the agent and starts what is installed now. */
async function service(sandbox: Sandbox, installed: string): Promise<string> {
  const { folder, data } = sandbox;
  const script = `${folder}/restart.sh`;
  await Deno.writeTextFile(
    script,
    `pid=$(cat "${folder}/pid" 2>/dev/null) && kill "$pid" 2>/dev/null
while [ -S "${data}/control.sock" ]; do sleep 0.1; done
"${installed}" agent --name here --http 127.0.0.1:0 >>"${folder}/agent.log" 2>&1 &
echo $! >"${folder}/pid"
`,
  );
  return `sh "${script}"`;
}

Deno.test("an agent is upgraded; one that does not come up is put back", async (t) => {
  await withSandbox(async (sandbox) => {
    const { folder, data } = sandbox;
    const installed = `${folder}/bin/realm`;
    await Deno.mkdir(`${folder}/bin`);
    await Deno.link(EXECUTABLE, installed).catch(() => Deno.copyFile(EXECUTABLE, installed));
    const env = { HOME: `${folder}/home`, TMPDIR: `${folder}/tmp` };
    const realm = (...args: string[]) =>
      run(installed, [...args, "--json", "--quiet"], { cwd: folder, env });
    const restart = await service(sandbox, installed);
    const start = () => run("sh", ["-c", restart], { cwd: folder, env });
    const upgrade = (from: string, ...args: string[]) =>
      realm("upgrade", "--from", from, "--release-key", KEY, "--restart", restart, ...args);
    const isAnswering = async () =>
      (await sandbox.realm("status", "--json")).status === 0 && await statusOf(sandbox);
    try {
      await start();
      const first = await until("the agent answers", isAnswering, { atMostMs: 60_000 });
      const works = await release(`${folder}/works`, `exec "${EXECUTABLE}" "$@"`);
      const breaks = await release(
        `${folder}/breaks`,
        `[ "$1" = agent ] && echo broken && exit 1; exec "${EXECUTABLE}" "$@"`,
      );
      const text = () => Deno.readTextFile(installed);

      await t.step("a release that nobody trusted has signed changes nothing", async () => {
        const before = await Deno.stat(installed);
        assert.deepEqual(failed(await realm("upgrade", "--from", works)), [3, "bad-signature"]);
        const other = formatPublicKey(await BACKEND.publicKey(new Uint8Array(32).fill(8)));
        assert.deepEqual(
          failed(await realm("upgrade", "--from", works, "--release-key", other)),
          [3, "bad-signature"],
        );
        await Deno.writeTextFile(`${breaks}/realm-${Deno.build.target}`, "# more\n", {
          append: true,
        });
        assert.deepEqual(failed(await upgrade(breaks)), [3, "digest-mismatch"]);
        assert.equal((await Deno.stat(installed)).ino, before.ino);
        assert.deepEqual([...Deno.readDirSync(`${folder}/bin`)].map(({ name }) => name), ["realm"]);
      });

      await t.step("one upgrade runs at a time", async () => {
        const second = await withUpgradeLock(installed, () => upgrade(works));
        assert.deepEqual(failed(second), [3, "refused"]);
      });

      await t.step("the doctor finds the agent in good health", async () => {
        const { stdout } = await realm("doctor");
        const levels = (check: string) =>
          JSON.parse(stdout).findings.filter((each: { check: string }) => each.check === check)
            .map(({ level }: { level: string }) => level);
        for (const check of ["folder", "keys", "socket", "versions", "ports"]) {
          assert.deepEqual(levels(check), ["ok"], `${check}: ${stdout}`);
        }
      });

      await t.step("the new one is in place and its agent is up", async () => {
        const done = succeeded(await upgrade(works, "--wait", "120s"));
        assert.deepEqual([done.from, done.to, done.agent], [VERSION, VERSION, "up"]);
        assert.match(await text(), /exec/);
        const second = await statusOf(sandbox);
        assert.notEqual(second.node.startedAtMs, first.node.startedAtMs);
        assert.equal(second.node.key, first.node.key);
        // Put the one under test back: a script is not told where it is.
        await Deno.rename(`${installed}.old`, installed);
      });

      await t.step("one that does not come up is put back, and its agent with it", async () => {
        await Deno.remove(breaks, { recursive: true });
        await release(
          breaks,
          `[ "$1" = agent ] && echo broken && exit 1; exec "${EXECUTABLE}" "$@"`,
        );
        const before = await statusOf(sandbox);
        const { status, stderr } = await upgrade(breaks, "--wait", "5s");
        assert.equal(status, 1, stderr);
        assert.match(
          stderr,
          /the agent did not answer within 5 s; .* is back and its agent is up/,
        );
        const after = await statusOf(sandbox);
        assert.notEqual(after.node.startedAtMs, before.node.startedAtMs);
        assert.equal((await Deno.stat(installed)).size, (await Deno.stat(EXECUTABLE)).size);
        assert.match(await Deno.readTextFile(`${folder}/agent.log`), /broken/);
      });

      await t.step("an upgrade that is interrupted goes back, and waits for that", async () => {
        const before = await statusOf(sandbox);
        const log = `${folder}/agent.log`;
        const toldBefore = (await Deno.readTextFile(log)).split("broken").length;
        const interrupted = startProgram(
          installed,
          [
            ...["upgrade", "--from", breaks, "--release-key", KEY, "--restart", restart],
            ...["--wait", "600s", "--json", "--quiet"],
          ],
          { cwd: folder, env },
        );
        await until(
          "the one that breaks was started",
          async () => (await Deno.readTextFile(log)).split("broken").length > toldBefore,
          { atMostMs: 120_000 },
        );
        interrupted.kill("SIGINT");
        const { status, stderr } = await interrupted.ended;
        assert.equal(status, 1, stderr);
        assert.match(stderr, /this was interrupted; .* is back and its agent is up/);
        assert.notEqual((await statusOf(sandbox)).node.startedAtMs, before.node.startedAtMs);
        assert.deepEqual(
          [...Deno.readDirSync(`${folder}/bin`)].map(({ name }) => name),
          ["realm"],
          "no lock and no half of anything is left",
        );
      });
    } finally {
      await run("sh", ["-c", `kill $(cat "${folder}/pid")`]);
      await until("the agent is over", () => !exists(`${data}/control.sock`));
    }
  });
});

function exists(file: string): boolean {
  try {
    return Deno.lstatSync(file) !== undefined;
  } catch {
    return false;
  }
}
