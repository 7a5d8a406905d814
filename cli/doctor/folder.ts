/**
 * The doctor's look at the data folder: whose it is, who may read keys, what is left over.
 *
 * @module
 */
import * as path from "node:path";
import { RealmError } from "../../agent/kernel/error.ts";
import { policyPath, readPolicy } from "../../agent/node/policy_file.ts";
import { controlSocketPath } from "../connection.ts";
import { RECOVERY_KEY_FILE } from "../init.ts";
import { type Finding, ok, problem, warning } from "./finding.ts";

/**
 * Looks at a data folder; `uid` is of who asks, `null` where there is no such thing, and
 * `isAnswering` whether an agent answers on its socket.
 */
export async function lookAtFolder(
  folder: string,
  { uid, isAnswering }: { readonly uid: number | null; readonly isAnswering: boolean },
): Promise<Finding[]> {
  const stat = await statOf(folder);
  if (stat === undefined) {
    return [
      warning("folder", `${folder} is not there yet`, "Run realm init, or realm agent --ticket T"),
    ];
  }
  if (!stat.isDirectory) {
    return [problem("folder", `${folder} is not a folder`, "Name another one with --data DIR")];
  }
  return [
    ...await ownership(folder, stat, uid),
    ...await keys(folder, uid),
    ...await socket(folder, isAnswering),
    ...await policy(folder),
  ];
}

async function ownership(
  folder: string,
  stat: Deno.FileInfo,
  uid: number | null,
): Promise<Finding[]> {
  if (isOfAnother(stat, uid)) {
    return [
      problem("folder", `${folder} belongs to another user (${stat.uid})`, "Run this as that user"),
    ];
  }
  if (isOpen(stat)) {
    return [problem("folder", `${folder} is open to others: ${mode(stat)}`, `chmod 700 ${folder}`)];
  }
  const trial = path.join(folder, `.doctor-${crypto.randomUUID()}`);
  try {
    await Deno.writeFile(trial, new Uint8Array(1), { createNew: true, mode: 0o600 });
  } catch (error) {
    const reason = (error instanceof Error ? error.message : String(error)).replace(
      /: \w+ '.*/,
      "",
    );
    return [
      problem("folder", `${folder} cannot be written: ${reason}`, "Make room, or mount it rw"),
    ];
  } finally {
    // Where the disk is full it is made, and has nothing in it.
    await Deno.remove(trial).catch(() => {});
  }
  return [ok("folder", `${folder} is this user's alone`)];
}

/** Secret keys: of their owner alone, and the recovery key elsewhere. */
async function keys(folder: string, uid: number | null): Promise<Finding[]> {
  const found: Finding[] = [];
  let count = 0;
  for (const { name, isFile } of await entries(folder)) {
    if (!isFile || !name.endsWith(".key")) continue;
    const file = path.join(folder, name);
    const stat = await statOf(file);
    if (stat === undefined) continue;
    count++;
    if (isOfAnother(stat, uid)) {
      found.push(problem("keys", `${file} belongs to another user (${stat.uid})`, `chown it`));
    } else if (isOpen(stat)) {
      found.push(
        problem("keys", `${file} is open to others: ${mode(stat)}`, `chmod 600 ${file}`),
      );
    }
    if (name === RECOVERY_KEY_FILE) {
      const fix = `Move ${file} to a place that is not connected to anything`;
      found.push(warning("keys", "the recovery key is on this machine", fix));
    }
  }
  if (found.length > 0 || count === 0) return found;
  return [ok("keys", `${count} key${count === 1 ? "" : "s"}, which only this user may read`)];
}

async function socket(folder: string, isAnswering: boolean): Promise<Finding[]> {
  const file = controlSocketPath(folder);
  const stat = await statOf(file, Deno.lstat);
  if (stat === undefined) {
    return [warning("socket", "no agent runs with this data folder", "Run realm agent")];
  }
  if (!isAnswering) {
    const fix = `Run realm agent, which takes it away; if one runs, look at what it prints`;
    return [problem("socket", `${file} is there, and no agent answers on it`, fix)];
  }
  const target = await statOf(file);
  if (target !== undefined && isOpen(target)) {
    return [problem("socket", `${file} is open to others: ${mode(target)}`, `chmod 600 ${file}`)];
  }
  return [ok("socket", "the agent answers, to this user alone")];
}

async function policy(folder: string): Promise<Finding[]> {
  const file = policyPath(folder);
  const stat = await statOf(file);
  if (stat === undefined) return [ok("policy", "none: nothing of the host is given to components")];
  const found: Finding[] = [];
  if (stat.mode !== null && (stat.mode & 0o022) !== 0) {
    found.push(problem("policy", `${file} can be written by others`, `chmod go-w ${file}`));
  }
  try {
    const { mounts } = await readPolicy(folder);
    for (const { host } of mounts.allow) {
      if ((await statOf(host))?.isDirectory === true) continue;
      const fix = `Make it, or take it out of ${file}`;
      found.push(warning("policy", `[mounts] allows ${host}, which is no folder`, fix));
    }
  } catch (error) {
    if (!(error instanceof RealmError)) throw error;
    found.push(problem("policy", error.message, error.hint ?? `Edit ${file}`));
  }
  return found.length > 0 ? found : [ok("policy", `${file} can be read`)];
}

function isOfAnother({ uid }: Deno.FileInfo, ours: number | null): boolean {
  return ours !== null && uid !== null && uid !== ours;
}

/** Whether the group or others may do anything with it. */
function isOpen({ mode }: Deno.FileInfo): boolean {
  return mode !== null && (mode & 0o077) !== 0;
}

function mode({ mode }: Deno.FileInfo): string {
  return ((mode ?? 0) & 0o777).toString(8);
}

async function statOf(
  file: string,
  stat: (file: string) => Promise<Deno.FileInfo> = Deno.stat,
): Promise<Deno.FileInfo | undefined> {
  try {
    return await stat(file);
  } catch {
    return undefined;
  }
}

async function entries(folder: string): Promise<Deno.DirEntry[]> {
  try {
    return (await Array.fromAsync(Deno.readDir(folder)))
      .sort((a, b) => a.name < b.name ? -1 : 1);
  } catch {
    return []; // ownership() has told
  }
}
