import assert from "node:assert/strict";
import { sha256 } from "@noble/hashes/sha2.js";
import { decodeSigned } from "../agent/kernel/event.ts";
import { parsePublicKey } from "../agent/kernel/key.ts";
import { readControlGenesis } from "../agent/realm/control_event.ts";
import { parseManifest } from "../agent/realm/manifest.ts";
import { main } from "./app.ts";
import { manifestTemplate } from "./init.ts";
import { testShell } from "./shell_fake.ts";

/** Runs `realm` in a folder of its own, with the data folder beside it. */
async function inFolder(
  test: (realm: (...argv: string[]) => Promise<Result>, folder: string) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "realm-init-" });
  try {
    await Deno.mkdir(`${folder}/My Shop`);
    await test(async (...argv) => {
      const shell = testShell({ cwd: `${folder}/My Shop`, env: { REALM_HOME: `${folder}/home` } });
      const status = await main(argv, shell);
      return { status, stdout: shell.text("stdout"), stderr: shell.text("stderr") };
    }, folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

interface Result {
  status: number;
  stdout: string;
  stderr: string;
}

/** The public key that a comment of a key file names. */
function publicKeyIn(text: string): Uint8Array {
  return parsePublicKey(/^# public key: (.*)$/m.exec(text)![1]!);
}

const mode = async (file: string) => ((await Deno.stat(file)).mode ?? 0) & 0o777;

Deno.test("init makes two keys that only their owner can read, and a manifest", async () => {
  await inFolder(async (realm, folder) => {
    const { status, stdout, stderr } = await realm("init", "--json");
    assert.equal(status, 0, stderr);
    const made = JSON.parse(stdout);
    assert.equal(made.name, "my-shop");
    assert.deepEqual(made.made, { keys: true, manifest: true });
    assert.match(made.owner, /^ed25519:[1-9A-HJ-NP-Za-km-z]{43,44}$/);
    assert.match(stderr, /Move .*recovery\.key/);

    assert.equal(await mode(`${folder}/home`), 0o700);
    assert.equal(await mode(`${folder}/home/owner.key`), 0o600);
    assert.equal(await mode(`${folder}/home/recovery.key`), 0o600);
    const [owner, recovery] = await Promise.all(
      ["owner", "recovery"].map((name) => Deno.readTextFile(`${folder}/home/${name}.key`)),
    );
    assert.match(owner!, /^(# .*\n)+ed25519-secret:[1-9A-HJ-NP-Za-km-z]{43,44}\n$/);
    assert.notEqual(owner!.split("\n").at(-2), recovery!.split("\n").at(-2));

    const genesis = decodeSigned(await Deno.readFile(`${folder}/home/control.genesis`));
    assert.equal(genesis.id.toString(), made.topic);
    const { owner: ofGenesis, recoveryHash } = readControlGenesis(genesis.event);
    assert.deepEqual(ofGenesis, parsePublicKey(made.owner));
    assert.deepEqual(recoveryHash, sha256(publicKeyIn(recovery!)));

    const manifest = await Deno.readTextFile(`${folder}/My Shop/realm.toml`);
    assert.ok(manifest.includes(`pubkey = "${made.owner}"`));
    assert.ok(manifest.includes('name = "my-shop"'));
  });
});

Deno.test("init changes nothing that is there", async () => {
  await inFolder(async (realm, folder) => {
    await Deno.writeTextFile(`${folder}/My Shop/realm.toml`, "# mine\n");
    const first = JSON.parse((await realm("init", "--json")).stdout);
    assert.deepEqual(first.made, { keys: true, manifest: false });
    assert.equal(await Deno.readTextFile(`${folder}/My Shop/realm.toml`), "# mine\n");

    const key = await Deno.readTextFile(`${folder}/home/owner.key`);
    await Deno.remove(`${folder}/home/recovery.key`); // moved offline, as told
    await Deno.remove(`${folder}/My Shop/realm.toml`);
    const again = await realm("init", "--json", "--name", "other");
    assert.deepEqual(JSON.parse(again.stdout).made, { keys: false, manifest: true });
    assert.equal(JSON.parse(again.stdout).owner, first.owner);
    assert.equal(await Deno.readTextFile(`${folder}/home/owner.key`), key);
    await assert.rejects(Deno.stat(`${folder}/home/recovery.key`), Deno.errors.NotFound);
    assert.doesNotMatch(again.stderr, /Move/);
  });
});

Deno.test("init refuses what is left of another realm", async () => {
  await inFolder(async (realm, folder) => {
    await realm("init");
    await Deno.remove(`${folder}/home/owner.key`);
    for (const left of ["recovery.key", "control.genesis"]) {
      const { status, stderr } = await realm("init");
      assert.equal(status, 3);
      assert.match(stderr, new RegExp(`^error\\[refused\\]: Cannot make keys: .*${left} is there`));
      await Deno.remove(`${folder}/home/${left}`);
    }
    assert.equal((await realm("init")).status, 0);
  });
});

Deno.test("manifestTemplate() is a manifest, with its comments taken away too", () => {
  const owner = `ed25519:${"1".repeat(32)}`;
  const template = manifestTemplate("shop", owner);
  const manifest = parseManifest(template);
  assert.equal(manifest.realm.name, "shop");
  assert.equal(manifest.components.size, 0);
  const whole = template.replace(/^# (?=\[|\w+ = |"laptop" = )/gm, "");
  const filled = parseManifest(whole);
  assert.deepEqual([...filled.components.keys()], ["hello"]);
});

Deno.test("key show refuses a control log that is not the owner's", async () => {
  await inFolder(async (realm, folder) => {
    await realm("init");
    const file = `${folder}/home/control.genesis`;
    const bytes = await Deno.readFile(file);
    bytes[bytes.length - 1]! ^= 1; // the last byte of the signature
    await Deno.writeFile(file, bytes);
    const { status, stderr } = await realm("key", "show");
    assert.equal(status, 3);
    assert.match(stderr, /^error\[bad-signature\]/);
    await Deno.remove(file);
    assert.equal((await realm("key", "show")).status, 4);
  });
});

Deno.test("key show gives the public key alone", async () => {
  await inFolder(async (realm, folder) => {
    const absent = await realm("key", "show");
    assert.equal(absent.status, 4);
    assert.match(absent.stderr, /hint: Run realm init/);

    const { owner } = JSON.parse((await realm("init", "--json")).stdout);
    const shown = await realm("key", "show");
    assert.equal(shown.status, 0);
    assert.match(
      shown.stdout,
      new RegExp(`^owner +${owner}\nfingerprint +[0-9a-f]{4}(-[0-9a-f]{4}){4}\ntopic +baf`),
    );
    assert.doesNotMatch(shown.stdout, /secret/);

    await Deno.chmod(`${folder}/home/owner.key`, 0o644);
    const open = await realm("key", "show");
    assert.equal(open.status, 3);
    assert.match(open.stderr, /mode is 644, wanted 600\nhint: Run chmod 600/);

    await Deno.chmod(`${folder}/home/owner.key`, 0o600);
    await Deno.writeTextFile(`${folder}/home/owner.key`, "# nothing\n");
    assert.match((await realm("key", "show")).stderr, /it holds 0 keys, wanted one/);
  });
});
