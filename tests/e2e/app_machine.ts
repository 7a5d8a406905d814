/**
 * Machines of people who use apps together, each an agent as a process, without any realm.
 *
 * @module
 */
import assert from "node:assert/strict";
import * as path from "node:path";
import type { TopicStatus } from "../../agent/control/apps_api.ts";
import { freePort } from "../peers.ts";
import { succeeded } from "./agent_process.ts";
import type { Running, Sandbox } from "./executable.ts";

/** Somebody's machine. */
export interface Person {
  readonly name: string;
  readonly data: string;
  readonly addresses: readonly string[];
  readonly running: Running;
}

/** Starts the agent of a person; again with the same data where there is some. */
export async function startPerson(
  sandbox: Sandbox,
  name: string,
  port = freePort(),
): Promise<Person> {
  const data = path.join(sandbox.folder, name);
  await Deno.mkdir(data, { mode: 0o700, recursive: true });
  const listen = ["--http", "127.0.0.1:0", "--listen", `/ip4/127.0.0.1/tcp/${port}`];
  const running = sandbox.start("agent", "--json", "--data", data, "--name", name, ...listen);
  const line = await running.line();
  if (line === null) assert.fail(`${name} did not start: ${(await running.ended).stderr}`);
  return { name, data, addresses: JSON.parse(line).addresses, running };
}

/** The port at which a machine is reached, for when it comes again. */
export const portOf = ({ addresses }: Person): number =>
  Number(/\/tcp\/(\d+)/.exec(addresses[0]!)![1]);

/** Runs a command of apps on the machine of a person. */
export const app = (sandbox: Sandbox, { data }: Person, ...words: string[]) =>
  sandbox.realm("app", ...words, "--json", "--data", data);

/** What a person's machine says of a topic. */
export async function topicOf(
  sandbox: Sandbox,
  person: Person,
  name: string,
): Promise<TopicStatus> {
  const topics: TopicStatus[] = succeeded(await app(sandbox, person, "topics"));
  return topics.find((topic) => topic.name === name) ?? assert.fail(`${person.name}: no ${name}`);
}
