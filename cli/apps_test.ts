import "../tests/wasm_tools.ts";
import assert from "node:assert/strict";
import { webCryptoBackend } from "../agent/kernel/signature_backends.ts";
import { signerOf, verifierOf } from "../agent/kernel/verify.ts";
import { packBundle, unpackBundle } from "../agent/apps/bundle.ts";
import { State } from "../agent/apps/state.ts";
import { subjectOf } from "../agent/apps/check/subject.ts";
import { nodeBackend } from "../agent/node/crypto_node.ts";
import { StateApply } from "../agent/apps/guest/state_apply.ts";
import { main } from "./app.ts";
import { readKeyFile } from "./key_file.ts";
import { testShell } from "./shell_fake.ts";

interface Result {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

type Realm = (...argv: string[]) => Promise<Result>;

/** Runs `realm` in a folder of its own, with the data folder beside it; `input` is a person's. */
async function inFolder(
  test: (realm: Realm, folder: string, person: (answer: string) => Realm) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "realm-apps-" });
  const all = { stdin: true, stdout: true, stderr: true };
  const realmWith = (person: Parameters<typeof testShell>[0]): Realm => async (...argv) => {
    const shell = testShell({
      cwd: folder,
      env: { REALM_HOME: `${folder}/home`, NO_COLOR: "1" },
      ...person,
    });
    const status = await main(argv, shell);
    return { status, stdout: shell.text("stdout"), stderr: shell.text("stderr") };
  };
  try {
    await test(realmWith({}), folder, (answer) => realmWith({ terminal: all, input: [answer] }));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** The output as JSON, of a command that has to do what it is told. */
async function json(result: Promise<Result>) {
  const { status, stdout, stderr } = await result;
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout);
}

/** Fails with that code. */
async function fails(result: Promise<Result>, code: string, message: RegExp): Promise<void> {
  const { status, stderr } = await result;
  assert.notEqual(status, 0);
  assert.match(stderr, new RegExp(`error\\[${code}\\]`));
  assert.match(stderr, message);
}

const BUNDLE = "memo/memo-0.1.0.bundle";

