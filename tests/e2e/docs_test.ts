/**
 * Pages of `docs/` that tell a reader what to do, carried out to the letter (`document.ts` says
 * how), with the executable.
 *
 * A machine for tests has neither Rust nor the toolchains of other languages. Where a page builds
 * what is a fixture too, a stand-in of `cargo` gives that; `DOCS_TOOLCHAINS=1` takes the real one,
 * and carries out the pages about languages whose toolchains are here.
 *
 * @module
 */
import assert from "node:assert/strict";
import * as path from "node:path";
import { carryOut, isPrinted, stepsOf } from "./document.ts";
import { formatPublicKey } from "../../agent/kernel/key.ts";
import { sha256Hex } from "../../agent/kernel/sha256.ts";
import { webCryptoBackend } from "../../agent/kernel/signature_backends.ts";
import { keyPairOf, signerOf } from "../../agent/kernel/verify.ts";
import { formatSums, signSums } from "../../cli/upgrade/release_sums.ts";
import { EXECUTABLE, ROOT, type Sandbox, withSandbox } from "./executable.ts";

const REAL = Deno.env.get("DOCS_TOOLCHAINS") === "1";
const page = (name: string) => Deno.readTextFileSync(path.join(ROOT, "docs", `${name}.md`));

/** Puts files of the repository, and the executable, where the reader has a clone. */
async function clone({ folder }: Sandbox, ...fixtures: string[]): Promise<void> {
  const home = path.join(folder, "home");
  await Deno.mkdir(path.join(home, "clone", "out"), { recursive: true });
  const link = (from: string, to: string) => Deno.symlink(from, path.join(home, "clone", to));
  await link(path.join(ROOT, "install.sh"), "install.sh");
  for (const part of ["fixtures", "wit"]) await link(path.join(ROOT, part), part);
  const executable = Deno.env.get("REALM_EXECUTABLE") ?? path.join(ROOT, "out", "realm");
  for (const end of ["", ".sha256"]) await link(path.resolve(executable + end), `out/realm${end}`);
  for (const name of fixtures) {
    await Deno.copyFile(`${ROOT}/fixtures/${name}.wasm`, path.join(home, "clone", `${name}.wasm`));
  }
}

/** Does what `cargo` does on the way to a fixture. */
const CARGO = `
for last; do
  case "$before" in --manifest-path) manifest=$last ;; esac
  before=$last
done
case "$1" in
new)
  mkdir -p "$last/src"
  printf '[package]\\nname = "%s"\\n\\n[dependencies]\\n' "$(basename "$last")" >"$last/Cargo.toml"
  ;;
add) ;;
build)
  made=$(dirname "$manifest")/target/wasm32-wasip2/release
  name=$(sed -n 's/^name = "\\(.*\\)"/\\1/p' "$manifest")
  mkdir -p "$made"
  cp "${ROOT}/fixtures/$name.wasm" "$made/$name.wasm"
  ;;
esac
`;
const STAND_INS = REAL ? {} : { cargo: CARGO, rustup: "" };

/** Folders of toolchains that are not those of the reader's home folder. */
function toolchains(): Record<string, string> {
  const home = Deno.env.get("HOME")!;
  const at = (name: string, folder: string) => Deno.env.get(name) ?? path.join(home, folder);
  return {
    CARGO_HOME: at("CARGO_HOME", ".cargo"),
    RUSTUP_HOME: at("RUSTUP_HOME", ".rustup"),
    npm_config_cache: at("npm_config_cache", ".npm"),
    GOCACHE: at("GOCACHE", ".cache/go-build"),
  };
}

