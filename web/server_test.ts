// The page's server over real sockets, without a browser.
import assert from "node:assert/strict";
import { readEvents } from "../agent/control/sse.ts";
import { RealmError } from "../agent/kernel/error.ts";
import { systemClock } from "../agent/node/system_clock.ts";
import { fakeStatus } from "../tui/status_fake.ts";
import { DeltaReader, type LiveEvent } from "./page/live.ts";
import { FakeRealm } from "./realm_fake.ts";
import { serveUi, type UiOptions, type UiServer } from "./server.ts";

interface Subject {
  readonly realm: FakeRealm;
  readonly server: UiServer;
  /** Asks with a session. */
  ask(path: string, init?: RequestInit): Promise<Response>;
  post(path: string, body: unknown): Promise<Response>;
}

const FILES = new Map([
  ["/", { type: "text/html", body: "<!doctype html>" }],
  ["/page.js", { type: "text/javascript", body: "1" }],
]);

function served(
  run: (subject: Subject) => Promise<void>,
  options: Partial<UiOptions> = {},
): () => Promise<void> {
  return async () => {
    const realm = new FakeRealm();
    const server = serveUi({
      realm,
      files: FILES,
      clock: systemClock,
      port: 0,
      pollMs: 10,
      ...options,
    });
    try {
      const { session } = await (await logIn(server, tokenOf(server.link()))).json();
      const ask = (path: string, init: RequestInit = {}) =>
        fetch(server.url + path, {
          ...init,
          headers: {
            authorization: `Bearer ${session}`,
            origin: originOf(server),
            ...init.headers,
          },
        });
      const post = (path: string, body: unknown) =>
        ask(path, { method: "POST", body: JSON.stringify(body) });
      await run({ realm, server, ask, post });
    } finally {
      await server.close();
    }
  };
}

const originOf = ({ url }: UiServer) => new URL(url).origin;
const tokenOf = (link: string) => /#login=(.+)$/.exec(link)![1]!;

function logIn(server: UiServer, token: unknown): Promise<Response> {
  return fetch(`${server.url}api/login`, {
    method: "POST",
    headers: { origin: originOf(server) },
    body: JSON.stringify({ token }),
  });
}

async function statusOnly(response: Promise<Response>): Promise<number> {
  const { status, body } = await response;
  await body?.cancel();
  return status;
}

async function statusAndError(response: Response): Promise<readonly [number, string, string]> {
  const { error } = await response.json();
  return [response.status, error.code, error.message];
}

/** A request as it is written here; `fetch` chooses some headers by itself. */
async function raw(server: UiServer, head: string): Promise<string> {
  const connection = await Deno.connect({
    hostname: "127.0.0.1",
    port: Number(new URL(server.url).port),
  });
  await connection.write(
    new TextEncoder().encode(`${head.replaceAll("\n", "\r\n")}\r\nConnection: close\r\n\r\n`),
  );
  return await new Response(connection.readable).text();
}

Deno.test(
  "the page is served with a policy that lets nothing else in, and nothing frame it",
  served(async ({ server }) => {
    for (const path of ["", "page.js", "api/about", "nothing"]) {
      const response = await fetch(server.url + path);
      await response.body?.cancel();
      const policy = response.headers.get("content-security-policy")!;
      const words = new Map(
        policy.split("; ").map((each) => [each.split(" ")[0], each.split(" ").slice(1).join(" ")]),
      );
      assert.equal(words.get("default-src"), "'none'");
      assert.equal(words.get("script-src"), "'self'");
      assert.equal(words.get("style-src"), "'self'");
      assert.equal(words.get("connect-src"), "'self'");
      assert.equal(words.get("frame-ancestors"), "'none'");
      assert.equal(words.get("form-action"), "'none'");
      assert.doesNotMatch(policy, /unsafe|\*|data:|https?:/);
      assert.equal(response.headers.get("x-content-type-options"), "nosniff");
      assert.equal(response.headers.get("referrer-policy"), "no-referrer");
      assert.equal(response.headers.get("cache-control"), "no-store");
      assert.equal(response.headers.get("set-cookie"), null);
      assert.equal(response.headers.get("access-control-allow-origin"), null);
    }
  }),
);

