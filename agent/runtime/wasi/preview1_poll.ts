/**
 * `poll_oneoff` of WASI 0.1: waits for clocks and descriptors.
 *
 * @module
 */
import type { createClocks } from "./clocks.ts";
import type { WasiInstance } from "./context.ts";
import { POLL_LIST_MAX, type Pollable, type Readiness, untilReady } from "./io.ts";
import type { Open } from "./preview1.ts";
import { type Errno, EVENT_BYTES, type GuestMemory, SUBSCRIPTION_BYTES } from "./preview1_abi.ts";

/** `eventtype`. */
const CLOCK = 0, FD_READ = 1, FD_WRITE = 2;
const REALTIME = 0, MONOTONIC = 1;
/** `subclockflags`. */
const ABSOLUTE = 1;
/** `eventrwflags`. */
const HANGUP = 1;

/** A file is always ready. */
const READY: Readiness = { ready: () => true, wait: () => () => {} };

/** What one subscription waits for, and what its event says. */
interface Waiting {
  readonly userdata: bigint;
  readonly type: number;
  readonly readiness: Readiness;
  readwrite(): { bytes: bigint; flags: number };
}

/** Makes `poll_oneoff`; it throws codes. */
export function createPoll(
  host: WasiInstance,
  memory: GuestMemory,
  clocks: () => ReturnType<typeof createClocks>,
  get: (fd: number) => Open,
) {
  const clock = (id: number, timeout: bigint, isAbsolute: boolean): Pollable => {
    const { monotonicClock, wallClock } = clocks();
    if (id === MONOTONIC && isAbsolute) return monotonicClock.subscribeInstant(timeout);
    if (id !== MONOTONIC && id !== REALTIME) throw "invalid" satisfies Errno;
    if (!isAbsolute) return monotonicClock.subscribeDuration(timeout);
    const { seconds, nanoseconds } = wallClock.now();
    const now = seconds * 1_000_000_000n + BigInt(nanoseconds);
    return monotonicClock.subscribeDuration(timeout > now ? timeout - now : 0n);
  };

  const subscribe = (at: number, timers: Pollable[]): Waiting => {
    const view = memory.view();
    const userdata = view.getBigUint64(at, true);
    const type = view.getUint8(at + 8);
    const some = (bytes: bigint) => () => ({ bytes, flags: 0 });
    if (type === CLOCK) {
      const flags = view.getUint16(at + 40, true);
      if ((flags & ~ABSOLUTE) !== 0) throw "invalid" satisfies Errno;
      const timeout = view.getBigUint64(at + 24, true);
      const timer = clock(view.getUint32(at + 16, true), timeout, flags === ABSOLUTE);
      timers.push(timer);
      return { userdata, type, readiness: timer.readiness, readwrite: some(0n) };
    }
    if (type !== FD_READ && type !== FD_WRITE) throw "invalid" satisfies Errno;
    const open = get(view.getUint32(at + 16, true));
    if (open.kind === "file") {
      const readwrite = () => ({
        bytes: 1n,
        flags: type === FD_READ && open.file.end() <= open.position ? HANGUP : 0,
      });
      return { userdata, type, readiness: READY, readwrite };
    }
    if (open.kind === "input" && type === FD_READ) {
      return { userdata, type, readiness: open.stream.source, readwrite: some(1n) };
    }
    if (open.kind === "output" && type === FD_WRITE) {
      return { userdata, type, readiness: open.stream.sink, readwrite: some(1n) };
    }
    throw "bad-descriptor" satisfies Errno;
  };

  return (subscriptions: number, events: number, count: number, out: number) => {
    const wanted = count >>> 0;
    if (wanted === 0) throw "invalid" satisfies Errno;
    if (wanted > POLL_LIST_MAX) throw "insufficient-memory" satisfies Errno;
    const timers: Pollable[] = [];
    const finish = () => timers.forEach((timer) => timer[Symbol.dispose]());
    const answer = (list: readonly Waiting[]) => {
      const ready = list.filter(({ readiness }) => readiness.ready());
      for (const [index, { userdata, type, readwrite }] of ready.entries()) {
        memory.event(events + index * EVENT_BYTES, userdata, type, readwrite());
      }
      memory.u32(out, ready.length);
    };
    let isWaiting = false;
    try {
      const list = Array.from(
        { length: wanted },
        (_, index) => subscribe((subscriptions >>> 0) + index * SUBSCRIPTION_BYTES, timers),
      );
      const readiness = list.map((waiting) => waiting.readiness);
      if (readiness.some((item) => item.ready())) return answer(list);
      isWaiting = true;
      return untilReady(host, readiness).then(() => answer(list)).finally(finish);
    } finally {
      if (!isWaiting) finish();
    }
  };
}