Deno.test("stepsOf() reads what to do, in order", () => {
  const steps = stepsOf(
    "```sh\na\n```\n\nso\n\n```text\nb\n```\n\n```toml append=x.toml\nc = 1\n```\n\nBy hand:\n\n```sh by-hand\nd\n```\n\n```json\n1\n```\n<!-- Ctrl-C: realm agent -->\n",
  );
  assert.deepEqual(steps, [
    { kind: "run", how: "once", commands: "a\n", printed: "b\n", line: 1 },
    { kind: "write", file: "x.toml", append: true, text: "c = 1\n", line: 11 },
    { kind: "by-hand", before: "By hand:", line: 17 },
    { kind: "interrupt", command: "realm agent", line: 24 },
  ]);
  assert.throws(() => stepsOf("```sh sometimes\na\n```\n"), /line 1/);
});

Deno.test("isPrinted() takes … for anything in a line, and for any lines", () => {
  assert.ok(isPrinted("a  1 …\n…\nz\n", "a 1 x\nb\nc\nz\n"));
  assert.ok(isPrinted("…\nz\n", "z\n"));
  assert.ok(!isPrinted("a …\n", "a x\ny\n"));
  assert.ok(!isPrinted("a.c\n", "abc\n"));
  assert.ok(!isPrinted("…\nz\n", "z\ny\n"));
});

Deno.test("what is left to the reader's hands in all pages is little", () => {
  const pages = ["quick-start", "installing", "troubleshooting", "operations", "components/c"];
  const left = pages.flatMap((name) => stepsOf(page(name)))
    .filter(({ kind }) => kind === "by-hand");
  assert.ok(left.length <= 3, `${left.length}`);
});

Deno.test("the component of the quick start is the fixture", () => {
  const written = stepsOf(page("quick-start")).flatMap((step) =>
    step.kind === "write" && step.file === "greeter/src/lib.rs" ? [step.text] : []
  );
  assert.deepEqual(written, [Deno.readTextFileSync(`${ROOT}/fixtures/greeter/src/lib.rs`)]);
});

Deno.test("who follows the quick start has a component of their own on two nodes", () =>
  withSandbox(async (sandbox) => {
    await clone(sandbox);
    await carryOut(page("quick-start"), sandbox, {
      folder: "clone",
      programs: STAND_INS,
      data: [".realm-two"],
      env: toolchains(),
    });
  }));

/** The realm of the quick start, of one node. */
const REALM = [
  "```sh",
  "realm init --name shop --quiet",
  "```",
  "```sh stays",
  'realm agent --name one --http 127.0.0.1:8080 --metrics 127.0.0.1:9090 --listen /ip4/127.0.0.1/tcp/4001 --ticket "$(realm invite)"',
  "```",
  "```text",
  "…",
  "ready",
  "```",
  "```toml append=realm.toml",
  ...stepsOf(page("quick-start")).flatMap((step) =>
    step.kind === "write" && step.text.startsWith("[nodes.one]") ? [step.text.trimEnd()] : []
  ),
  "```",
  "```sh",
  "realm apply realm.toml --yes --wait",
  "```",
  "",
].join("\n");

Deno.test("operations does what it says, in the realm of the quick start", () =>
  withSandbox(async (sandbox) => {
    await clone(sandbox, "greeter");
    await carryOut(REALM + page("operations"), sandbox, { folder: "clone" });
  }));

Deno.test("troubleshooting makes the errors that it explains", () =>
  withSandbox(async (sandbox) => {
    await clone(sandbox, "hello", "spin", "grow", "http-hello", "sockets-std");
    await carryOut(page("troubleshooting"), sandbox, { folder: "clone", data: ["clone/other"] });
  }));

Deno.test("who follows the page about apps shares one with somebody else", () =>
  withSandbox(async (sandbox) => {
    await clone(sandbox);
    const setting = { folder: "clone", data: [".realm-ada"] };
    await carryOut(page("writing-apps"), sandbox, setting);
  }));

