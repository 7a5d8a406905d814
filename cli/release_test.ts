import assert from "node:assert/strict";
import type { Rollout } from "../agent/control/api.ts";
import { sha256Hex } from "../agent/kernel/sha256.ts";
import { parseManifestSignature } from "../agent/realm/manifest_signature.ts";
import { type CommandTest, withFakeAgent } from "./agent_fake.ts";

const FIXTURES = new URL("../fixtures/", import.meta.url);
const fixture = (name: string) => Deno.readFile(new URL(name, FIXTURES));

interface ReleaseTest extends CommandTest {
  readonly owner: string;
  /** Writes realm.toml with these components and, at its end, this text. */
  write(components?: Readonly<Record<string, string>>, more?: string): Promise<void>;
}

const HANDLER = 'source = "file:./hello.wasm"\nworld = "wasi:http/proxy"';

/** An owner with a manifest of one component in the current folder, and an agent of theirs. */
function withRelease(test: (parts: ReleaseTest) => Promise<void>): Promise<void> {
  return withFakeAgent(async (parts) => {
    const { agent, folder, realm } = parts;
    const made = await realm("init", "--name", "shop", "--json");
    assert.equal(made.status, 0, made.stderr);
    const { owner } = JSON.parse(made.stdout);
    agent.owner = owner;
    await Deno.writeFile(`${folder}/hello.wasm`, await fixture("http-hello.wasm"));
    const write = async (
      components: Readonly<Record<string, string>> = { hello: HANDLER },
      more = "",
    ) => {
      const tables = Object.entries(components).map(([name, keys]) =>
        `[components.${name}]\n${keys}\n`
      );
      await Deno.writeTextFile(
        `${folder}/realm.toml`,
        `[owner]\npubkey = "${owner}"\n[nodes.bm-01]\n${tables.join("")}[routing]\n"bm-01" = [` +
          Object.entries(components).filter(([, keys]) => keys.includes("wasi:http"))
            .map(([name]) => `{ path = "/${name}/...", component = "${name}" }`).join(", ") +
          `]\n${more}`,
      );
    };
    await write();
    await test({ ...parts, owner, write });
  });
}

const isThere = (file: string) => Deno.lstat(file).then(() => true, () => false);

Deno.test("plan shows what would change, and changes nothing", () =>
  withRelease(async ({ agent, folder, realm }) => {
    const { status, stdout, stderr } = await realm("plan", "realm.toml");
    assert.equal(status, 0, stderr);
    assert.match(stdout, /^\+ component hello\n +digest +sha256:[0-9a-f]{12}…$/m);
    const json = JSON.parse((await realm("plan", "realm.toml", "--json")).stdout);
    assert.equal(json.digests.hello, await sha256Hex(await fixture("http-hello.wasm")));
    assert.equal(json.currentVersion, null);
    assert.deepEqual(agent.calls, ["plan", "plan"]);
    assert.equal(await isThere(`${folder}/realm.toml.sig`), false);
  }));

Deno.test("plan goes without the owner key, and says what that costs", () =>
  withRelease(async ({ agent, folder, realm }) => {
    await Deno.remove(`${folder}/../home/owner.key`);
    const { status, stderr } = await realm("plan", "realm.toml");
    assert.equal(status, 0, stderr);
    assert.match(stderr, /^No owner key .* not compared$/m);
    assert.deepEqual(agent.calls, ["plan unsigned"]);
    assert.equal((await realm("apply", "realm.toml", "--yes")).status, 4);
  }));

Deno.test("apply asks, signs the next version, uploads, and writes the signature", () =>
  withRelease(async ({ agent, folder, owner, realm, terminal, write }) => {
    const no = await terminal([""], "apply", "realm.toml");
    assert.equal(no.status, 1);
    assert.match(no.stderr, /Apply as version 1\? \[y\/N\] Nothing was applied\n$/);
    assert.deepEqual([agent.current, await isThere(`${folder}/realm.toml.sig`)], [null, false]);

    const yes = await terminal(["y"], "apply", "realm.toml");
    assert.equal(yes.status, 0, yes.stderr);
    assert.match(yes.stdout, /applied version 1, signature in realm\.toml\.sig\n$/);
    const signature = await Deno.readTextFile(`${folder}/realm.toml.sig`);
    assert.equal(signature, `${agent.current?.signature}\n`);
    assert.equal(parseManifestSignature(signature).key, owner);
    const digest = await sha256Hex(await fixture("http-hello.wasm"));
    assert.deepEqual(await agent.blobs.get(digest), await fixture("http-hello.wasm"));

    await write({ hello: HANDLER + "\nmemory_max_mb = 64" });
    const again = await realm("apply", "realm.toml", "--yes", "--json");
    assert.equal(again.status, 0, again.stderr);
    const answer = JSON.parse(again.stdout);
    assert.deepEqual([answer.version, answer.applied], [2, true]);
    assert.deepEqual(
      Array.from(Deno.readDirSync(folder), ({ name }) => name).sort(),
      ["hello.wasm", "realm.toml", "realm.toml.sig"],
      "nothing is left behind",
    );
  }));

