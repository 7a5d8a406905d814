import assert from "node:assert/strict";
import * as fc from "fast-check";
import { fakeNode, fakeStatus } from "../../tui/status_fake.ts";
import { LOG_KEPT_MAX, withRows } from "./logs.ts";
import { kingdomMap, linksBetween } from "./map.ts";
import { linkTo, parseRoute, withSample } from "./model.ts";
import { findAll, textOf } from "./vnode.ts";

Deno.test("parseRoute() is the inverse of linkTo(), and anything else is the overview", () => {
  fc.assert(fc.property(fc.string({ minLength: 1 }), (name) => {
    fc.pre(name.isWellFormed());
    for (const view of ["node", "component", "logs"] as const) {
      assert.deepEqual(parseRoute(linkTo(view, name)), { view, name });
    }
  }));
  for (const view of ["overview", "components", "apps", "history"] as const) {
    assert.deepEqual(parseRoute(linkTo(view)), { view });
  }
  for (const other of ["", "#", "#/", "#/nothing", "#/logs", "#/logs/%", "#login=x"]) {
    assert.deepEqual(parseRoute(other), { view: "overview" }, other);
  }
});

Deno.test("withSample() keeps a sample of some seconds before, for rates", () => {
  const at = (monotonicMs: number) => ({ status: fakeStatus(), monotonicMs });
  let kept: ReturnType<typeof withSample> | undefined;
  for (let ms = 0; ms <= 20_000; ms += 500) {
    kept = withSample({ current: kept?.current, previous: kept?.previous }, at(ms));
    const apart = kept.previous && kept.current.monotonicMs - kept.previous.monotonicMs;
    if (ms > 5_000) assert.ok(apart! >= 500 && apart! <= 4_000, `${ms}: ${apart}`);
  }
});

Deno.test("withRows() keeps the newest, however many come", () => {
  const rows = (from: number, count: number) =>
    Array.from({ length: count }, (_, i) => ({ kind: "missed", lines: 1, n: from + i }) as const);
  const all = withRows(rows(0, 4_000), rows(4_000, 3_000));
  assert.equal(all.length, LOG_KEPT_MAX);
  assert.deepEqual([all[0]!.n, all[all.length - 1]!.n], [7_000 - LOG_KEPT_MAX, 6_999]);
  assert.equal(withRows(rows(0, 10), rows(10, 20_000)).length, LOG_KEPT_MAX);
  assert.equal(withRows([], rows(0, 3)).length, 3);
});

Deno.test("linksBetween() has each pair once with its shortest round trip, and nobody who is silent", () => {
  const link = (name: string, latencyMs: number | null) => ({ key: `ed25519:${name}`, latencyMs });
  const nodes = [
    fakeNode("a", { links: [link("b", 9), link("c", 1), link("gone", 1)] }),
    fakeNode("b", { links: [link("a", 4)] }),
    fakeNode("c", { live: false, links: [link("b", 1)] }),
  ];
  assert.deepEqual(
    linksBetween(nodes).map(({ a, b, latencyMs }) => [a.name, b.name, latencyMs]),
    [["a", "b", 4]],
  );
});

Deno.test("the map stands a few machines in a ring and many in rows by tag, and names their state", () => {
  const few = kingdomMap([fakeNode("a"), fakeNode("b", { drained: true })], 0, 500);
  assert.ok(findAll(few, ({ tag }) => tag === "circle").length === 2);
  assert.match(textOf(few), /drained/);
  const nodes = Array.from(
    { length: 30 },
    (_, i) => fakeNode(`n${i}`, { tags: [i < 20 ? "metal" : "edge"], live: i !== 7 }),
  );
  for (const width of [300, 1_000]) {
    const many = kingdomMap(nodes, 0, width);
    assert.match(textOf(many), /^edge · 10/);
    assert.match(textOf(many), /metal · 20/);
    const labels = findAll(many, ({ tag }) => tag === "a").map((a) => a.attributes["aria-label"]);
    assert.ok(labels.some((label) => /^n7: silent/.test(String(label))));
    assert.equal(/silent/.test(textOf(many)), width === 1_000, "where there is room it is written");
    const places = findAll(many, ({ tag }) => tag === "a").map((each) => each.attributes.transform);
    assert.equal(new Set(places).size, 30, "no two at one place");
  }
});
