import assert from "node:assert/strict";
import { createFixture, Ended, type Fixture, thrown, trapOf } from "./context_fixture.ts";
import { HANDLES_MAX } from "./context.ts";

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const bytes = (value: string) => new TextEncoder().encode(value);

/** Standard input that gives what the test pushes. */
function pushed() {
  const chunks: (Uint8Array | null)[] = [];
  let wake: (() => void) | undefined;
  return {
    push(chunk: string | null) {
      chunks.push(chunk === null ? null : bytes(chunk));
      wake?.();
    },
    async read(): Promise<Uint8Array | null> {
      while (chunks.length === 0) await new Promise<void>((resolve) => wake = resolve);
      return chunks.shift()!;
    },
  };
}

/** Standard output whose writes end when the test says so. */
function slow() {
  const written: string[] = [];
  const settle: { done: () => void; fail: (error: Error) => void }[] = [];
  return {
    written,
    settle,
    write: (_stream: string, chunk: Uint8Array) =>
      new Promise<void>((done, fail) => {
        written.push(text(chunk));
        settle.push({ done, fail });
      }),
  };
}

function withStdio(stdio: object): Fixture {
  const terminal = { stdin: false, stdout: false, stderr: false };
  return createFixture({}, {
    stdio: { read: () => Promise.resolve(null), write: () => {}, terminal, ...stdio },
  });
}

const turn = () => new Promise((resolve) => setTimeout(resolve, 0));

Deno.test("poll() gives the indexes of those that are ready, as often as they are listed", () => {
  const f = createFixture();
  const { subscribeDuration } = f.get("wasi:clocks/monotonic-clock");
  const now = subscribeDuration(0n), later = subscribeDuration(1_000_000n);
  assert.deepEqual([...f.get("wasi:io/poll").poll([later, now, later, now])], [1, 3]);
});

Deno.test("poll() waits for the first and wakes at once", async () => {
  const f = createFixture();
  const { subscribeDuration, subscribeInstant } = f.get("wasi:clocks/monotonic-clock");
  const list = [subscribeDuration(9_000_000n), subscribeInstant(1_003_500_000n)];
  let result: number[] | undefined;
  const waiting = f.get("wasi:io/poll").poll(list).then((r: Uint32Array) => result = [...r]);
  await f.advance(2);
  assert.equal(result, undefined);
  await f.advance(1);
  await waiting;
  assert.deepEqual(result, [1]);
});

Deno.test("poll() traps on an empty and on a very long list", () => {
  const f = createFixture();
  const { poll } = f.get("wasi:io/poll");
  assert.match(trapOf(() => poll([])), /empty/);
  const g = createFixture();
  const one = g.get("wasi:clocks/monotonic-clock").subscribeDuration(0n);
  assert.match(trapOf(() => g.get("wasi:io/poll").poll(Array(4097).fill(one))), /most is 4096/);
});

Deno.test("pollable.block() answers plainly when ready, waits when not", async () => {
  const f = createFixture();
  const { subscribeDuration } = f.get("wasi:clocks/monotonic-clock");
  assert.equal(subscribeDuration(0n).block(), undefined);
  const pollable = subscribeDuration(5_000_000n);
  assert.equal(pollable.ready(), false);
  const waiting = pollable.block();
  assert.ok(waiting instanceof Promise);
  await f.advance(5);
  await waiting;
  assert.equal(pollable.ready(), true);
});

Deno.test("close() ends a pending wait and every later call", async () => {
  const f = createFixture();
  const waiting = f.get("wasi:clocks/monotonic-clock").subscribeDuration(10n ** 12n).block();
  f.wasi.close();
  await assert.rejects(waiting, /closed/);
  assert.throws(() => f.get("wasi:cli/environment").getArguments(), /closed/);
});

Deno.test("a stream with a live pollable cannot be dropped", () => {
  const f = createFixture();
  const stream = f.get("wasi:cli/stdin").getStdin();
  const pollable = stream.subscribe();
  assert.match(trapOf(() => stream[Symbol.dispose]()), /children/);
  const g = createFixture();
  const other = g.get("wasi:cli/stdin").getStdin();
  other.subscribe()[Symbol.dispose]();
  other[Symbol.dispose]();
  assert.ok(pollable);
});