Deno.test("apply does nothing where nothing changes, and applies what is only text", () =>
  withRelease(async ({ agent, realm, write }) => {
    await realm("apply", "realm.toml", "--yes");
    const same = await realm("apply", "realm.toml");
    assert.deepEqual([same.status, same.stdout], [0, "No changes\n"]);
    const json = JSON.parse((await realm("apply", "realm.toml", "--json")).stdout);
    assert.deepEqual([json.applied, json.version], [false, 1]);
    await write(undefined, "# a comment\n");
    assert.equal((await realm("apply", "realm.toml", "--yes")).status, 0);
    assert.equal(agent.current?.version, 2);
  }));

Deno.test("apply joins branches of the owner's key though nothing else changes", () =>
  withRelease(async ({ agent, realm }) => {
    await realm("apply", "realm.toml", "--yes");
    agent.forked = true;
    const joined = await realm("apply", "realm.toml", "--yes");
    assert.match(joined.stdout, /^! joins what .* at once\nNo changes\napplied version 2/);
    assert.equal(agent.current?.version, 2);
  }));

Deno.test("the first apply begins the log, approves the node, and keeps what was scaled", () =>
  withRelease(async ({ agent, owner, realm }) => {
    const [self] = agent.state.nodes;
    const components = [{ ...agent.state.components[0]!, name: "hello", scaledTo: 4 }];
    agent.state = { ...agent.state, components, nodes: [{ ...self!, state: "pending" }] };
    const { name, key } = agent.state.node;
    const approval = `+ approves this node ${name} ${key}\n`;
    const { stdout: planned } = await realm("plan", "realm.toml");
    assert.ok(planned.startsWith(approval), planned);
    const { status, stdout, stderr } = await realm("apply", "realm.toml", "--yes");
    assert.equal(status, 0, stderr);
    assert.ok(stdout.startsWith(approval), stdout);
    assert.deepEqual(agent.calls, [
      "plan",
      "plan",
      "genesis",
      `approve ${name} ${key}`,
      "apply 1",
      "scale hello 4",
    ]);
    assert.deepEqual([...new Set(agent.signers)], [owner]);
    const again = JSON.parse((await realm("apply", "realm.toml", "--yes", "--json")).stdout);
    assert.deepEqual([again.applied, again.approved], [false, undefined]);
  }));

Deno.test("apply of the same tries again what went back, and says so", () =>
  withRelease(async ({ agent, folder, realm }) => {
    await realm("apply", "realm.toml", "--yes");
    const [component] = agent.state.components;
    const rollout: Rollout = {
      state: "returned",
      version: 1,
      wanted: 1,
      settled: 1,
      waitsFor: [],
      refusedBy: [],
      failure: { version: 2, node: "bm-01", evidence: "GET /: 500" },
    };
    agent.state = { ...agent.state, components: [{ ...component!, name: "hello", rollout }] };
    const again = "! tries hello again, which went back from version 2\nNo changes\n";
    assert.equal((await realm("plan", "realm.toml")).stdout, again);
    const retries = [{ component: "hello", version: 2 }];
    const json = async (verb: string, ...words: string[]) =>
      JSON.parse((await realm(verb, "realm.toml", "--json", ...words)).stdout);
    assert.deepEqual((await json("plan")).retries, retries);
    const applied = await realm("apply", "realm.toml", "--yes");
    assert.ok(applied.stdout.startsWith(`${again}applied version 2`), applied.stdout);
    assert.equal(agent.current?.version, 2);
    assert.deepEqual((await json("apply", "--yes")).retries, retries);
    // One that changes is another, and one that is gone is not tried.
    const toml = await Deno.readTextFile(`${folder}/realm.toml`);
    for (
      const other of [
        toml.replace("[components.hello]", "[components.hello]\nmemory_max_mb = 64"),
        toml.replaceAll("hello]", "other]").replaceAll('"hello"', '"other"'),
      ]
    ) {
      assert.notEqual(other, toml);
      await Deno.writeTextFile(`${folder}/realm.toml`, other);
      const { stdout, stderr } = await realm("plan", "realm.toml");
      assert.doesNotMatch(stdout, /again/);
      assert.match(stdout, /component/, stderr);
      assert.deepEqual((await json("plan")).retries, []);
    }
  }));

