import assert from "node:assert/strict";
import { type Given, type Report, ReportedReplicas } from "./reported_replicas.ts";

/** What a test says of the nodes. */
function setUp() {
  const reports = new Map<string, Report[]>();
  const placement = new Map<string, Given>();
  const clock = { ms: 0, monotonicMs: () => clock.ms };
  const found = new ReportedReplicas({
    clock,
    peers: () => reports.keys(),
    reportsOf: (peer) => reports.get(peer)!,
    given: (component, peer) => placement.get(`${peer} ${component}`),
  });
  const of = (component: string, afterMs = 1_000) => {
    clock.ms += afterMs;
    return found.of(component)
      .map(({ peer, running, choice }) => `${peer} ${running}${choice === 0 ? "" : " or"}`)
      .join();
  };
  const say = (peer: string, running: number, digest = "d2") =>
    reports.set(peer, [{ component: "shop", digest, running }]);
  const give = (peer: string, replicas: number) =>
    placement.set(`${peer} shop`, { replicas, digests: ["d2"] });
  return { found, of, say, give, take: (peer: string) => placement.delete(`${peer} shop`) };
}

Deno.test("ReportedReplicas believes nobody who was not given a component, nor more than was given", () => {
  const { of, say, give } = setUp();
  say("liar", 1_000);
  assert.equal(of("shop"), "");
  give("honest", 2);
  say("honest", 2);
  assert.equal(of("shop"), "honest 2");
  give("liar", 1);
  assert.equal(of("shop"), "liar 1,honest 2");
  say("honest", 0);
  assert.equal(of("shop"), "liar 1", "none runs");
  assert.equal(of("other"), "");
});

Deno.test("ReportedReplicas takes other bytes for a second choice", () => {
  const { of, say, give } = setUp();
  give("a", 1);
  give("b", 1);
  say("a", 1, "d1");
  say("b", 1, "d1");
  assert.equal(of("shop"), "a 1 or,b 1 or", "the manifest is on its way");
  say("b", 1);
  assert.equal(of("shop"), "a 1 or,b 1");
});

Deno.test("ReportedReplicas lets a node finish what was taken from it, for a while", () => {
  const { found, of, say, give, take } = setUp();
  give("a", 3);
  say("a", 2);
  found.look(); // the placement is about to change
  take("a");
  give("b", 3);
  assert.equal(of("shop"), "a 2 or", "b does not run it yet");
  say("b", 3);
  assert.equal(of("shop"), "a 2 or,b 3");
  say("b", 0);
  assert.equal(of("shop", 40_000), "a 2 or");
  assert.equal(of("shop", 40_000), "", "it had its time");
});

Deno.test("ReportedReplicas looks a few times a second at most", () => {
  const { of, say, give } = setUp();
  give("a", 1);
  say("a", 1);
  assert.equal(of("shop"), "a 1");
  say("a", 0);
  assert.equal(of("shop", 100), "a 1");
  assert.equal(of("shop", 200), "");
});

Deno.test("ReportedReplicas expects what a node was given, until it had its time to leave", () => {
  const { found, of, say, give, take } = setUp();
  say("a", 0);
  assert.equal(found.expects("shop"), false, "it says so, and was not given it");
  give("a", 1);
  assert.equal(found.expects("shop"), true);
  assert.equal(found.expects("hop"), false);
  assert.equal(of("shop"), "", "it does not run it yet");
  take("a");
  assert.equal(found.expects("shop"), true);
  of("shop", 60_000);
  assert.equal(found.expects("shop"), false);
});
