import assert from "node:assert/strict";
import "../tests/wasm_tools.ts";
import { formatAppTicket } from "../agent/apps/topic/app_ticket.ts";
import { openerOf } from "../agent/apps/topic/payload_keys.ts";
import { someCid } from "../agent/apps/topic/topic_fake.ts";
import { formatPublicKey } from "../agent/kernel/key.ts";
import { STATUS } from "../agent/control/fake_api.ts";
import { RealmError } from "../agent/kernel/error.ts";
import { withFakeAgent } from "./agent_fake.ts";

const base64 = (text: string) => new TextEncoder().encode(text).toBase64();
const text = (base64: string) => new TextDecoder().decode(Uint8Array.fromBase64(base64));
const [TOPIC] = STATUS.topics;
const event = { event: "bafyevent", type: "add", reason: null, fuel: 9, final: false };

Deno.test("app call prints the verdict of each event, and whether it is final", () =>
  withFakeAgent(async ({ agent, realm }) => {
    agent.answers.call = { refused: null, events: [{ ...event, verdict: "accepted" }] };
    const called = await realm("app", "call", "lunch", "add", "5");
    assert.equal(called.stderr, "");
    assert.equal(called.stdout, "accepted (not final)  add  bafyevent\n");
    assert.deepEqual(agent.asked.call, { topic: "lunch", intent: "add", input: base64("5") });
    // A string of JSON stands for its text.
    await realm("app", "call", "lunch", "create", '"Tea?\\nyes\\nno"');
    assert.equal(text((agent.asked.call as { input: string }).input), "Tea?\nyes\nno");
    await realm("app", "call", "lunch", "create", '{"a": 1}');
    assert.equal(text((agent.asked.call as { input: string }).input), '{"a": 1}');
    agent.answers.call = {
      refused: null,
      events: [{ ...event, verdict: "rejected", reason: "too late\u001b", final: true }],
    };
    const late = await realm("app", "call", "lunch", "add", "5");
    assert.equal(late.status, 1);
    assert.equal(late.stdout, "rejected: too late\\u{1b} (final)  add  bafyevent\n");
    agent.answers.call = { refused: "closed", events: [] };
    const refused = await realm("app", "call", "lunch", "add", "5", "--json");
    assert.equal(refused.status, 3);
    assert.equal(JSON.parse(refused.stderr).error.code, "refused");
  }));

Deno.test("app state shows texts as such and other bytes in hexadecimal digits", () =>
  withFakeAgent(async ({ agent, realm }) => {
    agent.answers.state = {
      entries: [{ key: base64("total"), value: "AAAAAAAAAAU=" }, {
        key: base64("a\x1b"),
        value: base64("b\nc"),
      }],
      more: true,
      digest: STATUS.topics[0]!.digest,
    };
    const { stdout } = await realm("app", "state", "lunch", "0x746f", "--at", "bafyevent");
    assert.deepEqual(stdout.split("\n").map((line) => line.trimEnd()), [
      "KEY     VALUE",
      "total   0x0000000000000005",
      "0x611b  b\\nc",
      "and more",
      `digest ${TOPIC!.digest}`,
      "",
    ]);
    assert.deepEqual(agent.asked.state, {
      topic: "lunch",
      prefix: base64("to"),
      at: "bafyevent",
      limit: 1000,
    });
    assert.equal((await realm("app", "state", "lunch", "0xzz")).status, 2);
  }));

Deno.test("app topics and status list topics, with what is wrong", () =>
  withFakeAgent(async ({ agent, realm }) => {
    const topics = [{ ...TOPIC!, state: "needs-bundle", why: "bundle x is not installed" }];
    agent.answers.topics = { topics };
    agent.state = { ...agent.state, topics: [TOPIC!] };
    const listed = await realm("app", "topics");
    assert.match(listed.stdout, /^NAME .*\nlunch {2}poll {2}needs-bundle/);
    assert.match(listed.stdout, /! lunch: bundle x is not installed\n$/);
    assert.match((await realm("status")).stdout, /lunch {2}poll {2}running/);
    assert.deepEqual(JSON.parse((await realm("app", "topics", "--json")).stdout), topics);
  }));