Deno.test("nothing is applied by way of a machine that was revoked", () =>
  withRelease(async ({ agent, realm }) => {
    const [self] = agent.state.nodes;
    agent.state = { ...agent.state, nodes: [{ ...self!, state: "revoked" }] };
    for (const verb of ["plan", "apply"]) {
      const { status, stderr } = await realm(verb, "realm.toml");
      assert.deepEqual([status, /by way of bm-01: it was revoked/.test(stderr)], [3, true], stderr);
    }
    assert.equal(agent.current, null);
  }));

Deno.test("apply never asks where nobody can answer", () =>
  withRelease(async ({ agent, realm, terminal }) => {
    for (
      const { status, stderr } of [
        await realm("apply", "realm.toml"),
        await terminal(["y"], "apply", "realm.toml", "--json"),
      ]
    ) {
      assert.equal(status, 2);
      assert.match(stderr, /--yes/);
    }
    assert.equal(agent.current, null);
  }));

Deno.test("apply refuses when another manifest was applied since the plan", () =>
  withRelease(async ({ agent, folder, realm, terminal }) => {
    // Another laptop is faster: here while the question is open, there before the plan.
    await realm("apply", "realm.toml", "--yes");
    const first = agent.current!;
    agent.current = null;
    agent.afterPlan = () => agent.current = first;
    const late = await terminal(["y"], "apply", "realm.toml");
    assert.equal(late.status, 3);
    assert.match(late.stderr, /error\[stale\]: .* applied after the plan was made\nhint: Run the/);

    await Deno.remove(`${folder}/realm.toml.sig`);
    agent.afterPlan = () => {};
    agent.current = null;
    const plan = agent.plan.bind(agent);
    agent.plan = (request) => ({ ...plan(request), currentVersion: 7 });
    assert.equal((await realm("apply", "realm.toml", "--yes")).status, 3);
    assert.equal(await isThere(`${folder}/realm.toml.sig`), false);
  }));

Deno.test("apply does what was confirmed, and with --yes plans again while nodes come and go", () =>
  withRelease(async ({ agent, realm, terminal, write }) => {
    let left = 2;
    const nodes = () => {
      if (left-- > 0) agent.world = `${left}`.repeat(64);
    };
    agent.afterPlan = nodes;
    const asked = await terminal(["y"], "apply", "realm.toml");
    assert.equal(asked.status, 3);
    assert.match(asked.stderr, /error\[stale\]: .* nodes would do something else now/);
    assert.equal(agent.current, null);

    left = 2;
    const { status, stderr } = await realm("apply", "realm.toml", "--yes");
    assert.equal(status, 0, stderr);
    assert.equal(stderr.match(/another one than when the plan was made/g)?.length, 2);
    assert.equal(agent.worlds.at(-1), agent.world);

    let plans = 0;
    agent.afterPlan = () => agent.world = `${++plans % 10}`.repeat(64);
    await write(undefined, "# another text\n");
    const never = await realm("apply", "realm.toml", "--yes");
    assert.equal(never.status, 3, never.stderr);
    assert.equal(agent.current!.version, 1);
    assert.ok(plans < 10, `${plans} plans`);
  }));

Deno.test("plan and apply stop at what the policy of the node does not allow", () =>
  withRelease(async ({ agent, realm }) => {
    agent.violations = ["components.hello.memory_max_mb is 128, the ceiling is 64"];
    for (const argv of [["plan"], ["apply", "--yes"]]) {
      const { status, stdout, stderr } = await realm(...argv, "realm.toml");
      assert.equal(status, 3);
      assert.match(stdout, /\d to add/, "the plan is shown all the same");
      assert.match(stderr, /error\[policy\]: [^]*the ceiling is 64\nhint: /);
    }
    assert.equal(agent.current, null);
  }));

