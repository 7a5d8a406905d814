import assert from "node:assert/strict";
import fc from "fast-check";
import type { Pipe, Service } from "../kernel/ports.ts";
import { AgentCalls, CallFailed } from "./agent_calls.ts";
import { type CallMessage, costOf, PIPE_BYTES_MAX } from "./protocol.ts";
import { CALLS_MAX, ServiceCalls } from "./service_calls.ts";

/** Both sides, with a thread's border between them: messages are cloned and arrive later. */
function connect(services: Record<string, Service>) {
  const later = queueMicrotask;
  const agent = new ServiceCalls(services, (message) => {
    const copy = structuredClone(message);
    later(() => worker.receive(copy));
  });
  const worker: AgentCalls = new AgentCalls((message) => {
    const copy = structuredClone(message) as CallMessage;
    later(() => agent.receive(copy));
  });
  return { agent, worker };
}

function service(call: Service["call"]): Service {
  return { call, close: () => Promise.resolve() };
}

const bytes = (length: number) => new Uint8Array(length).fill(length % 251);

/** Sends chunks as credit allows, then the end. */
async function sendAll(call: ReturnType<AgentCalls["call"]>, chunks: readonly Uint8Array[]) {
  for (const chunk of chunks) {
    while (call.credit < chunk.length && !call.closed) {
      await new Promise<void>((resolve) => call.wait(resolve));
    }
    call.write(chunk);
  }
  call.end();
}

async function receiveAll(call: ReturnType<AgentCalls["call"]>): Promise<Uint8Array[]> {
  const chunks: Uint8Array[] = [];
  for (;;) {
    const chunk = call.take();
    if (chunk === null) return chunks;
    if (chunk) chunks.push(chunk);
    else await new Promise<void>((resolve) => call.wait(resolve));
  }
}

const echo = service(async (_request, pipe) => {
  (async () => {
    for (let chunk = await pipe.read(); chunk; chunk = await pipe.read()) await pipe.write(chunk);
    pipe.end();
  })();
  return "open";
});

Deno.test("a call is answered, with a value or with the service's reason", async () => {
  const { worker } = connect({
    twice: service((request) => Promise.resolve(Number(request) * 2)),
    refuse: service(() => Promise.reject(Object.assign(new Error("no"), { reason: "denied" }))),
    throws: service(() => {
      throw new Error("broken");
    }),
  });
  const call = worker.call("twice", 21);
  assert.equal(call.answered, false);
  assert.equal(await call.answering(), 42);
  const reason = (name: string) =>
    worker.call(name, 0).answering().then(
      () => "answered",
      (error) => error instanceof CallFailed ? error.reason : error,
    );
  assert.equal(await reason("refuse"), "denied");
  assert.deepEqual(await reason("throws"), { message: "broken" });
  assert.equal(await reason("missing"), "no-service");
  assert.equal(await reason("constructor"), "no-service");
});

Deno.test("chunks cross a pipe both ways, in order and with their borders", async () => {
  const lengths = fc.array(fc.integer({ min: 1, max: 65_536 }), { maxLength: 20 });
  await fc.assert(
    fc.asyncProperty(lengths, async (list) => {
      const { worker, agent } = connect({ echo });
      const call = worker.call("echo", null);
      const [received] = await Promise.all([receiveAll(call), sendAll(call, list.map(bytes))]);
      assert.deepEqual(received.map((chunk) => chunk.length), list);
      assert.deepEqual(received, list.map(bytes));
      call.drop();
      await new Promise((resolve) => setTimeout(resolve, 1));
      assert.equal(agent.open, 0);
    }),
    { numRuns: 20 },
  );
});

Deno.test("neither side sends more than the other has room for", async () => {
  let pipe!: Pipe;
  let written = 0;
  const { worker } = connect({
    flood: service(async (_request, opened) => {
      pipe = opened;
      (async () => {
        while (await pipe.write(bytes(65_536))) written += 65_536;
      })();
    }),
  });
  const call = worker.call("flood", null);
  await call.answering();
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.ok(written > 0 && written <= PIPE_BYTES_MAX + 65_536, `${written} bytes without a reader`);
  let sent = 0;
  while (call.credit > 0) {
    const chunk = bytes(Math.min(1000, call.credit));
    call.write(chunk);
    sent += costOf(chunk);
  }
  await new Promise((resolve) => setTimeout(resolve, 5));
  assert.ok(sent <= PIPE_BYTES_MAX && call.credit === 0, "nobody reads: no more credit");
  assert.equal(call.flushed, false);
  for (let got = 0; got < sent;) got += costOf((await pipe.read())!);
  void pipe.read(); // the last chunk was used
  await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(call.flushed, true);
});

