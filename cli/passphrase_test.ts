import assert from "node:assert/strict";
import { type CommandTest, withOwner } from "./agent_fake.ts";
import { isProtected, readKeyFile, rewriteKeyFile } from "./key_file.ts";

const modeOf = async (file: string) => (await Deno.stat(file)).mode! & 0o777;
const keyIn = (text: string) => text.split("\n").find((line) => !/^#|^$/.test(line))!;

/** With the owner's key under a passphrase, by less work than it is worth. */
const withProtected = (test: (parts: CommandTest & { readonly owner: string }) => Promise<void>) =>
  withOwner(async (parts) => {
    const file = `${parts.data}/owner.key`;
    await rewriteKeyFile(file, await readKeyFile(file), "correct horse", 8);
    await test(parts);
  });

Deno.test("key protect encrypts the key in its file, and nothing is left beside it", () =>
  withOwner(async ({ data, terminal }) => {
    const file = `${data}/owner.key`;
    const before = await Deno.readTextFile(file);
    const differ = await terminal(["one", "two"], "key", "protect");
    assert.match(differ.stderr, /the two passphrases differ/);
    assert.match((await terminal(["", ""], "key", "protect")).stderr, /the passphrase is empty/);
    assert.equal(await Deno.readTextFile(file), before);

    const done = await terminal(["correct horse", "correct horse"], "key", "protect");
    assert.equal(done.status, 0, done.stderr);
    assert.ok(!done.stderr.includes("correct horse"));
    const sealed = await Deno.readTextFile(file);
    assert.ok(!sealed.includes(keyIn(before)));
    const age = Uint8Array.fromBase64(keyIn(sealed).replace(/^age-encrypted:/, ""));
    const header = new TextDecoder("latin1").decode(age);
    assert.match(header, /^age-encryption\.org\/v1\n-> scrypt \S+ 18\n/);
    assert.match(sealed, /^# owner key of the realm/);
    assert.equal(await modeOf(file), 0o600);
    const names = Array.from(Deno.readDirSync(data), ({ name }) => name);
    assert.deepEqual(names.filter((name) => name.startsWith("owner")), ["owner.key"]);
  }));

Deno.test("commands that sign ask for the passphrase of a key, others do not", () =>
  withProtected(async ({ agent, owner, data, realm, terminal }) => {
    const shown = JSON.parse((await realm("key", "show", "--json")).stdout);
    assert.deepEqual([shown.owner, shown.protected], [owner, true]);
    assert.equal((await realm("invite")).status, 0);

    const wrong = await terminal(["correct hose"], "scale", "auth", "2");
    assert.equal(wrong.status, 3);
    assert.match(wrong.stderr, /Cannot use key file .*owner\.key: the passphrase is another/);
    const nobody = await realm("scale", "auth", "2");
    assert.equal(nobody.status, 2);
    assert.match(nobody.stderr, /there is no terminal\nhint: .*REALM_PASSPHRASE_FILE/);
    assert.deepEqual(agent.calls, []);
    const right = await terminal(["correct horse"], "scale", "auth", "2");
    assert.equal(right.status, 0, right.stderr);
    assert.deepEqual(agent.calls, ["scale auth 2"]);

    const clear = await terminal(["correct horse"], "key", "unprotect");
    assert.equal(clear.status, 0, clear.stderr);
    assert.ok(!(await Deno.readTextFile(`${data}/owner.key`)).includes("age-encrypted:"));
    assert.equal((await realm("scale", "auth", "3")).status, 0);
  }));

Deno.test("a passphrase is read from the file that REALM_PASSPHRASE_FILE names, if it is private", () =>
  withProtected(async ({ agent, data, folder, withEnv }) => {
    const file = `${folder}/passphrase`;
    const realm = withEnv({ REALM_PASSPHRASE_FILE: file });
    assert.match((await realm("scale", "auth", "2")).stderr, /Cannot read .*passphrase/);
    await Deno.writeTextFile(file, "correct horse\nmore\n", { mode: 0o644 });
    const open = await realm("scale", "auth", "2");
    assert.equal(open.status, 3);
    assert.match(open.stderr, /mode is 644, wanted 600\nhint: Run chmod 600/);
    await Deno.chmod(file, 0o600);
    assert.equal((await realm("scale", "auth", "2")).status, 0);
    assert.deepEqual(agent.calls, ["scale auth 2"]);
    await Deno.writeTextFile(file, "\n");
    assert.match((await realm("scale", "auth", "2")).stderr, /it is empty/);
    assert.ok(await Deno.stat(`${data}/owner.key`));
  }));

Deno.test("rewriteKeyFile() follows a link to the key's file, and refuses one with other names", () =>
  withOwner(async ({ data, folder }) => {
    const [link, target] = [`${data}/owner.key`, `${folder}/vault.key`];
    await Deno.rename(link, target);
    await Deno.symlink(target, link);
    await Deno.link(target, `${folder}/other.key`);
    const protect = async () =>
      await rewriteKeyFile(link, await readKeyFile(link), "correct horse", 8);
    await assert.rejects(protect, { code: "refused", message: /vault\.key: it has 2 names/ });
    assert.equal(await isProtected(target), false);

    await Deno.remove(`${folder}/other.key`);
    await protect();
    assert.ok(await isProtected(target) && (await Deno.lstat(link)).isSymlink);
    assert.equal(await modeOf(target), 0o600);
  }));

Deno.test("key protect takes no new passphrase from the file that has the old one", () =>
  withProtected(async ({ data, folder, withEnv }) => {
    const file = `${folder}/passphrase`;
    await Deno.writeTextFile(file, "correct horse", { mode: 0o600 });
    const realm = withEnv({ REALM_PASSPHRASE_FILE: file });
    const before = await Deno.readTextFile(`${data}/owner.key`);
    const refused = await realm("key", "protect");
    assert.equal(refused.status, 3);
    assert.match(refused.stderr, /names one, wanted two\nhint: .*realm key unprotect/);
    assert.equal(await Deno.readTextFile(`${data}/owner.key`), before);

    assert.equal((await realm("key", "unprotect")).status, 0);
    await Deno.writeTextFile(file, "new horse");
    assert.equal((await realm("key", "protect")).status, 0);
    assert.ok(await isProtected(`${data}/owner.key`));
  }));