Deno.test("plan tells which nodes refuse a manifest now, and goes on", () =>
  withRelease(async ({ agent, realm }) => {
    agent.refusing = [{ node: "bm-02", version: 3, why: "64 MiB\n  are \x1b[31mtoo much" }];
    const { status, stdout } = await realm("plan", "realm.toml");
    assert.equal(status, 0);
    assert.match(
      stdout,
      /\n\n! bm-02 refuses version 3 and may refuse this: 64 MiB are .*too much\n/,
    );
    assert.ok(!stdout.includes("\x1b"));
    const json = JSON.parse((await realm("plan", "realm.toml", "--json")).stdout);
    assert.deepEqual(json.refusing, agent.refusing);
  }));

Deno.test("apply refuses a manifest before anything is asked of the agent", () =>
  withRelease(async ({ agent, folder, realm, write }) => {
    const refusals: [keys: string, status: number, message: RegExp][] = [
      [
        HANDLER + "\nmemory_mx_mb = 1",
        1,
        /invalid-config[^]*memory_mx_mb.*nearest is memory_max_mb/,
      ],
      [
        HANDLER + "\nhealth = { export = true }",
        1,
        /unsupported\]: Cannot use component "hello"[^]*exports wasi:http[^]*wants realm:health\/check@0\.1\.0/,
      ],
      [
        HANDLER + `\nsha256 = "${"0".repeat(64)}"`,
        3,
        /digest-mismatch\]: Cannot use component "hello"/,
      ],
      [HANDLER.replace("hello.wasm", "none.wasm"), 4, /not-found\]: Cannot use component "hello"/],
      [
        HANDLER.replace("http/proxy", "cli/command"),
        1,
        /unsupported[^]*as wasi:cli\/command: it fits/,
      ],
      [
        HANDLER.replace("hello.wasm", "realm.toml"),
        1,
        /invalid-module\]: Cannot use component "hello"/,
      ],
    ];
    for (const [keys, wanted, message] of refusals) {
      await write({ hello: keys });
      const { status, stdout, stderr } = await realm("apply", "realm.toml", "--yes");
      assert.match(stderr, message);
      assert.deepEqual([status, stdout], [wanted, ""], keys);
    }
    const absent = await realm("apply", "none.toml", "--yes");
    assert.deepEqual([absent.status, /hint: Run realm init/.test(absent.stderr)], [4, true]);
    await Deno.writeFile(`${folder}/realm.toml`, Uint8Array.of(0x23, 0xff));
    assert.match((await realm("plan", "realm.toml")).stderr, /invalid-config\].*not UTF-8/);
    assert.deepEqual(agent.calls, []);
  }));

Deno.test("apply signs only what names the owner's key", () =>
  withRelease(async ({ agent, folder, owner, realm }) => {
    const file = `${folder}/realm.toml`;
    const text = await Deno.readTextFile(file);
    const other = "ed25519:11111111111111111111111111111111";
    await Deno.writeTextFile(file, text.replace(owner, other));
    const { status, stderr } = await realm("apply", "realm.toml", "--yes");
    assert.equal(status, 3);
    assert.match(
      stderr,
      /wrong-owner\]: Cannot sign "realm\.toml": its owner\.pubkey is ed25519:111/,
    );
    assert.equal(agent.current, null);
  }));

Deno.test("plan, apply and push need an agent", () =>
  withRelease(async ({ realm, stop }) => {
    await stop();
    for (const argv of [["plan", "realm.toml"], ["apply", "realm.toml", "--yes"]]) {
      assert.equal((await realm(...argv)).status, 5, argv.join(" "));
    }
    assert.equal((await realm("push", "hello", "hello.wasm")).status, 5);
  }));

