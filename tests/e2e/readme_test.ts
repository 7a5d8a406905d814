/**
 * The session of README.md, run: every command prints what it says there.
 */
import assert from "node:assert/strict";
import * as path from "node:path";
import { freePort } from "../peers.ts";
import { EXECUTABLE, ROOT, run, withSandbox } from "./executable.ts";

const READY_MS_MAX = 20_000;
const FIXTURES = ["hello", "spin", "keyvalue", "http-counter", "sockets-std"] as const;

/** A command of the session and what it prints, or lines for `realm.toml`. */
type Part = { readonly command: string; readonly output: string } | { readonly toml: string };

/** The parts of the section's indented blocks, in order. */
function partsOf(section: string): Part[] {
  const blocks = section.split(/\n(?! {4}|\n)/).flatMap((text) => {
    const lines = text.split("\n").filter((line) => line === "" || line.startsWith("    "));
    const block = lines.map((line) => line.slice(4)).join("\n").trim();
    return block === "" ? [] : [block];
  });
  return blocks.flatMap((block): Part[] => {
    if (!block.startsWith("$ ")) return [{ toml: block }];
    return block.split(/^\$ /m).slice(1).map((text) => {
      const [command, ...output] = text.split("\n");
      return { command: command!, output: output.join("\n") };
    });
  });
}

/** What may differ from one run to the next, made the same. */
function normalise(text: string, home: string): string {
  return text
    .replaceAll(home, "/home/ada")
    .replace(/\bed25519:\w+/g, "KEY")
    .replace(/\bbafy\w+/g, "CID")
    .replace(/\b[0-9a-f]{12}…/g, "DIGEST")
    .replace(/\b\d+(\.\d+)?(ms|s|m|h)(?=$| ago|\s{2,}|\n)/g, "AGE")
    .replace(/it ran \d+ ms/g, "it ran N ms")
    .replace(/\b\d+(\.\d+)?\/(32|128) MiB/g, "N/$2 MiB")
    .replace(/^\s+at .*\n/gm, "") // frames of a guest
    .replace(/^running +\d+ ms$/m, "running N ms")
    .replace(/^(paths +0 +running +)\d+/m, "$1PID")
    .replace(/[ \t]+/g, " ")
    .trim();
}

Deno.test("the session of the README prints what the README says", async () => {
  const readme = await Deno.readTextFile(path.join(ROOT, "README.md"));
  const section = readme.split("## A first session\n")[1]!.split("\n## ")[0]!;
  const parts = partsOf(section);
  assert.ok(parts.filter((part) => "command" in part).length >= 8, "the session was found");
  await withSandbox(async ({ folder, fixtures, start }) => {
    await fixtures(...FIXTURES);
    const home = path.join(folder, "home");
    const shop = path.join(home, "shop");
    const bin = path.join(folder, "bin");
    await Promise.all([shop, bin].map((each) => Deno.mkdir(each)));
    for (const name of FIXTURES) {
      await Deno.rename(path.join(folder, `${name}.wasm`), path.join(shop, `${name}.wasm`));
    }
    await Deno.symlink(EXECUTABLE, path.join(bin, "realm"));
    // The port of the README may be taken here, and there may be no curl.
    const address = `127.0.0.1:${freePort()}`;
    const curl = `console.log((await (await fetch(Deno.args.at(-1))).text()).trim())`;
    await Deno.writeTextFile(
      path.join(bin, "curl"),
      `#!/bin/sh\nexec '${Deno.execPath()}' eval '${curl}' -- "$@"\n`,
      { mode: 0o755 },
    );
    const env = { HOME: home, PATH: `${bin}:${Deno.env.get("PATH")}`, NO_COLOR: "1" };
    const sh = (command: string) =>
      run("sh", ["-c", `${command} 2>&1`], { cwd: shop, env: { ...env } });
    const here = (text: string) => text.replaceAll("127.0.0.1:8080", address);
    let agent: ReturnType<typeof start> | undefined;

    for (const part of parts) {
      if ("toml" in part) {
        await Deno.writeTextFile(path.join(shop, "realm.toml"), `\n${part.toml}\n`, {
          append: true,
        });
        continue;
      }
      const { command, output } = part;
      let printed = "";
      if (command.endsWith(" &")) {
        const ticket = (await sh("realm invite")).stdout.trim();
        const words = command.slice("realm ".length, -" &".length)
          .replace('"$(realm invite)"', ticket).split(" ");
        assert.deepEqual(words.filter((word) => /["$]/.test(word)), [], "all of it was understood");
        agent = start(...words, "--http", address);
        const late = setTimeout(() => agent!.kill("SIGKILL"), READY_MS_MAX);
        for (let line = await agent.line(); line !== null; line = await agent.line()) {
          printed += `${line}\n`;
          if (line === "ready") break;
        }
        clearTimeout(late);
      } else printed = (await sh(here(command))).stdout;
      assert.equal(normalise(printed, home), normalise(here(output), home), `$ ${command}`);
    }
    agent!.kill("SIGTERM");
    assert.equal((await agent!.ended).status, 0);
  });
});

Deno.test("the commands of the README make an app, and a topic of it that others can join", async () => {
  const readme = await Deno.readTextFile(path.join(ROOT, "README.md"));
  const section = readme.split("## Apps of peers\n")[1]!.split("\n## ")[0]!;
  const commands = section.split("\n").filter((line) => line.startsWith("    realm "))
    .map((line) => line.replace(/ #.*/, "").trim().split(" ").slice(1));
  assert.deepEqual(commands.map(([, verb]) => verb), [
    "build",
    "install",
    "create",
    "invite",
    "open",
  ]);
  await withSandbox(async ({ folder, realm, start }) => {
    // The folder stands for a clone.
    await Deno.symlink(path.join(ROOT, "fixtures"), path.join(folder, "fixtures"));
    const agent = start("agent", "--json", "--http", "127.0.0.1:0");
    assert.notEqual(await agent.line(), null);
    for (const words of commands.slice(0, -1)) {
      const { status, stderr } = await realm(...words);
      assert.equal(status, 0, `${words.join(" ")}: ${stderr}`);
    }
    const topics = JSON.parse((await realm("app", "topics", "--json")).stdout);
    assert.deepEqual(topics.map(({ name, state }: Record<string, string>) => [name, state]), [
      ["lunch", "running"],
    ]);
    // Without a terminal there is nothing to show it on; with one see tui/app.
    assert.match((await realm(...commands.at(-1)!)).stderr, /no terminal to show it on/);
    agent.kill("SIGTERM");
    assert.equal((await agent.ended).status, 0);
  });
});
