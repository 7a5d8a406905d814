import assert from "node:assert/strict";
import { formatPublicKey } from "../agent/kernel/key.ts";
import { webCryptoBackend } from "../agent/kernel/signature_backends.ts";
import { keyPairOf, signerOf } from "../agent/kernel/verify.ts";
import { signSums } from "../cli/upgrade/release_sums.ts";
import { files, type Machine, onMachine, sha256, withFake } from "./installer.ts";

/** Programs of the machine that only write down how they were called, in `calls`. */
async function services(home: string, { os = "Linux", uid = "1000" } = {}) {
  const note = (name: string) => `echo "${name} $*" >>"${home}/calls"`;
  await withFake(home, "uname", `[ "$1" = -s ] && echo ${os} || echo x86_64`);
  await withFake(home, "id", `[ "$1" = -u ] && [ $# = 1 ] && echo ${uid}`);
  await withFake(home, "useradd", note("useradd"));
  await withFake(home, "launchctl", note("launchctl"));
  const PATH = await withFake(home, "systemctl", note("systemctl"));
  return {
    env: { PATH, DESTDIR: `${home}/root` },
    async calls() {
      const text = await Deno.readTextFile(`${home}/calls`).catch(() => "");
      await Deno.writeTextFile(`${home}/calls`, "");
      return text.split("\n").filter((line) => line !== "");
    },
  };
}

const UNIT = ".config/systemd/user/realm.service";

Deno.test("install.sh --service user writes a unit of systemd, and starts it", async () => {
  await onMachine(async ({ home, build, install }) => {
    const { env, calls } = await services(home);
    const file = await build("realm-built", "1.0.0");
    const args = ["--name", 'a "b" %h $HOME \\x', "--ticket", "realm1z"];
    const done = await install(["--from", file, "--service", "user", "--", ...args], env);
    assert.equal(done.status, 0, done.stderr);
    assert.deepEqual(await calls(), [
      "systemctl --user daemon-reload",
      "systemctl --user enable realm.service",
      "systemctl --user restart realm.service",
    ]);
    const unit = await Deno.readTextFile(`${home}/${UNIT}`);
    const words = [`${home}/.local/bin/realm`, "--data", `${home}/.realm`, "agent"];
    assert.ok(
      unit.includes(
        `\nExecStart=${words.map((word) => `"${word}" `).join("")}` +
          '"--name" "a \\"b\\" %%h $$HOME \\\\x" "--ticket" "realm1z"',
      ),
      unit,
    );
    for (const line of ["NoNewPrivileges=yes", "LimitCORE=0", "UMask=0077", "Restart=always"]) {
      assert.ok(unit.includes(`\n${line}\n`), line);
    }
    assert.match(done.stderr, /loginctl enable-linger/);

    const upgraded = await install(["--from", await build("new", "2.0.0")], env);
    assert.match(upgraded.stdout, /^upgraded realm 1\.0\.0 to realm 2\.0\.0/);
    assert.deepEqual(await calls(), ["systemctl --user try-restart realm.service"]);

    assert.equal((await install(["--uninstall"], env)).status, 0);
    assert.deepEqual(await calls(), [
      "systemctl --user disable --now realm.service",
      "systemctl --user daemon-reload",
    ]);
    assert.deepEqual(files(`${home}/.config/systemd/user`), []);
  });
});

Deno.test("install.sh --service system wants root, and makes a user for the agent", async () => {
  await onMachine(async ({ home, build, install }) => {
    const args = ["--from", await build("realm-built", "1.0.0"), "--service", "system"];
    const refused = await install(args, (await services(home)).env);
    assert.equal(refused.status, 1);
    assert.match(refused.stderr, /this is not root\nhint: Run it by sudo/);
    assert.deepEqual(files(`${home}/.local`), [], "nothing was installed");

    const { env, calls } = await services(home, { uid: "0" });
    const done = await install([...args, "--prefix", `${home}/usr`], env);
    assert.equal(done.status, 0, done.stderr);
    assert.deepEqual(
      (await calls())[0],
      [
        "useradd --system --home-dir /var/lib/realm --shell /usr/sbin/nologin realm",
      ][0],
    );
    const unit = await Deno.readTextFile(`${home}/root/etc/systemd/system/realm.service`);
    for (const line of ["User=realm", "ProtectSystem=strict", "CapabilityBoundingSet="]) {
      assert.ok(unit.includes(`\n${line}\n`), line);
    }
    assert.ok(unit.includes('"--data" "/var/lib/realm" "agent"'));
  });
});

