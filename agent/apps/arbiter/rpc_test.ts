import assert from "node:assert/strict";
import { RealmError } from "../../kernel/error.ts";
import { connect, type Port } from "./rpc.ts";

function pair(): { ports: readonly [Port, Port]; close: () => void } {
  const { port1, port2 } = new MessageChannel();
  return {
    ports: [port1, port2],
    close: () => {
      port1.close();
      port2.close();
    },
  };
}

Deno.test("both sides call each other; errors of realm arrive as they are", async () => {
  const { ports: [a, b], close } = pair();
  const right = {
    double: (n: number) => 2 * n,
    fail: () => {
      throw new RealmError("not-found", "Cannot find it", { hint: "Look again" });
    },
    back: async (n: number) => await toLeft.remote.add(n, 1) + 1,
  };
  const toRight = connect<typeof right>(a, { add: (x: number, y: number) => x + y });
  const toLeft = connect<{ add(x: number, y: number): number }>(b, right);
  assert.equal(await toRight.remote.double(4), 8);
  assert.equal(await toRight.remote.back(4), 6);
  await assert.rejects(toRight.remote.fail(), (error) => {
    assert.ok(error instanceof RealmError);
    assert.deepEqual(error.toJSON(), {
      code: "not-found",
      message: "Cannot find it",
      hint: "Look again",
    });
    return true;
  });
  const other = toRight.remote as unknown as { toString2(): Promise<void> };
  await assert.rejects(other.toString2(), /no function toString2/);
  close();
});

Deno.test("close() fails what is not answered, and every later call", async () => {
  const { ports: [a, b], close } = pair();
  connect(b, { wait: () => new Promise(() => {}) });
  const left = connect<{ wait(): void }>(a, {});
  const waiting = left.remote.wait();
  left.close(new RealmError("unreachable", "It ended"));
  await assert.rejects(waiting, /It ended/);
  await assert.rejects(left.remote.wait(), /It ended/);
  close();
});
