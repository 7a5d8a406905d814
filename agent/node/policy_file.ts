/**
 * Reads the policy of this machine, `policy.toml` in the data folder.
 *
 * @module
 */
import { join } from "node:path";
import { DEFAULT_POLICY, parsePolicy, type Policy } from "../realm/policy.ts";

/** Where the policy of the agent with this data folder is. */
export function policyPath(dataFolder: string): string {
  return join(dataFolder, "policy.toml");
}

/** The policy, or what holds without one. Throws RealmError `invalid-config`. */
export async function readPolicy(dataFolder: string): Promise<Policy> {
  const path = policyPath(dataFolder);
  try {
    return parsePolicy(await Deno.readTextFile(path), path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return DEFAULT_POLICY;
    throw error;
  }
}
