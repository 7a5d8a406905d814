/**
 * A realm from its keys to its end, with nothing but the executable.
 */
import assert from "node:assert/strict";
import * as path from "node:path";
import { connectControl } from "../../agent/control/client.ts";
import { webCryptoBackend } from "../../agent/kernel/signature_backends.ts";
import { keyPairOf, signerOf } from "../../agent/kernel/verify.ts";
import {
  formatManifestSignature,
  parseManifestSignature,
  signManifest,
} from "../../agent/realm/manifest_signature.ts";
import { Author } from "../../cli/author.ts";
import { readKeyFile } from "../../cli/key_file.ts";
import {
  failed,
  get,
  initRealm,
  NODE,
  startAgent,
  statusOf,
  succeeded,
  until,
  untilRunning,
} from "./agent_process.ts";
import { withSandbox } from "./executable.ts";

const MANIFEST = `
[components.counter]
source = "file:./http-counter.wasm"
world = "wasi:http/proxy"
mounts = [{ volume = "counter", guest = "/data" }]
[components.web]
source = "file:./web.wasm"
world = "wasi:http/proxy"
[components.worker]
source = "file:./worker.wasm"
world = "wasi:cli/command"
clock = true
args = ["0", "50"]
[routing]
"${NODE}" = [
  { path = "/counter/...", component = "counter", strip_prefix = true },
  { path = "/", component = "web" },
]
`;

