/**
 * Secrets on two machines: sealed to those that may read them, read by name, changed while components
 * run, resealed and taken back; and nowhere in clear, on no disk, in no log and no metric.
 */
import assert from "node:assert/strict";
import * as path from "node:path";
import { connectControl } from "../../agent/control/client.ts";
import { failed, succeeded, until } from "./agent_process.ts";
import { withSandbox } from "./executable.ts";

const PATIENCE = { everyMs: 50, atMostMs: 90_000 };
const [FIRST, SECOND, THIRD] = ["swordfish-0-8f1b", "swordfish-1-77aa", "swordfish-2-c3d0"];

/** Files below a folder in which any of the texts is, in clear or in base64. */
async function filesWith(folder: string, texts: readonly string[]): Promise<string[]> {
  const wanted = texts.flatMap((text) => [text, btoa(text).replace(/=+$/, "").slice(0, -1)]);
  const found: string[] = [];
  for await (const entry of Deno.readDir(folder)) {
    const file = path.join(folder, entry.name);
    if (entry.isDirectory) found.push(...await filesWith(file, texts));
    if (!entry.isFile) continue;
    const bytes = new TextDecoder("latin1").decode(await Deno.readFile(file));
    if (wanted.some((text) => bytes.includes(text))) found.push(file);
  }
  return found;
}

