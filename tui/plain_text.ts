/**
 * The dashboard in sentences, for those who hear it: what there is, and what changed.
 *
 * Pure; each line can be understood alone, and has no bars, frames or colours. Names and messages come
 * from manifests and guests: no control character gets through.
 *
 * @module
 */
import { linksOf, nodeState, sortedNodes } from "./node_rows.ts";
import { formatBytes, formatLatency, singleLine } from "./quantity.ts";
import type { LogRow, Snapshot } from "./session.ts";
import { type Alarm, alarmsOf, componentRows, type Sample, type Status } from "./view_model.ts";

const counted = (count: number, one: string, many = `${one}s`) =>
  `${count} ${count === 1 ? one : many}`;
const commas = (parts: readonly (string | false | undefined)[]) =>
  parts.filter((each) => typeof each === "string" && each !== "").join(", ");

/** The realm in a few lines. */
export function summaryLines(status: Status): string[] {
  const { node, manifest, nodes, components } = status;
  const approved = nodes.filter(({ state }) => state === "approved");
  const live = approved.filter(({ live }) => live).length;
  const waiting = nodes.filter(({ state }) => state === "pending").length;
  const notWhole = components.filter((each) => !isWhole(each)).length;
  const alarms = alarmsOf(status);
  return [
    `realm ${node.realm ?? "without a name"}, seen from ${node.name}: ` +
    (manifest === null ? "no manifest" : `manifest version ${manifest.version}`),
    commas([
      `${counted(approved.length, "node")}, ${
        live === approved.length ? "all live" : `${live} live`
      }`,
      waiting > 0 && counted(waiting, "asks to join", "ask to join"),
    ]),
    `${counted(components.length, "component")}, ` +
    (notWhole === 0 ? "all run as wanted" : `${notWhole} not as wanted`),
    alarms.length === 0 ? "no alarms" : `${counted(alarms.length, "alarm")}: type alarms`,
  ].map(singleLine);
}

/** A line for each machine. */
export function nodeLines(status: Status, nowMs: number): string[] {
  return sortedNodes(status).map((node) => {
    const { health, latencyMs, tags, drained, name, self } = node;
    return singleLine(
      `${name}: ` + commas([
        nodeState(node, nowMs).text,
        drained && "drained",
        self && "the one that is asked",
        health !== null && `${health.running} of ${counted(health.wanted, "replica")} run`,
        health !== null && `processors ${Math.round(health.cpuPermille / 10)} percent`,
        health !== null && `agent ${formatBytes(health.memoryBytes)}`,
        latencyMs !== null && `${formatLatency(latencyMs)} away`,
        tags.length > 0 && `tags ${tags.join(" ")}`,
      ]),
    );
  });
}

/** A line for each machine that a machine is connected with. */
export function linkTexts(status: Status, name: string): string[] | undefined {
  const node = status.nodes.find((each) => each.name === name);
  return node &&
    linksOf(node, status).map(({ name, latencyMs }) =>
      singleLine(`${name}: ${latencyMs === undefined ? "not measured" : formatLatency(latencyMs)}`)
    );
}

/** A line for each component, and for one that is named also one for each replica. */
export function componentLines(
  current: Sample,
  previous: Sample | undefined,
  nowMs: number,
  only?: string,
): string[] {
  return componentRows(current, previous, nowMs)
    .filter(({ component }) => only === undefined || component.name === only)
    .flatMap(({ component, replicas, elsewhere }) => {
      const [running, wanted] = component.state.split(" ")[0]!.split("/");
      const whole = `${component.name}: ` + commas([
        `${running} of ${counted(Number(wanted), "replica")} run`,
        component.state.endsWith(" set") && "set by hand",
        component.restarts > 0 && `started again ${counted(component.restarts, "time")}`,
        component.memory && `memory ${formatBytes(component.memory.bytes)} of ` +
          formatBytes(component.memory.bytesMax),
        component.throttled > 0 && `throttled ${Math.ceil(component.throttled * 100)} percent`,
      ]);
      if (only === undefined) return [whole];
      return [
        whole,
        ...replicas.map(({ name, state, lastExit }) =>
          `replica ${name}: ${commas([state, lastExit && `before: ${lastExit}`])}`
        ),
        ...elsewhere.map(({ name, state }) => `on ${name}: ${state.replace("/", " of ")} run`),
      ];
    }).map(singleLine);
}

/** A line for each release that is not everywhere, or one that says so. */
export function rolloutLines({ components }: Status): string[] {
  const lines = components.flatMap(({ name, rollout }) => {
    if (rollout === null || rollout.state === "complete") return [];
    const { state, settled, wanted, version, waitsFor, refusedBy, failure } = rollout;
    const { givenUpBy = [] } = rollout;
    return [singleLine(
      `${name}: ` + commas([
        state,
        `${settled} of ${wanted} run version ${version}`,
        waitsFor.length > 0 && `waits for ${waitsFor.join(" ")}`,
        ...refusedBy.map(({ node, why }) => `refused by ${node}: ${why}`),
        ...givenUpBy.map(({ node, replicas, why }) =>
          `given up by ${node} (${replicas}), tried again: ${why}`
        ),
        failure !== null &&
        `version ${failure.version} failed on ${failure.node}: ${failure.evidence}`,
      ]),
    )];
  });
  return lines.length > 0 ? lines : ["every release is complete"];
}