Deno.test("app new writes what app build packs, inspect tells and app install installs", async () => {
  await inFolder(async (realm, folder, person) => {
    assert.deepEqual((await json(realm("app", "new", "memo", "--json"))).files, [
      "bundle.toml",
      "app.wit",
      "note.wat",
      "propose.wat",
    ]);
    await fails(realm("app", "new", "memo"), "refused", /memo: it exists/);

    const first = await realm("app", "build", "memo", "--json");
    assert.match(first.stderr, /made .*publisher\.key/);
    const built = JSON.parse(first.stdout);
    assert.equal(built.file, `${folder}/${BUNDLE}`);
    assert.deepEqual(built.asks, ["state-write"]);
    assert.equal(built.app, built.bundle);
    const bytes = await Deno.readFile(`${folder}/${BUNDLE}`);
    await json(realm("app", "build", "memo", "--json"));
    assert.deepEqual(await Deno.readFile(`${folder}/${BUNDLE}`), bytes, "a build is repeatable");
    await fails(
      realm("app", "build", "memo", "--output", "nowhere/memo.bundle"),
      "failed",
      /Cannot write .*nowhere\/memo\.bundle: No such file/,
    );

    assert.deepEqual(await json(realm("inspect", BUNDLE, "--json")), { ...built, file: BUNDLE });
    const { laws, ...checked } = await json(
      realm("app", "check", BUNDLE, "--seed", "s", "--histories", "2", "--events", "9", "--json"),
    );
    assert.deepEqual(checked, { ...built, file: BUNDLE });
    assert.deepEqual([laws.seed, laws.histories, laws.events], ["s", 2, 18]);
    assert.ok(laws.verdicts.accepted > 0 && laws.broken === undefined);
    const { stdout } = await realm("inspect", BUNDLE);
    assert.match(stdout, /bundle of memo 0\.1\.0, \d+ bytes\n[^]*asks for {3}state-write\n/);

    await fails(realm("app", "install", BUNDLE), "usage", /wanted --yes/);
    await fails(person("n")("app", "install", BUNDLE), "refused", /change its own state/);
    assert.deepEqual(await json(realm("app", "ls", "--json")), [], "nothing was installed");

    const yes = await person("y")("app", "install", BUNDLE);
    assert.match(yes.stdout, new RegExp(`installed memo 0\\.1\\.0\napp +${built.app}\n`));
    const again = await realm("app", "install", BUNDLE);
    assert.match(again.stdout, /^installed memo 0\.1\.0, as it was already\n/);
    for (const words of [["ls"], ["grants"], ["install", BUNDLE], ["revoke", BUNDLE]]) {
      await fails(realm("app", ...words, "--node", "bm-02"), "usage", /they are its person's/);
    }
    const [app] = await json(realm("app", "ls", "--json"));
    assert.deepEqual(app, {
      app: built.app,
      bundle: built.bundle,
      name: "memo",
      version: "0.1.0",
      publisher: built.publisher,
      successions: 0,
      grants: ["state-write"],
    });
    assert.deepEqual(await Deno.readFile(`${folder}/home/apps/${built.bundle}.bundle`), bytes);
  });
});

Deno.test("the app of app new applies events", async () => {
  await inFolder(async (realm, folder) => {
    await realm("app", "new", "memo");
    await json(realm("app", "build", "memo", "--json"));
    const { components } = unpackBundle(await Deno.readFile(`${folder}/${BUNDLE}`));
    const setting = { creator: new Uint8Array(32), params: new Map() };
    const guest = await StateApply.load(components.get("state-apply")!, setting, () => false);
    const apply = (payload: Uint8Array) => {
      const journal = State.EMPTY.journal();
      const event = { id: new Uint8Array(32), author: new Uint8Array(32), seq: 0, lamport: 0 };
      const outcome = guest.apply({ ...event, kind: new Uint8Array(), payload }, journal);
      return {
        outcome: outcome.verdict,
        entries: journal.commit().scan(new Uint8Array(), new Uint8Array(), 9),
      };
    };
    const note = new Uint8Array(65_536).fill(65); // as long as a value may be
    for (const payload of [note.subarray(0, 5), note]) {
      const { outcome, entries } = apply(payload);
      assert.equal(outcome.kind, "accepted", JSON.stringify(outcome));
      assert.deepEqual(entries, [{ key: new TextEncoder().encode("note"), value: payload }]);
    }
    const { outcome } = apply(new Uint8Array());
    assert.equal(outcome.kind, "rejected");
    assert.equal(
      new TextDecoder().decode((outcome as { reason: Uint8Array }).reason),
      "the note is empty",
    );
  });
});

Deno.test("the app of app new has one intent, and names it where another is wanted", async () => {
  await inFolder(async (realm, folder) => {
    await realm("app", "new", "memo");
    await json(realm("app", "build", "memo", "--json"));
    const { components } = unpackBundle(await Deno.readFile(`${folder}/${BUNDLE}`));
    const subject = await subjectOf(components, verifierOf(nodeBackend()));
    const bytes = (text: string) => new TextEncoder().encode(text);
    const propose = (intent: string) =>
      subject.propose(
        { key: new Uint8Array(32), state: State.EMPTY },
        bytes(intent),
        bytes("back at three"),
      );
    const written = [{ kind: bytes("write"), payload: bytes("back at three") }];
    assert.deepEqual(propose("write"), written);
    for (const other of ["", "w", "wrote", "writ", "writE", "Write", "written", "wwwwe"]) {
      const why = propose(other);
      assert.ok(why instanceof Uint8Array, other);
      assert.equal(new TextDecoder().decode(why), "unknown intent, wanted write");
    }
    assert.deepEqual(propose("write"), written);
    assert.deepEqual([...subject.faults], []);
  });
});

Deno.test("app grants shows what was granted and takes it back; app install asks for it again", async () => {
  await inFolder(async (realm, _folder, person) => {
    await realm("app", "new", "memo");
    await realm("app", "build", "memo");
    const { app } = await json(realm("app", "install", BUNDLE, "--yes", "--json"));
    assert.match((await realm("app", "grants")).stdout, /memo +state-write +change its own state/);
    await json(realm("app", "install", BUNDLE, "--json")); // nothing new: nothing is asked

    await fails(realm("app", "grants", "memo", "--revoke", "clock"), "not-found", /wanted one of/);
    await fails(realm("app", "grants", "other"), "not-found", /not installed/);
    await fails(realm("app", "grants", "--revoke", "clock"), "usage", /no app is named/);
    assert.deepEqual(
      await json(realm("app", "grants", app, "--revoke", "state-write", "--json")),
      [],
    );
    assert.deepEqual(await json(realm("app", "grants", "memo", "--json")), []);
    await fails(realm("app", "install", BUNDLE), "usage", /wanted --yes/);
    assert.equal((await person("yes")("app", "install", BUNDLE)).status, 0);
    assert.equal((await json(realm("app", "grants", "memo", "--json")))[0].grant, "state-write");
  });
});

Deno.test("app ls and grants show all others where records are damaged, and say which", async () => {
  await inFolder(async (realm, folder) => {
    const apps = `${folder}/home/apps`;
    await Deno.mkdir(apps, { recursive: true });
    const memo = { app: "c", bundle: "c", name: "memo", version: "1.0.0", publisher: "p" };
    const record = JSON.stringify({ ...memo, successions: 0, grants: ["clock"] });
    for (const app of ["a", "b"]) await Deno.writeTextFile(`${apps}/${app}.json`, "{");
    await Deno.writeTextFile(`${apps}/c.json`, record);
    for (const command of ["ls", "grants"]) {
      const { status, stdout, stderr } = await realm("app", command, "--json");
      assert.deepEqual([status, JSON.parse(stdout)[0].name], [1, "memo"]);
      const { error } = JSON.parse(stderr);
      assert.equal(error.code, "corrupt");
      assert.ok(error.message.includes(`${apps}/a.json, ${apps}/b.json: `), error.message);
    }
    assert.equal((await json(realm("app", "grants", "memo", "--json"))).length, 1);
    await fails(realm("app", "grants", "a"), "corrupt", /a\.json/);
  });
});

Deno.test("app install refuses what was changed, and keeps what was there", async () => {
  await inFolder(async (realm, folder) => {
    await realm("app", "new", "memo");
    await realm("app", "build", "memo");
    await json(realm("app", "install", BUNDLE, "--yes", "--json"));
    const before = await json(realm("app", "ls", "--json"));
    const good = await Deno.readFile(`${folder}/${BUNDLE}`);

    const broken = good.slice();
    broken[broken.length - 1]! ^= 1;
    const stranger = signerOf(
      await readKeyFile(`${folder}/home/publisher.key`),
      { ...webCryptoBackend(), sign: () => new Uint8Array(64).fill(1) },
    );
    const unpacked = unpackBundle(good);
    const forged = await packBundle(unpacked.bundle, unpacked.components, stranger);
    const cases: [string, Uint8Array, string, RegExp][] = [
      ["a changed byte", broken, "digest-mismatch", /has bytes of/],
      ["half of it", good.subarray(0, good.length / 2), "corrupt", /ends in/],
      ["one byte more", new Uint8Array([...good, 0]), "corrupt", /not named/],
      ["another signature", forged, "bad-signature", /not signed by its publisher/],
      ["something else", new TextEncoder().encode("hello"), "corrupt", /Cannot read bundle/],
    ];
    for (const [what, bytes, code, message] of cases) {
      await Deno.writeFile(`${folder}/bad.bundle`, bytes);
      for (const command of ["install", "check"]) {
        const words = command === "install" ? ["--yes"] : [];
        await fails(realm("app", command, "bad.bundle", ...words), code, message)
          .catch((error) => assert.fail(`${what}: ${error}`));
      }
    }
    await fails(realm("app", "install", "none.bundle"), "not-found", /does not exist/);
    await fails(realm("app", "install", "memo"), "failed", /memo: it is a folder, wanted a file/);
    await fails(
      realm("app", "check", "memo/bundle.toml"),
      "corrupt",
      /bundle memo\/bundle\.toml: /,
    );
    assert.deepEqual(await json(realm("app", "ls", "--json")), before);
  });
});

Deno.test("app revoke takes a bundle back, by its publisher's word alone", async () => {
  await inFolder(async (realm, folder) => {
    await realm("app", "new", "memo");
    await realm("app", "build", "memo");
    await json(realm("app", "install", BUNDLE, "--yes", "--json"));
    const { file, bundle } = await json(realm("app", "revoke", BUNDLE, "--json"));
    assert.equal(file, `${folder}/memo/memo-0.1.0.revocation`);
    await fails(
      realm("app", "install", BUNDLE, "--yes"),
      "refused",
      new RegExp(`${bundle}.*revoked`),
    );
    // On another machine that has the bundle.
    const other = ["--data", `${folder}/other`];
    await json(realm("app", "install", BUNDLE, "--yes", "--json", ...other));
    await fails(realm("app", "revoke", BUNDLE, ...other), "not-found", /publisher's key .*other/);
    await assert.rejects(Deno.stat(`${folder}/other/publisher.key`), "none is made for that");
    await realm("app", "new", "another");
    await realm("app", "build", "another", ...other);
    await fails(
      realm("app", "revoke", BUNDLE, ...other),
      "wrong-owner",
      /the key is ed25519:\w+, wanted ed25519:\w+$/m,
    );
    const third = ["--data", `${folder}/third`];
    await fails(realm("app", "revoke", file, ...third), "not-found", /bundle \w+ is not here/);
    await json(realm("app", "revoke", file, "--json", ...other));
    await fails(realm("app", "install", BUNDLE, "--yes", ...other), "refused", /revoked/);
  });
});

Deno.test("app install takes later versions, and nothing of a key that handed the app on", async () => {
  await inFolder(async (realm, folder) => {
    await realm("app", "new", "memo");
    await realm("app", "build", "memo");
    const { app } = await json(realm("app", "install", BUNDLE, "--yes", "--json"));
    const toml = await Deno.readTextFile(`${folder}/memo/bundle.toml`);
    const next = toml.replace('version = "0.1.0"', 'version = "0.2.0"').replace(
      "# follows",
      "follows",
    );
    await Deno.writeTextFile(`${folder}/memo/bundle.toml`, next);
    for (const version of ["0.1.0", "0.0.9", "0.1.0-beta"]) {
      const wrong = next.replace('"0.2.0"', `"${version}"`);
      await Deno.writeTextFile(`${folder}/memo/bundle.toml`, wrong);
      await fails(realm("app", "build", "memo"), "invalid-config", /follows 0\.1\.0 .*a later/);
    }
    const first = unpackBundle(await Deno.readFile(`${folder}/${BUNDLE}`));
    assert.equal(first.id.toString(), app, "it is still there");
    await Deno.writeTextFile(`${folder}/memo/bundle.toml`, next);
    const built = await json(realm("app", "build", "memo", "--json"));
    assert.equal(built.app, app);
    assert.notEqual(built.bundle, app);
    const update = await json(realm("app", "install", "memo/memo-0.2.0.bundle", "--json"));
    assert.deepEqual([update.app, update.version, update.replaced], [app, "0.2.0", app]);

    // Hands the app to a new key, whose first version is 0.3.0.
    const [now, former] = [`${folder}/home/publisher.key`, `${folder}/former.key`];
    await Deno.rename(now, former);
    const last = next.replace("0.2.0", "0.3.0").replaceAll("memo-0.1.0", "memo-0.2.0");
    await Deno.writeTextFile(`${folder}/memo/bundle.toml`, last);
    const build = (...words: string[]) => realm("app", "build", "memo", ...words);
    const hand = ["--former-key", former];
    await fails(build("--key", former, ...hand), "usage", /the key that has it/);
    await fails(
      build(),
      "wrong-owner",
      /the key is .*, wanted .*, who signed memo-0\.2\.0\.bundle/,
    );
    await fails(build("--former-key", now), "wrong-owner", /the former key is .*, wanted/);
    const handedOver = await json(build("--json", ...hand));
    assert.deepEqual([handedOver.app, handedOver.publisher === built.publisher], [app, false]);
    const handed = await json(realm("app", "install", "memo/memo-0.3.0.bundle", "--json"));
    assert.deepEqual([handed.app, handed.successions], [app, 1]);
    await fails(
      realm("app", "install", "memo/memo-0.2.0.bundle"),
      "stale",
      /signed by key 1 of its app, wanted key 2/,
    );
    // The former key hands it over once more: to somebody else, who hands it on.
    const other = (...words: string[]) => build("--data", `${folder}/other`, ...words);
    await Deno.writeTextFile(`${folder}/memo/bundle.toml`, last.replace("0.3.0", "0.3.1"));
    await json(other("--json", ...hand));
    const further = last.replace("0.3.0", "0.3.2").replaceAll("0.2.0", "0.3.1");
    await Deno.writeTextFile(`${folder}/memo/bundle.toml`, further);
    await Deno.rename(`${folder}/other/publisher.key`, `${folder}/other.key`);
    await json(other("--json", "--former-key", `${folder}/other.key`));
    for (const version of ["0.3.1", "0.3.2"]) {
      const bundle = `memo/memo-${version}.bundle`;
      await fails(
        realm("app", "install", bundle, "--yes"),
        "wrong-owner",
        /key 2 of its app is ed25519:.*, wanted ed25519:.*, as for the 0\.3\.0 that is installed/,
      );
    }
    assert.equal((await json(realm("app", "ls", "--json")))[0].version, "0.3.0");
    // What it signed itself it can still take back.
    await json(realm("app", "revoke", "memo/memo-0.2.0.bundle", "--key", former, "--json"));
    // Nor is what came before it of another's line.
    await json(
      realm(
        "app",
        "install",
        "memo/memo-0.3.2.bundle",
        "--data",
        `${folder}/other`,
        "--yes",
        "--json",
      ),
    );
    await fails(
      realm("app", "install", "memo/memo-0.3.0.bundle", "--data", `${folder}/other`),
      "wrong-owner",
      /key 2 of its app is/,
    );
  });
});

Deno.test("app build says what is wrong with the source", async () => {
  await inFolder(async (realm, folder) => {
    await realm("app", "new", "memo");
    const file = (name: string) => `${folder}/memo/${name}`;
    const toml = await Deno.readTextFile(file("bundle.toml"));
    const cases: [string, string, string, RegExp][] = [
      [
        "capabilities = [",
        "capabilites = [",
        "invalid-config",
        /\d:1: capabilites is not a known key, nearest is capabilities/,
      ],
      ['"state-write"', "", "refused", /imports state-write, which the bundle does not ask for/],
      ["note.wat", "gone.wat", "not-found", /gone\.wat: it does not exist/],
      ['wit = "app.wit"', "", "invalid-module", /Cannot make state-apply/],
      [
        'wit = "app.wit" ',
        `wit = "app.wit"\nsha256 = "${"00".repeat(32)}"`,
        "digest-mismatch",
        /sha256 is/,
      ],
      [
        'version = "0.1.0"',
        'version = "0.1.0"\npublisher = "ed25519:4zvwRjXUKGfvwnParsHAS3HuSVzV5cA4McphgmoCtajS"',
        "wrong-owner",
        /wanted publisher/,
      ],
    ];
    for (const [from, to, code, message] of cases) {
      assert.ok(toml.includes(from), from);
      await Deno.writeTextFile(file("bundle.toml"), toml.replace(from, to));
      await fails(realm("app", "build", "memo"), code, message);
    }
    await Deno.writeTextFile(file("bundle.toml"), toml);
    const note = await Deno.readTextFile(file("note.wat"));
    await Deno.writeTextFile(
      file("note.wat"),
      note.replace("(i32.const 0)))\n", "(i32.const 0))\n"),
    );
    await fails(realm("app", "build", "memo"), "invalid-module", /note\.wat/);
    await Deno.writeTextFile(
      file("note.wat"),
      note.replace(/\)\s*$/, "(func (result f64) f64.const 1))"),
    );
    await fails(realm("app", "build", "memo"), "refused", /f64|float/);
    assert.equal(
      [...Deno.readDirSync(file(""))].some(({ name }) => name.endsWith(".bundle")),
      false,
    );
  });
});

Deno.test("app check makes a history small that breaks a law, and says how to see it again", async () => {
  await inFolder(async (realm, folder) => {
    await realm("app", "new", "memo");
    const fixture =
      new URL("../fixtures/apps/counter/state-propose.wasm", import.meta.url).pathname;
    const toml = await Deno.readTextFile(`${folder}/memo/bundle.toml`);
    await Deno.writeTextFile(
      `${folder}/memo/bundle.toml`,
      toml.replace('"propose.wat"', JSON.stringify(fixture)),
    );
    // Numbers of which the last byte is above 100 never end.
    const note = await Deno.readTextFile(`${folder}/memo/note.wat`);
    const spin = "(if (i32.gt_u (i32.load8_u offset=7 (local.get $payload)) (i32.const 100))\n" +
      "(then (loop $l (br $l))))\n";
    const at = "    (if (i32.eqz (local.get $length))";
    assert.ok(note.includes(at));
    await Deno.writeTextFile(`${folder}/memo/note.wat`, note.replace(at, spin + at));
    assert.equal((await realm("app", "build", "memo")).status, 0);

    const check = (...more: string[]) =>
      realm("app", "check", BUNDLE, "--histories", "9", "--events", "30", ...more);
    const { status, stdout, stderr } = await check("--seed", "seven");
    assert.equal(status, 1);
    assert.match(stdout, /broken +no event of state-propose traps or uses up its fuel\n/);
    assert.match(stdout, /event 1 uses up its fuel\n1 of 30 events are enough:\n/);
    assert.match(stdout, /\n +1 {2}ann +add +[0-9a-f]{16}/);
    assert.match(stderr, /^error\[failed\]: Cannot pass .*memo-0\.1\.0\.bundle: a law is broken/);
    const [, again] = /hint: realm (.*) shows it again/.exec(stderr)!;
    const repeated = await realm(...again!.split(" "), "--json");
    const { laws } = JSON.parse(repeated.stdout);
    assert.equal(laws.broken.law, "proposed");
    assert.ok(stdout.includes(laws.broken.events[0].payload), "the same history again");
    assert.deepEqual(laws.broken.delivery, null);
    assert.equal(JSON.parse(repeated.stderr).error.code, "failed");
  });
});

Deno.test("app build packs components of Rust, and none that may not be in an app", async () => {
  await inFolder(async (realm, folder) => {
    const fixture = (name: string) => new URL(`../fixtures/${name}`, import.meta.url).pathname;
    for (const app of ["counter", "poll"]) {
      const file = `${folder}/${app}.bundle`;
      const words = ["app", "build", fixture(`apps/${app}`), "--output", file, "--json"];
      const { components } = await json(realm(...words));
      assert.equal(components.length, app === "poll" ? 4 : 3);
      for (const { role, sha256, modules } of components) {
        const { digest } = await json(
          realm("inspect", fixture(`apps/${app}/${role}.wasm`), "--json"),
        );
        if (modules.length === 0) assert.equal(sha256, digest, "a component is packed as it is");
        else assert.deepEqual([app, role, modules], ["poll", "state-apply", ["permission"]]);
      }
      const tried = ["app", "check", file, "--histories", "1", "--json"];
      assert.equal((await json(realm(...tried))).name, app);
    }
    await Deno.mkdir(`${folder}/composed`);
    const poll = (await Deno.readTextFile(fixture("apps/poll/bundle.toml")))
      .replace("../../modules/", fixture("modules/"))
      .replace(/file = "(?=[a-z])/g, `file = "${fixture("apps/poll/")}`);
    const cases: [string, string, string, RegExp][] = [
      ['"params",', "", "refused", /state-apply imports params \(module permission\), which/],
      [
        'into = ["state-apply"]',
        'into = ["behavior"]',
        "invalid-module",
        /permission: it exports nothing/,
      ],
      ["modules/permission.wasm", "hello.wasm", "invalid-module", /permission: it exports nothing/],
      ["modules/permission.wasm", "exit-p1.wasm", "invalid-module", /make module permission of/],
    ];
    for (const [from, to, code, message] of cases) {
      assert.ok(poll.includes(from), from);
      await Deno.writeTextFile(`${folder}/composed/bundle.toml`, poll.replace(from, to));
      await fails(realm("app", "build", "composed"), code, message);
    }
    const source = (part: string) =>
      `name = "poll"\nversion = "1.0.0"\n` +
      `capabilities = ["clock", "event", "identity", "state-read", "state-write"]\n` +
      `[components.state-apply]\nfile = "${fixture(part)}.wasm"\n`;
    await Deno.mkdir(`${folder}/poll`);
    for (const name of ["clock-apply", "socket-apply", "mean-apply", "apps/poll/state-propose"]) {
      await Deno.writeTextFile(`${folder}/poll/bundle.toml`, source(name));
      await fails(realm("app", "build", "poll"), "refused", /as state-apply/);
    }
  });
});
