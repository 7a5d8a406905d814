import assert from "node:assert/strict";
import { withUpgradeLock } from "../cli/upgrade/upgrade_lock.ts";
import { files, onMachine, SCRIPT, sha256, withFake } from "./installer.ts";

Deno.test("install.sh installs a local build and says what PATH lacks", async () => {
  await onMachine(async ({ home, build, install }) => {
    const file = await build("realm-built", "1.0.0");
    const { status, stdout, stderr } = await install(["--from", file]);
    assert.equal(status, 0, stderr);
    assert.equal(stdout, `installed realm 1.0.0 to ${home}/.local/bin/realm\n`);
    assert.match(stderr, /hint: .*\/\.local\/bin is not on your PATH/);
    assert.deepEqual(files(`${home}/.local/bin`), ["realm"]);
    assert.equal(((await Deno.stat(`${home}/.local/bin/realm`)).mode ?? 0) & 0o777, 0o755);

    const quiet = await install(["--from", file], {
      PATH: `${home}/.local/bin:${Deno.env.get("PATH")}`,
    });
    assert.equal(quiet.stderr, "");
  });
});

Deno.test("install.sh replaces what is there, and uninstalls it", async () => {
  await onMachine(async ({ home, build, install }) => {
    const prefix = `${home}/my programs`;
    const old = await build("old", "1.0.0");
    await install(["--from", old, "--prefix", prefix]);
    const { stdout } = await install(["--from", await build("new", "2.0.0"), "--prefix", prefix]);
    assert.match(stdout, /^upgraded realm 1\.0\.0 to realm 2\.0\.0/);
    assert.deepEqual(files(`${prefix}/bin`), ["realm", "realm.old"]);
    assert.match(await Deno.readTextFile(`${prefix}/bin/realm.old`), /1\.0\.0/);

    assert.equal((await install(["--uninstall", "--prefix", prefix])).status, 0);
    assert.deepEqual(files(`${prefix}/bin`), []);
    const again = await install(["--uninstall", "--prefix", prefix]);
    assert.equal(again.status, 1);
    assert.match(again.stderr, /^error: Cannot uninstall .*: it is not there\n$/);
  });
});

Deno.test("install.sh takes no older version unless told to", async () => {
  await onMachine(async ({ home, build, install }) => {
    const ordered = ["0.9.0-rc.9", "0.9.0-rc.10", "0.9.0", "0.10.0"];
    const builds: string[] = [];
    for (const version of ordered) builds.push(await build(version, version));
    for (const file of builds) assert.equal((await install(["--from", file])).status, 0, file);
    for (const [i, file] of builds.entries()) {
      const { status, stderr } = await install(["--from", file]);
      assert.equal(status, i === builds.length - 1 ? 0 : 1, file);
      if (status !== 0) assert.match(stderr, /is realm 0\.10\.0, a later one\nhint: .*--downgrade/);
    }
    assert.match(await Deno.readTextFile(`${home}/.local/bin/realm`), /0\.10\.0/);
    for (const [i, version] of [...ordered.entries()].slice(0, -1).reverse()) {
      const refused = await install(["--from", builds[i]!]);
      assert.equal(refused.status, 1, version);
      const { stdout } = await install(["--from", builds[i]!, "--downgrade"]);
      assert.match(stdout, new RegExp(`^downgraded realm \\S+ to realm ${version} in`));
    }
    assert.deepEqual(files(`${home}/.local/bin`), ["realm", "realm.old"]);
  });
});

const HAS_FLOCK = new Deno.Command("sh", { args: ["-c", "command -v flock"] }).outputSync().success;

Deno.test({
  name: "install.sh and realm upgrade keep out of each other's way",
  ignore: !HAS_FLOCK,
  fn: () =>
    onMachine(async ({ home, build, install }) => {
      const executable = `${home}/.local/bin/realm`;
      await install(["--from", await build("old", "1.0.0")]);
      const newer = await build("new", "2.0.0");
      await withUpgradeLock(executable, async () => {
        for (const words of [["--from", newer], ["--uninstall"]]) {
          const { status, stderr } = await install(words);
          assert.equal(status, 1, stderr);
          assert.match(stderr, /^error: Cannot change .*realm: another upgrade runs\nhint: Wait /);
        }
      });
      assert.match(await Deno.readTextFile(executable), /1\.0\.0/);
      assert.deepEqual(files(`${home}/.local/bin`), ["realm"]);

      // What is installed is asked for its version meanwhile, and finds the lock taken.
      const looks = `#!/bin/sh\nflock -n "${executable}.lock" true && : >"${home}/free"\n` +
        `: >"${home}/looked"\necho "realm 2.0.0"\n`;
      await Deno.writeTextFile(newer, looks);
      const { status, stderr } = await install(["--from", newer, "--sha256", sha256(looks)]);
      assert.equal(status, 0, stderr);
      const left = files(home);
      assert.ok(left.includes("looked") && !left.includes("free"), left.join());
      assert.deepEqual(files(`${home}/.local/bin`), ["realm", "realm.old"]);
    }),
});