Deno.test("handles of one kind are bounded, and come back when they are dropped", () => {
  const f = createFixture();
  const { subscribeDuration } = f.get("wasi:clocks/monotonic-clock");
  for (let i = 0; i < 3 * HANDLES_MAX; i++) subscribeDuration(0n)[Symbol.dispose]();
  const held = Array.from({ length: HANDLES_MAX }, () => subscribeDuration(0n));
  assert.match(trapOf(() => subscribeDuration(0n)), /most is 1024/);
  assert.equal(held.length, HANDLES_MAX);
});

Deno.test("after a trap every call throws what ended the guest, and traps no second time", () => {
  const f = createFixture();
  const first = thrown(() => f.get("wasi:io/poll").poll([]));
  assert.equal(thrown(() => f.get("wasi:cli/environment").getArguments()), first);
  assert.equal(thrown(() => f.get("wasi:cli/exit").exitWithCode(3)), first);
});

Deno.test("a method called for a handle that nobody holds throws an Error", () => {
  const f = createFixture();
  const { InputStream } = f.get("wasi:io/streams");
  const unknown = Object.create(InputStream.prototype);
  assert.throws(() => unknown.read(1n), /invalid handle/);
});

Deno.test("a failure of the host ends the guest", () => {
  const f = createFixture({}, {
    random: {
      bytes: () => {
        throw new RangeError("no entropy");
      },
    },
  });
  assert.match(trapOf(() => f.get("wasi:random/random").getRandomU64()), /no entropy/);
});

Deno.test("trace() tells every call once, and whether it was allowed", () => {
  const f = createFixture({ clock: false });
  f.get("wasi:cli/stdin").getStdin().subscribe();
  f.get("wasi:clocks/wall-clock").now();
  f.get("wasi:cli/environment").getArguments();
  assert.deepEqual(f.traces, [
    ["wasi:cli/stdin#get-stdin", true],
    ["wasi:io/streams#[method]input-stream.subscribe", true],
    ["wasi:clocks/wall-clock#now", false],
    ["wasi:cli/environment#get-arguments", true],
  ]);
});

Deno.test("input-stream reads what is there, waits when asked to, and ends closed", async () => {
  const stdin = pushed();
  const f = withStdio(stdin);
  const stream = f.get("wasi:cli/stdin").getStdin();
  assert.equal(stream.read(5n).length, 0);
  const waiting = stream.blockingRead(3n);
  assert.ok(waiting instanceof Promise);
  stdin.push("abcdefgh");
  assert.equal(text(await waiting), "abc");
  assert.equal(text(stream.blockingRead(1n)), "d");
  assert.equal(stream.skip(2n), 2n);
  assert.equal(stream.blockingSkip(1n), 1n);
  // A second stream of standard input goes on where the first one is.
  assert.equal(text(f.get("wasi:cli/stdin").getStdin().read(2n ** 64n - 1n)), "h");
  const skipping = stream.blockingSkip(10n);
  stdin.push("xy");
  assert.equal(await skipping, 2n);
  const atEnd = stream.blockingRead(1n);
  stdin.push(null);
  await assert.rejects(atEnd, { tag: "closed" });
  assert.deepEqual(thrown(() => stream.read(1n)), { tag: "closed" });
  assert.equal(stream.subscribe().ready(), true);
});

Deno.test("input-stream asks its source for one chunk at a time", async () => {
  let calls = 0;
  const f = withStdio({ read: () => (calls++, new Promise(() => {})) });
  const stream = f.get("wasi:cli/stdin").getStdin();
  stream.read(1n);
  stream.read(1n);
  stream.subscribe().ready();
  await turn();
  assert.equal(calls, 1);
});

Deno.test("input-stream tells the failure of its source once, then is closed", async () => {
  const f = withStdio({ read: () => Promise.reject(new Error("unplugged")) });
  const stream = f.get("wasi:cli/stdin").getStdin();
  const waiting = stream.blockingRead(1n);
  const error = await waiting.then(() => undefined, (e: unknown) => e);
  assert.equal(error.tag, "last-operation-failed");
  assert.equal(error.val.toDebugString(), "unplugged");
  assert.ok(error.val instanceof f.get("wasi:io/error").Error);
  assert.equal(f.get("wasi:filesystem/types").filesystemErrorCode(error.val), "io");
  assert.deepEqual(thrown(() => stream.read(1n)), { tag: "closed" });
});

