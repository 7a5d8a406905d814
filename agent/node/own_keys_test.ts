import assert from "node:assert/strict";
import { join } from "node:path";
import { cidOf } from "../kernel/canonical.ts";
import { behaviorKey, ownKey, PERSON_KEY_FILE } from "./own_keys.ts";

const topics = [cidOf(Uint8Array.of(1)), cidOf(Uint8Array.of(2))] as const;

Deno.test("ownKey() makes a key once, for its owner alone", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const path = join(folder, PERSON_KEY_FILE);
    const made = await ownKey(path);
    assert.deepEqual(await ownKey(path), made);
    assert.equal((await Deno.stat(path)).mode! & 0o777, 0o600);
    assert.equal((await Array.fromAsync(Deno.readDir(folder))).length, 1);
    await Deno.writeTextFile(path, "something else");
    await assert.rejects(ownKey(path), {
      code: "invalid-config",
      message:
        `Cannot use key file ${path}: cannot read secret key: it does not start with ed25519-secret:`,
      hint: /^Bring it back from a backup/,
    });
    await assert.rejects(ownKey(join(path, "below")), { code: "failed", hint: /realm doctor/ });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("behaviorKey() gives each topic and instance of each person another key, always the same", async () => {
  const people = [1, 2].map((byte) => ({
    publicKey: new Uint8Array(32),
    secretKey: new Uint8Array(32).fill(byte),
  }));
  const keys = new Set<string>();
  for (const person of people) {
    for (const topic of topics) {
      for (const instance of [0, 1, 10]) {
        const key = await behaviorKey(person, topic, instance);
        assert.deepEqual(await behaviorKey(person, topic, instance), key);
        keys.add(key.publicKey.toHex());
      }
    }
  }
  assert.equal(keys.size, 12);
});
