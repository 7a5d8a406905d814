/**
 * Reads the policy of this machine, `policy.toml` in the data folder.
 *
 * @module
 */
import { join } from "node:path";
import { RealmError } from "../kernel/error.ts";
import { DEFAULT_POLICY, parsePolicy, type Policy } from "../realm/policy.ts";

/** Where the policy of the agent with this data folder is. */
export function policyPath(dataFolder: string): string {
  return join(dataFolder, "policy.toml");
}

/**
 * The policy, or what holds without one. Throws RealmError `invalid-config`, and `failed` where it
 * cannot be read: what a machine forbids is not guessed.
 */
export async function readPolicy(dataFolder: string): Promise<Policy> {
  const path = policyPath(dataFolder);
  try {
    return parsePolicy(await Deno.readTextFile(path), path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return DEFAULT_POLICY;
    if (error instanceof RealmError) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw new RealmError("failed", `Cannot read policy "${path}": ${reason}`, {
      hint: "Run realm doctor, which looks at the data folder",
      cause: error,
    });
  }
}
