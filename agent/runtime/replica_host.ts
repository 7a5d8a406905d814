/**
 * One replica in its Worker: a command, or a request handler with as many instances as requests are
 * in flight.
 *
 * @module
 */
import { RealmError } from "../kernel/error.ts";
import { Slots } from "../kernel/slots.ts";
import { AgentCalls } from "./agent_calls.ts";
import type { Cores } from "./cores.ts";
import { clock, now, random } from "./host_clock.ts";
import { compileLinkage, Instance, type Linkage } from "./instance.ts";
import { Held } from "./held.ts";
import { END, Ledger } from "./ledger.ts";
import { FuelBucket, Limiter, type OnlyThread } from "./limiter.ts";
import { LineRate } from "./line_rate.ts";
import { holdLocks, MountLock } from "./mount_lock.ts";
import { Outbox } from "./outbox.ts";
import { type FromWorker, type Start, SYMLINK_RESULTS, type ToWorker } from "./protocol.ts";
import { type Live, Requests, type RequestsHost } from "./requests.ts";
import { cut, exitOf, GuestEnded, hostFault, type RawExit } from "./trap.ts";
import {
  enforced,
  LOG_LINES_PER_SEC_MAX,
  NOTICE_LENGTH_MAX,
  NOTICES_PER_SEC_MAX,
} from "./wasi/bounds.ts";
import { createWasi, type WasiContext, WasiFunctions, type WasiHost } from "./wasi/host.ts";
import { formatCall, type TracedCall } from "./wasi/trace.ts";

/** Output that the agent has not taken yet; past it the guest waits. */
const OUTPUT_BYTES_MAX = 256 * 1024;

/** Traced calls that were not shown yet; past it the guest waits, this long between two looks. */
const TRACE_CHARACTERS_MAX = 256 * 1024;
const TRACE_WAIT_MS = 100;

/** A Worker whose guest had more is not used again: its memory comes back when the Worker ends. */
const REUSE_MEMORY_BYTES_MAX = 16 * 1024 * 1024;
/** Instances of a handler that is stopped have so long to end. */
const STOP_MS = 500;

/** Whether the host's own code was surely not interrupted where it may not be. */
function isOrderly(error: unknown): boolean {
  return error === undefined || error instanceof GuestEnded || error instanceof RealmError ||
    error instanceof WebAssembly.RuntimeError;
}

/** See the module. */
export class ReplicaHost implements RequestsHost {
  readonly ledger: Ledger;
  readonly outbox: Outbox;
  readonly live = new Slots<Live>();
  readonly #bucket: FuelBucket | undefined;
  readonly #linkage: Linkage;
  readonly #functions = new WasiFunctions();
  readonly #locks: readonly MountLock[];
  readonly #noticed = new Set<string>();
  readonly #requests: Requests;
  readonly #logRate: LineRate;
  readonly #noticeRate: LineRate;
  readonly #calls = new AgentCalls((message) => this.outbox.add(message));
  /** Where the guest waits until it may run. */
  readonly #held: Held | undefined;
  #over = false;
  #isStopping = false;
  #stdin: PromiseWithResolvers<Uint8Array | null> | undefined;
  #untaken = 0;
  #writable: PromiseWithResolvers<void> | undefined;

