import assert from "node:assert/strict";
import fc from "fast-check";
import { NO_USAGE } from "../../kernel/ports.ts";
import { ProtocolError } from "./link.ts";
import { type FromProcess, growing, readMessage } from "./messages.ts";

const NONE = new Uint8Array(0);
const read = (message: unknown) => readMessage({ message, bytes: NONE });

const RESPONSE = { type: "response", id: 1, status: 200, headers: [["a", "b"]], body: "none" };
const TRAP = { kind: "trap", code: "trap", message: "m", backtrace: [] };

Deno.test("readMessage() takes what a process says, and nothing beside it", () => {
  const limits = {
    memoryBytesMax: 1,
    concurrencyMax: 1,
    handlesMax: 1,
    openFilesMax: 1,
    socketsMax: 1,
    logLinesPerSecMax: 1,
  };
  const messages: FromProcess[] = [
    { type: "started", permissions: ["read"], limits },
    { type: "usage", usage: NO_USAGE, residentBytes: 5 },
    { type: "read-stdin" },
    RESPONSE as FromProcess,
    { type: "exit", exit: { kind: "exit", status: 3 } },
    {
      type: "exit",
      exit: {
        kind: "trap",
        code: "trap",
        message: "m",
        backtrace: [{ module: "m", function: "f", offset: 1, file: "x.rs", line: 2 }],
      },
    },
  ];
  for (const message of messages) {
    assert.deepEqual(read({ ...message, more: { constructor: 1 } }), message);
  }
});

Deno.test("readMessage() refuses what is not as it should be", () => {
  const wrong: unknown[] = [
    null,
    [],
    "exit",
    { type: "toString" },
    { type: "__proto__" },
    { type: "response-body", id: -1, state: "more" },
    { type: "response-body", id: 1.5, state: "more" },
    { ...RESPONSE, status: 99 },
    { ...RESPONSE, status: "200" },
    { ...RESPONSE, headers: [["a b", "c"]] },
    { ...RESPONSE, headers: [["a", "c\r\nset-cookie: d"]] },
    { ...RESPONSE, headers: [["a", "\u0100"]] },
    { ...RESPONSE, headers: [["a"]] },
    { ...RESPONSE, headers: Array(20_000).fill(["a", "b"]) },
    { type: "usage", usage: { ...NO_USAGE, fuelUsed: -1 }, residentBytes: 1 },
    { type: "usage", usage: { ...NO_USAGE, fuelUsed: 1e300 }, residentBytes: 1 },
    { type: "usage", usage: {}, residentBytes: 1 },
    { type: "exit", exit: { ...TRAP, code: "constructor" } },
    { type: "exit", exit: { ...TRAP, backtrace: ["f"] } },
    { type: "exit", exit: { kind: "exit", status: -1 } },
    { type: "call", message: ["map", ["type", "end"]] },
  ];
  for (const message of wrong) {
    assert.throws(() => read(message), ProtocolError, JSON.stringify(message)?.slice(0, 80));
  }
});

Deno.test("readMessage() answers anything with a message or a ProtocolError", () => {
  const types = ["started", "usage", "notice", "response", "failed", "exit", "call", "output"];
  const message = fc.oneof(
    fc.jsonValue(),
    fc.record({
      type: fc.constantFrom(...types),
      id: fc.jsonValue(),
      status: fc.jsonValue(),
      headers: fc.jsonValue(),
      body: fc.jsonValue(),
      error: fc.jsonValue(),
      exit: fc.jsonValue(),
      message: fc.jsonValue(),
      text: fc.jsonValue(),
      usage: fc.jsonValue(),
    }, { requiredKeys: ["type"] }),
  );
  fc.assert(fc.property(message, (each) => {
    try {
      read(each);
    } catch (error) {
      assert.ok(error instanceof ProtocolError, String(error));
    }
  }));
});

Deno.test("readMessage() shortens what would fill the log", () => {
  const message = read({ type: "notice", text: "x".repeat(100_000) });
  assert.ok(message.type === "notice" && message.text.length <= 16_384);
});

Deno.test("growing() keeps counters from going back, and lets the rest go down", () => {
  const before = { ...NO_USAGE, fuelUsed: 10, memoryBytes: 10 };
  const after = growing(before, { ...NO_USAGE, fuelUsed: 5, memoryBytes: 5 });
  assert.deepEqual([after.fuelUsed, after.memoryBytes], [10, 5]);
});