Deno.test("push replaces the bytes of one component in the manifest in force", () =>
  withRelease(async ({ agent, folder, realm, write }) => {
    const nothing = await realm("push", "hello", "hello.wasm");
    assert.deepEqual([nothing.status, /no manifest is in force/.test(nothing.stderr)], [4, true]);

    await Deno.writeFile(`${folder}/worker.wasm`, await fixture("worker.wasm"));
    await write({
      hello: HANDLER,
      worker: 'source = "file:worker.wasm"\nworld = "wasi:cli/command"',
    });
    await realm("apply", "realm.toml", "--yes");
    const before = agent.current!;
    const bytes = await fixture("http-counter.wasm");
    await Deno.writeFile(`${folder}/next.wasm`, bytes);
    const { status, stdout, stderr } = await realm("push", "hello", "next.wasm");
    assert.equal(status, 0, stderr);
    assert.equal(stdout, "pushed hello as version 2\n");
    assert.match(stderr, /~ component hello\n +digest/);
    assert.deepEqual(agent.current?.manifest, before.manifest, "not one byte of it changes");
    const [was, is] = [before, agent.current!].map((m) => parseManifestSignature(m.signature));
    assert.equal(is!.digests.get("hello"), await sha256Hex(bytes));
    assert.equal(is!.digests.get("worker"), was!.digests.get("worker"));
    assert.deepEqual(await agent.blobs.get(is!.digests.get("hello")!), bytes);

    const again = await realm("push", "hello", "next.wasm", "--json");
    assert.deepEqual(JSON.parse(again.stdout).applied, false);
    assert.equal(agent.current?.version, 2);
  }));

Deno.test("rollback signs a manifest of before again, under a new version", () =>
  withRelease(async ({ agent, realm, write }) => {
    await write({ hello: HANDLER });
    await realm("apply", "realm.toml", "--yes");
    const first = agent.current!;
    await write({ hello: `${HANDLER}\nmemory_max_mb = 64` });
    await realm("apply", "realm.toml", "--yes");
    agent.steps = [{ node: "bm-01", action: "replace", component: "hello", replicas: 1 }];

    const none = await realm("rollback", "7", "--yes");
    assert.deepEqual([none.status, /no manifest of it was in force/.test(none.stderr)], [4, true]);
    const asked = await realm("rollback", "1");
    assert.equal(asked.status, 2, "it asks, and nobody can answer");
    assert.equal(agent.current!.version, 2);

    const { status, stdout, stderr } = await realm("rollback", "1", "--yes");
    assert.equal(status, 0, stderr);
    assert.match(stdout, /~ component hello\n +memory_max_mb[^]*on bm-01\n +replace 1 of hello/);
    assert.match(stdout, /applied version 1 again, as version 3\n$/);
    assert.equal(agent.current!.version, 3);
    assert.deepEqual(agent.current!.manifest, first.manifest);
    const [was, is] = [first, agent.current!].map((m) => parseManifestSignature(m.signature));
    assert.deepEqual(is!.digests, was!.digests);
    assert.deepEqual(agent.worlds.at(-1), "0".repeat(64), "what was shown is what is applied");
  }));

