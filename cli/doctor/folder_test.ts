import assert from "node:assert/strict";
import { lookAtFolder } from "./folder.ts";

/** What is found in a data folder that `prepare` made so; only what is not well. */
async function found(
  prepare: (folder: string) => Promise<void>,
  { isAnswering = false, uid = Deno.uid() } = {},
): Promise<string[]> {
  const folder = await Deno.makeTempDir(); // 0700
  try {
    await prepare(folder);
    const findings = await lookAtFolder(folder, { uid, isAnswering });
    for (const { level, fix } of findings) assert.equal(fix === null, level === "ok");
    return findings.filter(({ level }) => level !== "ok")
      .map(({ level, check, message }) => `${level} ${check}: ${message.replace(folder, "~")}`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const NO_AGENT = "warning socket: no agent runs with this data folder";

Deno.test("the doctor finds nothing wrong with a folder that is as realm makes it", async () => {
  const fine = async (folder: string) => {
    await Deno.writeTextFile(`${folder}/owner.key`, "x", { mode: 0o600 });
    await Deno.writeTextFile(`${folder}/policy.toml`, "exec = true\n", { mode: 0o600 });
  };
  assert.deepEqual(await found(fine), [NO_AGENT]);
});

Deno.test("the doctor finds keys and folders that are open to others", async () => {
  const open = async (folder: string) => {
    await Deno.chmod(folder, 0o750);
    for (const name of ["owner.key", "recovery.key"]) {
      await Deno.writeTextFile(`${folder}/${name}`, "x", { mode: 0o600 });
    }
    await Deno.chmod(`${folder}/owner.key`, 0o640);
  };
  assert.deepEqual(await found(open), [
    "problem folder: ~ is open to others: 750",
    "problem keys: ~/owner.key is open to others: 640",
    "warning keys: the recovery key is on this machine",
    NO_AGENT,
  ]);
  const others = await found(open, { uid: Deno.uid()! + 1 });
  assert.match(others.join("\n"), /folder: ~ belongs to another user .*\n.*keys: .* another user/);
});

Deno.test("the doctor finds a socket that nobody answers on, and one open to others", async () => {
  const bind = (mode: number) => async (folder: string) => {
    Deno.listen({ transport: "unix", path: `${folder}/control.sock` }).close();
    await Deno.lstat(`${folder}/control.sock`).catch(async () => {
      await Deno.writeTextFile(`${folder}/control.sock`, "");
    });
    await Deno.chmod(`${folder}/control.sock`, mode);
  };
  assert.deepEqual(await found(bind(0o600)), [
    "problem socket: ~/control.sock is there, and no agent answers on it",
  ]);
  assert.deepEqual(await found(bind(0o600), { isAnswering: true }), []);
  assert.deepEqual(await found(bind(0o666), { isAnswering: true }), [
    "problem socket: ~/control.sock is open to others: 666",
  ]);
});

Deno.test("the doctor reads the policy", async () => {
  const policy = (text: string, mode = 0o600) => async (folder: string) => {
    await Deno.writeTextFile(`${folder}/policy.toml`, text);
    await Deno.chmod(`${folder}/policy.toml`, mode);
  };
  const wrong = await found(policy("exce = true\n"));
  assert.match(wrong[1]!, /^problem policy: .*exce/);
  assert.deepEqual(
    (await found(policy('[mounts]\nallow = [{ host = "/nowhere/at/all" }]\n')))[1],
    [
      "warning policy: [mounts] allows /nowhere/at/all, which is no folder",
    ][0],
  );
  assert.equal(
    (await found(policy("", 0o662)))[1],
    "problem policy: ~/policy.toml can be written by others",
  );
});

Deno.test("the doctor finds a folder that is not there, or is a file", async () => {
  assert.match(
    (await lookAtFolder("/nowhere/at/all", { uid: 0, isAnswering: false }))[0]!.message,
    /not there/,
  );
  const file = await Deno.makeTempFile();
  try {
    const [finding] = await lookAtFolder(file, { uid: Deno.uid(), isAnswering: false });
    assert.equal(finding!.level, "problem");
  } finally {
    await Deno.remove(file);
  }
});