Deno.test("install.sh --service writes a property list of launchd on macOS", async () => {
  await onMachine(async ({ home, build, install }) => {
    const { env, calls } = await services(home, { os: "Darwin", uid: "501" });
    const file = await build("realm-built", "1.0.0");
    const args = ["--from", file, "--service", "user", "--", "--name", "a<b>&c"];
    const done = await install(args, env);
    assert.equal(done.status, 0, done.stderr);
    const list = `${home}/Library/LaunchAgents/dev.realm.agent.plist`;
    const text = await Deno.readTextFile(list);
    assert.ok(text.includes("<string>a&lt;b&gt;&amp;c</string>"));
    assert.ok(text.includes(`<string>${home}/.realm/agent.log</string>`));
    const tags = [...text.matchAll(/<(\/?)(plist|dict|array|string|key|integer)\b/g)];
    assert.equal(tags.filter(([, end]) => end).length * 2, tags.length, "what opens closes");
    assert.deepEqual(await calls(), [
      "launchctl bootout gui/501/dev.realm.agent",
      `launchctl bootstrap gui/501 ${list}`,
    ]);
    await install(["--uninstall"], env);
    assert.deepEqual(files(`${home}/Library/LaunchAgents`), []);
    const system = await install(["--from", file, "--service", "system"], {
      ...(await services(home, { os: "Darwin", uid: "0" })).env,
      PATH: `${home}/fake:${await withoutUser(home)}`,
    });
    assert.match(system.stderr, /there is no user realm\nhint: Name one with --user NAME/);
  });
});

/** A search path on which nobody is known by name. */
async function withoutUser(home: string): Promise<string> {
  return await withFake(home, "id", '[ "$1" = -u ] && [ $# = 1 ] && echo 0 || exit 1');
}

Deno.test("install.sh touches no service that it has not written", async () => {
  await onMachine(async ({ home, build, install }) => {
    const { env, calls } = await services(home);
    await Deno.mkdir(`${home}/.config/systemd/user`, { recursive: true });
    await Deno.writeTextFile(`${home}/${UNIT}`, "[Service]\nExecStart=/bin/true\n");
    const file = await build("realm-built", "1.0.0");
    const refused = await install(["--from", file, "--service", "user"], env);
    assert.equal(refused.status, 1);
    assert.match(refused.stderr, /it is not ours/);
    assert.deepEqual(files(`${home}/.local`), []);
    await install(["--from", file], env);
    await install(["--from", file], env);
    await install(["--uninstall"], env);
    assert.deepEqual(await calls(), []);
    assert.deepEqual(files(`${home}/.config/systemd/user`), ["realm.service"]);
    for (const args of [["--service", "both"], ["--", "--ticket", "x"]]) {
      assert.equal((await install(["--from", file, ...args], env)).status, 2, args.join(" "));
    }
  });
});

Deno.test("install.sh starts no service again that runs what is installed elsewhere", async () => {
  await onMachine(async ({ home, build, install }) => {
    const [old, file] = [await build("old", "1.0.0"), await build("new", "2.0.0")];
    for (const os of ["Linux", "Darwin"]) {
      const { env, calls } = await services(home, { os });
      await install(["--from", old, "--prefix", `${home}/${os}`], env);
      // Its path begins with that of the executable above.
      const other = `${home}/${os}/bin/realm-2`;
      await install(["--from", old, "--prefix", other, "--service", "user"], env);
      await calls();
      await install(["--from", file, "--prefix", `${home}/${os}`], env);
      assert.deepEqual(await calls(), [], os);
      await install(["--from", file, "--prefix", other], env);
      assert.equal((await calls()).length, 1, os);
    }
  });
});

Deno.test("units of install.sh are what systemd takes, and well fenced", {
  ignore: !await hasAnalyze(),
}, async () => {
  await onMachine(async ({ home, build, install }) => {
    const file = await build("realm-built", "1.0.0");
    const { env } = await services(home, { uid: "0" });
    const words = ["--name", "a b%", "--listen", "/ip4/0.0.0.0/tcp/4001"];
    for (
      const [kind, unit, exposureMax] of [
        ["user", `${home}/${UNIT}`, 80],
        ["system", `${home}/root/etc/systemd/system/realm.service`, 25],
      ] as const
    ) {
      const prefix = ["--prefix", `${home}/usr`];
      const made = await install(
        ["--from", file, ...prefix, "--service", kind, "--user", "daemon", "--", ...words],
        env,
      );
      assert.equal(made.status, 0, made.stderr);
      const analyze = async (...args: string[]) => {
        const { stdout, stderr, code } = await new Deno.Command("systemd-analyze", {
          args: [...args, unit],
          env: { SYSTEMD_LOG_LEVEL: "warning" },
        }).output();
        return { code, text: new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr) };
      };
      const verified = await analyze("verify", "--man=no", "--recursive-errors=no");
      assert.deepEqual(verified, { code: 0, text: "" });
      const secure = await analyze("security", "--offline=true", `--threshold=${exposureMax}`);
      assert.equal(secure.code, 0, secure.text);
    }
  });
});