/** A line for each topic. */
export function topicLines({ topics }: Status): string[] {
  if (topics.length === 0) return ["no topics"];
  return topics.map(({ name, appName, state, settled, applied, events, digest, peers, why }) =>
    singleLine(
      `${name}: ` + commas([
        appName ?? undefined,
        state,
        settled
          ? `settled at ${counted(events, "event")}`
          : `${applied} of ${events} events applied`,
        digest !== null && `digest ${digest.slice(0, 12)}`,
        counted(peers.length, "peer"),
        why ?? undefined,
      ]),
    )
  );
}

/** A line for each alarm. */
export function alarmTexts(status: Status): string[] {
  const alarms = alarmsOf(status);
  if (alarms.length === 0) return ["all is well"];
  return alarms.map(alarmText);
}

function alarmText({ tone, text, hint }: Alarm): string {
  const what = `${tone === "bad" ? "alarm" : "warning"}: ${text}`;
  return singleLine(hint === undefined ? what : `${what}. What to do: ${hint}`);
}

/** A line of a log. */
export function logText(row: LogRow): string {
  if (row.kind === "missed") return `${counted(row.lines, "line was", "lines were")} missed`;
  const { replica, stream, level, text } = row;
  const from = stream === "realm" ? "realm" : level ?? (stream === "stderr" ? "error stream" : "");
  const who = replica === null ? "all" : String(replica);
  return singleLine(`${commas([who, from])}: ${text}`);
}

/** What is new between two moments, for somebody who was told of the first. */
export function changeLines(before: Snapshot, after: Snapshot, nowMs: number): string[] {
  const lines: string[] = [];
  if (before.link.kind !== after.link.kind) {
    if (after.link.kind === "reconnecting") lines.push(`connection lost: ${after.link.reason}`);
    if (after.link.kind === "connected" && before.link.kind === "reconnecting") {
      lines.push("connected again");
    }
  }
  const [old, now] = [before.current?.status, after.current?.status];
  if (old === undefined || now === undefined || old === now) return lines.map(singleLine);
  if (old.manifest?.version !== now.manifest?.version) {
    lines.push(
      now.manifest ? `manifest version ${now.manifest.version} is in force` : "no manifest",
    );
  }
  const nodeText = (node: Status["nodes"][number]) =>
    commas([nodeState({ ...node, silentSinceMs: null }, nowMs).text, node.drained && "drained"]);
  lines.push(
    ...differences(
      old.nodes,
      now.nodes,
      ({ key }) => key,
      (node) => `${node.name} is ${nodeText(node)}`,
      ({ name }) => `${name} is gone`,
    ),
  );
  lines.push(...differences(old.components, now.components, ({ name }) => name, (component) => {
    const { running, wanted } = placedOf(component);
    return `${component.name}: ${running} of ${counted(wanted, "replica")} run`;
  }, ({ name }) => `${name} is not in the manifest any more`));
  const rolling = ({ rollout }: Status["components"][number]) =>
    rollout === null ? "" : ` release of version ${rollout.version}: ${rollout.state}`;
  lines.push(
    ...differences(
      old.components,
      now.components,
      ({ name }) => name,
      (component) => rolling(component) && component.name + rolling(component),
      () => "",
    ),
  );
  const known = alarmsOf(old).map(({ id }) => id);
  lines.push(...alarmsOf(now).filter(({ id }) => !known.includes(id)).map(alarmText));
  return lines.filter((line) => line !== "").map(singleLine);
}

function placedOf({ placed }: Status["components"][number]) {
  const total = (of: (each: (typeof placed)[number]) => number) =>
    placed.reduce((sum, each) => sum + of(each), 0);
  return {
    running: total(({ running }) => running ?? 0),
    wanted: total(({ replicas }) => replicas),
  };
}

function isWhole(component: Status["components"][number]): boolean {
  const { running, wanted } = placedOf(component);
  return running === wanted && component.unplaced.length === 0;
}

/** What is said of things now and was not said before, and of things that are gone. */
function differences<T>(
  before: readonly T[],
  after: readonly T[],
  idOf: (thing: T) => string,
  textOf: (thing: T) => string,
  goneText: (thing: T) => string,
): string[] {
  const old = new Map(before.map((thing) => [idOf(thing), textOf(thing)]));
  const ids = new Set(after.map(idOf));
  return [
    ...after.map(textOf).filter((text, i) => old.get(idOf(after[i]!)) !== text),
    ...before.filter((thing) => !ids.has(idOf(thing))).map(goneText),
  ];
}