Deno.test(
  "a link logs in once, and not after its time",
  async () => {
    let nowMs = 0;
    const clock = { ...systemClock, monotonicMs: () => nowMs };
    await served(async ({ server }) => {
      const token = tokenOf(server.link());
      assert.equal((await (await logIn(server, token)).json()).session.length, 43);
      const [status, code, message] = await statusAndError(await logIn(server, token));
      assert.deepEqual([status, code], [401, "refused"]);
      assert.match(message, /used already/);
      const late = tokenOf(server.link());
      nowMs = 10 * 60_000 + 1;
      assert.equal(await statusOnly(logIn(server, late)), 401);
      for (const wrong of ["", "x", 7, null]) {
        const status = await statusOnly(logIn(server, wrong));
        assert.ok([400, 401].includes(status), `${wrong}: ${status}`);
      }
    }, { clock })();
  },
);

Deno.test(
  "a session that is not used for 12 hours is over",
  async () => {
    let nowMs = 0;
    const clock = { ...systemClock, monotonicMs: () => nowMs };
    const idleMs = 12 * 3600_000;
    await served(async ({ ask }) => {
      for (let i = 1; i <= 3; i++) {
        nowMs += idleMs;
        assert.equal(await statusOnly(ask("api/about")), 200, `used in time, ${i}`);
      }
      nowMs += idleMs + 1;
      assert.equal(await statusOnly(ask("api/about")), 401);
      nowMs -= idleMs;
      assert.equal(await statusOnly(ask("api/about")), 401, "it does not come back");
    }, { clock })();
  },
);