/** Since version 252 it looks at units that are nowhere installed. */
async function hasAnalyze(): Promise<boolean> {
  if (!await has("systemd-analyze")) return false;
  const { stdout } = await new Deno.Command("systemd-analyze", { args: ["--version"] }).output();
  return Number(/^systemd (\d+)/.exec(new TextDecoder().decode(stdout))?.[1]) >= 252;
}

async function has(program: string): Promise<boolean> {
  try {
    return (await new Deno.Command(program, { args: ["--version"] }).output()).success;
  } catch {
    return false;
  }
}

/** A release of this build in a folder, signed. */
async function release({ home, build }: Machine) {
  const file = await build("realm-x86_64-unknown-linux-gnu", "3.0.0");
  const backend = webCryptoBackend();
  const keys = await keyPairOf(new Uint8Array(32).fill(7), backend);
  const sums = `${sha256(await Deno.readTextFile(file))}  realm-x86_64-unknown-linux-gnu\n`;
  await Deno.writeTextFile(`${home}/SHA256SUMS`, sums);
  const line = await signSums(new TextEncoder().encode(sums), signerOf(keys, backend));
  await Deno.writeTextFile(`${home}/SHA256SUMS.sig`, `a comment\n${line}`);
  // RFC 8410, section 4.
  const der = [...Uint8Array.fromHex("302a300506032b6570032100"), ...keys.publicKey];
  return { spki: new Uint8Array(der).toBase64(), key: formatPublicKey(keys.publicKey) };
}

/** As OpenSSL 3 has it, and the installer needs. */
async function hasRawSignatures(): Promise<boolean> {
  try {
    const { stdout, stderr } = await new Deno.Command("openssl", { args: ["pkeyutl", "-help"] })
      .output();
    return [stdout, stderr].some((bytes) => new TextDecoder().decode(bytes).includes("-rawin"));
  } catch {
    return false;
  }
}

Deno.test("install.sh checks who signed a release", {
  ignore: !await has("curl") || !await hasRawSignatures(),
}, async () => {
  await onMachine(async (machine) => {
    const { home, install } = machine;
    const { spki, key } = await release(machine);
    const { env } = await services(home);
    const args = ["--releases", `file://${home}`, "--release-key"];
    for (const form of [key, spki]) {
      const done = await install([...args, form], env);
      assert.equal(done.status, 0, done.stderr);
    }

    const others = [spki.slice(0, -4) + "AAAA", key.replace(/....$/, "1111"), "ed25519:2"];
    for (const other of others) {
      const { status, stderr } = await install([...args, other], env);
      assert.equal(status, 3);
      assert.match(stderr, /SHA256SUMS is not signed by/);
    }
    for (const none of ["ed25519:", "ed25519:0", `${key}${key.slice(8)}`]) {
      const { status, stderr } = await install([...args, none], env);
      assert.equal(status, 2);
      assert.match(stderr, /^error: Cannot read --release-key: "ed25519:.*" is not a key, wanted/);
    }
    await Deno.writeTextFile(`${home}/SHA256SUMS`, `${"0".repeat(64)}  x\n`, { append: true });
    const changed = await install([...args, key], env);
    assert.equal(changed.status, 3);
    assert.match(changed.stderr, /SHA256SUMS is not signed by/);
    await Deno.remove(`${home}/SHA256SUMS.sig`);
    assert.match((await install([...args, key], env)).stderr, /Cannot download .*SHA256SUMS\.sig/);
  });
});

Deno.test("install.sh brings manual page and completions, and takes them away", async () => {
  await onMachine(async ({ home, build, install }) => {
    const file = await build("realm-built", "1.0.0");
    await install(["--from", file]);
    const share = [
      ["man/man1", "realm.1"],
      ["bash-completion/completions", "realm"],
      ["zsh/site-functions", "_realm"],
      ["fish/vendor_completions.d", "realm.fish"],
    ] as const;
    for (const [folder, name] of share) {
      assert.deepEqual(files(`${home}/.local/share/${folder}`), [name]);
    }
    await install(["--uninstall"]);
    for (const [folder] of share) assert.deepEqual(files(`${home}/.local/share/${folder}`), []);
  });
});
