/**
 * Request handlers in the real engine: bodies both ways, many requests at once, and what becomes
 * of a request whose instance ends.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { Replica, StartOptions } from "../agent/kernel/ports.ts";
import { type Handler, handlerOf } from "./handler.ts";
import { fixture, NO_GRANTS, onEachEngine, type WithEngine, withEngine } from "./guest.ts";
import { until } from "./until.ts";

const MIB = 1024 * 1024;
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits for a notice: the frames of a backtrace are named first. */
async function noticed(notices: readonly string[], pattern: RegExp): Promise<void> {
  for (let i = 0; i < 3_000 && !notices.some((n) => pattern.test(n)); i++) {
    await sleep(10);
  }
  assert.ok(notices.some((n) => pattern.test(n)), notices.join("\n"));
}

async function withHandler(
  withEngine: WithEngine,
  name: string,
  options: Partial<StartOptions>,
  test: (handler: Handler) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await withEngine(async (engine) => {
      const grants = {
        ...NO_GRANTS,
        mounts: [{ hostPath: folder, guestPath: "/data", writable: true }],
      };
      await test(await handlerOf(engine, await fixture(name), { grants, ...options }));
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Waits for what was used up to now: a process says so a few times a second. */
async function news(replica: Replica): Promise<void> {
  // What it says first may be of before.
  for (let i = 0; i < 2; i++) {
    const before = replica.usage();
    await sleep(200);
    await until("what it used", () => replica.usage() !== before, replica.exited);
  }
}

onEachEngine(
  "handlers answer with status, headers and body",
  (withEngine) =>
    withHandler(withEngine, "http-counter", {}, async ({ get, text }) => {
      assert.equal(await text("/"), "1\n");
      assert.equal(await text("/"), "2\n");
      assert.equal((await get("/status?code=204")).status, 204);
      const headers: [string, string][] = [["x-one", "ü"], ["x-two", "b"]];
      const told = await text("/headers", { headers, method: "PUT" });
      assert.match(told, /Put/);
      assert.match(told, /x-two: b/);
      assert.match(told, /realm\.test/);
    }),
);

onEachEngine(
  "handlers stream bodies both ways without collecting them",
  (withEngine) =>
    withHandler(withEngine, "http-counter", {}, async ({ get, replica }) => {
      const total = 20 * MIB;
      let sent = 0;
      const body = new ReadableStream<Uint8Array>({
        pull(controller) {
          if (sent === total) return controller.close();
          sent += 64 * 1024;
          controller.enqueue(new Uint8Array(64 * 1024).fill(sent / (64 * 1024)));
        },
      });
      const response = await get("/echo", { method: "POST", body });
      let received = 0;
      for await (const chunk of response.body as ReadableStream<Uint8Array>) {
        received += chunk.length;
        assert.ok(sent - received < 4 * MIB, `${sent - received} bytes are held`);
      }
      assert.equal(received, total);
      assert.ok(replica.usage().memoryBytesPeak < 8 * MIB);
    }),
);

onEachEngine(
  "handlers send events as they come",
  (withEngine) =>
    withHandler(withEngine, "http-counter", {}, async ({ get }) => {
      // The second comes after ten minutes: whoever waited for it would not see the first.
      const response = await get("/stream?n=2&ms=600000");
      const reader = (response.body as ReadableStream<Uint8Array>).getReader();
      const { value } = await reader.read();
      assert.equal(new TextDecoder().decode(value), "data: 1\n\n");
      await reader.cancel();
    }),
);

onEachEngine(
  "handlers serve many slow requests at once, up to their concurrency",
  (withEngine) =>
    withHandler(withEngine, "http-counter", { maxConcurrency: 50 }, async ({ text, replica }) => {
      const from = performance.now();
      const answers = await Promise.all(Array.from({ length: 100 }, () => text("/slow?ms=200")));
      const ms = performance.now() - from;
      assert.ok(answers.every((a) => a === "slept 200\n"), answers[0]!);
      assert.ok(ms > 380 && ms < 60_000, `two rounds of 50 took ${ms} ms`);
      assert.ok(replica.usage().memoryBytes < 50 * 2 * MIB);
    }),
);

onEachEngine(
  "100 requests that wait do so at the same time in one replica, in a memory budget",
  (withEngine) =>
    withHandler(withEngine, "http-counter", {
      maxConcurrency: 100,
      limits: { memoryBytesMax: 128 * MIB },
    }, async ({ text, replica }) => {
      const waitMs = (ms: number) =>
        Promise.all(Array.from({ length: 100 }, () => text(`/slow?ms=${ms}`)));
      await waitMs(200); // makes the instances
      const from = performance.now();
      await waitMs(200);
      console.log(`100 requests of 200 ms: ${Math.round(performance.now() - from)} ms`);
      // Those of a busy machine wait longer, so that it can hand all of them over.
      for (let ms = 2_000, isMet = false; !isMet; ms *= 2) {
        assert.ok(ms < 60_000, "all of them were in flight before the first was over");
        let isOver = false;
        const all = waitMs(ms).finally(() => isOver = true);
        while (!isOver && replica.usage().requests < 100) await sleep(20);
        isMet = !isOver;
        await all;
      }
      assert.equal(replica.usage().refusedGrowths, 0);
      assert.ok(replica.usage().memoryBytesPeak <= 128 * MIB);
    }),
);

onEachEngine(
  "a request that traps, spins or says nothing fails alone",
  (withEngine) =>
    withHandler(withEngine, "http-counter", {
      limits: { memoryBytesMax: 16 * MIB, epochTimeoutMs: 150 },
    }, async (h) => {
      const codes = async (path: string) => {
        try {
          return (await h.get(path)).status;
        } catch (error) {
          return (error as { code?: string }).code;
        }
      };
      const [spin, trap, silent, grow, fine] = await Promise.all(
        ["/spin", "/trap", "/silent", "/grow", "/healthz"].map(codes),
      );
      assert.deepEqual(
        { spin, trap, silent, grow, fine },
        { spin: "epoch-timeout", trap: "trap", silent: "failed", grow: "memory-limit", fine: 200 },
      );
      assert.equal(await h.text("/healthz"), "ok\n");
      assert.equal(h.replica.usage().traps, 3, "silence is an answer of a kind");
      await noticed(h.notices, /^epoch-timeout[^]*\s+at .*!\S/);
      await noticed(h.notices, /^trap[^]*\s+at .*!\S/);
      await news(h.replica);
      assert.ok(h.replica.usage().memoryBytes <= 2 * 2 * MIB, "what trapped gave its memory back");
    }),
);

onEachEngine(
  "the instances of a replica share its memory, and requests wait where it is used",
  (withEngine) =>
    withHandler(
      withEngine,
      "http-counter",
      { limits: { memoryBytesMax: 5 * MIB } },
      async ({ text, replica }) => {
        const answers = await Promise.all(Array.from({ length: 12 }, () => text("/slow?ms=50")));
        assert.ok(answers.every((a) => a === "slept 50\n"), answers.join());
        await news(replica);
        const { memoryBytesPeak, traps } = replica.usage();
        assert.ok(memoryBytesPeak <= 5 * MIB && memoryBytesPeak > 2 * MIB, `${memoryBytesPeak}`);
        assert.equal(traps, 0);
      },
    ),
);

onEachEngine(
  "a guest that spins lets its neighbours in the replica answer",
  (withEngine) =>
    withHandler(withEngine, "http-counter", {}, async ({ get, text }) => {
      await text("/healthz");
      const stop = new AbortController();
      const spinning = get("/spin", { signal: stop.signal }).catch(() => "ended");
      await sleep(50);
      for (let i = 0; i < 5; i++) assert.equal(await text("/healthz"), "ok\n");
      stop.abort();
      assert.equal(await spinning, "ended");
      assert.equal(await text("/healthz"), "ok\n");
    }),
);

Deno.test("however many guests spin, a neighbour in the replica waits for one turn, not for all", () =>
  withHandler(withEngine, "http-counter", {}, async ({ get, text, replica }) => {
    for (let i = 0; i < 50; i++) await text("/healthz");
    const stop = new AbortController();
    const spinning = Array.from(
      { length: 8 },
      () => get("/spin", { signal: stop.signal }).catch(() => "ended"),
    );
    await sleep(100);
    const times: number[] = [];
    const turns: number[] = [];
    for (let i = 0; i < 21; i++) {
      const askedMs = performance.now();
      const before = replica.usage().preemptions;
      assert.equal(await text("/healthz"), "ok\n");
      times.push(performance.now() - askedMs);
      turns.push(replica.usage().preemptions - before);
    }
    stop.abort();
    assert.deepEqual(await Promise.all(spinning), Array(8).fill("ended"));
    // The median: that the machine is busy delays some.
    const median = (all: number[]) => all.sort((a, b) => a - b)[10]!;
    console.log(`answered after ${median(times).toFixed(1)} ms, ${median(turns)} turns of others`);
    assert.ok(median(turns) < 4, `${median(turns)} turns, one round of all is 8`);
  }));

onEachEngine(
  "a neighbour answers while others sleep, and while one waits for its fuel",
  (withEngine) =>
    withHandler(withEngine, "http-counter", {
      limits: { memoryBytesMax: 64 * MIB, fuelPerSec: 20_000_000 },
    }, async ({ get, text, replica }) => {
      await text("/healthz");
      const stop = new AbortController();
      const others = ["/slow?ms=60000", "/spin"].map((path) =>
        get(path, { signal: stop.signal }).catch(() => "ended")
      );
      await until("a slower guest", () => replica.usage().throttledMs > 0, Promise.any(others));
      const times: number[] = [];
      for (let i = 0; i < 11; i++) {
        const askedMs = performance.now();
        assert.equal(await text("/healthz"), "ok\n");
        times.push(performance.now() - askedMs);
      }
      stop.abort();
      assert.deepEqual(await Promise.all(others), ["ended", "ended"]);
      const median = times.sort((a, b) => a - b)[5]!;
      assert.ok(median < 10_000, `${median} ms: it waited for one that sleeps for a minute`);
    }),
);

onEachEngine(
  "a handler that traps uses up its slice, whatever it is known to have used",
  (withEngine) =>
    withHandler(withEngine, "http-counter", {
      limits: { memoryBytesMax: 64 * MIB, fuelPerSec: 200_000 },
    }, async ({ text, replica }) => {
      for (let i = 0; i < 10; i++) await assert.rejects(text("/trap"), { code: "trap" });
      await news(replica);
      const { fuelUsed, throttledMs } = replica.usage();
      // A second's fuel is there from the start.
      assert.ok(fuelUsed < 200_000, `${fuelUsed}`);
      assert.ok(throttledMs > 0);
      assert.equal(await text("/healthz"), "ok\n");
    }),
);

onEachEngine(
  "a trap in the middle of an answer is an error, whether or not its head was sent by then",
  (withEngine) =>
    withHandler(withEngine, "http-counter", {}, async ({ text }) => {
      await assert.rejects(text("/trap?bytes=100"), { code: "trap" });
      assert.equal(await text("/healthz"), "ok\n");
    }),
);

onEachEngine(
  "what ends a response after its head is told by its own code, and is no trap where nothing trapped",
  (withEngine) =>
    withHandler(withEngine, "http-p3", {
      limits: { memoryBytesMax: 64 * MIB, epochTimeoutMs: 1_000 },
    }, async ({ get, text, replica }) => {
      for (const [path, code] of [["/length", "failed"], ["/spin-late", "epoch-timeout"]]) {
        const response = await get(path!);
        assert.ok(response.body instanceof ReadableStream, "its head was sent before");
        await assert.rejects(new Response(response.body as BodyInit).text(), { code });
      }
      assert.equal(replica.usage().traps, 1);
      await assert.rejects(text("/trap-late"), { code: "trap" });
    }),
);

onEachEngine(
  "a response that breaks off in its middle is an error to its reader",
  (withEngine) =>
    withHandler(withEngine, "http-counter", {}, async ({ get, replica }) => {
      const response = await get("/stream?n=1000&ms=20");
      const read = new Response(response.body as BodyInit).text();
      await Promise.all([assert.rejects(read), replica.stop()]);
    }),
);

onEachEngine(
  "a reader that leaves ends the request",
  (withEngine) =>
    withHandler(withEngine, "http-counter", {}, async ({ get, text, replica }) => {
      const response = await get("/stream?n=100000&ms=5");
      const reader = (response.body as ReadableStream<Uint8Array>).getReader();
      await reader.read();
      await reader.cancel();
      assert.equal(await text("/healthz"), "ok\n");
      await news(replica);
      const settled = replica.usage().fuelUsed;
      await news(replica);
      assert.ok(replica.usage().fuelUsed - settled < 100_000, "nothing runs on");
    }),
);

onEachEngine(
  "a request that nobody waits for ends, also where the next one overtakes the message",
  (withEngine) =>
    withHandler(withEngine, "http-counter", {}, async ({ get, text, replica }) => {
      for (let i = 0; i < 200; i++) {
        const stop = new AbortController();
        const slow = get("/slow?ms=3600000", { signal: stop.signal }).catch(() => "gone");
        await text("/healthz");
        stop.abort();
        assert.equal(await slow, "gone");
        await text("/healthz");
      }
      for (let i = 0; i < 3_000 && replica.usage().requests > 0; i++) {
        await sleep(10);
      }
      assert.equal(replica.usage().requests, 0);
    }),
);

onEachEngine(
  "each request has an instance of its own where that is asked for",
  (withEngine) =>
    withHandler(
      withEngine,
      "http-counter",
      { instancePerRequest: true },
      async ({ text, replica }) => {
        for (let i = 1; i <= 5; i++) assert.equal(await text("/"), `${i}\n`);
        // The one that served last and one that is made ahead, of 1.1 MiB each.
        await news(replica);
        assert.ok(replica.usage().memoryBytes <= 3 * MIB, `${replica.usage().memoryBytes}`);
      },
    ),
);

const NOTHING_FOUND = /^calls=0 heap=0 stack=0 handle=\d+ file=1\n$/;

onEachEngine(
  "an instance of its own finds nothing of those before it, new or renewed",
  (withEngine) =>
    withHandler(
      withEngine,
      "http-leftovers",
      { instancePerRequest: true },
      async ({ get, text, replica }) => {
        const first = await text("/");
        assert.match(first, NOTHING_FOUND);
        // What grew is thrown away, what trapped too; the others are put back.
        for (const path of ["/", "/", "/grow", "/", "/trap", "/", "/"]) {
          if (path === "/trap") await assert.rejects(get(path), { code: "trap" });
          else assert.equal(await text(path), first, path);
        }
        assert.deepEqual(
          await Promise.all(Array.from({ length: 20 }, () => text("/"))),
          new Array(20).fill(first),
        );
        const seeds = await Promise.all(Array.from({ length: 20 }, () => text("/seed")));
        for (let i = 0; i < 20; i++) seeds.push(await text("/seed"));
        assert.equal(new Set(seeds).size, seeds.length);
        await news(replica);
        const { handles, hostBytes, openFiles } = replica.usage();
        assert.deepEqual([handles, hostBytes, openFiles], [0, 0, 0]);
      },
    ),
);

onEachEngine(
  "an instance that serves many requests finds what it left",
  (withEngine) =>
    withHandler(withEngine, "http-leftovers", {}, async ({ text }) => {
      assert.match(await text("/"), NOTHING_FOUND);
      assert.match(await text("/"), /^calls=1 heap=1 stack=520192 handle=\d+ file=1\n$/);
    }),
);

onEachEngine(
  "a stopped replica fails what it has, and takes no more",
  (withEngine) =>
    withHandler(withEngine, "http-counter", {}, async ({ get, replica }) => {
      const slow = get("/slow?ms=10000").catch((error) => error);
      await sleep(100);
      await replica.stop();
      assert.ok(await slow instanceof Error);
      assert.deepEqual(await replica.exited, { kind: "stopped" });
      await assert.rejects(get("/healthz"));
    }),
);