Deno.test("a session whose page is open goes on, and is used until it is closed", async () => {
  let nowMs = 0;
  const clock = { ...systemClock, monotonicMs: () => nowMs };
  const idleMs = 12 * 3600_000;
  await served(async ({ server, ask }) => {
    const live = await ask("api/live");
    const reader = live.body!.getReader();
    await reader.read();
    nowMs += 2 * idleMs;
    assert.equal(await statusOnly(ask("api/about")), 200, "it is open");
    // Nor does it make way for others that came later.
    for (let i = 0; i < 20; i++) await statusOnly(logIn(server, tokenOf(server.link())));
    assert.equal(await statusOnly(ask("api/about")), 200, "it is open, and others came");
    nowMs += 2 * idleMs;
    await reader.cancel();
    // The server hears of it a moment later.
    const lateMs = Date.now() + 30_000;
    let status = 200;
    while (status === 200 && Date.now() < lateMs) {
      nowMs += idleMs + 1;
      status = await statusOnly(ask("api/about"));
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    assert.equal(status, 401, "it was closed 12 hours ago");
  }, { clock })();
});

Deno.test("the session that was used longest ago makes way for a seventeenth", async () => {
  await served(async ({ server, ask }) => {
    for (let i = 0; i < 20; i++) {
      assert.equal(await statusOnly(logIn(server, tokenOf(server.link()))), 200);
      assert.equal(await statusOnly(ask("api/about")), 200, `in use, ${i} others came`);
    }
    for (let i = 0; i < 16; i++) await statusOnly(logIn(server, tokenOf(server.link())));
    assert.equal(await statusOnly(ask("api/about")), 401);
  })();
});

Deno.test("who logs in is in, also where all others have their page open", async () => {
  await served(async ({ server, ask }) => {
    const readers: ReadableStreamDefaultReader[] = [];
    for (let i = 0; i < 17; i++) {
      const { session } = await (await logIn(server, tokenOf(server.link()))).json();
      const headers = { authorization: `Bearer ${session}` };
      const live = await ask("api/live", { headers });
      assert.equal(live.status, 200, `${i} have it open`);
      readers.push(live.body!.getReader());
      await readers.at(-1)!.read();
    }
    for (const reader of readers) await reader.cancel();
  })();
});

Deno.test("a server closes though an answer does not come to an end", async () => {
  const asked = Promise.withResolvers<void>();
  const never = Promise.withResolvers<string>();
  const slept: number[] = [];
  const clock = {
    ...systemClock,
    sleep: (ms: number, signal?: AbortSignal) => {
      slept.push(ms);
      return ms === 5_000 ? Promise.resolve() : systemClock.sleep(ms, signal);
    },
  };
  let answer: Promise<unknown> | undefined;
  await served(async ({ realm, post }) => {
    realm.drain = () => {
      asked.resolve();
      return never.promise;
    };
    answer = post("api/drain", { node: "bm-01", drained: true })
      .then((response) => response.body?.cancel(), (error) => error);
    await asked.promise;
  }, { clock })();
  assert.ok(slept.includes(5_000));
  never.resolve("late");
  await answer;
});

Deno.test(
  "nothing is told and nothing is done without a session",
  served(async ({ server, realm }) => {
    const headers = { origin: originOf(server) };
    for (const authorization of [undefined, "Bearer ", "Bearer x", "Basic x"]) {
      const given = authorization === undefined ? headers : { ...headers, authorization };
      for (
        const path of ["about", "live", "samples", "logs?component=auth", "history", "manifest"]
      ) {
        const response = await fetch(`${server.url}api/${path}`, { headers: given });
        assert.deepEqual((await statusAndError(response)).slice(0, 2), [401, "refused"], path);
      }
      for (const path of ["plan", "restart", "scale", "drain"]) {
        const init = { method: "POST", headers: given, body: '{"component":"auth"}' };
        const response = await fetch(`${server.url}api/${path}`, init);
        assert.deepEqual((await statusAndError(response)).slice(0, 2), [401, "refused"], path);
      }
    }
    // The token of a link is no session.
    const init = { headers: { authorization: `Bearer ${tokenOf(server.link())}` } };
    const response = await fetch(`${server.url}api/about`, init);
    assert.equal((await statusAndError(response))[0], 401);
    assert.deepEqual(realm.orders, []);
  }),
);

Deno.test(
  "what another page asks is refused, also with a session",
  served(async ({ server, realm, ask }) => {
    const order = { method: "POST", body: '{"component":"auth"}' };
    for (
      const headers of [
        { origin: "http://evil.example" },
        { origin: "http://127.0.0.1:1" },
        { origin: "null" },
        { "sec-fetch-site": "cross-site" },
        { "sec-fetch-site": "same-site" },
      ]
    ) {
      for (const [path, init] of [["restart", order], ["about", {}], ["live", {}]] as const) {
        const response = await ask(`api/${path}`, { ...init, headers });
        assert.deepEqual((await statusAndError(response)).slice(0, 2), [403, "refused"], path);
      }
    }
    const url = new URL(server.url);
    const said = await raw(
      server,
      `POST /api/login HTTP/1.1\nHost: ${url.host}\nContent-Length: 0`,
    );
    assert.match(said, /^HTTP\/1.1 403/, "a POST says where it comes from");
    assert.deepEqual(realm.orders, []);
  }),
);

Deno.test(
  "a request for another host is refused: a name that leads here is an attack",
  served(async ({ server }) => {
    const { port } = new URL(server.url);
    for (
      const host of [
        "evil.example",
        `evil.example:${port}`,
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "10.0.0.1",
        "",
      ]
    ) {
      for (const path of ["/", "/page.js", "/api/about"]) {
        assert.match(
          await raw(server, `GET ${path} HTTP/1.1\nHost: ${host}`),
          /^HTTP\/1.1 4(?:21|00)/,
          `"${host}" ${path}`,
        );
      }
    }
    for (const host of [`127.0.0.1:${port}`, "localhost:9999", "[::1]:1", "localhost"]) {
      assert.match(await raw(server, `GET / HTTP/1.1\nHost: ${host}`), /^HTTP\/1.1 200/, host);
    }
  }),
);

Deno.test(
  "orders reach the realm as they were given, and what is malformed does not",
  served(async ({ realm, post, ask }) => {
    const message = async (path: string, body: unknown) =>
      (await (await post(`api/${path}`, body)).json()).message;
    assert.equal(await message("restart", { component: "auth" }), "restart done");
    await message("restart", { component: "auth", nodes: ["bm-01"] });
    await message("scale", { component: "auth", replicas: 3 });
    await message("scale", { component: "auth", replicas: null, node: "bm-01" });
    await message("drain", { node: "bm-01", drained: true });
    assert.deepEqual(realm.orders, [
      ["restart", "auth", []],
      ["restart", "auth", ["bm-01"]],
      ["scale", "auth", 3, null],
      ["scale", "auth", null, "bm-01"],
      ["drain", "bm-01", true],
    ]);
    const wrong: [string, unknown][] = [
      ["restart", {}],
      ["restart", { component: "" }],
      ["restart", { component: 7 }],
      ["restart", { component: "a", nodes: "bm-01" }],
      ["restart", { component: "a", nodes: [""] }],
      ["restart", { component: "a".repeat(201) }],
      ["restart", null],
      ["restart", []],
      ["scale", { component: "a" }],
      ["scale", { component: "a", replicas: -1 }],
      ["scale", { component: "a", replicas: 1.5 }],
      ["scale", { component: "a", replicas: 1_001 }],
      ["scale", { component: "a", replicas: "3" }],
      ["drain", { node: "a" }],
      ["plan", {}],
      ["plan", { version: 0 }],
    ];
    for (const [path, body] of wrong) {
      const said = await statusAndError(await post(`api/${path}`, body));
      assert.deepEqual(said.slice(0, 2), [400, "usage"], `${path} ${JSON.stringify(body)}`);
    }
    const noJson = await ask("api/restart", { method: "POST", body: "{" });
    assert.equal((await statusAndError(noJson))[0], 400);
    const long = await ask("api/plan", { method: "POST", body: "x".repeat(1024 * 1024 + 1) });
    assert.deepEqual((await statusAndError(long)).slice(0, 2), [413, "limit-exceeded"]);
    assert.equal(realm.orders.length, 5);
    realm.key = undefined;
    const unsigned = await statusAndError(await post("api/restart", { component: "auth" }));
    assert.equal(unsigned[1], "not-found");
    const about = await (await ask("api/about")).json();
    assert.deepEqual([about.signer, about.problem], [null, "Cannot sign: there is no key"]);
  }),
);

Deno.test(
  "agents are asked: samples, history, plans, and another node by its name",
  served(async ({ realm, ask, post }) => {
    const json = async (response: Promise<Response>) => await (await response).json();
    assert.deepEqual((await json(ask("api/samples"))).values, { cpu: [1] });
    assert.deepEqual((await json(ask("api/samples?component=auth"))).values, { cpu: [2] });
    assert.deepEqual(await json(ask("api/history")), { versions: [] });
    assert.deepEqual(await json(ask("api/manifest")), { text: "x = 1\n" });
    const nameOf = (plan: { changes: { name: string }[] }) => plan.changes[0]!.name;
    assert.equal(nameOf(await json(post("api/plan", { manifest: "y" }))), "y");
    assert.equal(nameOf(await json(post("api/plan", { version: 2 }))), "x = 1\n{}");
    assert.equal(await statusOnly(post("api/plan", { version: 9 })), 404);
    assert.equal(await statusOnly(ask("api/samples?node=bm-02")), 404);
    realm.others.set("bm-02", {
      ...realm.own,
      samples: () => Promise.resolve({ atMs: [], values: { cpu: [7] } }),
    });
    assert.deepEqual((await json(ask("api/samples?node=bm-02"))).values, { cpu: [7] });
    assert.equal(await statusOnly(ask("api/samples?since=x")), 400);
    assert.equal(await statusOnly(ask("api/nothing")), 404);
  }),
);

Deno.test(
  "a live stream tells the status, then what changes, and that the agent is gone",
  served(async ({ realm, ask }) => {
    const response = await ask("api/live");
    const events = readEvents(response.body!);
    const reader = new DeltaReader();
    const next = async () => JSON.parse((await events.next()).value!.data) as LiveEvent;
    const until = async <T>(look: (event: LiveEvent) => T | undefined): Promise<T> => {
      while (true) {
        const seen = look(await next());
        if (seen !== undefined) return seen;
      }
    };
    const first = await until((event) => event.kind === "status" ? reader.next(event) : undefined);
    assert.deepEqual(first, fakeStatus());
    realm.state = fakeStatus({ majority: false });
    const changed = await until((event) =>
      event.kind === "status" && event.set.length > 0 ? event : undefined
    );
    assert.deepEqual(changed.set, [["majority", false]]);
    realm.failure = new RealmError("unreachable", "Cannot reach the agent", { hint: "Run it" });
    const reason = await until((event) => event.kind === "gone" ? event.reason : undefined);
    assert.equal(reason, "Cannot reach the agent. Run it");
    realm.failure = undefined;
    await until((event) => event.kind === "status" ? true : undefined);
    await events.return();
  }),
);

Deno.test("an order wakes live streams, however seldom they look", async () => {
  await served(async ({ realm, ask, post }) => {
    const events = readEvents((await ask("api/live")).body!);
    await events.next();
    realm.state = fakeStatus({ majority: false });
    // Without being woken it would look again in an hour.
    const { body } = await post("api/restart", { component: "auth" });
    await body?.cancel();
    const told = JSON.parse((await events.next()).value!.data);
    assert.deepEqual(told.set, [["majority", false]]);
    await events.return();
  }, { pollMs: 3_600_000 })();
});

Deno.test(
  "a log is streamed with what was missed, ends when its reader leaves, and says what is wrong",
  served(async ({ realm, ask }) => {
    const left = Promise.withResolvers<void>();
    realm.lines = async function* (component, signal) {
      if (component === "gone") throw new RealmError("not-found", "Cannot find component");
      yield { kind: "line", replica: 0, wallMs: 1, stream: "stdout", text: "hello" };
      yield { kind: "missed", lines: 7 };
      await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
      left.resolve();
    };
    const events = readEvents((await ask("api/logs?component=auth")).body!);
    assert.equal(JSON.parse((await events.next()).value!.data).text, "hello");
    assert.deepEqual(JSON.parse((await events.next()).value!.data), { kind: "missed", lines: 7 });
    await events.return();
    await left.promise;
    const [wrong] = await Array.fromAsync(readEvents((await ask("api/logs?component=gone")).body!));
    assert.equal(wrong!.event, "error");
    assert.equal(JSON.parse(wrong!.data).code, "not-found");
  }),
);

Deno.test(
  "streams are bounded, and one that ends makes room",
  served(async ({ ask }) => {
    const open: AsyncGenerator<unknown>[] = [];
    while (true) {
      const response = await ask("api/live");
      if (response.status !== 200) {
        assert.deepEqual((await statusAndError(response)).slice(0, 2), [429, "limit-exceeded"]);
        break;
      }
      const events = readEvents(response.body!);
      await events.next();
      open.push(events);
      assert.ok(open.length <= 100);
    }
    await open.pop()!.return(undefined);
    while (await statusOnly(ask("api/live")) !== 200) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    for (const each of open) await each.return(undefined);
  }),
);
