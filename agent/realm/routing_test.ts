import assert from "node:assert/strict";
import fc from "fast-check";
import type { Route } from "./manifest.ts";
import { compileRoutes, matchRoute } from "./routing.ts";

const numRuns = Deno.env.get("SLOW") ? 50_000 : 1_000;

type Written = { path: string; component: string } & Partial<Route>;

function tableOf(...routes: Written[]) {
  return compileRoutes({
    routes: routes.map((route) => ({
      target: { kind: "node", name: "here" },
      key: "",
      replicas: 1,
      host: undefined,
      weight: undefined,
      maxSurge: undefined,
      maxUnavailable: undefined,
      stripPrefix: false,
      ...route,
    })),
  });
}

Deno.test("matchRoute() lets the longest path win, and /... mean the path and all below", () => {
  const table = tableOf(
    { path: "/...", component: "root" },
    { path: "/a/...", component: "a" },
    { path: "/a/b", component: "exact" },
    { path: "/a/b/c/...", component: "deep" },
  );
  const cases: [string, string][] = [
    ["/", "root"],
    ["/x/y", "root"],
    ["/ab", "root"],
    ["/a", "a"],
    ["/a/", "a"],
    ["/a/x", "a"],
    ["/a/b", "exact"],
    ["/a/b/", "a"],
    ["/a/b/cc", "a"],
    ["/a/b/c", "deep"],
    ["/a/b/c/d/e", "deep"],
  ];
  for (const [path, component] of cases) {
    assert.equal(matchRoute(table, "h", path, 0)?.component, component, path);
  }
  assert.equal(matchRoute(tableOf({ path: "/a", component: "a" }), "h", "/", 0), undefined);
});

Deno.test("matchRoute() prefers the host of equal paths, not of shorter ones", () => {
  const table = tableOf(
    { path: "/...", component: "site", host: "shop.example" },
    { path: "/...", component: "other" },
    { path: "/api/...", component: "api" },
  );
  const at = (host: string, path: string) => matchRoute(table, host, path, 0)?.component;
  const shops = ["shop.example", "SHOP.example:8080", "shop.example."];
  for (const host of shops) assert.equal(at(host, "/x"), "site", host);
  for (const host of ["", "example", "x.shop.example", "[::1]:80"]) {
    assert.equal(at(host, "/x"), "other", host);
  }
  assert.equal(at("shop.example", "/api/1"), "api");
});

Deno.test("matchRoute() strips the prefix", () => {
  const table = tableOf(
    { path: "/a/...", component: "a", stripPrefix: true },
    { path: "/b", component: "b", stripPrefix: true },
    { path: "/...", component: "c", stripPrefix: true },
  );
  const cases: [string, string][] = [["/a", "/"], ["/a/", "/"], ["/a/x/y", "/x/y"]];
  cases.push(["/a//x", "//x"], ["/b", "/"], ["/c/d", "/c/d"], ["/", "/"]);
  for (const [path, rest] of cases) assert.equal(matchRoute(table, "", path, 0)!.path, rest, path);
});

/** How often each component is chosen, per cent. */
function traffic(routes: Written[], host = ""): Record<string, number> {
  const table = tableOf(...routes);
  const counts: Record<string, number> = {};
  for (let i = 0; i < 1000; i++) {
    const component = matchRoute(table, host, "/o", i / 1000)?.component ?? "none";
    counts[component] = (counts[component] ?? 0) + 0.1;
  }
  return Object.fromEntries(Object.entries(counts).map(([name, n]) => [name, Math.round(n)]));
}

Deno.test("matchRoute() divides the traffic of labels by weight", () => {
  const blue = { path: "/o", component: "o@blue" };
  const green = { path: "/o", component: "o@green" };
  const red = { path: "/o", component: "o@red" };
  assert.deepEqual(traffic([blue, { ...green, weight: 10 }]), { "o@blue": 90, "o@green": 10 });
  assert.deepEqual(traffic([blue, green]), { "o@blue": 50, "o@green": 50 });
  assert.deepEqual(traffic([blue, red, { ...green, weight: 20 }]), {
    "o@blue": 40,
    "o@green": 20,
    "o@red": 40,
  });
  assert.deepEqual(traffic([{ ...blue, weight: 30 }, { ...green, weight: 10 }]), {
    "o@blue": 75,
    "o@green": 25,
  });
  assert.deepEqual(traffic([blue, { ...green, weight: 100 }]), { "o@green": 100 });
  assert.deepEqual(traffic([blue, { ...green, weight: 0 }]), { "o@blue": 100 });
  assert.deepEqual(traffic([{ ...green, weight: 0 }]), { none: 100 });
});

