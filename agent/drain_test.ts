/**
 * What was accepted is answered: supervisor and upstream together, while replicas are replaced,
 * scaled, fail to start and fall ill, in any order, and requests come all the time.
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import {
  type Clock,
  type Exit,
  type HandlerRequest,
  type HandlerResponse,
  NO_USAGE,
  type Replica,
} from "./kernel/ports.ts";
import { Upstream } from "./proxy/upstream.ts";
import type { DesiredReplica } from "./realm/desired.ts";
import { Supervisor } from "./supervisor/supervisor.ts";

const numRuns = Deno.env.get("SLOW") ? 2_000 : 60;

/** Time that passes when the test says so. */
class ManualClock implements Clock {
  now = 1_000;
  readonly #sleepers = new Set<{ at: number; wake: () => void }>();
  wallMs = () => this.now + 1e12;
  monotonicMs = () => this.now;

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const sleeper = { at: this.now + ms, wake: resolve };
      this.#sleepers.add(sleeper);
      signal?.addEventListener("abort", () => {
        this.#sleepers.delete(sleeper);
        reject(signal.reason);
      });
    });
  }

  async pass(ms: number): Promise<void> {
    for (const end = this.now + ms; this.now < end;) {
      this.now = Math.min(end, this.now + 100);
      for (const sleeper of [...this.#sleepers].sort((a, b) => a.at - b.at)) {
        if (sleeper.at > this.now) continue;
        this.#sleepers.delete(sleeper);
        sleeper.wake();
      }
      // Nothing here waits for anything but promises.
      for (let i = 0; i < 30; i++) await Promise.resolve();
    }
  }
}

/** Answers a request after a while, unless it was stopped before. */
class Handler implements Replica {
  readonly #exit = Promise.withResolvers<Exit>();
  readonly exited = this.#exit.promise;
  #isStopped = false;
  usage = () => NO_USAGE;
  limits = () => ({
    memoryBytesMax: 1,
    concurrencyMax: 1,
    handlesMax: 1,
    openFilesMax: 1,
    socketsMax: 1,
    logLinesPerSecMax: 1,
  });

  constructor(readonly clock: Clock, readonly isIll: () => boolean) {}

  async handle({ url }: HandlerRequest): Promise<HandlerResponse> {
    if (url.endsWith("/healthz")) {
      return { status: this.isIll() ? 503 : 200, headers: [], body: null };
    }
    await this.clock.sleep(Number(url));
    if (this.#isStopped) throw new Error("stopped with a request in flight");
    return { status: 200, headers: [], body: null };
  }

  stop(): Promise<void> {
    this.#isStopped = true;
    this.#exit.resolve({ kind: "stopped" });
    return Promise.resolve();
  }
}

const REQUEST_MS_MAX = 3_000;
const HEALTH = {
  http: "/healthz",
  export: false,
  intervalMs: 100,
  timeoutMs: 50,
  healthyAfter: 1,
  unhealthyAfter: 2,
  graceMs: 0,
};

type Act =
  | {
    readonly kind: "set";
    readonly release: number;
    readonly count: number;
    readonly first: boolean;
  }
  | { readonly kind: "request"; readonly ms: number }
  | { readonly kind: "ill"; readonly release: number; readonly isIll: boolean }
  | { readonly kind: "refuse"; readonly release: number }
  | { readonly kind: "pass"; readonly ms: number };

const release = fc.integer({ min: 1, max: 4 });
const act: fc.Arbitrary<Act> = fc.oneof(
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("set" as const),
      release,
      count: fc.integer({ min: 0, max: 3 }),
      first: fc.boolean(),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("request" as const),
      ms: fc.integer({ min: 0, max: REQUEST_MS_MAX }),
    }),
  },
  fc.record({ kind: fc.constant("ill" as const), release, isIll: fc.boolean() }),
  fc.record({ kind: fc.constant("refuse" as const), release }),
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("pass" as const),
      ms: fc.integer({ min: 1, max: 1_500 }),
    }),
  },
);

Deno.test("a request that a replica accepted is answered, whatever becomes of the replica's release", async () => {
  let answered = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(act, { minLength: 20, maxLength: 60 }), async (acts) => {
      const clock = new ManualClock();
      const ill = new Set<number>();
      const refused = new Set<number>();
      const upstream = new Upstream({
        component: "web",
        maxConcurrency: 4,
        requestTimeoutMs: REQUEST_MS_MAX,
      });
      const supervisor = new Supervisor({
        clock,
        ended: () => {},
        start: async ({ revision }, _io, signal) => {
          await clock.sleep(100, signal);
          if (refused.has(Number(revision))) throw new Error("it cannot start");
          return new Handler(clock, () => ill.has(Number(revision)));
        },
        openLog: () => ({ write: () => {}, log: () => {}, notice: () => {}, close: () => {} }),
        serve: (_component, replicas) => upstream.setReplicas(replicas),
      });
      const lost: unknown[] = [];
      const request = async (ms: number) => {
        const slot = await upstream.acquire(AbortSignal.timeout(60_000), "here");
        if (typeof slot === "string") return; // not accepted
        const { signal } = new AbortController();
        try {
          await slot.replica.handle({
            method: "GET",
            url: String(ms),
            headers: [],
            body: null,
            signal,
          });
          answered++;
        } catch (error) {
          lost.push(error);
        } finally {
          upstream.release(slot);
        }
      };
      const open: Promise<void>[] = [];
      const first = { kind: "set", release: 1, count: 2, first: false } as const;
      for (const each of [first, { kind: "pass", ms: 500 } as const, ...acts]) {
        switch (each.kind) {
          case "set": {
            const { release, count, first } = each;
            supervisor.set(Array.from({ length: count }, (_, index) => ({
              component: "web",
              index,
              digest: `${release}`,
              revision: `${release}`,
              world: "wasi:http/proxy",
              spec: {
                world: "wasi:http/proxy",
                restart: "always",
                health: HEALTH,
                requestTimeoutMs: REQUEST_MS_MAX,
              },
              ...(first ? { stopsFirst: true } : {}),
            } as unknown as DesiredReplica)));
            break;
          }
          case "request":
            open.push(request(each.ms));
            break;
          case "ill":
            if (each.isIll) ill.add(each.release);
            else ill.delete(each.release);
            break;
          case "refuse":
            refused.add(each.release);
            break;
          case "pass":
            await clock.pass(each.ms);
        }
      }
      for (let i = 0; i < 8; i++) await clock.pass(1_000);
      upstream.setReplicas([]); // whoever waits for a replica that never came is told
      for (let i = 0; i < 4; i++) await clock.pass(1_000);
      await Promise.all(open);
      await supervisor.close();
      assert.deepEqual(lost, []);
    }),
    { numRuns },
  );
  assert.ok(answered > numRuns, "requests were answered at all");
});
