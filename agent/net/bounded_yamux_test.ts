import assert from "node:assert/strict";
import { AbstractMessageStream, type SendResult } from "@libp2p/utils";
import type { Uint8ArrayList } from "uint8arraylist";
import { boundedYamux, FrameGuard, UnreadBudget } from "./bounded_yamux.ts";
import { NETWORK_BOUNDS } from "./bounds.ts";
import { QUIET_LOGGER } from "./quiet_logger.ts";

function header(type: number, stream: number, length: number): Uint8Array {
  const bytes = new Uint8Array(12);
  const view = new DataView(bytes.buffer);
  view.setUint8(1, type);
  view.setUint16(2, 1);
  view.setUint32(4, stream);
  view.setUint32(8, length);
  return bytes;
}
const [DATA, WINDOW, PING] = [0, 1, 2];

function guard(limits: { windowBytesMax?: number; smallFramesPerSecondMax?: number } = {}) {
  const state = { nowMs: 0, counts: 0, aborted: 0 };
  const made = new FrameGuard(
    { windowBytesMax: 1000, smallFramesPerSecondMax: 1e9, ...limits },
    () => state.nowMs,
    () => void state.counts++,
    () => void state.aborted++,
  );
  return { made, state };
}

Deno.test("FrameGuard follows frames however they are cut", () => {
  const frames = [
    header(DATA, 1, 5),
    Uint8Array.of(0, 0, 0, 0, 0),
    header(WINDOW, 1, 4_000_000_000),
    header(DATA, 3, 0),
    header(DATA, 1, 1000),
    new Uint8Array(1000).fill(255),
    header(PING, 0, 7),
  ];
  const whole = Uint8Array.from(frames.flatMap((frame) => [...frame]));
  for (const step of [1, 2, 7, 12, 13, 500, whole.length]) {
    const { made } = guard();
    for (let at = 0; at < whole.length; at += step) made.take(whole.subarray(at, at + step));
    // Had it lost its place, this would not be seen for what it is.
    assert.throws(() => made.take(header(DATA, 1, 1001)), /larger than any window/, `${step}`);
  }
});

Deno.test("FrameGuard allows small frames up to so many in a second", () => {
  const { made, state } = guard({ smallFramesPerSecondMax: 10 });
  for (let second = 0; second < 5; second++) {
    for (let n = 0; n < 9; n++) made.take(header(PING, 0, n));
    state.nowMs += 1000;
  }
  assert.throws(() => {
    for (let n = 0; n < 20; n++) made.take(header(PING, 0, n));
  }, /small frames/);
});

Deno.test("FrameGuard counts what tiny pieces cost to keep, until they are read", () => {
  const { made } = guard();
  for (let n = 0; n < 100; n++) {
    made.take(header(DATA, 1, 1));
    made.take(Uint8Array.of(0));
  }
  assert.ok(made.cost(new Map([[1, 100]])) > 100 * 100);
  assert.equal(made.cost(new Map([[1, 0]])), 0);
  // Read to the end meanwhile, so that what is there now is one piece.
  made.take(header(DATA, 1, 1000));
  assert.ok(made.cost(new Map([[1, 1000]])) < 2000);
});

Deno.test("UnreadBudget breaks the connection that has most", () => {
  const budget = new UnreadBudget(100);
  const [a, b] = [guard().made, guard().made];
  assert.equal(budget.note(a, 60), undefined);
  assert.equal(budget.note(b, 50), a);
  budget.forget(a);
  assert.equal(budget.note(b, 100), undefined);
});

/** A connection whose other end takes nothing. */
class Stuck extends AbstractMessageStream {
  constructor() {
    super({ log: QUIET_LOGGER.forComponent("test"), direction: "inbound" });
  }
  sendData(data: Uint8ArrayList): SendResult {
    return { sentBytes: data.byteLength, canSendMore: false };
  }
  sendReset() {}
  sendPause() {}
  sendResume() {}
  async close() {}
}

Deno.test("an end that asks and never reads the answers is broken off", () => {
  const connection = new Stuck();
  const factory = boundedYamux({ ...NETWORK_BOUNDS, unsentBytesMax: 10_000 })();
  const muxer = factory.createStreamMuxer(connection);
  let asked = 0;
  while (connection.status === "open" && asked < 100_000) {
    connection.onData(header(PING, 0, asked++));
  }
  assert.equal(connection.status, "aborted");
  assert.ok(asked < 2000, `${asked} pings were answered`);
  muxer.abort(new Error("done"));
});
