import assert from "node:assert/strict";
import type { Exit, HandlerRequest, HandlerResponse, Replica } from "../kernel/ports.ts";
import { RefusedElsewhere, type Slot, Upstream } from "./upstream.ts";

/** A replica of which only `exited` matters. */
function replicaOf(): Replica & { end: () => void } {
  const { promise, resolve } = Promise.withResolvers<Exit>();
  return { exited: promise, end: () => resolve({ kind: "stopped" }) } as never;
}

const never = new AbortController().signal;
const take = async (upstream: Upstream) => {
  const got = await upstream.acquire(never);
  assert.notEqual(typeof got, "string", `${got}`);
  return got as Slot;
};

const requestTo = (url: string): HandlerRequest => ({
  method: "GET",
  url,
  headers: [],
  body: null,
  signal: never,
});

const nothing: HandlerResponse = { status: 204, headers: [], body: null };

Deno.test("acquire() takes the least loaded replica, equals in turn", async () => {
  const [a, b] = [replicaOf(), replicaOf()];
  const upstream = new Upstream({ component: "x", maxConcurrency: 8, requestTimeoutMs: 1 }, [a, b]);
  const first = await take(upstream);
  const second = await take(upstream);
  assert.deepEqual(new Set([first.replica, second.replica]), new Set([a, b]));
  upstream.release(second);
  for (let i = 0; i < 3; i++) {
    const slot = await take(upstream);
    assert.equal(slot.replica, second.replica);
    upstream.release(slot);
  }
});

Deno.test("acquire() lets requests wait in order of arrival, then turns them away", async () => {
  const options = { component: "x", maxConcurrency: 1, requestTimeoutMs: 1, queueMax: 2 };
  const upstream = new Upstream(options, [replicaOf()]);
  const slot = await take(upstream);
  const served: number[] = [];
  const waiting = [1, 2].map(async (n) => {
    const mine = await take(upstream);
    served.push(n);
    upstream.release(mine);
  });
  assert.equal(upstream.acquire(never), "overloaded");
  assert.deepEqual(upstream.load, { inFlight: 1, waiting: 2 });
  upstream.release(slot);
  await Promise.all(waiting);
  assert.deepEqual(served, [1, 2]);
  assert.deepEqual(upstream.load, { inFlight: 0, waiting: 0 });
});

Deno.test("acquire() waits for the first replicas, or until it is told that there are none", async () => {
  const options = { component: "x", maxConcurrency: 1, requestTimeoutMs: 1 };
  for (const [replicas, got] of [[[replicaOf()], "a slot"], [[], "no-replica"]] as const) {
    const upstream = new Upstream(options);
    const waiting = upstream.acquire(never);
    assert.equal(upstream.load.waiting, 1);
    upstream.setReplicas(replicas);
    const outcome = await waiting;
    assert.equal(typeof outcome === "string" ? outcome : "a slot", got);
  }
});

Deno.test("acquire() waits while replicas are awaited, also when those before give back slots", async () => {
  const [old, next] = [replicaOf(), replicaOf()];
  const upstream = new Upstream({ component: "x", maxConcurrency: 2, requestTimeoutMs: 1 }, [old]);
  const slot = await take(upstream);
  const drained = upstream.setReplicas([], true);
  const waiting = take(upstream);
  upstream.release(slot);
  await drained;
  assert.equal(upstream.load.waiting, 1);
  upstream.setReplicas([next]);
  assert.equal((await waiting).replica, next);
  upstream.setReplicas([], false);
  assert.equal(upstream.acquire(never), "no-replica");
});

Deno.test("acquire() ends its wait when the signal is aborted, and leaves the queue", async () => {
  const options = { component: "x", maxConcurrency: 1, requestTimeoutMs: 1 };
  const upstream = new Upstream(options, [replicaOf()]);
  const slot = await take(upstream);
  const controller = new AbortController();
  const waiting = upstream.acquire(controller.signal);
  controller.abort();
  assert.equal(await waiting, "overloaded");
  assert.equal(upstream.load.waiting, 0);
  upstream.release(slot);
  assert.equal(upstream.load.inFlight, 0);
});