Deno.test("apply --wait ends when every replica runs it, and fails when it goes back", () =>
  withRelease(async ({ agent, realm, write }) => {
    await write({ hello: HANDLER });
    const rolling = {
      state: "rolling" as const,
      version: 1,
      wanted: 2,
      settled: 1,
      waitsFor: ["bm-02"],
      refusedBy: [],
      failure: null,
    };
    const failure = { version: 2, node: "bm-02", evidence: "GET /healthz: 503\n  last line" };
    agent.state = { ...agent.state, components: agent.state.components.slice(0, 1) };
    agent.rollouts = [rolling, { ...rolling, state: "complete", settled: 2, waitsFor: [] }];
    const good = await realm("apply", "realm.toml", "--yes", "--wait");
    assert.equal(good.status, 0, good.stderr);
    assert.match(good.stderr, /auth is rolling: 1 of 2, waits for bm-02/);

    await write({ hello: `${HANDLER}\nmemory_max_mb = 64` });
    agent.rollouts = [{ ...rolling, state: "returned", settled: 2, waitsFor: [], failure }];
    const bad = await realm("apply", "realm.toml", "--yes", "--wait", "--json");
    assert.equal(bad.status, 1);
    assert.match(
      bad.stderr,
      /auth failed on bm-02 and went back to version 1: GET \/healthz: 503\n {2}last line/,
    );
    assert.deepEqual(JSON.parse(bad.stdout).failed, [
      { component: "auth", version: 1, node: "bm-02", evidence: failure.evidence },
    ]);

    await write({ hello: `${HANDLER}\nmemory_max_mb = 67` });
    const refusedBy = [{ node: "bm-02", version: 3, why: "Cannot run the manifest on bm-02" }];
    agent.rollouts = [{ ...rolling, state: "refused", waitsFor: [], refusedBy }];
    const refused = await realm("apply", "realm.toml", "--yes", "--wait");
    assert.equal(refused.status, 1, "it does not run everywhere");
    assert.match(refused.stderr, /auth is refused by bm-02, version 3: Cannot run the manifest/);

    await write({ hello: `${HANDLER}\nmemory_max_mb = 65` });
    const givenUpBy = [{ node: "bm-03", replicas: 1, why: "its bytes cannot be had" }];
    agent.rollouts = [{ ...rolling, givenUpBy }];
    const late = await realm("apply", "realm.toml", "--yes", "--wait", "--timeout", "1ms");
    assert.equal(late.status, 1);
    assert.match(
      late.stderr,
      /--timeout.*auth is rolling: 1 of 2, waits for bm-02, given up by bm-03 \(1\), tried again: its bytes cannot be had/,
    );
    assert.match(late.stdout, /applied version 4/);
    const again = await realm("apply", "realm.toml", "--wait", "--timeout", "1ms", "--json");
    assert.equal(again.status, 1, "nothing changes, and what was applied before is not there yet");
    assert.equal(JSON.parse(again.stdout).applied, false);
    // Of a node that is only approved, too.
    const [self] = agent.state.nodes;
    agent.state = { ...agent.state, nodes: [{ ...self!, state: "pending" }] };
    const words = ["apply", "realm.toml", "--yes", "--wait", "--timeout", "1ms", "--json"];
    const approving = await realm(...words);
    assert.equal(approving.status, 1);
    const { applied, approved, failed } = JSON.parse(approving.stdout);
    assert.deepEqual([applied, approved.name, failed], [false, agent.state.node.name, []]);

    await write({ hello: `${HANDLER}\nmemory_max_mb = 66` });
    agent.rollouts = [{ ...rolling, state: "complete", settled: 2, waitsFor: [] }];
    const unplaced = [{ replicas: 1, why: "two is not live" }];
    agent.state = {
      ...agent.state,
      components: agent.state.components.map((each) => ({ ...each, unplaced })),
    };
    const homeless = await realm("apply", "realm.toml", "--yes", "--wait", "--timeout", "1ms");
    assert.equal(homeless.status, 1, "what has no place does not run");
    assert.match(homeless.stderr, /--timeout.*1 of auth: two is not live/);
  }));

Deno.test("push refuses another component, another world, and what the manifest pins", () =>
  withRelease(async ({ agent, folder, realm, write }) => {
    const digest = await sha256Hex(await fixture("http-hello.wasm"));
    await write({ hello: `${HANDLER}\nsha256 = "${digest}"` });
    await realm("apply", "realm.toml", "--yes");
    await Deno.writeFile(`${folder}/next.wasm`, await fixture("http-counter.wasm"));
    await Deno.writeFile(`${folder}/command.wasm`, await fixture("hello.wasm"));
    const refusals: [argv: string[], status: number, message: RegExp][] = [
      [["helo", "next.wasm"], 4, /not-found\].*wanted a component: hello/],
      [["hello", "none.wasm"], 4, /not-found\]/],
      [["hello", "command.wasm"], 1, /unsupported\].*as wasi:http\/proxy/],
      [["hello", "next.wasm"], 3, /digest-mismatch\].*pins sha256 .*\nhint: Change or remove/],
    ];
    for (const [argv, wanted, message] of refusals) {
      const { status, stderr } = await realm("push", ...argv);
      assert.match(stderr, message);
      assert.equal(status, wanted);
    }
    assert.equal(agent.current?.version, 1);
  }));

Deno.test("apply takes p2p: components from the agent, by digest", () =>
  withRelease(async ({ agent, realm, write }) => {
    const bytes = await fixture("http-hello.wasm");
    const digest = await sha256Hex(bytes);
    await write({ hello: `source = "p2p:${digest}"\nworld = "wasi:http/proxy"` });
    const missing = await realm("apply", "realm.toml", "--yes");
    assert.equal(missing.status, 4, missing.stderr);
    assert.match(missing.stderr, /not-found.*hello.*it is not there/);
    await agent.blobs.put(bytes);
    const there = await realm("apply", "realm.toml", "--yes");
    assert.equal(there.status, 0, there.stderr);
    assert.equal(parseManifestSignature(agent.current!.signature).digests.get("hello"), digest);
  }));