/** Stands in for systemd: one service of the user, as its unit says; to stop it waits for its end. */
const SYSTEMCTL = `
unit=$HOME/.config/systemd/user/realm.service pid=$HOME/service.pid
stop() {
  [ -f "$pid" ] || return 0
  old=$(cat "$pid")
  kill "$old"
  # Until it is gone, or waits only to be collected: then nothing can be read of it.
  for _ in $(seq 600); do readlink "/proc/$old/exe" >/dev/null || break; sleep 0.1; done
  rm -f "$pid"
}
begin() {
  eval "set -- $(sed -n 's/^ExecStart=//p' "$unit")"
  "$@" </dev/null >>"$HOME/service.log" 2>&1 &
  echo $! >"$pid"
}
case "$*" in
"--user show "*) cat "$pid" ;;
"--user restart "*) stop && begin ;;
"--user try-restart "*) [ ! -f "$pid" ] || { stop && begin; } ;;
"--user disable --now "*) stop ;;
esac
`;

/** A release with another executable of the same version for this machine, and its key. */
async function release(): Promise<
  { files: ReadonlyMap<string, Uint8Array<ArrayBuffer>>; key: string }
> {
  const backend = webCryptoBackend();
  const keys = await keyPairOf(new Uint8Array(32).fill(7), backend);
  const name = `realm-${Deno.build.target}`;
  const executable = await Deno.readFile(EXECUTABLE);
  executable[15] = 1; // the last byte of e_ident (elf(5)): unused
  const sums = new TextEncoder().encode(
    formatSums(new Map([[name, await sha256Hex(executable)]])),
  );
  const signature = new TextEncoder().encode(await signSums(sums, signerOf(keys, backend)));
  const files = new Map([[name, executable], ["SHA256SUMS", sums], ["SHA256SUMS.sig", signature]]);
  return { files, key: formatPublicKey(keys.publicKey) };
}

Deno.test({
  name: "who follows the page about installing has a service, upgrades it and takes it away",
  // Signatures are checked by openssl 3; what is released is an ELF file here.
  ignore: Deno.build.os !== "linux" || !succeeds("openssl pkeyutl -help 2>&1 | grep -q rawin") ||
    !isHere("curl"), // its stand-in does less than the installer asks for
  fn: () =>
    withSandbox(async (sandbox) => {
      await clone(sandbox);
      const { files, key } = await release();
      const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, ({ url }) => {
        const file = files.get(new URL(url).pathname.slice(1));
        return new Response(file ?? null, { status: file ? 200 : 404 });
      });
      const home = path.join(sandbox.folder, "home");
      try {
        await carryOut(page("installing").replaceAll("/ip4/0.0.0.0/", "/ip4/127.0.0.1/"), sandbox, {
          folder: "clone",
          programs: { systemctl: SYSTEMCTL },
          env: { REALM_RELEASES: `http://127.0.0.1:${server.addr.port}`, RELEASE_KEY: key },
        });
        assert.deepEqual(Array.from(Deno.readDirSync(`${home}/.local/bin`)), []);
        const log = await Deno.readTextFile(`${home}/service.log`);
        assert.equal(log.match(/^ready$/gm)?.length, 3, `installed, upgraded, put back: ${log}`);
      } catch (error) {
        const log = await Deno.readTextFile(`${home}/service.log`).catch(() => "none");
        throw new Error(`the log of the service: ${log}`, { cause: error });
      } finally {
        await server.shutdown();
        const pid = await Deno.readTextFile(`${home}/service.pid`).catch(() => undefined);
        if (pid !== undefined) succeeds(`kill -9 ${pid}`);
      }
    }),
});

const LANGUAGES: Readonly<Record<string, string>> = {
  rust: "cargo",
  go: "go",
  c: "clang",
  python: "python3",
  typescript: "npm",
};

for (const [language, program] of Object.entries(LANGUAGES)) {
  Deno.test({
    name: `components/${language}.md makes components that run`,
    ignore: !REAL || !isHere(program),
    fn: () =>
      withSandbox(async (sandbox) => {
        await clone(sandbox);
        const text = page(`components/${language}`);
        await carryOut(text, sandbox, { folder: "work", env: toolchains() });
      }),
  });
}

function isHere(program: string): boolean {
  return succeeds(`command -v ${program}`);
}

function succeeds(line: string): boolean {
  return new Deno.Command("sh", { args: ["-c", line] }).outputSync().success;
}