Deno.test("install.sh refuses a wrong digest and keeps what was installed", async () => {
  await onMachine(async ({ home, build, install }) => {
    await install(["--from", await build("good", "1.0.0")]);
    const bad = await build("bad", "6.6.6");
    await Deno.writeTextFile(`${bad}.sha256`, `${sha256("another")}  bad\n`);
    const refused = await install(["--from", bad]);
    assert.equal(refused.status, 3);
    assert.match(
      refused.stderr,
      new RegExp(`its sha256 is [0-9a-f]{64}, wanted ${sha256("another")}`),
    );
    assert.match(await Deno.readTextFile(`${home}/.local/bin/realm`), /1\.0\.0/);
    assert.deepEqual(files(`${home}/.local/bin`), ["realm"], "no temporary file is left");

    for (const digest of ["abc", "z".repeat(64), sha256("x") + "0"]) {
      const { status, stderr } = await install(["--from", bad, "--sha256", digest]);
      assert.equal(status, 3, digest);
      assert.match(stderr, /is not a sha256/);
    }
    const right = sha256(await Deno.readTextFile(bad)).toUpperCase();
    assert.equal((await install(["--from", bad, "--sha256", right])).status, 0);
  });
});

Deno.test("install.sh refuses what it cannot verify, find or run", async () => {
  await onMachine(async ({ home, build, install }) => {
    const file = await build("realm-built", "1.0.0");
    await Deno.remove(`${file}.sha256`);
    const cases: [args: string[], status: number, message: RegExp][] = [
      [["--from", file], 1, /Cannot verify .*\.sha256 is not there\nhint: .*--sha256/],
      [["--from", `${home}/absent`], 1, /there is no such file/],
      [["--from"], 2, /Cannot read --from/],
      [["--form", file], 2, /Cannot read --form: not an option/],
      [[], 2, /no address of releases/],
      [["--from", file, "--prefix", "/proc/nowhere"], 1, /Cannot make the folder/],
    ];
    for (const [args, status, message] of cases) {
      const result = await install(args);
      assert.equal(result.status, status, args.join(" "));
      assert.match(result.stderr, message);
    }
    await Deno.writeTextFile(file, "not for this machine");
    const foreign = await install(["--from", file, "--sha256", sha256("not for this machine")]);
    assert.equal(foreign.status, 1);
    assert.match(foreign.stderr, /it does not run on this machine/);
    assert.deepEqual(files(`${home}/.local/bin`), []);
  });
});

Deno.test("install.sh downloads the release for this machine", async () => {
  await onMachine(async ({ home, build, install }) => {
    const file = await build("release", "3.0.0");
    const asked: string[] = [];
    const digest = sha256(await Deno.readTextFile(file));
    const sums = `${"0".repeat(64)}  realm-x\n${digest}  realm-x86_64-apple-darwin\n`;
    const server = Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen() {} },
      async (request) => {
        const { pathname } = new URL(request.url);
        asked.push(pathname);
        if (pathname.startsWith("/moved/")) {
          return Response.redirect(new URL("/r/x.bin", request.url));
        }
        if (pathname.includes("aarch64")) return new Response("gone", { status: 404 });
        return new Response(await Deno.readFile(file));
      },
    );
    try {
      const url = `http://127.0.0.1:${server.addr.port}`;
      const uname = (os: string, arch: string) =>
        withFake(home, "uname", `[ "$1" = -s ] && echo ${os} || echo ${arch}`);

      const PATH = await uname("Darwin", "x86_64");
      for (const from of [`${url}/r/`, url.toUpperCase(), url.slice("http://".length)]) {
        const untrusted = await install(["--releases", from], { PATH });
        assert.equal(untrusted.status, 3, from);
        assert.match(untrusted.stderr, /wanted https\nhint: .*--release-key .*--sha256/);
      }
      assert.equal(asked.length, 0, "nothing was asked of it");
      assert.deepEqual(files(`${home}/.local/bin`), []);

      const folder = `${home}/r`;
      await Deno.mkdir(folder);
      await Deno.writeTextFile(`${folder}/SHA256SUMS`, sums);
      await Deno.copyFile(file, `${folder}/realm-x86_64-apple-darwin`);
      const { status, stdout, stderr } = await install(["--releases", `file://${folder}/`], {
        PATH,
      });
      assert.equal(status, 0, stderr);
      assert.match(stdout, /^installed realm 3\.0\.0/);

      const env = { PATH: await uname("Linux", "amd64"), REALM_RELEASES: `${url}/moved` };
      assert.equal((await install(["--sha256", digest], env)).status, 0);
      assert.ok(asked.includes("/moved/realm-x86_64-unknown-linux-gnu"));

      const arm = { PATH: await uname("Linux", "arm64"), REALM_RELEASES: `${url}/r` };
      const missing = await install(["--sha256", digest], arm);
      assert.equal(missing.status, 1);
      assert.match(missing.stderr, /Cannot download .*\/r\/realm-aarch64-unknown-linux-gnu\n/);
      const unlisted = await install(["--releases", `file://${folder}`], arm);
      assert.equal(unlisted.status, 1);
      assert.match(unlisted.stderr, /the release has none for this machine/);

      const unknown = [["Linux", "riscv64", /riscv64: wanted x86_64 or aarch64/], [
        "MINGW64_NT",
        "x86_64",
        /MINGW64_NT: wanted Linux or Darwin\nhint: .*windows/,
      ]] as const;
      for (const [os, arch, message] of unknown) {
        const result = await install([], { PATH: await uname(os, arch), REALM_RELEASES: url });
        assert.equal(result.status, 1);
        assert.match(result.stderr, message);
      }
    } finally {
      await server.shutdown();
    }
  });
});

