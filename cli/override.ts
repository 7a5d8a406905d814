/**
 * What operators change beside the manifest, as signed events: restarts, numbers of replicas, and
 * which machines run nothing.
 *
 * @module
 */
import type { ControlClient } from "../agent/control/client.ts";
import { RealmError } from "../agent/kernel/error.ts";
import { controlContent } from "../agent/realm/control_event.ts";
import type { Author } from "./author.ts";
import { distinct, nodeOf } from "./nodes.ts";

type Agent = Pick<ControlClient, "status" | "nodes" | "place" | "append">;
type ComponentStatus = Awaited<ReturnType<ControlClient["status"]>>["components"][number];

/**
 * Starts every replica of a component anew, or those on some nodes, each by its name, key or
 * fingerprint; returns how many.
 */
export async function restartComponent(
  agent: Agent,
  author: Author,
  component: string,
  wanted: readonly string[] = [],
): Promise<{ restarted: number }> {
  await requireComponent(agent, component);
  const nodes = await namesOf(agent, wanted, "restart");
  await author.append(agent, [controlContent({ kind: "restart", component, nodes })]);
  const { placed } = await requireComponent(agent, component);
  const here = placed.filter(({ node }) => nodes.length === 0 || nodes.includes(node));
  return { restarted: here.reduce((sum, { replicas }) => sum + replicas, 0) };
}

/**
 * Sets the number of replicas of a component, everywhere or on one node, by its name, key or
 * fingerprint; `null` gives it back to the manifest. Returns how many are wanted then.
 */
export async function scaleComponent(
  agent: Agent,
  author: Author,
  component: string,
  replicas: number | null,
  wantedNode: string | null = null,
): Promise<{ replicas: number; scaledTo: number | null }> {
  await requireComponent(agent, component);
  const [node = null] = await namesOf(agent, wantedNode === null ? [] : [wantedNode], "scale");
  await author.append(agent, [controlContent({ kind: "scale", component, replicas, node })]);
  const { placed } = await requireComponent(agent, component);
  const wanted = placed.filter((each) => node === null || each.node === node)
    .reduce((sum, { replicas }) => sum + replicas, 0);
  return { replicas: wanted, scaledTo: replicas };
}

/**
 * Lets machines, each by its name, key or fingerprint, run nothing for now, or their share again;
 * returns their names.
 */
export async function drainNodes(
  agent: Pick<ControlClient, "nodes" | "place" | "append">,
  author: Author,
  wanted: readonly string[],
  drained: boolean,
): Promise<readonly string[]> {
  const verb = drained ? "drain" : "undrain";
  const names = await namesOf(agent, wanted, verb);
  await author.append(
    agent,
    names.map((node) => controlContent({ kind: "drain", node, drained })),
  );
  const after = await agent.nodes();
  const without = names.filter((name) =>
    after.some((node) => node.name === name && node.drained !== drained)
  );
  if (without.length === 0) return names;
  throw new RealmError(
    "not-found",
    `Cannot ${verb} ${without.join(", ")}: not in the manifest in force`,
    { hint: "Add [nodes.NAME] to realm.toml and run realm apply" },
  );
}

async function namesOf(
  agent: Pick<Agent, "nodes">,
  wanted: readonly string[],
  verb: Parameters<typeof nodeOf>[2],
): Promise<readonly string[]> {
  if (wanted.length === 0) return [];
  const nodes = await agent.nodes();
  return distinct(wanted.map((each) => nodeOf(nodes, each, verb))).map(({ name }) => name);
}

async function requireComponent(agent: Agent, component: string): Promise<ComponentStatus> {
  const { components } = await agent.status();
  const found = components.find(({ name }) => name === component);
  if (found !== undefined) return found;
  const names = components.map(({ name }) => name).join(", ") || "none";
  throw new RealmError(
    "not-found",
    `Cannot find component "${component}" in the manifest, which has ${names}`,
    { hint: "Run realm status" },
  );
}