Deno.test("matchRoute() lets a label without a host share the traffic of one with a host", () => {
  const routes = [
    { path: "/o", component: "o@blue", host: "shop.example" },
    { path: "/o", component: "o@green", weight: 10 },
  ];
  assert.deepEqual(traffic(routes, "shop.example"), { "o@blue": 90, "o@green": 10 });
  assert.deepEqual(traffic(routes, "else.example"), { "o@green": 100 });
  const strangers = [routes[0]!, { path: "/o", component: "p" }];
  assert.deepEqual(traffic(strangers, "shop.example"), { "o@blue": 100 });
});

Deno.test("matchRoute() names the other labels, most traffic first", () => {
  const table = tableOf(
    { path: "/o", component: "o@a", weight: 20 },
    { path: "/o", component: "o@b", weight: 70 },
    { path: "/o", component: "o@c", weight: 10 },
    { path: "/o", component: "o@d", weight: 0 },
  );
  assert.deepEqual(matchRoute(table, "", "/o", 0)!, {
    route: "/o",
    component: "o@a",
    path: "/o",
    alternatives: ["o@b", "o@c"],
  });
});

Deno.test("matchRoute() agrees with trying every route", () => {
  const part = fc.constantFrom("a", "b", "ab");
  const path = fc.array(part, { maxLength: 4 }).map((parts) => "/" + parts.join("/"));
  const host = fc.constantFrom(undefined, "x", "y");
  const route = fc.record({
    path: fc.tuple(path, fc.boolean()).map(([p, deep]) =>
      deep ? (p === "/" ? "/..." : `${p}/...`) : p
    ),
    host,
    stripPrefix: fc.boolean(),
  });
  const routes = fc.uniqueArray(route, { selector: (r) => `${r.host} ${r.path}`, maxLength: 12 })
    .map((list) => list.map((r, i) => ({ ...r, component: `c${i}` })));
  fc.assert(
    fc.property(routes, fc.option(host, { nil: "z" }), path, (list, h, p) => {
      const prefixOf = (r: { path: string }) => r.path.replace(/\/\.\.\.$/, "");
      const best = list
        .filter((r) => r.host === undefined || r.host === h)
        .filter((r) =>
          r.path.endsWith("/...")
            ? p === prefixOf(r) || p.startsWith(prefixOf(r) + "/")
            : r.path === p
        )
        .sort((a, b) =>
          prefixOf(b).length - prefixOf(a).length ||
          Number(a.path.endsWith("/...")) - Number(b.path.endsWith("/...")) ||
          Number(b.host !== undefined) - Number(a.host !== undefined)
        )[0];
      const found = matchRoute(tableOf(...list), h ?? "", p, 0);
      assert.equal(found?.component, best?.component);
      if (best !== undefined) {
        const rest = p.slice(prefixOf(best).length) || "/";
        assert.equal(found!.path, best.stripPrefix ? rest : p);
      }
    }),
    { numRuns },
  );
});

Deno.test("compileRoutes() does not depend on the order of routes", () => {
  const routes = [
    { path: "/o", component: "o@a", weight: 20 },
    { path: "/o", component: "o@b" },
    { path: "/o", component: "o@c", host: "x" },
    { path: "/...", component: "o@c" },
  ];
  fc.assert(
    fc.property(
      fc.shuffledSubarray(routes, { minLength: routes.length }),
      fc.constantFrom("x", ""),
      fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
      (shuffled, host, pick) => {
        const expected = matchRoute(tableOf(...routes), host, "/o", pick);
        assert.deepEqual(matchRoute(tableOf(...shuffled), host, "/o", pick), expected);
      },
    ),
  );
});