Deno.test("an agent obeys its owner alone, and does what the owner says", async (t) => {
  await withSandbox(async (sandbox) => {
    const { folder, data, realm, fixtures } = sandbox;
    await fixtures("http-counter", "http-hello", "worker");
    await Deno.rename(`${folder}/http-hello.wasm`, `${folder}/web.wasm`);
    const owner = await initRealm(sandbox, MANIFEST);
    const toml = path.join(folder, "realm.toml");

    await t.step("without an owner it is unclaimed and obeys nothing", async () => {
      assert.deepEqual(failed(await realm("status", "--json")), [5, "unreachable"]);
      const agent = await startAgent(sandbox);
      assert.equal(agent.owner, null);
      assert.deepEqual(failed(await realm("apply", toml, "--yes", "--json")), [3, "unclaimed"]);
      const status = await statusOf(sandbox);
      assert.deepEqual([status.node.owner, status.manifest], [null, null]);
      assert.match(await get(agent.proxy), /^404 /);
      agent.kill("SIGTERM");
      assert.equal((await agent.ended).status, 0);
    });

    await t.step("its files are its user's alone", async () => {
      const mode = (file: string) => (Deno.statSync(path.join(data, file)).mode ?? 0) & 0o777;
      const { ticket } = succeeded(await realm("invite", "--json"));
      const agent = await startAgent(sandbox, "--ticket", ticket);
      assert.equal(agent.owner, owner);
      assert.deepEqual(
        ["", "control.sock", "state.sqlite", "node.key", "owner.key"].map(mode),
        [0o700, 0o600, 0o600, 0o600, 0o600],
      );
      const second = await realm("agent", "--json", "--http", "127.0.0.1:0");
      assert.deepEqual(failed(second), [1, "failed"]);
      assert.match(second.stderr, /another process holds it/);
      agent.kill("SIGINT");
      assert.equal((await agent.ended).status, 0);
    });

    await t.step("it has one owner for good", async () => {
      const other = "ed25519:6MTQsfExBkWNEPpyXUtqoEAJTLYaqtaz3ckf5imj9Lya";
      assert.deepEqual(
        failed(await realm("agent", "--json", "--http", "127.0.0.1:0", "--owner", other)),
        [3, "wrong-owner"],
      );
    });

    const agent = await startAgent(sandbox, "--verbose");
    const { proxy } = agent;
    assert.equal(agent.owner, owner, "it knows its owner again");

    await t.step("apply puts a signed manifest in force", async () => {
      const planned = succeeded(await realm("plan", toml, "--json"));
      const applied = succeeded(await realm("apply", toml, "--yes", "--json"));
      assert.deepEqual(applied.changes, planned.changes);
      assert.deepEqual([applied.version, applied.applied], [1, true]);
      assert.equal(parseManifestSignature(await Deno.readTextFile(`${toml}.sig`)).version, 1);
      await Promise.all(["counter", "web", "worker"].map((each) => untilRunning(sandbox, each)));
      assert.deepEqual([await get(`${proxy}/`), await get(`${proxy}/counter/`)], [
        "200 hello",
        "200 1",
      ]);
      const again = succeeded(await realm("apply", toml, "--yes", "--json"));
      assert.deepEqual([again.version, again.applied], [1, false]);
    });

    await t.step("push replaces a component while it serves", async () => {
      const asked: Promise<string>[] = [];
      const timer = setInterval(() => asked.push(get(`${proxy}/`)), 10);
      const pushed = succeeded(
        await realm("push", "web", `${folder}/http-counter.wasm`, "--json"),
      );
      assert.deepEqual([pushed.version, pushed.applied], [2, true]);
      // http-counter has no volume here, so its /count is 0, where hello says hello.
      await until("the new one serves", async () => (await get(`${proxy}/`)) !== "200 hello");
      clearInterval(timer);
      const { components } = await statusOf(sandbox);
      assert.equal(components.find(({ name }) => name === "web")!.digest, pushed.digest);
      const answers = await Promise.all(asked);
      assert.ok(answers.length > 5, `${answers.length} requests`);
      const wrong = answers.filter((each) =>
        each !== "200 hello" && !each.includes("cannot count")
      );
      assert.deepEqual(wrong, [], "every request found one of the two");
      assert.deepEqual(failed(await realm("push", "gone", toml, "--json")), [4, "not-found"]);
      assert.equal(await get(`${proxy}/counter/count`), "200 1", "its neighbour was left alone");
    });

    await t.step("logs follow a component", async () => {
      const follow = sandbox.start("logs", "worker", "--follow", "--json");
      const ticks: number[] = [];
      while (ticks.length < 5) {
        const line = JSON.parse(await follow.line() ?? assert.fail((await follow.ended).stderr));
        assert.deepEqual([line.kind, line.replica], ["line", 0]);
        if (line.stream === "stdout") ticks.push(Number(/^tick (\d+)$/.exec(line.text)![1]));
      }
      assert.deepEqual(ticks, [1, 2, 3, 4, 5]);
      follow.kill("SIGINT");
      assert.equal((await follow.ended).status, 0);
      assert.deepEqual(failed(await realm("logs", "gone", "--json")), [4, "not-found"]);
    });

    await t.step("restart starts anew, scale changes how many there are", async () => {
      const [before] = await untilRunning(sandbox, "worker");
      assert.equal(succeeded(await realm("restart", "worker", "--json")).restarted, 1);
      await until("the worker is another", async () => {
        const [now] = await untilRunning(sandbox, "worker");
        return now!.startedAtMs! > before!.startedAtMs!;
      });
      succeeded(await realm("scale", "counter", "3", "--json"));
      assert.equal((await untilRunning(sandbox, "counter", 3)).length, 3);
      succeeded(await realm("scale", "counter", "--clear", "--json"));
      await untilRunning(sandbox, "counter", 1);
      assert.equal(await get(`${proxy}/counter/count`), "200 1");
    });

    await t.step("a manifest that is not the owner's next one is refused", async () => {
      const bytes = await Deno.readFile(toml);
      const { digests } = parseManifestSignature(await Deno.readTextFile(`${toml}.sig`));
      const signer = signerOf(await readKeyFile(`${data}/owner.key`), webCryptoBackend());
      const { version } = (await statusOf(sandbox)).manifest!;
      const sign = async (version: number, manifest = bytes, by = signer) =>
        formatManifestSignature(await signManifest(manifest, { version, digests, signer: by }));
      const theirs = signerOf(await otherKeys(), webCryptoBackend());
      const next = await sign(version + 1);
      const tampered = new TextEncoder().encode(
        new TextDecoder().decode(bytes).replace('"/data"', '"/etc"'),
      );
      const flipped = JSON.parse(next);
      flipped.version = version + 2;
      const cases: [manifest: Uint8Array, signature: string, code: string][] = [
        [bytes, await sign(version), "stale"],
        [bytes, await sign(1), "stale"],
        [tampered, next, "digest-mismatch"],
        [bytes, JSON.stringify(flipped), "bad-signature"],
        [bytes, "", "bad-signature"],
        [bytes, await sign(version + 1, bytes, theirs), "wrong-owner"],
      ];
      const control = connectControl(path.join(data, "control.sock"));
      const author = new Author(await readKeyFile(`${data}/owner.key`), "owner.key");
      const tree = { size: 0, root: new Uint8Array(32) };
      for (const [manifest, signature, code] of cases) {
        const content = { type: "control/manifest", payload: { manifest, signature, tree } };
        await assert.rejects(author.append(control, [content]), { code });
      }
      control.close();
      const status = await statusOf(sandbox);
      assert.deepEqual(status.refused.map((r) => r.code), cases.map(([, , c]) => c).reverse());
      assert.equal(status.manifest!.version, version);
      const shown = await realm("status");
      assert.match(shown.stdout, /^! refused version .*wrong-owner/m);
      // The same by the command line: a manifest that names another owner is not even signed.
      const foreign = path.join(folder, "foreign.toml");
      const named = new TextDecoder().decode(bytes)
        .replace(/ed25519:\w+/, "ed25519:6MTQsfExBkWNEPpyXUtqoEAJTLYaqtaz3ckf5imj9Lya");
      await Deno.writeTextFile(foreign, named);
      assert.deepEqual(
        failed(await realm("apply", foreign, "--yes", "--json")),
        [3, "wrong-owner"],
      );
    });

    await t.step("the policy of the node bounds what a manifest may ask", async () => {
      const greedy = path.join(folder, "greedy.toml");
      const text = await Deno.readTextFile(toml);
      await Deno.writeTextFile(
        greedy,
        text.replace('volume = "counter", guest', 'host = "/etc", guest'),
      );
      const refused = await realm("apply", greedy, "--yes", "--json");
      assert.equal(refused.status, 3);
      assert.match(refused.stderr, /"code": "policy"/);
      assert.match(refused.stderr, /\/etc/);
      assert.equal((await statusOf(sandbox)).manifest!.version, 2);
    });

    await t.step("metrics have the names of the contract", async () => {
      const text = await (await fetch(agent.metrics)).text();
      const names = [
        ...["wasm_exec_time_ms", "wasm_restarts_total", "fuel_used_total"],
        ...["epoch_preemptions_total", "mem_current_bytes", "mem_peak_bytes"],
      ];
      for (const name of names) {
        assert.match(text, new RegExp(`^${name}\\{component="worker",replica="0"\\} \\d`, "m"));
      }
      for (const name of ["cpu_percent", "memory_bytes", "disk_bytes", "p2p_links"]) {
        assert.match(text, new RegExp(`^realm_node_${name}(\\{.*\\})? \\d`, "m"));
      }
      assert.match(text, /^realm_components 3$/m);
    });

    await t.step("it ends when told to, and starts again with the same", async () => {
      agent.kill("SIGTERM");
      const { status, stderr } = await agent.ended;
      assert.equal(status, 0);
      assert.equal(stderr, "permissions: read, write, net, env, sys, run\nstopping\n");
      const again = await startAgent(sandbox);
      assert.equal((await statusOf(sandbox)).manifest!.version, 2);
      await Promise.all(["counter", "web", "worker"].map((each) => untilRunning(sandbox, each)));
      assert.equal(await get(`${again.proxy}/counter/`), "200 2");
    });
  });
});

/** Keys of somebody else. */
async function otherKeys() {
  return await keyPairOf(crypto.getRandomValues(new Uint8Array(32)), webCryptoBackend());
}
