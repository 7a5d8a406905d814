// docs/grafana.json against the metrics and labels that there are.
import assert from "node:assert/strict";
import { METRICS, type MetricSpec } from "../agent/observe/metric_table.ts";

const SPECS: Readonly<Record<string, MetricSpec>> = METRICS;
const TEXT = Deno.readTextFileSync(new URL("../docs/grafana.json", import.meta.url));

interface Panel {
  readonly title: string;
  readonly targets?: readonly { readonly expr: string; readonly legendFormat: string }[];
}

/** Words of the query language, and functions. */
const LANGUAGE =
  /^(?:by|ignoring|sum|max|min|rate|increase|time|histogram_quantile|label_values|m|h|s|le)$/;

/** What a query names that is not there. */
function problems(query: string): string[] {
  const found: string[] = [];
  const bare = query.replace(/"[^"]*"/g, '""').replaceAll("$__rate_interval", "");
  // `{label=…}` and `by (label, …)`; what is left are names of metrics.
  const labels: string[] = [];
  const rest = bare
    .replace(/\{([^}]*)\}/g, (_, inner) => {
      labels.push(...[...inner.matchAll(/(\w+)\s*(?:=~|!=|=)/g)].map(([, label]) => label!));
      return "";
    })
    .replace(/(?:by|ignoring) \(([^)]*)\)/g, (_, inner) => {
      labels.push(...inner.split(/,\s*/));
      return "";
    })
    .replace(/label_values\((\w+), (\w+)\)/g, (_, name, label) => {
      labels.push(label);
      return name;
    });
  const known = new Set(["instance", "job"]);
  for (const [word] of rest.matchAll(/[a-z_]\w*/gi)) {
    if (LANGUAGE.test(word)) continue;
    const base = word.replace(/_(?:bucket|sum|count)$/, "");
    const spec = SPECS[word]?.type === "histogram" ? undefined : SPECS[word] ??
      (SPECS[base]?.type === "histogram" ? SPECS[base] : undefined);
    if (spec === undefined) found.push(`${word} is no metric`);
    for (const label of spec?.labels ?? []) known.add(label);
    if (word.endsWith("_bucket")) known.add("le");
  }
  return [...found, ...labels.filter((l) => !known.has(l)).map((l) => `${l} is no label`)];
}

Deno.test("the dashboard names metrics and labels that are there", () => {
  const dashboard = JSON.parse(TEXT);
  const panels = dashboard.panels as Panel[];
  const queries = panels.flatMap(({ title, targets = [] }) =>
    targets.map(({ expr, legendFormat }) => ({ title, expr, legendFormat }))
  );
  assert.ok(queries.length > 30);
  for (const { title, expr, legendFormat } of queries) {
    assert.deepEqual(problems(expr), [], title);
    for (const [, label] of legendFormat.matchAll(/\{\{(\w+)\}\}/g)) {
      // Of a sum only the labels are left that it is by.
      assert.match(expr, new RegExp(`\\b${label}\\b|^realm_\\w+\\{[^}]*\\}`), `${title}: ${label}`);
    }
  }
  const variables = dashboard.templating.list as { name: string; definition?: string }[];
  for (const { name, definition } of variables) {
    if (definition !== undefined) assert.deepEqual(problems(definition), [], name);
    assert.ok(TEXT.includes(name === "datasource" ? "${datasource}" : `$${name}`), name);
  }
  const ids = panels.map((panel) => (panel as unknown as { id: number }).id);
  assert.equal(new Set(ids).size, ids.length);
});

Deno.test("a query with a wrong metric or label is found", () => {
  assert.deepEqual(problems("rate(realm_proxy_request_total[1m])"), [
    "realm_proxy_request_total is no metric",
  ]);
  assert.deepEqual(problems("realm_sync_lag_seconds"), ["realm_sync_lag_seconds is no metric"]);
  assert.deepEqual(problems("realm_majority_bucket"), ["realm_majority_bucket is no metric"]);
  assert.deepEqual(problems('sum by (rout) (realm_proxy_requests_total{kode="5"})'), [
    "kode is no label",
    "rout is no label",
  ]);
  const quantile = "histogram_quantile(0.9, sum by (le) (rate(realm_sync_lag_seconds_bucket[5m])))";
  assert.deepEqual(problems(quantile), []);
});

Deno.test("every metric is in a panel of the dashboard", () => {
  const said = ["realm_components", "realm_gossip_frames_total"]; // by others, as well
  const missing = Object.keys(SPECS).filter((name) => !TEXT.includes(name));
  assert.deepEqual(missing, said);
});