Deno.test("install.sh does nothing when its download broke off", async () => {
  await onMachine(async ({ home, build }) => {
    const file = await build("realm-built", "1.0.0");
    const script = await Deno.readTextFile(SCRIPT);
    const half = `${home}/half.sh`;
    await Deno.writeTextFile(half, script.slice(0, script.lastIndexOf('main "$@"')));
    const { code } = await new Deno.Command("sh", {
      args: [half, "--from", file],
      clearEnv: true,
      env: { HOME: home, PATH: Deno.env.get("PATH")! },
    }).output();
    assert.equal(code, 0);
    assert.deepEqual(files(`${home}/.local`), []);
  });
});

/** What install.sh needs besides a program that downloads. */
const TOOLS = "sh sed uname cut sha256sum shasum openssl mktemp mkdir rm mv cp ln chmod tr head " +
  "wc dirname basename cat grep awk id printf yes";

/** A search path without curl, with a wget that takes `https://releases.example` from `folder`. */
async function pathWithWget(home: string, folder: string): Promise<string> {
  const bin = `${home}/tools`;
  await Deno.mkdir(bin);
  for (const tool of TOOLS.split(" ")) {
    for (const each of Deno.env.get("PATH")!.split(":")) {
      if (await Deno.stat(`${each}/${tool}`).catch(() => undefined) === undefined) continue;
      await Deno.symlink(`${each}/${tool}`, `${bin}/${tool}`);
      break;
    }
  }
  const script = `#!/bin/sh
for each in "$@"; do
  case "$each" in
    --output-document=-) ;;
    --output-document=*) exec >"\${each#*=}" ;;
    https://releases.example/*) file="${folder}/\${each##*/}" ;;
  esac
done
[ -f "$file" ] || exit 8
cat "$file"
`;
  await Deno.writeTextFile(`${bin}/wget`, script, { mode: 0o755 });
  return bin;
}

Deno.test("install.sh takes by wget no more than it asked for", async () => {
  await onMachine(async ({ home, build, install }) => {
    const folder = `${home}/releases`;
    await Deno.mkdir(folder);
    const PATH = await pathWithWget(home, folder);
    const release = (...more: string[]) =>
      install(["--releases", "https://releases.example", ...more], { PATH });
    const none = await release();
    assert.equal(none.status, 1);
    assert.match(none.stderr, /Cannot download https:\/\/releases\.example\/SHA256SUMS/);

    const text = await Deno.readTextFile(await build("built", "1.0.0"));
    const name = `realm-${Deno.build.target}`;
    const sums = `${sha256(text)}  ${name}\n`;
    const padded = (bytes: number) => sums + "#".repeat(bytes - sums.length);
    await Deno.writeTextFile(`${folder}/SHA256SUMS`, sums);
    const half = await release();
    assert.equal(half.status, 1);
    assert.match(half.stderr, new RegExp(`Cannot download \\S+/${name}`));

    await Deno.writeTextFile(`${folder}/${name}`, text);
    await Deno.writeTextFile(`${folder}/SHA256SUMS`, padded(65537));
    const large = await release();
    assert.equal(large.status, 1, large.stdout);
    assert.match(large.stderr, /Cannot download \S+\/SHA256SUMS/);
    assert.deepEqual(files(`${home}/.local/bin`), []);

    await Deno.writeTextFile(`${folder}/SHA256SUMS`, padded(65536));
    const fits = await release();
    assert.equal(fits.status, 0, fits.stderr);
    assert.match(fits.stdout, /^installed realm 1\.0\.0/);
  });
});
