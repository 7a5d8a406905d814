import assert from "node:assert/strict";
import { until } from "../../tests/until.ts";
import { Load } from "./load.ts";

/** A server whose every third answer is bad, and the count of what it was asked. */
function serveBadly() {
  let asked = 0;
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, () => {
    asked++;
    return asked % 3 === 0 ? new Response("no\n", { status: 502 }) : new Response(`${asked}`);
  });
  return { server, url: `http://127.0.0.1:${server.addr.port}/`, asked: () => asked };
}

Deno.test("Load counts every request as answered or lost", async () => {
  const { server, url, asked } = serveBadly();
  const load = new Load([
    { name: "any", url, check: () => undefined },
    { name: "picky", url, check: (body) => Number(body) % 4 > 1 ? undefined : `body ${body}` },
  ]);
  await until("twelve requests", () => asked() >= 12);
  await load.stop();
  assert.equal(load.answered + load.lost.length, asked());
  assert.ok(load.counts[0]!.lost.every((why) => why === "status 502, no"), load.lost.join());
  assert.ok(load.lost.some((why) => /^picky: body \d+$/.test(why)), load.lost.join());
  const before = asked();
  await new Promise((resolve) => setTimeout(resolve, 60));
  assert.equal(asked(), before, "nothing is sent after stop()");
  await server.shutdown();
});

Deno.test("Load loses what nobody answers, and forgives what an interruption cost", async () => {
  const { server, url } = serveBadly();
  await server.shutdown();
  const lane = { name: "gone", url, check: () => undefined };
  const load = new Load([lane]);
  await until("a lost request", () => load.lost.length > 0);
  await load.stop();
  assert.equal(load.answered, 0);
  const forgiving = new Load([lane]);
  await forgiving.stop({ forgive: true });
  assert.deepEqual(forgiving.lost, []);
});
