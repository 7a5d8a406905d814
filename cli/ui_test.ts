import assert from "node:assert/strict";
import { connectControl } from "../agent/control/client.ts";
import { RealmError } from "../agent/kernel/error.ts";
import type { RemoteAgent } from "../agent/member/remote_agent.ts";
import { withFakeAgent, withOwner } from "./agent_fake.ts";
import { main } from "./app.ts";
import type { Context } from "./context.ts";
import { testShell } from "./shell_fake.ts";
import { PersonsRealm } from "./ui.ts";

/** Waits until it is there; a busy machine may take long. */
async function until<T>(look: () => T | undefined): Promise<T> {
  for (let i = 0; i < 3_000; i++) {
    const seen = look();
    if (seen !== undefined) return seen;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.fail("waited in vain");
}

Deno.test("ui prints a link that logs in, signs what is ordered, and ends when it is interrupted", () =>
  withOwner(async ({ agent, data, folder, realm }) => {
    assert.equal((await realm("apply", "realm.toml", "--yes")).status, 0);
    const interruption = new AbortController();
    const shell = testShell({
      cwd: folder,
      env: { REALM_HOME: data },
      interrupted: interruption.signal,
    });
    const running = main(["ui", "--json"], shell);
    const line = await until(() => /^.*\n/.exec(shell.text("stdout"))?.[0]);
    const { link, url, node } = JSON.parse(line);
    assert.equal(node, "bm-01");
    const { origin } = new URL(url);
    const login = await fetch(`${url}api/login`, {
      method: "POST",
      headers: { origin },
      body: JSON.stringify({ token: link.split("#login=")[1] }),
    });
    const { session } = await login.json();
    const headers = { origin, authorization: `Bearer ${session}` };
    const order = async (what: string, body: unknown) => {
      const init = { method: "POST", headers, body: JSON.stringify(body) };
      return await (await fetch(`${url}api/${what}`, init)).json();
    };
    const { signer } = await (await fetch(`${url}api/about`, { headers })).json();
    assert.equal(signer, agent.owner);
    assert.match((await order("restart", { component: "auth" })).message, /^auth: restarted \d/);
    await order("restart", { component: "auth", nodes: ["bm-01"] });
    assert.match((await order("scale", { component: "auth", replicas: 3 })).message, /3 wanted/);
    assert.match(
      (await order("scale", { component: "auth", replicas: null, node: "bm-01" })).message,
      /on bm-01, as in the manifest/,
    );
    assert.equal(
      (await order("drain", { node: "bm-01", drained: true })).message,
      "bm-01: drained",
    );
    assert.equal((await order("restart", { component: "x" })).error.code, "not-found");
    assert.deepEqual(
      agent.calls.filter((call) => /^(restart|scale|drain) /.test(String(call))),
      [
        "restart auth",
        "restart auth bm-01",
        "scale auth 3",
        "scale auth null bm-01",
        "drain bm-01 true",
      ],
    );
    assert.match(await (await fetch(`${url}page.js`)).text(), /realm-session/);
    interruption.abort();
    assert.equal(await running, 0);
    await assert.rejects(fetch(url));
  }));

Deno.test("ui prints another link for each line that is entered", () =>
  withOwner(async ({ data, folder }) => {
    const interruption = new AbortController();
    const shell = testShell({
      cwd: folder,
      env: { REALM_HOME: data },
      interrupted: interruption.signal,
      terminal: { stdin: true, stdout: true, stderr: true },
      input: ["", ""],
    });
    const running = main(["ui"], shell);
    const links = await until(() => {
      const found = shell.text("stdout").trim().split("\n");
      return found.length === 3 ? found : undefined;
    });
    assert.equal(new Set(links).size, 3);
    for (const link of links) assert.match(link, /^http:\/\/127\.0\.0\.1:\d+\/#login=[\w-]{43}$/);
    interruption.abort();
    assert.equal(await running, 0);
  }));

Deno.test("ui connects once more to a node that went away, and not to one that answers", () =>
  withFakeAgent(async ({ data }) => {
    const own = connectControl(`${data}/control.sock`);
    const made: { isGone: boolean; isClosed: boolean }[] = [];
    const connect = (): Promise<RemoteAgent> => {
      const state = { isGone: false, isClosed: false };
      made.push(state);
      const client = Object.assign(Object.create(own), {
        status: () =>
          state.isGone
            ? Promise.reject(new RealmError("unreachable", "Cannot reach the agent: it went away"))
            : own.status(),
      });
      const close = () => Promise.resolve(void (state.isClosed = true));
      return Promise.resolve({ client, close });
    };
    const context = undefined as unknown as Context; // connect() is all that would look at it
    const realm = new PersonsRealm(context, own, "bm-01", undefined, connect);
    try {
      const first = await realm.agent("bm-02");
      assert.equal(await realm.agent("bm-02"), first);
      assert.equal(made.length, 1);
      made[0]!.isGone = true;
      const [a, b] = await Promise.all([realm.agent("bm-02"), realm.agent("bm-02")]);
      assert.ok(a !== first && a === b);
      assert.deepEqual(made.map(({ isClosed }) => isClosed), [true, false]);
    } finally {
      await realm.close();
      own.close();
    }
    assert.ok(made.every(({ isClosed }) => isClosed));
  }));
