import assert from "node:assert/strict";
import fc from "fast-check";
import { RealmError } from "../kernel/error.ts";
import { readEvents, sendEvents } from "./sse.ts";

async function* each<T>(values: Iterable<T>): AsyncGenerator<T> {
  yield* values;
}

const send = <T>(events: AsyncIterable<T>, stop = () => {}, keepAliveMs = 60_000) =>
  sendEvents(events, {
    nameOf: () => "value",
    describe: (error) => ({ message: (error as Error).message }),
    stop,
    keepAliveMs,
  });

/** Cuts the bytes at the given places, so that events and characters come in pieces. */
function cut(bytes: Uint8Array, sizes: readonly number[]): ReadableStream<Uint8Array> {
  let offset = 0;
  let turn = 0;
  return new ReadableStream({
    pull(controller) {
      if (offset >= bytes.length) return controller.close();
      const size = sizes[turn++ % sizes.length]!;
      controller.enqueue(bytes.slice(offset, offset + size));
      offset += size;
    },
  });
}

Deno.test("readEvents() reads what sendEvents() sent, however it is cut", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.jsonValue(), { maxLength: 5 }),
      fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 4 }),
      async (values, sizes) => {
        const bytes = new Uint8Array(await new Response(send(each(values))).arrayBuffer());
        const events = await Array.fromAsync(readEvents(cut(bytes, sizes)));
        assert.deepEqual(
          events.map(({ event, data }) => [event, data]),
          [...values.map((v) => ["value", JSON.stringify(v)]), ["end", "{}"]],
        );
      },
    ),
    { numRuns: 100 },
  );
});

Deno.test("sendEvents() takes no more than its reader makes room for", async () => {
  let taken = 0;
  const endless = async function* () {
    for (;; taken++) yield "x".repeat(1000);
  };
  const reader = send(endless()).getReader();
  await reader.read();
  await new Promise((resolve) => setTimeout(resolve, 20));
  const idle = taken;
  assert.ok(idle < 100, `${idle} taken`);
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(taken, idle);
  await reader.cancel();
});

Deno.test("sendEvents() tells the source that the reader left, once", async () => {
  let stops = 0;
  const source = new AbortController();
  let ended = false;
  const waiting = async function* () {
    try {
      yield 1;
      await new Promise((resolve) => source.signal.addEventListener("abort", resolve));
    } finally {
      ended = true;
    }
  };
  const reader = send(waiting(), () => {
    stops++;
    source.abort();
  }).getReader();
  await reader.read();
  await reader.read();
  await reader.cancel();
  await new Promise((resolve) => setTimeout(resolve, 5));
  assert.deepEqual([stops, ended], [1, true]);
});

Deno.test("sendEvents() ends with the error of its source", async () => {
  const failing = async function* () {
    yield 1;
    throw new Error("disk full");
  };
  assert.deepEqual(await Array.fromAsync(readEvents(send(failing()))), [
    { event: "value", data: "1" },
    { event: "error", data: '{"message":"disk full"}' },
  ]);
});

Deno.test("sendEvents() keeps an idle stream alive with comments", async () => {
  const heard = Promise.withResolvers<void>();
  const silent = async function* () {
    await heard.promise;
    yield 1;
  };
  let text = "";
  for await (const bytes of new Response(send(silent(), () => {}, 10)).body!) {
    text += new TextDecoder().decode(bytes);
    if (text.startsWith(": \n\n".repeat(3))) heard.resolve();
  }
  assert.match(text, /^(: \n\n){3,}event: value\ndata: 1\n\nevent: end\ndata: \{\}\n\n$/);
});

Deno.test("readEvents() bounds what it keeps", async () => {
  const endless = new ReadableStream<Uint8Array>({
    pull: (controller) => controller.enqueue(new Uint8Array(100_000).fill(0x61)),
  });
  await assert.rejects(
    Array.fromAsync(readEvents(endless)),
    (error) => error instanceof RealmError && error.code === "failed",
  );
});