  /** `over` is called when the last message was posted; the replica hears no more. */
  constructor(
    readonly start: Start,
    post: (messages: FromWorker[]) => void,
    readonly over: () => void,
    /** Set where the replica has no Worker. */
    readonly only?: OnlyThread,
  ) {
    this.outbox = new Outbox((messages) => {
      this.#requests.flush();
      if (!this.#over) post(messages);
    }, now);
    this.ledger = new Ledger(start.ledger);
    this.#held = start.held && new Held(start.held);
    const isCommand = start.world === "wasi:cli/command";
    this.ledger.setLimits(enforced(start.limits, isCommand ? 1 : start.maxConcurrency));
    const dropped = () => this.ledger.add("droppedLogLines", 1);
    this.#logRate = new LineRate(
      LOG_LINES_PER_SEC_MAX,
      now,
      dropped,
      (max) => this.notice(`log lines are dropped: more than ${max} of wasi:logging in one second`),
    );
    this.#noticeRate = new LineRate(NOTICES_PER_SEC_MAX, now, dropped, (max) => {
      const text = `more is not told: more than ${max} such lines in one second`;
      this.outbox.add({ type: "notice", text });
    });
    const { fuelPerSec } = start.limits;
    this.#bucket = fuelPerSec === undefined ? undefined : new FuelBucket(fuelPerSec, now);
    this.#linkage = compileLinkage(start.glue);
    this.#locks = start.locks.map((words, i) =>
      new MountLock(words, start.grants.mounts[i]!.hostPath)
    );
    this.#requests = new Requests(this);
  }

  /** Takes what came another way before the messages that are received next. */
  arrived(): void {
    this.#requests.take();
  }

  receive(message: Exclude<ToWorker, Start>): void {
    switch (message.type) {
      case "stdin":
        if (message.failed === undefined) this.#stdin?.resolve(message.bytes);
        else this.#stdin?.reject(new Error(message.failed));
        this.#stdin = undefined;
        return;
      case "taken":
        this.#untaken -= message.bytes;
        if (this.#untaken <= OUTPUT_BYTES_MAX / 2) {
          this.#writable?.resolve();
          this.#writable = undefined;
        }
        return;
      case "request":
      case "request-body":
      case "pull":
      case "cancel":
        return this.#requests.receive(message);
      case "answer":
      case "pipe-chunk":
      case "pipe-credit":
      case "pipe-stop":
        return this.#calls.receive(message);
      case "end":
        this.live.forEach(({ limiter }) => limiter.tick());
        this.#bucket?.release();
        this.#held?.go();
        this.#stopHandler();
        return;
    }
  }

  /** Runs the command to its end, or opens the handler. */
  run(): Promise<void> {
    return this.start.world === "wasi:cli/command" ? this.#runCommand() : this.#openHandler();
  }

  async #runCommand(): Promise<void> {
    let exit: RawExit;
    let limiter: Limiter | undefined;
    let failure: unknown;
    try {
      const live = await this.create((l) => limiter = l);
      try {
        await this.#released();
        if (!live.limiter.ended) {
          this.#started();
          exit = { kind: "exit", status: await live.instance.run() };
        }
        if (live.limiter.ended) exit = exitOf(undefined, live.limiter);
      } finally {
        this.discard(live);
      }
    } catch (error) {
      failure = error;
      exit = limiter ? exitOf(error, limiter) : hostFault(error);
    }
    this.#exit(exit!, failure);
  }

  /** Makes the first instance, so that a handler that cannot start is known at once. */
  async #openHandler(): Promise<void> {
    let limiter: Limiter | undefined;
    try {
      this.#requests.addIdle(await this.create((l) => limiter = l));
      await this.#released();
      this.#started();
    } catch (error) {
      this.#exit(limiter ? exitOf(error, limiter) : hostFault(error), error);
    }
  }

  /** Resolves when the guest may run: at once, where it is not held. */
  async #released(): Promise<void> {
    if (!this.#held) return;
    this.outbox.add({ type: "ready" });
    this.outbox.flush();
    await this.#held.gone();
  }

  #started(): void {
    if (this.#held) return this.#held.runs();
    this.outbox.add({ type: "started" });
    this.outbox.flush();
  }

  #exit(exit: RawExit, failure?: unknown): void {
    if (this.#over) return;
    this.#bucket?.release();
    this.#requests.close();
    for (const lock of this.#locks) lock.close();
    const reusable = isOrderly(failure) && this.live.size === 0 && this.#calls.open === 0 &&
      this.ledger.get("memoryBytesPeak") <= REUSE_MEMORY_BYTES_MAX;
    this.outbox.add({ type: "exit", exit, reusable });
    this.outbox.flush();
    this.#over = true;
    this.over();
  }

  /**
   * Stops once the instances that still serve have ended: each does so at its next fuel check, and
   * until then the Worker is no use to another guest.
   */
  #stopHandler(): void {
    if (this.start.world === "wasi:http/proxy") {
      this.#requests.close();
      setTimeout(() => this.#exit({ kind: "stopped" }), STOP_MS);
    }
    this.#isStopping = true;
    if (this.live.size === 0) this.#exit({ kind: "stopped" });
  }

  /** See {@link RequestsHost}. */
  trapped(exit: Extract<RawExit, { kind: "trap" }>): void {
    if (this.#noticeRate.admit()) this.outbox.add({ type: "trapped", exit });
  }

  notice(text: string): void {
    if (!this.#noticeRate.admit()) return;
    this.outbox.add({ type: "notice", text: cut(text, NOTICE_LENGTH_MAX) });
    this.outbox.flush();
  }

  /** See {@link RequestsHost}. */
  async create(
    made?: (limiter: Limiter) => void,
    before?: Cores,
  ): Promise<Live> {
    const { start } = this;
    const waits = () => {
      this.#requests.waits(live as Live);
      this.#requests.flush();
      this.outbox.flush();
    };
    const limiter = new Limiter({
      limits: start.limits,
      ledger: this.ledger,
      bucket: this.#bucket,
      now,
      // A handler's Worker has requests to take, also while its only instance runs.
      shared: start.world === "wasi:http/proxy",
      only: this.only,
      // Who asks in a loop whether an answer has come would never let it in; and what the host
      // promises to a guest of the asynchronous ABI piles up until it pauses.
      awaits: () => this.#calls.open > 0 || typeof this.#linkage !== "function",
      onTick: () => {
        this.#requests.flush();
        this.outbox.flushLate();
      },
      ...before && { globals: before.globals },
      onPause: waits,
    });
    made?.(limiter);
    const wasi: WasiHost = createWasi(
      this.#context(limiter, (bytes) => wasi.memory.hold(bytes)),
      this.#functions,
    );
    const live: { -readonly [K in keyof Live]?: Live[K] } = { limiter, wasi };
    const place = live.place = this.live.add(live as Live);
    try {
      live.instance = await Instance.create({
        modules: start.modules,
        linkage: this.#linkage,
        limiter,
        once: start.instancePerRequest,
        wasi,
        onWait: waits,
      }, before);
    } catch (error) {
      this.live.delete(place);
      wasi.close();
      limiter.forfeit();
      limiter.dispose();
      throw error;
    }
    return live as Live;
  }

  #context(limiter: Limiter, hold: (bytes: number) => void): WasiContext {
    return {
      grants: this.start.grants,
      clock,
      random,
      stdio: {
        terminal: this.start.terminal,
        read: () => {
          this.outbox.add({ type: "read-stdin" });
          this.outbox.flush();
          return (this.#stdin ??= Promise.withResolvers()).promise;
        },
        write: (stream, bytes) => {
          this.outbox.output(stream, bytes);
          this.#untaken += bytes.length;
          if (this.#untaken <= OUTPUT_BYTES_MAX) return;
          this.outbox.flush();
          return (this.#writable ??= Promise.withResolvers()).promise;
        },
      },
      denied: (call, grant) => {
        const key = `${call.split("#")[0]} ${grant}`;
        if (this.#noticed.has(key)) return;
        this.#noticed.add(key);
        this.notice(`denied: ${call} needs ${grant}`);
      },
      exit: (status) => {
        limiter.end({ kind: "exit", status });
        throw new GuestEnded("exit");
      },
      trap: (message, code = "trap") => {
        limiter.end({ kind: "limit", code, message });
        throw new GuestEnded(message);
      },
      lock: (mounts, act) => holdLocks(mounts.map((index) => this.#locks[index]!), act),
      ...this.start.traced && { trace: this.#tracer(this.start.traced) },
      log: (level, text) => {
        if (this.#logRate.admit()) this.outbox.add({ type: "log", level, text: text() });
      },
      agent: { call: (service, request) => this.#calls.call(service, request, hold) },
      account: {
        add: (what, amount) => this.ledger.add(what, amount),
        hasRoom: (what) => this.ledger.get(what) < this.ledger.get(`${what}Max`),
        charge: (bytes) => limiter.charge(bytes),
      },
      makes: (bytes) => limiter.hostTakes(bytes),
      symlink: (target, hostPath) => this.#symlink(target, hostPath),
    };
  }

  /** Sends a line for each call; a guest that makes them faster than they are shown is held up. */
  #tracer(buffer: SharedArrayBuffer): (call: TracedCall) => void {
    const unshown = new Int32Array(buffer);
    return (call) => {
      const line = formatCall(call);
      this.outbox.add({ type: "trace", line });
      let length = Atomics.add(unshown, 0, line.length) + line.length;
      if (length < TRACE_CHARACTERS_MAX) return this.outbox.flushLate();
      this.outbox.flush();
      while (length >= TRACE_CHARACTERS_MAX && this.ledger.ending === END.none) {
        Atomics.wait(unshown, 0, length, TRACE_WAIT_MS);
        length = Atomics.load(unshown, 0);
      }
    };
  }

  #symlink(target: string, hostPath: string): void {
    const answer = new Int32Array(this.start.answer);
    Atomics.store(answer, 0, 0);
    this.outbox.add({ type: "symlink", target, hostPath });
    this.outbox.flush();
    Atomics.wait(answer, 0, 0);
    const result = SYMLINK_RESULTS[Atomics.load(answer, 0)]!;
    if (result !== "ok") throw result;
  }

  /** See {@link RequestsHost}. */
  discard(live: Live): void {
    live.instance.close();
    this.#drop(live);
  }

  /** See {@link RequestsHost}. */
  async renew(live: Live): Promise<Live | undefined> {
    const cores = live.instance.handOn();
    this.#drop(live);
    if (!cores) return;
    // Where it cannot be made, whoever needs one makes it, and hears why not.
    return await this.create(undefined, cores).catch(() => undefined);
  }

  #drop(live: Live): void {
    this.live.delete(live.place);
    live.wasi.close();
    live.limiter.dispose();
    if (this.#isStopping && this.live.size === 0) {
      // After what the instance still has to say.
      queueMicrotask(() => this.#exit({ kind: "stopped" }));
    }
  }
}
