import assert from "node:assert/strict";
import fc from "fast-check";
import { CHUNK_BYTES } from "../kernel/sha256_chain.ts";
import { type Arrival, ChunkPlan } from "./chunk_plan.ts";

const from = (peer: string): Arrival => ({
  peer,
  state: new Uint8Array(),
  bytes: new Uint8Array(),
});
const planOf = (chunks: number, options: { proven?: number; windowChunks?: number } = {}) =>
  new ChunkPlan({ size: chunks * CHUNK_BYTES, windowChunks: 4, hedgeMs: 100, ...options });

Deno.test("ChunkPlan asks for the last chunk only, until it is proven", () => {
  const plan = planOf(10);
  assert.equal(plan.next("a", 0), 9);
  assert.equal(plan.next("a", 0), undefined);
  assert.equal(plan.next("b", 0), undefined);
  plan.arrived(9, from("a"));
  assert.equal(plan.next("b", 0), undefined);
  plan.proven();
  assert.deepEqual([plan.next("a", 0), plan.next("b", 0), plan.next("a", 0)], [8, 7, 6]);
  assert.equal(plan.next("b", 0), 5);
  assert.equal(plan.next("b", 0), undefined, "the window is full");
});

Deno.test("ChunkPlan asks a second peer for what the first is slow to send, never a third", () => {
  const plan = planOf(3, { proven: 1 });
  assert.deepEqual([plan.next("a", 0), plan.next("a", 50)], [1, 0]);
  assert.equal(plan.next("b", 99), undefined);
  assert.equal(plan.next("a", 100), undefined, "not the same peer again");
  assert.equal(plan.next("b", 100), 1);
  assert.equal(plan.next("b", 149), undefined);
  assert.equal(plan.next("b", 150), 0);
  assert.equal(plan.next("c", 1_000), undefined);
  plan.left("a");
  assert.equal(plan.next("c", 1_000), 1);
});

Deno.test("ChunkPlan keeps the first of two answers, and asks anew for a refuted one", () => {
  const plan = planOf(2);
  plan.next("a", 0);
  plan.next("b", 100);
  plan.arrived(1, from("b"));
  plan.arrived(1, from("a"));
  assert.equal(plan.arrival!.peer, "b");
  plan.refuted();
  assert.equal(plan.arrival, undefined);
  assert.equal(plan.next("c", 100), 1);
  plan.arrived(1, from("c"));
  plan.proven();
  plan.arrived(1, from("a"));
  assert.equal(plan.held, 0, "a late answer is not kept");
});

Deno.test("ChunkPlan gets every chunk, holds no more than its window, whatever peers do", () => {
  const step = fc.record({
    peer: fc.constantFrom("a", "b", "c"),
    act: fc.constantFrom("ask", "ask", "ask", "send", "send", "lie", "leave", "wait"),
  });
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 12 }),
      fc.integer({ min: 1, max: 5 }),
      fc.array(step, { maxLength: 120 }),
      (chunks, windowChunks, steps) => {
        const plan = planOf(chunks, { windowChunks });
        const owed = new Map<string, number[]>([["a", []], ["b", []], ["c", []]]);
        const proven: number[] = [];
        let now = 0;
        const send = (peer: string, lies: boolean) => {
          const index = owed.get(peer)!.shift();
          if (index === undefined) return;
          plan.arrived(index, from(lies ? `liar ${peer}` : peer));
          for (let arrival; (arrival = plan.arrival);) {
            if (arrival.peer.startsWith("liar")) plan.refuted();
            else {
              proven.push(plan.front);
              plan.proven();
            }
          }
        };
        const ask = (peer: string) => {
          const index = plan.next(peer, now);
          if (index === undefined) return;
          assert.ok(index <= plan.front && index > plan.front - windowChunks);
          assert.ok(!owed.get(peer)!.includes(index), "not asked twice of one peer");
          owed.get(peer)!.push(index);
        };
        for (const { peer, act } of steps) {
          now += 10;
          if (act === "ask") ask(peer);
          else if (act === "send") send(peer, false);
          else if (act === "lie") send(peer, true);
          else if (act === "wait") now += 200;
          else {
            plan.left(peer);
            owed.set(peer, []);
          }
          assert.ok(plan.held <= windowChunks);
          assert.ok([...owed.values()].flat().length <= 2 * windowChunks + 6);
        }
        // Those who owe something go; one honest peer is enough for the rest.
        for (const peer of ["a", "b", "c"]) plan.left(peer);
        owed.set("d", []);
        for (let i = 0; !plan.isComplete; i++) {
          assert.ok(i <= chunks, "one round for each chunk");
          ask("d");
          send("d", false);
        }
        assert.deepEqual(proven, Array.from({ length: chunks }, (_, i) => chunks - 1 - i));
      },
    ),
  );
});