Deno.test("a replica that ended takes no more requests, and its queue is told", async () => {
  const replica = replicaOf();
  const options = { component: "x", maxConcurrency: 1, requestTimeoutMs: 1 };
  const upstream = new Upstream(options, [replica]);
  await take(upstream);
  const waiting = upstream.acquire(never);
  replica.end();
  assert.equal(await waiting, "no-replica");
  assert.equal(upstream.acquire(never), "no-replica");
});

Deno.test("setReplicas() serves who waits, keeps the load and resolves when the rest is drained", async () => {
  const [old, kept, fresh] = [replicaOf(), replicaOf(), replicaOf()];
  const options = { component: "x", maxConcurrency: 1, requestTimeoutMs: 1 };
  const upstream = new Upstream(options, [old, kept]);
  const slots = [await take(upstream), await take(upstream)];
  const waiting = take(upstream);
  let isDrained = false;
  const drained = upstream.setReplicas([kept, fresh]).then(() => isDrained = true);
  assert.equal((await waiting).replica, fresh);
  assert.deepEqual(upstream.replicas, [kept, fresh]);
  assert.deepEqual(upstream.load, { inFlight: 3, waiting: 0 }, "that of the old one counts");
  assert.equal(isDrained, false);
  const again = upstream.setReplicas([kept]).then(() => isDrained = true);
  await Promise.resolve();
  assert.equal(isDrained, false, "it left before, and has not finished");
  upstream.release(slots.find((slot) => slot.replica === old)!);
  upstream.release(await waiting);
  await Promise.all([drained, again]);
});

Deno.test("setReplicas() takes a replica back with the load that it still has", async () => {
  const replica = replicaOf();
  const upstream = new Upstream({ component: "x", maxConcurrency: 1, requestTimeoutMs: 1 }, [
    replica,
  ]);
  const slot = await take(upstream);
  const drained = upstream.setReplicas([]);
  upstream.setReplicas([replica]);
  assert.deepEqual(upstream.load, { inFlight: 1, waiting: 0 });
  upstream.release(slot);
  await drained;
  assert.equal((await take(upstream)).replica, replica);
});

Deno.test("a request that was refused elsewhere counts as waiting until it is answered", async () => {
  const asked: string[] = [];
  const again = Promise.withResolvers<void>();
  const answer = Promise.withResolvers<HandlerResponse>();
  const upstream = new Upstream({
    component: "x",
    maxConcurrency: 1,
    requestTimeoutMs: 60_000,
    queueMax: 1,
    elsewhere: {
      isAvailable: () => true,
      isExpected: () => true,
      handle: ({ url }) => {
        asked.push(url);
        if (asked.indexOf(url) === asked.length - 1) throw new RefusedElsewhere("no-replica");
        again.resolve();
        return answer.promise;
      },
    },
  }, []);
  const send = async (url: string) => {
    const slot = await take(upstream);
    try {
      return await slot.replica.handle(requestTo(url));
    } finally {
      upstream.release(slot);
    }
  };
  const first = send("1");
  await again.promise;
  assert.deepEqual(upstream.load, { inFlight: 0, waiting: 1 }, "while another node is asked");
  await assert.rejects(send("2"), { outcome: "overloaded" });
  answer.resolve(nothing);
  assert.equal((await first).status, 204);
  assert.deepEqual(upstream.load, { inFlight: 0, waiting: 0 });
});

Deno.test("a request that nobody takes does not wait on because others are taken", async () => {
  let offers = 0;
  const upstream: Upstream = new Upstream({
    component: "x",
    maxConcurrency: 1,
    requestTimeoutMs: 200,
    elsewhere: {
      isAvailable: () => true,
      isExpected: () => true,
      handle: async ({ url }) => {
        if (url === "taken") return nothing;
        const other = await take(upstream);
        await other.replica.handle(requestTo("taken"));
        upstream.release(other);
        if (++offers > 100) return nothing;
        throw new RefusedElsewhere("no-replica");
      },
    },
  }, []);
  const slot = await take(upstream);
  await assert.rejects(slot.replica.handle(requestTo("refused")), { outcome: "no-replica" });
});