Deno.test("take() gives a chunk in pieces", async () => {
  const { worker } = connect({ echo });
  const call = worker.call("echo", null);
  call.write(Uint8Array.of(1, 2, 3));
  while (!call.readable) await new Promise<void>((resolve) => call.wait(resolve));
  assert.deepEqual([call.take(2), call.take(2), call.take(2)], [
    Uint8Array.of(1, 2),
    Uint8Array.of(3),
    undefined,
  ]);
});

Deno.test("a dropped call tells the service, which still reads what was written", async () => {
  const seen = Promise.withResolvers<(Uint8Array | null)[]>();
  const { worker } = connect({
    late: service(async (_request, pipe) => {
      pipe.signal.addEventListener("abort", async () => {
        seen.resolve([await pipe.read(), await pipe.read()]);
      });
    }),
  });
  const call = worker.call("late", null);
  call.write(Uint8Array.of(7));
  call.drop();
  assert.deepEqual(await seen.promise, [Uint8Array.of(7), null]);
});

Deno.test("fail() breaks both directions with the service's reason", async () => {
  const { worker } = connect({
    breaks: service(async (_request, pipe) => pipe.fail("connection-reset")),
  });
  const call = worker.call("breaks", null);
  await call.answering();
  assert.equal(call.closed, true);
  assert.throws(() => call.take(), (error: CallFailed) => error.reason === "connection-reset");
});

Deno.test("stopping to read ends the other side's writing, in both directions", async () => {
  const result = Promise.withResolvers<boolean>();
  const { worker } = connect({
    writes: service(async (_request, pipe) => {
      pipe.stopReading();
      (async () => {
        while (await pipe.write(bytes(1000)));
        result.resolve(true);
      })();
    }),
  });
  const call = worker.call("writes", null);
  await call.answering();
  assert.equal(call.closed, true, "the service reads no more");
  call.stopReading();
  assert.equal(await result.promise, true);
  assert.equal(call.take(), null);
});

Deno.test("a Worker that sends beyond its credit loses the pipe", async () => {
  let pipe: Pipe | undefined;
  const answers: unknown[] = [];
  const agent = new ServiceCalls({
    hold: service(async (_request, opened) => {
      pipe = opened;
    }),
  }, (message) => answers.push(message));
  agent.receive({ type: "call", id: 1, service: "hold", request: null });
  for (let i = 0; i < 5; i++) {
    agent.receive({ type: "pipe-chunk", id: 1, bytes: bytes(65_536) });
  }
  assert.equal(agent.open, 0);
  assert.equal(pipe!.signal.aborted, true);
  agent.receive({ type: "call", id: 2, service: "hold", request: null });
  agent.receive({ type: "pipe-chunk", id: 2, bytes: "text" as never });
  assert.equal(agent.open, 0);
  agent.receive({ type: "call", id: 3, service: "hold", request: null });
  agent.receive({ type: "pipe-credit", id: 3, bytes: NaN });
  assert.equal(agent.open, 0);
});

Deno.test("open calls are bounded", () => {
  const refused: unknown[] = [];
  const agent = new ServiceCalls(
    { hold: service(() => new Promise(() => {})) },
    (message) => refused.push(message),
  );
  for (let id = 0; id <= CALLS_MAX; id++) {
    agent.receive({ type: "call", id, service: "hold", request: null });
  }
  assert.deepEqual(refused, [{ type: "answer", id: CALLS_MAX, error: "limit-exceeded" }]);
});

Deno.test("close() drops every call and closes the services", async () => {
  let closed = 0;
  const aborted: boolean[] = [];
  const agent = new ServiceCalls({
    hold: {
      call: async (_request, pipe) => {
        pipe.signal.addEventListener("abort", () => aborted.push(true));
      },
      close: () => Promise.resolve(void closed++),
    },
  }, () => {});
  agent.receive({ type: "call", id: 1, service: "hold", request: null });
  await agent.close();
  await agent.close();
  assert.deepEqual([closed, aborted, agent.open], [1, [true], 0]);
});
