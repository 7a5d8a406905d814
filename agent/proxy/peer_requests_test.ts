import assert from "node:assert/strict";
import fc from "fast-check";
import { eventually, type NetworkKind, PeerHub } from "../../tests/peer_network.ts";
import { RealmError } from "../kernel/error.ts";
import type { HandlerRequest, HandlerResponse, PeerStream, Replica } from "../kernel/ports.ts";
import { PeerRequests, type PeerRequestsInit } from "./peer_requests.ts";
import { type PeerReplicas, PeerUpstreams } from "./peer_upstream.ts";
import {
  DATA,
  emptyFrame,
  encodeFrame,
  END,
  FAILED,
  FrameChannel,
  GO,
  HTTP_PROTOCOL,
  jsonFrame,
  readRequestHead,
  readResponseHead,
  REFUSED,
  REQUEST,
  RESPONSE,
} from "./peer_wire.ts";
import { type ProxyServer, type RequestRecord, serveProxy } from "./proxy.ts";
import { Upstream } from "./upstream.ts";

const encode = (text: string) => new TextEncoder().encode(text);
const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

type Handle = (request: HandlerRequest) => Promise<HandlerResponse>;

const replicaOf = (handle: Handle): Replica => ({ exited: new Promise(() => {}), handle }) as never;

const saying = (text: string): Handle => async () => ({
  status: 200,
  headers: [["content-type", "text/plain"]],
  body: encode(text),
});

/** A machine with a proxy, replicas of `shop`, and the replicas of the others. */
interface Machine {
  readonly name: string;
  readonly base: string;
  readonly upstream: Upstream;
  readonly peers: PeerUpstreams;
  readonly requests: PeerRequests;
  readonly records: RequestRecord[];
}

interface MachineOptions {
  readonly here?: readonly Handle[];
  readonly maxConcurrency?: number;
  readonly queueMax?: number;
  readonly requestTimeoutMs?: number;
  /** Whether others are to run `shop`, whatever they report. */
  readonly isExpected?: boolean;
  readonly answering?: Partial<PeerRequestsInit>;
}

class Realm {
  readonly hub: PeerHub;
  /** Who says that it runs `shop`. */
  reports: PeerReplicas[] = [];
  readonly machines: Machine[] = [];
  readonly #servers: ProxyServer[] = [];

  constructor(kind: NetworkKind) {
    this.hub = new PeerHub(kind);
  }

  async machine(name: string, options: MachineOptions = {}): Promise<Machine> {
    const { here = [], maxConcurrency = 8, requestTimeoutMs = 60_000, queueMax = 8 } = options;
    const network = await this.hub.join(name);
    const peers = new PeerUpstreams({
      network,
      replicasOf: (component) =>
        component === "shop" ? this.reports.filter(({ peer }) => peer !== name) : [],
      isExpected: () => options.isExpected ?? false,
    });
    const upstream = new Upstream({
      component: "shop",
      maxConcurrency,
      requestTimeoutMs,
      queueMax,
      elsewhere: peers.of("shop"),
    }, here.map(replicaOf));
    const requests = new PeerRequests({
      network,
      upstreamOf: (component) => component === "shop" ? upstream : undefined,
      ...options.answering,
    });
    const records: RequestRecord[] = [];
    const server = serveProxy({
      hostname: "127.0.0.1",
      port: 0,
      route: () => ({ route: "/...", upstream }),
      onRequest: (record) => records.push(record),
    });
    this.#servers.push(server);
    if (here.length > 0) this.reports.push({ peer: name, running: here.length });
    const base = `http://127.0.0.1:${server.port}`;
    const machine = { name, base, upstream, peers, requests, records };
    this.machines.push(machine);
    return machine;
  }

  /** A node that answers streams as it likes, and says that it runs `shop`. */
  async liar(name: string, answer: (channel: FrameChannel) => Promise<void>): Promise<void> {
    (await this.hub.join(name)).handle(HTTP_PROTOCOL, (stream) => {
      const channel = new FrameChannel(stream);
      answer(channel).catch(() => channel.abort());
    });
    this.reports.push({ peer: name, running: 1 });
  }