Deno.test("bundles that a topic needs come from peers, by app join and by their CID", () =>
  withFakeAgent(async ({ agent, folder, realm, terminal }) => {
    await realm("app", "new", "memo");
    const { bundle } = JSON.parse((await realm("app", "build", "memo", "--json")).stdout);
    const packed = await Deno.readFile(`${folder}/memo/memo-0.1.0.bundle`);
    const waiting = { ...TOPIC!, app: bundle, state: "needs-bundle", needs: bundle };
    agent.answers.join = { topic: waiting };
    agent.answers.topics = { topics: [waiting] };
    agent.answers.bundle = { bytes: packed.toBase64() };
    agent.answers.changed = {};
    const refused = await realm("app", "join", "realmapp1x");
    assert.equal(refused.status, 2, "nobody can answer");
    assert.deepEqual(JSON.parse((await realm("app", "ls", "--json")).stdout), []);
    assert.deepEqual(agent.asked.bundle, { bundle });
    assert.equal((await terminal(["n"], "app", "join", "realmapp1x")).status, 3);
    assert.deepEqual(JSON.parse((await realm("app", "ls", "--json")).stdout), []);
    // What was not installed then is installed later, without the ticket.
    const installed = await realm("app", "install", bundle, "--yes");
    assert.equal(installed.status, 0, installed.stderr);
    assert.match(installed.stdout, /^installed memo 0\.1\.0\n/);
    agent.calls.splice(0);
    const joined = await realm("app", "join", "realmapp1x", "--yes");
    assert.equal(joined.status, 0, joined.stderr);
    // Once for each that is needed, whatever the agent says afterwards.
    assert.deepEqual(agent.calls, ["join", "topics", "bundle", "changed", "topics"]);
  }));

Deno.test("app join installs what a topic needs of its own app only, and takes no app back", () =>
  withFakeAgent(async ({ agent, folder, realm, terminal }) => {
    await realm("app", "new", "memo");
    const build = async () => JSON.parse((await realm("app", "build", "memo", "--json")).stdout);
    const { bundle: older } = await build();
    const toml = `${folder}/memo/bundle.toml`;
    const text = await Deno.readTextFile(toml);
    await Deno.writeTextFile(
      toml,
      text.replace('"0.1.0"', '"0.2.0"')
        .replace("capabilities = [", 'follows = "memo-0.1.0.bundle"\ncapabilities = ["event", '),
    );
    const { bundle: newer, file } = await build();
    agent.answers.changed = {};
    await realm("app", "install", file, "--yes");
    const apps = async () => JSON.parse((await realm("app", "ls", "--json")).stdout);
    const before = await apps();
    assert.deepEqual(before[0].grants, ["event", "state-write"]);
    const bytes = async (version: string) =>
      (await Deno.readFile(`${folder}/memo/memo-${version}.bundle`)).toBase64();

    // Whoever may upgrade a topic names the bundle, whichever it is.
    const needs = (app: string, needed: string) => {
      const topic = { ...TOPIC!, app, state: "needs-bundle", needs: needed };
      agent.answers.join = { topic };
      agent.answers.topics = { topics: [topic] };
    };
    needs("bafyother", older);
    agent.answers.bundle = { bytes: await bytes("0.1.0") };
    for (const words of [["join", "realmapp1x"], ["install", older]]) {
      const { status, stderr } = await realm("app", ...words, "--yes");
      assert.equal(status, 3);
      assert.match(
        stderr,
        new RegExp(`lunch: it is of app ${older} \\(memo 0.1.0\\), wanted bafyo`),
      );
    }
    const kept = `${folder}/../home/apps/${older}.bundle`;
    await assert.rejects(Deno.stat(kept), Deno.errors.NotFound);

    needs(older, older);
    assert.equal((await realm("app", "join", "realmapp1x")).status, 2, "nothing new is asked for");
    await assert.rejects(Deno.stat(kept), Deno.errors.NotFound);
    const asked = await terminal(["y"], "app", "join", "realmapp1x");
    assert.equal(asked.status, 0, asked.stderr);
    assert.match(
      asked.stderr,
      /lunch needs memo 0\.1\.0\npublisher +ed25519:.*\n.*\ninstalled +0\.2\.0\n[^]*change its own state/,
    );
    assert.deepEqual(await apps(), before, "it stays on the newer one, with its grants");
    assert.equal((await Deno.readFile(kept)).toBase64(), await bytes("0.1.0"));
    const installed = await realm("app", "install", older);
    assert.match(
      installed.stdout,
      /^kept memo 0\.1\.0 for topics that need it; memo stays 0\.2\.0\n/,
    );

    // The other way round it goes on with the newer one, and loses nothing that was granted.
    await realm("app", "install", "memo/memo-0.1.0.bundle");
    needs(older, newer);
    agent.answers.bundle = { bytes: await bytes("0.2.0") };
    assert.equal((await realm("app", "join", "realmapp1x", "--yes")).status, 0);
    assert.deepEqual(await apps(), before);
  }));