Deno.test("output-stream writes within its permit and traps past it", () => {
  const f = createFixture();
  const stream = f.get("wasi:cli/stdout").getStdout();
  assert.equal(stream.checkWrite(), 65_536n);
  stream.write(bytes("one "));
  stream.blockingWriteAndFlush(bytes("two "));
  stream.flush();
  assert.equal(stream.blockingFlush(), undefined);
  stream.writeZeroes(2n);
  stream.blockingWriteZeroesAndFlush(1n);
  assert.equal(f.output.stdout, "one two \0\0\0");
  assert.match(trapOf(() => stream.write(new Uint8Array(65_537))), /check-write allows 65536/);
  for (
    const act of [
      (s: typeof stream) => s.writeZeroes(65_537n),
      (s: typeof stream) => s.blockingWriteAndFlush(new Uint8Array(4097)),
      (s: typeof stream) => s.blockingWriteZeroesAndFlush(4097n),
    ]
  ) {
    const g = createFixture();
    assert.ok(trapOf(() => act(g.get("wasi:cli/stderr").getStderr())));
  }
});

Deno.test("output-stream pushes back until its bytes are taken", async () => {
  const out = slow();
  const f = withStdio(out);
  const stream = f.get("wasi:cli/stdout").getStdout();
  stream.write(new Uint8Array(65_000));
  assert.equal(stream.checkWrite(), 536n);
  stream.write(bytes("b"));
  assert.equal(out.written.length, 1, "the second write waits for the first");
  stream.flush();
  assert.equal(stream.checkWrite(), 0n, "nothing while a flush is pending");
  const pollable = stream.subscribe();
  assert.equal(pollable.ready(), false);
  const waiting = pollable.block();
  out.settle[0]!.done();
  await turn();
  assert.equal(pollable.ready(), false);
  out.settle[1]!.done();
  await waiting;
  assert.equal(stream.checkWrite(), 65_536n);
  assert.deepEqual(out.written.map((w) => w.length), [65_000, 1]);
});

Deno.test("output-stream.blocking-write-and-flush() waits for room and for the flush", async () => {
  const out = slow();
  const f = withStdio(out);
  const stream = f.get("wasi:cli/stdout").getStdout();
  stream.write(new Uint8Array(65_535));
  let done = false;
  const waiting = stream.blockingWriteAndFlush(bytes("xyz")).then(() => done = true);
  await turn();
  assert.deepEqual(out.written.length, 1);
  for (let i = 0; i < out.settle.length; i++) {
    assert.equal(done, false);
    out.settle[i]!.done();
    await turn();
  }
  await waiting;
  assert.equal(out.written.slice(1).join(""), "xyz");
});

Deno.test("output-stream tells a failed write once, then is closed", async () => {
  const out = slow();
  const f = withStdio(out);
  const stream = f.get("wasi:cli/stdout").getStdout();
  const waiting = stream.blockingWriteAndFlush(bytes("x"));
  out.settle[0]!.fail(new Error("broken pipe"));
  const error = await waiting.then(() => undefined, (e: unknown) => e);
  assert.equal(error.tag, "last-operation-failed");
  assert.equal(error.val.toDebugString(), "broken pipe");
  assert.deepEqual(thrown(() => stream.checkWrite()), { tag: "closed" });
  assert.deepEqual(thrown(() => stream.write(bytes("y"))), { tag: "closed" });
});

Deno.test("splice() moves what is there, blocking-splice() waits for it", async () => {
  const stdin = pushed();
  const output = { value: "" };
  const f = withStdio({
    read: () => stdin.read(),
    write: (_: string, chunk: Uint8Array) => void (output.value += text(chunk)),
  });
  const from = f.get("wasi:cli/stdin").getStdin();
  const to = f.get("wasi:cli/stdout").getStdout();
  assert.equal(to.splice(from, 10n), 0n);
  const waiting = to.blockingSplice(from, 4n);
  stdin.push("abcdef");
  assert.equal(await waiting, 4n);
  assert.equal(to.splice(from, 10n), 2n);
  assert.equal(output.value, "abcdef");
  assert.equal(to.blockingSplice(from, 0n), 0n);
  const atEnd = to.blockingSplice(from, 1n);
  stdin.push(null);
  await assert.rejects(atEnd, { tag: "closed" });
});

Deno.test("instances do not share what they count or how they end", () => {
  const a = createFixture(), b = createFixture();
  assert.ok(thrown(() => a.get("wasi:cli/exit").exit({ tag: "err" })) instanceof Ended);
  assert.deepEqual(b.get("wasi:cli/environment").getArguments(), ["program", "x"]);
});