  async close(): Promise<void> {
    for (const server of this.#servers) await server.close(0);
    for (const { peers, requests } of this.machines) {
      peers.close();
      requests.close();
    }
    await this.hub.close();
  }
}

async function withRealm(
  use: (realm: Realm) => Promise<void>,
  kind: NetworkKind = "memory",
): Promise<void> {
  const realm = new Realm(kind);
  try {
    await use(realm);
    for (const { name, upstream } of realm.machines) {
      await eventually(() => upstream.load.inFlight === 0, `${name} is free`);
    }
    await eventually(
      () => realm.hub.open.size === realm.machines.reduce((sum, m) => sum + m.peers.idle, 0),
      "no stream is open but those that are kept",
    );
  } finally {
    await realm.close();
  }
}

const KINDS: NetworkKind[] = ["memory", "libp2p"];

/** Those that come last, because libp2p has timers of its own that end by themselves. */
const overLibp2p: (() => void)[] = [];

function testOn(kinds: NetworkKind[], name: string, run: (realm: Realm) => Promise<void>): void {
  if (kinds.includes("memory")) Deno.test(name, () => withRealm(run));
  if (!kinds.includes("libp2p")) return;
  const options = { sanitizeOps: false, sanitizeResources: false };
  overLibp2p.push(() => Deno.test(`${name} (libp2p)`, options, () => withRealm(run, "libp2p")));
}

testOn(
  KINDS,
  "a request is answered by a replica elsewhere, with the address of its client",
  async (realm) => {
    const seen: unknown[] = [];
    await realm.machine("b", {
      here: [async (request) => {
        const body = await new Response(request.body as never).text();
        seen.push({
          method: request.method,
          url: request.url,
          body,
          ...Object.fromEntries(request.headers),
        });
        return {
          status: 201,
          headers: [["set-cookie", "a=1"], ["set-cookie", "b=2"], ["x-own", "\xe4"]],
          body: encode("made"),
        };
      }],
    });
    const a = await realm.machine("a");
    const response = await fetch(`${a.base}/x/y?z=%20`, {
      method: "PUT",
      body: "hello",
      headers: { "x-forwarded-for": "6.6.6.6", "x-mine": "1" },
    });
    assert.equal(await response.text(), "made");
    assert.equal(response.status, 201);
    assert.deepEqual(response.headers.getSetCookie(), ["a=1", "b=2"]);
    const { method, url, body, ...headers } = seen[0] as Record<string, string>;
    assert.deepEqual([method, url, body], ["PUT", `${a.base}/x/y?z=%20`, "hello"]);
    assert.equal(headers["x-forwarded-for"], "127.0.0.1");
    assert.equal(headers["x-forwarded-host"], new URL(a.base).host);
    assert.equal(headers["x-mine"], "1");
    await eventually(() => a.records.length === 1, "a record");
    assert.equal(a.records[0]!.outcome, "ok");
  },
);

testOn(KINDS, "bodies of every size and form go both ways, over the same stream", async (realm) => {
  await realm.machine("b", {
    here: [async ({ body, url }) => {
      const bytes = new Uint8Array(await new Response(body as never).arrayBuffer());
      const form = new URL(url).searchParams.get("form");
      const answer = form === "whole" ? bytes : form === "none" ? null : new Blob([bytes]).stream();
      return { status: 200, headers: [], body: answer };
    }],
  });
  const a = await realm.machine("a");
  for (const size of [0, 1, 65_535, 65_536, 65_537, 1_000_000]) {
    const sent = new Uint8Array(size).map((_, i) => i * 7);
    for (const form of ["whole", "stream", "none"]) {
      const response = await fetch(`${a.base}/?form=${form}`, { method: "POST", body: sent });
      const got = new Uint8Array(await response.arrayBuffer());
      assert.deepEqual(got, form === "none" ? new Uint8Array() : sent, `${size} ${form}`);
    }
  }
  await eventually(() => a.peers.idle === 1, "the stream is kept");
  assert.equal(realm.hub.opened, 1);
});

testOn(
  ["memory"],
  "replicas here come first; elsewhere is where there are none, or no room",
  async (realm) => {
    const release = Promise.withResolvers<void>();
    const slow: Handle = async () => {
      await release.promise;
      return { status: 200, headers: [], body: encode("here") };
    };
    await realm.machine("b", { here: [saying("b")] });
    const a = await realm.machine("a", { here: [slow], maxConcurrency: 1 });
    const first = fetch(a.base).then((r) => r.text());
    await eventually(() => a.upstream.load.inFlight === 1, "the place here is taken");
    assert.equal(await (await fetch(a.base)).text(), "b");
    release.resolve();
    assert.equal(await first, "here");
    assert.equal(await (await fetch(a.base)).text(), "here");
    await a.upstream.setReplicas([]);
    assert.equal(await (await fetch(a.base)).text(), "b");
  },
);

testOn(
  ["memory"],
  "a request makes one hop: who has no replica refuses, and the next one is asked",
  async (realm) => {
    const [a, b, c] = [
      await realm.machine("a"),
      await realm.machine("b"),
      await realm.machine("c", { here: [saying("c")] }),
    ];
    // All say that they run it; two have stopped meanwhile.
    realm.reports = ["a", "b", "c"].map((peer) => ({ peer, running: 1 }));
    for (let i = 0; i < 5; i++) {
      for (const { base } of [a, b]) {
        const body = i % 2 ? { method: "POST", body: "x" } : {};
        assert.equal(await (await fetch(base, body)).text(), "c");
      }
    }
    await c.upstream.setReplicas([]);
    for (const body of [{}, { method: "POST", body: "x" }]) {
      const response = await fetch(a.base, body);
      assert.equal(response.status, 503);
      assert.match(await response.text(), /no healthy replica/);
    }
  },
);

testOn(
  ["memory"],
  "where all other nodes are busy a request waits for its turn here",
  async (realm) => {
    const release = Promise.withResolvers<void>();
    const slow = (text: string): Handle => async () => {
      await release.promise;
      return { status: 200, headers: [], body: encode(text) };
    };
    const b = await realm.machine("b", { here: [slow("b")], maxConcurrency: 1, queueMax: 0 });
    const a = await realm.machine("a", { here: [slow("a")], maxConcurrency: 1, queueMax: 1 });
    const answers = [0, 1].map(() => fetch(a.base).then((r) => r.text()));
    await eventually(() => b.upstream.load.inFlight + a.upstream.load.inFlight === 2, "both busy");
    answers.push(fetch(a.base).then((r) => r.text()));
    await eventually(() => a.upstream.load.waiting === 1, "the third one waits");
    const fourth = await fetch(a.base);
    assert.equal(fourth.status, 503);
    assert.match(await fourth.text(), /all replicas are busy/);
    release.resolve();
    assert.deepEqual((await Promise.all(answers)).toSorted(), ["a", "a", "b"]);
  },
);

testOn(
  KINDS,
  "who stops lets requests of other nodes end, and sends those that come to others",
  async (realm) => {
    const came = Promise.withResolvers<void>();
    const release = Promise.withResolvers<void>();
    const taken: string[] = [];
    const b = await realm.machine("b", {
      here: [async ({ method, body }) => {
        taken.push(method);
        if (method === "GET") return { status: 200, headers: [], body: encode("b") };
        const bytes = new Uint8Array(await new Response(body as never).arrayBuffer());
        came.resolve();
        await release.promise;
        return { status: 200, headers: [], body: new Blob([bytes, bytes]).stream() };
      }],
    });
    await realm.machine("c", { here: [saying("c")] });
    // B is asked first, for as long as it can be.
    realm.reports = [{ peer: "b", running: 1 }, { peer: "c", running: 1, choice: 1 }];
    const a = await realm.machine("a");
    const sent = new Uint8Array(300_000).fill(7);
    const write = fetch(a.base, { method: "POST", body: sent });
    await came.promise;
    // A stream beside it, which is kept.
    assert.equal(await (await fetch(a.base)).text(), "b");
    await eventually(() => a.peers.idle === 1, "it is kept");
    let isClosed = false;
    const closing = b.requests.close(600_000).then(() => isClosed = true);
    // Sent on the stream that is kept, whose end has not come: B does not take it.
    const crossing = await a.peers.of("shop").handle({
      method: "PUT",
      url: "http://shop/",
      headers: [],
      body: null,
      signal: new AbortController().signal,
    });
    assert.equal(decode(crossing.body as Uint8Array), "c");
    for (let i = 0; i < 3; i++) assert.equal(await (await fetch(a.base)).text(), "c");
    assert.deepEqual([b.upstream.load.inFlight, isClosed], [1, false]);
    assert.deepEqual(taken, ["POST", "GET"]);
    release.resolve();
    const answer = await write;
    assert.equal(answer.status, 200);
    assert.equal((await answer.arrayBuffer()).byteLength, 2 * sent.length);
    await closing;
    await eventually(() => b.requests.streams === 0, "no stream is left");
  },
);

testOn(KINDS, "an answer that was sent around a stop comes whole", async (realm) => {
  const may = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const b = await realm.machine("b", {
    here: [async ({ url }) => {
      await may[url.endsWith("/0") ? 0 : 1]!.promise;
      return { status: 200, headers: [], body: encode("b") };
    }],
  });
  const streams = [await rawStream(realm), await rawStream(realm)];
  for (const [i, stream] of streams.entries()) {
    const head = { component: "shop", method: "POST", url: `http://h/${i}`, headers: [] };
    await stream.write(jsonFrame(REQUEST, { ...head, hasBody: false }));
  }
  await eventually(() => b.upstream.load.inFlight === 2, "both are taken");
  may[0]!.resolve();
  await eventually(() => b.upstream.load.inFlight === 1, "one is answered");
  await sleep(20); // its answer has been handed to the network, and nobody has read it
  let isClosed = false;
  const closing = b.requests.close(600_000).then(() => isClosed = true);
  may[1]!.resolve();
  await eventually(() => b.upstream.load.inFlight === 0, "the other is answered");
  for (const stream of streams) {
    await sleep(20); // what would cut it has cut it
    assert.equal(isClosed, false);
    const channel = new FrameChannel(stream);
    assert.equal((await channel.take())?.kind, RESPONSE);
    assert.equal(decode((await channel.take())!.bytes), "b");
    assert.equal(await channel.take(), null);
    await stream.end();
  }
  await closing;
  assert.equal(b.requests.streams, 0);
});

testOn(["memory"], "who stops waits for no stream longer than it is to", async (realm) => {
  const b = await realm.machine("b", { here: [saying("b")] });
  const stream = await rawStream(realm); // whose other end never ends it
  await eventually(() => b.requests.streams === 1, "it has come");
  await b.requests.close(50);
  await eventually(() => b.requests.streams === 0, "it is cut");
  stream.abort();
});

testOn(["memory"], "who stops waits for no request longer than it is to", async (realm) => {
  const aborted = Promise.withResolvers<void>();
  const b = await realm.machine("b", {
    here: [({ signal }) =>
      new Promise((_, reject) =>
        signal.addEventListener("abort", () => {
          aborted.resolve();
          reject(signal.reason);
        })
      )],
  });
  const a = await realm.machine("a");
  const write = fetch(a.base, { method: "POST", body: "x" });
  await eventually(() => b.upstream.load.inFlight === 1, "it is under way");
  await b.requests.close(50);
  await aborted.promise;
  const answer = await write;
  assert.equal(answer.status, 502);
  await answer.body?.cancel();
});

testOn(["memory"], "load is shared by the replicas that nodes report", async (realm) => {
  const counts: Record<string, number> = { b: 0, c: 0 };
  const release = Promise.withResolvers<void>();
  const counting = (name: string): Handle => async () => {
    counts[name]!++;
    await release.promise;
    return { status: 200, headers: [], body: null };
  };
  await realm.machine("b", { here: [counting("b")], maxConcurrency: 100 });
  await realm.machine("c", { here: [counting("c"), counting("c")], maxConcurrency: 100 });
  const a = await realm.machine("a");
  const all = Array.from({ length: 30 }, () => fetch(a.base).then((r) => r.body?.cancel()));
  await eventually(() => counts.b! + counts.c! === 30, "all have come");
  release.resolve();
  await Promise.all(all);
  assert.deepEqual(counts, { b: 10, c: 20 });
  await eventually(() => a.peers.idle === 30, "their streams are kept");
});

testOn(
  KINDS,
  "a component that fails elsewhere gives 502, and says no more than here",
  async (realm) => {
    await realm.machine("b", {
      here: [async () => {
        throw new RealmError("out-of-fuel", "secret path /root/x");
      }],
    });
    const a = await realm.machine("a");
    const response = await fetch(a.base);
    assert.equal(response.status, 502);
    const text = await response.text();
    assert.match(text, /it trapped: it used all of its fuel/);
    assert.doesNotMatch(text, /secret/);
    const record = await (async () => {
      await eventually(() => a.records.length === 1, "a record");
      return a.records[0]!;
    })();
    assert.equal(record.outcome, "failed");
    assert.doesNotMatch(String(record.error), /secret/);
  },
);

testOn(
  KINDS,
  "a client that leaves cancels the request elsewhere, before and within the response",
  async (realm) => {
    const asked = Promise.withResolvers<void>();
    const aborted: string[] = [];
    const cancelled: string[] = [];
    await realm.machine("b", {
      here: [async ({ url, signal }) => {
        if (url.endsWith("/head")) {
          asked.resolve();
          return await new Promise((_, reject) =>
            signal.addEventListener("abort", () => {
              aborted.push("head");
              reject(signal.reason);
            })
          );
        }
        const body = new ReadableStream<Uint8Array>({
          pull: (controller) => controller.enqueue(new Uint8Array(10_000)),
          cancel: () => void cancelled.push("body"),
        });
        return { status: 200, headers: [], body };
      }],
    });
    const a = await realm.machine("a");
    const stop = new AbortController();
    const head = fetch(`${a.base}/head`, { signal: stop.signal });
    await asked.promise;
    await sleep(300); // past the time from which the proxy watches for it
    stop.abort();
    await assert.rejects(head);
    await eventually(() => aborted.length === 1, "the handler's signal is aborted");
    const body = await fetch(`${a.base}/body`);
    const reader = body.body!.getReader();
    await reader.read();
    await reader.cancel();
    await eventually(() => cancelled.length === 1, "the body is cancelled");
  },
);

testOn(
  KINDS,
  "a response flows no faster than its client reads, a request than its component",
  async (realm) => {
    let produced = 0;
    let go = Promise.withResolvers<void>();
    await realm.machine("b", {
      here: [async ({ url, body }) => {
        if (url.endsWith("/up")) {
          const reader = body!.getReader();
          await reader.read();
          await go.promise;
          let rest = 0;
          for (let part; !(part = await reader.read()).done;) rest += part.value.length;
          return { status: 200, headers: [], body: encode(`${rest > 0}`) };
        }
        const stream = new ReadableStream<Uint8Array>({
          pull: (controller) => {
            produced += 65_536;
            controller.enqueue(new Uint8Array(65_536));
            if (produced >= 24 * 1024 * 1024) controller.close();
          },
        }, { highWaterMark: 0 });
        return { status: 200, headers: [], body: stream };
      }],
    });
    const a = await realm.machine("a");
    /** Waits until a number no longer grows. */
    const settled = async (value: () => number) => {
      for (let before = -1; before !== value();) {
        before = value();
        await sleep(200);
      }
      return value();
    };
    const response = await fetch(`${a.base}/down`);
    const reader = response.body!.getReader();
    await reader.read();
    assert.ok(await settled(() => produced) < 20 * 1024 * 1024, `${produced}`);
    await reader.cancel();

    let taken = 0;
    go = Promise.withResolvers();
    const upload = new ReadableStream<Uint8Array>({
      pull: (controller) => {
        taken += 65_536;
        controller.enqueue(new Uint8Array(65_536));
        if (taken >= 24 * 1024 * 1024) controller.close();
      },
    }, { highWaterMark: 0 });
    const up = fetch(`${a.base}/up`, { method: "POST", body: upload });
    assert.ok(await settled(() => taken) < 20 * 1024 * 1024, `${taken}`);
    go.resolve();
    assert.equal(await (await up).text(), "true");
  },
);

testOn(
  ["memory"],
  "a component that answers without reading the body ends the upload",
  async (realm) => {
    await realm.machine("b", { here: [saying("enough")] });
    const a = await realm.machine("a");
    let cancelled = false;
    const endless = new ReadableStream<Uint8Array>({
      pull: (controller) => controller.enqueue(new Uint8Array(10_000)),
      cancel: () => void (cancelled = true),
    });
    const handle = a.peers.of("shop").handle;
    const response = await handle({
      method: "POST",
      url: `${a.base}/`,
      headers: [],
      body: endless,
      signal: new AbortController().signal,
    });
    assert.equal(decode(response.body as Uint8Array), "enough");
    await eventually(() => cancelled, "the rest of the body is not wanted");
  },
);

testOn(["memory"], "no response in time is 504 here, and ends the request there", async (realm) => {
  const aborted: unknown[] = [];
  await realm.machine("b", {
    here: [({ signal }) =>
      new Promise((_, reject) =>
        signal.addEventListener("abort", () => {
          aborted.push(signal.reason.name);
          reject(signal.reason);
        })
      )],
  });
  const a = await realm.machine("a", { requestTimeoutMs: 100 });
  const response = await fetch(a.base);
  assert.equal(response.status, 504);
  await response.body?.cancel();
  await eventually(() => aborted.length === 1, "aborted there");
});

testOn(KINDS, "a node that goes is not asked again; what it had is lost, once", async (realm) => {
  let asked = 0;
  await realm.machine("b", {
    here: [() => {
      asked++;
      return new Promise(() => {});
    }],
  });
  const a = await realm.machine("a");
  const lost = fetch(a.base, { method: "POST", body: "x" });
  await eventually(() => asked === 1, "it was taken");
  realm.machines.shift()!.requests.close();
  await realm.hub.leave("b");
  const response = await lost;
  assert.equal(response.status, 502);
  await response.body?.cancel();
  const next = await fetch(a.base);
  assert.equal(next.status, 503);
  await next.body?.cancel();
  await realm.machine("c", { here: [saying("c")] });
  assert.equal(await (await fetch(a.base)).text(), "c");
});

testOn(
  KINDS,
  "a request that only reads is asked of another node when the first goes, and of no third",
  async (realm) => {
    const asked: string[] = [];
    const silent = (name: string): Handle => () => {
      asked.push(name);
      return new Promise(() => {});
    };
    const go = async (name: string) => {
      realm.machines.splice(realm.machines.findIndex((m) => m.name === name), 1)[0]!.requests
        .close();
      await realm.hub.leave(name);
    };
    const a = await realm.machine("a");
    await realm.machine("b", { here: [silent("b")] });
    const first = fetch(a.base);
    await eventually(() => asked.length === 1, "b took it");
    await realm.machine("c", { here: [saying("c")] });
    await go("b");
    assert.equal(await (await first).text(), "c");

    realm.reports = [];
    await realm.machine("d", { here: [silent("d")] });
    const second = fetch(a.base);
    await eventually(() => asked.length === 2, "d took it");
    await realm.machine("e", { here: [silent("e")] });
    await go("d");
    await eventually(() => asked.length === 3, "e took it");
    await realm.machine("f", { here: [saying("f")] });
    await go("e");
    const response = await second;
    assert.equal(response.status, 502);
    await response.body?.cancel();
    assert.deepEqual(asked, ["b", "d", "e"]);
  },
);

testOn(
  ["memory"],
  "who has another choice of replicas is asked when the first has none, not when that is busy",
  async (realm) => {
    const release = Promise.withResolvers<void>();
    const b = await realm.machine("b", {
      here: [async () => {
        await release.promise;
        return { status: 200, headers: [], body: encode("b") };
      }],
      maxConcurrency: 1,
      queueMax: 0,
    });
    await realm.machine("c", { here: [saying("c")] });
    realm.reports = [{ peer: "c", running: 9, choice: 1 }, { peer: "b", running: 1, choice: 0 }];
    const a = await realm.machine("a");
    const first = fetch(a.base).then((r) => r.text());
    await eventually(() => b.upstream.load.inFlight === 1, "b has it");
    const second = await fetch(a.base);
    assert.equal(second.status, 503);
    assert.match(await second.text(), /all replicas are busy/);
    release.resolve();
    assert.equal(await first, "b");
    await b.upstream.setReplicas([]);
    assert.equal(await (await fetch(a.base)).text(), "c");
  },
);

testOn(
  ["memory"],
  "a request that nobody takes waits where others are to run what it is for",
  async (realm) => {
    const b = await realm.machine("b", { here: [saying("b")] });
    const a = await realm.machine("a", { isExpected: true });
    assert.equal(await (await fetch(a.base)).text(), "b");
    const [replica] = b.upstream.replicas;
    await b.upstream.setReplicas([]); // refused, until it is known that others run it
    const refused = fetch(a.base, { method: "POST", body: "x" }).then((r) => r.text());
    await eventually(() => a.upstream.load.waiting === 1, "it is offered again");
    await realm.machine("c", { here: [saying("c")] });
    assert.equal(await refused, "c");
    realm.reports = []; // nobody is known to run it
    const unknown = fetch(a.base).then((r) => r.text());
    await eventually(() => a.upstream.load.waiting === 1, "it waits");
    await a.upstream.setReplicas([replica!]);
    assert.equal(await unknown, "b");
    assert.equal(a.upstream.load.waiting, 0);
  },
);

testOn(
  ["memory"],
  "who waits here for its turn waits for other nodes when the last replica here goes",
  async (realm) => {
    const busy = Promise.withResolvers<void>();
    const slow: Handle = async () => {
      await busy.promise;
      return { status: 200, headers: [], body: encode("a") };
    };
    const a = await realm.machine("a", { here: [slow], maxConcurrency: 1, isExpected: true });
    const first = fetch(a.base).then((r) => r.text());
    await eventually(() => a.upstream.load.inFlight === 1, "the place here is taken");
    const second = fetch(a.base).then((r) => r.text());
    await eventually(() => a.upstream.load.waiting === 1, "the second waits");
    const drained = a.upstream.setReplicas([]);
    await realm.machine("b", { here: [saying("b")] });
    assert.equal(await second, "b");
    busy.resolve();
    assert.equal(await first, "a");
    await drained;
  },
);

testOn(
  ["memory"],
  "no more requests wait than the queue has places, and none that its client left",
  async (realm) => {
    const a = await realm.machine("a", { isExpected: true, queueMax: 2 });
    const stop = new AbortController();
    const waiting = [0, 1].map(() => fetch(a.base, { signal: stop.signal }));
    await eventually(() => a.upstream.load.waiting === 2, "both wait");
    const third = await fetch(a.base);
    assert.equal(third.status, 503);
    assert.match(await third.text(), /all replicas are busy/);
    await sleep(300); // past the time from which the proxy watches for it
    stop.abort();
    for (const each of waiting) await assert.rejects(each);
    await eventually(() => a.upstream.load.waiting === 0, "none waits");
  },
);

const GOOD = jsonFrame(RESPONSE, { status: 200, headers: [], body: "stream" });

testOn(
  ["memory"],
  "what a node may not send ends the request, whatever it is",
  async (realm) => {
    const lies: Record<string, (channel: FrameChannel) => Promise<unknown>> = {
      "nothing": async (c) => c.stream.end(),
      "a break": async (c) => c.abort(),
      "no frame": (c) => c.write(new Uint8Array(10).fill(0xff)),
      "a frame without end": (c) => c.write(new Uint8Array([RESPONSE, 0xff, 0xff, 0xff, 0xff])),
      "half a frame": async (c) => {
        await c.write(new Uint8Array([RESPONSE, 0, 0, 0, 9, 1]));
        await c.stream.end();
      },
      "no JSON": (c) => c.write(encodeFrame(RESPONSE, encode("{"))),
      "no head": (c) => c.write(jsonFrame(RESPONSE, { status: "200" })),
      "a header with a line break": (c) =>
        c.write(jsonFrame(RESPONSE, { status: 200, headers: [["x", "a\r\nb: c"]], body: "none" })),
      "a header with a capital": (c) =>
        c.write(jsonFrame(RESPONSE, { status: 200, headers: [["X", "a"]], body: "none" })),
      "a status that is none": (c) =>
        c.write(jsonFrame(RESPONSE, { status: 99, headers: [], body: "none" })),
      "go for no body": (c) => c.write(emptyFrame(GO)),
      "a refusal that is none": (c) => c.write(jsonFrame(REFUSED, {})),
      "a request": (c) => c.write(jsonFrame(REQUEST, {})),
      "a body without head": (c) => c.write(encodeFrame(DATA, new Uint8Array(9))),
      "whole without body": async (c) => {
        await c.write(jsonFrame(RESPONSE, { status: 200, headers: [], body: "whole" }));
        await c.write(emptyFrame(END));
      },
    };
    let lie: (channel: FrameChannel) => Promise<unknown> = async () => {};
    await realm.liar("b", async (channel) => {
      await channel.take();
      await lie(channel);
    });
    const a = await realm.machine("a");
    for (const [name, one] of Object.entries(lies)) {
      lie = one;
      const response = await fetch(a.base);
      // Who says nothing at all refuses or is gone, and so are all that could be asked.
      const status = name === "nothing" || name === "a break" ? 503 : 502;
      assert.equal(response.status, status, name);
      await response.body?.cancel();
      await eventually(() => realm.hub.open.size === 0, `${name}: the stream is ended`);
    }
  },
);

testOn(
  ["memory"],
  "a body that breaks off elsewhere breaks off here, and is not taken for whole",
  async (realm) => {
    const lies: Record<string, (channel: FrameChannel) => Promise<unknown>> = {
      "a break": async (c) => (await sleep(20), c.abort()),
      "an end": (c) => c.stream.end(),
      "an empty piece": (c) => c.write(new Uint8Array([DATA, 0, 0, 0, 0])),
      "too long a piece": (c) => c.write(new Uint8Array([DATA, 0, 1, 0, 1])),
      "another head": (c) => c.write(GOOD),
      "a failure": (c) => c.write(jsonFrame(FAILED, {})),
    };
    let lie: (channel: FrameChannel) => Promise<unknown> = async () => {};
    await realm.liar("b", async (channel) => {
      await channel.take();
      await channel.write(GOOD);
      await channel.write(encodeFrame(DATA, encode("abc")));
      await lie(channel);
    });
    const a = await realm.machine("a");
    for (const [name, one] of Object.entries(lies)) {
      lie = one;
      await assert.rejects(fetch(a.base).then((response) => response.text()), name);
      await eventually(() => realm.hub.open.size === 0, `${name}: the stream is ended`);
    }
  },
);

/** A stream to `b` as any approved node can open it. */
async function rawStream(realm: Realm): Promise<PeerStream> {
  return await (realm.hub.nodes.get("x") ?? await realm.hub.join("x")).open("b", HTTP_PROTOCOL);
}

testOn(
  ["memory"],
  "PeerRequests ends streams on which no request comes, and those that are too many",
  async (realm) => {
    const handled: string[] = [];
    const b = await realm.machine("b", {
      here: [async (request) => {
        handled.push(request.url);
        return { status: 200, headers: [], body: null };
      }],
      answering: { idleMs: 100, peerStreamsMax: 2 },
    });
    const head = {
      component: "shop",
      method: "GET",
      url: "http://h/",
      headers: [],
      hasBody: false,
    };
    const wrong: Record<string, Uint8Array> = {
      "nothing": new Uint8Array(),
      "a trickle": new Uint8Array([REQUEST, 0, 0]),
      "no frame": new Uint8Array(9).fill(0xff),
      "no head": jsonFrame(REQUEST, []),
      "a giant head": new Uint8Array([REQUEST, 0x7f, 0, 0, 0]),
      "another frame": jsonFrame(RESPONSE, head),
      "a method with a space": jsonFrame(REQUEST, { ...head, method: "GET /" }),
      "no url": jsonFrame(REQUEST, { ...head, url: "file:///etc/passwd" }),
      "a header with a line break": jsonFrame(REQUEST, { ...head, headers: [["a", "b\nc"]] }),
      "a header that is none": jsonFrame(REQUEST, { ...head, headers: [["a"]] }),
      "no body": jsonFrame(REQUEST, { ...head, hasBody: 1 }),
    };
    for (const [name, bytes] of Object.entries(wrong)) {
      const stream = await rawStream(realm);
      await stream.write(bytes).catch(() => {});
      await eventually(() => b.requests.streams === 0, name);
      stream.abort();
    }
    assert.deepEqual(handled, []);
    const streams = await Promise.all([rawStream(realm), rawStream(realm), rawStream(realm)]);
    await eventually(() => b.requests.streams === 2, "one too many");
    for (const stream of streams) stream.abort();
    await eventually(() => b.requests.streams === 0, "all gone");
    const good = await rawStream(realm);
    await good.write(jsonFrame(REQUEST, head));
    assert.equal((await new FrameChannel(good).take())?.kind, RESPONSE);
    good.abort();
  },
);

testOn(
  ["memory"],
  "PeerRequests holds no replica for a node that takes nothing",
  async (realm) => {
    const b = await realm.machine("b", {
      here: [async () => ({
        status: 200,
        headers: [],
        body: new ReadableStream({
          pull: (controller) => controller.enqueue(new Uint8Array(64 * 1024)),
        }),
      })],
      answering: { idleMs: 100 },
    });
    const head = { component: "shop", method: "POST", url: "http://h/", headers: [] };
    const deaf = await rawStream(realm);
    await deaf.write(jsonFrame(REQUEST, { ...head, hasBody: false }));
    await eventually(() => b.upstream.load.inFlight === 1, "it is answered");
    await eventually(() => b.upstream.load.inFlight === 0, "its place is free again");
    await eventually(() => b.requests.streams === 0, "so is its stream");
    deaf.abort();
  },
);

testOn(
  ["memory"],
  "PeerRequests ends a stream on which what is left of a body does not come",
  async (realm) => {
    const b = await realm.machine("b", { here: [saying("b")], answering: { idleMs: 100 } });
    const head = { component: "shop", method: "POST", url: "http://h/", headers: [] };
    const stream = await rawStream(realm);
    await stream.write(jsonFrame(REQUEST, { ...head, hasBody: true }));
    const channel = new FrameChannel(stream);
    assert.equal((await channel.take())?.kind, GO);
    assert.equal((await channel.take())?.kind, RESPONSE);
    await eventually(() => b.requests.streams === 0, "it is over");
    stream.abort();
  },
);

testOn(
  ["memory"],
  "PeerRequests passes on a broken request body as an error, not as its end",
  async (realm) => {
    const ends: string[] = [];
    const b = await realm.machine("b", {
      here: [async ({ body }) => {
        const text = await new Response(body as never).text().catch(() => "error");
        ends.push(text);
        return { status: 200, headers: [], body: null };
      }],
    });
    const head = {
      component: "shop",
      method: "POST",
      url: "http://h/",
      headers: [],
      hasBody: true,
    };
    const breaks: ((stream: PeerStream) => Promise<void>)[] = [
      async (stream) => stream.abort(),
      (stream) => stream.end(),
      (stream) => stream.write(emptyFrame(GO)),
      (stream) => stream.write(jsonFrame(REQUEST, head)),
    ];
    for (const broken of breaks) {
      const stream = await rawStream(realm);
      await stream.write(jsonFrame(REQUEST, head));
      const channel = new FrameChannel(stream);
      assert.equal((await channel.take())?.kind, GO);
      await channel.write(encodeFrame(DATA, encode("abc")));
      await broken(stream);
      await eventually(() => b.requests.streams === 0, "the stream is over");
      stream.abort();
    }
    assert.deepEqual(ends, ["error", "error", "error", "error"]);
  },
);

Deno.test("heads of requests and responses: what is not one gives undefined, and never throws", () => {
  const other = fc.constantFrom<unknown>(undefined, null, 1, "", "x", {}, [], [[1]], [["a"]]);
  const json = fc.json({ maxDepth: 2 });
  const value = fc.record({
    component: fc.oneof(fc.string(), other),
    method: fc.oneof(fc.constant("GET"), other),
    url: fc.oneof(fc.constant("http://h/"), fc.string(), other),
    headers: fc.oneof(fc.array(fc.tuple(fc.string(), fc.string())), other),
    hasBody: fc.oneof(fc.boolean(), other),
    status: fc.oneof(fc.constant(200), fc.integer(), other),
    body: fc.oneof(fc.constant("whole"), other),
  }).map((value) => JSON.stringify(value));
  const bytes = fc.oneof(fc.uint8Array(), fc.oneof(json, value).map((text) => encode(text)));
  fc.assert(fc.property(bytes, (bytes) => {
    for (const head of [readRequestHead(bytes), readResponseHead(bytes)]) {
      if (head === undefined) continue;
      for (const [name, value] of head.headers) new Headers().append(name, value);
    }
  }));
});

overLibp2p.forEach((register) => register());