Deno.test("app install CID asks for what no topic needs, or a former key signed, and takes no app back", () =>
  withFakeAgent(async ({ agent, folder, realm, terminal }) => {
    await realm("app", "new", "memo");
    const { bundle: older, publisher } = JSON.parse(
      (await realm("app", "build", "memo", "--json")).stdout,
    );
    const toml = `${folder}/memo/bundle.toml`;
    const text = await Deno.readTextFile(toml);
    await Deno.writeTextFile(
      toml,
      text.replace('"0.1.0"', '"0.2.0"')
        .replace("capabilities = [", 'follows = "memo-0.1.0.bundle"\ncapabilities = ["event", '),
    );
    const key = `${folder}/../home/publisher.key`;
    await Deno.rename(key, `${folder}/former.key`);
    await realm("app", "build", "memo", "--former-key", `${folder}/former.key`);
    agent.answers.changed = {};
    await realm("app", "install", "memo/memo-0.2.0.bundle", "--yes");
    const apps = async () => JSON.parse((await realm("app", "ls", "--json")).stdout);
    const before = await apps();
    assert.deepEqual([before[0].successions, before[0].grants], [1, ["event", "state-write"]]);

    const packed = await Deno.readFile(`${folder}/memo/memo-0.1.0.bundle`);
    agent.answers.bundle = { bytes: packed.toBase64() };
    const kept = `${folder}/../home/apps/${older}.bundle`;
    const topic = { ...TOPIC!, app: older, needs: older };
    for (const topics of [[], [topic]]) {
      agent.answers.topics = { topics };
      assert.equal((await realm("app", "install", older)).status, 2, "nobody can answer");
      await assert.rejects(Deno.stat(kept), Deno.errors.NotFound);
      const who = topics.length === 0 ? `bundle ${older} is` : "topic lunch needs";
      const asked = await terminal(["y"], "app", "install", older);
      assert.equal(asked.status, 0, asked.stderr);
      assert.ok(asked.stderr.includes(`${who} memo 0.1.0\npublisher  ${publisher}, which handed`));
      assert.match(
        asked.stdout,
        /^kept memo 0\.1\.0 for topics that need it; memo stays 0\.2\.0\n/,
      );
      assert.deepEqual(await apps(), before);
      await Deno.remove(kept);
    }
    const file = await realm("app", "install", "memo/memo-0.1.0.bundle");
    assert.match(file.stderr, /^error\[stale\]: .* signed by key 1 of its app, wanted key 2/);
  }));

Deno.test("app join installs no more bundles than it says", () =>
  withFakeAgent(async ({ agent, folder, realm }) => {
    await realm("app", "new", "memo");
    const { bundle } = JSON.parse((await realm("app", "build", "memo", "--json")).stdout);
    const packed = await Deno.readFile(`${folder}/memo/memo-0.1.0.bundle`);
    agent.answers.join = { topic: TOPIC };
    agent.answers.bundle = { bytes: packed.toBase64() };
    agent.answers.changed = {};
    let looks = 0;
    Object.defineProperty(agent.answers, "topics", {
      get: () => ({
        topics: [{ ...TOPIC!, app: bundle, state: "needs-bundle", needs: `bafy${looks++}` }],
      }),
    });
    const { status, stderr } = await realm("app", "join", "realmapp1x", "--yes");
    assert.equal(status, 0, stderr);
    assert.equal(agent.calls.filter((call) => call === "bundle").length, 16);
    assert.match(stderr, /more bundles than the 16 .* realm app install bafy16/);
  }));

Deno.test("app verify fails where applying anew comes to something else", () =>
  withFakeAgent(async ({ agent, realm }) => {
    const digest = TOPIC!.digest;
    agent.answers.verify = { equal: true, digest, again: digest, events: 3, fuel: 7 };
    assert.match((await realm("app", "verify", "lunch")).stdout, /^equal: 3 events, 7 fuel\n/);
    agent.answers.verify = { equal: false, digest, again: "00".repeat(32), events: 3, fuel: 7 };
    const { status, stdout } = await realm("app", "verify", "lunch");
    assert.equal(status, 1);
    assert.match(stdout, /^DIFFERENT/);
  }));

