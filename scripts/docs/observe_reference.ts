/**
 * The tables of all metrics and all alarms.
 *
 * @module
 */
import { METRICS, type MetricSpec } from "../../agent/observe/metric_table.ts";
import { alarmReference } from "../../agent/realm/alarms.ts";

/** A row for each metric, as Markdown. */
export function metricTable(): string {
  const rows = Object.entries<MetricSpec>(METRICS).map(([name, { type, labels, help }]) =>
    `| \`${name}\` | ${type} | ${labels.map((label) => `\`${label}\``).join(", ")} | ${help} |`
  );
  return ["| name | type | labels | |", "| --- | --- | --- | --- |", ...rows].join("\n");
}

/** A row for each alarm, as Markdown. */
export function alarmTable(): string {
  const rows = alarmReference().map(({ code, severity, message, hint, isTold, heldMs }) => {
    const seen = [
      isTold ? "the node tells it of itself" : "",
      heldMs > 0 ? `after ${heldMs / 1000} s` : "",
    ].filter((part) => part !== "").join("; ");
    return `| \`${code}\` | ${severity} | ${message} | ${hint} | ${seen} |`;
  });
  return [
    "| name | severity | what it says | what to do | |",
    "| --- | --- | --- | --- | --- |",
    ...rows,
  ].join("\n");
}