Deno.test("secrets are read by those who may, follow their values, and are nowhere in clear", async (t) => {
  await withSandbox(async (sandbox) => {
    const { folder, realm, realmWith, data } = sandbox;
    await sandbox.fixtures("keyvalue");
    const toml = path.join(folder, "realm.toml");
    const { owner } = succeeded(await realm("init", "--name", "shop", "--json"));
    const begin = async (name: string, dataFolder: string, ...args: string[]) => {
      await sandbox.shareCache(dataFolder);
      const listen = ["--listen", "/ip4/127.0.0.1/tcp/0", "--no-mdns"];
      const rest = ["--json", "--data", dataFolder, "--name", name, "--http", "127.0.0.1:0"];
      const running = sandbox.start("agent", ...rest, ...listen, ...args);
      const line = await running.line();
      if (line === null) assert.fail(`${name}: ${(await running.ended).stderr}`);
      return connectControl(path.join(dataFolder, "control.sock"));
    };
    const first = await begin("one", data, "--owner", owner, "--metrics", "127.0.0.1:0");
    const other = path.join(folder, "two");
    const text = (calls: string, node: string, secret = "") =>
      `[owner]\npubkey = "${owner}"\n[nodes.one]\n[nodes.two]\n` +
      `[components.reader]\nsource = "file:./keyvalue.wasm"\nworld = "wasi:cli/command"\n` +
      `secrets = ["jwt"]\nargs = [${calls}]\nrestart = "always"\n` +
      `placement = { tags = [], replicas = ${node === "both" ? 2 : 1}, spread = "node" }\n` +
      `[secrets]\njwt = "${secret}"\n`;
    const apply = async (...words: Parameters<typeof text>) => {
      await Deno.writeTextFile(toml, text(...words));
      return succeeded(await realm("apply", "realm.toml", "--yes", "--json"));
    };
    const logs = async (...words: string[]) => (await realm("logs", "reader", ...words)).stdout;

    await t.step("the first value comes from the manifest, sealed to the owner alone", async () => {
      const printed = succeeded(
        await realmWith(`${FIRST}\n`, "secrets", "set", "jwt", "--print", "--json"),
      );
      assert.match(printed.value, /^age-encrypted:[A-Za-z0-9+/=]+$/);
      assert.deepEqual(succeeded(await realm("secrets", "ls", "--json")), []);
      await apply(
        '"open|secrets", "exists|jwt", "exists|other", "set|jwt|x"',
        "one",
        printed.value,
      );
      await until(
        "the component has found it",
        async () => /opened[\s\S]*true[\s\S]*false[\s\S]*access-denied/.test(await logs()),
        PATIENCE,
      );
      assert.match(await logs(), /secret jwt was read \(set by event baf/);
      const [state] = succeeded(await realm("secrets", "ls", "--json"));
      assert.deepEqual([state.name, state.nodes, state.lacking], ["jwt", ["one"], []]);
    });

    await t.step("it is in clear on no disk, in no log and in no metric", async () => {
      assert.equal((await realmWith(SECOND, "secrets", "set", "jwt")).status, 0);
      await until(
        "the new value was read",
        async () => (await logs()).match(/was read/g)!.length >= 2,
        PATIENCE,
      );
      const values = [FIRST, SECOND];
      assert.deepEqual(await filesWith(folder, values), []);
      const told = await Promise.all([
        logs(),
        realm("status", "--json").then(({ stdout }) => stdout),
        realm("secrets", "ls", "--json").then(({ stdout }) => stdout),
        realm("history", "--json").then(({ stdout }) => stdout),
      ]);
      for (const text of told) for (const value of values) assert.ok(!text.includes(value));
      // The search itself finds what is there.
      await Deno.writeTextFile(path.join(folder, "planted"), `x${FIRST}`);
      assert.deepEqual(await filesWith(folder, values), [path.join(folder, "planted")]);
      await Deno.remove(path.join(folder, "planted"));
    });

    let second!: Awaited<ReturnType<typeof begin>>;
    await t.step("a node that is approved later can open it, too", async () => {
      const { ticket } = succeeded(await realm("invite", "--json"));
      second = await begin("two", other, "--ticket", ticket);
      await until(
        "it asks to join",
        async () => (await first.nodes()).some(({ state }) => state === "pending"),
        PATIENCE,
      );
      succeeded(await realm("nodes", "approve", "two", "--json"));
      const [state] = succeeded(await realm("secrets", "ls", "--json"));
      assert.deepEqual([state.nodes.toSorted(), state.lacking], [["one", "two"], []]);
      await apply('"open|secrets", "get|jwt"', "both");
      const there = ["logs", "reader", "--data", other];
      await until(
        "the value is there",
        async () => (await realm(...there)).stdout.includes(SECOND),
        PATIENCE,
      );
      assert.equal(succeeded(await realm("secrets", "reseal", "--json")).resealed.length, 0);
    });

    await t.step("a new value is read without a new manifest", async () => {
      const { version } = (await second.status()).manifest!;
      assert.equal((await realmWith(THIRD, "secrets", "set", "jwt")).status, 0);
      const there = ["logs", "reader", "--data", other];
      await until(
        "the third value is there",
        async () => (await realm(...there)).stdout.includes(THIRD),
        PATIENCE,
      );
      assert.equal((await second.status()).manifest!.version, version);
    });

    await t.step("the log of the component is one over both nodes", async () => {
      const { stdout } = await realm("logs", "reader", "--all-nodes", "--json");
      const lines: { node: string; wallMs?: number }[] = stdout.trimEnd().split("\n")
        .map((line) => JSON.parse(line));
      assert.deepEqual([...new Set(lines.map(({ node }) => node))].sort(), ["one", "two"]);
      const times = lines.flatMap(({ wallMs }) => wallMs ?? []);
      assert.deepEqual(times, times.toSorted((a, b) => a - b));
      const follow = sandbox.start("logs", "reader", "--all-nodes", "--follow", "--json");
      const followed = new Set<string>();
      while (followed.size < 2) followed.add(JSON.parse((await follow.line())!).node);
      follow.kill("SIGINT");
      assert.equal((await follow.ended).status, 0);
    });

    await t.step("who revokes a node is told which values it knows", async () => {
      const revoked = await realm("nodes", "revoke", "two");
      assert.match(revoked.stderr, /want new values: jwt/);
      assert.match((await realm("secrets", "ls")).stdout, /known to a key that counts no more/);
      assert.equal((await realmWith(FIRST, "secrets", "set", "jwt")).status, 0);
      const [state] = succeeded(await realm("secrets", "ls", "--json"));
      assert.deepEqual([state.nodes, state.exposed], [["one"], []]);
    });

    await t.step("what cannot be done is refused", async () => {
      assert.deepEqual(
        failed(await realmWith("x", "secrets", "set", "../x", "--json")),
        [2, "usage"],
      );
      assert.deepEqual(failed(await realmWith("", "secrets", "set", "jwt", "--json")), [
        2,
        "usage",
      ]);
      assert.deepEqual(failed(await realm("secrets", "rm", "none", "--json")), [4, "not-found"]);
      assert.deepEqual(
        failed(await realm("secrets", "set", "jwt", "--file", "absent", "--json")),
        [4, "not-found"],
      );
      succeeded(await realm("secrets", "rm", "jwt", "--json"));
      const [state] = succeeded(await realm("secrets", "ls", "--json"));
      assert.equal(state.record, undefined);
      const large = "x".repeat(20_000);
      const [status] = failed(await realmWith(large, "secrets", "set", "jwt", "--json"));
      assert.equal(status, 1);
    });
    first.close();
    second.close();
  });
});