Deno.test("commands about topics are for this machine only, and need its agent", () =>
  withFakeAgent(async ({ realm, stop }) => {
    assert.equal((await realm("app", "topics", "--node", "bm-02")).status, 2);
    await stop();
    const { status, stderr } = await realm("app", "create", "counter");
    assert.equal(status, 5);
    assert.match(stderr, /hint: Run realm agent/);
  }));

Deno.test("app open wants a terminal, and a topic that runs", () =>
  withFakeAgent(async ({ realm, terminal, agent }) => {
    const { status, stderr } = await realm("app", "open", "lunch");
    assert.equal(status, 2);
    assert.match(stderr, /there is no terminal/);
    agent.answers.topics = { topics: [] };
    Object.assign(agent.apps, {
      view: () => {
        throw new RealmError("not-found", "Cannot find topic");
      },
    });
    assert.equal((await terminal([], "app", "open", "lunch")).status, 4);
  }));

Deno.test("app create, join, invite, leave and remove ask what they are told", () =>
  withFakeAgent(async ({ agent, realm }) => {
    agent.answers.create = agent.answers.join = { topic: TOPIC };
    agent.answers.topics = { topics: [TOPIC] };
    agent.answers.invite = { ticket: "realmapp1word" };
    agent.answers.leave = { topic: "bafytopic" };
    agent.answers.remove = { event: "bafyevent" };
    const made = await realm("app", "create", "poll", "--param", "a=b=c", "--encrypted");
    assert.match(made.stdout, /^topic +bafytopic\nname +lunch\n/);
    assert.deepEqual(agent.asked.create, {
      app: "poll",
      params: [["a", base64("b=c")]],
      encrypted: true,
    });
    assert.equal((await realm("app", "join", "realmapp1word", "--name", "tea")).status, 0);
    assert.deepEqual(agent.asked.join, { ticket: "realmapp1word", name: "tea", keep: false });
    const waiting = { ...TOPIC!, state: "starting", role: "none", why: "no events" };
    agent.answers.topics = { topics: [waiting] };
    const late = await realm("app", "join", "realmapp1word", "--wait", "0s");
    assert.match(late.stdout, /^state +starting: no events$/m);
    assert.match(late.stderr, /^You take no part yet/m);
    agent.answers.topics = { topics: [TOPIC] };
    assert.equal((await realm("app", "join", "realmapp1word")).stderr, "");
    assert.equal((await realm("app", "keep", "realmapp1word")).status, 0);
    assert.deepEqual(agent.asked.join, { ticket: "realmapp1word", keep: true });
    const invited = await realm("app", "invite", "lunch", "--role", "keeper");
    assert.equal(invited.stdout, "realmapp1word\n");
    assert.deepEqual(agent.asked.invite, { topic: "lunch", role: "keeper" });
    assert.equal((await realm("app", "invite", "lunch", "--role", "king")).status, 2);
    assert.equal((await realm("app", "leave", "lunch", "--forget")).stdout, "left bafytopic\n");
    assert.deepEqual(agent.asked.leave, { topic: "lunch", forget: true });
    agent.answers.invite = { ticket: "realmapp1word", nodes: 0 };
    assert.match((await realm("app", "invite", "lunch")).stderr, /warning: it names no machine/);
    agent.answers.leave = { topic: "bafytopic", told: 0, kept: 3 };
    const { stderr } = await realm("app", "leave", "lunch");
    assert.match(stderr, /^Nobody heard of it/m);
    assert.match(stderr, /^Its events stay here .* leave --forget bafytopic deletes them/m);
    await realm("app", "remove", "lunch", "ed25519:x");
    assert.deepEqual(agent.asked.remove, { topic: "lunch", key: "ed25519:x" });
    const seed = new Uint8Array(32).fill(7);
    const ticket = {
      topic: someCid("topic"),
      bundle: someCid("bundle"),
      peers: [],
      invite: { seed, role: "member" },
      state: undefined,
    } as const;
    await realm("app", "remove", "lunch", formatAppTicket(ticket));
    const key = formatPublicKey(openerOf(seed).publicKey);
    assert.deepEqual(agent.asked.remove, { topic: "lunch", key });
    assert.equal((await realm("app", "remove", "lunch", "realmapp1cut")).status, 2);
  }));
